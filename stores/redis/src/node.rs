//! A server's name, and the addresses behind it. Owns the bounded wait for a name server.

use iris_store::Host;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Node::Tcp(host, port) => write!(f, "{host}:{port}"),
            Node::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One address that a connection may be tried at.
#[derive(Clone)]
pub struct Target {
    pub family: AddressFamily,
    pub address: SocketAddrAny,
}

impl Target {
    fn tcp(address: SocketAddr) -> Target {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        Target { family, address: address.into() }
    }
}

impl Node {
    /// What to connect to, within `wait`; the error says why there is nothing.
    pub fn targets(&self, wait: Duration, host: Host) -> Result<Vec<Target>, String> {
        match self {
            Node::Unix(path) => {
                let address = SocketAddrUnix::new(path).map_err(|e| format!("{}: {e}", path.display()))?;
                Ok(vec![Target { family: AddressFamily::UNIX, address: address.into() }])
            }
            Node::Tcp(name, port) => match name.parse::<IpAddr>() {
                Ok(ip) => Ok(vec![Target::tcp((ip, *port).into())]),
                Err(_) => resolve(name, *port, wait, host),
            },
        }
    }
}

/// Asks the system for a name's addresses on a thread of its own: nothing else bounds how long a name server is waited
/// for. A thread that is given up ends by itself when the system gives up.
fn resolve(name: &str, port: u16, wait: Duration, host: Host) -> Result<Vec<Target>, String> {
    let (send, receive) = mpsc::sync_channel(1);
    let owned = name.to_owned();
    // The program's signal handlers must not run on a thread that it does not know: a thread inherits the mask.
    let mask = SignalMask::block_all();
    let started = std::thread::Builder::new().name("iris-resolve".into()).spawn(move || {
        (host.adopt_thread)();
        let found = (owned.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // The receiver may have gone: nobody waits any more.
        let _ = send.send(found);
    });
    drop(mask);
    started.map_err(|e| format!("no thread to look up \"{name}\": {e}"))?;
    match receive.recv_timeout(wait) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses.into_iter().map(Target::tcp).collect()),
        Ok(Ok(_)) => Err(format!("the name \"{name}\" has no address")),
        Ok(Err(e)) => Err(format!("the name \"{name}\": {e}")),
        Err(_) => Err(format!("no name server answered for \"{name}\" within {:.1} s", wait.as_secs_f64())),
    }
}

/// All signals blocked on this thread until dropped.
struct SignalMask {
    before: libc::sigset_t,
}

impl SignalMask {
    fn block_all() -> SignalMask {
        // SAFETY: both sets are plain memory that sigfillset and pthread_sigmask fill; the latter only changes the
        // calling thread's mask and cannot fail with these arguments.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            SignalMask { before }
        }
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask on this thread (the guard never leaves it).
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut());
        }
    }
}
