//! Reading ahead into user memory, for mounts with session or relaxed consistency: small sequential reads are
//! served from one larger read. Owns the buffer of one description; its user decides when it is void.

/// Bytes fetched at once. From 128 KiB on, a read from the page cache runs at full speed.
const WINDOW: usize = 128 * 1024;
/// Reads of this many bytes and more gain nothing from a copy in between.
pub const LARGEST: usize = 16 * 1024;

/// A window of the file.
pub struct Ahead {
    buffer: Vec<u8>,
    /// Offset of the first byte.
    start: u64,
    /// Valid bytes.
    len: usize,
    /// Version of the file (`File::version`) when it was filled.
    version: u64,
    /// Where the next sequential read would begin.
    next: u64,
}

impl Ahead {
    /// Empty; allocates nothing.
    pub const fn new() -> Ahead {
        Ahead { buffer: Vec::new(), start: 0, len: 0, version: 0, next: u64::MAX }
    }

    /// Gives the memory back.
    pub fn drop_buffer(&mut self) {
        *self = Ahead::new();
    }

    /// Forgets the bytes, keeps the memory.
    pub fn forget(&mut self) {
        self.len = 0;
    }

    /// Copies what is there at `offset` into `to`; `None` if nothing is.
    #[inline]
    pub fn take(&mut self, offset: u64, to: &mut [u8], version: u64) -> Option<usize> {
        if self.len == 0 || version != self.version || offset < self.start {
            return None;
        }
        let at = (offset - self.start) as usize;
        if at + to.len() > self.len {
            return None;
        }
        to.copy_from_slice(&self.buffer[at..at + to.len()]);
        self.next = offset + to.len() as u64;
        Some(to.len())
    }

    /// Whether a read at `offset` continues the last one, so that reading ahead is worth it; notes this one.
    pub fn is_sequential(&mut self, offset: u64, len: usize) -> bool {
        let sequential = self.next == offset;
        self.next = offset + len as u64;
        sequential
    }

    /// Room for a new window; give the number of bytes read into it to [`Ahead::filled`].
    pub fn room(&mut self) -> &mut [u8] {
        self.len = 0;
        self.buffer.resize(WINDOW, 0);
        &mut self.buffer
    }

    /// The window at `start` holds `len` bytes now.
    pub fn filled(&mut self, start: u64, len: usize, version: u64) {
        (self.start, self.len, self.version) = (start, len, version);
    }
}
