//! Every fault that a server or the way to it can show, by a proxy that does harm by rule in front of real servers:
//! the right bytes or the right error, within the deadline, and a message that says server, object and remedy.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use iris_store::conformance::pattern;
use iris_store::{Condition, Kind, Outcome, Part, Request, Source, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::proxy::{Harm, Proxy, Seen};
use support::{Short, fresh, open, server, timed};

/// A store behind a proxy, and the proxy.
fn behind(
    name: &'static str,
    options: &str,
    rule: impl Fn(usize, &Seen) -> Harm + Send + Sync + 'static,
) -> (Arc<dyn Store>, Proxy, String) {
    let server = server(name);
    let prefix = fresh("faults");
    let proxy = Proxy::start(&server.endpoint, rule);
    let store =
        open(&server.through(&proxy.endpoint, &prefix, &format!("conditional=yes&{options}"))).unwrap();
    (store, proxy, prefix)
}

/// The error is of this kind, came in time, and says where and what.
#[track_caller]
fn fails<T: std::fmt::Debug>(
    (result, took): (Result<T, StoreError>, Duration),
    kind: Kind,
    within: f64,
    says: &[&str],
) {
    let e = result.unwrap_err();
    assert_eq!(e.kind, kind, "{e}");
    assert!(took.as_secs_f64() < within, "{took:?} for: {e}");
    let text = e.to_string();
    for part in says {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
    assert!(!text.contains("irissecret"), "{text}");
}

fn long(seed: u64) -> Vec<u8> {
    pattern(seed, 6_000_000)
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.copy_from_slice(&self.0[offset as usize..offset as usize + into.len()]);
        Ok(())
    }
}

/// Every kind of request is repeated after errors that pass.
#[test]
fn passing_errors_are_outlived() {
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable"), (502, "")]
    {
        // Each request fails twice before it gets through.
        let (store, proxy, _) = behind("moto", "part_size=5MiB", move |n, _| match n % 3 {
            2 => Harm::None,
            _ => Harm::Answer(status, code),
        });
        store.put("a", b"bytes").unwrap();
        assert_eq!(store.get("a", 0, 10).unwrap(), b"bytes");
        let request = iris_store::ListRequest { limit: 10, ..Default::default() };
        assert_eq!(store.list(&request).unwrap().entries.len(), 1);
        assert_eq!(store.one(Request::Delete { key: b"a" }).unwrap(), Outcome::Done);
        assert_eq!(store.one(Request::Head { key: b"a" }).unwrap_err().kind, Kind::NotFound);
        assert_eq!(proxy.count(), 15, "{status} {code}");
    }
}

#[test]
fn a_long_object_is_composed_through_errors() {
    let (store, _proxy, _) = behind("ceph", "part_size=5MiB", |n, _| match n % 4 {
        1 => Harm::Answer(503, "SlowDown"),
        2 => Harm::Reset(3),
        _ => Harm::None,
    });
    let bytes = pattern(1, 23 << 20);
    let source = Bytes(bytes.clone());
    let part = Part::Bytes { source: &source, offset: 0, len: bytes.len() as u64 };
    let meta = [("mode".to_owned(), "0644".to_owned())];
    let facts = store.compose().unwrap().compose(b"a", &[part], Condition::Always, &meta).unwrap();
    assert_eq!((facts.len, facts.meta), (bytes.len() as u64, meta.to_vec()));
    assert!(store.get("a", 0, bytes.len() + 1).unwrap() == bytes);
}

#[test]
fn a_server_that_is_overloaded_for_good_is_named() {
    let (store, proxy, prefix) = behind("moto", "deadline=2", |_, _| Harm::Answer(503, "SlowDown"));
    let says = ["\"a\"", "503 SlowDown", "connections", "attempts", &prefix, &proxy.endpoint];
    fails(timed(|| store.get("a", 0, 10)), Kind::Unavailable, 3.0, &says);
    fails(timed(|| store.put("a", b"x")), Kind::Unavailable, 3.0, &says);
    fails(timed(|| store.check()), Kind::Unavailable, 3.0, &says[1..]);
}

#[test]
fn retries_are_as_many_as_asked() {
    let (store, proxy, _) = behind("moto", "retries=2", |_, _| Harm::Answer(500, "InternalError"));
    fails(timed(|| store.get("a", 0, 10)), Kind::Unavailable, 5.0, &["3 attempts"]);
    assert_eq!(proxy.count(), 3);
}

/// A body that breaks off is continued, not begun anew.
#[test]
fn a_body_that_breaks_off_is_continued() {
    for harm in [Harm::Reset(2_000_000), Harm::Truncate(2_000_000)] {
        let (store, proxy, _) = behind("ceph", "", move |n, seen| match (seen.line.as_bytes()[0], n) {
            (b'G', 1 | 2) => harm.clone(),
            _ => Harm::None,
        });
        let bytes = long(2);
        store.put("a", &bytes).unwrap();
        assert!(store.get("a", 0, bytes.len() + 5).unwrap() == bytes);
        let ranges = proxy.headers("range");
        assert_eq!(ranges.len(), 3, "{ranges:?}");
        let from = |range: &String| range[6..].split('-').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(from(&ranges[0]), 0);
        // After a reset less may have arrived than was sent.
        assert!(from(&ranges[1]) > 0 && from(&ranges[2]) > from(&ranges[1]), "{ranges:?}");
        assert_eq!(proxy.headers("if-match").len(), 2, "the rest must be of the same object");
    }
}

#[test]
fn a_body_that_always_breaks_off_is_an_error() {
    let (store, _proxy, _) = behind("moto", "retries=3", |_, seen| match seen.line.as_bytes()[0] {
        b'G' => Harm::Truncate(0),
        _ => Harm::None,
    });
    store.put("a", b"0123456789").unwrap();
    fails(timed(|| store.get("a", 0, 10)), Kind::Unavailable, 5.0, &["broke off", "4 attempts"]);
}

/// Changed bytes are noticed when the whole object is read, on servers that keep checksums and on those that do not.
#[test]
fn changed_bytes_are_noticed() {
    for name in ["moto", "ceph"] {
        let always = Arc::new(AtomicBool::new(false));
        let rule = always.clone();
        let (store, _proxy, _) = behind(name, "retries=3", move |n, seen| match seen.line.as_bytes()[0] {
            b'G' if n == 1 || rule.load(Ordering::Relaxed) => Harm::Spoil(77),
            _ => Harm::None,
        });
        let bytes = long(3);
        store.put("a", &bytes).unwrap();
        assert!(store.get("a", 0, bytes.len() + 1).unwrap() == bytes, "{name}: once is repeated");
        always.store(true, Ordering::Relaxed);
        fails(timed(|| store.get("a", 0, bytes.len())), Kind::Corrupt, 8.0, &["checksum", "4 attempts"]);
    }
}

/// The signature covers the bytes: what was changed on its way is refused and sent again.
#[test]
fn changed_bytes_are_not_stored() {
    let (store, proxy, _) =
        behind("ceph", "", |n, _| if n == 0 { Harm::SpoilRequest(5) } else { Harm::None });
    store.put("a", b"0123456789").unwrap();
    assert_eq!(store.get("a", 0, 20).unwrap(), b"0123456789");
    assert_eq!(proxy.count(), 3);
    // Without a signature over them, a digest does it that every server knows.
    let rule = |n, _: &Seen| if n == 0 { Harm::SpoilRequest(5) } else { Harm::None };
    let (store, proxy, _) = behind("ceph", "sign=no&checksum=md5", rule);
    store.put("a", b"0123456789").unwrap();
    assert_eq!(store.get("a", 0, 20).unwrap(), b"0123456789");
    assert_eq!(proxy.count(), 3);
}

#[test]
fn expired_credentials_are_told() {
    let (store, proxy, _) = behind("moto", "", |_, _| Harm::Answer(400, "ExpiredToken"));
    fails(timed(|| store.get("a", 0, 10)), Kind::Denied, 3.0, &["ExpiredToken", "renew"]);
    assert_eq!(proxy.count(), 2, "once with those it had, once with those it read anew");
}

/// A server that takes the connection and the request and never answers.
#[test]
fn silence_ends_at_the_deadline() {
    let (store, proxy, _) = behind("moto", "timeout=0.3&deadline=2", |_, _| Harm::Silence);
    fails(
        timed(|| store.get("a", 0, 10)),
        Kind::Unavailable,
        3.0,
        &[&proxy.endpoint, "\"a\"", "is the server up"],
    );
    fails(timed(|| store.put("a", &long(4))), Kind::Unavailable, 3.0, &["\"a\""]);
    assert!(proxy.count() > 2, "a silent connection is given up for another");
}

/// Many requests to a silent server wait together, not one after another.
#[test]
fn a_queue_before_a_silent_server_ends_at_the_deadline() {
    let (store, _proxy, _) = behind("moto", "timeout=0.5&deadline=2&connections=4", |_, _| Harm::Silence);
    let keys: Vec<String> = (0..60).map(|i| format!("k{i}")).collect();
    let mut requests: Vec<Request<'_>> = keys.iter().map(|k| Request::Head { key: k.as_bytes() }).collect();
    let mut outcomes = Vec::new();
    let ((), took) = timed(|| store.submit(&mut requests, &mut outcomes));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(outcomes.iter().all(|o| o.as_ref().is_err_and(|e| e.kind == Kind::Unavailable)), "{outcomes:?}");
}

/// Bytes that come, but would take a day.
#[test]
fn a_trickle_ends_at_the_deadline() {
    let (store, _proxy, _) =
        behind("moto", "timeout=1&deadline=2", |_, seen| match seen.line.as_bytes()[0] {
            b'G' => Harm::Trickle(Duration::from_millis(100)),
            _ => Harm::None,
        });
    store.put("a", &pattern(5, 5000)).unwrap();
    fails(timed(|| store.get("a", 0, 5000)), Kind::Unavailable, 3.0, &["deadline"]);
}

#[test]
fn nobody_there_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = open(&format!("s3://k:s@b/p?endpoint=http://{free}&deadline=2")).unwrap();
    fails(timed(|| store.get("a", 0, 10)), Kind::Unavailable, 3.0, &["refused", &free.to_string()]);
    let store = open("s3://k:s@b/p?endpoint=http://no-such-host.invalid:9&deadline=8").unwrap();
    fails(timed(|| store.get("a", 0, 10)), Kind::Unavailable, 9.0, &["no-such-host.invalid", "resolve"]);
    // Taken by the kernel, never by a server.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = deaf.local_addr().unwrap();
    let store = open(&format!("s3://k:s@b/p?endpoint=http://{at}&timeout=0.4&deadline=2")).unwrap();
    fails(timed(|| store.check()), Kind::Unavailable, 3.0, &[&at.to_string()]);
    // TLS towards who speaks none: that nothing comes and that there is no connection is noticed at the same moment.
    let store = open(&format!("s3://k:s@b/p?endpoint=https://{at}&timeout=0.4&deadline=2")).unwrap();
    fails(timed(|| store.check()), Kind::Unavailable, 3.0, &[&at.to_string(), "within 0.4 s"]);
}

