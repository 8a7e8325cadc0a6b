//! What lies in a directory, as somebody sees it who knows nothing of Iris: names, kinds, sizes, modes, links and
//! bytes. Owns the comparison; sparse files of terabytes cost what their data cost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const BLOCK: usize = 4096;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    mode: u32,
    links: u64,
    size: u64,
    /// A hash for each block that is not all zeros: a hole and written zeros are the same bytes.
    blocks: BTreeMap<u64, u64>,
}

/// Everything below a folder.
pub type Tree = BTreeMap<String, Leaf>;

/// Reads a folder.
pub fn read(folder: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    walk(folder, "", &mut tree)?;
    Ok(tree)
}

fn walk(folder: &Path, prefix: &str, tree: &mut Tree) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata()?;
        let mut leaf =
            Leaf { mode: meta.mode(), links: meta.nlink(), size: meta.size(), blocks: BTreeMap::new() };
        if meta.is_dir() {
            // A folder's size is the file system's affair.
            leaf.size = 0;
            walk(&entry.path(), &format!("{name}/"), tree)?;
        } else {
            blocks(&File::open(entry.path())?, leaf.size, &mut leaf.blocks)?;
        }
        tree.insert(name, leaf);
    }
    Ok(())
}

fn blocks(file: &File, size: u64, into: &mut BTreeMap<u64, u64>) -> io::Result<()> {
    let mut at = 0;
    let mut buffer = vec![0u8; 256 * BLOCK];
    while at < size {
        // SAFETY: lseek takes no pointers; the descriptor is open as long as `file` is.
        let data = unsafe { libc::lseek(file.as_raw_fd(), at as i64, libc::SEEK_DATA) };
        if data < 0 {
            return match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::ENXIO) => Ok(()),
                e => Err(e),
            };
        }
        // SAFETY: as above.
        let end = unsafe { libc::lseek(file.as_raw_fd(), data, libc::SEEK_HOLE) };
        if end < 0 {
            return Err(io::Error::last_os_error());
        }
        at = data as u64 / BLOCK as u64 * BLOCK as u64;
        while at < end as u64 {
            let got = file.read_at(&mut buffer, at)?;
            if got == 0 {
                return Ok(());
            }
            for (i, block) in buffer[..got].chunks(BLOCK).enumerate() {
                if block.iter().any(|b| *b != 0) {
                    into.insert(at / BLOCK as u64 + i as u64, hash(block));
                }
            }
            // Whole blocks only, so that a short read does not shift the grid.
            at += if got % BLOCK == 0 || at + got as u64 >= size { got } else { got / BLOCK * BLOCK } as u64;
        }
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Says how two trees differ, or nothing when they do not.
pub fn difference(native: &Tree, iris: &Tree) -> Option<String> {
    for name in native.keys().chain(iris.keys()) {
        let (Some(n), Some(i)) = (native.get(name), iris.get(name)) else {
            let (there, gone) = if native.contains_key(name) {
                ("natively", "under Iris")
            } else {
                ("under Iris", "natively")
            };
            return Some(format!("{name}: there {there}, missing {gone}"));
        };
        if (n.mode, n.links, n.size) != (i.mode, i.links, i.size) {
            return Some(format!(
                "{name}: natively mode {:o}, links {}, size {}; under Iris mode {:o}, links {}, size {}",
                n.mode, n.links, n.size, i.mode, i.links, i.size
            ));
        }
        if n.blocks != i.blocks {
            let all: std::collections::BTreeSet<_> = n.blocks.keys().chain(i.blocks.keys()).collect();
            let differ: Vec<u64> =
                all.into_iter().copied().filter(|b| n.blocks.get(b) != i.blocks.get(b)).collect();
            return Some(format!(
                "{name}: size {}, {} pages of 4096 bytes differ, the first at byte {} ({})",
                n.size,
                differ.len(),
                differ[0] * BLOCK as u64,
                match (n.blocks.get(&differ[0]), i.blocks.get(&differ[0])) {
                    (Some(_), None) => "all zeros under Iris",
                    (None, Some(_)) => "all zeros natively",
                    _ => "other bytes",
                }
            ));
        }
    }
    None
}
