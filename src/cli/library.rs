//! Where libiris.so is, and how it gets into LD_PRELOAD. Owns that variable.

use super::say::Failure;
use iris::config;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const NAME: &str = "libiris.so";

/// Finds the library: `IRIS_LIBRARY`, else beside the command, else in the lib folders of its prefix.
pub fn find() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os(config::LIBRARY).filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        let found = std::fs::canonicalize(&path)
            .map_err(|e| Failure::new(2, format!("variable IRIS_LIBRARY: {}: {e}", path.display())))?;
        return usable(found);
    }
    let exe =
        env::current_exe().map_err(|e| Failure::new(2, format!("where the command lies is unknown: {e}")))?;
    let folder = exe.parent().unwrap_or(Path::new("/"));
    let tried: Vec<PathBuf> =
        ["", "../lib", "../lib64", "../lib/iris"].iter().map(|f| folder.join(f).join(NAME)).collect();
    match tried.iter().find_map(|p| std::fs::canonicalize(p).ok()) {
        Some(found) => usable(found),
        None => Err(Failure::new(
            2,
            format!(
                "{NAME} is not beside {} nor in ../lib; say where it is with IRIS_LIBRARY",
                exe.display()
            ),
        )),
    }
}

/// LD_PRELOAD has no way to write a blank or a colon.
fn usable(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.as_os_str().as_bytes().iter().any(|b| b" \t\n:".contains(b)) {
        let shown = path.display();
        return Err(Failure::new(
            2,
            format!("{shown}: LD_PRELOAD cannot hold a path with a blank or a colon; put {NAME} elsewhere"),
        ));
    }
    Ok(path)
}

/// LD_PRELOAD with the library in it. What is there stays, and stays first: it interposes on the program's calls
/// as before, and Iris is the last before libc.
pub fn preload(existing: Option<&OsStr>, library: &Path) -> OsString {
    let library = library.as_os_str().as_bytes();
    let mut value = Vec::new();
    for entry in existing.unwrap_or_default().as_bytes().split(|b| b" \t\n:".contains(b)) {
        if !entry.is_empty() && entry != library {
            value.extend_from_slice(entry);
            value.push(b':');
        }
    }
    value.extend_from_slice(library);
    OsString::from_vec(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_preloaded_stays() {
        let of = |v: Option<&str>| preload(v.map(OsStr::new), Path::new("/l/libiris.so"));
        assert_eq!(of(None), "/l/libiris.so");
        assert_eq!(of(Some("a.so b.so::/c.so")), "a.so:b.so:/c.so:/l/libiris.so");
        assert_eq!(of(Some("/l/libiris.so:a.so")), "a.so:/l/libiris.so");
    }

    #[test]
    fn unusable_paths_are_refused() {
        assert!(usable("/a b/libiris.so".into()).is_err() && usable("/a:b/libiris.so".into()).is_err());
        assert!(usable("/ab/libiris.so".into()).is_ok());
    }
}
