//! A home on a real S3 server whose files are plain objects: what a program leaves there another client reads byte for
//! byte, what that client puts is a file at once, and what happens while both, or two nodes, change the same.
//!
//! Starts servers of its own with scripts/servers/moto, which needs Python, and uses its boto3 as the other client.

#![allow(clippy::unwrap_used)]

#[path = "../stores/s3/tests/support/proxy.rs"]
#[allow(dead_code)]
mod proxy;
mod support;

use proxy::{Harm, Proxy};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::build;
use support::node::Node;
use support::pair::{self, Place, Program, Scene, Variant, alone, together};
use support::servers::Servers;

/// A bucket of this process's own, for all its tests: each has a prefix of its own.
struct Bucket {
    servers: Servers,
    prefix: String,
}

/// A home below a prefix.
fn address(servers: &Servers, prefix: &str, endpoint: &str, options: &str) -> String {
    let (key, secret) = (servers.var("S3_ACCESS_KEY"), servers.var("S3_SECRET_KEY"));
    let place = format!("s3://{key}:{secret}@{}/{prefix}", servers.var("S3_BUCKET"));
    format!("{place}?endpoint={endpoint}&region=us-east-1{options}")
}

impl Bucket {
    fn new() -> Bucket {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Bucket { servers: Servers::of("moto", &[]), prefix: format!("p{n}") }
    }

    fn var(&self, name: &str) -> &str {
        self.servers.var(name)
    }

    /// The address of the home, through its own endpoint or another's.
    fn home_through(&self, endpoint: &str, options: &str) -> String {
        address(&self.servers, &self.prefix, endpoint, options)
    }

    fn home(&self) -> String {
        self.home_through(self.var("S3_ENDPOINT"), "")
    }

    fn node(&self) -> Node {
        Node::new(&self.home(), build::libiris_with_s3())
    }

    /// Runs Python with `s3` a client of boto3, `bucket` the bucket and `at(name)` the key of a name; gives what it prints.
    fn boto(&self, code: &str) -> String {
        let head = format!(
            "import sys, boto3\nfrom botocore.config import Config\n\
             s3 = boto3.client('s3', endpoint_url='{}', aws_access_key_id='{}', aws_secret_access_key='{}', \
             region_name='us-east-1', config=Config(proxies={{}}, s3={{'addressing_style': 'path'}}))\n\
             bucket = '{}'\nat = lambda name: '{}/' + name\n\
             put = lambda name, body, **more: s3.put_object(Bucket=bucket, Key=at(name), Body=body, **more)\n\
             get = lambda name: s3.get_object(Bucket=bucket, Key=at(name))['Body'].read()\n\
             meta = lambda name: s3.head_object(Bucket=bucket, Key=at(name))['Metadata']\n\
             names = lambda: [o['Key'][len(at('')):] for o in \
             s3.list_objects_v2(Bucket=bucket, Prefix=at('')).get('Contents', [])]\n",
            self.var("S3_ENDPOINT"),
            self.var("S3_ACCESS_KEY"),
            self.var("S3_SECRET_KEY"),
            self.var("S3_BUCKET"),
            self.prefix,
        );
        let output = Command::new("timeout")
            .args(["120", self.var("S3_PYTHON"), "-c", &format!("{head}{code}")])
            .output()
            .unwrap();
        assert!(output.status.success(), "boto3: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// Runs a program of the system on a node, and gives what it said.
fn run(node: &Node, program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).current_dir("/").envs(node.environment()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{program}: {}: {error}", output.status)) }
}

/// The mount's name of a name.
fn at(node: &Node, name: &str) -> String {
    node.prefix().join(name).to_str().unwrap().to_owned()
}

/// Bytes in which none is where another would be right.
const PATTERN: &str = "period = 251 * 256\n\
    pattern = lambda n, s: (bytes((i * 7 + i // 251 + s) % 256 for i in range(period)) * (n // period + 1))[:n]\n";

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + i / 251 + seed) % 256) as u8).collect()
}

