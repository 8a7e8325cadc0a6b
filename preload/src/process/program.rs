//! Which file a program's name means where virtual mounts are in force: its own, that of a search through PATH, and
//! that of a script's interpreter, which the kernel would look up by itself. Runs in forked and vforked children: no
//! heap, no lock.

use crate::guard::of_program;
use crate::open::name;
use crate::paths::{HERE, found};
use crate::real::raw;
use ::engine::errno::Errno;
use ::engine::namespace::names::{self, Room};
use libc::{c_char, c_int, c_long};
use std::ffi::CStr;
use std::ptr::null;

type Strings = *const *const c_char;

/// As much of a script as the kernel looks at.
const HEAD: usize = 256;
/// As many interpreters that are scripts as the kernel allows.
const DEEP: u32 = 4;

/// The first line of a script: its interpreter, and what follows that.
struct Line {
    text: [u8; HEAD + 1],
    /// Where the argument begins; 0 when there is none.
    argument: usize,
    start: usize,
}

impl Line {
    /// Reads it, if the file is a script that may be run.
    fn of(file: &CStr) -> Option<Line> {
        let mut text = [0u8; HEAD + 1];
        // SAFETY: plain system calls on a C string, a buffer and a descriptor of ours.
        let len = unsafe {
            if raw::direct(
                libc::SYS_faccessat,
                [HERE.into(), file.as_ptr() as c_long, libc::X_OK.into(), 0, 0, 0],
            ) != 0
            {
                return None;
            }
            let fd = raw::open(file.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK, 0);
            if fd < 0 {
                return None;
            }
            let len = raw::pread(fd, text.as_mut_ptr().cast(), HEAD, 0);
            raw::close(fd);
            usize::try_from(len).ok()?
        };
        let line = text[..len].strip_prefix(b"#!")?;
        let end = 2 + line.iter().position(|b| *b == b'\n').unwrap_or(line.len());
        let blank = |b: &u8| matches!(b, b' ' | b'\t');
        let end = text[..end].iter().rposition(|b| !blank(b)).map_or(0, |at| at + 1);
        text[end..].fill(0);
        let start = 2 + text[2..end].iter().position(|b| !blank(b))?;
        let after = start + text[start..end].iter().take_while(|b| !blank(b)).count();
        let argument = text[after..end].iter().position(|b| !blank(b)).map_or(0, |at| after + at);
        text[after] = 0;
        Some(Line { text, argument, start })
    }

    fn string(&self, at: usize) -> &CStr {
        CStr::from_bytes_until_nul(&self.text[at..]).unwrap_or(c"")
    }

    fn interpreter(&self) -> &CStr {
        self.string(self.start)
    }
}

/// Runs `run` with the file that the kernel knows `path` by, and the arguments that it is to get. For a script of ours
/// those of its interpreter: so it is told the script's own name, and the interpreter may lie under a mount too.
/// `run` gives 0 or an error.
pub fn with(path: &CStr, argv: Strings, run: &dyn Fn(&CStr, Strings) -> c_int) -> c_int {
    within(path, argv, run, 0)
}

fn within(path: &CStr, argv: Strings, run: &dyn Fn(&CStr, Strings) -> c_int, depth: u32) -> c_int {
    let mut room = Room::new();
    let known = found(HERE, path, true, &mut room);
    if known.is_none() {
        let result = run(path, argv);
        if result != libc::ENOENT {
            return result;
        }
    }
    let file = known.unwrap_or(path);
    let Some(line) = Line::of(file).filter(|_| depth <= DEEP) else {
        return if known.is_some() { run(file, argv) } else { libc::ENOENT };
    };
    if known.is_none() && found(HERE, line.interpreter(), true, &mut Room::new()).is_none() {
        return libc::ENOENT;
    }
    if depth == DEEP {
        return libc::ELOOP;
    }
    let mut first = [line.interpreter().as_ptr(), null(), null()];
    let mut used = 1;
    if line.argument != 0 {
        first[1] = line.string(line.argument).as_ptr();
        used = 2;
    }
    first[used] = path.as_ptr();
    prepended(&first[..=used], argv, |argv| within(line.interpreter(), argv, run, depth + 1))
}

/// Runs `run` with arguments that begin with `first`, in the place of the first of `argv`.
pub fn prepended(first: &[*const c_char], argv: Strings, run: impl FnOnce(Strings) -> c_int) -> c_int {
    // SAFETY: the program's arguments end with a null. The memory is fresh, of the right size, and given back.
    unsafe {
        let mut count = 0;
        while !argv.is_null() && !(*argv.add(count)).is_null() {
            count += 1;
        }
        let bytes = (count + first.len() + 1) * size_of::<*const c_char>();
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as c_long;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long;
        let memory = raw::direct(libc::SYS_mmap, [0, bytes as c_long, protection, flags, -1, 0]);
        if memory == -1 {
            return libc::ENOMEM;
        }
        let list = memory as *mut *const c_char;
        std::ptr::copy_nonoverlapping(first.as_ptr(), list, first.len());
        if count > 1 {
            std::ptr::copy_nonoverlapping(argv.add(1), list.add(first.len()), count - 1);
        }
        let result = run(list);
        raw::direct(libc::SYS_munmap, [memory, bytes as c_long, 0, 0, 0, 0]);
        result
    }
}

/// Whether a name is searched for in PATH, and by Iris.
pub fn is_searched(file: *const c_char) -> Option<&'static CStr> {
    if !names::in_force() || !of_program() {
        return None;
    }
    name(file).filter(|f| !f.to_bytes().is_empty() && !f.to_bytes().contains(&b'/'))
}

/// Calls `each` with the file of that name in each folder of PATH, until it gives a result.
pub fn search<R>(file: &CStr, mut each: impl FnMut(&CStr) -> Option<R>) -> Option<R> {
    // SAFETY: the environment's string, if there is one.
    let path = name(unsafe { libc::getenv(c"PATH".as_ptr()) }).unwrap_or(c"/bin:/usr/bin");
    for folder in path.to_bytes().split(|b| *b == b':') {
        let mut room = Room::new();
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        if [folder, slash, file.to_bytes()].iter().any(|part| room.push(part).is_err()) {
            continue;
        }
        if let Ok(candidate) = room.c_str()
            && let Some(result) = each(candidate)
        {
            return Some(result);
        }
    }
    None
}

/// The first file of that name in PATH that may be run, if only Iris finds it: into `room`.
pub fn in_path<'r>(file: &CStr, room: &'r mut Room) -> Option<&'r CStr> {
    let ours = search(file, |candidate| {
        // SAFETY: a C string.
        let may_run =
            unsafe { crate::names::faccessat(HERE, candidate.as_ptr(), libc::X_OK, libc::AT_EACCESS) } == 0;
        may_run.then(|| {
            found(HERE, candidate, true, &mut Room::new()).is_some() && room.set(candidate.to_bytes()).is_ok()
        })
    });
    if ours? { room.c_str().ok() } else { None }
}

/// 0, or the error of a call that gives −1 for it.
pub fn error_of(result: c_int) -> c_int {
    if result == 0 { 0 } else { Errno::last().0 }
}
