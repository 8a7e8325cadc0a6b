//! libiris.so: the hooks, and nothing but the hooks. Each asks the engine and either gives its answer or makes the
//! real call with the program's own arguments. What is hooked, and why the rest is not, is in [`table`].

mod attributes;
mod c_api;
mod descriptors;
mod guard;
mod hook;
mod inkernel;
mod load;
mod mpi;
mod names;
mod open;
mod paths;
mod process;
mod real;
mod rings;
mod shared;
mod signals;
mod stdio;
mod syscall;
mod table;
mod transfer;

use libc::{c_char, c_int};

/// Runs before the constructors of the program's own libraries (the link asks for that), and before anything of
/// the program: a hook that is called earlier still makes the real call.
extern "C" fn start(_argc: c_int, _argv: *const *const c_char, environment: *const *const c_char) {
    real::resolve_all();
    process::env::provide(environment);
    guard::set_single_threaded(real::symbol(c"__libc_single_threaded").cast());
    if process::env::disabled(environment) {
        return guard::set_ready(false);
    }
    ::engine::engine::set_adopt(guard::adopt);
    let mounted = guard::inside(::engine::engine::init).unwrap_or(false);
    if mounted {
        // The default hook writes to stderr, which is the program's; the call fails with EIO instead.
        std::panic::set_hook(Box::new(|_| {}));
        process::env::remember(environment);
        process::exit::register();
        process::fork::register();
        guard::inside(::engine::engine::inherited);
    }
    guard::set_ready(mounted);
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = start;