#[test]
fn what_others_put_is_a_file_at_once() {
    let bucket = Bucket::new();
    bucket.boto(&format!(
        "{PATTERN}put('empty', b'')\nput('a', b'x')\nput('d/e/f', pattern(65536, 1))\n\
         put('d/long', pattern(9 << 20, 2))\nput('two words/\\u00e4', pattern(70001, 3))\n\
         put('run.sh', b'#!/bin/sh\\n', Metadata={{'mode': '33261', 'mtime': '1000000000.5', 'uid': '0', 'gid': '0'}})\n\
         put('link', b'd/e/f', Metadata={{'mode': str(0o120777)}})\nput('marked/', b'', Metadata={{'mode': str(0o40700)}})\n\
         put('d//odd', b'')\nput('.iris-probe-x', b'')",
    ));
    let node = bucket.node();
    let list = run(&node, "find", &[&at(&node, ""), "-printf", "%P %y %m %s %l\\n"]).unwrap();
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    let expected = [
        "a f 644 1 ",
        "d d 755 ",
        "d/e d 755 ",
        "d/e/f f 644 65536 ",
        "d/long f 644 9437184 ",
        "empty f 644 0 ",
        "link l 777 5 d/e/f",
        "marked d 700 ",
        "run.sh f 755 10 ",
        "two words d 755 ",
        "two words/ä f 644 70001 ",
    ];
    // What a directory's length is, is the node's own affair.
    let bare = |line: &str| match line.split(' ').nth_back(3) {
        Some("d") => line.rsplitn(3, ' ').nth(2).unwrap().to_owned() + " ",
        _ => line.to_owned(),
    };
    let found: Vec<String> = lines.iter().filter(|l| !l.starts_with(" d ")).map(|l| bare(l)).collect();
    assert_eq!(found, expected);
    let time = run(&node, "stat", &["-c", "%.9Y", &at(&node, "run.sh")]).unwrap();
    assert_eq!(time, "1000000000.500000000\n");
    let copies = tempfile::tempdir().unwrap();
    for (name, len, seed) in
        [("d/e/f", 65536, 1), ("link", 65536, 1), ("d/long", 9 << 20, 2), ("two words/ä", 70001, 3)]
    {
        let copy = copies.path().join("copy");
        run(&node, "cp", &[&at(&node, name), copy.to_str().unwrap()]).unwrap();
        assert!(std::fs::read(copy).unwrap() == pattern(len, seed), "{name}");
    }
}

#[test]
fn a_file_is_an_object_that_others_read() {
    let bucket = Bucket::new();
    let node = bucket.node();
    let here = tempfile::tempdir().unwrap();
    let lengths = [0, 1, 4096, 65536, 65537, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 21 << 20];
    for (i, len) in lengths.iter().enumerate() {
        let file = here.path().join(format!("f{i}"));
        std::fs::write(&file, pattern(*len, i)).unwrap();
        let target = at(&node, &format!("x{i}"));
        run(&node, "cp", &[file.to_str().unwrap(), &target]).unwrap();
    }
    run(
        &node,
        "sh",
        &[
            "-c",
            "cd $0 && mkdir -m 750 d && echo hello >d/f && chmod 640 d/f && ln -s d/f l && mv x1 d/y",
            &at(&node, ""),
        ],
    )
    .unwrap();
    let said = bucket.boto(&format!(
        "{PATTERN}for i, n in enumerate([{}]):\n  assert get('d/y' if i == 1 else 'x%d' % i) == pattern(n, i), i\n\
         print(names())\nprint(meta('d/f')['mode'], meta('d/')['mode'], meta('l')['mode'], get('d/f'), get('l'))",
        lengths.map(|l| l.to_string()).join(","),
    ));
    let names = "['d/', 'd/f', 'd/y', 'l', 'x0', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8']";
    let modes = format!("{} {} {}", 0o100_640, 0o40_750, 0o120_777);
    assert_eq!(said, format!("{names}\n{modes} b'hello\\n' b'd/f'"));
    // What a program changes in place is the object's afterwards, whether it is sent or copied by the server.
    let mut player = node.player();
    for (name, offset) in [("x0", 5000), ("x4", 65000), ("x8", 20 << 20), ("x8", 11 << 20)] {
        assert_eq!(player.ask(&format!("write {name} {offset} 2")), "3000", "{}", node.said());
    }
    bucket.boto(&format!(
        "{PATTERN}def is_now(name, body, *places):\n  body = bytearray(body)\n  for p in places:\n    \
         body += bytes(max(0, p + 3000 - len(body)))\n    body[p:p + 3000] = b'c' * 3000\n  \
         assert get(name) == body, name\nis_now('x0', b'', 5000)\nis_now('x4', pattern(65537, 4), 65000)\n\
         is_now('x8', pattern(21 << 20, 8), 20 << 20, 11 << 20)",
    ));
}

