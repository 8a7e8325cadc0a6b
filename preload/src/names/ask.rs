//! Hooks that ask something about a name, or have the kernel watch one.

use crate::attributes::follows;
use crate::hook::hooks;
use crate::paths::{HERE, LISTS, named};
use libc::{c_char, c_int, c_long, c_uint, c_void, size_t, ssize_t};

/// fanotify_mark's own flag.
const FAN_MARK_DONT_FOLLOW: c_uint = 4;

hooks! {
    fn access | eaccess | euidaccess(path: *const c_char, mode: c_int) -> c_int, real => {
        named(HERE, path, true, |_, path| real(path, mode))
    }

    fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int, real => {
        named(dir, path, follows(flags), |dir, path| real(dir, path, mode, flags))
    }

    fn pathconf(path: *const c_char, what: c_int) -> c_long, real => {
        named(HERE, path, true, |_, path| real(path, what))
    }

    fn statfs | statfs64 | __statfs | statvfs | statvfs64(path: *const c_char, about: *mut c_void) -> c_int,
        real => { named(HERE, path, true, |_, path| real(path, about)) }

    fn getxattr(path: *const c_char, key: *const c_char, value: *mut c_void, len: size_t) -> ssize_t, real => {
        named(HERE, path, true, |_, path| real(path, key, value, len))
    }

    fn lgetxattr(path: *const c_char, key: *const c_char, value: *mut c_void, len: size_t) -> ssize_t, real => {
        named(HERE, path, false, |_, path| real(path, key, value, len))
    }

    fn listxattr(path: *const c_char, keys: *mut c_char, len: size_t) -> ssize_t, real => {
        named(HERE, path, true, |_, path| real(path, keys, len))
    }

    fn llistxattr(path: *const c_char, keys: *mut c_char, len: size_t) -> ssize_t, real => {
        named(HERE, path, false, |_, path| real(path, keys, len))
    }

    fn ftok(path: *const c_char, project: c_int) -> c_int, real => {
        named(HERE, path, true, |_, path| real(path, project))
    }

    fn name_to_handle_at(dir: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int)
        -> c_int, real => {
        named(dir, path, flags & libc::AT_SYMLINK_FOLLOW != 0, |dir, path| real(dir, path, handle, mount, flags))
    }

    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: c_uint) -> c_int, real => {
        named(HERE, path, mask & libc::IN_DONT_FOLLOW == 0, |_, path| real(fd, path, mask))
    }

    fn fanotify_mark(fd: c_int, flags: c_uint, mask: u64, dir: c_int, path: *const c_char) -> c_int, real => {
        named(dir, path, flags & FAN_MARK_DONT_FOLLOW == 0, |dir, path| real(fd, flags, mask, dir, path))
    }

    fn setmntent | __setmntent(path: *const c_char, mode: *const c_char) -> *mut c_void, real => {
        named(HERE, path, true, |_, path| real(path, mode))
    }

    fn mount(from: *const c_char, to: *const c_char, kind: *const c_char, flags: libc::c_ulong, data: *const c_void)
        -> c_int, real => {
        const BY_NAME: libc::c_ulong = libc::MS_BIND | libc::MS_MOVE;
        named(HERE, to, true, |_, to| match flags & BY_NAME {
            0 => real(from, to, kind, flags, data),
            _ => named(HERE, from, true, |_, from| real(from, to, kind, flags, data)),
        })
    }

    fn umount(path: *const c_char) -> c_int, real => { named(HERE, path, true, |_, path| real(path)) }

    fn umount2(path: *const c_char, flags: c_int) -> c_int, real => {
        named(HERE, path, flags & libc::UMOUNT_NOFOLLOW == 0, |_, path| real(path, flags))
    }

    fn opendir(path: *const c_char) -> *mut c_void, real => { named(HERE, path, LISTS, |_, path| real(path)) }

    fn scandir | scandir64(path: *const c_char, list: *mut c_void, chosen: *const c_void, order: *const c_void)
        -> c_int, real => { named(HERE, path, LISTS, |_, path| real(path, list, chosen, order)) }

    fn scandirat | scandirat64(dir: c_int, path: *const c_char, list: *mut c_void, chosen: *const c_void,
        order: *const c_void) -> c_int, real => {
        named(dir, path, LISTS, |dir, path| real(dir, path, list, chosen, order))
    }
}
