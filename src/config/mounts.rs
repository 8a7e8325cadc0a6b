//! The text of `IRIS_MOUNT` and of `--mount`, and what may be a mount. Owns that grammar both ways and the list
//! of forbidden roots; looks at directories only to resolve their names.
//!
//! ```text
//! IRIS_MOUNT = entry { ":" entry }        entry = (DIR | PREFIX "=" HOME) { "," key "=" value }
//! ```
//! A backslash takes the meaning from `:`, `,`, `=` and itself. The colons of a home, such as `kv:/store` or
//! `redis://host:6379`, do not split it.

use super::error::{ConfigError, Place, Site};
use super::home::{self, Home, Scheme};
use crate::sys;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// One directory, or prefix with its home, with its options, as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub dir: Vec<u8>,
    pub home: Option<Vec<u8>>,
    pub options: Vec<(String, String)>,
}

/// Splits the value of `IRIS_MOUNT` into its entries, still escaped; empty ones are dropped.
pub(super) fn split(value: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    let (mut start, mut at) = (0, 0);
    // Where the home of PREFIX=HOME begins, if this entry is of that form so far: an `=` before any comma; and where the
    // last option does.
    let (mut home, mut comma, mut option) = (None, false, 0);
    while at < value.len() {
        match value[at] {
            b'\\' => at += 1,
            b',' => (comma, option) = (true, at + 1),
            b'=' if !comma && home.is_none() => home = Some(at + 1),
            // An address as well.
            b'=' if comma && value[option..at].trim_ascii() == b"store" => home = Some(at + 1),
            b':' if !value[at + 1..].starts_with(b"//")
                && home.is_none_or(|home| {
                    !is_scheme(&value[home..at]) && value.get(at + 1).is_none_or(|b| *b == b'/')
                }) =>
            {
                entries.push(&value[start..at]);
                start = at + 1;
                (home, comma) = (None, false);
            }
            _ => {}
        }
        at += 1;
    }
    entries.push(&value[start..]);
    entries.retain(|e| !e.is_empty());
    entries
}

/// Whether this is what stands before the first colon of a home.
fn is_scheme(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
}

