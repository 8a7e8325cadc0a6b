//! What goes wrong on the way and in the server: every wait ends, what may be repeated is, nothing is done twice that
//! must not be, and the message says which server and what to do. Servers are real; what comes between is a proxy.

mod support;

use iris_store::{Condition, Kind, Outcome, Request, Result, Run, Script, StoreError};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::{Plan, Proxy};
use support::servers::Servers;
use support::{delete, get, open, put, put_all, put_new, try_open};

/// Short waits, so that a test of them does not take long itself.
const SHORT: &str = "connect_timeout_ms=300&timeout_ms=300&deadline_ms=1200";
/// Enough for a server to come back on a busy machine.
const PATIENT: &str = "connect_timeout_ms=2000&timeout_ms=5000&deadline_ms=60000";
/// A call that takes longer than this has hung: far beyond every bound that the tests set.
const HUNG: Duration = Duration::from_secs(40);

/// What `call` gives, which must end within its bounds.
#[track_caller]
fn ends<T>(call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    assert!(begun.elapsed() < HUNG, "it took {:?}", begun.elapsed());
    result
}

/// It fails so, and the message says all of these.
#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, kind: Kind, says: &[&str]) -> StoreError {
    let error = result.expect_err("it must fail");
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    for part in says {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
    error
}

fn with(address: &str, options: &str) -> String {
    format!("{address}{}{options}", if address.contains('?') { '&' } else { '?' })
}

const COUNT: Script =
    Script { name: "count", source: "return redis.call('INCR',KEYS[1])", repeatable: false };

#[test]
fn a_restart_with_data_is_only_slow() {
    let servers = Servers::up("redis", &["--appendonly"]);
    let store = open(&with(servers.var("REDIS_URL"), PATIENT));
    put(&*store, b"a", b"kept").unwrap();
    servers.stop(0);
    thread::scope(|scope| {
        let reader = scope.spawn(|| get(&*store, b"a", 10));
        let writer = scope.spawn(|| put(&*store, b"b", b"written while it was away"));
        thread::sleep(Duration::from_millis(200));
        servers.start(0);
        assert_eq!(reader.join().unwrap().unwrap(), b"kept");
        writer.join().unwrap().unwrap();
    });
    assert_eq!(get(&*store, b"b", 100).unwrap(), b"written while it was away");
}

#[test]
fn a_restart_without_data_is_no_error_but_a_loss() {
    let servers = Servers::up("redis", &[]);
    let store = open(&with(servers.var("REDIS_URL"), PATIENT));
    put(&*store, b"a", b"gone").unwrap();
    assert_eq!(store.scripts().unwrap().run(&COUNT, &[b"n"], &[]).unwrap(), iris_store::Reply::Int(1));
    servers.kill(0);
    servers.start(0);
    // The idle connection is known to be dead before it is used: even what may not be repeated is carried out.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.scripts().unwrap().run(&COUNT, &[b"n"], &[]).unwrap(), iris_store::Reply::Int(1));
    fails(get(&*store, b"a", 10), Kind::NotFound, &["\"a\""]);
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let servers = Servers::up("redis", &[]);
    let unix = format!("redis+unix://{}", servers.var("REDIS_SOCKET"));
    let stores = [open(&with(servers.var("REDIS_URL"), SHORT)), open(&with(&unix, SHORT))];
    for store in &stores {
        put(&**store, b"a", b"x").unwrap();
    }
    servers.stop(0);
    for store in &stores {
        let error = fails(
            ends(|| put(&**store, b"a", b"y")),
            Kind::Unavailable,
            &["\"a\"", "is the server running", "attempts"],
        );
        assert!(error.attempts > 2, "{error}");
        fails(ends(|| store.check()), Kind::Unavailable, &["is the server running"]);
    }
    servers.start(0);
    for store in &stores {
        put(&**store, b"a", b"z").unwrap();
    }
}