#[test]
fn what_others_replace_or_delete_is_seen_at_the_next_open() {
    let bucket = Bucket::new();
    let node = bucket.node();
    let mut player = node.player();
    bucket.boto("put('f', b'a' * 200000)\nput('gone', b'x')\nput('d/only', b'x')");
    let sum = |text: &str| text.split(' ').nth(1).unwrap().to_owned();
    let first = player.ask("read f");
    assert_eq!(player.ask("read gone").split(' ').next(), Some("1"));
    assert_eq!(player.ask("open f 0"), "0");
    assert_eq!(player.ask("onefd 0 0"), "97");
    bucket.boto("put('f', b'b' * 200000)\ns3.delete_object(Bucket=bucket, Key=at('gone'))\ns3.delete_object(Bucket=bucket, Key=at('d/only'))");
    let second = player.ask("read f");
    assert!(second.starts_with("200000 ") && sum(&first) != sum(&second), "{first} {second}");
    assert_eq!(player.ask("read gone"), "ENOENT");
    assert_eq!(player.ask("read d/only"), "ENOENT");
    bucket.boto("put('f', b'c' * 5)");
    assert_eq!(player.ask("read f").split(' ').next(), Some("5"));
    assert!(player.ask("tree").starts_with("tree f:file,644,5,5,"));
}

#[test]
fn a_reader_never_sees_two_versions_as_one() {
    let bucket = Bucket::new();
    let node = bucket.node();
    let mut player = node.player();
    bucket.boto("put('f', b'a' * (40 << 20))");
    assert_eq!(player.ask("open f 0"), "0");
    assert_eq!(player.ask("onefd 0 0"), "97");
    bucket.boto("put('f', b'b' * (40 << 20))");
    // What is here of the old version is read; what is not is no byte of the new one.
    assert_eq!(player.ask("onefd 0 0"), "97");
    assert_eq!(player.ask("onefd 0 41000000"), "ESTALE");
    assert!(node.said().contains("another client has replaced"), "{}", node.said());
    assert_eq!(player.ask("open f 1"), "0");
    assert_eq!(player.ask("onefd 1 41000000"), "98");
    assert_eq!(player.ask("onefd 1 0"), "98");
}

#[test]
fn of_two_writers_one_is_told() {
    let bucket = Bucket::new();
    let nodes = [bucket.node(), bucket.node()];
    let mut players = [nodes[0].player(), nodes[1].player()];
    assert_eq!(players[0].ask("write f 0 0"), "3000", "{}", nodes[0].said());
    for player in &mut players {
        assert_eq!(player.ask("open f 0"), "0");
    }
    assert_eq!(players[0].ask("writefd 0 100 23"), "3000");
    assert_eq!(players[1].ask("writefd 0 200 24"), "3000");
    assert_eq!(players[1].ask("close - 0"), "0");
    assert_eq!(players[0].ask("syncfd 0"), "ESTALE");
    let said = nodes[0].said();
    assert!(said.contains("/f\"") || said.contains("object \"f\""), "{said}");
    assert!(said.contains("another client has replaced") && said.contains("O_TRUNC"), "{said}");
    bucket.boto("assert get('f') == b'a' * 200 + b'y' * 3000");
    assert_eq!(players[0].ask("close - 0"), "ESTALE");
    // Whoever writes all of it anew, after that, means to.
    assert_eq!(players[0].ask("make f 0"), "0");
    assert_eq!(players[0].ask("writefd 0 0 25"), "3000");
    assert_eq!(players[0].ask("close - 0"), "0", "{}", nodes[0].said());
    bucket.boto("assert get('f') == b'z' * 3000");
    assert_eq!(players[1].ask("read f"), players[0].ask("read f"));
}

