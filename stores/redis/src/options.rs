//! What an address and its options say. Owns the list of options and their defaults, and where passwords come from;
//! opens nothing but the password's file.

use crate::node::Node;
use iris_store::{Address, Kind, OptionSpec, Result, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The variable that holds the password where neither address nor option gives one.
pub const PASSWORD_VARIABLE: &str = "IRIS_REDIS_PASSWORD";

/// Redis stores no longer value (`proto-max-bulk-len`).
const REDIS_LARGEST: u64 = 512 << 20;
/// memcached's default item of 1 MiB (`-I`), less what the longest key and its own header take.
const MEMCACHED_LARGEST: u64 = (1 << 20) - 512;

const fn option(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, help, secret: false }
}

/// Every option.
pub const OPTIONS: &[OptionSpec] = &[
    option("db", "database number, as the path of redis://host/NUMBER (default 0)"),
    option("cluster", "yes: the hosts are nodes of a cluster (default: yes with several hosts)"),
    OptionSpec { name: "password", help: "password; better by password_file", secret: true },
    option("password_file", "file whose first line is the password (default: IRIS_REDIS_PASSWORD)"),
    option(
        "ca",
        "PEM file of the authorities that may sign the server's certificate (default: the system's)",
    ),
    option("cert", "PEM file of the client's certificate, needs key"),
    option("key", "PEM file of the client's private key, needs cert"),
    option("insecure", "yes: TLS without looking at the server's certificate (default no)"),
    option("connections", "connections of a process to each server, 1 to 1024 (default 8)"),
    option("connect_timeout_ms", "milliseconds for connecting and logging in (default 2000)"),
    option("timeout_ms", "milliseconds without any progress until a connection is given up (default 5000)"),
    option("deadline_ms", "milliseconds of trying again until a request fails (default 20000)"),
    option("max_object", "length in bytes of the largest object (default 536870912; memcached 1048064)"),
    option("resp", "3: RESP3 where the server has it (default); 2: RESP2"),
    option(
        "durable",
        "yes: the server syncs every write (appendfsync always); the check verifies it (default no)",
    ),
];

/// Who we say we are.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: Option<PathBuf>,
    pub client: Option<(PathBuf, PathBuf)>,
    pub insecure: bool,
}

/// Which language is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis.
    Resp,
    /// memcached's meta commands.
    Meta,
}

/// Everything that an address says.
pub struct Config {
    pub place: String,
    pub dialect: Dialect,
    pub seeds: Vec<Arc<Node>>,
    pub cluster: bool,
    pub db: u32,
    pub login: Login,
    pub tls: Option<TlsFiles>,
    pub connections: usize,
    pub connect: Duration,
    pub answer: Duration,
    pub deadline: Duration,
    pub max_object: u64,
    pub resp3: bool,
    pub durable: bool,
}

impl Config {
    /// Understands an address.
    pub fn of(address: &Address) -> Result<Config> {
        let place = address.to_string();
        let wrong = |what: String| StoreError::new(Kind::Invalid, &place, None, what);
        address.check_options(OPTIONS).map_err(|e| wrong(e.reason))?;
        let scheme = address.scheme.as_str();
        let dialect = if scheme.starts_with("memcached") { Dialect::Meta } else { Dialect::Resp };
        let yes = |name: &str| match address.option(name) {
            None => Ok(None),
            Some("yes") => Ok(Some(true)),
            Some("no") => Ok(Some(false)),
            Some(other) => Err(wrong(format!("{name}={other}: must be yes or no"))),
        };
        let number = |name: &str, default: u64, from: u64, to: u64| match address.option(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (from..=to).contains(n))
                .ok_or_else(|| wrong(format!("{name}={text}: must be a number from {from} to {to}"))),
        };

        let unix = scheme.ends_with("+unix");
        let encrypted = scheme == "rediss";
        let seeds = if unix {
            if !address.hosts.is_empty() || address.path.len() < 2 {
                return Err(wrong(format!(
                    "{scheme} takes the path of a socket, as in {scheme}:///run/server.sock"
                )));
            }
            if address.path.len() > 107 {
                return Err(wrong("the path of a unix socket may have 107 bytes at most".into()));
            }
            vec![Arc::new(Node::Unix(address.path.clone().into()))]
        } else {
            let port = if dialect == Dialect::Meta { 11211 } else { 6379 };
            address
                .hosts
                .iter()
                .map(|(host, p)| Arc::new(Node::Tcp(host.clone(), p.unwrap_or(port))))
                .collect()
        };
        if seeds.is_empty() {
            return Err(wrong(format!("the address names no host, as in {scheme}://localhost")));
        }

        let mut db = number("db", 0, 0, 1 << 30)?;
        if !unix {
            match address.path.trim_matches('/') {
                "" => (),
                _ if dialect == Dialect::Meta => {
                    return Err(wrong("memcached has no databases: drop the path".into()));
                }
                _ if address.option("db").is_some() => {
                    return Err(wrong("the database's number stands both in the path and in db=".into()));
                }
                text => {
                    db =
                        text.parse().map_err(|_| wrong(format!("\"/{text}\" is not a database's number")))?;
                }
            }
        }
        let cluster = yes("cluster")?.unwrap_or(seeds.len() > 1);
        match dialect {
            Dialect::Resp if !cluster && seeds.len() > 1 => {
                return Err(wrong(
                    "several hosts are nodes of a cluster: name one, or drop cluster=no".into(),
                ));
            }
            Dialect::Resp if cluster && db != 0 => {
                return Err(wrong("a cluster has only database 0".into()));
            }
            Dialect::Meta if seeds.len() > 1 || cluster => {
                return Err(wrong("memcached: one server to an address".into()));
            }
            _ => (),
        }

