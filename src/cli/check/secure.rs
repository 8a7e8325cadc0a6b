//! Programs that gain rights when they start: the dynamic linker then ignores LD_PRELOAD. Owns the rules of the
//! kernel for that (secure execution); reads the file's mode, owner and capabilities.

use super::{Effect, Verdict};
use rustix::fs::{StatVfsMountFlags, getxattr, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const REMEDY: &str = "run a copy of it without that right (cp drops it), if it can do its work so; or run it outside \
                      the mount";

/// Adds what the file's rights mean for the user who runs this.
pub fn look(path: &Path, verdict: &mut Verdict) {
    let Ok(meta) = std::fs::metadata(path) else { return };
    // On such a file system, or after no_new_privs, the bits have no effect.
    let powerless = statvfs(path).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::NOSUID))
        || rustix::thread::no_new_privs().unwrap_or(false);
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mode = meta.mode();
    let setuid = mode & libc::S_ISUID != 0;
    // Without the group's x bit, setgid once meant mandatory locking: the kernel gives no right.
    let setgid = mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0;
    for (set, kind, owner, mine) in
        [(setuid, "setuid", meta.uid(), user), (setgid, "setgid", meta.gid(), group)]
    {
        if !set {
            continue;
        }
        let whose = if kind == "setuid" { "user" } else { "group" };
        if powerless {
            let what = format!("{kind} to {whose} {owner}, without effect here (nosuid or no_new_privs)");
            verdict.add(kind, Effect::Note, path, what, "");
        } else if owner == mine {
            let what = format!(
                "{kind} to {whose} {owner}, which is yours: others who run it will not be intercepted"
            );
            verdict.add(kind, Effect::Note, path, what, "");
        } else {
            let what = format!("{kind} to {whose} {owner}: the dynamic linker ignores LD_PRELOAD");
            verdict.add(kind, Effect::Blocks, path, what, REMEDY);
        }
    }
    let mut buffer = [0u8; 64];
    if getxattr(path, "security.capability", &mut buffer[..]).is_ok() {
        if user == 0 || powerless {
            let what = "it has file capabilities: users other than root who run it will not be intercepted";
            verdict.add("capabilities", Effect::Note, path, what, "");
        } else {
            let what = "it has file capabilities: the dynamic linker ignores LD_PRELOAD";
            verdict.add("capabilities", Effect::Blocks, path, what, REMEDY);
        }
    }
}
