//! The program's own MPI library: its functions, found by name when the program first calls MPI, so that programs
//! without MPI pay nothing. No header and no layout is known here: handles are passed on as they came, be they numbers
//! (MPICH and its relatives) or pointers (Open MPI).

use crate::real;
use libc::{c_char, c_int, c_void, dl_phdr_info};
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What every MPI calls success.
pub const SUCCESS: c_int = 0;

/// The answer of a function that no library of the process has; the class is MPI_ERR_OTHER or next to it in every MPI.
pub const ABSENT: c_int = 15;

/// The function `name` of the program's MPI; null where there is none. Looked up once.
#[inline(always)]
pub fn function(slot: &'static AtomicPtr<c_void>, name: &CStr) -> *const c_void {
    let found = slot.load(Ordering::Acquire);
    if found.is_null() { look_up(slot, name) } else { found }
}

#[cold]
fn look_up(slot: &AtomicPtr<c_void>, name: &CStr) -> *const c_void {
    let mut found = real::next_symbol(name);
    if found.is_null() {
        found = in_any_library(name);
    }
    slot.store(found, Ordering::Release);
    found
}

/// Libraries of MPI that a process may have loaded; more are not looked at.
const MOST: usize = 16;

/// Names of loaded libraries, as the linker keeps them.
struct Names {
    names: [*const c_char; MOST],
    count: usize,
}

unsafe extern "C" fn collect(info: *mut dl_phdr_info, _: usize, into: *mut c_void) -> c_int {
    // SAFETY: the linker's record of a loaded library, and the names below.
    let (library, into) = unsafe { ((*info).dlpi_name, &mut *into.cast::<Names>()) };
    // SAFETY: the linker's names are C strings.
    let wanted = !library.is_null() && contains_mpi(unsafe { CStr::from_ptr(library) }.to_bytes());
    if let Some(place) = into.names.get_mut(into.count).filter(|_| wanted) {
        *place = library;
        into.count += 1;
    }
    0
}

/// A module of an interpreter brings its MPI in a scope of its own, where the linker's "next" does not look.
fn in_any_library(name: &CStr) -> *mut c_void {
    let own = real::symbol(name);
    let mut names = Names { names: [std::ptr::null(); MOST], count: 0 };
    // SAFETY: the callback gets the names, which outlive the call. It asks the linker nothing: its lock is held.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut names).cast()) };
    for &library in &names.names[..names.count] {
        // SAFETY: an MPI library that is in use is not unloaded, and its name stays with it; none is loaded here.
        let found = unsafe {
            let handle = libc::dlopen(library, libc::RTLD_NOLOAD | libc::RTLD_LAZY);
            if handle.is_null() {
                continue;
            }
            let found = libc::dlsym(handle, name.as_ptr());
            libc::dlclose(handle);
            found
        };
        if !found.is_null() && found != own {
            return found;
        }
    }
    null_mut()
}

/// Whether a path's last part names an MPI library, as libmpi.so.40 and libmpich.so.12 do.
fn contains_mpi(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    name.starts_with(b"libmpi") || name.starts_with(b"libpmpi")
}

/// Declares functions of the library that Iris asks. Each gives `None` when the library has no such function.
macro_rules! asked {
    ($($(#[$doc:meta])* fn $name:ident = $symbol:literal ($($a:ident: $t:ty),*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The arguments are what MPI's function of that name takes.
        #[inline]
        pub unsafe fn $name($($a: $t),*) -> Option<c_int> {
            static SLOT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
            let f = function(&SLOT, $symbol);
            if f.is_null() {
                return None;
            }
            // SAFETY: the function found is the one of this name, whose signature the standard fixes; handles fit a
            // register of the machine's width in every MPI, and a narrower one is taken from its lower half.
            unsafe {
                let f: unsafe extern "C-unwind" fn($($t),*) -> c_int = std::mem::transmute(f);
                Some(f($($a),*))
            }
        }
    )*};
}

asked! {
    /// MPI_Type_size.
    fn type_size = c"PMPI_Type_size" (datatype: usize, size: *mut c_int);
    /// MPI_Type_get_extent: lower bound and extent.
    fn type_get_extent = c"PMPI_Type_get_extent" (datatype: usize, low: *mut isize, extent: *mut isize);
    /// MPI_Type_get_envelope: how many integers, addresses and types it was made of, and by which constructor.
    fn type_get_envelope = c"PMPI_Type_get_envelope" (datatype: usize, integers: *mut c_int, addresses: *mut c_int,
        types: *mut c_int, constructor: *mut c_int);
    /// MPI_Status_set_elements.
    fn status_set_elements = c"PMPI_Status_set_elements" (status: *mut c_void, datatype: usize, count: c_int);
}
