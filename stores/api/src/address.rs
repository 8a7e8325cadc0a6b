//! Addresses of stores: `scheme://[user[:secret]@]host[:port][,host[:port]…][/path][?option=value&…]`. Parsed once, checked against
//! the options that a store knows, printed without secrets.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fmt;

/// An option that a store understands.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does, with its unit, and its default.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// The address of a store. `Display` and `Debug` hide what is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Before "://", lower case.
    pub scheme: String,
    /// The user's name, decoded.
    pub user: Option<String>,
    /// The password, decoded. Better given by an environment variable or a file, which each store names.
    pub secret: Option<String>,
    /// Host (or bucket) and port, several separated by commas.
    pub hosts: Vec<(String, Option<u16>)>,
    /// Behind the host, with its leading slash, decoded; may be empty.
    pub path: String,
    /// Behind "?", decoded.
    pub options: BTreeMap<String, String>,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct AddressError {
    /// The address without its secret.
    pub address: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// Where it has no scheme, a port is no number, or an option has no value.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let wrong = |reason: &str| AddressError { address: hidden(text), reason: reason.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            wrong("an address begins with a scheme, as in redis://host:6379 or s3://bucket/prefix")
        })?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(wrong("the scheme before \"://\" may only hold letters, digits, '+', '-' and '.'"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(a, b)| (a, b));
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(a, b)| (Some(a), b));
        let (user, secret) = match login.map(|l| l.split_once(':').map_or((l, None), |(u, s)| (u, Some(s)))) {
            None => (None, None),
            Some((user, secret)) => (Some(decoded(user)).filter(|u| !u.is_empty()), secret.map(decoded)),
        };
        let hosts = hosts
            .split(',')
            .filter(|h| !h.is_empty())
            .map(|h| {
                host_and_port(h)
                    .ok_or_else(|| wrong("what follows the host's ':' is not a port (1 to 65535)"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| wrong("an option behind '?' has the form name=value"))?;
            options.insert(decoded(name), decoded(value));
        }
        Ok(Address { scheme: scheme.to_ascii_lowercase(), user, secret, hosts, path: decoded(path), options })
    }

    /// Checks that every option is one of `known`.
    ///
    /// # Errors
    /// Names the option, the nearest known one, and all.
    pub fn check_options(&self, known: &[OptionSpec]) -> Result<(), AddressError> {
        for name in self.options.keys() {
            if known.iter().any(|k| k.name == name) {
                continue;
            }
            let near = known.iter().min_by_key(|k| distance(k.name, name)).map_or("", |k| k.name);
            let all: Vec<&str> = known.iter().map(|k| k.name).collect();
            return Err(AddressError {
                address: self.to_string(),
                reason: format!(
                    "unknown option \"{name}\"; did you mean \"{near}\"? Known: {}",
                    all.join(", ")
                ),
            });
        }
        Ok(())
    }

    /// An option's value.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if self.user.is_some() || self.secret.is_some() {
            let stars = if self.secret.is_some() { ":***" } else { "" };
            write!(f, "{}{stars}@", self.user.as_deref().unwrap_or(""))?;
        }
        for (i, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{host}{close}")?;
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        }
        f.write_str(&self.path)?;
        for (i, (name, value)) in self.options.iter().enumerate() {
            let mark = if i == 0 { '?' } else { '&' };
            let value = if is_secret(name) { "***" } else { value };
            write!(f, "{mark}{name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p))),
    };
    match port {
        None => Some((decoded(host), None)),
        Some(port) => port.parse().ok().filter(|p| *p > 0).map(|p| (decoded(host), Some(p))),
    }
}

fn is_secret(name: &str) -> bool {
    ["secret", "password", "token"].iter().any(|s| name.contains(s))
}

/// The text with whatever may be a password replaced: for messages about addresses that do not parse.
fn hidden(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => {
            let user = rest[..at].split(':').next().unwrap_or("");
            format!("{scheme}://{user}:***@{}", rest[at + 1..].split('?').next().unwrap_or(""))
        }
        None => format!("{scheme}://{}", rest.split('?').next().unwrap_or("")),
    }
}

/// Edits between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_decoded() {
        let a = Address::parse("rediss://me:p%40ss@h1:7000,[::1]:7001/3?cluster=yes&name=a%26b").unwrap();
        assert_eq!(a.scheme, "rediss");
        assert_eq!((a.user.as_deref(), a.secret.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(a.hosts, [("h1".into(), Some(7000)), ("::1".into(), Some(7001))]);
        assert_eq!(
            (a.path.as_str(), a.option("cluster"), a.option("name")),
            ("/3", Some("yes"), Some("a&b"))
        );
        let unix = Address::parse("redis+unix:///run/r.sock").unwrap();
        assert_eq!((unix.hosts.len(), unix.path.as_str()), (0, "/run/r.sock"));
        let s3 = Address::parse("s3://bucket/pre/fix/").unwrap();
        assert_eq!((s3.hosts[0].0.as_str(), s3.path.as_str()), ("bucket", "/pre/fix/"));
    }

    #[test]
    fn secrets_are_never_shown() {
        let shown = Address::parse("redis://:pw@h/0?secret_key=abc").unwrap().to_string();
        assert!(!shown.contains("pw") && !shown.contains("abc"), "{shown}");
        let wrong = Address::parse("redis://u:pw@h:x/0").unwrap_err().to_string();
        assert!(!wrong.contains("pw") && wrong.contains("port"), "{wrong}");
    }

    #[test]
    fn an_unknown_option_gets_the_nearest_known_one() {
        let known = [
            OptionSpec { name: "timeout", help: "", secret: false },
            OptionSpec { name: "retries", help: "", secret: false },
        ];
        let a = Address::parse("redis://h?timout=3").unwrap();
        assert!(a.check_options(&known).unwrap_err().to_string().contains("\"timeout\""));
        assert!(Address::parse("redis://h?timeout=3").unwrap().check_options(&known).is_ok());
    }
}
