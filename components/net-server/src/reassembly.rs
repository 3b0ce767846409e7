//! Datagrams put together from fragments.
//!
//! Problem: fragments come in any order, from anyone, for ever, and may
//! contradict one another. Invariant: a fixed number of slots, each with room
//! for the largest datagram and a bit for every 8 bytes; a datagram any two of
//! whose fragments overlap is dropped whole (RFC 5722, applied to IPv4), as is
//! what still arrives for it; one source never holds more than half the slots.
//!
//! smoltcp never sees a fragment: it lets a later fragment overwrite an
//! earlier one, and without the ports of the first fragment nobody can
//! demultiplex the others.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv4Repr,
};

use crate::classify::{Datagram, ETHERNET};
use crate::counters::Counter;

const IP_HEADER: usize = 20;
const MOST: usize = 65535 - IP_HEADER;
const WORDS: usize = 128;
const LIFETIME_US: u64 = 30_000_000;

type Key = (Ipv4Address, Ipv4Address, u16, IpProtocol);

struct Slot {
    key: Option<Key>,
    since: u64,
    poisoned: bool,
    total: Option<usize>,
    blocks: usize,
    received: [u64; WORDS],
    /// Where fragments begin, by block.
    begins: [u64; WORDS],
    bytes: Vec<u8>,
}

/// All slots.
pub(crate) struct Reassembly {
    slots: Box<[Slot]>,
    /// Slots in use.
    pub active: u32,
    /// Datagrams given up to make room, since the caller last looked.
    pub evicted: u64,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More are needed.
    Kept,
    /// Dropped, and why.
    Dropped(Counter),
    /// The datagram is whole, in this slot, until the next call.
    Whole(usize),
}

impl Reassembly {
    /// `slots` empty slots.
    pub fn new(slots: usize) -> Self {
        let slot = || Slot {
            key: None,
            since: 0,
            poisoned: false,
            total: None,
            blocks: 0,
            received: [0; WORDS],
            begins: [0; WORDS],
            bytes: alloc::vec![0; ETHERNET + IP_HEADER + MOST],
        };
        Self {
            slots: (0..slots).map(|_| slot()).collect(),
            active: 0,
            evicted: 0,
        }
    }