#[test]
fn a_name_that_does_not_exist_is_told() {
    let store = open(&with("redis://no-such-host.invalid", SHORT));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Unavailable, &["no-such-host.invalid"]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let servers = Servers::up("redis", &[]);
    let used = open(&with(servers.var("REDIS_URL"), SHORT));
    put(&*used, b"a", b"before").unwrap();
    let frozen = servers.frozen(0);
    let fresh = open(&with(servers.var("REDIS_URL"), SHORT));
    let unix = open(&with(&format!("redis+unix://{}", servers.var("REDIS_SOCKET")), SHORT));
    for store in [&used, &fresh, &unix] {
        fails(ends(|| get(&**store, b"a", 10)), Kind::Unavailable, &["within 0.3 s", "hang"]);
        fails(ends(|| store.check()), Kind::Unavailable, &["within 0.3 s"]);
    }
    let batch: Vec<Vec<u8>> = (0..20).map(|i| format!("k{i}").into_bytes()).collect();
    let outcomes = ends(|| put_all(&*used, &batch, &vec![7; 300_000]));
    assert!(outcomes.iter().all(|o| o.as_ref().is_err_and(|e| e.kind == Kind::Unavailable)), "{outcomes:?}");
    drop(frozen);
    for store in [&used, &fresh, &unix] {
        assert_eq!(get(&**store, b"a", 10).unwrap(), b"before");
    }
}

#[test]
fn memcached_that_hangs_or_restarts() {
    let servers = Servers::up("memcached", &[]);
    let store = open(&with(&format!("memcached://{}", servers.var("MEMCACHED_SERVER")), SHORT));
    put(&*store, b"a", b"before").unwrap();
    let frozen = servers.frozen(0);
    fails(ends(|| get(&*store, b"a", 10)), Kind::Unavailable, &["hang"]);
    drop(frozen);
    assert_eq!(get(&*store, b"a", 10).unwrap(), b"before");
    servers.stop(0);
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Unavailable, &["is the server"]);
    servers.start(0);
    fails(get(&*store, b"a", 10), Kind::NotFound, &["\"a\""]);
}

#[test]
fn an_answer_that_comes_late_is_waited_for() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    proxy.plan(Plan::Delay(100), 1);
    let store = open(&with(&proxy.address(), PATIENT));
    put(&*store, b"a", b"late").unwrap();
    assert_eq!(get(&*store, b"a", 10).unwrap(), b"late");
}

#[test]
fn one_connection_that_swallows_answers_costs_only_time() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    proxy.plan(Plan::Swallow, 2);
    let store = open(&with(&proxy.address(), "connect_timeout_ms=300&timeout_ms=300&deadline_ms=60000"));
    ends(|| put(&*store, b"a", b"x")).unwrap();
    assert_eq!(get(&*store, b"a", 10).unwrap(), b"x");
}

/// Where connections are cut: in the greeting, between answers, inside one, behind some.
const CUTS: &[usize] = &[0, 1, 20, 120, 150, 170, 171, 172, 173, 200, 300, 1000, 5000];

#[test]
fn what_may_be_repeated_is_when_the_connection_breaks() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    let keys: Vec<Vec<u8>> = (0..100).map(|i| format!("k{i}").into_bytes()).collect();
    for (round, cut) in CUTS.iter().enumerate() {
        for plan in [Plan::CutAnswers(*cut), Plan::CutRequests(cut * 20)] {
            proxy.plan(plan, 2);
            let store = open(&with(&proxy.address(), PATIENT));
            let value = format!("value {round} {plan:?} ").repeat(20).into_bytes();
            for (i, outcome) in put_all(&*store, &keys, &value).iter().enumerate() {
                assert_eq!(
                    outcome.as_ref().ok(),
                    Some(&Outcome::Put(None)),
                    "{plan:?}, put {i}: {outcome:?}"
                );
            }
            proxy.plan(plan, 2);
            let store = open(&with(&proxy.address(), PATIENT));
            let mut rooms = vec![vec![0; 4096]; keys.len()];
            let mut gets: Vec<Request<'_>> = keys
                .iter()
                .zip(&mut rooms)
                .map(|(key, into)| Request::Get { key, offset: 0, into })
                .collect();
            let mut outcomes = Vec::new();
            store.submit(&mut gets, &mut outcomes);
            for (outcome, room) in outcomes.iter().zip(&rooms) {
                assert_eq!(outcome.as_ref().ok(), Some(&Outcome::Read(value.len())), "{plan:?}: {outcome:?}");
                assert!(room[..value.len()] == value, "{plan:?}");
            }
        }
    }
}

