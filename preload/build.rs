//! Link options of libiris.so, and the C half of the hooks (variadic calls, the per-thread guard, the unwinder).

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=c");
    cc::Build::new()
        .file("c/variadic.c")
        .file("c/unwind.c")
        .flag("-fno-builtin")
        .flag("-ftls-model=initial-exec")
        // A thread may be cancelled inside the real call: its unwinding passes through these frames.
        .flag("-fexceptions")
        .define("_GNU_SOURCE", None)
        .opt_level(2)
        .warnings(true)
        .compile("iris_c");
    // The standard library asks for -lgcc_s; unwind.c takes its place. See there.
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("libgcc_s.so"), "INPUT ( -lc )\n").expect("the build directory is writable");
    println!("cargo::rustc-link-search=native={}", out.display());
    for option in ["-soname,libiris.so", "-z,now", "-z,nodelete", "-z,initfirst"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{option}");
    }
}
