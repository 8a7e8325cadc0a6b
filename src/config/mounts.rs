//! The text of `IRIS_MOUNT` and of `--mount`, and what may be a mount. Owns that grammar both ways and the list
//! of forbidden roots; looks at directories only to resolve their names.
//!
//! ```text
//! IRIS_MOUNT = entry { ":" entry }        entry = DIR { "," key "=" value }
//! ```
//! A backslash takes the meaning from `:`, `,`, `=` and itself. `DIR=HOME`, with HOME an address such as
//! `redis://host:6379`, is a form of later versions: it is recognised (so that its colons do not split it) and
//! refused.

use super::error::{ConfigError, Site};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One directory with its options, as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub dir: Vec<u8>,
    pub options: Vec<(String, String)>,
}

/// Splits the value of `IRIS_MOUNT` into its entries, still escaped; empty ones are dropped.
pub(super) fn split(value: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    let (mut start, mut at) = (0, 0);
    // Whether this entry is of the form DIR=HOME so far: an `=` before any comma.
    let (mut home, mut comma) = (false, false);
    while at < value.len() {
        match value[at] {
            b'\\' => at += 1,
            b',' => comma = true,
            b'=' if !comma => home = true,
            b':' if !value[at + 1..].starts_with(b"//")
                && (!home || value.get(at + 1).is_none_or(|b| *b == b'/')) =>
            {
                entries.push(&value[start..at]);
                start = at + 1;
                (home, comma) = (false, false);
            }
            _ => {}
        }
        at += 1;
    }
    entries.push(&value[start..]);
    entries.retain(|e| !e.is_empty());
    entries
}

/// Reads one entry.
pub(super) fn entry(text: &[u8], site: Site<'_>) -> Result<Entry, ConfigError> {
    let not_supported = || ConfigError::NotSupported {
        place: site.place(),
        entry: String::from_utf8_lossy(text).into_owned(),
    };
    let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
    // Position of the first bare `=` in each field.
    let mut equals: Vec<Option<usize>> = vec![None];
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let last = fields.len() - 1;
        match byte {
            b'\\' => fields[last].push(bytes.next().unwrap_or(b'\\')),
            b',' => {
                fields.push(Vec::new());
                equals.push(None);
            }
            _ => {
                if byte == b'=' && equals[last].is_none() {
                    equals[last] = Some(fields[last].len());
                }
                fields[last].push(byte);
            }
        }
    }
    let dir = fields.remove(0);
    if equals.remove(0).is_some() || dir.windows(3).any(|w| w == b"://") {
        return Err(not_supported());
    }
    let mut options = Vec::new();
    for (field, eq) in fields.iter().zip(equals) {
        let text = String::from_utf8_lossy(field);
        let Some(eq) = eq else {
            return Err(ConfigError::BadValue {
                place: site.place(),
                key: "a mount".into(),
                value: text.into_owned(),
                why: "after a comma an option `key=value` is needed (a comma that is part of a directory's name \
                      is written `\\,`)"
                    .into(),
            });
        };
        options.push((
            String::from_utf8_lossy(&field[..eq]).trim().to_string(),
            String::from_utf8_lossy(&field[eq + 1..]).trim().to_string(),
        ));
    }
    Ok(Entry { dir, options })
}