        let path = |name: &str| address.option(name).map(PathBuf::from);
        let client = match (path("cert"), path("key")) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => return Err(wrong("cert= and key= belong together".into())),
        };
        let files = TlsFiles { ca: path("ca"), client, insecure: yes("insecure")?.unwrap_or(false) };
        if !encrypted && files != TlsFiles::default() {
            return Err(wrong("ca=, cert=, key= and insecure= need TLS: rediss://".into()));
        }
        let resp3 = number("resp", 3, 2, 3)? == 3;
        let largest = if dialect == Dialect::Meta { MEMCACHED_LARGEST } else { REDIS_LARGEST };
        let millis = |name: &str, default| number(name, default, 1, 86_400_000).map(Duration::from_millis);
        let (connect, answer) = (millis("connect_timeout_ms", 2000)?, millis("timeout_ms", 5000)?);
        let login = if dialect == Dialect::Meta { Login::default() } else { login(address, &wrong)? };
        Ok(Config {
            dialect,
            seeds,
            cluster,
            db: u32::try_from(db).map_err(|_| wrong(format!("there is no database {db}")))?,
            login,
            tls: encrypted.then_some(files),
            connections: number("connections", 8, 1, 1024)? as usize,
            connect,
            answer,
            deadline: millis("deadline_ms", 20_000)?.max(connect).max(answer),
            max_object: number("max_object", largest, 1, 1 << 40)?,
            resp3,
            durable: yes("durable")?.unwrap_or(false),
            place,
        })
    }
}

/// Name and password: of the address, of an option, of a file, of the environment.
fn login(address: &Address, wrong: &dyn Fn(String) -> StoreError) -> Result<Login> {
    // redis://secret@host is a user without a password by the rules of addresses; people mean a password.
    let user = address.user.clone();
    let password = match (&address.secret, address.option("password"), address.option("password_file")) {
        (Some(secret), None, None) => Some(secret.clone()),
        (None, Some(secret), None) => Some(secret.to_owned()),
        (None, None, Some(file)) => {
            let text =
                std::fs::read_to_string(file).map_err(|e| wrong(format!("password_file {file}: {e}")))?;
            Some(text.lines().next().unwrap_or("").to_owned())
        }
        (None, None, None) => std::env::var(PASSWORD_VARIABLE).ok(),
        _ => return Err(wrong("the password is given more than once".into())),
    };
    let password = password.filter(|p| !p.is_empty());
    if user.is_some() && password.is_none() {
        return Err(wrong(format!(
            "a user without a password; a password alone is written redis://:PASSWORD@host, or {PASSWORD_VARIABLE}"
        )));
    }
    Ok(Login { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config> {
        Config::of(&Address::parse(text).unwrap())
    }

    #[track_caller]
    fn refused(text: &str, because: &str) {
        let error = config(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!(error.kind, Kind::Invalid, "{text}");
        assert!(error.to_string().contains(because), "{text}: {error}");
    }

    #[test]
    fn addresses_say_where_and_how() {
        let plain = config("redis://me:pw@h:7000/3?timeout_ms=100").unwrap();
        assert_eq!((plain.db, plain.cluster, plain.tls.is_some()), (3, false, false));
        assert_eq!(plain.seeds[0].to_string(), "h:7000");
        assert_eq!(plain.login.password.as_deref(), Some("pw"));
        assert!(!plain.place.contains("pw"), "{}", plain.place);
        let cluster = config("rediss://a,b:7001?insecure=yes").unwrap();
        assert!(cluster.cluster && cluster.tls.is_some_and(|t| t.insecure));
        assert_eq!(cluster.seeds[1].to_string(), "b:7001");
        let unix = config("redis+unix:///run/r.sock?db=2").unwrap();
        assert_eq!((unix.db, unix.seeds[0].to_string().as_str()), (2, "/run/r.sock"));
        let cache = config("memcached://h").unwrap();
        assert_eq!((cache.dialect, cache.seeds[0].to_string().as_str()), (Dialect::Meta, "h:11211"));
    }

    #[test]
    fn wrong_addresses_are_refused_with_a_reason() {
        refused("redis://h/x", "not a database's number");
        refused("redis://h/1?db=1", "both in the path");
        refused("redis://h?clustre=yes", "did you mean \"cluster\"");
        refused("redis://h?cluster=maybe", "must be yes or no");
        refused("redis://h/1?cluster=yes", "only database 0");
        refused("redis://a,b?cluster=no", "several hosts");
        refused("redis://", "names no host");
        refused("redis+unix://", "path of a socket");
        refused("redis://h?ca=/x", "need TLS");
        refused("rediss://h?cert=/x", "belong together");
        refused("redis://h?connections=0", "from 1 to 1024");
        refused("redis://pw@h", "a user without a password");
        refused("redis://:a@h?password=b", "more than once");
        refused("redis://h?password_file=/nowhere/at/all", "password_file");
        refused("memcached://a,b", "one server");
        refused("memcached://a/3", "no databases");
    }
}