    /// The oldest slot's end, in microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let used = self.slots.iter().filter(|s| s.key.is_some());
        used.map(|s| s.since + LIFETIME_US).min()
    }

    /// Gives up what is too old; how many that were.
    pub fn expire(&mut self, now: u64) -> u64 {
        let mut expired = 0;
        for slot in self.slots.iter_mut().filter(|s| s.key.is_some()) {
            if slot.since + LIFETIME_US <= now {
                slot.key = None;
                self.active -= 1;
                expired += 1;
            }
        }
        expired
    }

    /// The frame buffer and the facts of the datagram that `add` said is
    /// whole; the buffer goes back with [`Reassembly::put_back`].
    pub fn take(&mut self, slot: usize, last: &Datagram, mac: [u8; 6]) -> (Vec<u8>, Datagram) {
        let len = self.slots[slot].total.unwrap_or(0);
        let mut bytes = core::mem::take(&mut self.slots[slot].bytes);
        let frame = &mut bytes[..ETHERNET + IP_HEADER + len];
        EthernetRepr {
            src_addr: last.src_mac,
            dst_addr: EthernetAddress(mac),
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut EthernetFrame::new_unchecked(&mut *frame));
        Ipv4Repr {
            src_addr: last.src,
            dst_addr: last.dst,
            next_header: last.protocol,
            payload_len: len,
            hop_limit: 64,
        }
        .emit(
            &mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]),
            &ChecksumCapabilities::default(),
        );
        let whole = Datagram {
            payload_at: ETHERNET + IP_HEADER,
            payload_len: len,
            more_fragments: false,
            fragment_offset: 0,
            ..*last
        };
        (bytes, whole)
    }

    /// Returns what `take` gave.
    pub fn put_back(&mut self, slot: usize, bytes: Vec<u8>) {
        self.slots[slot].bytes = bytes;
    }

    /// Files one fragment.
    pub fn add(&mut self, ip: &Datagram, payload: &[u8], now: u64) -> Outcome {
        let end = ip.fragment_offset + payload.len();
        let whole_blocks = payload.len().is_multiple_of(8);
        if payload.is_empty() || end > MOST || (ip.more_fragments && !whole_blocks) {
            return Outcome::Dropped(Counter::DropBadFragment);
        }
        let key = (ip.src, ip.dst, ip.ident, ip.protocol);
        let Some(at) = self.slot_for(key, now) else {
            return Outcome::Dropped(Counter::DropFragmentTable);
        };
        let slot = &mut self.slots[at];
        if slot.poisoned {
            return Outcome::Dropped(Counter::DropFragmentOverlap);
        }
        if let Err(reason) = slot.file(ip, payload, end) {
            slot.poisoned = reason != Counter::DropNoSocket;
            if !slot.poisoned {
                return Outcome::Kept;
            }
            return Outcome::Dropped(reason);
        }
        if slot.total.is_some_and(|t| slot.blocks == t.div_ceil(8)) {
            slot.key = None;
            self.active -= 1;
            return Outcome::Whole(at);
        }
        Outcome::Kept
    }

    fn slot_for(&mut self, key: Key, now: u64) -> Option<usize> {
        let mut free = None;
        let mut oldest = (u64::MAX, 0);
        let mut of_source = (u64::MAX, 0, 0);
        for (i, slot) in self.slots.iter().enumerate() {
            match slot.key {
                Some(k) if k == key => return Some(i),
                Some(k) => {
                    if k.0 == key.0 {
                        of_source = (
                            of_source.0.min(slot.since),
                            of_source.1.max(i),
                            of_source.2 + 1,
                        );
                    }
                    if slot.since < oldest.0 {
                        oldest = (slot.since, i);
                    }
                }
                None => free = Some(i),
            }
        }
        if self.slots.len() > 1 && of_source.2 * 2 >= self.slots.len() {
            return None;
        }
        let at = match free {
            Some(at) => {
                self.active += 1;
                at
            }
            // Only what has had a second to complete makes room.
            None if oldest.0 + 1_000_000 <= now => {
                self.evicted += 1;
                oldest.1
            }
            None => return None,
        };
        let slot = &mut self.slots[at];
        slot.key = Some(key);
        slot.since = now;
        slot.poisoned = false;
        slot.total = None;
        slot.blocks = 0;
        slot.received = [0; WORDS];
        slot.begins = [0; WORDS];
        Some(at)
    }
}

impl Slot {
    /// Files the bytes. `Err(DropNoSocket)` stands for an exact duplicate,
    /// which changes nothing; any other error spoils the datagram.
    fn file(&mut self, ip: &Datagram, payload: &[u8], end: usize) -> Result<(), Counter> {
        let total = if ip.more_fragments {
            self.total
        } else {
            Some(end)
        };
        let contradicts = self.total.is_some() && self.total != total
            || total.is_some_and(|t| end > t)
            || !ip.more_fragments && self.beyond(end);
        if contradicts {
            return Err(Counter::DropFragmentOverlap);
        }
        let (first, last) = (ip.fragment_offset / 8, end.div_ceil(8));
        let present = (first..last).filter(|b| self.has(*b)).count();
        let into = &mut self.bytes[ETHERNET + IP_HEADER + ip.fragment_offset..][..payload.len()];
        if present != 0 {
            let same = present == last - first && into == payload && self.is_one(first, last);
            return Err(if same {
                Counter::DropNoSocket
            } else {
                Counter::DropFragmentOverlap
            });
        }
        into.copy_from_slice(payload);
        for block in first..last {
            self.received[block / 64] |= 1 << (block % 64);
        }
        self.begins[first / 64] |= 1 << (first % 64);
        self.blocks += last - first;
        self.total = total;
        Ok(())
    }

    fn has(&self, block: usize) -> bool {
        self.received[block / 64] >> (block % 64) & 1 != 0
    }

    /// Whether the blocks, all of which came, came as one fragment.
    fn is_one(&self, first: usize, last: usize) -> bool {
        let begins = |b: usize| self.begins[b / 64] >> (b % 64) & 1 != 0;
        let ends = last == WORDS * 64 || begins(last) || !self.has(last);
        ends && begins(first) && !(first + 1..last).any(begins)
    }

