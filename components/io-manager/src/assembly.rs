//! A frame that a server is naming the parts of.
//!
//! Problem: parts come a few at a time, lie in any number of pages, and the
//! device takes so many pieces only. Invariant: what is gathered never exceeds
//! [`MOST_SPANS`] pieces nor the longest frame: neighbours in physical memory
//! become one, and what has no place is copied behind the header into the send
//! slot, while that has room.

use data_passing::{Machine, Place, Sum};
use nic_api::{MOST_SPANS, Span};
use socket_api::Transmit;

use crate::cut::Parts;
use crate::nic::Nic;
use crate::sends::{Reference, References};

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The slot is not the server's.
    Slot,
    /// Lengths or flags of the header contradict themselves or the NIC.
    Header,
    /// The checksum or its field does not lie in the header.
    Checksum,
    /// A part names what the server may not send.
    Part,
    /// It is too long, or in too many pieces.
    Size,
    /// More frames of segments are in flight than may be.
    Frames,
    /// Something else came before the rest.
    Unfinished,
}

/// The frame.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// More parts are to come.
    pub active: bool,
    /// The first entry.
    pub first: Transmit,
    /// Of a segment that is cut here: what it has.
    pub cuts: bool,
    pub parts: Parts,
    spans: [Span; MOST_SPANS],
    count: usize,
    /// Bytes of the frame, and how many it may have.
    pub len: u32,
    pub most: u32,
    /// Bytes of the send slot that are used.
    slot_used: u32,
    /// The checksum, as far as it goes, if it is ours to make.
    pub sum: Option<Sum>,
    pub references: References,
    /// Bytes copied into the slot for the part at hand.
    pub copied: u32,
    /// A client waits for the device to let go.
    pub waited_for: bool,
}

impl Assembly {
    /// No frame.
    pub fn new() -> Self {
        Self {
            active: false,
            first: Transmit::default(),
            cuts: false,
            parts: Parts::default(),
            spans: [Span::default(); MOST_SPANS],
            count: 0,
            len: 0,
            most: 0,
            slot_used: 0,
            sum: None,
            references: References::default(),
            copied: 0,
            waited_for: false,
        }
    }

    /// Begins a segment that is to be cut.
    pub fn begin_parts(&mut self, first: &Transmit) {
        self.active = true;
        self.first = *first;
        self.cuts = true;
        self.parts = Parts::default();
    }

    /// Begins a frame of at most `most` bytes with its header.
    #[inline]
    pub fn begin(&mut self, nic: &Nic, first: &Transmit, most: u32, sum: Option<Sum>) {
        let len = u32::from(first.header_len);
        self.active = true;
        self.first = *first;
        self.cuts = false;
        self.spans[0] = Span {
            paddr: nic.send_slots.paddr + u64::from(nic.send_at(first.slot)),
            len,
            reserved: 0,
        };
        self.count = 1;
        self.len = len;
        self.most = most;
        self.slot_used = len;
        self.sum = sum;
        self.waited_for = false;
    }

    /// The pieces of the frame.
    #[inline]
    pub fn spans(&self) -> &[Span] {
        &self.spans[..self.count]
    }

    /// Adds a piece of payload, within a frame of memory; false if there is no
    /// place for it.
    #[inline]
    pub fn add<M: Machine>(&mut self, nic: &Nic, machine: &mut M, at: Place, len: u32) -> bool {
        if let Some(sum) = &mut self.sum {
            sum.add(machine.sum(at, len), len);
        }
        self.len += len;
        let paddr = machine.paddr(at);
        if self.append(paddr, len) {
            return true;
        }
        let used = self.slot_used;
        if len > nic.slot_stride - used {
            return false;
        }
        let to = nic.send_at(self.first.slot) + used;
        let mut from = at;
        nic.send_slots.pieces(to, len, |to, part| {
            machine.copy(from, to, part);
            from.offset += part;
        });
        self.slot_used += len;
        self.copied += len;
        self.append_last(nic.send_slots.paddr + u64::from(to), len)
    }

    /// Appends a span, unless that were the last place.
    #[inline]
    fn append(&mut self, paddr: u64, len: u32) -> bool {
        self.extend(paddr, len) || (self.count < MOST_SPANS - 1 && self.append_last(paddr, len))
    }

    #[inline]
    fn extend(&mut self, paddr: u64, len: u32) -> bool {
        let Some(last) = self.spans[..self.count].last_mut() else {
            return false;
        };
        let adjoins = last.paddr + u64::from(last.len) == paddr;
        if adjoins {
            last.len += len;
        }
        adjoins
    }

    #[inline]
    fn append_last(&mut self, paddr: u64, len: u32) -> bool {
        if self.extend(paddr, len) {
            return true;
        }
        let Some(span) = self.spans.get_mut(self.count) else {
            return false;
        };
        *span = Span {
            paddr,
            len,
            reserved: 0,
        };
        self.count += 1;
        true
    }

    /// Notes whose bytes it has; true if they were not noted just before.
    #[inline]
    pub fn refer(&mut self, reference: Reference) -> bool {
        self.references.push(reference)
    }
}