#[test]
fn a_name_is_made_by_one_node_only() {
    let bucket = Bucket::new();
    let nodes = [bucket.node(), bucket.node()];
    let mut players = [nodes[0].player(), nodes[1].player()];
    for verb in ["excl", "mkdir"] {
        for round in 0..10 {
            let line = format!("{verb} {verb}{round}");
            players.iter_mut().for_each(|p| p.tell(&line));
            let mut answers = [players[0].answer(), players[1].answer()];
            answers.sort();
            assert_eq!(answers, ["0", "EEXIST"], "{line}");
        }
    }
    assert_eq!(players[0].ask("tree"), players[1].ask("tree"));
}

#[test]
fn what_no_object_can_be_is_refused() {
    let bucket = Bucket::new();
    let node = bucket.node();
    let mut player = node.player();
    assert_eq!(player.ask("write f 0 0"), "3000");
    assert_eq!(player.ask("write g 0 1"), "3000");
    assert_eq!(player.ask("link f h"), "EPERM");
    assert_eq!(player.ask("exchange f g"), "EINVAL");
    assert_eq!(player.ask("never f g"), "EEXIST");
    assert_eq!(player.ask("never f h"), "0");
    let newline = run(&node, "sh", &["-c", "echo x >\"$0/a\nb\"", &at(&node, "")]);
    assert!(newline.as_ref().is_err_and(|e| e.contains("Invalid argument")), "{newline:?}");
    let long = "n".repeat(250);
    let deep =
        format!("mkdir -p $0/{long}/{long}/{long}/{long} && mkdir $0/{long}/{long}/{long}/{long}/{long}");
    let refused = run(&node, "sh", &["-c", &deep, &at(&node, "")]);
    assert!(refused.as_ref().is_err_and(|e| e.contains("File name too long")), "{refused:?}");
    bucket.boto("assert get('h') == b'a' * 3000 and get('g') == b'b' * 3000 and 'f' not in names()");
}

#[test]
fn directories_move_with_all_that_is_below() {
    let bucket = Bucket::new();
    let nodes = [bucket.node(), bucket.node()];
    let mut players = [nodes[0].player(), nodes[1].player()];
    bucket.boto("put('a/b/c', b'1')\nput('a/b/d', b'2' * (9 << 20))\nput('a/e', b'3')");
    assert_eq!(players[0].ask("open a/b/c 0"), "0");
    assert_eq!(players[0].ask("writefd 0 0 23"), "3000");
    assert_eq!(players[0].ask("rename a z"), "0", "{}", nodes[0].said());
    assert_eq!(players[0].ask("close - 0"), "0", "{}", nodes[0].said());
    bucket.boto(
        "assert get('z/b/c') == b'x' * 3000 and get('z/b/d') == b'2' * (9 << 20) and get('z/e') == b'3'\n\
         assert not [n for n in names() if n.startswith('a')], names()",
    );
    let tree = players[0].ask("tree");
    assert_eq!(players[1].ask("tree"), tree);
    assert!(tree.starts_with("tree z:dir,755 z/b:dir,755 z/b/c:file,644,3000,"), "{tree}");
    // The last name below a directory goes without the directory.
    assert_eq!(players[1].ask("unlink z/e"), "0");
    assert_eq!(players[1].ask("rename z/b y"), "0");
    let tree = players[1].ask("tree");
    assert!(tree.contains(" y/b") || tree.contains(" y/c:file") && tree.contains(" z:dir"), "{tree}");
    assert_eq!(players[0].ask("tree"), tree);
    assert_eq!(players[0].ask("rmdir y"), "ENOTEMPTY");
    assert_eq!(players[0].ask("rmdir z"), "0");
    assert_eq!(players[0].ask("rename y/c y/d/e"), "ENOTDIR");
}

#[test]
fn files_longer_than_what_is_kept_near() {
    let bucket = Bucket::new();
    bucket.boto(&format!("{PATTERN}put('big', pattern(24 << 20, 5))"));
    let node = bucket.node();
    let here = tempfile::tempdir().unwrap();
    let copy = here.path().join("copy");
    let output = Command::new("cp")
        .args([at(&node, "big"), copy.to_str().unwrap().to_owned()])
        .envs(node.environment())
        .env("IRIS_TIER0_ANCHORS", "1MiB")
        .env("IRIS_TIER0_MEMORY", "1MiB")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read(&copy).unwrap() == pattern(24 << 20, 5));
    let output = Command::new("cp")
        .args([copy.to_str().unwrap().to_owned(), at(&node, "back")])
        .envs(node.environment())
        .env("IRIS_TIER0_ANCHORS", "1MiB")
        .env("IRIS_TIER0_MEMORY", "1MiB")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bucket.boto(&format!("{PATTERN}assert get('back') == pattern(24 << 20, 5)"));
}

