//! From an address to a store. Owns which scheme is served by what: the embedded store is built in, the others lie in
//! libraries of their own, beside libiris.so or in the folder that `IRIS_STORES` names, and are loaded when a mount
//! first needs them (linking the S3 SDK in would add 1.5 ms to the start of every process).

pub mod opened;

use crate::config::Home;
use crate::log;
use crate::own_thread;
use crate::sys;
use iris_store::{Address, ENTRY, Entry, Host, Kind, Plugin, STAMP, Store, StoreError};
use iris_store_embedded::{Descriptors, Embedded, Options};
use opened::Opener;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Libraries of stores, and the schemes that each serves.
const LIBRARIES: [(&str, &[&str]); 2] = [
    ("libiris_store_redis.so", &["redis", "rediss", "redis+unix", "memcached", "memcached+unix"]),
    ("libiris_store_s3.so", &["s3"]),
];

/// The variable that names the folder of the stores' libraries.
pub const FOLDER: &str = "IRIS_STORES";

/// What a store may ask of this process.
const HOST: Host = Host { adopt_thread: adopt, log: say };

/// A thread of a store is one of Iris's own, with the descriptors of whoever started it.
fn adopt() {
    own_thread::adopt();
    log::apart();
}

fn say(level: u8, line: &str) {
    // A store counts errors as 0; the log begins at 1.
    log::say(level + 1, || line.to_owned());
}

/// Opens the store at an address. On a thread whose descriptors do not show in the program.
///
/// # Errors
/// Where the scheme is unknown, the library is missing or another version's, or the store refuses the address.
pub fn open(address: &Address) -> Result<Arc<dyn Store>, StoreError> {
    let place = address.to_string();
    let Some((library, _)) = LIBRARIES.iter().find(|(_, schemes)| schemes.contains(&address.scheme.as_str()))
    else {
        let known: Vec<&str> = LIBRARIES.iter().flat_map(|(_, s)| s.iter().copied()).collect();
        let detail =
            format!("no store serves \"{}://\"; known are: kv, {}", address.scheme, known.join(", "));
        return Err(StoreError::new(Kind::Invalid, &place, None, detail));
    };
    let plugin = load(library).map_err(|detail| StoreError::new(Kind::Invalid, &place, None, detail))?;
    address
        .check_options(plugin.options)
        .map_err(|e| StoreError::new(Kind::Invalid, &place, None, e.reason))?;
    (plugin.open)(address, HOST)
}

/// How the store is opened that a text of the configuration names.
///
/// # Errors
/// What is wrong with it, in words that hold no secret.
pub fn opener(home: &Home) -> Result<Opener, String> {
    match (home.address()?, &home.directory) {
        (Some((address, _)), _) => Ok(Box::new(move || open(&address))),
        (None, Some(directory)) => {
            let (place, directory) = (home.to_string(), directory.clone());
            let open = embedded(place.clone(), directory.clone());
            Ok(Box::new(move || match rustix::fs::mkdir(&directory, rustix::fs::Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => open(),
                Err(e) => {
                    Err(StoreError::new(Kind::Invalid, &place, None, format!("making its directory: {e}")))
                }
            }))
        }
        (None, None) => Err(format!("{home}: no store")),
    }
}

/// The embedded store in a directory.
pub fn embedded(place: String, directory: PathBuf) -> Opener {
    Box::new(move || -> Result<Arc<dyn Store>, StoreError> {
        let mut options = Options::new(&directory);
        if sys::descriptor_limit() < FEW {
            options.descriptors = Descriptors::None;
        }
        Ok(Arc::new(Embedded::open(&options, place.clone())?))
    })
}

/// Descriptors that a process must be allowed for the embedded store to keep some open.
const FEW: u64 = 1024;

/// Loads a store's library, or finds it loaded.
fn load(library: &str) -> Result<&'static Plugin, String> {
    let folder =
        folder().ok_or_else(|| format!("cannot tell which folder Iris's libraries are in; set {FOLDER}"))?;
    let path = folder.join(library);
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{}: not a path", path.display()))?;
    // SAFETY: a library of Iris's own; its initialisers are Rust's and start nothing.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Err(format!(
            "the store's library cannot be loaded: {}. It belongs beside libiris.so; elsewhere, name its folder in \
             IRIS_STORES",
            error()
        ));
    }
    let entry = CString::new(ENTRY).map_err(|_| "the entry's name".to_owned())?;
    // SAFETY: the handle is open, and stays so.
    let symbol = unsafe { libc::dlsym(handle, entry.as_ptr()) };
    if symbol.is_null() {
        return Err(format!("{}: not a store of Iris: it has no {ENTRY}", path.display()));
    }
    // SAFETY: the symbol of that name is an `Entry` in every library that has it.
    let entry: Entry = unsafe { std::mem::transmute::<*mut c_void, Entry>(symbol) };
    let plugin = entry();
    if plugin.stamp != STAMP {
        return Err(format!(
            "{}: built with another version of Iris ({}; this is {STAMP}); install both from one build",
            path.display(),
            plugin.stamp
        ));
    }
    Ok(plugin)
}

/// What the loader said last.
fn error() -> String {
    // SAFETY: dlerror gives null or a string that lives until the thread's next dl call.
    let text: *const c_char = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The folder with the stores' libraries: `IRIS_STORES`, or where the code that runs here was loaded from (libiris.so,
/// or the command, whose libraries lie beside it or in ../lib).
fn folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(FOLDER) {
        return Some(named.into());
    }
    // SAFETY: Dl_info is plain data, filled by dladdr.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let here: *const c_void = (folder as fn() -> Option<PathBuf>) as *const c_void;
    // SAFETY: both pointers are to locals or code.
    if unsafe { libc::dladdr(here, &raw mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gave a string of the loader's, which lives as long as the object.
    let object = unsafe { CStr::from_ptr(info.dli_fname) };
    let object = std::fs::canonicalize(Path::new(std::ffi::OsStr::from_bytes(object.to_bytes()))).ok();
    // The command is known by the name it was called by, which may be found through PATH only.
    let object = object.filter(|o| o.is_file()).or_else(|| std::env::current_exe().ok())?;
    let beside = object.parent()?;
    let has = |folder: &Path| LIBRARIES.iter().any(|(l, _)| folder.join(l).exists());
    let lib = beside.parent().map(|p| p.join("lib"));
    match lib {
        Some(lib) if !has(beside) && has(&lib) => Some(lib),
        _ => Some(beside.to_owned()),
    }
}
