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
    let first = address.addr() % LINE;
    for line in 0..(first + len).div_ceil(LINE).min(MOST) {
        line_at(address.wrapping_add(line * LINE));
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
