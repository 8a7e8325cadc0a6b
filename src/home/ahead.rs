//! What a file's reader will ask for next, guessed from what it has asked for. Pure: it is told of each read and
//! names ranges worth fetching; whoever asks fetches them or does not.
//!
//! Three equal steps in a row make a pattern: forward (each read begins where the last one ended), backward, or
//! strided. The ranges ahead grow with each read that follows the pattern, from [`FIRST`] bytes to [`MOST`], and one
//! read that does not follow it starts all over: random readers are never given anything. (Growing by doubling while
//! the guess holds is what the Linux page cache's readahead does too.)

use std::ops::Range;

/// Bytes fetched ahead when a pattern is first seen.
pub const FIRST: u64 = 512 << 10;
/// Bytes fetched ahead at most.
pub const MOST: u64 = 16 << 20;
/// Equal steps that make a pattern.
const STEPS: u32 = 2;
/// Ranges of a strided pattern named at a time.
const RANGES: u64 = 64;

/// The state of one file's reader.
#[derive(Debug, Default)]
pub struct Ahead {
    last: Range<u64>,
    step: i64,
    seen: u32,
    /// Bytes to be ahead.
    window: u64,
    /// Up to where (in the direction of the pattern) ranges were named.
    named: u64,
}

impl Ahead {
    /// Notes a read of `range` in a file of `len` bytes. Gives what is worth fetching now, in its order.
    pub fn next(&mut self, range: &Range<u64>, len: u64) -> Option<Vec<Range<u64>>> {
        let step = range.start as i64 - self.last.start as i64;
        let forward = range.start == self.last.end && range.start != range.end;
        let follows = step != 0 && step == self.step || forward && self.step >= 0;
        let last = std::mem::replace(&mut self.last, range.clone());
        self.step = step;
        if !follows {
            self.seen = u32::from(forward || range.end == last.start);
            self.window = 0;
            return None;
        }
        self.seen += 1;
        if self.seen < STEPS {
            return None;
        }
        if self.window == 0 {
            self.window = FIRST;
            self.named = if step > 0 { range.end } else { range.start };
        }
        let size = range.end - range.start;
        let forward = forward || step > 0 && step as u64 <= size;
        let ranges = if forward {
            self.contiguous(range.end, len)
        } else if step < 0 && step.unsigned_abs() <= size {
            self.backward(range.start)
        } else {
            self.strided(range, step, len)
        };
        (!ranges.is_empty()).then_some(ranges)
    }

    /// The window is refilled when half of it is used, so that requests stay large.
    fn contiguous(&mut self, at: u64, len: u64) -> Vec<Range<u64>> {
        let from = self.named.max(at);
        if from - at > self.window / 2 || from >= len {
            return Vec::new();
        }
        let to = (at + self.window).min(len);
        self.window = (self.window * 2).min(MOST);
        if to <= from {
            return Vec::new();
        }
        self.named = to;
        std::iter::once(from..to).collect()
    }

    fn backward(&mut self, at: u64) -> Vec<Range<u64>> {
        let to = self.named.min(at);
        if at - to > self.window / 2 || to == 0 {
            return Vec::new();
        }
        let from = at.saturating_sub(self.window);
        self.window = (self.window * 2).min(MOST);
        if from >= to {
            return Vec::new();
        }
        self.named = from;
        std::iter::once(from..to).collect()
    }

    fn strided(&mut self, range: &Range<u64>, step: i64, len: u64) -> Vec<Range<u64>> {
        let size = range.end - range.start;
        let count = (self.window / size.max(1)).clamp(1, RANGES);
        self.window = (self.window * 2).min(MOST);
        let mut ranges = Vec::new();
        let mut start = range.start as i64;
        for _ in 0..count {
            start += step;
            if start < 0 || start as u64 >= len {
                break;
            }
            let from = start as u64;
            let beyond = if step > 0 { from >= self.named } else { from < self.named };
            if beyond {
                ranges.push(from..(from + size).min(len));
                self.named = if step > 0 { from + 1 } else { from };
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reads: &[Range<u64>], len: u64) -> Vec<Range<u64>> {
        let mut ahead = Ahead::default();
        reads.iter().filter_map(|r| ahead.next(r, len)).flatten().collect()
    }

    #[test]
    fn a_forward_reader_is_kept_ahead_of() {
        let len = 64 << 20;
        let reads: Vec<_> = (0..1024u64).map(|i| i * 65_536..(i + 1) * 65_536).collect();
        let named = all(&reads, len);
        assert_eq!(named.last().unwrap().end, len);
        for pair in named.windows(2) {
            assert_eq!(pair[0].end, pair[1].start, "nothing twice, nothing left out");
        }
        assert!(named.len() < 40, "few and large: {}", named.len());
    }

    #[test]
    fn a_backward_reader_is_met() {
        let reads: Vec<_> = (0..256u64).rev().map(|i| i * 65_536..(i + 1) * 65_536).collect();
        let named = all(&reads, 16 << 20);
        assert_eq!(named.last().unwrap().start, 0);
        assert!(named.windows(2).all(|p| p[1].end == p[0].start));
    }

    #[test]
    fn strides_are_followed_without_what_lies_between() {
        let reads: Vec<_> = (0..100u64).map(|i| i * 1_000_000..i * 1_000_000 + 4096).collect();
        let named = all(&reads, 1 << 30);
        assert!(named.iter().all(|r| r.start % 1_000_000 == 0 && r.end - r.start == 4096));
        let mut starts: Vec<_> = named.iter().map(|r| r.start).collect();
        starts.dedup();
        assert_eq!(starts.len(), named.len(), "nothing twice");
        assert!(named.len() > 90);
    }

    #[test]
    fn a_random_reader_gets_nothing() {
        let mut x = 1u64;
        let reads: Vec<_> = (0..1000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (x >> 34) * 4096 % (1 << 30);
                at..at + 4096
            })
            .collect();
        assert!(all(&reads, 1 << 30).is_empty());
    }

    #[test]
    fn one_wrong_guess_starts_over() {
        let mut ahead = Ahead::default();
        for i in 0..10u64 {
            ahead.next(&(i * 4096..(i + 1) * 4096), 1 << 30);
        }
        assert!(ahead.next(&(1 << 29..(1 << 29) + 4096), 1 << 30).is_none());
        assert_eq!(ahead.window, 0);
    }
}
