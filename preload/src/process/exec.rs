//! Hooks that replace the program of this process. What the next program inherits is put in place first, and it
//! gets Iris's environment.

use super::env;
use crate::guard::{inside, live, mounted};
use crate::hook::hooks;
use ::engine::engine;
use libc::{c_char, c_int};

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

hooks! {
    fn execve(path: *const c_char, argv: Strings, environment: Strings) -> c_int, real => {
        replacing(environment, |environment| real(path, argv, environment))
    }

    fn execvpe(file: *const c_char, argv: Strings, environment: Strings) -> c_int, real => {
        replacing(environment, |environment| real(file, argv, environment))
    }

    fn execveat(dir: c_int, path: *const c_char, argv: Strings, environment: Strings, flags: c_int) -> c_int,
        real => { replacing(environment, |environment| real(dir, path, argv, environment, flags)) }

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
