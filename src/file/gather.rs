//! Gathering many short extents into long runs without sorting them. Owns the windows; knows neither journals nor
//! descriptors.
//!
//! The file is cut into windows that fit the second-level cache. A counting sort brings the extents of each
//! window together, still in the order of writing; then they are copied over each other into one buffer, where
//! the newest wins by itself, while a bitmap notes which bytes were written. What is contiguous there goes home
//! in one write. The sort moves nothing but the number of each extent: fresh memory costs more than looking at
//! the journal twice.

use crate::journal::Extent;
use crate::prefetch;

/// Bytes of a window: it and what is copied into it stay in a second-level cache, and the log is walked through in few
/// strides.
const WINDOW: usize = 1 << 20;
/// Extents from which gathering beats sorting.
const MANY: u64 = 256;
/// Longest extents, on average, worth a copy more: from here on a vectored write takes them as they are.
const SHORT: u64 = 16 * 1024;
/// Extents for each window below which the file is too thinly covered to walk through its windows.
const THIN: u64 = 4;
/// Bytes asked for before they are copied, and most extents among which they lie: what arrives while one copies.
const AHEAD_BYTES: u64 = 2048;
const AHEAD: u64 = 16;

/// Extents in the order of writing, each with a number to find it again.
pub trait Extents {
    /// Calls `f` with each, in that order.
    fn each(&self, f: impl FnMut(u32, Extent));
    /// Extent `number`.
    fn get(&self, number: u32) -> Extent;
    /// Extent `number` is asked for soon.
    fn expect(&self, number: u32);
    /// What lies in an extent.
    fn bytes(&self, extent: &Extent) -> &[u8];
    /// What they are together.
    fn survey(&self) -> Survey;
}

/// Sums over extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many.
    pub count: u64,
    /// Their lengths.
    pub bytes: u64,
    /// Their lowest offset.
    pub start: u64,
    /// Their highest end.
    pub end: u64,
}

impl Survey {
    /// Of no extents.
    pub const NOTHING: Survey = Survey { count: 0, bytes: 0, start: u64::MAX, end: 0 };

    /// Takes one more in.
    #[inline]
    pub fn add(&mut self, e: &Extent) {
        self.count += 1;
        self.bytes += u64::from(e.len);
        self.start = self.start.min(e.offset);
        self.end = self.end.max(e.offset + u64::from(e.len));
    }

    /// Whether the extents are many, short, and close enough together to be gathered.
    pub fn is_worth_gathering(&self) -> bool {
        self.count >= MANY
            && self.count <= u64::from(u32::MAX / 2)
            && self.bytes / self.count < SHORT
            && (self.end - self.start) / (WINDOW as u64) < self.count / THIN
    }
}

/// Calls `write` with each run of newest bytes and its offset, in the order of the file. Returns the sum of what
/// `write` returns.
///
/// No byte that nobody wrote is written.
pub fn gather<E>(
    extents: &impl Extents,
    mut write: impl FnMut(&[u8], u64) -> Result<u64, E>,
) -> Result<u64, E> {
    let all = extents.survey();
    let start = all.start / WINDOW as u64 * WINDOW as u64;
    let windows = ((all.end.max(all.start + 1) - 1 - start) / WINDOW as u64) as usize + 1;
    // Whatever has happened to the extents since the survey, they lie in these windows, or are cut.
    let window_of = |offset: u64| ((offset.saturating_sub(start) / WINDOW as u64) as usize).min(windows - 1);
    let last = |e: &Extent| e.offset + u64::from(e.len.max(1)) - 1;
    // Counting sort; an extent that spans windows is in each of them.
    let mut ends = vec![0u32; windows + 1];
    extents.each(|_, e| {
        (window_of(e.offset)..=window_of(last(&e))).for_each(|w| ends[w + 1] += 1);
    });
    for w in 0..windows {
        ends[w + 1] += ends[w];
    }
    let mut order = vec![0u32; ends[windows] as usize];
    extents.each(|number, e| {
        for end in &mut ends[window_of(e.offset)..=window_of(last(&e))] {
            if let Some(place) = order.get_mut(*end as usize) {
                *place = number;
                *end += 1;
            }
        }
    });
    let ahead = (AHEAD_BYTES * all.count / all.bytes.max(1)).clamp(2, AHEAD) as usize;
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
        for (n, &number) in members.iter().enumerate() {
            // The records and the payload lie all over Tier 0: ask for them before they are needed.
            if let Some(&next) = members.get(n + 2 * ahead) {
                extents.expect(next);
            }
            if let Some(&next) = members.get(n + ahead) {
                let bytes = extents.bytes(&extents.get(next));
                prefetch::lines(bytes.as_ptr(), bytes.len());
            }
            let e = extents.get(number);
            let (from, to) = (e.offset.max(base), (e.offset + u64::from(e.len)).min(base + WINDOW as u64));
            if from >= to {
                continue;
            }
            let (at, len) = ((from - base) as usize, (to - from) as usize);
            let skip = (from - e.offset) as usize;
            buffer[at..at + len].copy_from_slice(&extents.bytes(&e)[skip..skip + len]);
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

    /// Extents whose bytes lie in one piece of memory.
    struct Listed {
        extents: Vec<Extent>,
        payload: Vec<u8>,
    }

    impl Extents for Listed {
        fn each(&self, mut f: impl FnMut(u32, Extent)) {
            self.extents.iter().enumerate().for_each(|(i, e)| f(i as u32, *e));
        }
        fn get(&self, number: u32) -> Extent {
            self.extents[number as usize]
        }
        fn expect(&self, _: u32) {}
        fn bytes(&self, e: &Extent) -> &[u8] {
            &self.payload[e.at as usize..(e.at + e.len) as usize]
        }
        fn survey(&self) -> Survey {
            let mut survey = Survey::NOTHING;
            self.extents.iter().for_each(|e| survey.add(e));
            survey
        }
    }

    const SPAN: usize = 3 << 20;

    fn listed(writes: &[(u64, u32)], big: u32) -> Listed {
        let payload = (0..SPAN).map(|i| (i % 251 + 1) as u8).collect();
        let mut extents = vec![Extent { offset: 77, len: big, block: 0, at: 1 }];
        extents.extend(writes.iter().enumerate().map(|(i, &(offset, len))| Extent {
            offset,
            len,
            block: 0,
            at: i as u32 * 13,
        }));
        Listed { extents, payload }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn gathers_what_a_byte_array_would_hold(
            writes in prop::collection::vec((0u64..SPAN as u64, 0u32..3000), 1..400),
            big in 0u32..2 << 20,
        ) {
            let listed = listed(&writes, big);
            // What was in the file before, nothing of which may change but under an extent.
            let mut file = vec![255u8; 2 * SPAN];
            let mut seen = file.clone();
            for e in &listed.extents {
                let from = listed.bytes(e);
                file[e.offset as usize..e.offset as usize + from.len()].copy_from_slice(from);
            }
            let mut last = 0;
            let n = gather(&listed, |run, offset| {
                assert!(!run.is_empty() && (last == 0 || offset >= last), "in order");
                last = offset + run.len() as u64;
                seen[offset as usize..offset as usize + run.len()].copy_from_slice(run);
                Ok::<u64, ()>(1)
            }).expect("no errors");
            let windows = (SPAN + (2 << 20)) / WINDOW + 1;
            prop_assert!(n as usize <= listed.extents.len() + windows);
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
