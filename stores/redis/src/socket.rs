//! A socket that is safe inside somebody else's program: close-on-exec, no SIGPIPE, and closed only where its number
//! still means it. Owns all system calls on connections.

use crate::node::Target;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType,
    connect, recv, recvmsg, sendmsg, socket_with, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::time::Duration;

/// A stream socket.
pub struct Socket {
    fd: ManuallyDrop<OwnedFd>,
    identity: (u64, u64),
}

impl Socket {
    /// Begins to connect; [`connected`](Socket::connected) tells when it is, after the socket became writable.
    pub fn start(target: &Target) -> Result<Socket, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(target.family, SocketType::STREAM, flags, None)?;
        let facts = fstat(&fd)?;
        let socket = Socket { fd: ManuallyDrop::new(fd), identity: (facts.st_dev, facts.st_ino) };
        if target.family != AddressFamily::UNIX {
            sockopt::set_tcp_nodelay(&*socket.fd, true)?;
        }
        match connect(&*socket.fd, &target.address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
            Err(e) => Err(e),
        }
    }

    /// What came of connecting.
    pub fn connected(&self) -> Result<(), Errno> {
        sockopt::socket_error(&*self.fd)?
    }

    /// Lets [`recv`](Socket::recv) wait, at most `longest` at a time.
    pub fn may_block(&self, longest: Duration) -> Result<(), Errno> {
        sockopt::set_socket_timeout(&*self.fd, sockopt::Timeout::Recv, Some(longest))?;
        rustix::io::ioctl_fionbio(&*self.fd, false)
    }

    /// Sends what the system takes at once.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retried(|| sendmsg(&*self.fd, pieces, &mut SendAncillaryBuffer::default(), flags))
    }

    /// Receives what is there; 0 when the other side has closed. With `wait`, for as long as allowed until something
    /// is there; an interruption by a signal is told, so that the caller looks at the clock.
    pub fn recv(&self, rooms: &mut [IoSliceMut<'_>], wait: bool) -> Result<usize, Errno> {
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        recvmsg(&*self.fd, rooms, &mut RecvAncillaryBuffer::default(), flags).map(|m| m.bytes)
    }

    /// Whether the other side has closed, or said something unasked (`true` for a connection of no more use). With
    /// `chatty` only the former counts.
    pub fn is_spent(&self, chatty: bool) -> bool {
        let mut byte = [0u8; 1];
        match retried(|| recv(&*self.fd, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)) {
            Err(Errno::AGAIN) => false,
            Ok((n, _)) => n == 0 || !chatty,
            Err(_) => true,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A forked child, or a thread with a table of its own, may come here with a number that means another file, or
        // none. What is not certainly this socket is left alone.
        if fstat(&*self.fd).is_ok_and(|facts| (facts.st_dev, facts.st_ino) == self.identity) {
            // SAFETY: dropped once, here; `fd` is not used again.
            unsafe { ManuallyDrop::drop(&mut self.fd) }
        }
    }
}

fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => (),
            other => return other,
        }
    }
}
