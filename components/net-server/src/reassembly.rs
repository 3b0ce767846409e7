//! Datagrams put together from fragments, by reference.
//!
//! Problem: fragments come in any order, from anyone, for ever, and may
//! contradict one another. Invariant: a fixed number of slots, each with a
//! list of disjoint pieces in order of offset, of which there is a bound in
//! each and in all; a datagram any two of whose fragments overlap is dropped
//! whole (RFC 5722, applied to IPv4), as is what still arrives for it; one
//! source never holds more than half the slots, and nobody keeps what another
//! needs: the newest datagram gets its room from the oldest of its own source if
//! that has its half, else from the oldest of the source that has most. A
//! fragment's packet is held by its piece, or given back.
//!
//! So whoever wants to keep a source's datagrams from becoming whole, in its name
//! or in many, has to send half a table of fragments, or a whole one, in the time
//! that one datagram takes to arrive, and again for the next. What remains is
//! what 16 bits of identification leave open (RFC 4963): who guesses them can
//! spoil a datagram with one fragment, and of a fast sender's datagrams parts may
//! be taken for those of another, which then only the checksum tells. Fragments
//! are lost in many networks, too (RFC 8900): better send what fits a frame.
//!
//! smoltcp never sees a fragment: it lets a later fragment overwrite an
//! earlier one, and without the ports of the first fragment nobody can
//! demultiplex the others. Only UDP is put together: nobody sends TCP in
//! fragments, and what the server reads itself must come in one frame.

use alloc::boxed::Box;
use core::cmp::Reverse;

use smoltcp::wire::Ipv4Address;

use crate::classify::Datagram;
use crate::counters::Counter;
use crate::lists::List;
use crate::packets::{Holder, Packets, Piece};

const MOST: usize = 65535 - 20;
/// Fragments of one datagram: what the longest takes at the smallest MTU.
const FRAGMENTS: u32 = 128;
const LIFETIME_US: u64 = 30_000_000;

type Key = (Ipv4Address, Ipv4Address, u16);

/// A datagram that is being put together, or is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    key: Option<Key>,
    since: u64,
    poisoned: bool,
    total: Option<usize>,
    /// Bytes that are there.
    bytes: usize,
    /// The pieces, in order.
    pub list: List,
    /// The first bytes: the UDP header.
    pub start: [u8; 8],
    /// One's complement sum of all of them.
    pub sum: u64,
    /// Fragments that the device has verified.
    pub verified: u32,
}

/// A fragment whose header is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub packet: u32,
    /// It fills a whole slot.
    pub whole: bool,
    /// Its sum, of all bytes.
    pub sum: u16,
    /// The device has verified it.
    pub verified: bool,
    /// Its first 8 bytes.
    pub start: [u8; 8],
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
    /// It is there already.
    Again,
    /// Dropped, and why.
    Dropped(Counter),
    /// Kept, and the datagram is whole: [`Reassembly::whole`].
    Whole(usize),
}

impl Reassembly {
    /// `slots` empty slots.
    pub fn new(slots: usize) -> Self {
        let slot = Slot {
            key: None,
            since: 0,
            poisoned: false,
            total: None,
            bytes: 0,
            list: List::EMPTY,
            start: [0; 8],
            sum: 0,
            verified: 0,
        };
        Self {
            slots: alloc::vec![slot; slots].into_boxed_slice(),
            active: 0,
            evicted: 0,
        }
    }