/// Reads one entry.
pub(super) fn entry(text: &[u8], site: Site<'_>) -> Result<Entry, ConfigError> {
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
    let mut dir = fields.remove(0);
    let home = equals.remove(0).map(|eq| dir.split_off(eq)[1..].to_vec());
    if dir.windows(3).any(|w| w == b"://") {
        return Err(ConfigError::NoPrefix { place: site.place(), entry: home::hidden(text) });
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
    Ok(Entry { dir, home, options })
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

/// Appends a home to a value of `IRIS_MOUNT`. Its colons end it only where a directory begins, which none that
/// [`split`] has let through does.
pub(super) fn push_escaped_home(out: &mut Vec<u8>, home: &[u8]) {
    let scheme = home.iter().position(|b| *b == b':').unwrap_or(0);
    for (i, byte) in home.iter().enumerate() {
        if matches!(byte, b'\\' | b',' | b'=') || *byte == b':' && i != scheme {
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

/// A virtual mount that can be served.
pub(super) struct Virtual {
    pub root: Vec<u8>,
    /// `None` where the home is an address: its anchors lie where Tier 0 may use the disk, which is known at the end.
    pub shadow: Option<Vec<u8>>,
    pub home: Home,
}

/// What a prefix and its home mean. The embedded store's directory, and its folders, are made if need be. `from` is the
/// directory that relative names are meant from.
pub(super) fn resolve_virtual(
    prefix: &[u8],
    home: &[u8],
    from: Option<&Path>,
    site: Site<'_>,
) -> Result<Virtual, ConfigError> {
    let home = Home::parse(home, from).map_err(|why| ConfigError::BadValue {
        place: site.place(),
        key: format!("the home of {}", String::from_utf8_lossy(prefix)),
        value: home::hidden(home),
        why,
    })?;
    let root = prefix_name(prefix, from, site)?;
    let unusable = |path: &Path, source| ConfigError::Home {
        place: site.place(),
        home: home.to_string(),
        path: path.to_path_buf(),
        source,
    };
    let bytes = |p: PathBuf| p.into_os_string().into_vec();
    let Some(directory) = home.directory.clone() else {
        home.address().map_err(|why| ConfigError::Conflict { place: site.place(), why })?;
        return Ok(Virtual { root: bytes(root), shadow: None, home });
    };
    let mut shadow = directory;
    if home.scheme == Scheme::Kv {
        shadow = anchors_in(&shadow).map_err(|(path, e)| unusable(&path, e))?;
    }
    let shadow = fs::canonicalize(&shadow).map_err(|e| unusable(&shadow, e))?;
    if !fs::metadata(&shadow).is_ok_and(|m| m.is_dir()) {
        return Err(ConfigError::NotADirectory { place: site.place(), path: shadow });
    }
    if shadow != root && (shadow.starts_with(&root) || root.starts_with(&shadow)) {
        let why =
            format!("mount {}: prefix and home {} lie in one another", root.display(), shadow.display());
        return Err(ConfigError::Conflict { place: site.place(), why });
    }
    Ok(Virtual { root: bytes(root), shadow: Some(bytes(shadow)), home })
}

/// The folder of anchors in a home's directory, and the folder of their control files beside it, made if need be.
pub(super) fn anchors_in(directory: &Path) -> Result<PathBuf, (PathBuf, std::io::Error)> {
    for name in [CONTROLS, TREE] {
        let folder = directory.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| (folder, e))?;
    }
    Ok(directory.join(TREE))
}

/// The folder of anchors of a home that is an address, below `storage` (else /var/tmp), in a folder of this user's alone;
/// made if need be.
pub(super) fn anchors_of(home: &Home, storage: Option<&Path>, place: &Place) -> Result<Vec<u8>, ConfigError> {
    let unusable = |path: PathBuf, source| ConfigError::Home {
        place: place.clone(),
        home: home.to_string(),
        path,
        source,
    };
    let name = home.folder().map_err(|why| ConfigError::Conflict { place: place.clone(), why })?;
    let own = storage.unwrap_or(Path::new("/var/tmp")).join(format!("iris-{}", sys::uid()));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&own);
    let st = made.and_then(|()| fs::symlink_metadata(&own)).map_err(|e| unusable(own.clone(), e))?;
    if !st.is_dir() || st.uid() != sys::uid() || st.mode() & 0o022 != 0 {
        let why = format!(
            "{home}: folder {} is not private to this user (owner {}, mode {:o}); remove it, or choose another with \
             tier0.storage_path (IRIS_TIER0_STORAGE_PATH)",
            own.display(),
            st.uid(),
            st.mode() & 0o7777
        );
        return Err(ConfigError::Conflict { place: place.clone(), why });
    }
    let tree = anchors_in(&own.join("homes").join(name)).map_err(|(path, e)| unusable(path, e))?;
    let tree = fs::canonicalize(&tree).map_err(|e| unusable(tree, e))?;
    Ok(tree.into_os_string().into_vec())
}

/// The anchors of a home, below its directory.
const TREE: &str = "tree";
/// Their control files.
const CONTROLS: &str = "control";

/// A prefix as the kernel would name it: as much of the way to it as exists is canonical.
fn prefix_name(prefix: &[u8], from: Option<&Path>, site: Site<'_>) -> Result<PathBuf, ConfigError> {
    let written = Path::new(OsStr::from_bytes(prefix));
    let no_mount = |source| ConfigError::NoMount { place: site.place(), path: written.to_path_buf(), source };
    let absolute = match from {
        Some(folder) => Ok(folder.join(written)),
        None => std::path::absolute(written),
    }
    .map_err(no_mount)?;
    let mut root = PathBuf::from("/");
    let mut parts = absolute.components().filter(|c| *c != Component::RootDir).peekable();
    while let Some(part) = parts.next() {
        match part {
            Component::ParentDir => drop(root.pop()),
            Component::Normal(name) => {
                root.push(name);
                // The last part is the mount's own name, whatever the kernel has there.
                if parts.peek().is_some()
                    && let Ok(canonical) = fs::canonicalize(&root)
                {
                    root = canonical;
                }
            }
            _ => {}
        }
    }
    match forbidden(&root) {
        Some(why) => Err(ConfigError::Forbidden { place: site.place(), path: root, why }),
        None => Ok(root),
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
        assert_eq!(parts("/v=kv:/s:/b"), ["/v=kv:/s", "/b"]);
        assert_eq!(parts("/a,store=kv:/s:/b"), ["/a,store=kv:/s", "/b"]);
        assert_eq!(
            parts("/a,settle=drain,store=redis://h:6379/0,spill=always:/b"),
            ["/a,settle=drain,store=redis://h:6379/0,spill=always", "/b"]
        );
        assert_eq!(
            parts("/v=kv:s,threshold=1:/w=file:///d:/b"),
            ["/v=kv:s,threshold=1", "/w=file:///d", "/b"]
        );
    }

    #[test]
    fn options_follow_commas() {
        let e = entry(b"/a,threshold=4KiB, settle = drain", SITE).unwrap();
        assert_eq!(e.dir, b"/a");
        assert_eq!(e.options, [("threshold".into(), "4KiB".into()), ("settle".into(), "drain".into())]);
        assert!(matches!(entry(b"/a,posix", SITE), Err(ConfigError::BadValue { .. })));
    }

    #[test]
    fn a_home_follows_its_prefix() {
        for (text, home) in [
            ("/virt=redis://h:6379/0", "redis://h:6379/0"),
            ("/virt=kv:/store", "kv:/store"),
            ("/virt=s3://b?a=b,threshold=1k", "s3://b?a=b"),
            (r"/virt=redis://a\,b\=c", "redis://a,b=c"),
        ] {
            let entry = entry(text.as_bytes(), SITE).unwrap();
            assert_eq!((entry.dir.as_slice(), entry.home.as_deref()), (&b"/virt"[..], Some(home.as_bytes())));
        }
        let plain = entry(br"/run\=3", SITE).unwrap();
        assert_eq!((plain.dir.as_slice(), plain.home), (&b"/run=3"[..], None));
        let error = entry(b"s3://bucket/prefix", SITE).unwrap_err();
        assert!(error.to_string().contains("PREFIX=HOME"), "{error}");
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
