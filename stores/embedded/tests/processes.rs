//! Stores under processes: several at once, processes killed at any moment, damage, full disks, loss of power. Children
//! are this program itself, told by a variable what to do.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use iris_mappers::containers::MAPPERS;
use iris_store::{Condition, Kind, ListRequest, Listed, Outcome, Request, Store};
use iris_store_embedded::{Durability, Embedded, Options};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::*;

/// What a child does when this program is run as one: see `child`.
#[test]
fn as_a_child() {
    let Ok(what) = std::env::var("IRIS_EMBEDDED_CHILD") else { return };
    let folder = PathBuf::from(std::env::var("IRIS_EMBEDDED_FOLDER").unwrap());
    let number: u64 = std::env::var("IRIS_EMBEDDED_NUMBER").unwrap().parse().unwrap();
    let store = Embedded::open(&Options::new(&folder), "kv:///child").unwrap();
    match what.as_str() {
        "write" => write_for_ever(&store, number),
        "count" => count(&store, 150),
        other => panic!("{other}"),
    }
}

/// Changes objects of its own, telling before and after each change what it is: `> key version len` and `< key`.
fn write_for_ever(store: &Embedded, number: u64) {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9));
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        // One write, so that a line is there or is not.
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let lane = std::env::var("IRIS_EMBEDDED_LANE").unwrap();
    for version in number * 1_000_000.. {
        let key = format!("{lane}/{}", random.below(30));
        // 0 is a removal.
        let len = match random.below(10) {
            0 => 0,
            1 => 1_200_000 + random.below(3_000_000),
            2..5 => 65_536,
            _ => 1 + random.below(20_000),
        } as usize;
        say(format!("> {key} {version} {len}\n"));
        if len == 0 {
            done(store, Request::Delete { key: key.as_bytes() });
        } else {
            put(store, key.as_bytes(), &pattern(version, len));
        }
        say(format!("< {key}\n"));
    }
}

/// Adds one to a counter, over its tag, so many times.
fn count(store: &Embedded, times: u32) {
    let mut done = 0;
    while done < times {
        let tag = head(store, b"counter").unwrap().tag.unwrap();
        let n: u64 = String::from_utf8(get(store, b"counter").unwrap()).unwrap().parse().unwrap();
        let bytes = (n + 1).to_string().into_bytes();
        let condition = Condition::Tag(tag);
        match store.one(Request::Put { key: b"counter", bytes: &bytes, condition, meta: &[] }) {
            Ok(_) => done += 1,
            Err(e) => assert_eq!(e.kind, Kind::Precondition, "{e}"),
        }
    }
}

fn child(what: &str, folder: &Path, lane: u64, number: u64, out: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_a_child", "--nocapture", "--quiet"]);
    command.env("IRIS_EMBEDDED_CHILD", what).env("IRIS_EMBEDDED_FOLDER", folder);
    command.env("IRIS_EMBEDDED_LANE", lane.to_string()).env("IRIS_EMBEDDED_NUMBER", number.to_string());
    match out {
        Some(path) => command.stdout(OpenOptions::new().append(true).create(true).open(path).unwrap()),
        None => command.stdout(Stdio::null()),
    };
    command.spawn().unwrap()
}

/// What a lane of changes says of each key: versions (0: none) that may be there.
fn allowed(out: &Path) -> BTreeMap<String, Vec<(u64, usize)>> {
    let mut keys: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for line in BufReader::new(File::open(out).unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [">", key, version, len] => {
                let known = keys.entry(key.to_owned()).or_insert_with(|| vec![(0, 0)]);
                known.push((version.parse().unwrap(), len.parse().unwrap()));
            }
            ["<", key] => {
                // Acknowledged: nothing older any more.
                let known = keys.get_mut(key).unwrap();
                known.drain(..known.len() - 1);
            }
            // What the test harness prints.
            _ => (),
        }
    }
    keys
}