/// A sender that is killed at each of its requests leaves the old object or the new one, and what it had not sent is sent
/// by the next that looks, or by `iris drain`.
#[test]
fn a_killed_sender_leaves_the_old_object_or_the_new_one() {
    let bucket = Bucket::new();
    let (stop, seen) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
    let after = Arc::new(AtomicBool::new(false));
    let proxy = Proxy::start(bucket.var("S3_ENDPOINT"), {
        let (stop, seen, after) = (stop.clone(), seen.clone(), after.clone());
        move |_, request| {
            // What changes something is counted: parts, and the end of an upload.
            if request.line.starts_with("GET ") || request.line.starts_with("HEAD ") {
                return Harm::None;
            }
            let n = seen.fetch_add(1, Ordering::SeqCst);
            match n.cmp(&stop.load(Ordering::SeqCst)) {
                std::cmp::Ordering::Less => Harm::None,
                std::cmp::Ordering::Equal if after.load(Ordering::SeqCst) => Harm::LoseAnswer,
                _ => Harm::Silence,
            }
        }
    });
    let node = Node::new(&bucket.home_through(&proxy.endpoint, ""), build::libiris_with_s3());
    let mut rounds = 0;
    for (name, len) in [("short", 70_000), ("long", 20 << 20)] {
        for done in [false, true] {
            for at_request in [0, 1, 4] {
                if name == "short" && at_request > 0 {
                    continue;
                }
                stop.store(usize::MAX, Ordering::SeqCst);
                bucket.boto(&format!("put('{name}', b'o' * {len})"));
                let mut player = node.player();
                assert_eq!(player.ask(&format!("open {name} 0")), "0", "{}", node.said());
                let middle = len / 2;
                assert_eq!(player.ask(&format!("writefd 0 {middle} 13")), "3000");
                assert_eq!(player.ask("writefd 0 0 13"), "3000");
                seen.store(0, Ordering::SeqCst);
                after.store(done, Ordering::SeqCst);
                stop.store(at_request, Ordering::SeqCst);
                player.tell("syncfd 0");
                let begun = Instant::now();
                while seen.load(Ordering::SeqCst) <= at_request && begun.elapsed() < Duration::from_secs(30) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // Whoever sends more than that has nothing left to send: then it has answered.
                if seen.load(Ordering::SeqCst) > at_request {
                    rounds += 1;
                    player.child.kill().unwrap();
                    player.child.wait().unwrap();
                }
                drop(player);
                stop.store(usize::MAX, Ordering::SeqCst);
                let is = format!(
                    "old = b'o' * {len}\nnew = b'n' * 3000 + old[3000:{middle}] + b'n' * 3000 + old[{middle} + 3000:]\n\
                     is_now = get('{name}')\n"
                );
                bucket.boto(&format!("{is}assert is_now in (old, new)"));
                let drained = pair::iris(&["drain", "--json"], &environment(&node));
                assert!(drained.contains("\"complete\": true"), "{drained}");
                bucket.boto(&format!("{is}assert is_now == new"));
            }
        }
    }
    assert!(rounds >= 4, "{rounds} senders were killed");
}

fn environment(node: &Node) -> Vec<(OsString, OsString)> {
    with_stores(node.environment().into_iter().map(|(k, v)| (k.into(), v.into_os_string())).collect())
}

/// The command lies in another folder than the stores' libraries.
fn with_stores(mut env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    env.push(("IRIS_STORES".into(), build::libiris_with_s3().parent().unwrap().into()));
    env
}

