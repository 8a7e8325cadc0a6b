//! `iris fsck` and `iris crawl` on a home that nodes share on a real Redis: what one node may do to what another has, and
//! what it need not ask for any more.
//!
//! Starts servers of its own with scripts/servers/redis, which needs redis-server.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::build;
use support::node::Node;
use support::servers::Servers;

/// Nodes with one home on a server.
fn nodes<const N: usize>(servers: &Servers, options: &str) -> [Node; N] {
    let home = format!("redis+unix://{}?name=upkeep{options}", servers.var("REDIS_SOCKET"));
    std::array::from_fn(|_| Node::new(&home, build::libiris_with_redis()))
}

fn mount(node: &Node) -> String {
    node.prefix().to_str().unwrap().to_owned()
}

/// What `iris fsck` finds there: exit code, and of each thing the word, what becomes of it, and how many objects it is.
fn fsck(node: &Node, options: &[&str]) -> Vec<(String, String, u64)> {
    let mount = mount(node);
    let args = [&["fsck", &mount, "--json"][..], options].concat();
    let (code, out, err) = node.iris(&args);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(code, i32::from(!findings.is_empty()), "{out}{err}");
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap().to_owned();
    findings.iter().map(|f| (text(f, "what"), text(f, "fate"), f["objects"].as_u64().unwrap())).collect()
}

fn found(what: &str, fate: &str, objects: u64) -> (String, String, u64) {
    (what.into(), fate.into(), objects)
}

#[test]
fn what_another_node_may_have_open_stays() {
    let servers = Servers::up(&[]);
    let nodes: [Node; 2] = nodes(&servers, "");
    let mut players = [nodes[0].player(), nodes[1].player()];
    assert_eq!(players[1].ask("write kept 0 1"), "3000");
    assert_eq!(players[0].ask("write f 0 2"), "3000");
    assert_eq!(players[0].ask("write f 1500000 3"), "3000");
    assert_eq!(players[0].ask("open f 0"), "0");
    let (whole, kept) = (players[0].ask("readfd - 0"), players[0].ask("read kept"));
    assert_eq!((fsck(&nodes[0], &[]), fsck(&nodes[1], &[])), (vec![], vec![]));
    assert_eq!(players[0].ask("unlink f"), "0");
    // On its own node it is known who has it; no other can know.
    assert_eq!(fsck(&nodes[0], &["--repair", "--unused"]), []);
    for options in [&[][..], &["--repair"], &["--unused"]] {
        let fate = if options == ["--unused"] { "removable" } else { "kept" };
        assert_eq!(fsck(&nodes[1], options), [found("orphan", fate, 2)]);
    }
    assert_eq!(fsck(&nodes[1], &[]), [found("orphan", "kept", 2)], "nothing was deleted");
    assert_eq!(players[0].ask("readfd - 0"), whole);
    // Its process is killed: nobody has it, and somebody has to say so.
    players[0].child.kill().unwrap();
    players[0].child.wait().unwrap();
    assert_eq!(fsck(&nodes[1], &["--repair"]), [found("orphan", "kept", 2)]);
    let (code, out, _) = nodes[1].iris(&["fsck", &mount(&nodes[1])]);
    assert!(code == 1 && out.contains("another node may be using it") && out.contains("--unused"), "{out}");
    assert_eq!(fsck(&nodes[1], &["--repair", "--unused"]), [found("orphan", "repaired", 2)]);
    assert_eq!(fsck(&nodes[1], &[]), []);
    assert_eq!(fsck(&nodes[0], &["--repair"]), [found("control", "repaired", 0)]);
    assert_eq!(fsck(&nodes[0], &[]), []);
    assert_eq!(players[1].ask("read kept"), kept);
}

