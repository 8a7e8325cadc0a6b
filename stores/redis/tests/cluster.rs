//! A cluster of three masters: slots that move under load, a master that dies, a replica that takes over, scripts.

mod support;

use iris_store::{Kind, ListRequest, Outcome, Reply, Request, Result, Run, Script};
use redis::Value;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use support::servers::Servers;
use support::{get, open, put, put_all};

const SHORT: &str = "connect_timeout_ms=300&timeout_ms=300&deadline_ms=2000";
const PATIENT: &str = "connect_timeout_ms=2000&timeout_ms=5000&deadline_ms=60000";

fn address(servers: &Servers, options: &str) -> String {
    format!(
        "{}?cluster=yes&{options}",
        servers.var("REDIS_URLS").replace("redis://", "").split(' ').fold(
            "redis://".to_owned(),
            |all, host| if all.ends_with('/') { all + host } else { all + "," + host }
        )
    )
}

fn keys(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("key {i}").into_bytes()).collect()
}

fn all_ok(outcomes: &[Result<Outcome>]) {
    for (i, outcome) in outcomes.iter().enumerate() {
        assert!(outcome.is_ok(), "{i}: {outcome:?}");
    }
}

#[test]
fn a_batch_reaches_all_masters() {
    let servers = Servers::up("redis", &["--cluster"]);
    // One host is enough to find the others.
    let store = open(&format!("{}?cluster=yes", servers.var("REDIS_URL")));
    all_ok(&put_all(&*store, &keys(300), b"spread"));
    for i in 0..3 {
        let Value::Int(count) = servers.tell(i, &["DBSIZE"]) else { panic!("no number") };
        assert!(count > 50, "server {i} has {count} of 300 keys");
    }
    let page = store.list(&ListRequest { prefix: b"key ", limit: 1000, ..Default::default() }).unwrap();
    assert_eq!(page.entries.len(), 300);
    store.check().unwrap();
    // Without cluster=yes the redirection says what to do.
    let plain = open(servers.var("REDIS_URL"));
    let errors: Vec<_> = put_all(&*plain, &keys(20), b"x").into_iter().filter_map(Result::err).collect();
    assert!(!errors.is_empty() && errors.iter().all(|e| e.to_string().contains("cluster=yes")), "{errors:?}");
    let single = Servers::up("redis", &[]);
    let store = open(&format!("{}?cluster=yes&{SHORT}", single.var("REDIS_URL")));
    let error = put(&*store, b"a", b"x").unwrap_err();
    assert!(error.kind == Kind::Invalid && error.to_string().contains("not a node of a cluster"), "{error}");
}

#[test]
fn scripts_run_where_their_keys_are() {
    let servers = Servers::up("redis", &["--cluster"]);
    let store = open(&address(&servers, PATIENT));
    let scripts = store.scripts().unwrap();
    let append = Script {
        name: "append",
        source: "redis.call('RPUSH',KEYS[1],ARGV[1]) return redis.call('LLEN',KEYS[2])",
        repeatable: false,
    };
    let names: Vec<[Vec<u8>; 2]> = (0..40)
        .map(|i| [format!("{{file {i}}}log").into_bytes(), format!("{{file {i}}}log").into_bytes()])
        .collect();
    let pairs: Vec<[&[u8]; 2]> = names.iter().map(|[a, b]| [a.as_slice(), b.as_slice()]).collect();
    let values: Vec<Vec<u8>> = (0..400).map(|i| format!("{i}").into_bytes()).collect();
    let args: Vec<[&[u8]; 1]> = values.iter().map(|v| [v.as_slice()]).collect();
    let runs: Vec<Run<'_>> =
        args.iter().enumerate().map(|(i, a)| Run { keys: &pairs[i % 40], args: a }).collect();
    for round in 0..2 {
        // Those about one key in their order; the second time every server has forgotten the script.
        for (i, reply) in scripts.run_all(&append, &runs).into_iter().enumerate() {
            assert_eq!(reply.unwrap(), Reply::Int((round * 10 + i / 40 + 1) as i64), "run {i}");
        }
        for i in 0..3 {
            servers.tell(i, &["SCRIPT", "FLUSH"]);
        }
    }
    let error = scripts.run(&append, &[b"a", b"b"], &[b"x"]).unwrap_err();
    assert!(error.kind == Kind::Invalid && error.to_string().contains("hash tag"), "{error}");
    let kinds = Script {
        name: "kinds",
        source: "return {1,'two',false,{3},redis.status_reply('four')}",
        repeatable: true,
    };
    let text = |t: &str| Reply::Bytes(t.into());
    let expected = [Reply::Int(1), text("two"), Reply::Nil, Reply::List(vec![Reply::Int(3)]), text("four")];
    assert_eq!(scripts.run(&kinds, &[], &[]).unwrap(), Reply::List(expected.into()));
    let wrong = Script { name: "wrong", source: "return redis.error_reply('NOROOM here')", repeatable: true };
    let error = scripts.run(&wrong, &[b"a"], &[]).unwrap_err();
    assert!(error.to_string().contains("script wrong") && error.to_string().contains("NOROOM"), "{error}");
    let broken = Script { name: "broken", source: "this is not Lua", repeatable: true };
    let error = scripts.run(&broken, &[b"a"], &[]).unwrap_err();
    assert!(error.kind == Kind::Invalid && error.to_string().contains("compiling"), "{error}");
}

