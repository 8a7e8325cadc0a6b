//! Memory for names: a little on the stack, which may be a signal handler's or a vfork child's, and pages of their own
//! for the rare long one; no heap, no lock. Owns the text and, for a name that the kernel would find too long, a
//! descriptor.

use crate::errno::Errno;
use crate::sys::{self, OwnFd};
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// The kernel takes names shorter than this.
pub const PATH_MAX: usize = libc::PATH_MAX as usize;
/// A name that a program may give, below a directory that the kernel may name, or behind the text of a link.
const LARGE: usize = 2 * PATH_MAX;
/// What nearly every name is shorter than.
const SMALL: usize = 512;
/// More than "/proc/self/fd/" and ten digits.
const LINK: usize = 32;
const TOO_LONG: Errno = Errno(libc::ENAMETOOLONG);

type Bytes = [MaybeUninit<u8>];

fn fill(to: &mut Bytes, from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        to.write(*from);
    }
}

/// Memory that can grow once.
struct Memory {
    small: [MaybeUninit<u8>; SMALL],
    large: Option<sys::Scratch>,
}

impl Memory {
    #[inline]
    fn new() -> Memory {
        Memory { small: [const { MaybeUninit::uninit() }; SMALL], large: None }
    }

    fn bytes(&self) -> &Bytes {
        self.large.as_ref().map_or(&self.small, sys::Scratch::bytes)
    }

    fn bytes_mut(&mut self) -> &mut Bytes {
        self.large.as_mut().map_or(&mut self.small, sys::Scratch::bytes_mut)
    }

    /// More memory, in which nothing stands yet; the old is in `small`.
    fn grow(&mut self) -> Result<(), Errno> {
        if self.large.is_some() {
            return Err(TOO_LONG);
        }
        self.large = Some(sys::Scratch::new(LARGE)?);
        Ok(())
    }
}

/// The descriptor that a long name is told from.
struct Told {
    _directory: OwnFd,
    /// Where the shorter name begins.
    start: usize,
    /// What stood in its place, before `end`.
    kept: [u8; LINK],
    end: usize,
}

/// Room for one name, and what keeps it valid.
pub struct Room {
    memory: Memory,
    len: usize,
    told: Option<Told>,
}

impl Default for Room {
    fn default() -> Room {
        Room::new()
    }
}

impl Room {
    /// Empty.
    #[inline]
    pub fn new() -> Room {
        Room { memory: Memory::new(), len: 0, told: None }
    }

    /// The text so far.
    pub fn text(&self) -> &[u8] {
        // SAFETY: the first `len` bytes have been written.
        unsafe { std::slice::from_raw_parts(self.memory.bytes().as_ptr().cast(), self.len) }
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sees to it that `len` bytes and a zero fit.
    fn reserve(&mut self, len: usize) -> Result<(), Errno> {
        while len >= self.memory.bytes().len() {
            self.memory.grow()?;
            let (small, len) = (self.memory.small, self.len);
            self.memory.bytes_mut()[..len].copy_from_slice(&small[..len]);
        }
        Ok(())
    }

    /// Appends; ENAMETOOLONG when there is no room.
    pub fn push(&mut self, text: &[u8]) -> Result<(), Errno> {
        let (from, to) = (self.len, self.len + text.len());
        self.reserve(to)?;
        fill(&mut self.memory.bytes_mut()[from..to], text);
        self.len = to;
        Ok(())
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Replaces everything.
    pub fn set(&mut self, text: &[u8]) -> Result<(), Errno> {
        (self.len, self.told) = (0, None);
        self.push(text)
    }

    /// Replaces everything by what `write` writes at the start of the buffer it gets, and whose length it gives. It is
    /// asked again with a larger one after ERANGE, or when it has filled the buffer.
    pub fn fill_with(&mut self, write: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        (self.len, self.told) = (0, None);
        loop {
            let bytes = self.memory.bytes_mut();
            bytes.fill(MaybeUninit::new(0));
            // SAFETY: the bytes have just been written.
            let buf = unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) };
            match write(buf) {
                Ok(len) if len < buf.len() => {
                    self.len = len;
                    return Ok(());
                }
                Ok(_) | Err(Errno(libc::ERANGE)) => self.memory.grow()?,
                Err(e) => return Err(e),
            }
        }
    }

