//! Open file descriptions and the table of descriptors. Owns which number means which description, and each
//! description's offset and flags; may not touch staged bytes.
//!
//! A number that is not in the table is none of ours: one load tells. Descriptions are never freed, only used
//! again, so that a pointer read from the table stays valid; the table is asked again under the lock.

use crate::file::File;
use crate::prefetch;
use crate::spin::{Guard, Spin};
use crate::sys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Descriptors above this number are left to the kernel entirely.
pub const MOST: usize = 1 << 20;

static TABLE: [AtomicPtr<Description>; MOST] = [const { AtomicPtr::new(std::ptr::null_mut()) }; MOST];
/// One past the highest number ever entered.
static TOP: AtomicUsize = AtomicUsize::new(0);
/// How often a number has been entered.
static ENTRIES: AtomicU64 = AtomicU64::new(0);
/// Some description of this process has ever had its offset taken over.
static TOOK_OFFSETS: AtomicBool = AtomicBool::new(false);
static FREE: Spin<Vec<&'static Description>> = Spin::new(Vec::new());

/// Who holds the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel; nothing has been staged through this description yet.
    Fresh,
    /// This description; the kernel's is stale.
    Private,
    /// The kernel, for good: the description is shared with another process, or has left the overlay.
    Kernel,
}

/// An open file description.
pub struct Description {
    state: Spin<State>,
    /// Calls on their way that have given the lock back and still use a number that they found.
    users: AtomicU32,
}

/// What is known of it.
pub struct State {
    /// Descriptor numbers that mean it.
    pub numbers: Vec<i32>,
    /// Status flags and access mode as given to open, and changed by F_SETFL.
    pub flags: i32,
    /// Who holds the offset.
    pub mode: Mode,
    /// The offset in [`Mode::Private`].
    pub offset: u64,
    /// The file, once it mattered.
    pub file: Option<Arc<File>>,
    /// Small writes that went straight to the file before staging began.
    pub small_writes: u32,
    /// Bytes read ahead under session consistency.
    pub ahead: super::ahead::Ahead,
    /// How the program's buffers follow each other in its memory.
    pub walk: prefetch::Walk,
}

impl State {
    const fn new() -> State {
        State {
            numbers: Vec::new(),
            flags: 0,
            mode: Mode::Fresh,
            offset: 0,
            file: None,
            small_writes: 0,
            ahead: super::ahead::Ahead::new(),
            walk: prefetch::Walk::new(),
        }
    }

    /// Whether it is open for writing.
    #[inline]
    pub fn writable(&self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
    }

    /// Whether it is open for reading.
    #[inline]
    pub fn readable(&self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR)
    }

    /// Whether O_APPEND is set.
    #[inline]
    pub fn appends(&self) -> bool {
        self.flags & libc::O_APPEND != 0
    }
}

/// Notes that the kernel's offset of some description is stale from now on.
pub fn took_offset() {
    TOOK_OFFSETS.store(true, Ordering::Release);
}

/// Whether all descriptions of this process have their offsets in the kernel, as in a process that only reads.
#[inline]
pub fn all_offsets_are_the_kernels() -> bool {
    !TOOK_OFFSETS.load(Ordering::Acquire)
}

/// Whether a number is in the table.
#[inline]
pub fn known(fd: i32) -> bool {
    (fd as usize) < MOST && !TABLE[fd as usize].load(Ordering::Acquire).is_null()
}

/// Changes whenever a number is entered.
#[inline]
pub fn entries() -> u64 {
    ENTRIES.load(Ordering::Acquire)
}

/// One above the highest number that has ever been in the table.
pub fn above_all() -> i32 {
    TOP.load(Ordering::Acquire) as i32
}

/// The outcome of asking for a description.
pub enum Found {
    /// The number is none of ours.
    No,
    /// This thread holds the description already: a signal handler interrupted it.
    Busy,
    /// The description, locked.
    Yes(Guard<'static, State>),
}

/// The description that a number means, locked.
#[inline]
pub fn get(fd: i32) -> Found {
    if fd as usize >= MOST {
        return Found::No;
    }
    loop {
        let p = TABLE[fd as usize].load(Ordering::Acquire);
        if p.is_null() {
            return Found::No;
        }
        // SAFETY: descriptions come from Box::leak and are never freed.
        let d: &'static Description = unsafe { &*p };
        let Some(guard) = d.state.lock() else { return Found::Busy };
        if TABLE[fd as usize].load(Ordering::Acquire) == p {
            return Found::Yes(guard);
        }
    }
}

/// The description whose state was found and locked by its number `fd`, which it keeps as long as that is held.
#[inline]
pub fn of(_held: &State, fd: i32) -> Option<&'static Description> {
    let p = TABLE.get(fd as usize)?.load(Ordering::Acquire);
    // SAFETY: descriptions come from Box::leak and are never freed.
    unsafe { p.as_ref() }
}

