//! Deadlines: one at most per id, the earliest found at once.
//!
//! Problem: a thousand idle sockets must cost nothing, so nobody may scan
//! them for the next timeout. Invariant: a binary heap in which each id knows
//! its place, so that setting, moving and removing a deadline is O(log n) and
//! the heap never holds more entries than ids.

use alloc::vec::Vec;

const ABSENT: u32 = u32::MAX;

/// The heap. Ids run from 0 to the number given at the start.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Vec<(u64, u32)>,
    place: Vec<u32>,
}

impl Timers {
    /// Room for ids below `ids`.
    pub fn new(ids: usize) -> Self {
        Self {
            heap: Vec::with_capacity(ids),
            place: alloc::vec![ABSENT; ids],
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<u64> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Takes an id whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: u64) -> Option<u32> {
        let &(deadline, id) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.set(id, None);
        Some(id)
    }

    /// Sets, moves or (`None`) removes the deadline of an id.
    pub fn set(&mut self, id: u32, deadline: Option<u64>) {
        let place = self.place[id as usize] as usize;
        match (place == ABSENT as usize, deadline) {
            (true, None) => {}
            (true, Some(deadline)) => {
                self.heap.push((deadline, id));
                self.sift_up(self.heap.len() - 1);
            }
            (false, Some(deadline)) => {
                let old = self.heap[place].0;
                self.heap[place].0 = deadline;
                match deadline.cmp(&old) {
                    core::cmp::Ordering::Less => self.sift_up(place),
                    core::cmp::Ordering::Greater => self.sift_down(place),
                    core::cmp::Ordering::Equal => {}
                }
            }
            (false, None) => {
                self.place[id as usize] = ABSENT;
                self.heap.swap_remove(place);
                if place < self.heap.len() {
                    self.sift_up(place);
                    self.sift_down(self.place[self.heap[place].1 as usize] as usize);
                }
            }
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= self.heap[at].0 {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
        self.place[self.heap[at].1 as usize] = at as u32;
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.heap[child].0 < self.heap[least].0 {
                    least = child;
                }
            }
            if least == at {
                break;
            }
            self.swap(least, at);
            at = least;
        }
        self.place[self.heap[at].1 as usize] = at as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1 as usize] = a as u32;
        self.place[self.heap[b].1 as usize] = b as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u32..8, proptest::option::of(0u64..50)), 1..200)) {
            let mut timers = Timers::new(8);
            let mut model = BTreeMap::new();
            for (id, deadline) in steps {
                timers.set(id, deadline);
                match deadline {
                    Some(d) => model.insert(id, d),
                    None => model.remove(&id),
                };
                prop_assert_eq!(timers.next(), model.values().min().copied());
            }
            while let Some(earliest) = timers.next() {
                prop_assert_eq!(timers.pop_due(earliest.wrapping_sub(1).min(earliest)).is_some(), earliest == 0);
                if earliest == 0 { model.clear(); break; }
                let id = timers.pop_due(earliest).unwrap();
                prop_assert_eq!(model.remove(&id), Some(earliest));
            }
            prop_assert!(model.is_empty());
        }
    }
}
