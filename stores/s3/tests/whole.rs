//! What the suite of all stores cannot ask: other tools' objects, credentials, processes, descriptors, large objects.

#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use iris_store::conformance::pattern;
use iris_store::{Condition, Kind, ListRequest, Listed, Outcome, Part, Request, Source, Store};
use std::process::Command;
use std::sync::Arc;
use support::proxy::{Harm, Proxy};
use support::{Short, fresh, library, open, plugin, server};

fn listed(store: &Arc<dyn Store>) -> Vec<String> {
    let request = ListRequest { limit: 1000, ..ListRequest::default() };
    let page = store.list(&request).unwrap();
    let name = |entry| match entry {
        Listed::Object(key, _) | Listed::Prefix(key) => String::from_utf8(key).unwrap(),
    };
    page.entries.into_iter().map(name).collect()
}

/// boto3 reads what we put, and we read what it puts: bytes, length, metadata, odd names.
#[test]
fn other_tools_and_we_see_the_same_objects() {
    for name in ["moto", "ceph"] {
        let server = server(name);
        let prefix = fresh("tools");
        let store = server.open(&prefix, "");
        let odd = "a b+c%2F&=?#ä'\"<>~*!(){}[]|^`\\:;,@$/x.bin";
        for key in ["plain", odd] {
            let meta = [("mode".to_owned(), "0644 ä%".to_owned())];
            let request = Request::Put {
                key: key.as_bytes(),
                bytes: b"ours",
                condition: Condition::Always,
                meta: &meta,
            };
            store.one(request).unwrap();
            let full = format!("{prefix}/{key}");
            let code = "o = s3.get_object(Bucket=bucket, Key=sys.argv[1])\n\
                        print(o['Body'].read().decode(), o['ContentLength'], o['Metadata']['mode'])\n\
                        s3.put_object(Bucket=bucket, Key=sys.argv[1] + '.theirs', Body=b'theirs', Metadata={'who': 'boto'})";
            assert_eq!(server.boto(code, &[&full]).trim(), "ours 4 0644 %C3%A4%25", "{name}: {key}");
            assert_eq!(store.get(&format!("{key}.theirs"), 0, 100).unwrap(), b"theirs", "{name}: {key}");
            let Outcome::Facts(facts) =
                store.one(Request::Head { key: format!("{key}.theirs").as_bytes() }).unwrap()
            else {
                panic!()
            };
            assert_eq!((facts.len, facts.meta), (6, vec![("who".to_owned(), "boto".to_owned())]));
            assert!(facts.modified.is_some() && facts.tag.is_some());
            let Outcome::Facts(facts) = store.one(Request::Head { key: key.as_bytes() }).unwrap() else {
                panic!()
            };
            assert_eq!(facts.meta, meta, "{name}");
        }
        let mut expected =
            vec!["plain".to_owned(), "plain.theirs".into(), odd.into(), format!("{odd}.theirs")];
        expected.sort();
        assert_eq!(listed(&store), expected, "{name}");
        // Their multipart upload, with its checksum of checksums, read by us as a whole.
        let code = "import io, boto3.s3.transfer as t\nb = bytes(range(256)) * 65536\n\
                    s3.upload_fileobj(io.BytesIO(b), bucket, sys.argv[1], Config=t.TransferConfig(multipart_threshold=1, \
                    multipart_chunksize=6 << 20))";
        server.boto(code, &[&format!("{prefix}/multi")]);
        let bytes: Vec<u8> = (0..=255u8).collect::<Vec<_>>().repeat(65536);
        assert!(store.get("multi", 0, bytes.len() + 1).unwrap() == bytes, "{name}");
        // Ours, read by them.
        let source = Bytes(pattern(3, 17 << 20));
        let part = Part::Bytes { source: &source, offset: 0, len: 17 << 20 };
        store.compose().unwrap().compose(b"ours", &[part], Condition::Always, &[]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        server.boto("s3.download_file(bucket, sys.argv[1], sys.argv[2])", &[&format!("{prefix}/ours"), path]);
        assert!(std::fs::read(path).unwrap() == source.0, "{name}");
    }
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.copy_from_slice(&self.0[offset as usize..offset as usize + into.len()]);
        Ok(())
    }
}

