//! The sends of a connection, in the order of the stream.
//!
//! Problem: smoltcp keeps how many bytes are queued, sent and acknowledged,
//! but not the bytes, which stay in memory that the server never sees.
//! Invariant: the sends on the list, of which all but those from `next` on are
//! queued in full, are the stream from the first unacknowledged byte to
//! `write_seq`; a send leaves the list when its last byte is acknowledged, or
//! with the connection. Sequence numbers wrap around; all that are compared
//! are closer than the send buffer is long.

use socket_api::Part;

use crate::cut::Cut;
use crate::lists::{List, NONE};
use crate::pending::{Pending, Waiting};

/// Sends of one connection that may be held.
pub(crate) const HELD: u32 = 32;

/// How far `a` is behind `b`, in bytes; negative if it is before.
#[inline]
pub(crate) fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// What a connection sends.
#[derive(Debug)]
pub(crate) struct Outflow {
    pub list: List,
    /// Slot of the first send that is not queued in full.
    pub next: u32,
    /// Slot of the send that bytes were last taken from.
    hint: u32,
    /// Sequence number of the next byte to be queued.
    pub write_seq: u32,
    /// First byte that is not acknowledged.
    pub una: u32,
    /// Sends that are completed already.
    pub held: u32,
    /// Sends that are queued in full and could be.
    pub holdable: u32,
    /// What smoltcp has sent that found no send slot yet.
    pub owed: Option<Cut>,
}

impl Outflow {
    /// Of a connection that has not begun.
    pub const NEW: Self = Self {
        list: List::EMPTY,
        next: NONE,
        hint: NONE,
        write_seq: 0,
        una: 0,
        held: 0,
        holdable: 0,
        owed: None,
    };

    /// Our SYN has this number.
    pub fn open(&mut self, initial: u32) {
        self.write_seq = initial.wrapping_add(1);
        self.una = self.write_seq;
    }

    /// Appends a send; false if there are too many.
    pub fn push(&mut self, pending: &mut Pending, waiting: Waiting) -> bool {
        match pending.push(&mut self.list, waiting) {
            Ok(slot) => {
                if self.next == NONE {
                    self.next = slot;
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Takes the first send off.
    pub fn pop(&mut self, pending: &mut Pending) -> Option<Waiting> {
        self.remove(pending, self.list.head)
    }

    /// Takes the send in a slot off.
    pub fn remove(&mut self, pending: &mut Pending, slot: u32) -> Option<Waiting> {
        pending.get(slot)?;
        if self.hint == slot {
            self.hint = NONE;
        }
        if self.next == slot {
            self.next = pending.after(slot);
        }
        let waiting = pending.remove(&mut self.list, slot);
        self.held -= u32::from(waiting.held);
        Some(waiting)
    }

    /// Sends that are not completed.
    pub fn outstanding(&self) -> u32 {
        self.list.len - self.held
    }

    /// Whether there is a first send, all bytes of which are acknowledged.
    #[inline]
    pub fn first_is_done(&self, pending: &Pending) -> bool {
        let head = self.list.head;
        head != self.next
            && pending
                .get(head)
                .is_some_and(|w| distance(self.una, w.tag.wrapping_add(w.done)) >= 0)
    }

    /// How many bytes of a send are acknowledged.
    pub fn acknowledged(&self, waiting: &Waiting) -> u32 {
        if waiting.done == 0 {
            return 0;
        }
        distance(self.una, waiting.tag).clamp(0, waiting.done as i32) as u32
    }

    /// Where the `len` bytes from `seq` on are, as far as `parts` has room:
    /// how many parts, and how many bytes they have.
    pub fn parts(
        &mut self,
        pending: &Pending,
        seq: u32,
        len: u32,
        parts: &mut [Part],
    ) -> (usize, u32) {
        let mut slot = match pending.get(self.hint) {
            Some(hint) if distance(seq, hint.tag) >= 0 => self.hint,
            _ => self.list.head,
        };
        let (mut count, mut bytes) = (0, 0);
        while bytes < len && count < parts.len() {
            let Some(waiting) = pending.get(slot) else {
                break;
            };
            let offset = distance(seq.wrapping_add(bytes), waiting.tag);
            if offset < 0 {
                break;
            }
            let left = waiting.done.saturating_sub(offset as u32).min(len - bytes);
            if left != 0 {
                self.hint = slot;
                parts[count] = Part {
                    token: waiting.request.user_data,
                    offset: offset as u32,
                    len: left,
                };
                count += 1;
                bytes += left;
            }
            if bytes < len {
                slot = pending.after(slot);
            }
        }
        (count, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket_api::{Extent, Op, Request};

    fn send(token: u64, seq: u32, len: u32) -> Waiting {
        let mut request = Request::new(Op::Send, 0, token);
        request.extent = Extent { address: 0, len };
        Waiting {
            request,
            done: len,
            tag: seq,
            ..Waiting::default()
        }
    }

    #[test]
    fn bytes_are_found_across_sends_and_around_the_end_of_the_numbers() {
        let mut pending = Pending::new();
        let mut out = Outflow::NEW;
        let start = u32::MAX - 5;
        for (token, at, len) in [(1, 0, 4), (2, 4, 0), (3, 4, 10), (4, 14, 6)] {
            assert!(out.push(&mut pending, send(token, start.wrapping_add(at), len)));
        }
        let mut parts = [Part::default(); 3];
        let found = |out: &mut Outflow, at: u32, len, parts: &mut [Part]| {
            let (count, bytes) = out.parts(&pending, start.wrapping_add(at), len, parts);
            let tokens: std::vec::Vec<_> = parts[..count]
                .iter()
                .map(|p| (p.token, p.offset, p.len))
                .collect();
            (tokens, bytes)
        };
        let all = found(&mut out, 1, 19, &mut parts);
        assert_eq!(all, (std::vec![(1, 1, 3), (3, 0, 10), (4, 0, 6)], 19));
        // Back again, as for a retransmission.
        let again = found(&mut out, 2, 3, &mut parts);
        assert_eq!(again, (std::vec![(1, 2, 2), (3, 0, 1)], 3));
        let short = found(&mut out, 3, 15, &mut parts[..2]);
        assert_eq!(short, (std::vec![(1, 3, 1), (3, 0, 10)], 11));
        assert_eq!(found(&mut out, 20, 1, &mut parts).1, 0);
        assert_eq!(found(&mut out, u32::MAX, 1, &mut parts).1, 0);
    }

    #[test]
    fn what_is_acknowledged_is_counted() {
        let mut pending = Pending::new();
        let mut out = Outflow::NEW;
        out.open(u32::MAX - 3);
        out.push(&mut pending, send(1, out.write_seq, 8));
        for (una, bytes) in [(0, 0), (3, 3), (8, 8), (20, 8)] {
            out.una = out.write_seq.wrapping_add(una);
            let first = pending.first(&out.list).unwrap();
            assert_eq!(out.acknowledged(&first), bytes);
        }
        assert_eq!(out.pop(&mut pending).unwrap().request.user_data, 1);
        assert!(out.pop(&mut pending).is_none());
    }
}
