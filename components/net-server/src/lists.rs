//! Lists over the slots of a table, without allocation.
//!
//! Problem: sockets, connections and requests move between queues on every
//! packet, and an attacker chooses how many there are. Invariant: the links
//! live in an array made at start-up, a slot is on at most one list, and
//! every operation is O(1).

use alloc::vec::Vec;
use core::ops::Range;

/// "No slot".
pub(crate) const NONE: u32 = u32::MAX;

/// One list: its ends and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub head: u32,
    pub tail: u32,
    pub len: u32,
}

impl List {
    /// The list of nothing.
    pub const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        len: 0,
    };
}

impl Default for List {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The slots beside one.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// The links of all slots of one table.
#[derive(Debug)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    /// Links for `slots` slots, and a list that holds them all in order.
    pub fn with_all(slots: usize) -> (Self, List) {
        Self::with_some(slots as u32, 0..slots as u32)
    }

    /// Links for `slots` slots, and a list that holds some of them in order.
    pub fn with_some(slots: u32, some: Range<u32>) -> (Self, List) {
        let none = Link {
            prev: NONE,
            next: NONE,
        };
        let mut links = Self(alloc::vec![none; slots as usize]);
        let mut list = List::default();
        for slot in some {
            links.push_back(&mut list, slot);
        }
        (links, list)
    }

    /// Appends a slot that is on no list.
    #[inline(always)]
    pub fn push_back(&mut self, list: &mut List, slot: u32) {
        self.0[slot as usize] = Link {
            prev: list.tail,
            next: NONE,
        };
        match list.tail {
            NONE => list.head = slot,
            tail => self.0[tail as usize].next = slot,
        }
        list.tail = slot;
        list.len += 1;
    }

    /// Puts a slot that is on no list at the front.
    #[inline]
    pub fn push_front(&mut self, list: &mut List, slot: u32) {
        self.0[slot as usize] = Link {
            prev: NONE,
            next: list.head,
        };
        match list.head {
            NONE => list.tail = slot,
            head => self.0[head as usize].prev = slot,
        }
        list.head = slot;
        list.len += 1;
    }

    /// Takes a slot off the list that it is on.
    #[inline]
    pub fn remove(&mut self, list: &mut List, slot: u32) {
        let Link { prev, next } = self.0[slot as usize];
        match prev {
            NONE => list.head = next,
            p => self.0[p as usize].next = next,
        }
        match next {
            NONE => list.tail = prev,
            n => self.0[n as usize].prev = prev,
        }
        list.len -= 1;
    }

    /// Takes the first slot off.
    #[inline(always)]
    pub fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let head = list.head;
        if head == NONE {
            return None;
        }
        let next = self.0[head as usize].next;
        list.head = next;
        match next {
            NONE => list.tail = NONE,
            n => self.0[n as usize].prev = NONE,
        }
        list.len -= 1;
        Some(head)
    }

    /// Puts a slot that is on no list behind `at`, or at the front.
    pub fn insert_after(&mut self, list: &mut List, at: Option<u32>, slot: u32) {
        let Some(at) = at else {
            self.push_front(list, slot);
            return;
        };
        let next = self.0[at as usize].next;
        if next == NONE {
            self.push_back(list, slot);
            return;
        }
        self.0[slot as usize] = Link { prev: at, next };
        self.0[at as usize].next = slot;
        self.0[next as usize].prev = slot;
        list.len += 1;
    }

    /// The slot behind `slot` on its list.
    pub fn after(&self, slot: u32) -> u32 {
        self.0[slot as usize].next
    }

    /// The slot before `slot` on its list.
    pub fn before(&self, slot: u32) -> u32 {
        self.0[slot as usize].prev
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_move_between_lists() {
        let (mut links, mut free) = Links::with_all(4);
        let mut used = List::default();
        let a = links.pop_front(&mut free).unwrap();
        let b = links.pop_front(&mut free).unwrap();
        let c = links.pop_front(&mut free).unwrap();
        for s in [a, b, c] {
            links.push_back(&mut used, s);
        }
        links.remove(&mut used, b);
        assert_eq!((used.head, links.after(a), used.len), (a, c, 2));
        links.insert_after(&mut used, Some(a), b);
        assert_eq!((links.after(a), links.before(c), used.len), (b, b, 3));
        links.remove(&mut used, b);
        links.insert_after(&mut used, None, b);
        assert_eq!((used.head, links.after(b)), (b, a));
        links.remove(&mut used, b);
        links.insert_after(&mut used, Some(c), b);
        assert_eq!((used.tail, links.after(c)), (b, b));
        links.remove(&mut used, b);
        links.push_back(&mut free, b);
        assert_eq!(links.pop_front(&mut free), Some(3));
        assert_eq!(links.pop_front(&mut free), Some(b));
        assert_eq!(links.pop_front(&mut free), None);
    }
}
