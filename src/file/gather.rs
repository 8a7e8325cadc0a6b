//! Gathering many short extents into long runs without sorting them. Owns the windows; knows neither journals nor
//! descriptors.
//!
//! The file is cut into windows that fit the second-level cache. A counting sort brings the extents of each
//! window together, still in the order of writing; then they are copied over each other into one buffer, where
//! the newest wins by itself, while a bitmap notes which bytes were written. What is contiguous there goes home
//! in one write. The sort moves one word for each extent, which says all that the copy has to know: fresh memory
//! costs more than looking at the journal twice, and looking there a third time, out of order, more than that word.

use super::scratch::{self, Scratch};
use crate::errno::Errno;
use crate::journal::Extent;
use crate::prefetch;
use crate::tier0::layout::BLOCK;

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
/// Blocks among which extents can be gathered at once.
pub const MOST_BLOCKS: usize = 1 << Piece::NUMBER;

/// Extents in the order of writing, in at most [`MOST_BLOCKS`] blocks.
pub trait Extents {
    /// Calls `f` with each, in that order; its block is said by number, from 0.
    fn each(&self, f: impl FnMut(Extent));
    /// What lies in a block, said by number, from `at` on.
    fn bytes(&self, block: u32, at: u32, len: u32) -> &[u8];
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

/// A part of an extent that lies in one window, in one word: from the top, where it goes in the window, its length less
/// one, the number of its block, and where it lies there.
#[derive(Clone, Copy)]
struct Piece(u64);

impl Piece {
    const LEN: u32 = 16;
    const NUMBER: u32 = 10;
    const AT: u32 = BLOCK.trailing_zeros();
    /// Bytes of a piece at most.
    const LONGEST: u32 = 1 << Piece::LEN;

    #[inline]
    fn new(to: usize, len: u32, number: u32, at: u32) -> Piece {
        let (to, len) = (to as u64, u64::from(len - 1));
        Piece((((to << Piece::LEN | len) << Piece::NUMBER) | u64::from(number)) << Piece::AT | u64::from(at))
    }

    #[inline]
    fn to(self) -> usize {
        (self.0 >> (Piece::LEN + Piece::NUMBER + Piece::AT)) as usize
    }

    #[inline]
    fn bytes(self, extents: &impl Extents) -> &[u8] {
        let at = self.0 as u32 & (BLOCK as u32 - 1);
        let number = (self.0 >> Piece::AT) as u32 & ((1 << Piece::NUMBER) - 1);
        let len = (self.0 >> (Piece::AT + Piece::NUMBER)) as u32 & (Piece::LONGEST - 1);
        extents.bytes(number, at, len + 1)
    }
}

const _: () = assert!(
    WINDOW.trailing_zeros() + Piece::LEN + Piece::NUMBER + Piece::AT == 64 && BLOCK.is_power_of_two()
);

/// Calls `f` with the pieces of an extent, and the window of each, counted from that at `start`.
#[inline]
fn pieces(e: &Extent, start: u64, mut f: impl FnMut(usize, Piece)) {
    // Whatever has happened to an extent since the survey: what lies before the first window is cut away.
    let Some(from) = e.offset.checked_sub(start) else { return };
    let (window, to) = ((from / WINDOW as u64) as usize, from as usize % WINDOW);
    if (1..=Piece::LONGEST).contains(&e.len) && to + e.len as usize <= WINDOW {
        return f(window, Piece::new(to, e.len, e.block, e.at));
    }
    let mut done = 0;
    while done < e.len {
        let from = from + u64::from(done);
        let (window, to) = ((from / WINDOW as u64) as usize, from as usize % WINDOW);
        let len = (e.len - done).min(Piece::LONGEST).min((WINDOW - to) as u32);
        f(window, Piece::new(to, len, e.block, e.at + done));
        done += len;
    }
}

/// A window with the newest bytes of all extents in it.
pub struct Window<'a> {
    /// Where it lies in the file.
    offset: u64,
    bytes: &'a [u8],
    /// A bit for each byte that somebody wrote.
    written: &'a [u64],
}

impl<'a> Window<'a> {
    /// Each run of newest bytes and its offset, in the order of the file. No byte that nobody wrote is in one.
    pub fn runs(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let (offset, bytes, written) = (self.offset, self.bytes, self.written);
        let mut at = 0;
        std::iter::from_fn(move || {
            let (from, to) = next_run(written, at)?;
            at = to;
            Some((offset + from as u64, &bytes[from..to]))
        })
    }
}

