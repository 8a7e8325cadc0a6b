//! One connection from its first byte until it is let in. Owns the order of connecting, TLS and logging in; what is
//! asked afterwards is the pipeline's.

use crate::failure::{Trouble, Verdict, judge};
use crate::node::{Node, Target};
use crate::options::{Config, Dialect};
use crate::resp::{command, number};
use crate::socket::Socket;
use crate::tls::{Broken, Stream};
use crate::wire::{Answer, Input, Out};
use iris_store::{Host, Kind};
use rustix::io::Errno;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Instant;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The system connects.
    Connecting,
    /// HELLO was sent.
    Hello,
    /// AUTH was sent.
    Auth,
    /// SELECT was sent.
    Select,
    /// It may be used.
    Ready,
}

/// What connections of a store have in common.
pub struct Common {
    pub config: Config,
    pub tls: Option<Arc<ClientConfig>>,
    pub host: Host,
}

/// A connection to a server.
pub struct Connection {
    pub node: Arc<Node>,
    pub stream: Stream,
    pub phase: Phase,
    pub input: Input,
    /// Hashes of the scripts that the server is known to have.
    pub scripts: Vec<[u8; 40]>,
    /// When it was last used.
    pub used: Instant,
    /// Addresses not tried yet.
    rest: std::vec::IntoIter<Target>,
}

impl Connection {
    /// Begins to connect to a server.
    pub fn start(node: &Arc<Node>, common: &Common) -> Result<Connection, Trouble> {
        let unavailable = |e| Trouble::new(Kind::Unavailable, format!("{node}: {e}"));
        let targets = node.targets(common.config.connect, common.host).map_err(unavailable)?;
        let mut rest = targets.into_iter();
        let socket = next(&mut rest, None).map_err(|e| refused(node, e))?;
        Ok(Connection {
            node: node.clone(),
            stream: Stream::plain(socket),
            phase: Phase::Connecting,
            input: Input::default(),
            scripts: Vec::new(),
            used: Instant::now(),
            rest,
        })
    }

    /// The socket has become writable: connected, or on to the next address. Begins to log in when it is.
    pub fn connected(&mut self, common: &Common, out: &mut Out<'_>) -> Result<(), Trouble> {
        if let Err(e) = self.stream.socket().connected() {
            let next = next(&mut self.rest, Some(e)).map_err(|e| refused(&self.node, e))?;
            self.stream = Stream::plain(next);
            return Ok(());
        }
        let config = &common.config;
        match &common.tls {
            Some(tls) => {
                let Node::Tcp(host, _) = &*self.node else {
                    return Err(Trouble::new(Kind::Invalid, "TLS needs a host and a port"));
                };
                let made = self.stream.encrypt(tls.clone(), host);
                made.map_err(|e| Trouble::new(Kind::Invalid, format!("{}: {e}", self.node)))?;
            }
            None => self.stream.socket().may_block(config.answer).map_err(|e| refused(&self.node, e))?,
        }
        match config.dialect {
            Dialect::Meta => self.phase = Phase::Ready,
            Dialect::Resp if config.resp3 => {
                let words = if config.login.password.is_some() { 7 } else { 4 };
                command(out, words);
                out_words(out, &["HELLO", "3"]);
                if let Some(password) = &config.login.password {
                    out_words(out, &["AUTH", config.login.user.as_deref().unwrap_or("default"), password]);
                }
                out_words(out, &["SETNAME", "iris"]);
                self.phase = Phase::Hello;
            }
            Dialect::Resp => self.log_in(config, out),
        }
        Ok(())
    }