    /// The oldest slot's end, in microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let used = self.slots.iter().filter(|s| s.key.is_some());
        used.map(|s| s.since + LIFETIME_US).min()
    }

    /// Gives up what is too old; how many that were. `drop` is called for
    /// packets that are held no more.
    pub fn expire(&mut self, now: u64, packets: &mut Packets, mut drop: impl FnMut(u32)) -> u64 {
        let mut expired = 0;
        for slot in self.slots.iter_mut().filter(|s| s.key.is_some()) {
            if slot.since + LIFETIME_US <= now {
                slot.key = None;
                slot.clear(packets, &mut drop);
                self.active -= 1;
                expired += 1;
            }
        }
        expired
    }

    /// The datagram that `add` said is whole; its pieces are the caller's.
    pub fn whole(&mut self, slot: usize) -> Slot {
        let whole = self.slots[slot];
        self.slots[slot].list = List::EMPTY;
        whole
    }

    /// Files one fragment. `drop` is called for packets that are held no more;
    /// the fragment's own is held if it is kept.
    pub fn add(
        &mut self,
        ip: &Datagram,
        fragment: &Fragment,
        now: u64,
        packets: &mut Packets,
        mut drop: impl FnMut(u32),
    ) -> Outcome {
        let end = ip.fragment_offset + ip.payload_len;
        let whole_blocks = ip.payload_len.is_multiple_of(8);
        if ip.payload_len == 0 || end > MOST || (ip.more_fragments && !whole_blocks) {
            return Outcome::Dropped(Counter::DropBadFragment);
        }
        let key = (ip.src, ip.dst, ip.ident);
        if !packets.may_hold(Holder::FRAGMENTS, false, false) {
            self.make_room(key, |slot| slot.list.len, packets, &mut drop);
        }
        let Some(at) = self.slot_for(key, now, packets, &mut drop) else {
            return Outcome::Dropped(Counter::DropFragmentTable);
        };
        let slot = &mut self.slots[at];
        if slot.poisoned {
            return Outcome::Dropped(Counter::DropFragmentOverlap);
        }
        match slot.file(ip, fragment, packets) {
            Ok(()) => {}
            Err(Outcome::Dropped(Counter::DropFragmentOverlap)) => {
                slot.poisoned = true;
                slot.clear(packets, &mut drop);
                return Outcome::Dropped(Counter::DropFragmentOverlap);
            }
            Err(outcome) => return outcome,
        }
        if slot.total == Some(slot.bytes) {
            slot.key = None;
            self.active -= 1;
            return Outcome::Whole(at);
        }
        Outcome::Kept
    }

    /// Gives up the oldest datagram, other than `key`, of the source that has
    /// most of what `has` counts.
    #[cold]
    fn make_room(
        &mut self,
        key: Key,
        has: impl Fn(&Slot) -> u32,
        packets: &mut Packets,
        drop: &mut impl FnMut(u32),
    ) {
        let of = |source| {
            let used = self.slots.iter().filter(move |s| s.is_from(source));
            used.map(&has).sum::<u32>()
        };
        let others = self.slots.iter().enumerate();
        let others = others.filter_map(|(i, s)| Some((i, s, s.key.filter(|k| *k != key)?)));
        let most = others.max_by_key(|(at, slot, key)| (of(key.0), Reverse((slot.since, *at))));
        if let Some(at) = most.map(|(at, ..)| at) {
            self.give_up(at, packets, drop);
        }
    }

    /// Gives up the oldest datagram of a source.
    #[cold]
    fn give_way(&mut self, source: Ipv4Address, packets: &mut Packets, drop: &mut impl FnMut(u32)) {
        let own = self.slots.iter().enumerate();
        let own = own.filter(|(_, slot)| slot.is_from(source));
        if let Some((at, _)) = own.min_by_key(|(_, slot)| slot.since) {
            self.give_up(at, packets, drop);
        }
    }

    fn give_up(&mut self, at: usize, packets: &mut Packets, drop: &mut impl FnMut(u32)) {
        self.slots[at].key = None;
        self.slots[at].clear(packets, drop);
        self.active -= 1;
        self.evicted += 1;
    }

    fn slot_for(
        &mut self,
        key: Key,
        now: u64,
        packets: &mut Packets,
        drop: &mut impl FnMut(u32),
    ) -> Option<usize> {
        let mut of_source = 0;
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.key == Some(key) {
                return Some(i);
            }
            of_source += usize::from(slot.is_from(key.0));
        }
        if self.slots.len() > 1 && of_source * 2 >= self.slots.len() {
            self.give_way(key.0, packets, drop);
        } else if self.active as usize == self.slots.len() {
            self.make_room(key, |_| 1, packets, drop);
        }
        let at = self.slots.iter().position(|s| s.key.is_none())?;
        self.active += 1;
        let slot = &mut self.slots[at];
        slot.key = Some(key);
        slot.since = now;
        slot.poisoned = false;
        slot.total = None;
        slot.bytes = 0;
        slot.sum = 0;
        slot.verified = 0;
        Some(at)
    }
}

