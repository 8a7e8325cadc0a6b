//! Gathering many short extents into long runs without sorting them. Owns the windows; knows neither journals nor
//! descriptors.
//!
//! The file is cut into windows that fit the second-level cache. A counting sort brings the extents of each
//! window together, still in the order of writing; then they are copied over each other into one buffer, where
//! the newest wins by itself, while a bitmap notes which bytes were written. What is contiguous there goes home
//! in one write. No byte that nobody wrote is ever written.

use crate::journal::Extent;

/// Bytes of a window.
const WINDOW: usize = 1 << 20;
/// Extents from which gathering beats sorting.
const MANY: usize = 256;
/// Longest extents worth a copy more: from here on a vectored write takes them as they are.
const SHORT: u64 = 16 * 1024;
/// Windows for each extent beyond which the file is too thinly covered to walk through them.
const THIN: u64 = 4;

/// Members of a window whose payload is asked for before it is copied: the latency of memory over the time of a
/// short copy.
const AHEAD: usize = 12;

/// Whether `extents` are many, short, and close enough together.
pub fn is_worth_it(extents: &[Extent]) -> bool {
    if extents.len() < MANY {
        return false;
    }
    let bytes: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
    let start = extents.iter().map(|e| e.offset).min().unwrap_or(0);
    let end = extents.iter().map(|e| e.offset + u64::from(e.len)).max().unwrap_or(0);
    bytes / (extents.len() as u64) < SHORT && (end - start) / (WINDOW as u64) < extents.len() as u64 / THIN
}

/// Calls `write` with each run of newest bytes and its offset, in the order of the file. Returns the sum of what
/// `write` returns.
pub fn gather<'a, E>(
    extents: &[Extent],
    bytes: impl Fn(&Extent) -> &'a [u8],
    mut write: impl FnMut(&[u8], u64) -> Result<u64, E>,
) -> Result<u64, E> {
    let start = extents.iter().map(|e| e.offset).min().unwrap_or(0) / WINDOW as u64 * WINDOW as u64;
    let window_of = |offset: u64| ((offset - start) / WINDOW as u64) as usize;
    let last = |e: &Extent| e.offset + u64::from(e.len.max(1)) - 1;
    let windows = extents.iter().map(|e| window_of(last(e))).max().map_or(0, |w| w + 1);
    // Counting sort; an extent that spans windows is in each of them.
    let mut ends = vec![0u32; windows + 1];
    for e in extents {
        (window_of(e.offset)..=window_of(last(e))).for_each(|w| ends[w + 1] += 1);
    }
    for w in 0..windows {
        ends[w + 1] += ends[w];
    }
    let mut order = vec![0u32; ends[windows] as usize];
    for (i, e) in extents.iter().enumerate() {
        for w in window_of(e.offset)..=window_of(last(e)) {
            order[ends[w] as usize] = i as u32;
            ends[w] += 1;
        }
    }
    let (mut buffer, mut written) = (vec![0u8; WINDOW], vec![0u64; WINDOW / 64]);
    let mut sum = 0;
    let mut first = 0;
    for w in 0..windows {
        let base = start + (w * WINDOW) as u64;
        // After the sort, each window's end is where the next one's begin was.
        let members = &order[first..ends[w] as usize];
        first = ends[w] as usize;
        if members.is_empty() {
            continue;
        }
        for (n, &i) in members.iter().enumerate() {
            // The payload lies all over Tier 0: ask for it before it is needed.
            if let Some(&ahead) = members.get(n + 2 * AHEAD) {
                prefetch(&raw const extents[ahead as usize]);
            }
            if let Some(&ahead) = members.get(n + AHEAD) {
                prefetch(bytes(&extents[ahead as usize]).as_ptr());
            }
            let e = &extents[i as usize];
            let (from, to) = (e.offset.max(base), (e.offset + u64::from(e.len)).min(base + WINDOW as u64));
            if from >= to {
                continue;
            }
            let (at, len) = ((from - base) as usize, (to - from) as usize);
            let skip = (from - e.offset) as usize;
            buffer[at..at + len].copy_from_slice(&bytes(e)[skip..skip + len]);
            mark(&mut written, at, at + len);
        }
        let mut at = 0;
        while let Some((from, to)) = next_run(&written, at) {
            sum += write(&buffer[from..to], base + from as u64)?;
            at = to;
        }
        written.fill(0);
    }
    Ok(sum)
}

/// Asks the processor to fetch a cache line; a hint where there is such an instruction.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing architecturally and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Sets the bits `from..to`.
#[inline]
fn mark(bits: &mut [u64], from: usize, to: usize) {
    let (first, last) = (from / 64, (to - 1) / 64);
    let head = u64::MAX << (from % 64);
    let tail = u64::MAX >> (63 - (to - 1) % 64);
    if first == last {
        bits[first] |= head & tail;
    } else {
        bits[first] |= head;
        bits[first + 1..last].fill(u64::MAX);
        bits[last] |= tail;
    }
}

/// The first run of set bits at or after `at`.
fn next_run(bits: &[u64], at: usize) -> Option<(usize, usize)> {
    let from = seek(bits, at, 0)?;
    let to = seek(bits, from, u64::MAX).unwrap_or(bits.len() * 64);
    Some((from, to))
}

/// The first bit at or after `at` that is set (`flip` 0) or clear (`flip` all ones).
fn seek(bits: &[u64], at: usize, flip: u64) -> Option<usize> {
    let mut word = at / 64;
    if word >= bits.len() {
        return None;
    }
    let mut value = (bits[word] ^ flip) & (u64::MAX << (at % 64));
    loop {
        if value != 0 {
            return Some(word * 64 + value.trailing_zeros() as usize);
        }
        word += 1;
        if word >= bits.len() {
            return None;
        }
        value = bits[word] ^ flip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn gathers_what_a_byte_array_would_hold(
            writes in prop::collection::vec((0u64..3 * WINDOW as u64, 0u32..3000), 1..200),
            big in 0u32..2 * WINDOW as u32,
        ) {
            let payload: Vec<u8> = (0..3 * WINDOW + 4000).map(|i| (i % 251 + 1) as u8).collect();
            let mut file = vec![0u8; 6 * WINDOW];
            let mut extents = vec![Extent { offset: 77, len: big, block: 0, at: 1 }];
            extents.extend(writes.iter().enumerate().map(|(i, &(offset, len))| Extent { offset, len, block: 0, at: i as u32 * 13 }));
            for e in &extents {
                let from = &payload[e.at as usize..(e.at + e.len) as usize];
                file[e.offset as usize..e.offset as usize + from.len()].copy_from_slice(from);
            }
            let mut seen = vec![0u8; 6 * WINDOW];
            let mut last = 0;
            let n = gather(&extents, |e| &payload[e.at as usize..(e.at + e.len) as usize], |run, offset| {
                assert!(!run.is_empty() && (last == 0 || offset >= last), "in order");
                last = offset + run.len() as u64;
                seen[offset as usize..offset as usize + run.len()].copy_from_slice(run);
                Ok::<u64, ()>(1)
            }).expect("no errors");
            prop_assert!(n as usize <= extents.len() + 3);
            prop_assert!(seen == file);
        }
    }

    #[test]
    fn runs_end_at_clear_bits() {
        let mut bits = vec![0u64; 4];
        mark(&mut bits, 3, 64);
        mark(&mut bits, 64, 70);
        mark(&mut bits, 200, 256);
        assert_eq!(next_run(&bits, 0), Some((3, 70)));
        assert_eq!(next_run(&bits, 70), Some((200, 256)));
        assert_eq!(next_run(&bits, 256), None);
    }
}