#[test]
fn what_must_not_happen_twice_does_not() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    let direct = open(servers.var("REDIS_URL"));
    let (mut unknown, mut done) = (0, 0);
    for (round, cut) in CUTS.iter().enumerate() {
        for plan in [Plan::CutAnswers(*cut), Plan::CutRequests(cut * 10)] {
            // A counter, many times in a batch.
            let counter = format!("counter {round} {plan:?}").into_bytes();
            let key: &[&[u8]] = &[&counter];
            let runs = vec![Run { keys: key, args: &[] }; 100];
            proxy.plan(plan, 1);
            let store = open(&with(&proxy.address(), PATIENT));
            let results = store.scripts().unwrap().run_all(&COUNT, &runs);
            let sure = results.iter().filter(|r| r.is_ok()).count();
            for result in &results {
                if result.is_err() {
                    fails(result.clone(), Kind::Unavailable, &["script count", "is not known"]);
                }
            }
            let mut text = get(&*direct, &counter, 10).unwrap_or_else(|_| b"0".to_vec());
            let counted: usize = String::from_utf8(std::mem::take(&mut text)).unwrap().parse().unwrap();
            assert!(
                (sure..=results.len()).contains(&counted),
                "{plan:?}: {sure} of {} are sure, and {counted} were counted",
                results.len()
            );
            (unknown, done) = (unknown + results.len() - sure, done + sure);

            // Puts that want to be first.
            let keys: Vec<Vec<u8>> =
                (0..50).map(|i| format!("first {round} {plan:?} {i}").into_bytes()).collect();
            proxy.plan(plan, 1);
            let store = open(&with(&proxy.address(), PATIENT));
            for (key, outcome) in keys.iter().zip(put_new(&*store, &keys, b"mine")) {
                match outcome {
                    Ok(_) => assert_eq!(get(&*direct, key, 9).unwrap(), b"mine"),
                    // Not "there is one already": that one may be ours.
                    Err(_) => drop(fails(outcome, Kind::Unavailable, &["is not known"])),
                }
            }
        }
    }
    assert!(unknown > 0 && done > 0, "the cuts hit nothing, or everything: {unknown} unknown, {done} done");
}

#[test]
fn damaged_answers_never_become_data() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    let direct = open(servers.var("REDIS_URL"));
    put(&*direct, b"a", b"0123456789").unwrap();
    let mut failed = 0;
    // Without a greeting the answer is "$10\r\n0123456789\r\n": every byte of it that is not the object's.
    for place in [0, 1, 2, 3, 4, 15, 16] {
        proxy.plan(Plan::Corrupt(place), usize::MAX);
        let store = open(&with(&proxy.address(), &format!("{SHORT}&resp=2")));
        match ends(|| get(&*store, b"a", 100)) {
            Ok(bytes) => panic!("byte {place}: {} was taken for data", bytes.escape_ascii()),
            // Another length may also make the answer one that does not end.
            Err(e) => assert!(
                matches!(e.kind, Kind::Corrupt | Kind::Unavailable | Kind::Invalid),
                "byte {place}: {e}"
            ),
        }
        failed += 1;
        // One damaged connection is no reason to fail.
        proxy.plan(Plan::Corrupt(place), 1);
        let store = open(&with(&proxy.address(), &format!("{SHORT}&resp=2")));
        match ends(|| get(&*store, b"a", 100)) {
            Ok(bytes) => assert_eq!(bytes, b"0123456789", "byte {place}"),
            Err(e) => assert!(place == 0, "byte {place}: {e}"),
        }
    }
    assert_eq!(failed, 7);
}

#[test]
fn another_kind_of_server_is_told_from_redis() {
    let cache = Servers::up("memcached", &[]);
    let redis = Servers::up("redis", &[]);
    let store = open(&with(&format!("redis://{}", cache.var("MEMCACHED_SERVER")), SHORT));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Corrupt, &["is it one", "ERROR"]);
    let store = open(&with(&redis.var("REDIS_URL").replace("redis:", "memcached:"), SHORT));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Corrupt, &["is it one", "-ERR"]);
}

