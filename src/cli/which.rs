//! Finds a program as execvp does. Owns the search of PATH.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// There is none of that name.
    #[error("{}: no such program{}", name.to_string_lossy(), place(name))]
    Missing {
        /// The name as given.
        name: OsString,
    },
    /// It exists, but may not be executed.
    #[error("{}: {why}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        why: &'static str,
    },
}

fn place(name: &OsStr) -> &'static str {
    if name.as_bytes().contains(&b'/') { "" } else { " in PATH" }
}

impl NotFound {
    /// The exit code that shells give: 127 not found, 126 not executable.
    pub fn code(&self) -> u8 {
        match self {
            NotFound::Missing { .. } => 127,
            NotFound::NotExecutable { .. } => 126,
        }
    }
}

/// The file that running `name` would execute.
pub fn find(name: &OsStr) -> Result<PathBuf, NotFound> {
    let missing = || NotFound::Missing { name: name.to_os_string() };
    if name.is_empty() {
        return Err(missing());
    }
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name))?.ok_or_else(missing);
    }
    let mut refused = None;
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    for folder in env::split_paths(&path) {
        // An empty entry means the current directory.
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        match executable(&folder.join(name)) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(missing))
}

fn executable(path: &Path) -> Result<Option<PathBuf>, NotFound> {
    let no = |why| Err(NotFound::NotExecutable { path: path.to_path_buf(), why });
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => no("permission denied"),
        Err(_) => Ok(None),
        Ok(m) if m.is_dir() => no("is a directory"),
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() => {
            no("not executable (permission denied)")
        }
        Ok(_) => Ok(Some(path.to_path_buf())),
    }
}
