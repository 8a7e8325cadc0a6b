//! Names: which paths lie under a mount. Owns the rule; may not open anything.
//!
//! The kernel resolves names, not Iris: a path is opened first, and the kernel is asked where the descriptor
//! leads (`/proc/self/fd`). Two cheap looks at the path itself spare most of those questions.

use crate::config::Mount;

/// What a path tells by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Below this mount (index into the mounts).
    Mounted(usize),
    /// In a folder of the system that programs read at every start; never mounted.
    Excluded,
    /// Only the kernel knows.
    Unknown,
}

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
    mounts.iter().position(|m| is_below(path, &m.root))
}

/// What an absolute path tells by itself. ".." may climb out through a symbolic link, so it tells nothing.
pub fn look(path: &[u8], mounts: &[Mount]) -> Look {
    if path.first() != Some(&b'/') || path.windows(3).any(|w| w == b"/..") {
        return Look::Unknown;
    }
    if let Some(m) = mount_of(path, mounts) {
        return Look::Mounted(m);
    }
    let excluded = |folder: &&[u8]| {
        path.starts_with(folder) && !mounts.iter().any(|m| m.root.starts_with(&folder[..folder.len() - 1]))
    };
    if EXCLUDED.iter().any(excluded) { Look::Excluded } else { Look::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(roots: &[&str]) -> Vec<Mount> {
        roots
            .iter()
            .map(|r| Mount {
                root: r.as_bytes().to_vec(),
                threshold: 0,
                consistency: Default::default(),
                settle: Default::default(),
            })
            .collect()
    }

    #[test]
    fn the_nearest_mount_wins_and_neighbours_do_not_count() {
        let m = mounts(&["/data/run/fast", "/data/run"]);
        assert_eq!(look(b"/data/run/fast/x", &m), Look::Mounted(0));
        assert_eq!(look(b"/data/run/faster", &m), Look::Mounted(1));
        assert_eq!(look(b"/data/running/x", &m), Look::Unknown);
        assert_eq!(look(b"/data/run", &m), Look::Unknown);
    }

    #[test]
    fn a_path_with_dots_is_the_kernels() {
        assert_eq!(look(b"/data/run/../x", &mounts(&["/data/run"])), Look::Unknown);
        assert_eq!(look(b"run/x", &mounts(&["/data/run"])), Look::Unknown);
    }

    #[test]
    fn system_folders_are_excluded_unless_mounted() {
        assert_eq!(look(b"/usr/lib/x", &mounts(&["/data"])), Look::Excluded);
        assert_eq!(look(b"/usr/lib/x", &mounts(&["/usr/local/data"])), Look::Unknown);
    }
}