#[test]
fn a_full_server_says_so_and_takes_again_what_fits() {
    let servers = Servers::up("redis", &["--maxmemory", "8mb"]);
    let store = open(&with(servers.var("REDIS_URL"), SHORT));
    let keys: Vec<Vec<u8>> = (0..100).map(|i| format!("k{i}").into_bytes()).collect();
    let value = vec![1; 200_000];
    let outcomes = put_all(&*store, &keys, &value);
    let full = outcomes.iter().filter(|o| o.is_err()).count();
    assert!(full > 0 && full < 100, "{full} of 100 did not fit");
    for (key, outcome) in keys.iter().zip(outcomes) {
        match outcome {
            Ok(_) => assert_eq!(get(&*store, key, 300_000).unwrap().len(), value.len()),
            Err(_) => {
                fails(outcome, Kind::Full, &["maxmemory", "memory is full"]);
                fails(get(&*store, key, 10), Kind::NotFound, &[]);
            }
        }
    }
    let fill = Script { name: "fill", source: "return redis.call('SET',KEYS[1],ARGV[1])", repeatable: true };
    fails(store.scripts().unwrap().run(&fill, &[b"x"], &[&value]), Kind::Full, &["script fill"]);
    let result = store.one(Request::Resize { key: &keys[0], len: 10_000_000 });
    fails(result, Kind::Full, &["maxmemory"]);
    for key in &keys[..50] {
        delete(&*store, key);
    }
    put(&*store, b"again", &value).unwrap();
}

#[test]
fn a_full_cache_that_may_not_forget_says_so() {
    let servers = Servers::up("memcached", &["--memory", "4", "--item-max", "2m", "--refuse"]);
    let store = open(&with(&format!("memcached://{}", servers.var("MEMCACHED_SERVER")), SHORT));
    let keys: Vec<Vec<u8>> = (0..200).map(|i| format!("k{i}").into_bytes()).collect();
    let outcomes = put_all(&*store, &keys, &vec![1; 100_000]);
    let full = outcomes.iter().find(|o| o.is_err()).expect("20 MB do not fit into 4");
    fails(full.clone(), Kind::Full, &["more memory"]);
    let small = Servers::up("memcached", &["--item-max", "1m"]);
    let address = format!("memcached://{}?max_object=8000000", small.var("MEMCACHED_SERVER"));
    let store = open(&with(&address, SHORT));
    fails(put(&*store, b"a", &vec![1; 2 << 20]), Kind::TooLarge, &["-I"]);
    put(&*store, b"a", b"small").unwrap();
}

#[test]
fn objects_beyond_the_servers_bound_are_too_large() {
    let servers = Servers::up("redis", &[]);
    servers.tell(0, &["CONFIG", "SET", "proto-max-bulk-len", "1048576"]);
    let store = open(&with(servers.var("REDIS_URL"), SHORT));
    let update = |offset| store.one(Request::Update { key: b"a", offset, bytes: b"x" });
    fails(update(2 << 20), Kind::TooLarge, &["proto-max-bulk-len"]);
    fails(put(&*store, b"a", &vec![0; 2 << 20]), Kind::TooLarge, &["proto-max-bulk-len"]);
    put(&*store, b"a", b"small").unwrap();
    let store = open(&with(servers.var("REDIS_URL"), &format!("{SHORT}&max_object=1000")));
    fails(put(&*store, b"b", &[0; 1001]), Kind::TooLarge, &["1001 bytes", "1000"]);
    fails(update(u64::MAX), Kind::TooLarge, &["max_object"]);
}

