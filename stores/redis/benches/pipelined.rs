//! The store against redis-benchmark, the server's own client, and against the redis crate: SET and GET of whole
//! values over one unix socket, one connection, the same number of requests under way. All take turns on one server in
//! one run; printed are medians and ratios, with the least and the greatest ratio of the rounds.
//!   cargo bench -p iris-store-redis [-- ROUNDS]          (redis-server and redis-benchmark must be in PATH)

// A benchmark may end where it stands.
#![allow(clippy::unwrap_used)]

use iris_store::{Address, Condition, Host, Request, Store};
use std::hint::black_box;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> Server {
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "r.sock"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is not in PATH: install the package redis-server");
    let server = Server(child);
    for _ in 0..500 {
        if std::os::unix::net::UnixStream::connect(folder.join("r.sock")).is_ok() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("redis-server does not listen");
}

/// Requests a second that redis-benchmark makes: SET, GET.
fn theirs(socket: &Path, size: usize, depth: usize, count: usize) -> [f64; 2] {
    let output = Command::new("redis-benchmark")
        .args(["-s", socket.to_str().unwrap(), "-t", "set,get", "-c", "1", "--csv"])
        .args(["-d", &size.to_string(), "-P", &depth.to_string(), "-n", &count.to_string()])
        .output()
        .expect("redis-benchmark is not in PATH: install the package redis-tools");
    let text = String::from_utf8(output.stdout).unwrap();
    let rate = |what: &str| {
        let line =
            text.lines().find(|l| l.starts_with(&format!("\"{what}\""))).unwrap_or_else(|| panic!("{text}"));
        line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
    };
    [rate("SET"), rate("GET")]
}

/// Those of the store. redis-benchmark works on one key; so do these.
fn ours(store: &dyn Store, size: usize, depth: usize, count: usize) -> [f64; 2] {
    let value = vec![b'x'; size];
    let mut rooms: Vec<Vec<u8>> = (0..depth).map(|_| vec![1; size]).collect();
    let mut outcomes = Vec::new();
    let begun = Instant::now();
    for _ in 0..count / depth {
        let mut requests: Vec<Request<'_>> = (0..depth)
            .map(|_| Request::Put {
                key: b"key:000000000000",
                bytes: &value,
                condition: Condition::Always,
                meta: &[],
            })
            .collect();
        store.submit(&mut requests, &mut outcomes);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    let set = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..count / depth {
        let mut requests: Vec<Request<'_>> =
            rooms.iter_mut().map(|into| Request::Get { key: b"key:000000000000", offset: 0, into }).collect();
        store.submit(&mut requests, &mut outcomes);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    let get = begun.elapsed();
    let done = (count / depth * depth) as f64;
    [done / set.as_secs_f64(), done / get.as_secs_f64()]
}

/// Those of the redis crate.
fn crates(connection: &mut redis::Connection, size: usize, depth: usize, count: usize) -> [f64; 2] {
    let value = vec![b'x'; size];
    let begun = Instant::now();
    for _ in 0..count / depth {
        let mut pipe = redis::pipe();
        for _ in 0..depth {
            pipe.cmd("SET").arg(b"key:000000000000").arg(&value[..]).ignore();
        }
        pipe.query::<()>(connection).unwrap();
    }
    let set = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..count / depth {
        let mut pipe = redis::pipe();
        for _ in 0..depth {
            pipe.cmd("GETRANGE").arg(b"key:000000000000").arg(0).arg(size - 1);
        }
        black_box(pipe.query::<Vec<Vec<u8>>>(connection).unwrap());
    }
    let get = begun.elapsed();
    let done = (count / depth * depth) as f64;
    [done / set.as_secs_f64(), done / get.as_secs_f64()]
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    let _server = start(folder.path());
    let socket = folder.path().join("r.sock");
    let host = Host { adopt_thread: || (), log: |_, _| () };
    let address = format!("redis+unix://{}", socket.display());
    let store = iris_store_redis::open(&Address::parse(&address).unwrap(), host).unwrap();
    let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
    let mut connection = client.get_connection().unwrap();
    println!(
        "{rounds} rounds; requests a second, medians; ratios to redis-benchmark (least to greatest of the rounds)"
    );
    println!(
        "{:<28}{:>12}{:>12}{:>24}{:>12}{:>24}",
        "", "redis-bench", "store", "ratio", "redis crate", "ratio"
    );
    for (size, depth, count) in [
        (64, 1, 50_000),
        (4096, 1, 40_000),
        (4096, 16, 200_000),
        (4096, 128, 200_000),
        (65536, 1, 15_000),
        (65536, 16, 20_000),
        (1 << 20, 1, 1500),
        (1 << 20, 4, 1500),
    ] {
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            a.push(theirs(&socket, size, depth, count));
            b.push(ours(&*store, size, depth, count));
            c.push(crates(&mut connection, size, depth, count));
        }
        for (i, verb) in ["SET", "GET"].into_iter().enumerate() {
            let column = |all: &[[f64; 2]]| all.iter().map(|v| v[i]).collect::<Vec<_>>();
            let (a, b, c) = (column(&a), column(&b), column(&c));
            let ratio = |x: &[f64]| {
                let all: Vec<f64> = x.iter().zip(&a).map(|(x, a)| x / a).collect();
                let (least, most) = all.iter().fold((f64::MAX, 0f64), |(l, m), r| (l.min(*r), m.max(*r)));
                format!("{:.2} ({least:.2} to {most:.2})", median(&all))
            };
            println!(
                "{:<28}{:>12.0}{:>12.0}{:>24}{:>12.0}{:>24}",
                format!("{verb} {size} B, {depth} under way"),
                median(&a),
                median(&b),
                ratio(&b),
                median(&c),
                ratio(&c)
            );
        }
    }
}
