//! What is put and removed while a home is checked, at the moments that matter.

use super::{How, Report};
use crate::home::Home;
use crate::home::layout::PLAIN;
use crate::home::resident::Anchor;
use crate::home::testing::{Memory, Node, mapped};
use crate::tier0::pool::Pool;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const REPAIR: How = How { repair: true, unused: false };

/// Makes another file of a home, and sends it.
fn make_another(home: &'static Home, pool: &'static Pool) {
    let path = Path::new(std::ffi::OsStr::from_bytes(home.tree())).join("another");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 5000], 0).unwrap();
    // What an anchor holds that Iris has not known is new.
    let resident = home.resident(file.as_raw_fd(), pool, false).unwrap();
    resident.settle(Anchor::here(file.as_raw_fd())).unwrap();
}

#[test]
fn what_is_made_while_a_home_is_looked_at_has_an_owner() {
    let store = Memory::new();
    let node = Node::in_memory(&store, mapped(PLAIN));
    node.write(0, &[1; 5000]);
    node.file.settle(node.anchor()).unwrap();
    let (home, pool) = (node.home, node.pool);
    // Before the objects are listed.
    *store.interruption.lock().unwrap() = Some((0, Box::new(move || make_another(home, pool))));
    let report = node.home.check(REPAIR).unwrap();
    assert_eq!(report, Report { files: 2, objects: 2, findings: Vec::new() });
    assert_eq!(store.objects.lock().unwrap().len(), 2);
}