#[test]
fn a_script_that_blocks_the_server_is_waited_for() {
    let servers = Servers::up("redis", &[]);
    servers.tell(0, &["CONFIG", "SET", "busy-reply-threshold", "50"]);
    let impatient = open(&with(servers.var("REDIS_URL"), SHORT));
    let patient = open(&with(servers.var("REDIS_URL"), PATIENT));
    thread::scope(|scope| {
        let blocked = scope.spawn(|| servers.try_tell(0, &["EVAL", "while true do end", "0"]));
        // Until the server says that it is busy.
        while servers.try_tell(0, &["PING"]).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
        fails(ends(|| put(&*impatient, b"a", b"x")), Kind::Unavailable, &["SCRIPT KILL"]);
        let writer = scope.spawn(|| put(&*patient, b"a", b"x"));
        thread::sleep(Duration::from_millis(100));
        servers.tell(0, &["SCRIPT", "KILL"]);
        writer.join().unwrap().unwrap();
        assert!(blocked.join().unwrap().is_err(), "the script was ended");
    });
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() {
    let servers = Servers::up("redis", &["--appendonly"]);
    let store = open(&with(servers.var("REDIS_URL"), PATIENT));
    let keys: Vec<Vec<u8>> = (0..2000).map(|i| format!("k{i}").into_bytes()).collect();
    assert!(put_all(&*store, &keys, b"loaded").iter().all(Result::is_ok));
    servers.tell(0, &["BGREWRITEAOF"]);
    while !format!("{:?}", servers.tell(0, &["INFO", "persistence"])).contains("aof_rewrite_in_progress:0") {
        thread::sleep(Duration::from_millis(20));
    }
    servers.stop(0);
    // A millisecond a key.
    let conf = servers.server(0).join("redis.conf");
    let slow = std::fs::read_to_string(&conf).unwrap()
        + "key-load-delay 1000\nloading-process-events-interval-bytes 1024\n";
    std::fs::write(&conf, slow).unwrap();
    thread::scope(|scope| {
        let starting = scope.spawn(|| servers.start(0));
        let impatient = open(&with(servers.var("REDIS_URL"), SHORT));
        let mut loading = false;
        while !loading && !starting.is_finished() {
            loading = ends(|| get(&*impatient, b"k0", 10)).is_err_and(|e| e.to_string().contains("LOADING"));
        }
        assert!(loading, "the server was never seen loading");
        assert_eq!(get(&*store, b"k1999", 10).unwrap(), b"loaded");
    });
}

#[test]
fn who_may_not_is_told_what_to_do() {
    let servers = Servers::up("redis", &["--password", "right-one"]);
    let url = servers.var("REDIS_URL").to_owned();
    let bare = url.replace("default:right-one@", "");
    for resp in ["resp=3", "resp=2"] {
        let denied = |address: &str, says: &[&str]| {
            let store = open(&with(address, &format!("{SHORT}&{resp}")));
            let error = fails(ends(|| put(&*store, b"a", b"x")), Kind::Denied, says);
            assert!(!error.to_string().contains("wrong-one"), "the password is shown: {error}");
            fails(store.check(), Kind::Denied, says);
        };
        denied(&bare, &["NOAUTH", "IRIS_REDIS_PASSWORD"]);
        denied(&url.replace("right-one", "wrong-one"), &["WRONGPASS", "user or password is wrong"]);
        denied(&url.replace("default:right-one", ":wrong-one"), &["WRONGPASS"]);
        for address in [url.clone(), url.replace("default:right-one", ":right-one")] {
            put(&*open(&with(&address, resp)), b"a", b"x").unwrap();
        }
        let file = servers.folder.path().join("password");
        std::fs::write(&file, "right-one\n").unwrap();
        put(&*open(&with(&bare, &format!("{resp}&password_file={}", file.display()))), b"a", b"x").unwrap();
    }
    servers
        .tell(0, &["ACL", "SETUSER", "reader", "on", ">word", "~*", "+@read", "+hello", "+ping", "+select"]);
    let store = open(&with(&url.replace("default:right-one", "reader:word"), SHORT));
    assert_eq!(get(&*store, b"a", 10).unwrap(), b"x");
    fails(put(&*store, b"a", b"y"), Kind::Denied, &["NOPERM", "docs/stores.md"]);
    store.check().unwrap();
    // No password where one is given.
    let open_one = Servers::up("redis", &[]);
    let store = open(&with(&open_one.var("REDIS_URL").replace("//", "//:word@"), &format!("{SHORT}&resp=2")));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Denied, &["it has no password"]);
}