/// Appends a directory to a value of `IRIS_MOUNT`, escaped.
pub(super) fn push_escaped(out: &mut Vec<u8>, dir: &[u8]) {
    for byte in dir {
        if matches!(byte, b'\\' | b':' | b',' | b'=') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

/// The canonical name of a directory that is to be a mount.
pub(super) fn resolve(dir: &[u8], site: Site<'_>) -> Result<Vec<u8>, ConfigError> {
    let path = PathBuf::from(OsStr::from_bytes(dir));
    let canonical = match fs::canonicalize(&path) {
        Ok(canonical) => canonical,
        Err(source) => return Err(ConfigError::NoMount { place: site.place(), path, source }),
    };
    match fs::metadata(&canonical) {
        Ok(m) if m.is_dir() => {}
        Ok(_) => return Err(ConfigError::NotADirectory { place: site.place(), path }),
        Err(source) => return Err(ConfigError::NoMount { place: site.place(), path, source }),
    }
    match forbidden(&canonical) {
        Some(why) => Err(ConfigError::Forbidden { place: site.place(), path: canonical, why }),
        None => Ok(canonical.into_os_string().into_vec()),
    }
}

/// Why a directory must not be a mount, if it must not.
fn forbidden(path: &Path) -> Option<&'static str> {
    if path == Path::new("/") {
        return Some(
            "every file of the system would be staged, also those of programs that do not run under Iris; name \
             the directory that holds the data",
        );
    }
    if path.starts_with("/proc") || path.starts_with("/sys") {
        return Some("the kernel makes these files anew at each read; there is nothing to stage");
    }
    if path == Path::new("/dev/shm") {
        return Some("Tier 0 keeps its own pool there; a directory below it can be a mount");
    }
    if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return Some("these are devices, not files; there is nothing to stage");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SITE: Site<'static> = Site::Variable("IRIS_MOUNT");

    fn parts(value: &str) -> Vec<String> {
        split(value.as_bytes()).into_iter().map(|e| String::from_utf8(e.to_vec()).unwrap()).collect()
    }

    #[test]
    fn entries_are_split_at_colons() {
        assert_eq!(parts("/a"), ["/a"]);
        assert_eq!(parts("/a:/b:c"), ["/a", "/b", "c"]);
        assert_eq!(parts(":/a::/b:"), ["/a", "/b"]);
        assert_eq!(parts(r"/a\:/b:/c"), [r"/a\:/b", "/c"]);
        assert_eq!(parts("/a,threshold=4k:b"), ["/a,threshold=4k", "b"]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn the_colons_of_an_address_do_not_split_it() {
        assert_eq!(parts("/v=redis://h:6379/0:/b"), ["/v=redis://h:6379/0", "/b"]);
        assert_eq!(parts("/v=s3://bucket/p,threshold=1k:/b"), ["/v=s3://bucket/p,threshold=1k", "/b"]);
        assert_eq!(parts("s3://bucket:/b"), ["s3://bucket", "/b"]);
    }

    #[test]
    fn options_follow_commas() {
        let e = entry(b"/a,threshold=4KiB, settle = drain", SITE).unwrap();
        assert_eq!(e.dir, b"/a");
        assert_eq!(e.options, [("threshold".into(), "4KiB".into()), ("settle".into(), "drain".into())]);
        assert!(matches!(entry(b"/a,posix", SITE), Err(ConfigError::BadValue { .. })));
    }

    #[test]
    fn homes_are_for_later_versions() {
        for text in
            ["/virt=redis://h:6379/0", "/virt=/home", "s3://bucket/prefix", "/virt=s3://b,threshold=1k"]
        {
            let error = entry(text.as_bytes(), SITE).unwrap_err();
            assert!(matches!(error, ConfigError::NotSupported { .. }), "{error}");
            assert!(error.to_string().contains("not supported by this version: only existing directories"));
        }
        assert_eq!(entry(br"/run\=3", SITE).unwrap().dir, b"/run=3");
    }

    #[test]
    fn forbidden_roots() {
        for path in ["/", "/proc", "/proc/self", "/sys", "/dev", "/dev/shm", "/dev/pts"] {
            assert!(forbidden(Path::new(path)).is_some(), "{path}");
        }
        for path in ["/dev/shm/mine", "/process", "/devel", "/system", "/tmp"] {
            assert!(forbidden(Path::new(path)).is_none(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_names_survive_the_variable(
            dirs in prop::collection::vec(prop::collection::vec(1u8..=255, 1..16), 1..5)
        ) {
            // Only a name with "://" in it cannot be written: it is always taken for an address.
            let dirs: Vec<_> =
                dirs.into_iter().filter(|d| !d.windows(3).any(|w| w == b"://")).collect();
            let mut value = Vec::new();
            for dir in &dirs {
                if !value.is_empty() {
                    value.push(b':');
                }
                push_escaped(&mut value, dir);
                value.extend_from_slice(b",threshold=1");
            }
            let entries = split(&value);
            prop_assert_eq!(entries.len(), dirs.len());
            for (text, dir) in entries.into_iter().zip(dirs) {
                let entry = entry(text, SITE).unwrap();
                prop_assert_eq!(entry.dir, dir);
                prop_assert_eq!(entry.options, vec![("threshold".to_string(), "1".to_string())]);
            }
        }

        #[test]
        fn no_value_panics(value in prop::collection::vec(any::<u8>(), 0..64)) {
            for text in split(&value) {
                let _ = entry(text, SITE);
            }
        }
    }
}