#[test]
fn what_is_no_s3_server_is_told() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
    let (store, _proxy, _) = behind("moto", "retries=1", move |_, _| Harm::Raw(page));
    fails(timed(|| store.check()), Kind::Corrupt, 3.0, &["is this an S3 server"]);
    let (store, _proxy, _) = behind("moto", "retries=1", |_, _| Harm::Raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    fails(timed(|| store.check()), Kind::Unavailable, 3.0, &["2 attempts"]);
}

/// A put that took place and whose answer got lost is not mistaken for somebody else's.
#[test]
fn a_lost_answer_of_a_conditional_put_is_found_out() {
    for name in ["moto", "ceph"] {
        let (store, proxy, _) = behind(name, "", |n, _| if n == 0 { Harm::LoseAnswer } else { Harm::None });
        let put = |bytes: &'static [u8], condition| {
            store.one(Request::Put { key: b"a", bytes, condition, meta: &[] })
        };
        let Outcome::Put(tag) = put(b"mine", Condition::Absent).unwrap() else { panic!() };
        assert_eq!(proxy.count(), 3, "{name}: put, put again, look");
        assert_eq!(store.get("a", 0, 10).unwrap(), b"mine");
        assert_eq!(put(b"other", Condition::Absent).unwrap_err().kind, Kind::Precondition);
        put(b"next", Condition::Tag(tag.unwrap())).unwrap();
        assert_eq!(store.get("a", 0, 10).unwrap(), b"next");
    }
}