    /// The server's answer to the last step.
    pub fn greeted(&mut self, answer: &Answer, common: &Common, out: &mut Out<'_>) -> Result<(), Verdict> {
        let config = &common.config;
        if let Answer::Error(text) = answer {
            let old =
                text.starts_with("NOPROTO") || text.contains("unknown command") || text.contains("HELLO");
            // A server without RESP3 is asked in RESP2; one that wants a password says so with HELLO in the text, too.
            if self.phase == Phase::Hello && old && !text.starts_with("NOAUTH") {
                self.log_in(config, out);
                return Ok(());
            }
            return Err(judge(text, config.cluster));
        }
        match self.phase {
            Phase::Hello | Phase::Auth => self.select(config, out),
            _ => self.phase = Phase::Ready,
        }
        Ok(())
    }

    fn log_in(&mut self, config: &Config, out: &mut Out<'_>) {
        let Some(password) = &config.login.password else { return self.select(config, out) };
        match &config.login.user {
            Some(user) => {
                command(out, 3);
                out_words(out, &["AUTH", user, password]);
            }
            None => {
                command(out, 2);
                out_words(out, &["AUTH", password]);
            }
        }
        self.phase = Phase::Auth;
    }

    fn select(&mut self, config: &Config, out: &mut Out<'_>) {
        if config.db == 0 {
            self.phase = Phase::Ready;
            return;
        }
        command(out, 2);
        out_words(out, &["SELECT"]);
        number(out, config.db.into());
        self.phase = Phase::Select;
    }

    /// What a break of the stream means while a request is answered or the connection made.
    pub fn trouble(&self, broken: Broken) -> Trouble {
        let node = &self.node;
        let early = self.phase != Phase::Ready;
        match broken {
            Broken::Tls(text) => Trouble::new(Kind::Invalid, format!("{node}: {text}")),
            Broken::System(e) if early && !matches!(e, Errno::CONNRESET | Errno::PIPE) => refused(node, e),
            Broken::System(e) if !early => {
                Trouble::new(Kind::Unavailable, format!("{node}: the connection broke ({})", text(e)))
            }
            Broken::Ended | Broken::System(_) if early && self.stream.is_plain() => Trouble::new(
                Kind::Unavailable,
                format!(
                    "{node}: the server closed the connection before it let us in; if it speaks TLS, use rediss://"
                ),
            ),
            _ => Trouble::new(Kind::Unavailable, format!("{node}: the server closed the connection")),
        }
    }
}

/// Words that are not kept, each copied.
fn out_words(out: &mut Out<'_>, words: &[&str]) {
    for w in words {
        out.copy(b"$");
        out.number(w.len() as u64);
        out.copy(b"\r\n");
        out.copy(w.as_bytes());
        out.copy(b"\r\n");
    }
}

/// The first of the remaining addresses that does not fail at once.
fn next(rest: &mut std::vec::IntoIter<Target>, before: Option<Errno>) -> Result<Socket, Errno> {
    let mut error = before.unwrap_or(Errno::ADDRNOTAVAIL);
    for target in rest {
        match Socket::start(&target) {
            Ok(socket) => return Ok(socket),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn text(errno: Errno) -> String {
    std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string()
}

/// Why there is no connection, and what to do.
fn refused(node: &Node, errno: Errno) -> Trouble {
    let (kind, advice) = match errno {
        Errno::CONNREFUSED => (Kind::Unavailable, "is the server running, and on this port?"),
        Errno::NOENT => (Kind::Unavailable, "is the server running, with this socket (unixsocket)?"),
        Errno::ACCESS | Errno::PERM => {
            (Kind::Denied, "the socket's permissions do not let this user in (unixsocketperm)")
        }
        Errno::MFILE | Errno::NFILE => {
            (Kind::Unavailable, "this process has too many open files (ulimit -n)")
        }
        Errno::AGAIN => (Kind::Unavailable, "the server does not take connections up; does it hang?"),
        Errno::HOSTUNREACH | Errno::NETUNREACH => (Kind::Unavailable, "is the network there?"),
        _ => (Kind::Unavailable, "is the server well?"),
    };
    Trouble::new(kind, format!("{node}: no connection ({}): {advice}", text(errno)))
}
