//! Requests that wait.
//!
//! Problem: thousands of requests wait on hundreds of sockets. Invariant: one
//! table with a slot for every request that the manager may have outstanding;
//! a request waits on exactly one list; a manager that sends more is answered
//! `NoResources`.

use alloc::vec::Vec;

use socket_api::{Request, SERVER_REQUESTS};

use crate::lists::{Links, List};

/// A request that waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    pub request: Request,
    /// Bytes done so far.
    pub done: u32,
    /// When waiting is over, in microseconds; 0 for never.
    pub deadline: u64,
    /// A handle of the operation's own.
    pub tag: u32,
}

/// The table.
pub(crate) struct Pending {
    slots: Vec<Waiting>,
    links: Links,
    free: List,
}

impl Pending {
    /// An empty table.
    pub fn new() -> Self {
        let (links, free) = Links::with_all(SERVER_REQUESTS as usize);
        Self {
            slots: alloc::vec![Waiting::default(); SERVER_REQUESTS as usize],
            links,
            free,
        }
    }

    /// How many wait.
    pub fn len(&self) -> u32 {
        SERVER_REQUESTS - self.free.len
    }

    /// Appends a request to a list, or gives it back when all slots are used.
    pub fn push(&mut self, list: &mut List, waiting: Waiting) -> Result<u32, Request> {
        let Some(slot) = self.links.pop_front(&mut self.free) else {
            return Err(waiting.request);
        };
        self.slots[slot as usize] = waiting;
        self.links.push_back(list, slot);
        Ok(slot)
    }

    /// The first of a list.
    pub fn first(&self, list: &List) -> Option<Waiting> {
        self.slots.get(list.head as usize).copied()
    }

    /// The first of a list, to change it.
    pub fn first_mut(&mut self, list: &List) -> Option<&mut Waiting> {
        self.slots.get_mut(list.head as usize)
    }

    /// Takes the first of a list.
    pub fn pop(&mut self, list: &mut List) -> Option<Waiting> {
        let slot = self.links.pop_front(list)?;
        self.links.push_front(&mut self.free, slot);
        Some(self.slots[slot as usize])
    }

    /// Takes the first of a list that `wanted` says yes to.
    pub fn take(&mut self, list: &mut List, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let mut slot = list.head;
        while let Some(waiting) = self.slots.get(slot as usize) {
            if wanted(waiting) {
                let waiting = *waiting;
                self.links.remove(list, slot);
                self.links.push_front(&mut self.free, slot);
                return Some(waiting);
            }
            slot = self.links.after(slot);
        }
        None
    }
}