impl Slot {
    fn is_from(&self, source: Ipv4Address) -> bool {
        self.key.is_some_and(|key| key.0 == source)
    }

    /// How long the datagram is.
    pub fn len(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self, packets: &mut Packets, drop: &mut impl FnMut(u32)) {
        while self.list.len != 0 {
            let head = self.list.head;
            if let Some(id) = packets.remove(&mut self.list, head) {
                drop(id);
            }
        }
        self.bytes = 0;
    }

    /// Files a fragment, or says why not; an overlap spoils the datagram.
    fn file(
        &mut self,
        ip: &Datagram,
        fragment: &Fragment,
        packets: &mut Packets,
    ) -> Result<(), Outcome> {
        const OVERLAP: Outcome = Outcome::Dropped(Counter::DropFragmentOverlap);
        let (start, end) = (ip.fragment_offset, ip.fragment_offset + ip.payload_len);
        let total = self.total_with(ip, packets).ok_or(OVERLAP)?;
        let before = self.place(start, end, fragment, packets)?;
        if self.list.len >= FRAGMENTS || !packets.may_hold(Holder::FRAGMENTS, fragment.whole, false)
        {
            return Err(Outcome::Dropped(Counter::DropFragmentTable));
        }
        let piece = Piece {
            packet: fragment.packet,
            at: ip.payload_at as u32,
            len: ip.payload_len as u32,
            word: start as u32,
            from: (ip.src, fragment.sum),
            last: false,
        };
        packets.insert_after(&mut self.list, before, piece, Holder::FRAGMENTS);
        if start == 0 {
            self.start = fragment.start;
        }
        self.sum += u64::from(fragment.sum);
        self.verified += u32::from(fragment.verified);
        self.bytes += ip.payload_len;
        self.total = total;
        Ok(())
    }

    /// How long the datagram is, if that is known with this fragment; `None`
    /// if it contradicts those before.
    fn total_with(&self, ip: &Datagram, packets: &Packets) -> Option<Option<usize>> {
        let end = ip.fragment_offset + ip.payload_len;
        let ends = packets
            .piece(self.list.tail)
            .map_or(0, |piece| (piece.word + piece.len) as usize);
        let total = if ip.more_fragments {
            self.total
        } else {
            Some(end)
        };
        let contradicts = self.total.is_some() && self.total != total
            || total.is_some_and(|t| end > t)
            || !ip.more_fragments && ends > end;
        (!contradicts).then_some(total)
    }

    /// Behind which piece the bytes from `start` to `end` go.
    fn place(
        &self,
        start: usize,
        end: usize,
        fragment: &Fragment,
        packets: &Packets,
    ) -> Result<Option<u32>, Outcome> {
        let mut slot = self.list.tail;
        while let Some(piece) = packets.piece(slot) {
            let (from, to) = (piece.word as usize, (piece.word + piece.len) as usize);
            if to <= start {
                return Ok(Some(slot));
            }
            if from < end {
                // The very same once more, as far as can be told, is no harm.
                let same = (from, to) == (start, end) && piece.from.1 == fragment.sum;
                let outcome = if same {
                    Outcome::Again
                } else {
                    Outcome::Dropped(Counter::DropFragmentOverlap)
                };
                return Err(outcome);
            }
            slot = packets.before(slot);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
