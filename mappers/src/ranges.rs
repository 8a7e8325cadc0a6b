//! Disjoint byte ranges with a state. For the few ranges of a file that are out of the ordinary; any length.

use std::collections::BTreeMap;

/// Ranges by their start.
#[derive(Debug)]
pub(crate) struct Ranges<S> {
    map: BTreeMap<u64, (u64, S)>,
}

impl<S> Default for Ranges<S> {
    fn default() -> Self {
        Ranges { map: BTreeMap::new() }
    }
}

impl<S: Copy + PartialEq> Ranges<S> {
    /// Calls `f` with each range, cut to `from..to`, in order, until it says false.
    pub fn walk(&self, from: u64, to: u64, mut f: impl FnMut(u64, u64, S) -> bool) {
        if self.map.is_empty() || from >= to {
            return;
        }
        let before = self.map.range(..from).next_back().filter(|(_, (end, _))| *end > from);
        for (start, (end, state)) in before.into_iter().chain(self.map.range(from..to)) {
            if !f((*start).max(from), (*end).min(to), *state) {
                return;
            }
        }
    }

    /// Cuts `from..to` out.
    pub fn clear(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        if let Some((_, old)) = self.map.range_mut(..from).next_back()
            && old.0 > from
        {
            let (end, state) = *old;
            old.0 = from;
            if end > to {
                self.map.insert(to, (end, state));
            }
        }
        while let Some((&start, &(end, state))) = self.map.range(from..to).next() {
            self.map.remove(&start);
            if end > to {
                self.map.insert(to, (end, state));
            }
        }
    }

    /// Gives `from..to` a state, whatever it had.
    pub fn set(&mut self, mut from: u64, mut to: u64, state: S) {
        if from >= to {
            return;
        }
        self.clear(from, to);
        // Neighbours of the same state become one.
        if let Some((&start, &(end, s))) = self.map.range(..from).next_back()
            && end == from
            && s == state
        {
            from = start;
        }
        if let Some(&(end, s)) = self.map.get(&to)
            && s == state
        {
            self.map.remove(&to);
            to = end;
        }
        self.map.insert(from, (to, state));
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn reset(&mut self) {
        self.map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_an_array(steps in prop::collection::vec((0..100u64, 0..30u64, 0..3u8), 0..60), look in (0..100u64, 0..40u64)) {
            let (mut array, mut ranges) = ([0u8; 200], Ranges::default());
            for (from, len, state) in steps {
                array[from as usize..(from + len) as usize].fill(state);
                if state == 0 { ranges.clear(from, from + len) } else { ranges.set(from, from + len, state) }
            }
            let seen = |from: u64, to: u64| {
                let mut seen = [0u8; 200];
                ranges.walk(from, to, |a, b, s| {
                    seen[a as usize..b as usize].fill(s);
                    true
                });
                seen
            };
            prop_assert_eq!(seen(0, 200), array);
            let (from, to) = (look.0, look.0 + look.1);
            let part = seen(from, to);
            for i in 0..200 {
                prop_assert_eq!(part[i as usize], if (from..to).contains(&i) { array[i as usize] } else { 0 });
            }
            // No more ranges than there must be.
            let least = (0..200).filter(|i| array[*i] != 0 && (*i == 0 || array[*i - 1] != array[*i])).count();
            prop_assert_eq!(ranges.len(), least);
        }
    }
}
