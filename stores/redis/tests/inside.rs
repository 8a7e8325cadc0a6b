//! The store inside a program that it does not know: forks, signals, descriptors, threads with a table of their own,
//! and the library as Iris loads it.

mod support;

use iris_store::{ENTRY, Entry, Kind, STAMP};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use support::proxy::{Plan, Proxy};
use support::servers::Servers;
use support::{get, open, put};

/// Runs `child` in a forked child and gives its exit status, as waitpid tells it.
fn forked(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs what the store promises to be able to, and leaves by _exit without anything of the test
    // harness; glibc makes the allocator usable after a fork of a process with threads.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: our own child.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid);
    status
}

/// Puts and gets under a name; the number of values that came back wrong, or -1 after an error.
fn work(store: &dyn iris_store::Store, name: &str) -> i32 {
    let mut wrong = 0;
    for i in 0..300 {
        let (key, value) = (format!("{name} {}", i % 7), format!("{name} {i}").repeat(50));
        if put(store, key.as_bytes(), value.as_bytes()).is_err() {
            return -1;
        }
        match get(store, key.as_bytes(), 4096) {
            Ok(bytes) if bytes == value.as_bytes() => (),
            Ok(_) => wrong += 1,
            Err(_) => return -1,
        }
    }
    wrong
}

#[test]
fn a_forked_child_has_connections_of_its_own() {
    let tls = Servers::up("redis", &["--tls"]);
    let encrypted = format!("{}?ca={}", tls.var("REDIS_URL"), tls.var("REDIS_CA"));
    let cluster = Servers::up("redis", &["--cluster"]);
    for address in [
        format!("redis+unix://{}", tls.var("REDIS_SOCKET")),
        encrypted,
        format!("{}?cluster=yes", cluster.var("REDIS_URL")),
    ] {
        let store = open(&address);
        assert_eq!(work(&*store, "before"), 0);
        thread::scope(|scope| {
            // The parent goes on on its connection while the child works.
            let parent = scope.spawn(|| work(&*store, "parent"));
            let status = forked(|| {
                let own = work(&*store, "child");
                // A grandchild, too.
                let grand = forked(|| work(&*store, "grandchild"));
                own + grand
            });
            assert_eq!(status, 0, "{address}: the child's work");
            assert_eq!(parent.join().unwrap(), 0, "{address}: the parent's work");
        });
        assert_eq!(work(&*store, "after"), 0);
    }
}

#[test]
fn a_child_that_only_drops_the_store_does_no_harm() {
    let servers = Servers::up("redis", &[]);
    let store = open(servers.var("REDIS_URL"));
    put(&*store, b"a", b"x").unwrap();
    let mut moved = Some(store.clone());
    let status = forked(|| {
        drop(moved.take());
        0
    });
    assert_eq!(status, 0);
    assert_eq!(get(&*store, b"a", 10).unwrap(), b"x");
    assert_eq!(format!("{:?}", servers.tell(0, &["CLIENT", "LIST"])).matches("name=iris").count(), 1);
}

#[test]
fn a_broken_connection_sends_no_signal() {
    let servers = Servers::up("redis", &[]);
    let socket = servers.server(0).join("redis.sock");
    let proxy = Proxy::to(&socket);
    // The default of C programs, where a write to a closed connection ends the process.
    let status = forked(|| {
        // SAFETY: only this child's disposition.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let options = "connect_timeout_ms=2000&timeout_ms=2000&deadline_ms=10000";
        let tcp = open(&format!("{}?{options}", proxy.address()));
        let unix = open(&format!("redis+unix://{}?{options}", socket.display()));
        for round in 0..20 {
            proxy.plan(Plan::CutRequests(100_000 + round * 1000), 1);
            let large = vec![1; 3 << 20];
            if put(&*tcp, b"a", &large).is_err() || put(&*unix, b"b", &large).is_err() {
                return 1;
            }
            if servers.try_tell(0, &["CLIENT", "KILL", "TYPE", "normal"]).is_err() {
                return 2;
            }
        }
        0
    });
    assert_eq!(status, 0, "a status below 256 is the signal that ended it");
}

#[test]
fn the_password_may_stand_in_the_environment() {
    let servers = Servers::up("redis", &["--password", "secret-word"]);
    let bare = servers.var("REDIS_URL").replace("default:secret-word@", "");
    let status = forked(|| {
        // SAFETY: a forked child has one thread.
        unsafe { std::env::set_var("IRIS_REDIS_PASSWORD", "secret-word") };
        i32::from(put(&*open(&bare), b"a", b"x").is_err())
    });
    assert_eq!(status, 0);
}