#[test]
fn a_lost_answer_of_a_completion_is_found_out() {
    let done = AtomicBool::new(false);
    let (store, _proxy, _) = behind("ceph", "part_size=5MiB", move |_, seen| {
        let completes = seen.line.starts_with("POST") && seen.line.contains("uploadId");
        if completes && !done.swap(true, Ordering::Relaxed) { Harm::LoseAnswer } else { Harm::None }
    });
    let bytes = pattern(6, 11 << 20);
    let source = Bytes(bytes.clone());
    let part = Part::Bytes { source: &source, offset: 0, len: bytes.len() as u64 };
    let facts = store.compose().unwrap().compose(b"a", &[part], Condition::Always, &[]).unwrap();
    assert_eq!(facts.len, bytes.len() as u64);
    assert!(store.get("a", 0, bytes.len()).unwrap() == bytes);
}

/// An upload that fails leaves the old object, and no parts that cost room.
#[test]
fn a_failed_upload_is_taken_back() {
    for name in ["moto", "ceph"] {
        let (store, _proxy, prefix) = behind(name, "part_size=5MiB&retries=1", |_, seen| {
            if seen.line.contains("partNumber=3") { Harm::Answer(500, "InternalError") } else { Harm::None }
        });
        store.put("a", b"old").unwrap();
        let source = Bytes(pattern(7, 30 << 20));
        let part = Part::Bytes { source: &source, offset: 0, len: 30 << 20 };
        let failed = timed(|| store.compose().unwrap().compose(b"a", &[part], Condition::Always, &[]));
        fails(failed, Kind::Unavailable, 60.0, &["UploadPart", "\"a\""]);
        assert_eq!(store.get("a", 0, 10).unwrap(), b"old");
        let code = "print(len([u for u in s3.list_multipart_uploads(Bucket=bucket).get('Uploads', []) \
                    if u['Key'].startswith(sys.argv[1])]))";
        assert_eq!(server(name).boto(code, &[&prefix]).trim(), "0", "{name}: uploads that are left");
    }
}