/// Writers are killed again and again, sometimes several at once; whatever they said was acknowledged is there, whole,
/// and everything can be read. `IRIS_EMBEDDED_KILLS` rounds (12).
#[test]
fn killed_writers_lose_nothing_acknowledged() {
    let rounds: u64 = std::env::var("IRIS_EMBEDDED_KILLS").map_or(12, |t| t.parse().unwrap());
    for named in MAPPERS {
        let folder = tempfile::tempdir().unwrap();
        let durability = Some(Durability::None);
        let options = Options { mapper: Some(named), durability, ..Options::new(folder.path()) };
        let store = Embedded::open(&options, "kv:///parent").unwrap();
        let mut random = Random(7);
        for round in 1..=rounds.div_ceil(if named.number == 4 { 1 } else { 3 }) {
            let outs: Vec<PathBuf> = (0..2).map(|i| folder.path().join(format!("said-{i}"))).collect();
            let mut children: Vec<Child> = (0..2u64)
                .map(|lane| child("write", folder.path(), lane, round * 2 + lane, Some(&outs[lane as usize])))
                .collect();
            std::thread::sleep(std::time::Duration::from_millis(150 + random.below(300)));
            for child in &mut children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            // By the store that was open all the while, and by one that is opened now.
            let fresh = Embedded::open(&Options::new(folder.path()), "kv:///fresh").unwrap();
            for out in &outs {
                for (key, versions) in allowed(out) {
                    for store in [&store, &fresh] {
                        let found = get(store, key.as_bytes());
                        let fits = versions.iter().any(|(version, len)| match (&found, len) {
                            (None, 0) => true,
                            (Some(bytes), len) => bytes.len() == *len && *bytes == pattern(*version, *len),
                            _ => false,
                        });
                        let len = found.map(|b| b.len());
                        assert!(fits, "{}, round {round}: {key} is {len:?}, may be {versions:?}", named.name);
                    }
                }
            }
        }
        let said: usize = (0..2)
            .map(|i| {
                fs::read_to_string(folder.path().join(format!("said-{i}"))).unwrap().matches('<').count()
            })
            .sum();
        assert!(said > 20, "{}: only {said} changes were acknowledged", named.name);
        within_bound(&store);
        // Nothing that the dead left stays for ever: not even their long objects' containers.
        for i in 0..40u64 {
            put(&store, format!("after/{i}").as_bytes(), &pattern(i, 1_500_000));
        }
        within_bound(&store);
    }
}

#[test]
fn processes_count_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&Options::new(folder.path()), "kv:///parent").unwrap();
    put(&store, b"counter", b"0");
    let children: Vec<Child> = (0..3).map(|i| child("count", folder.path(), i, i, None)).collect();
    count(&store, 150);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(get(&store, b"counter").unwrap(), b"600");
}

/// Containers' files of a store.
fn containers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shard in fs::read_dir(folder.join("objects")).unwrap() {
        let shard = shard.unwrap().path();
        if shard.is_dir() {
            let files = fs::read_dir(shard).unwrap().map(|e| e.unwrap().path());
            found.extend(files.filter(|p| p.file_name().unwrap().len() == 8));
        }
    }
    found.sort();
    found
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let shards =
        fs::read_dir(folder.join("objects")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let files = shards.flat_map(|s| fs::read_dir(s).unwrap().map(|e| e.unwrap().path()));
    let mut logs: Vec<PathBuf> =
        files.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("log-")).collect();
    logs.sort();
    logs
}

fn flip(path: &Path, at: u64, bit: u8) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

/// Whatever is flipped or cut, an object is what was put or an error that names a file, and nothing panics.
#[test]
fn damage_is_told_and_never_served() {
    let mut random = Random(3);
    let mut told = 0;
    for round in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { durability: Some(Durability::None), ..Options::new(folder.path()) };
        let objects: Vec<(Vec<u8>, Vec<u8>)> = (0..40u64)
            .map(|i| (format!("o{i}").into_bytes(), pattern(i, 1 + random.below(100_000) as usize)))
            .collect();
        let store = Embedded::open(&options, "kv:///a").unwrap();
        for (key, bytes) in &objects {
            put(&store, key, bytes);
        }
        // Half of the rounds with the store open, half with it opened after.
        let open = (round % 2 == 0).then_some(store);
        let files = if round % 4 < 2 { containers(folder.path()) } else { logs(folder.path()) };
        let file = &files[random.below(files.len() as u64) as usize];
        let len = fs::metadata(file).unwrap().len();
        if round % 3 == 0 {
            OpenOptions::new().write(true).open(file).unwrap().set_len(random.below(len)).unwrap();
        } else {
            flip(file, random.below(len), random.below(8) as u8);
        }
        let store = open.map_or_else(|| Embedded::open(&Options::new(folder.path()), "kv:///b"), Ok);
        let store = match store {
            Ok(store) => store,
            Err(e) => {
                assert!(e.kind == Kind::Corrupt && e.to_string().contains("log-"), "{e}");
                told += 1;
                continue;
            }
        };
        for (key, bytes) in &objects {
            let mut room = vec![0; bytes.len() + 1];
            match store.one(Request::Get { key, offset: 0, into: &mut room }) {
                Ok(Outcome::Read(n)) => {
                    assert!(room[..n] == bytes[..], "round {round}: wrong bytes were served")
                }
                Ok(other) => panic!("{other:?}"),
                Err(e) => {
                    assert_eq!(e.kind, Kind::Corrupt, "round {round}: {e}");
                    assert!(e.to_string().contains("objects/"), "no file is named: {e}");
                    told += 1;
                }
            }
        }
    }
    assert!(told > 30, "damage was told {told} times only");
}

