//! Names: which paths lie under a mount, and what the kernel gets for a name under a virtual one. Owns the rules;
//! may not open a file.
//!
//! Where it can, the kernel resolves names, not Iris: a path is opened first, and the kernel is asked where the
//! descriptor leads (`/proc/self/fd`), once it matters. Only folders that no mount can lie in are told by the path
//! itself. Virtual mounts are prefixes that the kernel does not know: [`names`] turns them into names that it does.

pub mod names;
mod room;
mod view;
mod walk;

use crate::config::Mount;

/// Folders whose files are never served. Paths through /proc and /dev may lead anywhere (`/proc/self/fd/3`,
/// `/dev/stdin`), so they are not here.
const EXCLUDED: [&[u8]; 7] = [b"/usr/", b"/lib/", b"/lib64/", b"/bin/", b"/sbin/", b"/etc/", b"/sys/"];

/// Whether `path` lies below `root`, both absolute.
#[inline]
pub fn is_below(path: &[u8], root: &[u8]) -> bool {
    path.len() > root.len() && path.starts_with(root) && path[root.len()] == b'/'
}

/// Index of the nearest mount above an absolute path that the kernel gave. `mounts` are sorted longest first.
pub fn mount_of(path: &[u8], mounts: &[Mount]) -> Option<usize> {
    mounts.iter().position(|m| is_below(path, m.directory()))
}

/// Whether a path, as the program gave it, lies in a folder of the system that is never mounted. ".." may climb out
/// of it through a symbolic link, so such a path is not.
pub fn is_excluded(path: &[u8], mounts: &[Mount]) -> bool {
    let excluded = |folder: &&[u8]| {
        path.starts_with(folder)
            && !mounts.iter().any(|m| m.directory().starts_with(&folder[..folder.len() - 1]))
    };
    EXCLUDED.iter().any(excluded) && !path.windows(3).any(|w| w == b"/..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(roots: &[&str]) -> Vec<Mount> {
        roots
            .iter()
            .map(|r| Mount {
                root: r.as_bytes().to_vec(),
                shadow: None,
                home: None,
                threshold: 0,
                consistency: Default::default(),
                settle: Default::default(),
                mapper: crate::home::layout::PLAIN,
                store: None,
                spill: Default::default(),
            })
            .collect()
    }

    #[test]
    fn the_nearest_mount_wins_and_neighbours_do_not_count() {
        let m = mounts(&["/data/run/fast", "/data/run"]);
        assert_eq!(mount_of(b"/data/run/fast/x", &m), Some(0));
        assert_eq!(mount_of(b"/data/run/faster", &m), Some(1));
        assert_eq!(mount_of(b"/data/running/x", &m), None);
        assert_eq!(mount_of(b"/data/run", &m), None);
    }

    #[test]
    fn system_folders_are_excluded_unless_mounted() {
        assert!(is_excluded(b"/usr/lib/x", &mounts(&["/data"])));
        assert!(!is_excluded(b"/usr/lib/x", &mounts(&["/usr/local/data"])));
        assert!(!is_excluded(b"/usr/../data/x", &mounts(&["/data"])));
        assert!(!is_excluded(b"data/x", &mounts(&["/data"])));
    }
}