#[test]
fn nodes_at_work_lose_nothing_to_a_repair() {
    let servers = Servers::up(&[]);
    let nodes: [Node; 2] = nodes(&servers, "");
    let mut players = [nodes[0].player(), nodes[1].player()];
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        for (i, player) in players.iter_mut().enumerate() {
            let stop = &stop;
            s.spawn(move || {
                let mut round = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    round += 1;
                    let (a, b) = (format!("n{i}-{round}"), format!("m{i}-{round}"));
                    assert_eq!(player.ask(&format!("write {a} 0 {}", round % 26)), "3000");
                    assert_eq!(player.ask(&format!("sync {a} 1200000 {}", round % 25)), "3000");
                    assert_eq!(player.ask(&format!("rename {a} {b}")), "0");
                    if round % 2 == 0 {
                        assert_eq!(player.ask(&format!("unlink {b}")), "0");
                    }
                }
            });
        }
        for _ in 0..4 {
            for node in &nodes {
                let (code, out, err) = node.iris(&["fsck", &mount(node), "--repair"]);
                assert!(code <= 1 && !out.contains("put the file back"), "{out}{err}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!((fsck(&nodes[0], &[]), fsck(&nodes[1], &[])), (vec![], vec![]));
    let tree = players[0].ask("tree");
    assert!(tree.matches(",1203000,1203000,").count() > 1, "{tree}");
    // Read by each from the store: it has written the half of them only.
    assert_eq!(players[1].ask("tree"), tree);
}

#[test]
fn a_store_that_does_not_answer_is_named_with_exit_code_2() {
    let servers = Servers::up(&[]);
    let [node] = nodes(&servers, "&timeout_ms=300&connect_timeout_ms=300&deadline_ms=1500");
    assert_eq!(node.player().ask("write f 0 1"), "3000");
    servers.frozen(0, || {
        let begun = Instant::now();
        let (code, out, err) = node.iris(&["fsck", &mount(&node)]);
        assert!((code, out.as_str()) == (2, "") && err.contains(servers.var("REDIS_SOCKET")), "{out}{err}");
        let (code, _, err) = node.iris(&["crawl", &mount(&node)]);
        assert!(code == 1 && err.contains(servers.var("REDIS_SOCKET")), "{err}");
        // Far beyond every bound that is set here: it would hang.
        assert!(begun.elapsed() < Duration::from_secs(60));
    });
    assert_eq!(fsck(&node, &[]), []);
}

/// The files below a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.map(|p| if p.is_dir() { files(&p) } else { 1 }).sum()
}

/// How often the server was asked for names.
fn asked(servers: &Servers) -> u64 {
    let output = Command::new("redis-cli")
        .args(["-s", servers.var("REDIS_SOCKET"), "info", "commandstats"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let calls = |l: &str| l.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse().ok();
    text.lines().find_map(calls).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_crawl_brings_names_ahead_and_counts_what_has_changed() {
    let servers = Servers::up(&[]);
    let nodes: [Node; 3] = nodes(&servers, "");
    let mut writer = nodes[0].player();
    for dir in ["d", "d/e", "other"] {
        assert_eq!(writer.ask(&format!("mkdir {dir}")), "0");
        for i in 0..20 {
            assert_eq!(writer.ask(&format!("write {dir}/f{i} {} 1", i * 100)), "3000");
        }
    }
    let crawl = |node: &Node, paths: &[&str]| {
        let mount = mount(node);
        let (code, out, err) = node.iris(&[&["crawl", &mount][..], paths].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out.trim_end().split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(crawl(&nodes[1], &["d"]), "41 names in 2 directories; 41 new, 0 changed, 0 gone");
    assert_eq!(crawl(&nodes[1], &[]), "63 names in 4 directories; 21 new, 0 changed, 0 gone");
    assert_eq!(crawl(&nodes[1], &[]), "63 names in 4 directories; 0 new, 0 changed, 0 gone");
    let anchors = |node: &Node| {
        let homes = std::fs::read_dir(node.folder.path().join("disk")).unwrap().next();
        let homes = homes.unwrap().unwrap().path().join("homes");
        files(&std::fs::read_dir(homes).unwrap().next().unwrap().unwrap().path().join("tree"))
    };
    assert_eq!(anchors(&nodes[1]), 60);
    // What was brought need not be asked for twice: once to see that it is not there, and once in the node's turn.
    let mut counts = [0; 2];
    let mut trees = [String::new(), String::new()];
    for (i, node) in nodes[1..].iter().enumerate() {
        let mut player = node.player();
        let before = asked(&servers);
        trees[i] = player.ask("tree");
        counts[i] = asked(&servers) - before;
    }
    assert_eq!(trees[0], trees[1]);
    assert!(counts[0] < counts[1], "{counts:?}");
    // What others do is picked up.
    assert_eq!(writer.ask("write d/f3 0 2"), "3000");
    assert_eq!(writer.ask("unlink other/f0"), "0");
    assert_eq!(writer.ask("rename d/e d/g"), "0");
    assert_eq!(writer.ask("write new 0 2"), "3000");
    assert_eq!(crawl(&nodes[1], &[]), "63 names in 4 directories; 22 new, 1 changed, 2 gone");
    assert_eq!(crawl(&nodes[1], &[]), "63 names in 4 directories; 0 new, 0 changed, 0 gone");
    assert_eq!(nodes[1].player().ask("tree"), writer.ask("tree"));
    let (code, _, err) = nodes[1].iris(&["crawl", &mount(&nodes[1]), "nowhere", "/elsewhere", "d/../d"]);
    assert!(code == 1 && err.contains("nowhere: No such file") && err.contains("not in the mount"), "{err}");
    assert!(err.contains("without \"..\""), "{err}");
    assert_eq!(crawl(&nodes[1], &["new"]), "1 name in 0 directories; 0 new, 0 changed, 0 gone");
}

#[test]
fn a_crawl_shows_on_a_terminal_how_far_it_is() {
    let servers = Servers::up(&[]);
    let [node, other] = nodes(&servers, "");
    assert_eq!(node.player().ask("write f 0 1"), "3000");
    // What `script` runs has a terminal.
    let crawl = other.iris_command(&["crawl", &mount(&other)]);
    let words: Vec<&str> =
        [crawl.get_program()].into_iter().chain(crawl.get_args()).map(|w| w.to_str().unwrap()).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    let env = crawl.get_envs().filter_map(|(k, v)| Some((k, v?)));
    let output = script.envs(env).stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("\r[####"), "{said}");
    assert!(said.contains("1 of 1 directory, 1 name") && said.contains("1 new, 0 changed, 0 gone"), "{said}");
}
