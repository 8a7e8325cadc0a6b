//! What a server's complaints mean, and what to do about them. Owns that table; asks no server.

use iris_store::Kind;

/// What follows from a complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays so.
    Final(Trouble),
    /// It may pass, and nothing was done: again after a pause. `elsewhere`: perhaps at another node.
    Again { trouble: Trouble, elsewhere: bool },
    /// The slot lives at another node, given as "host:port".
    Moved(u16, String),
    /// This once at another node.
    Ask(String),
    /// The script must be sent first.
    NoScript,
}

/// A failure before it has an object and a count of attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: Kind,
    pub detail: String,
}

impl Trouble {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Trouble {
        Trouble { kind, detail: detail.into() }
    }
}

/// Understands a complaint of Redis.
pub fn judge(text: &str, cluster: bool) -> Verdict {
    let mut words = text.split_ascii_whitespace();
    let code = words.next().unwrap_or("");
    let said = |kind, advice: &str| Trouble::new(kind, format!("the server says \"{text}\": {advice}"));
    let last = |kind, advice: &str| Verdict::Final(said(kind, advice));
    let again = |advice: &str| Verdict::Again { trouble: said(Kind::Unavailable, advice), elsewhere: false };
    let elsewhere =
        |advice: &str| Verdict::Again { trouble: said(Kind::Unavailable, advice), elsewhere: true };
    match code {
        "MOVED" | "ASK" if !cluster => {
            last(Kind::Invalid, "it is a node of a cluster; add ?cluster=yes to the address")
        }
        "MOVED" | "ASK" => {
            let slot = words.next().and_then(|w| w.parse().ok()).filter(|s| *s < 16384);
            match (slot, words.next()) {
                (Some(slot), Some(to)) if code == "MOVED" => Verdict::Moved(slot, to.to_owned()),
                (Some(_), Some(to)) => Verdict::Ask(to.to_owned()),
                _ => last(Kind::Corrupt, "that names no slot and node"),
            }
        }
        "NOSCRIPT" => Verdict::NoScript,
        "LOADING" => again("it still reads its data from disk; try later"),
        "BUSY" => again("a script keeps it busy; end it by SCRIPT KILL, or wait"),
        "TRYAGAIN" => again("the keys are moving to another node"),
        "CLUSTERDOWN" => elsewhere(
            "the cluster has lost a part; bring the missing master back, or let a replica take over",
        ),
        "MASTERDOWN" => elsewhere("the replica has lost its master; address the master, or bring it back"),
        "READONLY" if cluster => elsewhere("it is no longer the master of this slot"),
        "READONLY" => last(Kind::Denied, "it is a read-only replica; address its master"),
        "NOREPLICAS" => again("too few replicas are connected (min-replicas-to-write)"),
        "OOM" => last(Kind::Full, "its memory is full; raise maxmemory, or remove what is not needed"),
        "MISCONF" => last(
            Kind::Unavailable,
            "it cannot save to disk and so takes no writes; see its log, its disk may be full",
        ),
        "NOAUTH" => last(
            Kind::Denied,
            "it wants a password; give one by password_file= or IRIS_REDIS_PASSWORD (and a user in the address, if it has users)",
        ),
        "WRONGPASS" => last(Kind::Denied, "user or password is wrong"),
        "NOPERM" => last(
            Kind::Denied,
            "this user may not do that; see docs/stores.md for the commands and keys it needs",
        ),
        "DENIED" => last(Kind::Denied, "set a password there, or let it listen for this host only"),
        "WRONGTYPE" => {
            last(Kind::Invalid, "the key holds no string: somebody else's; take another database or prefix")
        }
        "CROSSSLOT" => {
            last(Kind::Invalid, "keys of one script must lie together: give them the same {hash tag}")
        }
        "NOPROTO" => last(Kind::Unsupported, "add ?resp=2 to the address"),
        _ if text.contains("-OOM ") => {
            last(Kind::Full, "its memory is full; raise maxmemory, or remove what is not needed")
        }
        _ if text.contains("max number of clients") => {
            again("raise maxclients, or lower connections= of this address")
        }
        _ if text.contains("maximum allowed size") || text.contains("invalid bulk length") => {
            last(Kind::TooLarge, "raise proto-max-bulk-len, or set max_object= to what the server takes")
        }
        _ if text.contains("without any password configured") || text.contains("no password is set") => {
            last(Kind::Denied, "it has no password; take the password out of the address")
        }
        _ if text.contains("invalid password") => last(Kind::Denied, "the password is wrong"),
        _ if text.contains("DB index") || text.contains("SELECT is not allowed") => {
            last(Kind::Invalid, "there is no such database; see its setting \"databases\"")
        }
        _ if text.contains("unknown command") => {
            last(Kind::Unsupported, "Iris needs Redis 6 or newer, or Valkey, with this command not renamed")
        }
        _ => last(Kind::Invalid, "the request cannot be carried out"),
    }
}

/// Understands a complaint of memcached.
pub fn judge_cache(text: &str) -> Verdict {
    let said = |kind, advice: &str| {
        Verdict::Final(Trouble::new(kind, format!("the server says \"{text}\": {advice}")))
    };
    if text.contains("too large") {
        said(Kind::TooLarge, "start it with a larger -I, or set max_object= to what it takes")
    } else if text.contains("out of memory") {
        said(Kind::Full, "start it with more memory (-m), or without -M")
    } else if text.contains("unauthenticated") {
        said(Kind::Denied, "memcached with a password (SASL) is not supported")
    } else if text.starts_with("ERROR") {
        said(Kind::Unsupported, "Iris needs memcached 1.6 or newer (meta commands)")
    } else {
        said(Kind::Invalid, "the request cannot be carried out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        match judge(text, false) {
            Verdict::Final(trouble) | Verdict::Again { trouble, .. } => trouble.kind,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn complaints_have_their_kind_and_advice() {
        assert_eq!(kind("OOM command not allowed when used memory > 'maxmemory'."), Kind::Full);
        assert_eq!(kind("ERR Error running script: @user_script:1: -OOM command not allowed"), Kind::Full);
        assert_eq!(kind("NOAUTH Authentication required."), Kind::Denied);
        assert_eq!(kind("READONLY You can't write against a read only replica."), Kind::Denied);
        assert_eq!(kind("LOADING Redis is loading the dataset in memory"), Kind::Unavailable);
        assert_eq!(kind("ERR string exceeds maximum allowed size (proto-max-bulk-len)"), Kind::TooLarge);
        assert_eq!(kind("ERR DB index is out of range"), Kind::Invalid);
        assert_eq!(kind("BUSYKEY Target key name already exists."), Kind::Invalid);
        assert_eq!(kind("MOVED 1 h:1"), Kind::Invalid);
        assert_eq!(judge("MOVED 3999 127.0.0.1:6381", true), Verdict::Moved(3999, "127.0.0.1:6381".into()));
        assert_eq!(judge("ASK 3999 :6381", true), Verdict::Ask(":6381".into()));
        assert!(matches!(judge("MOVED 99999 h:1", true), Verdict::Final(t) if t.kind == Kind::Corrupt));
        assert!(matches!(judge("READONLY You", true), Verdict::Again { elsewhere: true, .. }));
    }
}