#[test]
fn a_server_that_fails_is_waited_for_so_long_and_named() {
    let bucket = Bucket::new();
    let mode = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::start(bucket.var("S3_ENDPOINT"), {
        let mode = mode.clone();
        move |_, _| match mode.load(Ordering::SeqCst) {
            0 => Harm::None,
            1 => Harm::Answer(503, "SlowDown"),
            2 => Harm::Silence,
            _ => Harm::Answer(403, "ExpiredToken"),
        }
    });
    let home = bucket.home_through(&proxy.endpoint, "&timeout=0.3&deadline=1.5&retries=2");
    let node = Node::new(&home, build::libiris_with_s3());
    let mut player = node.player();
    assert_eq!(player.ask("write kept 0 0"), "3000", "{}", node.said());
    assert_eq!(player.ask("open kept 0"), "0");
    for (kind, error, word) in
        [(1, "ETIMEDOUT", "SlowDown"), (2, "ETIMEDOUT", "within"), (3, "EACCES", "expired")]
    {
        mode.store(kind, Ordering::SeqCst);
        assert_eq!(player.ask(&format!("writefd 0 {} 23", kind * 10_000)), "3000");
        for call in ["syncfd 0", "read kept", "mkdir d", "unlink kept", "rename kept other"] {
            let begun = Instant::now();
            assert_eq!(player.ask(call), error, "{call}: {}", node.said());
            // Far beyond every bound that is set here: it would hang.
            assert!(begun.elapsed() < Duration::from_secs(60), "{call} took {:?}", begun.elapsed());
        }
        let said = node.said();
        assert!(said.contains(word) && said.contains(bucket.var("S3_BUCKET")), "{word}: {said}");
        assert!(!said.contains(bucket.var("S3_SECRET_KEY")), "{said}");
        mode.store(0, Ordering::SeqCst);
        assert_eq!(player.ask("syncfd 0"), "0", "{}", node.said());
    }
    bucket.boto(
        "body = bytearray(33000)\nbody[:3000] = b'a' * 3000\n\
         for k in (1, 2, 3): body[k * 10000:k * 10000 + 3000] = b'x' * 3000\nassert get('kept') == body\n\
         assert names() == ['kept'], names()",
    );
}

/// Programs of the differential harness, each natively on a plain directory and on a home that a second node then reads
/// through: words, statuses, trees and bytes must agree. Those that make hard links, or names that are not UTF-8, are not
/// among them.
const PROGRAMS: &[Program] = &[
    alone("rw_sizes"),
    alone("seek"),
    together("append"),
    together("truncate"),
    alone("stdio_modes"),
    alone("close_to_open"),
    together("mmap_mix"),
    alone("streams"),
];

#[test]
fn programs_on_one_node_leave_another_what_they_would_leave_a_directory() {
    let bucket = Bucket::new();
    let library = build::libiris_with_s3();
    let mut failed = Vec::new();
    for (i, p) in PROGRAMS.iter().enumerate() {
        if !std::env::var("IRIS_TEST_PROGRAMS").map_or(true, |list| list.split(',').any(|n| n == p.name)) {
            continue;
        }
        let program = build::program(p.name);
        let mut plain = Scene::new(p.name, "objects-native", p.folders);
        let one = plain.run(&program, p, Place::Path, Vec::new());
        let home = address(&bucket.servers, &format!("program{i}"), bucket.var("S3_ENDPOINT"), "");
        let text = |s: String| -> &'static str { s.leak() };
        let env =
            vec![("IRIS_MOUNT", text(format!("{{virt}}={home}"))), ("IRIS_TIER0_STORAGE_PATH", "{other}")];
        let variant = Variant {
            name: "s3",
            place: Place::Virtual,
            env: env.leak(),
            shared: true,
            stages: true,
            drain: false,
        };
        let mut mounted = Scene::new(p.name, "objects-s3", p.folders);
        let env = mounted.environment(&variant, Some(&library));
        let two = mounted.run(&program, p, Place::Virtual, env.clone());
        // What processes left that were killed in their tests.
        let drained = pair::iris(&["drain", "--json"], &with_stores(env));
        assert!(drained.contains("\"complete\": true"), "{drained}");
        // The other node has nothing but the home's address.
        let other = Node::new(&home, library.clone());
        let copy: PathBuf = other.folder.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        let from = other.prefix().join(".");
        let copied =
            run(&other, "cp", &["-a", "--sparse=never", from.to_str().unwrap(), copy.to_str().unwrap()]);
        let mut say = pair::compare((&one, &plain.dir()), (&two, &copy), false);
        say.extend(copied.err());
        if mounted.reported("opened") == 0 {
            say.push("the report tells of no mounted file: was Iris at work?".to_owned());
        }
        if !say.is_empty() {
            failed.push(format!("{}:\n    {}", p.name, say.join("\n    ")));
        }
    }
    assert!(failed.is_empty(), "(native | iris)\n{}", failed.join("\n"));
}

