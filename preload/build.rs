//! Link options of libiris.so, and the C half of the hooks (variadic calls and the per-thread guard).

fn main() {
    println!("cargo::rerun-if-changed=c/variadic.c");
    cc::Build::new()
        .file("c/variadic.c")
        .flag("-fno-builtin")
        .flag("-ftls-model=initial-exec")
        // A thread may be cancelled inside the real call: its unwinding passes through these frames.
        .flag("-fexceptions")
        .define("_GNU_SOURCE", None)
        .opt_level(2)
        .warnings(true)
        .compile("iris_variadic");
    for option in ["-soname,libiris.so", "-z,now", "-z,nodelete", "-z,initfirst"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{option}");
    }
}
