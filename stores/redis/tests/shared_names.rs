//! Names in a real Redis, seen by two nodes with shadow trees of their own, against a plain directory: what one node
//! does to names and bytes is what the other sees next, errors included.
//!
//! ./scripts/test starts the server; by hand: eval "$(scripts/servers/redis up DIR)"; export
//! IRIS_TEST_REDIS_SOCKET=$REDIS_SOCKET

#![allow(clippy::unwrap_used)]

use iris::errno::Errno;
use iris::home::catalog::{Over, Type};
use iris::home::layout::Layout;
use iris::home::resident::Anchor;
use iris::home::shadow::{New, Shadow};
use iris::home::{Home, service};
use iris::tier0::pool::{Pool, PoolSettings};
use iris_store::{Address, Host};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static HOMES: AtomicU64 = AtomicU64::new(0);

fn server() -> String {
    std::env::var("IRIS_TEST_REDIS_SOCKET")
        .unwrap_or_else(|_| panic!("IRIS_TEST_REDIS_SOCKET is not set: see the head of this test"))
}

/// A node: a shadow tree of the home, and nothing else in common with other nodes.
struct Node {
    folder: tempfile::TempDir,
    home: &'static Home,
    pool: &'static Pool,
}

impl Node {
    fn new(name: &str) -> Node {
        let folder = tempfile::tempdir().unwrap();
        for sub in ["tree", "controls", "pool"] {
            std::fs::create_dir(folder.path().join(sub)).unwrap();
        }
        let bytes = |sub: &str| folder.path().join(sub).as_os_str().as_bytes().to_vec();
        let pool = Pool::open_or_make(&PoolSettings {
            folder: folder.path().join("pool"),
            memory: 4 << 20,
            storage_folder: None,
            storage: 0,
        });
        let address = format!("redis+unix://{}", server());
        let layout = Layout::plain(format!("iris:1:{name}:").as_bytes());
        let open = move || {
            let address = Address::parse(&address).unwrap();
            iris_store_redis::open(&address, Host { adopt_thread: || {}, log: |_, _| {} })
        };
        let home =
            Home::new(bytes("tree"), bytes("controls"), layout, u64::MAX, Box::new(open)).with_names(name);
        Node { home: Box::leak(Box::new(home)), pool: Box::leak(Box::new(pool.unwrap())), folder }
    }