/// What `iris fsck` finds: of each thing the word, what becomes of it, and its key.
fn fsck(node: &Node, options: &[&str]) -> Vec<[String; 3]> {
    let mount = node.prefix().to_str().unwrap().to_owned();
    let (code, out, err) = node.iris(&[&["fsck", &mount, "--json"][..], options].concat());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(code, i32::from(!findings.is_empty()), "{out}{err}");
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    findings.iter().map(|f| ["what", "fate", "key"].map(|key| text(f, key))).collect()
}

#[test]
fn what_no_name_can_lead_to_is_told_and_left_alone() {
    let bucket = Bucket::new();
    let node = bucket.node();
    let mut player = node.player();
    for line in ["mkdir d", "write d/f 0 1", "write g 0 1", "symlink l d/f"] {
        assert_ne!(player.ask(line).chars().next(), Some('E'), "{line}");
    }
    assert_eq!(fsck(&node, &[]), [[""; 3]; 0]);
    // One that has just been made may be being asked with.
    bucket.boto("put('d//odd', b'1')\nput('g/below', b'2')\nput('g/', b'')\nput('.iris-probe-x', b'')");
    let names = bucket.boto("print(names())");
    let found = [["foreign", "told", "d//odd"], ["hidden", "told", "g/"], ["hidden", "told", "g/below"]];
    assert_eq!(fsck(&node, &["--repair", "--unused"]), found);
    assert_eq!(bucket.boto("print(names())"), names);
    // What a killed process leaves on its node.
    assert_eq!(player.ask("open d/f 0"), "0");
    assert_eq!(player.ask("unlink d/f"), "0");
    assert_eq!(fsck(&node, &["--repair"]), found, "a living process has it open");
    player.child.kill().unwrap();
    player.child.wait().unwrap();
    let left = [&found[..], &[["control", "repaired", ""]]].concat();
    assert_eq!(fsck(&node, &["--repair"]), left);
    assert_eq!(fsck(&node, &[]), found);
}

#[test]
fn a_crawl_spares_later_calls_the_store_and_can_be_repeated() {
    let bucket = Bucket::new();
    bucket.boto("for i in range(40):\n  put('d/e/f%d' % i, b'x' * i)\nput('big', b'x' * 9999)");
    let mut heads = [0; 2];
    for (crawled, heads) in [false, true].into_iter().zip(&mut heads) {
        let proxy = Proxy::start(bucket.var("S3_ENDPOINT"), |_, _| Harm::None);
        let home = bucket.home_through(&proxy.endpoint, "&conditional=yes");
        let node = Node::new(&home, build::libiris_with_s3());
        let crawl = |expected: &str| {
            let (code, out, err) = node.iris(&["crawl", &at(&node, "")]);
            assert!(code == 0 && err.is_empty() && out.ends_with(expected), "{out}{err}");
        };
        if crawled {
            crawl("43 names in 3 directories; 43 new, 0 changed, 0 gone\n");
        }
        let before = proxy.count();
        let list = run(&node, "ls", &["-1", &at(&node, "d/e")]).unwrap();
        assert_eq!(list.lines().count(), 40);
        *heads = proxy.lines()[before..].iter().filter(|l| l.starts_with("HEAD ")).count();
        if crawled {
            crawl("43 names in 3 directories; 0 new, 0 changed, 0 gone\n");
            bucket.boto(
                "put('d/e/f7', b'another')\ns3.delete_object(Bucket=bucket, Key=at('d/e/f8'))\nput('d/new', b'1')",
            );
            crawl("43 names in 3 directories; 1 new, 1 changed, 1 gone\n");
            assert_eq!(run(&node, "cat", &[&at(&node, "d/e/f7")]).unwrap(), "another");
        }
    }
    // One for each object that might be a link, where it is not known.
    assert!(heads[1] + 40 <= heads[0], "{heads:?}");
}