/// A call that goes on using a number although it gives the description's lock back: until this is dropped the number
/// keeps its meaning.
pub struct Using(Option<&'static Description>);

impl Using {
    /// The call has found and locked the state by its number `fd`.
    #[inline]
    pub fn new(held: &State, fd: i32) -> Using {
        let d = of(held, fd);
        if let Some(d) = d {
            d.users.fetch_add(1, Ordering::AcqRel);
        }
        Using(d)
    }
}

impl Drop for Using {
    #[inline]
    fn drop(&mut self) {
        if let Some(d) = self.0 {
            d.users.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Description {
    /// Waits until no call uses a number of it any more. Its lock is held, so that none begins to.
    pub fn wait_for_users(&self) {
        let mut round = 0u32;
        while self.users.load(Ordering::Acquire) != 0 {
            round += 1;
            match round {
                0..40 => std::hint::spin_loop(),
                40..100 => sys::yield_now(),
                _ => sys::nap(50),
            }
        }
    }
}

/// In the child of a fork: calls that were on their way are other threads', which do not exist here.
pub fn forget_users() {
    for p in TABLE.iter().take(TOP.load(Ordering::Acquire)) {
        // SAFETY: descriptions are never freed.
        if let Some(d) = unsafe { p.load(Ordering::Acquire).as_ref() } {
            d.users.store(0, Ordering::Release);
        }
    }
}

/// Enters a new description for `fd`. An old entry, left behind by a close that no hook saw, is replaced.
pub fn enter(fd: i32, fill: impl FnOnce(&mut State)) {
    if fd as usize >= MOST {
        return;
    }
    let reused = FREE.lock().and_then(|mut free| free.pop());
    let fresh =
        || Box::leak(Box::new(Description { state: Spin::new(State::new()), users: AtomicU32::new(0) }));
    let d: &'static Description = reused.unwrap_or_else(|| fresh());
    let Some(mut state) = d.state.lock() else { return };
    let mut numbers = std::mem::take(&mut state.numbers);
    numbers.clear();
    *state = State { numbers, ..State::new() };
    state.numbers.push(fd);
    fill(&mut state);
    drop(state);
    TABLE[fd as usize].store(std::ptr::from_ref(d).cast_mut(), Ordering::Release);
    // Afterwards: who has seen the new count finds the entry.
    ENTRIES.fetch_add(1, Ordering::AcqRel);
    TOP.fetch_max(fd as usize + 1, Ordering::AcqRel);
}

/// Makes `new` another number of the description `state`, which `old` means.
pub fn alias(state: &mut State, old: i32, new: i32) {
    if new as usize >= MOST {
        return;
    }
    let p = TABLE[old as usize].load(Ordering::Acquire);
    state.numbers.push(new);
    TABLE[new as usize].store(p, Ordering::Release);
    ENTRIES.fetch_add(1, Ordering::AcqRel);
    TOP.fetch_max(new as usize + 1, Ordering::AcqRel);
}

/// Takes back an [`alias`] that the kernel did not make: `new` means `before` again.
pub fn unalias(state: &mut State, new: i32, before: Option<&'static Description>) {
    if new as usize >= MOST {
        return;
    }
    state.numbers.retain(|&n| n != new);
    let p = before.map_or(std::ptr::null_mut(), |d| std::ptr::from_ref(d).cast_mut());
    TABLE[new as usize].store(p, Ordering::Release);
}

/// Whether two numbers mean one description.
pub fn same(a: i32, b: i32) -> bool {
    let at = |fd: i32| TABLE.get(fd as usize).map(|p| p.load(Ordering::Acquire));
    at(a) == at(b)
}

/// Takes a number out of the table. Whoever holds the state goes on holding it.
pub fn remove(state: &mut State, fd: i32) {
    state.numbers.retain(|&n| n != fd);
    TABLE[fd as usize].store(std::ptr::null_mut(), Ordering::Release);
}

/// Takes all numbers of a description out of the table, and gives it back for reuse.
pub fn release(d: &'static Description, mut state: Guard<'static, State>) {
    for n in std::mem::take(&mut state.numbers) {
        TABLE[n as usize].store(std::ptr::null_mut(), Ordering::Release);
    }
    state.file = None;
    state.ahead.drop_buffer();
    drop(state);
    if let Some(mut free) = FREE.lock() {
        free.push(d);
    }
}

/// Calls `f` with each number in the table.
pub fn each_number(mut f: impl FnMut(i32)) {
    for (fd, p) in TABLE.iter().enumerate().take(TOP.load(Ordering::Acquire)) {
        if !p.load(Ordering::Acquire).is_null() {
            f(fd as i32);
        }
    }
}

/// Before fork: takes the locks, so that the child's copies are in a known state. A description whose lock this
/// thread holds already (fork in a signal handler) is passed over.
pub fn lock_all() {
    if let Some(free) = FREE.lock() {
        Spin::leak(free);
    }
    for p in TABLE.iter().take(TOP.load(Ordering::Acquire)) {
        let p = p.load(Ordering::Acquire);
        if p.is_null() {
            continue;
        }
        // A description with several numbers is met again, and then the lock is this thread's already.
        // SAFETY: descriptions are never freed.
        if let Some(state) = unsafe { &*p }.state.lock() {
            Spin::leak(state);
        }
    }
}

/// After fork, in parent and child: gives back what [`lock_all`] took.
///
/// # Safety
/// Follows [`lock_all`] on the same thread (in the child: its copy).
pub unsafe fn unlock_all() {
    for p in TABLE.iter().take(TOP.load(Ordering::Acquire)) {
        let p = p.load(Ordering::Acquire);
        if !p.is_null() {
            // SAFETY: descriptions are never freed; the lock was taken by `lock_all` in this thread.
            unsafe { (*p).state.reset() };
        }
    }
    // SAFETY: as above.
    unsafe { FREE.reset() };
}
