//! Requests that wait.
//!
//! Problem: thousands of requests wait on hundreds of sockets. Invariant: one
//! table with a slot for every request that the manager may have outstanding,
//! and for as many sends as may be held after their completion; a request
//! waits on exactly one list; a manager that sends more is answered
//! `NoResources`.

use alloc::vec::Vec;

use socket_api::{Request, SERVER_REQUESTS};

use crate::lists::{Links, List};

/// Sends that may be held in all.
const HELD: u32 = 1024;
/// All slots.
const SLOTS: u32 = SERVER_REQUESTS + HELD;

// The ring to the manager has room for what ends them.
const _: () = assert!(
    SLOTS + 2 * socket_api::SERVER_PACKETS + socket_api::SEND_SLOTS
        <= socket_api::FROM_SERVER.capacity
);

/// A request that waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    pub request: Request,
    /// Bytes done so far; of a stream's send, bytes queued.
    pub done: u32,
    /// A handle of the operation's own; of a stream's send, the sequence
    /// number of its first byte.
    pub tag: u32,
    /// When waiting is over, in microseconds; 0 for never.
    pub deadline: u64,
    /// A stream's send that was completed already.
    pub held: bool,
    /// A stream's send that completes with `Cancelled`.
    pub cancelled: bool,
}

/// The table.
pub(crate) struct Pending {
    slots: Vec<Waiting>,
    links: Links,
    free: List,
    held: u32,
}

impl Pending {
    /// An empty table.
    pub fn new() -> Self {
        let (links, free) = Links::with_all(SLOTS as usize);
        Self {
            slots: alloc::vec![Waiting::default(); SLOTS as usize],
            links,
            free,
            held: 0,
        }
    }

    /// How many wait.
    pub fn len(&self) -> u32 {
        SLOTS - self.free.len
    }

    /// Appends a request to a list, or gives it back when all slots are used.
    pub fn push(&mut self, list: &mut List, waiting: Waiting) -> Result<u32, Request> {
        // Each slot that is not held is a request that is outstanding.
        let outstanding = self.len() - self.held;
        let slot = match outstanding < SERVER_REQUESTS {
            true => self.links.pop_front(&mut self.free),
            false => None,
        };
        let Some(slot) = slot else {
            return Err(waiting.request);
        };
        self.slots[slot as usize] = waiting;
        self.links.push_back(list, slot);
        Ok(slot)
    }

    /// The request in a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Waiting> {
        self.slots.get(slot as usize)
    }

    /// The request in a slot, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Waiting> {
        self.slots.get_mut(slot as usize)
    }

    /// The slot behind one on its list.
    #[inline]
    pub fn after(&self, slot: u32) -> u32 {
        self.links.after(slot)
    }

    /// The first of a list.
    pub fn first(&self, list: &List) -> Option<Waiting> {
        self.slots.get(list.head as usize).copied()
    }

    /// Takes the first of a list.
    #[inline]
    pub fn pop(&mut self, list: &mut List) -> Option<Waiting> {
        let slot = self.links.pop_front(list)?;
        Some(self.give_back(slot))
    }

    /// Takes the first of a list, of which only the request is wanted.
    #[inline]
    pub fn pop_request(&mut self, list: &mut List) -> Option<&Request> {
        let slot = self.links.pop_front(list)?;
        self.links.push_front(&mut self.free, slot);
        self.slots.get(slot as usize).map(|w| &w.request)
    }

    /// Takes the first of a list that `wanted` says yes to.
    pub fn take(&mut self, list: &mut List, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let mut slot = list.head;
        while let Some(waiting) = self.slots.get(slot as usize) {
            if wanted(waiting) {
                return Some(self.remove(list, slot));
            }
            slot = self.links.after(slot);
        }
        None
    }

    /// Takes the request in a slot off its list.
    pub fn remove(&mut self, list: &mut List, slot: u32) -> Waiting {
        self.links.remove(list, slot);
        self.give_back(slot)
    }

    #[inline]
    fn give_back(&mut self, slot: u32) -> Waiting {
        self.links.push_front(&mut self.free, slot);
        let waiting = self.slots[slot as usize];
        self.held -= u32::from(waiting.held);
        waiting
    }

    /// Marks a request as held; false if there are too many.
    pub fn hold(&mut self, slot: u32) -> bool {
        match self.slots.get_mut(slot as usize) {
            Some(waiting) if self.held < HELD && !waiting.held => {
                waiting.held = true;
                self.held += 1;
                true
            }
            _ => false,
        }
    }
}
