//! The `IRIS_…` variables of a process, and what the command line adds to them. Owns the one walk over the
//! environment; does not know what the variables mean.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// One setting as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name, beginning with `IRIS_`.
    pub name: String,
    /// Its value, as the environment has it.
    pub value: Vec<u8>,
    /// The option of the command `iris` that gave it; `None` when the environment did.
    pub option: Option<String>,
}

/// What [`super::Config::load`] reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: Vec<Variable>,
    mounts: Vec<Vec<u8>>,
}

unsafe extern "C" {
    // glibc's; std::env would copy every variable, and this runs at the start of every process.
    static environ: *mut *mut libc::c_char;
}

/// Calls `f` with the entry, name and value of each variable of an environment that begins with `IRIS_`.
///
/// # Safety
/// `at` is null or an array of C strings that ends with a null, and is not changed meanwhile, except by `f`, which
/// may replace its entry.
unsafe fn each(mut at: *mut *mut libc::c_char, mut f: impl FnMut(*mut *mut libc::c_char, &[u8], &[u8])) {
    if at.is_null() {
        return;
    }
    loop {
        // SAFETY: `at` walks an array that ends with a null, and stops there.
        let entry = unsafe { *at };
        if entry.is_null() {
            return;
        }
        // SAFETY: each entry before the null is a C string that stays as it is during this call.
        let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if text.starts_with(b"IRIS_")
            && let Some(eq) = text.iter().position(|b| *b == b'=')
        {
            f(at, &text[..eq], &text[eq + 1..]);
        }
        // SAFETY: not yet at the null, so the next element exists.
        at = unsafe { at.add(1) };
    }
}

impl Environment {
    /// Nothing set.
    pub fn new() -> Environment {
        Environment::default()
    }

    /// The variables of this process. Reads nothing but the environment and allocates only for `IRIS_…`.
    pub fn process() -> Environment {
        // SAFETY: `environ` is glibc's own variable, always a valid object; it is null or points to an array of
        // C strings that ends with a null. The array may be replaced by setenv in another thread, as getenv's
        // own may: this is for programs without any thread (iris) and for their start.
        unsafe { Environment::at(environ.cast()) }
    }

    /// The variables of an array like `environ`, which is not yet set when a library's constructor runs before
    /// glibc's own.
    ///
    /// # Safety
    /// `array` is null or an array of C strings that ends with a null, and nobody changes it meanwhile.
    pub unsafe fn at(array: *const *const libc::c_char) -> Environment {
        let mut env = Environment::default();
        // SAFETY: as the caller promises; the closure copies and changes nothing.
        unsafe { each(array.cast_mut().cast(), |_, name, value| env.push(name, value)) };
        env
    }

    /// Puts absolute paths into this process's own environment where its variables had relative ones, so that a
    /// child that starts in another directory has the same configuration. `config` is what was loaded from them.
    ///
    /// # Safety
    /// No other thread may use the environment meanwhile: call it while the process starts.
    pub unsafe fn make_absolute(config: &super::Config) {
        if !config.relative {
            return;
        }
        let mut paths = config.variables();
        if let Some(file) = &config.file {
            paths.push((super::CONFIG, Some(file.as_os_str().as_bytes().to_vec())));
        }
        // SAFETY: as the caller promises. The new strings are leaked, and the entries are pointers in an array
        // that the kernel made writable on the stack, or that setenv allocated.
        unsafe {
            each(environ, |entry, name, value| {
                let is_path = name == super::MOUNT.as_bytes()
                    || name == super::CONFIG.as_bytes()
                    || name == b"IRIS_REPORT"
                    || name == b"IRIS_STORE"
                    || name.ends_with(b"_PATH");
                let new = paths.iter().rev().find(|(n, v)| n.as_bytes() == name && v.is_some());
                let Some((_, Some(new))) = new.filter(|_| is_path && !value.is_empty()) else { return };
                let text = [name, b"=", new].concat();
                if let Ok(text) = CString::new(text) {
                    *entry = text.into_raw();
                }
            });
        }
    }

    /// As getenv does, the first of two with one name wins; an empty value is no value.
    fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name);
        if !value.is_empty() && !self.variables.iter().any(|v| v.name == name) {
            self.variables.push(Variable { name: name.into_owned(), value: value.to_vec(), option: None });
        }
    }

    /// Sets a variable as the environment would.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Environment {
        self.variables.retain(|v| v.name != name);
        self.push(name.as_bytes(), value.as_ref().as_bytes());
        self
    }

    /// Sets a variable for an option of the command line, which is then named as its origin.
    pub fn set_by_option(&mut self, name: &str, value: impl AsRef<OsStr>, option: &str) {
        self.variables.retain(|v| v.name != name);
        let value = value.as_ref().as_bytes().to_vec();
        self.variables.push(Variable { name: name.to_string(), value, option: Some(option.to_string()) });
    }

    /// Adds a mount from the command line: `DIR[,key=value…]`, in which a colon has no meaning.
    pub fn add_mount(&mut self, entry: impl AsRef<OsStr>) {
        self.mounts.push(entry.as_ref().as_bytes().to_vec());
    }

    /// All variables.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.name == name)
    }

    /// The mounts of the command line.
    pub fn mounts(&self) -> &[Vec<u8>] {
        &self.mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_unset_and_the_first_wins() {
        let mut env = Environment::new();
        env.push(b"IRIS_LOG", b"");
        assert_eq!(env.get("IRIS_LOG"), None);
        env.push(b"IRIS_LOG", b"1");
        env.push(b"IRIS_LOG", b"2");
        assert_eq!(env.get("IRIS_LOG").unwrap().value, b"1");
    }

    #[test]
    fn the_process_has_only_its_iris_variables() {
        assert!(Environment::process().variables().iter().all(|v| v.name.starts_with("IRIS_")));
        assert!(std::env::vars_os().count() > 0, "this test needs an environment");
    }
}