    /// Puts `text` in the place of the first `n` bytes; ENAMETOOLONG when there is no room.
    pub fn replace_start(&mut self, n: usize, text: &[u8]) -> Result<(), Errno> {
        let (old, new) = (self.len, self.len - n + text.len());
        self.reserve(new)?;
        let bytes = self.memory.bytes_mut();
        bytes.copy_within(n..old, text.len());
        fill(&mut bytes[..text.len()], text);
        (self.len, self.told) = (new, None);
        Ok(())
    }

    /// The text for the kernel, however long: only from [`PATH_MAX`] on does that need the descriptor.
    pub fn c_str(&mut self) -> Result<&CStr, Errno> {
        let len = self.len;
        self.memory.bytes_mut()[len].write(0);
        if len >= PATH_MAX && self.told.is_none() {
            self.told = self.shorten()?;
        }
        Ok(self.from(self.told.as_ref().map_or(0, |t| t.start)))
    }

    /// As [`Room::c_str`], for one call: the text stays as it is.
    pub fn with_c_str<R>(&mut self, f: impl FnOnce(&CStr) -> R) -> Result<R, Errno> {
        let result = self.c_str().map(f);
        if let Some(told) = self.told.take() {
            fill(&mut self.memory.bytes_mut()[told.end - LINK..told.end], &told.kept);
        }
        result
    }

    fn from(&self, start: usize) -> &CStr {
        // SAFETY: the bytes up to `len` have been written, and a zero behind them; names hold no other.
        unsafe { CStr::from_ptr(self.memory.bytes().as_ptr().cast::<libc::c_char>().add(start)) }
    }

    /// Opens the directory in which the last part of a long name lies.
    fn shorten(&mut self) -> Result<Option<Told>, Errno> {
        let mut directory: Option<OwnFd> = None;
        let mut start = 0;
        while self.len - start >= PATH_MAX {
            let piece = &self.text()[start..start + PATH_MAX - 1];
            let slash = piece.iter().rposition(|b| *b == b'/').filter(|at| *at > LINK).ok_or(TOO_LONG)?;
            let end = start + slash;
            self.memory.bytes_mut()[end].write(0);
            let from = directory.as_ref().map_or(libc::AT_FDCWD, OwnFd::raw);
            let opened = sys::open_path(from, self.from(start));
            self.memory.bytes_mut()[end].write(b'/');
            directory = Some(sys::out_of_the_way(opened?));
            // The next part is told from that directory: without its slashes.
            start = end;
            while self.text().get(start) == Some(&b'/') {
                start += 1;
            }
        }
        Ok(directory.map(|fd| self.told_from(fd, start)))
    }

    /// Puts the name in /proc of a directory before the part at `end`, which more than [`LINK`] bytes stand before.
    fn told_from(&mut self, directory: OwnFd, end: usize) -> Told {
        let mut kept = [0; LINK];
        kept.copy_from_slice(&self.text()[end - LINK..end]);
        let mut link = [0u8; 32];
        let name = sys::fd_link(directory.raw(), &mut link).to_bytes();
        let start = end - 1 - name.len();
        let bytes = self.memory.bytes_mut();
        bytes[end - 1].write(b'/');
        fill(&mut bytes[start..end - 1], name);
        Told { _directory: directory, start, kept, end }
    }

    /// Opens the directory of the last part, whatever the length, so that [`Room::c_str`] is short. The text is an
    /// absolute name.
    pub fn from_parent(&mut self) -> Result<(), Errno> {
        let slash = self.text().iter().rposition(|b| *b == b'/').ok_or(Errno(libc::ENOENT))?;
        if slash < LINK {
            return Ok(());
        }
        let len = self.len;
        self.len = slash;
        let opened = self.with_c_str(|parent| sys::open_path(libc::AT_FDCWD, parent));
        self.len = len;
        self.memory.bytes_mut()[slash].write(b'/');
        self.memory.bytes_mut()[len].write(0);
        self.told = Some(self.told_from(sys::out_of_the_way(opened??), slash + 1));
        Ok(())
    }
}

