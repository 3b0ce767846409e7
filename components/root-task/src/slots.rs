//! Which slots of the root task's CSpace are free.
//!
//! Invariant: ranges handed out are disjoint until they are given back; the
//! free ranges are kept sorted and merged, so a system that came and went
//! leaves the same ranges behind.

use alloc::vec::Vec;
use core::ops::Range;

/// The free slots.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    free: Vec<Range<usize>>,
}

impl Slots {
    /// All of `range` is free.
    #[must_use]
    pub fn new(range: Range<usize>) -> Self {
        let mut this = Self::default();
        this.release(range);
        this
    }

    /// Takes `count` consecutive slots; `None` if there are none.
    pub fn take(&mut self, count: usize) -> Option<Range<usize>> {
        let at = self.free.iter().position(|r| r.len() >= count)?;
        let range = self.free.get_mut(at)?;
        let taken = range.start..range.start + count;
        range.start = taken.end;
        if range.start >= range.end {
            self.free.remove(at);
        }
        Some(taken)
    }

    /// Gives `range` back. Its slots must be empty.
    pub fn release(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let at = self.free.partition_point(|r| r.start < range.start);
        self.free.insert(at, range);
        self.merge(at);
        if at > 0 {
            self.merge(at - 1);
        }
    }

    /// Merges range number `at` with the next one if they touch.
    fn merge(&mut self, at: usize) {
        if let [left, right, ..] = self.free.get_mut(at..).unwrap_or(&mut [])
            && left.end == right.start
        {
            left.end = right.end;
            self.free.remove(at + 1);
        }
    }

    /// How many slots are free.
    #[must_use]
    pub fn count(&self) -> usize {
        self.free.iter().map(ExactSizeIterator::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_run_out_and_come_back() {
        let mut slots = Slots::new(10..14);
        assert_eq!(slots.take(3), Some(10..13));
        assert_eq!(slots.take(2), None);
        assert_eq!(slots.take(1), Some(13..14));
        slots.release(10..13);
        slots.release(13..14);
        assert_eq!((slots.count(), slots.take(4)), (4, Some(10..14)));
    }

    proptest! {
        #[test]
        fn taken_ranges_are_disjoint_and_nothing_leaks(steps in prop::collection::vec((1usize..9, any::<prop::sample::Index>(), any::<bool>()), 1..80)) {
            let mut slots = Slots::new(100..200);
            let mut held: Vec<Range<usize>> = Vec::new();
            for (count, which, give) in steps {
                if give && !held.is_empty() {
                    slots.release(held.swap_remove(which.index(held.len())));
                } else if let Some(range) = slots.take(count) {
                    prop_assert_eq!(range.len(), count);
                    prop_assert!(range.start >= 100 && range.end <= 200);
                    prop_assert!(held.iter().all(|h| h.end <= range.start || range.end <= h.start));
                    held.push(range);
                }
                let taken: usize = held.iter().map(|h| h.len()).sum();
                prop_assert_eq!(slots.count(), 100 - taken);
            }
            held.into_iter().for_each(|r| slots.release(r));
            prop_assert_eq!(slots.take(100), Some(100..200));
        }
    }
}
