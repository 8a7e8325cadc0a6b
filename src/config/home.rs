//! Where the bytes of a virtual mount live: the text behind the `=` of `/virt=HOME`. Owns its parsing, and its
//! showing without secrets; opens nothing.

use iris_store::Address;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kinds of home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `kv:DIR`, the embedded store in a directory.
    Kv,
    /// `file:///DIR`, a directory by another name.
    File,
    /// `redis://…`, `rediss://…` (TLS), `redis+unix://…` (a socket).
    Redis,
    /// `s3://bucket/prefix`.
    S3,
}

/// A home as it was written. Shown, its secrets are hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct Home {
    /// Its kind.
    pub scheme: Scheme,
    /// All of it, as given; the directory of `kv` and `file` is absolute.
    pub text: Vec<u8>,
    /// The directory of `kv` and `file`.
    pub directory: Option<PathBuf>,
}

/// The schemes that are an address, as their texts begin.
const ADDRESSES: [(&str, Scheme); 4] = [
    ("redis://", Scheme::Redis),
    ("rediss://", Scheme::Redis),
    ("redis+unix://", Scheme::Redis),
    ("s3://", Scheme::S3),
];

/// What a home may look like.
pub const FORMS: &str = "kv:DIR, file:///DIR, redis://…, rediss://…, redis+unix://… or s3://bucket/prefix";

impl Home {
    /// Reads a home; `from` is the directory that a relative one is meant from (`None`: the working directory).
    ///
    /// # Errors
    /// What is wrong, in words that hold no secret.
    pub fn parse(text: &[u8], from: Option<&Path>) -> Result<Home, String> {
        if text.contains(&0) {
            return Err("a home cannot hold a zero byte".into());
        }
        for (start, scheme) in ADDRESSES {
            if let Some(rest) = text.strip_prefix(start.as_bytes()) {
                if rest.is_empty() {
                    return Err(format!("{start} names no place; a home is {FORMS}"));
                }
                return Ok(Home { scheme, text: text.to_vec(), directory: None });
            }
        }
        let (scheme, name, start) = match (text.strip_prefix(b"kv:"), text.strip_prefix(b"file://")) {
            (Some(dir), _) => (Scheme::Kv, dir, "kv:"),
            (_, Some(dir)) if dir.starts_with(b"/") => (Scheme::File, dir, "file://"),
            (_, Some(_)) => return Err("file:// is followed by an absolute directory: file:///dir".into()),
            _ => return Err(format!("a home is {FORMS}")),
        };
        if name.is_empty() {
            return Err("kv: is followed by the store's directory: kv:/scratch/store".into());
        }
        let path = Path::new(OsStr::from_bytes(name));
        let directory = match from {
            Some(folder) => folder.join(path),
            None => std::path::absolute(path).map_err(|e| format!("the current directory is gone ({e})"))?,
        };
        let text = [start.as_bytes(), directory.as_os_str().as_bytes()].concat();
        Ok(Home { scheme, text, directory: Some(directory) })
    }
}

impl Home {
    /// The address of its store, and what its names are called there. `None` where the home is a directory.
    ///
    /// # Errors
    /// What is wrong with the address, in words that hold no secret.
    pub fn address(&self) -> Result<Option<(Address, String)>, String> {
        if self.directory.is_some() {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.text).map_err(|_| format!("{self}: an address is UTF-8"))?;
        let mut address = Address::parse(text).map_err(|e| e.to_string())?;
        let named = address.options.remove(NAME);
        if self.scheme == Scheme::S3 && named.is_some() {
            return Err(format!(
                "{self}: homes in one bucket are told apart by their prefixes, not by a name"
            ));
        }
        let name = named.unwrap_or_else(|| "home".into());
        if name.is_empty() || name.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"._-".contains(&b))) {
            return Err(format!("{self}: a home's name consists of letters, digits, '.', '_' and '-'"));
        }
        Ok(Some((address, name)))
    }

    /// A name for the folder of its anchors: one for each address, and none of its secrets.
    pub fn folder(&self) -> Result<String, String> {
        let (address, name) = self.address()?.ok_or_else(|| format!("{self}: not an address"))?;
        let text = format!("{address}?{NAME}={name}");
        let place = address.to_string();
        let readable = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        let short: String = place.chars().map(readable).take(64).collect();
        Ok(format!("{short}-{:016x}", iris_mappers::containers::hash(text.as_bytes())))
    }
}