/// What is still to be walked of a name: it shrinks at its front and grows there by the texts of links.
pub struct Rest {
    memory: Memory,
    start: usize,
}

impl Rest {
    /// Of a name.
    pub fn new(text: &[u8]) -> Result<Rest, Errno> {
        let mut rest = Rest { memory: Memory::new(), start: SMALL };
        while text.len() > rest.start {
            rest.grow()?;
        }
        rest.start -= text.len();
        let start = rest.start;
        fill(&mut rest.memory.bytes_mut()[start..], text);
        Ok(rest)
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let len = self.text().len();
        self.memory.grow()?;
        let small = self.memory.small;
        self.start = LARGE - len;
        let start = self.start;
        self.memory.bytes_mut()[start..].copy_from_slice(&small[SMALL - len..]);
        Ok(())
    }

    /// What is left.
    pub fn text(&self) -> &[u8] {
        let bytes = &self.memory.bytes()[self.start..];
        // SAFETY: the bytes from `start` on have been written.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), bytes.len()) }
    }

    /// Drops the first `n` bytes.
    pub fn skip(&mut self, n: usize) {
        self.start = (self.start + n).min(self.memory.bytes().len());
    }

    /// Drops the first `n` bytes and puts in their place what `write` writes at the start of the room it gets, whose
    /// length it gives. It is asked again, with more, when it has filled the room; ENAMETOOLONG when there is no more.
    pub fn prepend_with(
        &mut self,
        n: usize,
        mut write: impl FnMut(&mut Bytes) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        loop {
            // What is to be dropped must stay until the text is there.
            let start = self.start;
            let room = &mut self.memory.bytes_mut()[..start];
            if start > 0 {
                let len = write(room)?;
                if len < start {
                    self.skip(n);
                    let to = self.start - len;
                    self.memory.bytes_mut().copy_within(..len, to);
                    self.start = to;
                    return Ok(());
                }
            }
            self.grow()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_reaches_its_file() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let mut room = Room::new();
        room.set(std::os::unix::ffi::OsStrExt::as_bytes(root.as_os_str())).unwrap();
        while room.len() < PATH_MAX + 3000 {
            room.push(b"/").unwrap();
            room.push(&[b'd'; 200]).unwrap();
            let made = room.with_c_str(|name| {
                // SAFETY: a C string.
                unsafe { libc::mkdir(name.as_ptr(), 0o700) }
            });
            assert_eq!(made, Ok(0), "{}", room.len());
        }
        room.push(b"/file").unwrap();
        let text = room.text().to_vec();
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        assert!(room.with_c_str(|name| sys::open(name, flags, 0o600).is_ok()).unwrap());
        assert_eq!(room.text(), text);
        let name = room.c_str().unwrap();
        assert!(name.to_bytes().len() < PATH_MAX && sys::statat(libc::AT_FDCWD, name, false).is_ok());
    }

    #[test]
    fn the_rest_grows_at_its_front() {
        let mut rest = Rest::new(b"/b/c").unwrap();
        rest.skip(1);
        let put = |rest: &mut Rest, n, text: &[u8]| {
            rest.prepend_with(n, |room| {
                let len = text.len().min(room.len());
                fill(&mut room[..len], text);
                Ok(len)
            })
        };
        assert_eq!(put(&mut rest, 1, b"link/x"), Ok(()));
        assert_eq!(rest.text(), b"link/x/c");
        assert_eq!(put(&mut rest, 4, &[b'l'; PATH_MAX - 1]), Ok(()));
        assert_eq!((rest.text().len(), &rest.text()[PATH_MAX - 2..]), (PATH_MAX + 3, &b"l/x/c"[..]));
        assert_eq!(put(&mut rest, 0, &[b'l'; PATH_MAX]), Err(TOO_LONG));
    }
}