/// Calls `write` with each window in which an extent lies, in the order of the file. Returns the sum of what `write`
/// returns.
///
/// # Errors
/// Those of `write`, and ENOMEM.
pub fn gather<E: From<Errno>>(
    extents: &impl Extents,
    mut write: impl FnMut(&Window<'_>) -> Result<u64, E>,
) -> Result<u64, E> {
    let all = extents.survey();
    let start = all.start / WINDOW as u64 * WINDOW as u64;
    let windows = ((all.end.max(all.start + 1) - 1 - start) / WINDOW as u64) as usize + 1;
    // Counting sort.
    let mut ends = vec![0u32; windows + 1];
    extents.each(|e| {
        pieces(&e, start, |w, _| {
            if let Some(n) = ends.get_mut(w + 1) {
                *n += 1;
            }
        });
    });
    for w in 0..windows {
        ends[w + 1] += ends[w];
    }
    let (listed, image, bitmap) = (ends[windows] as usize, WINDOW / 8, WINDOW / 64);
    let much = all.bytes >= WINDOW as u64 / 2;
    // The image first, so that one huge page holds it.
    let mut scratch = Scratch::new(image + bitmap + listed, much)?;
    let (buffer, rest) = scratch.words().split_at_mut(image);
    let (written, order) = rest.split_at_mut(bitmap);
    let buffer = scratch::bytes(buffer);
    extents.each(|e| {
        pieces(&e, start, |w, piece| {
            if let Some(end) = ends[..windows].get_mut(w)
                && let Some(place) = order.get_mut(*end as usize)
            {
                *place = piece.0;
                *end += 1;
            }
        });
    });
    let ahead = (AHEAD_BYTES * all.count / all.bytes.max(1)).clamp(2, AHEAD) as usize;
    let mut sum = 0;
    let mut first = 0;
    for (w, &end) in ends[..windows].iter().enumerate() {
        // After the sort, each window's end is where the next one's begin was.
        let members = &order[first..end as usize];
        first = end as usize;
        if members.is_empty() {
            continue;
        }
        for (n, &word) in members.iter().enumerate() {
            // The payload lies all over Tier 0: ask for it before it is needed.
            if let Some(&next) = members.get(n + ahead) {
                let bytes = Piece(next).bytes(extents);
                prefetch::lines(bytes.as_ptr(), bytes.len());
            }
            let (to, bytes) = (Piece(word).to(), Piece(word).bytes(extents));
            copy_short(&mut buffer[to..to + bytes.len()], bytes);
            mark(written, to, to + bytes.len());
        }
        sum += write(&Window { offset: start + (w * WINDOW) as u64, bytes: buffer, written })?;
        written.fill(0);
    }
    Ok(sum)
}

/// Copies; the lengths are equal. The shortest pieces that come in masses cost less as two halves, which may overlap, than
/// by a call.
#[inline(always)]
fn copy_short(to: &mut [u8], from: &[u8]) {
    const HALF: usize = 32;
    if let ([first, ..], [second, ..]) = (to.as_chunks_mut::<HALF>().0, from.as_chunks::<HALF>().0)
        && from.len() <= 2 * HALF
    {
        *first = *second;
        if let (Some(last), Some(end)) = (to.last_chunk_mut::<HALF>(), from.last_chunk::<HALF>()) {
            *last = *end;
        }
        return;
    }
    to.copy_from_slice(from);
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
        fn each(&self, f: impl FnMut(Extent)) {
            self.extents.iter().copied().for_each(f);
        }
        fn bytes(&self, block: u32, at: u32, len: u32) -> &[u8] {
            let at = block as usize * BLOCK + at as usize;
            &self.payload[at..at + len as usize]
        }
        fn survey(&self) -> Survey {
            let mut survey = Survey::NOTHING;
            self.extents.iter().for_each(|e| survey.add(e));
            survey
        }
    }

    const SPAN: usize = 3 << 20;
    const BLOCKS: usize = 5;

    /// Short writes, after `big` extents that each fill a block.
    fn listed(writes: &[(u64, u32)], big: u64) -> Listed {
        let payload = (0..BLOCKS * BLOCK).map(|i| (i % 251 + 1) as u8).collect();
        let whole =
            |i| Extent { offset: 77 + i * BLOCK as u64, len: BLOCK as u32, block: (i % 3) as u32, at: 0 };
        let short = |(i, &(offset, len)): (usize, &(u64, u32))| Extent {
            offset,
            len,
            block: (i % BLOCKS) as u32,
            at: (i * 1013 % (BLOCK - 3000)) as u32,
        };
        let extents = (0..big).map(whole).chain(writes.iter().enumerate().map(short)).collect();
        Listed { extents, payload }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn gathers_what_a_byte_array_would_hold(
            writes in prop::collection::vec((0u64..SPAN as u64, 0u32..3000), 1..400),
            big in 0u64..8,
        ) {
            let listed = listed(&writes, big);
            // What was in the file before, nothing of which may change but under an extent.
            let mut file = vec![255u8; 2 * SPAN];
            let mut seen = file.clone();
            for e in &listed.extents {
                let from = listed.bytes(e.block, e.at, e.len);
                file[e.offset as usize..e.offset as usize + from.len()].copy_from_slice(from);
            }
            let mut last = 0;
            let mut runs = 0;
            let windows = gather(&listed, |window| {
                for (offset, run) in window.runs() {
                    assert!(!run.is_empty() && (last == 0 || offset >= last), "in order");
                    last = offset + run.len() as u64;
                    seen[offset as usize..offset as usize + run.len()].copy_from_slice(run);
                    runs += 1;
                }
                Ok::<u64, Errno>(1)
            }).expect("no errors");
            prop_assert!(windows as usize <= (SPAN + 8 * BLOCK) / WINDOW + 1);
            prop_assert!(runs <= listed.extents.len() + windows as usize);
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