    /// Does something with the home's names.
    fn names<T: Send>(&self, f: impl FnOnce(&Shadow<'_>) -> Result<T, Errno> + Send) -> Result<T, Errno> {
        service::call(|| {
            let catalog = self.home.catalog()?.unwrap();
            f(&Shadow::new(self.home, &*catalog, self.pool, b"/virt"))
        })?
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("tree").join(name)
    }

    fn look(&self, name: &str) {
        self.names(|s| s.look(name.as_bytes())).unwrap();
    }
}

/// What a step does; both a node and a plain directory can do it.
#[derive(Clone, Debug)]
enum Step {
    Mkdir(String),
    Rmdir(String),
    Write(String, u64, u8),
    Unlink(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String, String),
    Chmod(String, u32),
}

/// As open with O_CREAT, mkdir and symlink make it.
fn new<'n>(name: &'n str, kind: Type, mode: u32, target: &'n str) -> New<'n> {
    New { name: name.as_bytes(), kind, mode, target: target.as_bytes(), follow: kind == Type::File }
}

type Done = Result<(), i32>;

fn code(r: std::io::Result<()>) -> Done {
    r.map_err(|e| e.raw_os_error().unwrap())
}

fn on_a_node(node: &Node, step: &Step) -> Done {
    let own = |r: Result<(), Errno>| r.map_err(|e| e.0);
    match step {
        Step::Mkdir(name) => match node.names(|s| s.claim(&new(name, Type::Dir, 0o755, ""))) {
            Ok(claimed) => {
                let made = code(std::fs::create_dir(node.at(name)));
                assert!(claimed.is_none() || made.is_ok(), "{name}: {made:?}");
                made
            }
            Err(e) => Err(e.0),
        },
        Step::Rmdir(name) => {
            node.look(name);
            if !node.at(name).symlink_metadata().is_ok_and(|m| m.is_dir()) {
                return code(std::fs::remove_dir(node.at(name)));
            }
            own(node.names(|s| s.rmdir(name.as_bytes())))?;
            // The tree may still hold what other nodes have removed.
            own(node.names(|s| s.look(name.as_bytes())))
        }
        Step::Write(name, at, byte) => {
            let claimed = node.names(|s| s.claim(&new(name, Type::File, 0o644, ""))).map_err(|e| e.0)?;
            let mut options = std::fs::OpenOptions::new();
            options.read(true).write(true).create(claimed.is_some());
            let file = options.open(node.at(name)).map_err(|e| e.raw_os_error().unwrap())?;
            if let Some(id) = claimed {
                node.home.made(file.as_raw_fd(), id).unwrap();
            }
            let bytes = vec![*byte; 3000];
            let anchor = Anchor::here(file.as_raw_fd());
            let resident = node.home.resident(file.as_raw_fd(), node.pool, true).unwrap();
            resident
                .writing(anchor, *at..*at + 3000, || {
                    file.write_all_at(&bytes, *at).unwrap();
                    Ok(3000)
                })
                .unwrap();
            resident.settle(anchor).map_err(|e| e.0)
        }
        Step::Unlink(name) => {
            node.look(name);
            match node.at(name).symlink_metadata() {
                Ok(m) if !m.is_dir() => {
                    own(node.names(|s| s.unlink(name.as_bytes()).map(drop)))?;
                    code(std::fs::remove_file(node.at(name)))
                }
                _ => code(std::fs::remove_file(node.at(name))),
            }
        }
        Step::Rename(from, to) => {
            node.look(from);
            node.look(to);
            if node.at(from).symlink_metadata().is_err() {
                return code(std::fs::rename(node.at(from), node.at(to)));
            }
            own(node.names(|s| s.rename(from.as_bytes(), to.as_bytes(), Over::Replace).map(drop)))?;
            node.names(|s| s.look(to.as_bytes()).and_then(|()| s.look(from.as_bytes()))).unwrap();
            Ok(())
        }
        Step::Link(from, to) => {
            node.look(from);
            node.look(to);
            match node.at(from).symlink_metadata() {
                Ok(m) if !m.is_dir() => {
                    own(node.names(|s| s.link(from.as_bytes(), to.as_bytes())))?;
                    node.look(to);
                    Ok(())
                }
                _ => code(std::fs::hard_link(node.at(from), node.at(to))),
            }
        }
        Step::Symlink(target, name) => match node.names(|s| s.claim(&new(name, Type::Link, 0o777, target))) {
            Ok(_) if node.at(name).symlink_metadata().is_ok() => Err(libc::EEXIST),
            Ok(_) => code(std::os::unix::fs::symlink(target, node.at(name))),
            Err(e) => Err(e.0),
        },
        Step::Chmod(name, mode) => {
            use std::os::unix::fs::PermissionsExt;
            node.look(name);
            code(std::fs::set_permissions(node.at(name), std::fs::Permissions::from_mode(*mode)))?;
            own(node.names(|s| s.publish(name.as_bytes(), true, false)))
        }
    }
}

fn on_a_plain_directory(root: &Path, step: &Step) -> Done {
    use std::os::unix::fs::PermissionsExt;
    let at = |name: &str| root.join(name);
    match step {
        Step::Mkdir(n) => code(std::fs::create_dir(at(n))),
        Step::Rmdir(n) => code(std::fs::remove_dir(at(n))),
        Step::Write(n, offset, byte) => code(
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(at(n))
                .and_then(|f| f.write_all_at(&vec![*byte; 3000], *offset)),
        ),
        Step::Unlink(n) => code(std::fs::remove_file(at(n))),
        Step::Rename(a, b) => code(std::fs::rename(at(a), at(b))),
        Step::Link(a, b) => code(std::fs::hard_link(at(a), at(b))),
        Step::Symlink(t, n) => code(std::os::unix::fs::symlink(t, at(n))),
        Step::Chmod(n, mode) => code(std::fs::set_permissions(at(n), std::fs::Permissions::from_mode(*mode))),
    }
}

/// A tree as a map from names to what they are.
fn plain_tree(root: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let meta = entry.path().symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_dir() {
                found.insert(name.clone(), format!("dir {mode:o}"));
                folders.push((entry.path(), format!("{name}/")));
            } else if meta.is_symlink() {
                found.insert(name, format!("link {}", entry.path().read_link().unwrap().display()));
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                found.insert(name, file(mode, &bytes));
            }
        }
    }
    found
}

