//! Lists over the slots of a table, without allocation.
//!
//! Problem: sockets, connections and requests move between queues on every
//! packet, and an attacker chooses how many there are. Invariant: the links
//! live in two arrays made at start-up, a slot is on at most one list, and
//! every operation is O(1).

use alloc::vec::Vec;

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

/// The links of all slots of one table.
#[derive(Debug)]
pub(crate) struct Links {
    prev: Vec<u32>,
    next: Vec<u32>,
}

impl Links {
    /// Links for `slots` slots, and a list that holds them all in order.
    pub fn with_all(slots: usize) -> (Self, List) {
        let mut links = Self {
            prev: alloc::vec![NONE; slots],
            next: alloc::vec![NONE; slots],
        };
        let mut all = List::default();
        for slot in 0..slots as u32 {
            links.push_back(&mut all, slot);
        }
        (links, all)
    }

    /// Appends a slot that is on no list.
    pub fn push_back(&mut self, list: &mut List, slot: u32) {
        self.prev[slot as usize] = list.tail;
        self.next[slot as usize] = NONE;
        match list.tail {
            NONE => list.head = slot,
            tail => self.next[tail as usize] = slot,
        }
        list.tail = slot;
        list.len += 1;
    }

    /// Puts a slot that is on no list at the front.
    #[inline]
    pub fn push_front(&mut self, list: &mut List, slot: u32) {
        self.prev[slot as usize] = NONE;
        self.next[slot as usize] = list.head;
        match list.head {
            NONE => list.tail = slot,
            head => self.prev[head as usize] = slot,
        }
        list.head = slot;
        list.len += 1;
    }

    /// Takes a slot off the list that it is on.
    pub fn remove(&mut self, list: &mut List, slot: u32) {
        let (prev, next) = (self.prev[slot as usize], self.next[slot as usize]);
        match prev {
            NONE => list.head = next,
            p => self.next[p as usize] = next,
        }
        match next {
            NONE => list.tail = prev,
            n => self.prev[n as usize] = prev,
        }
        list.len -= 1;
    }

    /// Takes the first slot off.
    pub fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let head = list.head;
        if head == NONE {
            return None;
        }
        let next = self.next[head as usize];
        list.head = next;
        match next {
            NONE => list.tail = NONE,
            n => self.prev[n as usize] = NONE,
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
        let next = self.next[at as usize];
        if next == NONE {
            self.push_back(list, slot);
            return;
        }
        self.prev[slot as usize] = at;
        self.next[slot as usize] = next;
        self.next[at as usize] = slot;
        self.prev[next as usize] = slot;
        list.len += 1;
    }

    /// The slot behind `slot` on its list.
    pub fn after(&self, slot: u32) -> u32 {
        self.next[slot as usize]
    }

    /// The slot before `slot` on its list.
    pub fn before(&self, slot: u32) -> u32 {
        self.prev[slot as usize]
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