#[test]
fn the_rights_in_the_documentation_suffice() {
    let text = include_str!("../../../docs/stores.md");
    let rights: Vec<&str> = text
        .split('`')
        .filter(|s| s.contains("+get") || s.contains("+info"))
        .flat_map(str::split_whitespace)
        .collect();
    assert!(rights.len() > 12, "{rights:?}");
    let servers = Servers::up("redis", &["--password", "w"]);
    let mut words = vec!["ACL", "SETUSER", "iris", "on", ">word", "~mine/*"];
    words.extend(&rights);
    servers.tell(0, &words);
    let store = open(&servers.var("REDIS_URL").replace("default:w@", "iris:word@"));
    store.check().unwrap();
    put(&*store, b"mine/a", b"x").unwrap();
    put_new(&*store, &[b"mine/b".to_vec()], b"").remove(0).unwrap();
    assert_eq!(get(&*store, b"mine/b", 1).unwrap(), b"");
    store.one(Request::Update { key: b"mine/a", offset: 3, bytes: b"y" }).unwrap();
    store.one(Request::Resize { key: b"mine/a", len: 2 }).unwrap();
    store.one(Request::Head { key: b"mine/a" }).unwrap();
    let page =
        store.list(&iris_store::ListRequest { prefix: b"mine/", limit: 9, ..Default::default() }).unwrap();
    assert_eq!(page.entries.len(), 2);
    delete(&*store, b"mine/a");
    fails(put(&*store, b"other", b"x"), Kind::Denied, &["NOPERM"]);
}

#[test]
fn a_replica_takes_no_writes() {
    let servers = Servers::up("redis", &["--servers", "2"]);
    let ports: Vec<&str> = servers.var("REDIS_PORTS").split(' ').collect();
    servers.tell(1, &["REPLICAOF", "127.0.0.1", ports[0]]);
    let store = open(&with(servers.var("REDIS_URLS").split(' ').nth(1).unwrap(), SHORT));
    fails(put(&*store, b"a", b"x"), Kind::Denied, &["replica", "address its master"]);
    store.check().unwrap();
    let warned = support::logged(ports[1]);
    assert!(warned.iter().any(|l| l.contains("it is a replica")), "{warned:?}");
}

#[test]
fn settings_that_lose_data_are_warned_of() {
    let servers = Servers::up("redis", &[]);
    let url = servers.var("REDIS_URL");
    open(url).check().unwrap();
    let warned = support::logged(servers.var("REDIS_PORTS"));
    assert!(!warned.iter().any(|l| l.contains("WILL be lost")), "{warned:?}");
    servers.tell(0, &["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"]);
    open(url).check().unwrap();
    let warned = support::logged(servers.var("REDIS_PORTS"));
    assert!(warned.iter().any(|l| l.contains("WILL be lost") && l.contains("noeviction")), "{warned:?}");
    fails(open(&with(url, "durable=yes")).check(), Kind::Invalid, &["appendfsync always"]);
    let durable = Servers::up("redis", &["--appendonly"]);
    let store = open(&with(durable.var("REDIS_URL"), "durable=yes"));
    store.check().unwrap();
    assert!(store.capabilities().durable);
}

#[test]
fn databases_are_apart_and_strangers_are_left_alone() {
    let servers = Servers::up("redis", &[]);
    let url = servers.var("REDIS_URL");
    let (zero, three) = (open(url), open(&format!("{url}/3")));
    put(&*zero, b"a", b"in 0").unwrap();
    fails(get(&*three, b"a", 10), Kind::NotFound, &[]);
    fails(put(&*open(&with(&format!("{url}/9999"), SHORT)), b"a", b"x"), Kind::Invalid, &["databases"]);
    servers.tell(0, &["RPUSH", "list", "x"]);
    fails(get(&*zero, b"list", 10), Kind::Invalid, &["holds no string"]);
    let all = iris_store::ListRequest { limit: 10, ..Default::default() };
    assert_eq!(zero.list(&all).unwrap().entries.len(), 1, "a list is no object");
    fails(try_open("redis://h?timeot_ms=3").map(|_| ()), Kind::Invalid, &["timeout_ms"]);
}