#[test]
fn descriptors_are_closed_by_exec() {
    let servers = Servers::up("redis", &[]);
    let store = open(servers.var("REDIS_URL"));
    put(&*store, b"a", b"x").unwrap();
    let mut sockets = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let Ok(fd) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else { continue };
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        if link.to_string_lossy().starts_with("socket:") {
            // SAFETY: asks only.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            // -1: another test closed it meanwhile.
            assert!(flags < 0 || flags & libc::FD_CLOEXEC != 0, "descriptor {fd}");
            sockets += 1;
        }
    }
    assert!(sockets > 0);
}

#[test]
fn what_another_table_of_descriptors_means_is_left_alone() {
    let servers = Servers::up("redis", &[]);
    let address = servers.var("REDIS_URL").to_owned();
    let (send, receive) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let opener = thread::spawn(move || {
        // SAFETY: only this thread's table; nothing else runs on it.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
        let store = open(&address);
        put(&*store, b"a", b"x").unwrap();
        send.send(store).unwrap();
        // The table lives as long as its thread.
        wait.recv().unwrap();
    });
    let store = receive.recv().unwrap();
    // Whatever numbers the store's sockets have there, here they are files.
    let files: Vec<File> = (0..200).map(|_| File::open("/proc/self/exe").unwrap()).collect();
    drop(store);
    for file in &files {
        // SAFETY: asks only.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) };
        assert!(flags >= 0, "the store closed descriptor {}, which is not its own here", file.as_raw_fd());
    }
    release.send(()).unwrap();
    opener.join().unwrap();
}

#[test]
fn a_store_that_is_dropped_leaves_nothing_open() {
    let servers = Servers::up("redis", &[]);
    let connected = || format!("{:?}", servers.tell(0, &["CLIENT", "LIST"])).matches("name=iris").count();
    let store = open(servers.var("REDIS_URL"));
    put(&*store, b"a", b"x").unwrap();
    assert_eq!(connected(), 1);
    drop(store);
    for _ in 0..1000 {
        if connected() == 0 {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the connection is still there");
}

#[test]
fn threads_of_the_store_are_adopted_and_see_no_signals() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static ADOPTED: AtomicUsize = AtomicUsize::new(0);
    fn adopt() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).unwrap().trim();
        // All but SIGKILL and SIGSTOP, and those that the C library keeps for itself.
        assert_eq!(u64::from_str_radix(blocked, 16).unwrap() & 0x7ffb_feff, 0x7ffb_feff, "{blocked}");
        ADOPTED.fetch_add(1, Ordering::SeqCst);
    }
    let servers = Servers::up("redis", &[]);
    let address = servers.var("REDIS_URL").replace("127.0.0.1", "localhost");
    let host = iris_store::Host { adopt_thread: adopt, log: |_, _| () };
    let store = iris_store_redis::open(&iris_store::Address::parse(&address).unwrap(), host).unwrap();
    put(&*store, b"a", b"x").unwrap();
    assert_eq!(ADOPTED.load(Ordering::SeqCst), 1);
}

#[test]
fn the_library_is_loaded_as_iris_does() {
    // Beside the test binaries' folder.
    let deps = std::env::current_exe().unwrap();
    let library = deps.parent().unwrap().join("libiris_store_redis.so");
    let library = if library.exists() {
        library
    } else {
        deps.parent().unwrap().parent().unwrap().join("libiris_store_redis.so")
    };
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library was built with this test; its constructors do nothing.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} cannot be loaded", library.display());
    let name = CString::new(ENTRY).unwrap();
    // SAFETY: the handle is that of a loaded library.
    let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!symbol.is_null(), "it exports no {ENTRY}");
    // SAFETY: a symbol of this name has this type.
    let entry: Entry = unsafe { std::mem::transmute(symbol) };
    let plugin = entry();
    assert_eq!(plugin.stamp, STAMP);
    assert_eq!(plugin.schemes, ["redis", "rediss", "redis+unix", "memcached", "memcached+unix"]);
    let address = iris_store::Address::parse("redis://localhost?clustre=yes").unwrap();
    let error = (plugin.open)(&address, support::host()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
}

#[test]
fn the_documentation_has_every_option_and_no_other() {
    let text = include_str!("../../../docs/stores.md");
    let table = text.split("| option | what it does |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut told: Vec<&str> = table
        .lines()
        .filter_map(|l| l.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    let mut known: Vec<&str> = iris_store_redis::PLUGIN.options.iter().map(|o| o.name).collect();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
}