/// s3cmd of Debian, on the server that checks signatures.
#[test]
fn s3cmd_sees_the_same_objects() {
    let server = server("ceph");
    let prefix = fresh("s3cmd");
    let store = server.open(&prefix, "");
    store.put("ours", b"by us").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (theirs, back) = (folder.path().join("theirs"), folder.path().join("back"));
    std::fs::write(&theirs, pattern(1, 100_000)).unwrap();
    let host = server.endpoint.trim_start_matches("http://");
    let run = |args: &[&str]| {
        let output = Command::new("timeout")
            .args(["60", "s3cmd", "--config=/dev/null", "--no-ssl", "--region=us-east-1"])
            .arg(format!("--access_key={}", server.key))
            .arg(format!("--secret_key={}", server.secret))
            .arg(format!("--host={host}"))
            .arg(format!("--host-bucket={host}/%(bucket)"))
            .args(args)
            .output()
            .expect("s3cmd must be installed: apt-get install s3cmd");
        assert!(output.status.success(), "s3cmd: {}", String::from_utf8_lossy(&output.stderr));
    };
    let url = |name: &str| format!("s3://{}/{prefix}/{name}", server.bucket);
    run(&["put", theirs.to_str().unwrap(), &url("theirs")]);
    assert!(store.get("theirs", 0, 200_000).unwrap() == pattern(1, 100_000));
    run(&["get", &url("ours"), back.to_str().unwrap()]);
    assert_eq!(std::fs::read(&back).unwrap(), b"by us");
}

/// A put of many parts, and reads across their borders.
#[test]
fn a_large_put_is_sent_as_parts() {
    let server = server("ceph");
    let store = server.open(&fresh("large"), "part_size=7MiB&timeout=30");
    let bytes = pattern(5, (70 << 20) + 12_345);
    store.put("a", &bytes).unwrap();
    assert!(store.get("a", 0, bytes.len() + 100).unwrap() == bytes);
    for (from, len) in
        [(0, 15 << 20), ((7 << 20) - 3, 6), ((10 << 20) + 1, 33 << 20), ((70 << 20) - 1, 1 << 20)]
    {
        let to = (from + len).min(bytes.len());
        assert!(store.get("a", from as u64, len).unwrap() == bytes[from..to], "{from} {len}");
    }
    assert_eq!(store.get("a", bytes.len() as u64, 10).unwrap(), b"");
}

/// The change of a few bytes in the middle of a long object moves little.
#[test]
fn a_change_in_a_long_object_is_copied_around() {
    let server = server("ceph");
    let prefix = fresh("change");
    let proxy = Proxy::start(&server.endpoint, |_, _| Harm::None);
    let store = open(&server.through(&proxy.endpoint, &prefix, "timeout=30")).unwrap();
    let mut bytes = pattern(6, 40 << 20);
    store.put("a", &bytes).unwrap();
    let before = proxy.headers("content-length").len();
    let change = Bytes(pattern(7, 1000));
    let at = 20u64 << 20;
    let old = |offset, len| Part::Existing { key: b"a", offset, len, tag: None };
    let parts = [
        old(0, at),
        Part::Bytes { source: &change, offset: 0, len: 1000 },
        old(at + 1000, (40 << 20) - at - 1000),
    ];
    store.compose().unwrap().compose(b"a", &parts, Condition::Always, &[]).unwrap();
    bytes[at as usize..at as usize + 1000].copy_from_slice(&change.0);
    let sent: u64 = proxy.headers("content-length")[before..].iter().map(|n| n.parse::<u64>().unwrap()).sum();
    assert!(sent < 6 << 20, "{sent} bytes were sent");
    assert!(store.get("a", 0, bytes.len()).unwrap() == bytes);
}

/// What tells a test that it runs as the child of itself.
const PART: &str = "IRIS_TEST_S3_PART";