/// A long read is of one version of the object, whatever happens between its parts.
#[test]
fn a_long_read_is_of_one_version() {
    for name in ["moto", "ceph"] {
        let server = server(name);
        let prefix = fresh("torn");
        let other = server.open(&prefix, "");
        let (old, new) = (pattern(8, 21 << 20), pattern(9, 17 << 20));
        other.put("a", &old).unwrap();
        let replaced = AtomicBool::new(false);
        let newer = new.clone();
        let proxy = Proxy::start(&server.endpoint, move |n, _| {
            if n == 2 && !replaced.swap(true, Ordering::Relaxed) {
                other.put("a", &newer).unwrap();
            }
            Harm::None
        });
        let store =
            open(&server.through(&proxy.endpoint, &prefix, "part_size=5MiB&connections=2&timeout=30"))
                .unwrap();
        let read = store.get("a", 0, 22 << 20).unwrap();
        assert!(read == new, "{name}: {} bytes", read.len());
        assert!(proxy.headers("if-match").len() > 1);
    }
}

/// The same where the server ignores If-Match: the tags of the answers tell.
#[test]
fn a_long_read_is_of_one_version_without_the_servers_help() {
    let server = server("moto");
    let prefix = fresh("torn");
    let other = server.open(&prefix, "");
    let new = pattern(11, 17 << 20);
    other.put("a", &pattern(10, 21 << 20)).unwrap();
    let replaced = AtomicBool::new(false);
    let newer = new.clone();
    let proxy = Proxy::start(&server.endpoint, move |n, _| {
        if n == 2 && !replaced.swap(true, Ordering::Relaxed) {
            other.put("a", &newer).unwrap();
        }
        Harm::Strip(&["if-match:"])
    });
    let store =
        open(&server.through(&proxy.endpoint, &prefix, "part_size=5MiB&connections=2&timeout=30")).unwrap();
    assert!(store.get("a", 0, 22 << 20).unwrap() == new);
}

