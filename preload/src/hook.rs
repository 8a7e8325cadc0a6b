//! The shape of a hook: one exported function, and inside it the real one under a name of the author's choice.

/// Declares hooks. Each reads `fn name(arguments) -> result, real => { body }`; in the body `real(…)` is the
/// next definition of the same function. `real = raw::f` names what to call before initialisation instead of
/// asking the dynamic linker. Several names may share a body: `fn a | b | c(…)`.
macro_rules! hooks {
    ($(fn $($name:ident)|+ ($($args:tt)*) -> $r:ty, $real:ident $(= $raw:path)? => $body:block)*) => {
        $($crate::hook::hooks!(@names [$($name)+] ($($args)*) $r, $real [$($raw)?] $body);)*
    };
    (@names [$($name:ident)+] $args:tt $r:ty, $real:ident $raw:tt $body:block) => {
        $($crate::hook::hooks!(@one $name $args $r, $real $raw $body);)+
    };
    (@one $name:ident ($($a:ident: $t:ty),* $(,)?) $r:ty, $real:ident [$($raw:path)?] $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(unused_variables, clippy::too_many_arguments)]
        pub unsafe extern "C-unwind" fn $name($($a: $t),*) -> $r {
            #[allow(unused_mut, unused_assignments)]
            let mut raw: Option<*const std::ffi::c_void> = None;
            $(raw = Some($raw as *const std::ffi::c_void);)?
            let next = $crate::real::get(&$crate::real::next::$name, raw);
            #[inline(always)]
            #[allow(unused)]
            fn call(next: *const std::ffi::c_void, $($a: $t),*) -> $r {
                // SAFETY: `next` is the function of this name behind ours, or the raw system call of the same
                // signature; the arguments are the program's own, which answers for them.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($t),*) -> $r = std::mem::transmute(next);
                    f($($a),*)
                }
            }
            #[allow(unused)]
            let $real = |$($a: $t),*| -> $r { call(next, $($a),*) };
            $body
        }
    };
}
pub(crate) use hooks;