/// Moves a slot by hand, with a pause at every step: ASK while it moves, MOVED afterwards.
#[test]
fn slots_move_while_they_are_used() {
    let servers = Servers::up("redis", &["--cluster"]);
    let store = open(&address(&servers, PATIENT));
    let keys: Vec<Vec<u8>> = (0..40).map(|i| format!("{{moving}}{i}").into_bytes()).collect();
    all_ok(&put_all(&*store, &keys, b"before"));
    let Value::Int(slot) = servers.tell(0, &["CLUSTER", "KEYSLOT", "{moving}"]) else { panic!("no slot") };
    let slot = slot.to_string();
    let id = |i: usize| match servers.tell(i, &["CLUSTER", "MYID"]) {
        Value::BulkString(id) => String::from_utf8(id).unwrap(),
        other => panic!("{other:?}"),
    };
    let owner = (0..3)
        .find(|i| matches!(servers.tell(*i, &["CLUSTER", "COUNTKEYSINSLOT", &slot]), Value::Int(1..)))
        .unwrap();
    let target = (owner + 1) % 3;
    let port = servers.var("REDIS_PORTS").split(' ').nth(target).unwrap().to_owned();
    let stop = AtomicBool::new(false);
    let rounds: [AtomicU32; 4] = Default::default();
    thread::scope(|scope| {
        // Each writes a key of its own and reads it back, in one batch: any mix-up or loss shows.
        let workers: Vec<_> = (0..4)
            .map(|t| {
                let (store, stop, keys, rounds) = (&store, &stop, &keys, &rounds[t]);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let round = rounds.fetch_add(1, Ordering::Relaxed);
                        for key in keys.iter().skip(t).step_by(4) {
                            let value = format!("{t} {round}").into_bytes();
                            let mut room = [0u8; 32];
                            let mut requests = [
                                Request::Put {
                                    key,
                                    bytes: b"overwritten",
                                    condition: Default::default(),
                                    meta: &[],
                                },
                                Request::Put { key, bytes: &value, condition: Default::default(), meta: &[] },
                                Request::Get { key, offset: 0, into: &mut room },
                            ];
                            let mut outcomes = Vec::new();
                            store.submit(&mut requests, &mut outcomes);
                            all_ok(&outcomes);
                            assert!(
                                matches!(outcomes[2], Ok(Outcome::Read(n)) if n == value.len()),
                                "{outcomes:?}"
                            );
                            assert_eq!(&room[..value.len()], value);
                        }
                    }
                })
            })
            .collect();
        servers.tell(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(owner)]);
        servers.tell(owner, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
        for key in &keys {
            thread::sleep(Duration::from_millis(5));
            let key = std::str::from_utf8(key).unwrap();
            servers.tell(owner, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
        // All keys are at the target, and no node says yet that it has the slot: work goes on by ASK.
        let seen = rounds.each_ref().map(|r| r.load(Ordering::Relaxed));
        while rounds.iter().zip(seen).any(|(now, seen)| now.load(Ordering::Relaxed) < seen + 3)
            && !workers.iter().any(|w| w.is_finished())
        {
            thread::sleep(Duration::from_millis(5));
        }
        for i in [target, owner, (owner + 2) % 3] {
            servers.tell(i, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(target)]);
        }
        thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        assert!(rounds.iter().all(|r| r.load(Ordering::Relaxed) > 3));
        for worker in workers {
            worker.join().unwrap();
        }
    });
    assert!(matches!(servers.tell(target, &["CLUSTER", "COUNTKEYSINSLOT", &slot]), Value::Int(40)));
}

