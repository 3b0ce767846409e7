//! TIME-WAIT without sockets or buffers (RFC 9293, 3.6).
//!
//! Problem: the side that closes first must remember the connection for
//! minutes, and ten thousand of them must not hold ten thousand buffers.
//! Invariant: an entry is a few words; the table is a ring of fixed size in
//! order of expiry, and a newer entry may push out the oldest.

use alloc::vec::Vec;

use crate::classify::Segment;
use crate::flows::Flow;
use crate::lists::{Links, List};

/// One connection remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub flow: Flow,
    /// Our next sequence number.
    pub seq: u32,
    /// The peer's next sequence number.
    pub ack: u32,
    expires: u64,
}

/// The table.
pub(crate) struct TimeWait {
    entries: Vec<Option<Entry>>,
    links: Links,
    free: List,
    live: List,
    period_us: u64,
}

/// What a segment to an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ignore it (RFC 1337 for resets).
    Absorb,
    /// Acknowledge again.
    Acknowledge,
    /// A new connection may take over (RFC 9293, 3.10.7.4; RFC 6191).
    Reopen,
}

impl TimeWait {
    /// Room for `entries`, each for `period_ms`.
    pub fn new(entries: usize, period_ms: u64) -> Self {
        let (links, free) = Links::with_all(entries);
        Self {
            entries: alloc::vec![None; entries],
            links,
            free,
            live: List::default(),
            period_us: period_ms * 1000,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        self.live.len
    }

    /// When the next entry expires.
    pub fn deadline(&self) -> Option<u64> {
        self.get(self.live.head).map(|e| e.expires)
    }

    /// An entry.
    pub fn get(&self, index: u32) -> Option<Entry> {
        self.entries.get(index as usize).copied().flatten()
    }

    /// Makes room if there is none: the entry that had to go.
    pub fn make_room(&mut self) -> Option<(u32, Entry)> {
        if self.free.len != 0 {
            return None;
        }
        let oldest = self.live.head;
        let entry = self.get(oldest)?;
        self.remove(oldest);
        Some((oldest, entry))
    }

    /// Remembers a connection; room must have been made.
    pub fn insert(&mut self, flow: Flow, seq: u32, ack: u32, now: u64) -> Option<u32> {
        let index = self.links.pop_front(&mut self.free)?;
        self.entries[index as usize] = Some(Entry {
            flow,
            seq,
            ack,
            expires: now + self.period_us,
        });
        self.links.push_back(&mut self.live, index);
        Some(index)
    }

    /// Forgets an entry.
    pub fn remove(&mut self, index: u32) {
        if self.entries[index as usize].take().is_some() {
            self.links.remove(&mut self.live, index);
            self.links.push_back(&mut self.free, index);
        }
    }

    /// Takes an entry whose time is over.
    pub fn expire(&mut self, now: u64) -> Option<(u32, Entry)> {
        let index = self.live.head;
        let entry = self.get(index).filter(|e| e.expires <= now)?;
        self.remove(index);
        Some((index, entry))
    }

    /// Any entry, to empty the table.
    pub fn any(&self) -> Option<u32> {
        self.get(self.live.head).map(|_| self.live.head)
    }

    /// Judges a segment; a repeated FIN starts the time anew.
    pub fn judge(&mut self, index: u32, segment: &Segment, now: u64) -> Verdict {
        let Some(entry) = &mut self.entries[index as usize] else {
            return Verdict::Absorb;
        };
        if segment.rst {
            return Verdict::Absorb;
        }
        let newer = segment.seq.wrapping_sub(entry.ack) as i32 > 0;
        if segment.syn && segment.ack.is_none() && newer {
            return Verdict::Reopen;
        }
        if segment.fin {
            entry.expires = now + self.period_us;
            self.links.remove(&mut self.live, index);
            self.links.push_back(&mut self.live, index);
        }
        if segment.end() == segment.seq {
            return Verdict::Absorb;
        }
        Verdict::Acknowledge
    }
}