#[test]
fn a_damaged_head_is_refused_or_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("objects/head");
    let store = Embedded::open(&Options::new(folder.path()), "kv:///a").unwrap();
    for i in 0..100u64 {
        put(&store, &i.to_le_bytes(), &pattern(i, 500));
    }
    drop(store);
    // A commit word: found out, and put right by the next who opens the store.
    flip(&head, 4096 + 64 + 3, 1);
    let store = Embedded::open(&Options::new(folder.path()), "kv:///b").unwrap();
    for i in 0..100u64 {
        assert_eq!(get(&store, &i.to_le_bytes()), Some(pattern(i, 500)));
    }
    drop(store);
    flip(&head, 12, 0);
    let error = Embedded::open(&Options::new(folder.path()), "kv:///c").map(drop).unwrap_err();
    assert!(error.kind == Kind::Corrupt && error.to_string().contains("head"), "{error}");
    fs::write(&head, b"something else").unwrap();
    let error = Embedded::open(&Options::new(folder.path()), "kv:///d").map(drop).unwrap_err();
    assert!(error.kind == Kind::Corrupt && error.to_string().contains("head"), "{error}");
}

/// A loss of power: what was synced is there, though everything written since may be gone or half there.
#[test]
fn what_was_synced_survives_a_loss_of_power() {
    let mut random = Random(11);
    for round in 0..6u64 {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(&Options::new(folder.path()), "kv:///a").unwrap();
        let key = |i: u64| format!("o{i}").into_bytes();
        for i in 0..60 {
            put(&store, &key(i), &pattern(i, 65_536));
        }
        store.sync().unwrap();
        let before: Vec<(PathBuf, Vec<u8>)> =
            containers(folder.path()).into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
        // Replaced, removed, made anew; none of it synced.
        for n in 0..80 {
            let i = random.below(90);
            if random.below(8) == 0 {
                done(&store, Request::Delete { key: &key(i) });
            } else {
                put(&store, &key(i), &pattern(1000 + n, 65_536));
            }
        }
        drop(store);
        // The power goes: of the containers some pages since the sync arrived, of others none; the index did.
        for path in containers(folder.path()) {
            let old = before.iter().find(|(p, _)| *p == path).map_or(&[][..], |(_, b)| b);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            for page in 0..fs::metadata(&path).unwrap().len().div_ceil(4096) {
                if random.below(2) == 0 || round == 0 {
                    let at = page * 4096;
                    let mut bytes = [0; 4096];
                    let have = old.get(at as usize..).unwrap_or(&[]);
                    bytes[..have.len().min(4096)].copy_from_slice(&have[..have.len().min(4096)]);
                    file.write_all_at(&bytes, at).unwrap();
                }
            }
        }
        let head = OpenOptions::new().write(true).open(folder.path().join("objects/head")).unwrap();
        head.write_all_at(&[round as u8; 16], 64).unwrap();
        let store = Embedded::open(&Options::new(folder.path()), "kv:///b").unwrap();
        for i in 0..90 {
            // Each is some version of it that was put, whole; those that were synced may be removed but not lost.
            if let Some(bytes) = get(&store, &key(i)) {
                let whole = (0..60).chain(1000..1080).any(|version| bytes == pattern(version, 65_536));
                assert!(whole, "round {round}: {i} is none that was put");
            }
        }
        let there = (0..60).filter(|i| get(&store, &key(*i)).is_some()).count();
        assert!(there >= 40, "round {round}: {there} of 60 synced objects are left, at most 20 were removed");
        put(&store, b"and on it goes", b"x");
    }
}