#[test]
fn a_dead_master_is_waited_for_and_then_told() {
    let servers = Servers::up("redis", &["--cluster"]);
    let keys = keys(100);
    let impatient = open(&address(&servers, SHORT));
    let patient = open(&address(&servers, PATIENT));
    all_ok(&put_all(&*impatient, &keys, b"before"));
    servers.kill(1);
    let outcomes = put_all(&*impatient, &keys, b"after");
    let failed = outcomes.iter().filter(|o| o.is_err()).count();
    assert!(failed > 10, "only {failed} of 100 failed with a third of the slots gone");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
        assert!(error.to_string().contains("127.0.0.1:"), "{error}");
    }
    // Now the whole cluster is down; it comes back with the master, without the data of that one.
    thread::scope(|scope| {
        let writer = scope.spawn(|| put_all(&*patient, &keys, b"again"));
        thread::sleep(Duration::from_millis(300));
        servers.start(1);
        all_ok(&writer.join().unwrap());
    });
    for key in &keys {
        assert_eq!(get(&*patient, key, 10).unwrap(), b"again");
    }
}

#[test]
fn a_hanging_master_does_not_hold_the_others_up_for_ever() {
    let servers = Servers::up("redis", &["--cluster"]);
    let store = open(&address(&servers, SHORT));
    all_ok(&put_all(&*store, &keys(50), b"before"));
    let frozen = servers.frozen(2);
    let outcomes = put_all(&*store, &keys(50), b"during");
    let failed: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert!(!failed.is_empty() && failed.iter().all(|e| e.kind == Kind::Unavailable), "{failed:?}");
    assert!(outcomes.iter().any(Result::is_ok), "the other masters serve");
    drop(frozen);
    let patient = open(&address(&servers, PATIENT));
    all_ok(&put_all(&*patient, &keys(50), b"after"));
}

#[test]
fn a_replica_takes_over() {
    let servers = Servers::up("redis", &["--cluster"]);
    // A fourth server becomes the replica of the first.
    let fourth = Servers::up("redis", &[]);
    let conf = fourth.server(0).join("redis.conf");
    let port: u16 = fourth.var("REDIS_PORTS").parse().unwrap();
    if port > 55535 {
        panic!("the bus of port {port} has no port: run again");
    }
    fourth.stop(0);
    let more = "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout 2000\n";
    std::fs::write(&conf, std::fs::read_to_string(&conf).unwrap() + more).unwrap();
    fourth.start(0);
    let first = servers.var("REDIS_PORTS").split(' ').next().unwrap();
    fourth.tell(0, &["CLUSTER", "MEET", "127.0.0.1", first]);
    let Value::BulkString(id) = servers.tell(0, &["CLUSTER", "MYID"]) else { panic!("no id") };
    let id = String::from_utf8(id).unwrap();
    let until = |what: &str, mut done: Box<dyn FnMut() -> bool + '_>| {
        for _ in 0..3000 {
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{what} did not come");
    };
    until("the meeting", Box::new(|| fourth.try_tell(0, &["CLUSTER", "REPLICATE", &id]).is_ok()));
    let info = |section: &'static str| format!("{:?}", fourth.tell(0, &["INFO", section]));
    until("replication", Box::new(|| info("replication").contains("master_link_status:up")));
    let store = open(&address(&servers, PATIENT));
    let keys = keys(100);
    all_ok(&put_all(&*store, &keys, b"before"));
    let Value::Int(_) = servers.tell(0, &["WAIT", "1", "5000"]) else { panic!("no number") };
    until(
        "all data at the replica",
        Box::new(|| {
            let (a, b) = (servers.tell(0, &["DBSIZE"]), fourth.tell(0, &["DBSIZE"]));
            a == b
        }),
    );
    servers.kill(0);
    // The replica is elected after the node timeout; requests wait for it and find it.
    all_ok(&put_all(&*store, &keys[..50], b"after"));
    for (i, key) in keys.iter().enumerate() {
        let expected: &[u8] = if i < 50 { b"after" } else { b"before" };
        assert_eq!(get(&*store, key, 10).unwrap(), expected, "{}", key.escape_ascii());
    }
    assert!(info("replication").contains("role:master"));
}