fn file(mode: u32, bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0u64, |n, b| n.wrapping_mul(31).wrapping_add(u64::from(*b)));
    format!("file {mode:o} {} {sum:x}", bytes.len())
}

/// The same, as a node sees it when it looks.
fn tree(node: &Node) -> BTreeMap<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        node.names(|s| s.look_into(prefix.as_bytes(), false)).unwrap();
        for entry in std::fs::read_dir(node.at(&prefix)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let meta = entry.path().symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_dir() {
                found.insert(name.clone(), format!("dir {mode:o}"));
                folders.push(format!("{name}/"));
            } else if meta.is_symlink() {
                found.insert(name, format!("link {}", entry.path().read_link().unwrap().display()));
            } else {
                let anchor = std::fs::File::open(entry.path()).unwrap();
                let resident = node.home.resident(anchor.as_raw_fd(), node.pool, true).unwrap();
                let mut bytes = vec![0; meta.len() as usize];
                resident
                    .reading(Anchor::here(anchor.as_raw_fd()), 0..meta.len(), || {
                        anchor.read_exact_at(&mut bytes, 0).unwrap();
                        Ok(())
                    })
                    .unwrap();
                found.insert(name, file(mode, &bytes));
            }
        }
    }
    found
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a"),
        Just("b"),
        Just("d"),
        Just("d/a"),
        Just("d/e"),
        Just("d/e/b"),
        Just("e"),
        Just("e/a")
    ]
    .prop_map(str::to_owned)
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        3 => name().prop_map(Step::Mkdir),
        1 => name().prop_map(Step::Rmdir),
        4 => (name(), 0u64..200_000, any::<u8>()).prop_map(|(n, at, b)| Step::Write(n, at, b)),
        2 => name().prop_map(Step::Unlink),
        3 => (name(), name()).prop_map(|(a, b)| Step::Rename(a, b)),
        1 => (name(), name()).prop_map(|(a, b)| Step::Link(a, b)),
        1 => name().prop_map(|n| Step::Symlink("nowhere".into(), n)),
        1 => (name(), prop_oneof![Just(0o600u32), Just(0o755)]).prop_map(|(n, m)| Step::Chmod(n, m)),
    ];
    prop::collection::vec((any::<bool>(), step), 1..30)
}

fn plays(steps: &[(bool, Step)]) -> Result<(), TestCaseError> {
    let name = format!("names-{}-{}", std::process::id(), HOMES.fetch_add(1, Ordering::Relaxed));
    let nodes = [Node::new(&name), Node::new(&name)];
    let plain = tempfile::tempdir().unwrap();
    for (i, (second, step)) in steps.iter().enumerate() {
        let node = &nodes[usize::from(*second)];
        let expected = on_a_plain_directory(plain.path(), step);
        let got = on_a_node(node, step);
        prop_assert_eq!(got, expected, "step {} on node {}: {:?}", i, second, step);
    }
    let expected = plain_tree(plain.path());
    for (i, node) in nodes.iter().enumerate() {
        prop_assert_eq!(&tree(node), &expected, "node {}", i);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn two_nodes_agree_with_one_directory(steps in steps()) {
        plays(&steps)?;
    }
}

#[test]
fn a_name_is_made_once() {
    let name = format!("once-{}", std::process::id());
    let nodes = [Node::new(&name), Node::new(&name)];
    for round in 0..50 {
        let file = format!("f{round}");
        let claims: Vec<bool> = std::thread::scope(|s| {
            let claim = |node| {
                let file = &file;
                s.spawn(move || {
                    let node: &Node = node;
                    node.names(|s| s.claim(&new(file, Type::File, 0o600, ""))).unwrap().is_some()
                })
            };
            let both = [claim(&nodes[0]), claim(&nodes[1])];
            both.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(claims.iter().filter(|c| **c).count(), 1, "{file}");
    }
}
