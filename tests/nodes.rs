//! A home on a real Redis, seen by two nodes: processes with Tier 0s and shadow trees of their own, which have nothing in
//! common but the server. What they see together must be what one plain directory shows.
//!
//! Starts servers of its own with scripts/servers/redis, which needs redis-server.

#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::build;
use support::node::{Node, Player};
use support::pair::{self, Place, Program, Scene, Variant, alone, together};
use support::servers::Servers;

/// A home's address on a server: a name of its own each time.
fn home_on(servers: &Servers, options: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("redis+unix://{}?name=h{n}{options}", servers.var("REDIS_SOCKET"))
}

const NAMES: [&str; 9] = ["a", "b", "d", "d/a", "d/e", "d/e/b", "e", "e/a", "d/../b"];

/// A node that has the Redis store.
fn node(home: &str) -> Node {
    Node::new(home, build::libiris_with_redis())
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn step() -> impl Strategy<Value = String> {
    let text = |verb: &'static str| name().prop_map(move |n| format!("{verb} {n}"));
    let two = |verb: &'static str| (name(), name()).prop_map(move |(a, b)| format!("{verb} {a} {b}"));
    let at = || (name(), 0u32..150_000, 0u32..26);
    prop_oneof![
        4 => text("mkdir"),
        1 => text("rmdir"),
        2 => text("excl"),
        3 => at().prop_map(|(n, at, l)| format!("write {n} {at} {l}")),
        1 => at().prop_map(|(n, at, l)| format!("sync {n} {at} {l}")),
        2 => (name(), 1u32..5000, 0u32..26).prop_map(|(n, len, l)| format!("append {n} {len} {l}")),
        1 => text("empty"),

        2 => text("unlink"),
        3 => two("rename"),
        1 => two("never"),
        1 => two("exchange"),
        1 => two("link"),
        1 => (name(), prop::sample::select(&["a", "d", "../b", "nowhere", "e/a"][..]))
            // From the root it would lead out of the directory.
            .prop_map(|(n, text)| format!("symlink {n} {}", text.trim_start_matches(if n.contains('/') { "" } else { "../" }))),
        1 => text("fifo"),
        1 => (name(), prop::sample::select(&["600", "755", "440"][..])).prop_map(|(n, m)| format!("chmod {n} {m}")),
        1 => text("time"),
        1 => (name(), "[a-z]{1,9}").prop_map(|(n, value)| format!("xattr {n} {value}")),
        2 => text("read"),
        1 => text("access"),
        1 => text("statfs"),
    ]
}

/// An open of a fifo would wait for its other end.
fn waits(step: &str, plain: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let mut words = step.split(' ');
    let opens = ["write", "sync", "append", "empty", "read"].contains(&words.next().unwrap());
    opens && plain.join(words.next().unwrap()).metadata().is_ok_and(|m| m.file_type().is_fifo())
}

fn plays(servers: &Servers, steps: &[(bool, String)]) -> Result<(), TestCaseError> {
    let home = home_on(servers, "");
    let nodes = [node(&home), node(&home)];
    let plain = tempfile::tempdir().unwrap();
    let mut model = Player::start(plain.path(), Vec::new(), Stdio::null());
    let mut players = [nodes[0].player(), nodes[1].player()];
    for (i, (second, step)) in steps.iter().enumerate() {
        if waits(step, plain.path()) {
            continue;
        }
        let expected = model.ask(step);
        let got = players[usize::from(*second)].ask(step);
        prop_assert_eq!(got, expected, "step {} on node {}: {}", i, u8::from(*second) + 1, step);
    }
    let expected = model.ask("tree");
    for (i, player) in players.iter_mut().enumerate() {
        prop_assert_eq!(player.ask("tree"), expected.clone(), "node {}: {}", i + 1, nodes[i].said());
    }
    Ok(())
}

#[test]
fn two_nodes_agree_with_one_directory() {
    let servers = Servers::up(&[]);
    // The same scripts each time; with IRIS_TEST_CASES=N so many others.
    let asked = std::env::var("IRIS_TEST_CASES").ok().map(|n| n.parse().unwrap());
    let config = ProptestConfig {
        cases: asked.unwrap_or(12),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = prop::collection::vec((any::<bool>(), step()), 1..60);
    let mut runner = match asked {
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config),
    };
    runner.run(&steps, |steps| plays(&servers, &steps)).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_name_is_made_by_one_node_only() {
    let servers = Servers::up(&[]);
    let home = home_on(&servers, "");
    let nodes = [node(&home), node(&home)];
    let mut players = [nodes[0].player(), nodes[1].player()];
    for verb in ["excl", "mkdir", "fifo"] {
        for round in 0..30 {
            let line = format!("{verb} {verb}{round}");
            players.iter_mut().for_each(|p| p.tell(&line));
            let mut answers = [players[0].answer(), players[1].answer()];
            answers.sort();
            assert_eq!(answers, ["0", "EEXIST"], "{line}");
        }
    }
    let expected = players[0].ask("tree");
    assert_eq!(players[1].ask("tree"), expected);
}

/// Programs of the differential harness, each natively on a plain directory and on a home that a second node then reads
/// through: words, statuses, trees and bytes must agree.
const PROGRAMS: &[Program] = &[
    alone("open_flags"),
    alone("chk_names"),
    alone("old_names"),
    together("append"),
    alone("stdio_modes"),
    together("procs_storm"),
    alone("close_to_open"),
];

#[test]
fn programs_on_one_node_leave_another_what_they_would_leave_a_directory() {
    let servers = Servers::up(&[]);
    let library = build::libiris_with_redis();
    let mut failed = Vec::new();
    for p in PROGRAMS {
        let program = build::program(p.name);
        let mut plain = Scene::new(p.name, "nodes-native", p.folders);
        let one = plain.run(&program, p, Place::Path, Vec::new());
        let home = home_on(&servers, "");
        let text = |s: String| -> &'static str { s.leak() };
        let env =
            vec![("IRIS_MOUNT", text(format!("{{virt}}={home}"))), ("IRIS_TIER0_STORAGE_PATH", "{other}")];
        let variant = Variant {
            name: "redis",
            place: Place::Virtual,
            env: env.leak(),
            shared: true,
            stages: true,
            drain: false,
        };
        let mut mounted = Scene::new(p.name, "nodes-redis", p.folders);
        let env = mounted.environment(&variant, Some(&library));
        let two = mounted.run(&program, p, Place::Virtual, env);
        // The other node has nothing but the home's address.
        let other = node(&home);
        let copy = other.folder.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        let copied = Command::new("cp")
            .args(["-a", "--sparse=never"])
            .arg(other.prefix().join("."))
            .arg(&copy)
            .envs(other.environment())
            .output()
            .unwrap();
        let mut say = pair::compare((&one, &plain.dir()), (&two, &copy), false);
        if !copied.status.success() {
            say.push(format!("cp: {}", String::from_utf8_lossy(&copied.stderr)));
        }
        if mounted.reported("opened") == 0 {
            say.push("the report tells of no mounted file: was Iris at work?".to_owned());
        }
        if !say.is_empty() {
            failed.push(format!("{}:\n    {}", p.name, say.join("\n    ")));
        }
    }
    assert!(failed.is_empty(), "(native | iris)\n{}", failed.join("\n"));
}

#[test]
fn what_another_node_has_sent_is_not_hidden_by_what_this_one_sends_next() {
    let servers = Servers::up(&[]);
    let home = home_on(&servers, "");
    let nodes = [node(&home), node(&home)];
    let mut players = [nodes[0].player(), nodes[1].player()];
    // Longer than a granule, so that each changes one that the other has whole.
    for at in ["0", "100000", "200000"] {
        assert_eq!(players[0].ask(&format!("write f {at} 1")), "3000");
    }
    assert_eq!(players[0].ask("open f 0"), "0");
    players[0].ask("readfd - 0");
    assert_eq!(players[1].ask("write f 0 2"), "3000");
    assert_eq!(players[0].ask("writefd 0 200000 3"), "3000");
    assert_eq!(players[0].ask("syncfd 0"), "0");
    let expected = players[1].ask("tree");
    assert_eq!(players[0].ask("tree"), expected, "{}", nodes[0].said());
    assert_eq!(players[0].ask("readfd - 0"), players[1].ask("read f"));
}

#[test]
fn a_program_that_ends_waits_once_for_a_server_that_does_not_answer() {
    let servers = Servers::up(&[]);
    let home = home_on(&servers, "&timeout_ms=500&connect_timeout_ms=500&deadline_ms=5000");
    let node = node(&home);
    let mut player = node.player();
    for i in 0..8 {
        assert_eq!(player.ask(&format!("write f{i} 0 1")), "3000");
        assert_eq!(player.ask(&format!("open f{i} {i}")), "0");
        assert_eq!(player.ask(&format!("writefd {i} 70000 2")), "3000");
    }
    let begun = Instant::now();
    servers.frozen(0, || drop(player));
    // Eight waits, and as many again from `_exit`, would be 40 or 80 s.
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}: {}", begun.elapsed(), node.said());
    let env: Vec<_> = node.environment().into_iter().map(|(k, v)| (k.into(), v.into())).collect();
    let env = [env, vec![("IRIS_STORES".into(), build::stores().into())]].concat();
    let drained = pair::iris(&["drain", "--json"], &env);
    assert!(
        drained.contains("\"complete\": true") && drained.matches("\"settled\"").count() == 8,
        "{drained}"
    );
    let expected = node.player().ask("tree");
    assert_eq!(expected.matches(",73000,73000,").count(), 8, "{expected}");
    assert_eq!(crate::node(&home).player().ask("tree"), expected);
}

#[test]
fn a_synchronous_write_is_seen_before_its_file_is_closed() {
    let servers = Servers::up(&[]);
    let home = home_on(&servers, "");
    let nodes = [node(&home), node(&home)];
    let mut players = [nodes[0].player(), nodes[1].player()];
    assert_eq!(players[0].ask("durable f 1000 1"), "3000");
    let expected = players[0].ask("read f");
    assert!(expected.starts_with("4000 "), "{expected}");
    assert_eq!(players[1].ask("read f"), expected, "{}", nodes[1].said());
}

#[test]
fn what_was_synced_outlives_a_killed_server() {
    let servers = Servers::up(&["--appendonly"]);
    let home = home_on(&servers, "&deadline_ms=60000");
    let nodes = [node(&home), node(&home)];
    let mut players = [nodes[0].player(), nodes[1].player()];
    for i in 0..20 {
        let line = format!("sync f{i} {} {}", i * 5000, i % 26);
        if i == 10 {
            servers.kill(0);
            players[0].tell(&line);
            servers.start(0);
            // A change of names whose answer was lost is not made twice: then the program is told, and asks again.
            if players[0].answer() != "3000" {
                assert_eq!(players[0].ask(&line), "3000", "{line}: {}", nodes[0].said());
            }
        } else {
            assert_eq!(players[i % 2].ask(&line), "3000", "{line}: {}", nodes[i % 2].said());
        }
    }
    servers.kill(0);
    servers.start(0);
    let expected = players[0].ask("tree");
    assert_eq!(expected.matches(":file,").count(), 20, "{expected}");
    assert_eq!(players[1].ask("tree"), expected);
    // And for a node that knew nothing of it before.
    let third = node(&home);
    assert_eq!(third.player().ask("tree"), expected);
}

#[test]
fn a_server_that_never_answers_is_waited_for_so_long_and_named() {
    let servers = Servers::up(&[]);
    let home = home_on(&servers, "&timeout_ms=300&connect_timeout_ms=300&deadline_ms=1500");
    let node = node(&home);
    let mut player = node.player();
    assert_eq!(player.ask("write a 0 1"), "3000");
    let before = player.ask("tree");
    servers.frozen(0, || {
        for call in ["read a", "mkdir d", "unlink a", "rename a b"] {
            let begun = Instant::now();
            assert_eq!(player.ask(call), "ETIMEDOUT", "{call}");
            // Far beyond every bound that is set here: it would hang.
            assert!(begun.elapsed() < Duration::from_secs(60), "{call} took {:?}", begun.elapsed());
        }
    });
    let said = node.said();
    for part in [servers.var("REDIS_SOCKET"), "/a: ", "when it answers again"] {
        assert!(said.contains(part), "\"{part}\" is not in: {said}");
    }
    // What was asked while it did not answer may have been carried out; nothing else has changed.
    assert_eq!(player.ask("excl other"), "0", "{}", node.said());
    let after = player.ask("tree");
    assert!(after.contains("other:file") && before.starts_with("tree a:file"), "{after}");
}