/// A file size limit stands for a full disk: requests fail as Full, nothing acknowledged is lost, and it goes on after.
#[test]
fn a_full_disk_is_told_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(&mount).status();
    assert!(mounted.unwrap().success(), "a small tmpfs is needed, which takes root");
    let _unmount = Unmount(&mount);
    let options = Options { durability: Some(Durability::None), ..Options::new(&mount) };
    let store = Embedded::open(&options, "kv:///full").unwrap();
    let mut model = BTreeMap::new();
    let (mut random, mut full) = (Random(5), 0);
    for version in 0..2000 {
        let key = format!("o{}", random.below(500)).into_bytes();
        let bytes = pattern(version, random.below(150_000) as usize);
        match store.one(Request::Put { key: &key, bytes: &bytes, condition: Condition::Always, meta: &[] }) {
            Ok(_) => {
                model.insert(key, vec![bytes]);
            }
            Err(e) => {
                assert_eq!(e.kind, Kind::Full, "{e}");
                assert!(e.to_string().contains("make room"), "{e}");
                full += 1;
                // It may have been committed before what failed.
                model.entry(key).or_insert_with(|| vec![Vec::new()]).push(bytes);
            }
        }
        if full > 30 {
            break;
        }
    }
    assert!(full > 30, "the disk never was full");
    let fresh = Embedded::open(&Options::new(&mount), "kv:///fresh").unwrap();
    for (key, versions) in &model {
        let found = get(&fresh, key).unwrap_or_default();
        assert!(versions.contains(&found), "{}: {} bytes", key.escape_ascii(), found.len());
        assert_eq!(get(&store, key).unwrap_or_default(), found, "both see the same");
    }
    // Removing makes room, and then there is some.
    let keys: Vec<Vec<u8>> = model.keys().cloned().collect();
    for key in &keys {
        done(&store, Request::Delete { key });
    }
    for i in 0..50u64 {
        put(&store, &i.to_le_bytes(), &pattern(i, 100_000));
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Objects of every size come and go; space stays within its bound, on disk as in the books.
/// `IRIS_EMBEDDED_SPACE` thousands of changes (4).
#[test]
fn space_is_given_back() {
    let thousands: u64 = std::env::var("IRIS_EMBEDDED_SPACE").map_or(4, |t| t.parse().unwrap());
    for durability in [Durability::None, Durability::Sync] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { durability: Some(durability), ..Options::new(folder.path()) };
        let store = Embedded::open(&options, "kv:///a").unwrap();
        let mut random = Random(17);
        for change in 0..thousands * 1000 {
            let key = random.below(if change % 2000 < 1000 { 1000 } else { 40 }).to_le_bytes();
            match random.below(4) {
                0 => done(&store, Request::Delete { key: &key }),
                1 => {
                    let (offset, len) = (random.below(200_000), 1 + random.below(50_000) as usize);
                    done(&store, Request::Update { key: &key, offset, bytes: &pattern(change, len) });
                }
                _ => put(&store, &key, &pattern(change, random.below(120_000) as usize)),
            }
            if change % 100 == 0 {
                within_bound(&store);
            }
        }
        within_bound(&store);
        let (total, _, _) = store.space().unwrap();
        let on_disk: u64 = containers(folder.path()).iter().map(|p| fs::metadata(p).unwrap().len()).sum();
        assert!(on_disk <= total + (1 << 20), "{on_disk} bytes on disk for {total} in the books");
        let mut after = Vec::new();
        loop {
            let page =
                store.list(&ListRequest { after: &after, limit: 1000, ..ListRequest::default() }).unwrap();
            for entry in &page.entries {
                let Listed::Object(key, facts) = entry else { panic!("a prefix") };
                assert_eq!(get(&store, key).unwrap().len() as u64, facts.len);
            }
            let Some(next) = page.next else { break };
            after = next;
        }
    }
}
