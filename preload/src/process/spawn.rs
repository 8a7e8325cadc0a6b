//! Hooks that start another program: posix_spawn and glibc's composites over it. They run in the parent, and
//! what they do in the child no hook sees; so the descriptors and names that the child will use are seen to here.

use super::{env, program};
use crate::guard::{inside, live, mounted, of_program, tell};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::{HERE, How, found, how_to_open};
use ::engine::engine::{self, Touch};
use ::engine::namespace::names::{self, Room};
use ::engine::report::Bypass;
use libc::{c_char, c_int, c_void, pid_t};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

type Strings = *const *const c_char;

/// glibc's posix_spawn_file_actions_t, up to what is used here.
#[repr(C)]
struct Actions {
    allocated: c_int,
    used: c_int,
    list: *const Action,
}

/// One action as glibc lays it out on 64-bit machines; `probe` checks that before it is believed.
#[repr(C)]
struct Action {
    tag: c_int,
    body: Body,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Body {
    dup2: Dup2,
    open: Open,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Dup2 {
    from: c_int,
    to: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Open {
    fd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_int,
}

const DUP2: c_int = 1;
const OPEN: c_int = 2;

/// Whether this glibc lays actions out as above: 0 not known yet, 1 yes, 2 no.
static LAYOUT: AtomicU8 = AtomicU8::new(0);

fn layout_known() -> bool {
    if LAYOUT.load(Ordering::Relaxed) == 0 {
        LAYOUT.store(if probe() { 1 } else { 2 }, Ordering::Relaxed);
    }
    LAYOUT.load(Ordering::Relaxed) == 1
}

/// Lets glibc write two actions and reads them back.
fn probe() -> bool {
    // SAFETY: glibc initialises, fills and frees the list; it is read only as far as glibc says it reaches, and
    // glibc allocates eight entries at a time, so two of ours are inside its memory even were its smaller.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        if libc::posix_spawn_file_actions_init(&mut actions) != 0 {
            return false;
        }
        let path = c"/iris/probe";
        libc::posix_spawn_file_actions_adddup2(&mut actions, 41, 43);
        libc::posix_spawn_file_actions_addopen(&mut actions, 47, path.as_ptr(), 0o3001, 0o640);
        let seen = &*(&raw const actions).cast::<Actions>();
        let known = seen.used == 2 && seen.allocated >= 2 && !seen.list.is_null() && {
            let (first, second) = (&*seen.list, &*seen.list.add(1));
            first.tag == DUP2
                && first.body.dup2.from == 41
                && first.body.dup2.to == 43
                && second.tag == OPEN
                && second.body.open.fd == 47
                && second.body.open.flags == 0o3001
                && second.body.open.mode == 0o640
                && !second.body.open.path.is_null()
                && CStr::from_ptr(second.body.open.path) == path
        };
        libc::posix_spawn_file_actions_destroy(&mut actions);
        known
    }
}

/// Sees to everything that the actions will use. Returns the descriptors that they hand over.
fn before_actions(actions: *const c_void) -> Result<Vec<c_int>, ::engine::errno::Errno> {
    let mut given = Vec::new();
    if actions.is_null() {
        return Ok(given);
    }
    if !layout_known() {
        inside(|| engine::before_exec(true));
        return Ok(given);
    }
    // SAFETY: the program's actions, in the layout that was checked.
    let actions = unsafe { &*actions.cast::<Actions>() };
    for i in 0..actions.used.max(0) as usize {
        // SAFETY: `used` actions are in the list; the tag says which body is valid; the path is glibc's copy.
        unsafe {
            let action = &*actions.list.add(i);
            match action.tag {
                DUP2 => {
                    let from = action.body.dup2.from;
                    tell(|| engine::touch(from, Touch::Leave(Bypass::Inherited)))?;
                    given.push(from);
                }
                OPEN => {
                    // No hook sees this open, nor what the child does with it before the next program runs: so
                    // whatever is staged for the file goes home, as if it were to be changed by name.
                    let path = CStr::from_ptr(action.body.open.path);
                    let follow = action.body.open.flags & libc::O_NOFOLLOW == 0;
                    tell(|| engine::before_path(libc::AT_FDCWD, path, 0, follow))?;
                    if engine::shared::any() {
                        let (flags, mode) = (action.body.open.flags, action.body.open.mode as u32);
                        tell(|| engine::shared::foresee(path, flags, mode))?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(given)
}

/// posix_spawn round `real`, which takes the environment; the error is the return value.
fn spawning(
    pid: *mut pid_t,
    actions: *const c_void,
    environment: Strings,
    real: impl FnOnce(*mut pid_t, Strings) -> c_int,
) -> c_int {
    if !mounted() {
        return real(pid, environment);
    }
    let asks = live();
    let mut given = Vec::new();
    if asks {
        inside(|| engine::before_exec(false));
        match before_actions(actions) {
            Ok(descriptors) => given = descriptors,
            Err(e) => return e.0,
        }
    }
    let mut child = 0;
    let result = env::with(environment, |environment| real(&raw mut child, environment));
    if result == 0 {
        if !pid.is_null() {
            // SAFETY: the caller's own place for the process id, which glibc would have written.
            unsafe { pid.write(child) };
        }
        if asks {
            inside(|| engine::spawned(child, &given));
        }
    }
    result
}

/// A spawn of a file by its name, round `real`, which takes what the kernel is to get.
fn running(path: *const c_char, argv: Strings, real: impl Fn(*const c_char, Strings) -> c_int) -> c_int {
    match name(path).filter(|p| names::in_force() && of_program() && p.to_bytes().contains(&b'/')) {
        Some(path) => program::with(path, argv, &|file: &CStr, argv| real(file.as_ptr(), argv)),
        None => real(path, argv),
    }
}

/// The kernel's name for an absolute one.
fn known(path: *const c_char, how: impl Into<How>, room: &mut Room) -> *const c_char {
    match name(path).filter(|p| names::in_force() && of_program() && p.to_bytes().starts_with(b"/")) {
        Some(name) => found(HERE, name, how, room).map_or(path, CStr::as_ptr),
        None => path,
    }
}

/// Before glibc starts a shell by itself.
fn before_shell() {
    if live() {
        inside(|| engine::before_exec(false));
        env::restore();
    }
}

hooks! {
    fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Strings, environment: Strings) -> c_int, real => {
        running(path, argv, |path, argv| {
            spawning(pid, actions, environment, |pid, environment| real(pid, path, actions, attributes, argv, environment))
        })
    }

    fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Strings, environment: Strings) -> c_int, real => {
        let mut room = Room::new();
        let ours = program::is_searched(file).and_then(|file| program::in_path(file, &mut room));
        running(ours.map_or(file, CStr::as_ptr), argv, |file, argv| {
            spawning(pid, actions, environment, |pid, environment| real(pid, file, actions, attributes, argv, environment))
        })
    }

    // What the child will do by itself is told by the names that the kernel knows. A relative one is from where the
    // child will be then.
    fn posix_spawn_file_actions_addopen(actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int,
        mode: libc::mode_t) -> c_int, real => {
        let mut room = Room::new();
        real(actions, fd, known(path, how_to_open(flags), &mut room), flags, mode)
    }

    fn posix_spawn_file_actions_addchdir_np(actions: *mut c_void, path: *const c_char) -> c_int, real => {
        let mut room = Room::new();
        real(actions, known(path, true, &mut room))
    }

    fn system(command: *const c_char) -> c_int, real => {
        before_shell();
        real(command)
    }

    fn popen | _IO_popen(command: *const c_char, mode: *const c_char) -> *mut libc::FILE, real => {
        before_shell();
        real(command, mode)
    }

    fn wordexp(words: *const c_char, result: *mut c_void, flags: c_int) -> c_int, real => {
        before_shell();
        real(words, result, flags)
    }
}
