//! Hints to the processor about memory that is needed in a moment. Owns the instructions; has no effect on what
//! any program can see.
//!
//! A staged write takes two locks, and each waits until earlier stores have left the core. Misses that begin
//! before the locks are over when the copy begins.

/// Bytes of a cache line on every processor that matters.
const LINE: usize = 64;
/// Lines asked for at once: a core has no more misses under way, and longer copies run ahead by themselves.
const MOST: usize = 16;

/// Asks for `len` bytes (their first [`MOST`] lines) from `address`, for reading.
#[inline(always)]
pub fn lines(address: *const u8, len: usize) {
    line_at(address);
    let end = address.addr() % LINE + len.min(MOST * LINE);
    let mut line = LINE;
    while line < end {
        line_at(address.wrapping_add(line));
        line += LINE;
    }
}

/// Asks for about `len` bytes (half of [`MOST`] lines at most) from `address`, for writing.
#[inline(always)]
pub fn lines_to_write(address: *mut u8, len: usize) {
    line_to_write(address);
    let mut line = LINE;
    while line < len.min(MOST / 2 * LINE) {
        line_to_write(address.wrapping_add(line));
        line += LINE;
    }
}

/// Asks for the line of `address`, for reading.
#[inline(always)]
pub fn line_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing architecturally and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the line of `address`, for writing.
#[inline(always)]
pub fn line_to_write<T>(address: *mut T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above; processors without the instruction take it for one that does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{a}]", a = in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// A program's walk through its memory: one that writes the rows of an array, or the fields of its elements, comes by
/// at equal distances, which no processor foresees that are longer than a page. Asked for some steps ahead, the bytes
/// are there when their write comes.
pub struct Walk {
    last: usize,
    step: usize,
}

/// Steps ahead: a miss lasts as long as some two or three staged writes.
const STEPS: usize = 4;

impl Walk {
    /// Nothing seen yet.
    pub const fn new() -> Walk {
        Walk { last: 0, step: 0 }
    }

    /// The program writes `len` bytes from `address`.
    #[inline(always)]
    pub fn comes_by(&mut self, address: *const u8, len: usize) {
        let step = address.addr().wrapping_sub(self.last);
        if step == self.step && step != 0 {
            lines(address.wrapping_add(step.wrapping_mul(STEPS)), len);
        }
        (self.last, self.step) = (address.addr(), step);
    }
}