    /// Whether bytes behind `end` have already come.
    fn beyond(&self, end: usize) -> bool {
        (end.div_ceil(8)..WORDS * 64).any(|b| self.has(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(ident: u16, offset: usize, more: bool) -> Datagram {
        Datagram {
            src: Ipv4Address::new(10, 0, 0, 1),
            dst: Ipv4Address::new(10, 0, 0, 2),
            protocol: IpProtocol::Udp,
            ident,
            payload_at: 34,
            payload_len: 0,
            more_fragments: more,
            fragment_offset: offset,
            src_mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
        }
    }

    #[test]
    fn puts_together_in_any_order_and_ignores_exact_duplicates() {
        let mut r = Reassembly::new(4);
        let last = fragment(1, 16, false);
        assert_eq!(r.add(&last, b"tail", 0), Outcome::Kept);
        assert_eq!(r.add(&last, b"tail", 0), Outcome::Kept);
        let first = fragment(1, 0, true);
        let Outcome::Whole(slot) = r.add(&first, b"0123456789abcdef", 0) else {
            panic!("not whole")
        };
        let (frame, whole) = r.take(slot, &first, [2; 6]);
        let payload = &frame[whole.payload_at..][..whole.payload_len];
        assert_eq!(payload, b"0123456789abcdeftail");
        assert_eq!(r.active, 0);
    }

    #[test]
    fn overlap_spoils_the_whole_datagram() {
        let mut r = Reassembly::new(4);
        assert_eq!(r.add(&fragment(1, 0, true), &[1; 16], 0), Outcome::Kept);
        let dropped = Outcome::Dropped(Counter::DropFragmentOverlap);
        assert_eq!(r.add(&fragment(1, 8, true), &[2; 16], 0), dropped);
        assert_eq!(r.add(&fragment(1, 16, false), &[3; 4], 0), dropped);
        assert_eq!(r.expire(LIFETIME_US), 1);
    }

    #[test]
    fn the_same_bytes_in_other_bounds_are_an_overlap() {
        let dropped = Outcome::Dropped(Counter::DropFragmentOverlap);
        for (offset, len) in [(0, 8), (8, 8), (16, 8), (8, 16), (0, 16)] {
            let mut r = Reassembly::new(4);
            assert_eq!(r.add(&fragment(1, 0, true), &[1; 24], 0), Outcome::Kept);
            assert_eq!(r.add(&fragment(1, 0, true), &[1; 24], 0), Outcome::Kept);
            let again = r.add(&fragment(1, offset, true), &[1; 24][..len], 0);
            assert_eq!(again, dropped, "{len} bytes at {offset}");
        }
        let mut r = Reassembly::new(4);
        for offset in [0, 8] {
            assert_eq!(r.add(&fragment(1, offset, true), &[1; 8], 0), Outcome::Kept);
        }
        assert_eq!(r.add(&fragment(1, 0, true), &[1; 16], 0), dropped);
    }

    #[test]
    fn one_source_cannot_hold_all_slots() {
        let mut r = Reassembly::new(4);
        for ident in 0..2 {
            assert_eq!(r.add(&fragment(ident, 0, true), &[0; 8], 0), Outcome::Kept);
        }
        let full = Outcome::Dropped(Counter::DropFragmentTable);
        assert_eq!(r.add(&fragment(9, 0, true), &[0; 8], 0), full);
        let mut other = fragment(9, 0, true);
        other.src = Ipv4Address::new(10, 0, 0, 7);
        assert_eq!(r.add(&other, &[0; 8], 0), Outcome::Kept);
    }

    #[test]
    fn what_makes_room_for_others_is_counted() {
        let mut r = Reassembly::new(2);
        for (host, now) in [(1, 0), (2, 0), (3, 1_000_000)] {
            let mut part = fragment(1, 0, true);
            part.src = Ipv4Address::new(10, 0, 0, host);
            assert_eq!(r.add(&part, &[0; 8], now), Outcome::Kept);
        }
        assert_eq!((r.active, r.evicted), (2, 1));
    }

    #[test]
    fn impossible_fragments_are_refused() {
        let mut r = Reassembly::new(1);
        let bad = Outcome::Dropped(Counter::DropBadFragment);
        assert_eq!(r.add(&fragment(1, 65528, false), &[0; 8], 0), bad);
        assert_eq!(r.add(&fragment(1, 0, true), &[0; 7], 0), bad);
        assert_eq!(r.add(&fragment(1, 8, true), &[], 0), bad);
    }
}