/// Servers that take conditions and ignore them are found out; nothing is put then.
#[test]
fn ignored_conditions_are_found_out() {
    let server = server("moto");
    let prefix = fresh("liar");
    let proxy = Proxy::start(&server.endpoint, |_, _| Harm::Strip(&["if-match:", "if-none-match:"]));
    let store = open(&server.through(&proxy.endpoint, &prefix, "timeout=30")).unwrap();
    let put = |store: &Arc<dyn Store>, condition| {
        store.one(Request::Put { key: b"a", bytes: b"x", condition, meta: &[] })
    };
    let e = put(&store, Condition::Absent).unwrap_err();
    assert_eq!(e.kind, Kind::Unsupported, "{e}");
    store.check().unwrap();
    assert!(!store.capabilities().put_if_absent && !store.capabilities().put_if_match);
    let all = iris_store::ListRequest { limit: 10, ..Default::default() };
    assert_eq!(store.list(&all).unwrap().entries, [], "the probe leaves nothing");
    // The same server without the lie.
    for name in ["moto", "ceph"] {
        let store = support::server(name).open(&fresh("probe"), "timeout=30");
        assert!(!store.capabilities().put_if_absent, "nothing is claimed before the server was asked");
        store.check().unwrap();
        assert!(store.capabilities().put_if_absent && store.capabilities().put_if_match, "{name}");
        assert_eq!(store.list(&all).unwrap().entries, []);
        put(&store, Condition::Absent).unwrap();
    }
}

#[test]
fn wrong_keys_and_buckets_are_told() {
    let server = server("ceph");
    let address = |key: &str, secret: &str, bucket: &str| {
        format!("s3://{key}:{secret}@{bucket}/p?endpoint={}&deadline=10", server.endpoint)
    };
    let check = |address: String| timed(|| open(&address).unwrap().check());
    fails(check(address("nobody", "x", &server.bucket)), Kind::Denied, 11.0, &["access key"]);
    fails(check(address(&server.key, "wrong", &server.bucket)), Kind::Denied, 11.0, &["secret key"]);
    fails(
        check(address(&server.key, &server.secret, "no-such-bucket")),
        Kind::Invalid,
        11.0,
        &["no such bucket"],
    );
    let anonymous =
        format!("s3://{}/p?endpoint={}&anonymous=yes&deadline=10", server.bucket, server.endpoint);
    fails(check(anonymous), Kind::Denied, 11.0, &["AccessDenied"]);
}

/// A server from before a checksum was invented refuses it; what Iris keeps in the metadata still guards the bytes.
#[test]
fn a_server_that_refuses_new_checksums_is_served() {
    let spoil = Arc::new(AtomicBool::new(false));
    let rule = spoil.clone();
    let (store, _proxy, _) = behind("ceph", "part_size=5MiB&retries=2", move |_, seen| {
        if seen.header.contains("x-amz-checksum-crc64nvme:")
            || seen.header.contains("x-amz-checksum-algorithm:")
        {
            Harm::Answer(400, "InvalidRequest")
        } else if rule.load(Ordering::Relaxed) {
            Harm::Spoil(3)
        } else {
            Harm::None
        }
    });
    let source = Bytes(pattern(12, 11 << 20));
    let part = Part::Bytes { source: &source, offset: 0, len: 11 << 20 };
    store.compose().unwrap().compose(b"long", &[part], Condition::Always, &[]).unwrap();
    store.put("a", b"0123456789").unwrap();
    assert_eq!(store.get("a", 0, 20).unwrap(), b"0123456789");
    assert!(store.get("long", 0, 11 << 20).unwrap() == source.0);
    spoil.store(true, Ordering::Relaxed);
    fails(timed(|| store.get("a", 0, 20)), Kind::Corrupt, 5.0, &["checksum"]);
}
