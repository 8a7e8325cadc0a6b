//! Descriptor numbers for the service's threads in a program whose own limit leaves them too few: the limit is one for the
//! whole process, though the tables are not. Owns lifting it while a job is done, as far as it may be.

use crate::spin::Spin;
use crate::sys;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a job may need at once: an anchor, its control file, files of a store or a connection, names looked up.
const ENOUGH: u64 = 64;

struct Lifted {
    /// Jobs that are being done.
    jobs: u32,
    /// The program's limit, and what it is meanwhile.
    limits: Option<(Rlimit, Rlimit)>,
    pid: u32,
}

static LIFTED: Spin<Lifted> = Spin::new(Lifted { jobs: 0, limits: None, pid: 0 });

/// Does a job with numbers to spare.
pub fn with_enough(job: impl FnOnce()) {
    take();
    job();
    give_back();
}

fn take() {
    let Some(mut lifted) = LIFTED.lock() else { return };
    lifted.jobs += 1;
    lifted.pid = sys::pid();
    let limit = getrlimit(Resource::Nofile);
    if lifted.limits.is_none() && limit.current.is_some_and(|soft| soft < ENOUGH) {
        let more = Rlimit { current: Some(limit.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH))), ..limit };
        if more.current > limit.current && setrlimit(Resource::Nofile, more).is_ok() {
            lifted.limits = Some((limit, more));
        }
    }
}

fn give_back() {
    let Some(mut lifted) = LIFTED.lock() else { return };
    lifted.jobs = lifted.jobs.saturating_sub(1);
    if lifted.jobs == 0 {
        restore(&mut lifted);
    }
}

fn restore(lifted: &mut Lifted) {
    if let Some((theirs, ours)) = lifted.limits.take()
        // The program may have set another one meanwhile.
        && getrlimit(Resource::Nofile) == ours
    {
        // A limit that is lowered is never refused.
        let _ = setrlimit(Resource::Nofile, theirs);
    }
}

/// Before fork.
pub fn lock() {
    if let Some(lifted) = LIFTED.lock() {
        Spin::leak(lifted);
    }
}

/// After fork, in the parent and in the child, which has none of the parent's jobs.
///
/// # Safety
/// Follows [`lock`] on the same thread (in the child: its copy).
pub unsafe fn unlock() {
    // SAFETY: by contract.
    unsafe { LIFTED.reset() };
    if let Some(mut lifted) = LIFTED.lock()
        && lifted.jobs > 0
        && lifted.pid != sys::pid()
    {
        lifted.jobs = 0;
        restore(&mut lifted);
    }
}