#[test]
fn certificates_are_looked_at() {
    let servers = Servers::up("redis", &["--tls"]);
    let other = Servers::up("redis", &["--tls"]);
    let url = servers.var("REDIS_URL");
    put(&*open(&with(url, &format!("ca={}", servers.var("REDIS_CA")))), b"a", b"x").unwrap();
    let store = open(&with(url, &format!("{SHORT}&ca={}", other.var("REDIS_CA"))));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Invalid, &["certificate", "ca=FILE"]);
    put(&*open(&with(url, "insecure=yes")), b"a", b"x").unwrap();
    // Plain where TLS is spoken, and the other way round.
    let store = open(&with(&url.replace("rediss:", "redis:"), SHORT));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Unavailable, &["rediss://"]);
    let plain = Servers::up("redis", &[]);
    let store =
        open(&with(&plain.var("REDIS_URL").replace("redis:", "rediss:"), &format!("{SHORT}&insecure=yes")));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Unavailable, &["or not speak TLS"]);
    fails(try_open(&with(url, "ca=/no/such/file")).map(|_| ()), Kind::Invalid, &["/no/such/file"]);
    // A server that wants a client's certificate.
    servers.tell(0, &["CONFIG", "SET", "tls-auth-clients", "yes"]);
    let ca = format!("{SHORT}&ca={}", servers.var("REDIS_CA"));
    let store = open(&with(url, &ca));
    fails(ends(|| put(&*store, b"a", b"x")), Kind::Invalid, &["client's certificate"]);
    let (cert, key) = (servers.var("REDIS_CERT"), servers.var("REDIS_KEY"));
    put(&*open(&with(url, &format!("{ca}&cert={cert}&key={key}"))), b"a", b"x").unwrap();
}

#[test]
fn more_threads_than_connections_take_turns() {
    let servers = Servers::up("redis", &[]);
    let store = open(&with(servers.var("REDIS_URL"), &format!("{PATIENT}&connections=2")));
    thread::scope(|scope| {
        for t in 0..12 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..100 {
                    let (key, value) = (format!("t{t}"), format!("{t} {i}"));
                    put(&**store, key.as_bytes(), value.as_bytes()).unwrap();
                    assert_eq!(get(&**store, key.as_bytes(), 20).unwrap(), value.as_bytes());
                }
            });
        }
    });
    let clients = format!("{:?}", servers.tell(0, &["CLIENT", "LIST"]));
    assert_eq!(clients.matches("name=iris").count(), 2, "{clients}");
    // All in use, and no end: the wait for one has an end, too.
    let store = open(&with(servers.var("REDIS_URL"), &format!("{SHORT}&connections=1")));
    let _frozen = servers.frozen(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| fails(ends(|| put(&*store, b"a", b"x")), Kind::Unavailable, &[]));
        }
    });
}

#[test]
fn a_refused_request_does_not_overtake_a_later_one() {
    // A server that is full refuses the first, and takes the second, which is smaller.
    let servers = Servers::up("redis", &["--maxmemory", "4mb"]);
    let store = open(&with(servers.var("REDIS_URL"), SHORT));
    let (large, mut outcomes) = (vec![1; 200_000], Vec::new());
    for i in 0..100u32 {
        let _ = put(&*store, &i.to_le_bytes(), &large);
    }
    let mut requests = [
        Request::Put { key: b"a", bytes: &large, condition: Condition::Always, meta: &[] },
        Request::Delete { key: b"a" },
        Request::Head { key: b"a" },
    ];
    store.submit(&mut requests, &mut outcomes);
    let [first, second, third] = &outcomes[..] else { panic!("{outcomes:?}") };
    fails(first.clone(), Kind::Full, &[]);
    assert!(second.is_ok());
    fails(third.clone(), Kind::NotFound, &[]);
}

#[test]
fn a_batch_of_gets_does_not_flood_the_server() {
    let servers = Servers::up("redis", &[]);
    let proxy = Proxy::to(&servers.server(0).join("redis.sock"));
    // A reader that is slower than the server: what the server has ready lies in its memory.
    proxy.plan(Plan::Delay(1), 1);
    let store = open(&with(&proxy.address(), PATIENT));
    put(&*store, b"a", &vec![7; 1 << 20]).unwrap();
    let mut rooms = vec![vec![0; 1 << 20]; 100];
    let mut gets: Vec<Request<'_>> =
        rooms.iter_mut().map(|into| Request::Get { key: b"a", offset: 0, into }).collect();
    let mut outcomes = Vec::new();
    store.submit(&mut gets, &mut outcomes);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(Outcome::Read(n)) if *n == 1 << 20)), "{outcomes:?}");
    let redis::Value::BulkString(info) = servers.tell(0, &["INFO", "memory"]) else { panic!("no text") };
    let info = String::from_utf8(info).unwrap();
    let peak = info.lines().find_map(|l| l.strip_prefix("used_memory_peak:")).unwrap();
    assert!(peak.parse::<u64>().unwrap() < 40 << 20, "{peak} bytes for answers to 100 MiB of gets");
}
