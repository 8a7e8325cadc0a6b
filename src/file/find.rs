//! Finding a file by its inode number, when the name under which its bytes were staged has been taken away while
//! another one lives. Owns the walk; changes nothing.

use crate::sys;
use rustix::fs::{FileType, OFlags, RawDir};
use std::ffi::CString;
use std::mem::MaybeUninit;

/// A name of the file with this device and inode number below one of `roots`; folders that may not be read, and other
/// file systems, are passed over.
pub fn by_number(roots: Vec<Vec<u8>>, id: (u64, u64)) -> Option<CString> {
    let mut folders = roots;
    let mut buf = [MaybeUninit::<u8>::uninit(); 8192];
    while let Some(folder) = folders.pop() {
        let Ok(path) = CString::new(folder.clone()) else { continue };
        let Ok(open) = sys::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0) else {
            continue;
        };
        if !sys::fstat(open.raw()).is_ok_and(|s| s.st_dev == id.0) {
            continue;
        }
        let mut entries = RawDir::new(open.borrow(), &mut buf);
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = entry.file_type();
            if matches!(kind, FileType::RegularFile | FileType::Unknown)
                && sys::statat(open.raw(), name, false).is_ok_and(|s| (s.st_dev, s.st_ino) == id)
            {
                return CString::new([&folder, b"/" as &[u8], name.to_bytes()].concat()).ok();
            }
            if matches!(kind, FileType::Directory | FileType::Unknown) {
                folders.push([&folder, b"/" as &[u8], name.to_bytes()].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    #[test]
    #[cfg_attr(miri, ignore = "opens folders")]
    fn a_link_is_found_and_what_is_elsewhere_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).expect("folders");
        let (first, second) = (folder.path().join("first"), deep.join("second"));
        std::fs::write(&first, b"x").expect("a file");
        std::fs::hard_link(&first, &second).expect("a link");
        let st = std::fs::metadata(&first).expect("there");
        std::fs::remove_file(&first).expect("removed");
        let root = || vec![folder.path().as_os_str().as_bytes().to_vec()];
        let found = by_number(root(), (st.dev(), st.ino())).expect("found");
        assert_eq!(found.as_bytes(), second.as_os_str().as_bytes());
        assert_eq!(by_number(root(), (st.dev(), st.ino() + 1)), None);
        assert_eq!(by_number(root(), (st.dev() + 1, st.ino())), None);
    }
}
