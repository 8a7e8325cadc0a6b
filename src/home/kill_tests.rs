//! Death in the midst of sending a file home, by SIGKILL before each request to the store in turn: the store holds old or
//! new bytes and nothing else, and the next one who looks sends the rest. The victim is this program itself, told by a
//! variable what to do; the store is the embedded one.

use super::control::GRANULE;
use super::layout::Layout;
use super::recovery::Left;
use super::testing::{MAPPERS, Node, mapped};
use super::{Opener, service};
use iris_store::{Capabilities, ListRequest, Listed, Outcome, Page, Request, Result, Store};
use iris_store_embedded::{Durability, Embedded, Options};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Requests until death, once this is not negative.
static LEFT: AtomicI64 = AtomicI64::new(-1);

const OLD: usize = 11 * GRANULE as usize + 77;
const CUT: usize = 8 * GRANULE as usize + 1000;
const NEW: usize = 14 * GRANULE as usize + 5;

/// A store whose user dies before a given request.
struct Deadly(Arc<dyn Store>);

impl Store for Deadly {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }
    fn place(&self) -> &str {
        self.0.place()
    }
    fn submit(&self, requests: &mut [Request<'_>], outcomes: &mut Vec<Result<Outcome>>) {
        outcomes.clear();
        for request in requests {
            if LEFT.load(Ordering::Relaxed) >= 0 && LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
                // SAFETY: ends this process, which was started for it.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            let mut one = Vec::new();
            self.0.submit(std::slice::from_mut(request), &mut one);
            outcomes.append(&mut one);
        }
    }
    fn list(&self, request: &ListRequest<'_>) -> Result<Page> {
        self.0.list(request)
    }
    fn check(&self) -> Result<()> {
        self.0.check()
    }
}

fn opener(folder: &Path, deadly: bool) -> Opener {
    // The process dies, not the machine: nothing has to reach the disk.
    let durability = Some(Durability::None);
    let options = Options { durability, ..Options::new(folder.join("store")) };
    Box::new(move || {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&options, "kv:///killed")?);
        Ok(if deadly { Arc::new(Deadly(store)) } else { store })
    })
}

/// What the file is before and after.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let old: Vec<u8> = (0..OLD).map(|i| (i % 100) as u8 + 1).collect();
    let mut new = old[..CUT].to_vec();
    new.resize(NEW, 0);
    new[GRANULE as usize..3 * GRANULE as usize].fill(200);
    new[11 * GRANULE as usize + 500..].fill(201);
    (old, new)
}

/// The victim: sends the old version, then dies in sending the new one. See [`death_in_the_midst_of_sending`].
#[test]
fn as_the_victim() {
    let Ok(folder) = std::env::var("IRIS_HOME_VICTIM") else { return };
    let read = |name: &str| std::env::var(name).unwrap();
    let node =
        Node::at(Path::new(&folder), mapped(&read("IRIS_HOME_MAPPER")), opener(Path::new(&folder), true));
    let (old, new) = versions();
    node.write(0, &old);
    node.file.settle(node.anchor()).unwrap();
    node.write(GRANULE, &new[GRANULE as usize..3 * GRANULE as usize]);
    node.truncate(CUT as u64);
    node.write(11 * GRANULE + 500, &new[11 * GRANULE as usize + 500..]);
    LEFT.store(read("IRIS_HOME_REQUEST").parse().unwrap(), Ordering::Relaxed);
    node.file.settle(node.anchor()).unwrap();
}

#[test]
fn death_in_the_midst_of_sending() {
    let (old, new) = versions();
    // Of those without an index one will do: a death costs a process, and a process time.
    for mapper in MAPPERS.into_iter().filter(|m| *m != "naive" && *m != "balanced:bucket=128KiB") {
        let mut request = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("store")).unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "home::kill_tests::as_the_victim", "--quiet"])
                .env("IRIS_HOME_VICTIM", folder.path())
                .env("IRIS_HOME_MAPPER", mapper)
                .env("IRIS_HOME_REQUEST", request.to_string())
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(
                status.success() || status.signal() == Some(libc::SIGKILL),
                "{mapper}, {request}: {status}"
            );
            survives(folder.path(), mapper, request, &old, &new);
            if status.success() {
                break;
            }
            request += 1;
        }
        assert!(request > 2, "{mapper}: the victim made {request} requests");
    }
}

fn survives(folder: &Path, mapper: &str, request: u32, old: &[u8], new: &[u8]) {
    let layout = mapped(mapper);
    let elsewhere = tempfile::tempdir().unwrap();
    let far = |layout: Layout| Node::at(elsewhere.path(), layout, opener(folder, false));
    let here = Node::at(folder, layout.clone(), opener(folder, false));
    let what = format!("{mapper}, death before request {request}");
    // A node that knows the length that was published last.
    let there = far(layout);
    there.anchor.set_len(OLD as u64).unwrap();
    there.take_identity_of(&here);
    there.file.replaced(std::os::fd::AsRawFd::as_raw_fd(&there.anchor), OLD as u64, None).unwrap();
    let seen = there.read(0, OLD);
    for (i, byte) in seen.iter().enumerate() {
        let after = new.get(i).copied().unwrap_or(0);
        assert!(*byte == old[i] || *byte == after, "{what}: byte {i} is {byte}");
    }
    // The next one who looks.
    let left = here.home.drain(here.pool, true, &|_| true).unwrap();
    assert!(left.iter().all(|l| matches!(l, Left::Settled(..))), "{what}: {left:?}");
    assert!(!here.file.is_unsettled(), "{what}");
    there.look_up(&here);
    assert!(there.read(0, NEW + 10) == new, "{what}: after the drain");
    drop(there);
    here.file.control().head().flags.fetch_or(super::control::UNLINKED, Ordering::AcqRel);
    let home = here.home;
    drop(here);
    let page = service::call(|| {
        home.store().unwrap().list(&ListRequest { limit: 100, ..ListRequest::default() }).unwrap()
    })
    .unwrap();
    let left: Vec<_> = page
        .entries
        .iter()
        .map(|e| match e {
            Listed::Object(key, _) | Listed::Prefix(key) => key.escape_ascii().to_string(),
        })
        .collect();
    assert!(left.is_empty(), "{what}: a removed file leaves {left:?}");
}
