//! Hooks that replace the program of this process. What the next program inherits is put in place first, and it
//! gets Iris's environment.

use super::{env, program};
use crate::guard::{fail, inside, int, live, mounted, of_program};
use crate::hook::hooks;
use crate::open::name;
use crate::paths::named;
use ::engine::engine;
use ::engine::errno::Errno;
use ::engine::namespace::names;
use libc::{c_char, c_int};
use std::ffi::CStr;

type Strings = *const *const c_char;

/// exec round `real`, which takes the environment. In a vfork child only the environment is ours to care for.
fn replacing(environment: Strings, real: impl FnOnce(Strings) -> c_int) -> c_int {
    if !mounted() {
        return real(environment);
    }
    if live() {
        inside(|| engine::before_exec(true));
    }
    env::with(environment, real)
}

/// exec of a file by its name, round `real`, which takes what the kernel is to get.
fn running(path: *const c_char, argv: Strings, real: impl Fn(*const c_char, Strings) -> c_int) -> c_int {
    match name(path).filter(|_| names::in_force() && of_program()) {
        None => real(path, argv),
        Some(path) => {
            let run = |file: &CStr, argv: Strings| program::error_of(real(file.as_ptr(), argv));
            int(fail(Errno(program::with(path, argv, &run))))
        }
    }
}

/// The shell that runs what the kernel does not take for a program.
const SHELL: &CStr = c"/bin/sh";

/// execvp of one file, for whose name glibc need not search.
fn running_or_script(file: &CStr, argv: Strings, environment: Strings) -> c_int {
    // SAFETY: the program's arguments.
    unsafe {
        let error = program::error_of(execve(file.as_ptr(), argv, environment));
        if error != libc::ENOEXEC {
            return error;
        }
        program::prepended(&[SHELL.as_ptr(), file.as_ptr()], argv, |argv| {
            program::error_of(execve(SHELL.as_ptr(), argv, environment))
        })
    }
}

hooks! {
    fn execve(path: *const c_char, argv: Strings, environment: Strings) -> c_int, real => {
        running(path, argv, |path, argv| replacing(environment, |environment| real(path, argv, environment)))
    }

    // Where names are virtual, glibc's own search would not find them.
    fn execvpe(file: *const c_char, argv: Strings, environment: Strings) -> c_int, real => {
        let ours = name(file).filter(|f| names::in_force() && of_program() && !f.to_bytes().is_empty());
        let Some(file) = ours else {
            return replacing(environment, |environment| real(file, argv, environment));
        };
        if file.to_bytes().contains(&b'/') {
            return int(fail(Errno(running_or_script(file, argv, environment))));
        }
        let (mut denied, mut last) = (false, libc::ENOENT);
        let refused = program::search(file, |candidate| {
            last = running_or_script(candidate, argv, environment);
            denied |= last == libc::EACCES;
            let goes_on = [libc::EACCES, libc::ENOENT, libc::ESTALE, libc::ENOTDIR, libc::ENODEV, libc::ETIMEDOUT];
            (!goes_on.contains(&last)).then_some(last)
        });
        int(fail(Errno(refused.unwrap_or(if denied { libc::EACCES } else { last }))))
    }

    fn execveat(dir: c_int, path: *const c_char, argv: Strings, environment: Strings, flags: c_int) -> c_int,
        real => {
        named(dir, path, crate::attributes::follows(flags), |dir, path| {
            replacing(environment, |environment| real(dir, path, argv, environment, flags))
        })
    }

    fn fexecve(fd: c_int, argv: Strings, environment: Strings) -> c_int, real => {
        replacing(environment, |environment| real(fd, argv, environment))
    }

    fn execv(path: *const c_char, argv: Strings) -> c_int, real => {
        if !mounted() { return real(path, argv); }
        // SAFETY: the program's arguments, and its own environment.
        unsafe { execve(path, argv, env::current()) }
    }

    fn execvp(file: *const c_char, argv: Strings) -> c_int, real => {
        if !mounted() { return real(file, argv); }
        // SAFETY: as above.
        unsafe { execvpe(file, argv, env::current()) }
    }
}