/// This program again, with other environment, running the same test: the child finds `PART` set.
fn again(test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new("timeout");
    command.arg("60").arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    for name in
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"]
    {
        command.env_remove(name);
    }
    let child = command.env(PART, "yes").env("HOME", "/nonexistent").envs(environment.iter().copied());
    let output = child.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{test} with {environment:?}: {text}");
}

fn check_with_this_environment() {
    let options = std::env::var("OPTIONS").unwrap();
    let result =
        open(&format!("s3://{}/cred?{options}", std::env::var("BUCKET").unwrap())).and_then(|s| s.check());
    match std::env::var("EXPECTED") {
        Err(_) => result.unwrap(),
        Ok(expected) => {
            let e = result.unwrap_err();
            assert!(e.kind == Kind::Denied && e.to_string().contains(&expected), "{e}");
        }
    }
}

/// Environment, profiles (default, named, by option), endpoint of the environment; and what is said when there are none.
#[test]
fn credentials_come_from_where_the_tools_have_them() {
    if std::env::var_os(PART).is_some() {
        return check_with_this_environment();
    }
    let server = server("ceph");
    let folder = tempfile::tempdir().unwrap();
    let (credentials, config) = (folder.path().join("credentials"), folder.path().join("config"));
    let (key, secret) = (&server.key, &server.secret);
    let keys = format!("aws_access_key_id={key}\naws_secret_access_key={secret}\n");
    let wrong = "aws_access_key_id=nobody\naws_secret_access_key=x\n";
    std::fs::write(&credentials, format!("[default]\n{wrong}[lab]\n{keys}")).unwrap();
    std::fs::write(&config, format!("[profile lab]\nregion=eu-lab-1\nendpoint_url={}\n", server.endpoint))
        .unwrap();
    let files = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
    ];
    let endpoint = format!("endpoint={}&deadline=10", server.endpoint);
    let run = |more: &[(&str, &str)]| {
        let all = [&[("BUCKET", server.bucket.as_str())][..], &files, more].concat();
        again("credentials_come_from_where_the_tools_have_them", &all);
    };
    run(&[("OPTIONS", &endpoint), ("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)]);
    run(&[("OPTIONS", &endpoint), ("AWS_PROFILE", "lab")]);
    run(&[("OPTIONS", "profile=lab&deadline=10")]);
    run(&[
        ("OPTIONS", "profile=lab&deadline=10"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ]);
    run(&[
        ("OPTIONS", "deadline=10"),
        ("AWS_ENDPOINT_URL_S3", &server.endpoint),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ]);
    run(&[("OPTIONS", &endpoint), ("EXPECTED", "InvalidAccessKeyId")]);
    let none = ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    run(&[("OPTIONS", &endpoint), none, ("EXPECTED", "AWS_ACCESS_KEY_ID")]);
    // A session's token is sent with each request.
    let proxy = Proxy::start(&server.endpoint, |_, _| Harm::None);
    let through = format!("endpoint={}&deadline=10&conditional=no", proxy.endpoint);
    let session = ("AWS_SESSION_TOKEN", "bm90IGEgdG9rZW4=");
    run(&[("OPTIONS", &through), ("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret), session]);
    assert_eq!(proxy.headers("x-amz-security-token"), ["bm90igegdg9rzw4="]);
    // Credentials that expire and are renewed in the file meanwhile.
    let file = credentials.clone();
    let renewed = format!("[default]\n{keys}");
    let proxy = Proxy::start(&server.endpoint, move |_, seen| {
        if !seen.header.contains("credential=nobody/") {
            return Harm::None;
        }
        std::fs::write(&file, &renewed).unwrap();
        Harm::Answer(400, "ExpiredToken")
    });
    run(&[("OPTIONS", &format!("endpoint={}&deadline=10&conditional=no", proxy.endpoint))]);
    assert_eq!(proxy.count(), 2);
    // A machine that has a role: the token of a file is exchanged at the server of sessions, which moto has too.
    let moto = support::server("moto");
    let token = folder.path().join("token");
    std::fs::write(&token, "a.web.token").unwrap();
    let proxy = Proxy::start(&moto.endpoint, |_, _| Harm::None);
    run(&[
        ("OPTIONS", &format!("endpoint={}&deadline=10&conditional=no", moto.endpoint)),
        none,
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lab"),
        ("AWS_ENDPOINT_URL_STS", &proxy.endpoint),
    ]);
    assert!(proxy.count() > 0);
}

/// Takes TLS off and passes the bytes on; prints its port.
const TLS_PROXY: &str = r#"
import socket, ssl, sys, threading
cert, key, host, port = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def pump(a, b):
    try:
        while data := a.recv(1 << 16): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(plain):
    try: client = context.wrap_socket(plain, server_side=True)
    except OSError: return
    server = socket.create_connection((host, int(port)))
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// TLS with a certificate of an authority that is named; without the name nobody is talked to.
#[test]
fn encrypted_connections_are_made_to_whom_is_trusted() {
    let server = server("ceph");
    let folder = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let output =
            Command::new("openssl").args(args.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=lab -days 2");
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=server");
    std::fs::write(folder.path().join("ext"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext",
    );
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (host, port) = server.endpoint.trim_start_matches("http://").split_once(':').unwrap();
    let mut proxy = Command::new(&server.python)
        .args(["-c", TLS_PROXY, &file("cert.pem"), &file("key.pem"), host, port])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(proxy.stdout.take().unwrap()), &mut line)
        .unwrap();
    let result = std::panic::catch_unwind(|| {
        let endpoint = format!("https://127.0.0.1:{}", line.trim());
        let prefix = fresh("tls");
        let store =
            open(&server.through(&endpoint, &prefix, &format!("ca={}&deadline=20", file("ca.pem")))).unwrap();
        let bytes = pattern(20, 3_000_000);
        store.put("a", &bytes).unwrap();
        assert!(store.get("a", 0, bytes.len()).unwrap() == bytes);
        let store = open(&server.through(&endpoint, &prefix, "deadline=2")).unwrap();
        let e = store.check().unwrap_err();
        assert!(e.kind == Kind::Unavailable && e.to_string().contains("certificate"), "{e}");
        let store = open(&server.through(&endpoint, &prefix, "ca=/nonexistent.pem&deadline=2")).unwrap();
        assert!(store.check().unwrap_err().to_string().contains("/nonexistent.pem"));
    });
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// After a fork the child is told so, may drop the store, and may open its own.
#[test]
fn a_child_opens_a_store_of_its_own() {
    let server = server("ceph");
    let prefix = fresh("fork");
    let store = server.open(&prefix, "");
    store.put("a", b"parent's").unwrap();
    // SAFETY: the child uses memory, the store and _exit only; glibc's allocator is fit for use after a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(store.get("a", 0, 10).unwrap_err().kind, Kind::Closed);
            assert_eq!(store.check().unwrap_err().kind, Kind::Closed);
            let compose = store.compose().unwrap();
            assert_eq!(compose.compose(b"c", &[], Condition::Always, &[]).unwrap_err().kind, Kind::Closed);
            drop(store);
            let own = server.open(&prefix, "");
            assert_eq!(own.get("a", 0, 10).unwrap(), b"parent's");
            own.put("b", b"child's").unwrap();
        }));
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(if ok.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child's status");
    assert_eq!(store.get("b", 0, 10).unwrap(), b"child's");
}

fn descriptors() -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| std::fs::read_link(e.ok()?.path()).ok())
        .map(|p| p.to_string_lossy().into_owned())
        .filter(|p| p.starts_with("socket") || p.contains("eventpoll") || p.contains("eventfd"))
        .collect();
    all.sort();
    all
}

fn threads() -> usize {
    let own = |e: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(e.ok()?.path().join("comm")).ok()?;
        name.starts_with("iris-s3").then_some(())
    };
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(own).count()
}

/// In a program of its own.
fn alone() {
    let before = descriptors();
    assert_eq!(threads(), 0);
    plugin();
    assert_eq!(threads(), 0, "loading starts nothing");
    let server = server("ceph");
    let store = server.open(&fresh("alone"), "");
    for i in 0..20 {
        store.put(&format!("{i}"), b"x").unwrap();
    }
    assert_eq!(listed(&store).len(), 20);
    assert_eq!(threads(), 2);
    assert_eq!(descriptors(), before, "sockets are not the program's");
    // A SIGPIPE would end this process: Rust's programs ignore it, others do not.
    // SAFETY: sets a disposition, and no thread depends on the other.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let proxy = Proxy::start(&server.endpoint, |n, _| match n % 2 {
        0 => Harm::Raw("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        _ => Harm::None,
    });
    let broken = open(&server.through(&proxy.endpoint, &fresh("alone"), "")).unwrap();
    for i in 0..10 {
        broken.put(&format!("{i}"), &pattern(i, 300_000)).unwrap();
    }
    drop(broken);
    drop(store);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while threads() > 0 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(threads(), 0, "they end with the stores");
}

#[test]
fn nothing_of_a_store_shows_in_the_program() {
    if std::env::var_os(PART).is_some() {
        return alone();
    }
    again("nothing_of_a_store_shows_in_the_program", &[]);
}

/// The library needs libc and its kin only.
#[test]
fn the_library_needs_no_others() {
    let output = Command::new("readelf").arg("-dW").arg(library()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let needed: Vec<&str> = text.lines().filter(|l| l.contains("(NEEDED)")).collect();
    assert!(!needed.is_empty());
    for line in needed {
        let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
        assert!(known.iter().any(|k| line.contains(k)), "{line}");
    }
}

/// Copies that the server makes keep what an object is, or all of it but the text kept with it; and versions are told
/// apart in reading and copying.
#[test]
fn versions_are_read_and_copied_and_no_other() {
    for name in ["moto", "ceph"] {
        let server = server(name);
        let prefix = fresh("versions");
        let store = server.open(&prefix, "");
        let versions = store.versions().unwrap();
        let bytes = pattern(5, 100_000);
        let code = "s3.put_object(Bucket=bucket, Key=sys.argv[1], Body=open(sys.argv[2], 'rb').read(), ContentType='text/x', \
                    Metadata={'mode': '1', 'who': 'boto'})";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        server.boto(code, &[&format!("{prefix}/a b"), file.path().to_str().unwrap()]);
        let facts = |key: &str| match store.one(Request::Head { key: key.as_bytes() }) {
            Ok(Outcome::Facts(facts)) => facts,
            other => panic!("{name}: {key}: {other:?}"),
        };
        let first = facts("a b");
        let tag = first.tag.clone().unwrap();
        let copy = versions.copy(b"a b", b"d/c", Some(&tag), None).unwrap();
        assert_eq!((copy.len, &copy.meta), (100_000, &first.meta), "{name}");
        assert_eq!(facts("d/c").meta, first.meta, "{name}");
        assert_eq!(facts("d/c").tag, copy.tag, "{name}");
        let meta = vec![("mode".to_owned(), "2".to_owned())];
        let again = versions.copy(b"d/c", b"d/c", None, Some(&meta)).unwrap();
        assert_eq!((facts("d/c").meta, facts("d/c").tag), (meta, again.tag), "{name}");
        assert!(store.get("d/c", 0, 200_000).unwrap() == bytes, "{name}");
        let kind = server.boto(
            "print(s3.head_object(Bucket=bucket, Key=sys.argv[1])['ContentType'])",
            &[&format!("{prefix}/d/c")],
        );
        assert_eq!(kind.trim(), "text/x", "{name}");
        let mut into = vec![0; 5000];
        versions.read_version(b"a b", &tag, 70_000, &mut into).unwrap();
        assert!(into == bytes[70_000..75_000], "{name}");
        store.put("a b", &pattern(6, 100_000)).unwrap();
        let kind = |e: iris_store::StoreError| e.kind;
        assert_eq!(versions.read_version(b"a b", &tag, 0, &mut into).map_err(kind), Err(Kind::Precondition));
        assert_eq!(versions.copy(b"a b", b"x", Some(&tag), None).map_err(kind), Err(Kind::Precondition));
        assert_eq!(versions.copy(b"none", b"x", None, None).map_err(kind), Err(Kind::NotFound));
        assert!(!listed(&store).contains(&"x".to_owned()), "{name}");
    }
}