/// The option of an address that tells the homes in one store apart.
const NAME: &str = "name";

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.text);
        if self.directory.is_some() {
            return f.write_str(&text);
        }
        let (start, rest) = text.split_once("://").unwrap_or(("", &text));
        let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
        write!(f, "{start}://")?;
        // A password may hold anything but what ends it: the last `@` before the path.
        let path = place.rfind('@').map_or(0, |at| at + 1);
        match (path, place[..path].split_once(':')) {
            (0, _) => f.write_str(place)?,
            (_, Some((user, _))) => write!(f, "{user}:***@{}", &place[path..])?,
            (_, None) => f.write_str(place)?,
        }
        for (i, option) in query.unwrap_or("").split('&').filter(|o| !o.is_empty()).enumerate() {
            let mark = if i == 0 { '?' } else { '&' };
            match option.split_once('=') {
                Some((name, _)) if is_secret(name) => write!(f, "{mark}{name}=***")?,
                _ => write!(f, "{mark}{option}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({self})")
    }
}

/// Whether an option's value is not to be shown.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "auth", "cred"].iter().any(|part| name.contains(part))
}

/// A text of the configuration that may hold an address, for an error message.
pub(super) fn hidden(text: &[u8]) -> String {
    let at = text.iter().position(|b| *b == b'=').map_or(0, |at| at + 1);
    match Home::parse(&text[at..], Some(Path::new("/"))) {
        Ok(home) if home.directory.is_none() => format!("{}{home}", String::from_utf8_lossy(&text[..at])),
        _ if text[at..].contains(&b'@') => format!("{}***", String::from_utf8_lossy(&text[..at])),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Home::parse(text.as_bytes(), None).unwrap().to_string()
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in [
            "redis://h:6379/0",
            "redis://me@h",
            "s3://bucket/prefix?region=eu-central-1",
            "redis+unix:///run/redis.sock?db=2",
            "kv:/store/a@b:c",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("rediss://me:se:cr@et@h:1/2"), "rediss://me:***@h:1/2");
        assert_eq!(shown("redis://:secret@h"), "redis://:***@h");
        assert_eq!(shown("s3://b/p?secret_key=x&region=y"), "s3://b/p?secret_key=***&region=y");
        let home = Home::parse(b"redis://:secret@h", None).unwrap();
        assert!(!format!("{home:?}").contains("secret"));
        assert!(!hidden(b"/virt=redis://:secret@h,x").contains("secret"));
        assert!(!hidden(b"/virt=rdis://:secret@h").contains("secret"));
    }

    #[test]
    fn homes_in_one_store_have_folders_of_their_own() {
        let home = |text: &str| Home::parse(text.as_bytes(), None).unwrap();
        let (address, name) =
            home("redis://me:secret@h:1/2?name=runs&timeout_ms=5").address().unwrap().unwrap();
        assert_eq!(
            (address.to_string().as_str(), name.as_str()),
            ("redis://me:***@h:1/2?timeout_ms=5", "runs")
        );
        let folder = home("redis://me:secret@h:1/2?name=runs").folder().unwrap();
        assert!(folder.starts_with("redis___me_____h_1_2-") && !folder.contains("secret"), "{folder}");
        assert_ne!(folder, home("redis://me:secret@h:1/2").folder().unwrap());
        assert_eq!(folder, home("redis://me:other@h:1/2?name=runs").folder().unwrap());
        assert!(home("redis://h/0?name=a/b").address().unwrap_err().contains("letters"));
        assert!(home("redis://h:port").address().unwrap_err().contains("port"));
        assert_eq!(home("kv:/d").address(), Ok(None));
    }

    #[test]
    fn directories_become_absolute() {
        let home = Home::parse(b"kv:store", Some(Path::new("/etc/iris"))).unwrap();
        assert_eq!((home.scheme, home.text.as_slice()), (Scheme::Kv, &b"kv:/etc/iris/store"[..]));
        assert_eq!(Home::parse(b"file:///d", None).unwrap().directory, Some("/d".into()));
    }

    #[test]
    fn what_is_no_home_is_refused() {
        for text in ["", "/dir", "kv:", "file://dir", "redis://", "http://x", "mongo://h", "kv:/a\0b"] {
            assert!(Home::parse(text.as_bytes(), None).is_err(), "{text}");
        }
    }
}
