//! The connections of a process: each calling thread takes a session, one connection to each server, and gives it
//! back. Owns their number, and that a forked child never touches its parent's.

use crate::cluster::Topology;
use crate::connection::Connection;
use crate::node::Node;
use crate::scripts::Registry;
use rustix::process::{Pid, getpid};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection that was idle for longer is looked at before it is used: a server that ended meanwhile would cost an
/// unanswered request otherwise.
const FRESH: Duration = Duration::from_millis(20);

/// Connections that one thread uses, one to each server.
#[derive(Default)]
pub struct Session {
    connections: Vec<Connection>,
}

impl Session {
    /// The connection to this server, if there is a usable one.
    pub fn take(&mut self, node: &Node) -> Option<Connection> {
        let at = self.connections.iter().position(|c| *c.node == *node)?;
        let connection = self.connections.swap_remove(at);
        let chatty = !connection.stream.is_plain();
        let spent = connection.used.elapsed() > FRESH && connection.stream.socket().is_spent(chatty);
        (!spent).then_some(connection)
    }

    /// Keeps a connection for the next time.
    pub fn keep(&mut self, mut connection: Connection) {
        connection.used = Instant::now();
        self.connections.push(connection);
    }
}

/// What threads of one process share.
pub struct Shared {
    pid: Pid,
    idle: Mutex<Idle>,
    freed: Condvar,
    pub topology: Mutex<Option<Arc<Topology>>>,
    pub scripts: Registry,
    /// Whether the server's settings were looked at.
    pub looked: AtomicBool,
}

struct Idle {
    sessions: Vec<Session>,
    /// How many more may be made.
    left: usize,
}

impl Shared {
    fn new(pid: Pid, sessions: usize) -> Shared {
        Shared {
            pid,
            idle: Mutex::new(Idle { sessions: Vec::new(), left: sessions }),
            freed: Condvar::new(),
            topology: Mutex::new(None),
            scripts: Registry::default(),
            looked: AtomicBool::new(false),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing in there can be half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session; `None` when all are in use until `until`.
    pub fn take(&self, until: Instant) -> Option<Taken<'_>> {
        let mut idle = self.idle();
        loop {
            if let Some(session) = idle.sessions.pop() {
                return Some(Taken { shared: self, session });
            }
            if idle.left > 0 {
                idle.left -= 1;
                return Some(Taken { shared: self, session: Session::default() });
            }
            let wait = until.checked_duration_since(Instant::now())?;
            idle = self.freed.wait_timeout(idle, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A session in use; given back when dropped.
pub struct Taken<'a> {
    shared: &'a Shared,
    pub session: Session,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.shared.idle().sessions.push(std::mem::take(&mut self.session));
        self.shared.freed.notify_one();
    }
}

/// The shared part of whichever process this is.
pub struct PerProcess {
    now: AtomicPtr<Shared>,
    sessions: usize,
}

impl PerProcess {
    pub fn new(sessions: usize) -> PerProcess {
        PerProcess { now: AtomicPtr::new(Box::into_raw(Box::new(Shared::new(getpid(), sessions)))), sessions }
    }

    /// The shared part of this process; a child makes its own.
    pub fn get(&self) -> &Shared {
        let pid = getpid();
        let now = self.now.load(Ordering::Acquire);
        // SAFETY: `now` always comes from Box::into_raw and is freed only by drop, which has the store to itself: a
        // part that is replaced is kept, as other threads may still use it.
        let shared = unsafe { &*now };
        if shared.pid == pid {
            return shared;
        }
        let new = Box::into_raw(Box::new(Shared::new(pid, self.sessions)));
        match self.now.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // The parent's idle connections are closed here, where their numbers still mean them, so that they end
                // with the parent. If a thread of the parent held the lock at the fork they stay; nothing uses them.
                if let Ok(mut idle) = shared.idle.try_lock() {
                    idle.sessions.clear();
                }
                // SAFETY: as above.
                unsafe { &*new }
            }
            Err(other) => {
                // SAFETY: `new` was not published; `other` was, by a thread of this process.
                unsafe {
                    drop(Box::from_raw(new));
                    &*other
                }
            }
        }
    }
}

impl Drop for PerProcess {
    fn drop(&mut self) {
        // SAFETY: nobody else has the store any more. A parent's part in a child is dropped, too: its sockets close
        // only what is still theirs.
        unsafe { drop(Box::from_raw(*self.now.get_mut())) }
    }
}
