//! The received bytes of a connection, in the order of the stream.
//!
//! Problem: smoltcp gets scratch bytes in place of the payload, so it can say
//! how many bytes are in order, but not which packets they are in; and it does
//! not say which part of a segment it took. Invariant: the pieces on the list
//! are in order of sequence number and do not overlap; they cover what smoltcp
//! holds, since [`Inflow::takes`] decides as smoltcp 0.14 does
//! (`tcp::Socket::process`), and a later arrival of a byte that is not yet in
//! order takes the place of an earlier one, as in smoltcp's buffer. Should the
//! two ever disagree, [`Inflow::covers`] is false and the connection is reset:
//! no wrong byte is delivered.
//!
//! Sequence numbers wrap around; those that are compared are closer than the
//! receive window is long.

use smoltcp::socket::tcp::State;

use crate::classify::Segment;
use crate::lists::List;
use crate::outflow::distance;
use crate::packets::{Holder, Packets, Piece};

/// Stretches of bytes that smoltcp keeps beyond the first gap (its feature
/// `assembler-max-segment-count-32`).
const STRETCHES: u32 = 32;

/// What smoltcp knows when a segment arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub state: State,
    /// The first byte that is not acknowledged.
    pub una: u32,
    /// Bytes in the send buffer.
    pub queued: u32,
    /// The next byte expected.
    pub next: u32,
}

/// What a connection has received.
#[derive(Debug)]
pub(crate) struct Inflow {
    pub list: List,
    /// Sequence number of the first byte that is not delivered.
    pub base: u32,
    /// The last acknowledgement and window that the peer was told.
    ack: u32,
    window: u16,
    told: bool,
    /// How far windows are shifted, by our buffer and for this peer.
    scale: u8,
    shift: u8,
}

impl Inflow {
    /// For a receive buffer of so many bytes.
    pub fn new(receive: usize) -> Self {
        let bits = usize::BITS - receive.leading_zeros();
        Self {
            list: List::EMPTY,
            base: 0,
            ack: 0,
            window: 0,
            told: false,
            scale: bits.saturating_sub(16) as u8,
            shift: 0,
        }
    }

    /// Forgets the peer; the list must be empty.
    pub fn begin(&mut self) {
        self.told = false;
        self.window = 0;
    }

    /// The peer's SYN, which may offer to scale windows; `asked` if we sent
    /// one before, with a window.
    pub fn open(&mut self, syn: &Segment, asked: bool) {
        self.base = syn.seq.wrapping_add(1);
        self.shift = if syn.offer.shift.is_some() {
            self.scale
        } else {
            0
        };
        // smoltcp counts from the SYN itself then.
        self.told = asked;
        self.ack = syn.seq;
    }

    /// We told the peer what we expect next, if anything, and how much.
    #[inline]
    pub fn tell(&mut self, ack: Option<u32>, window: u16) {
        self.window = window;
        if let Some(ack) = ack {
            self.ack = ack;
            self.told = true;
        }
    }

    /// The last acknowledgement and window that the peer was told.
    pub fn told(&self) -> (u32, u16) {
        (self.ack, self.window)
    }

    /// The end of the receive window, as the peer knows it.
    #[inline]
    pub fn edge(&self, next: u32) -> u32 {
        if !self.told {
            return next;
        }
        self.ack.wrapping_add(u32::from(self.window) << self.shift)
    }

    /// Whether smoltcp goes by what a segment with so many bytes acknowledges:
    /// not if it is outside of the window.
    #[inline]
    pub fn hears(&self, seq: u32, len: u32, next: u32) -> bool {
        let edge = self.edge(next);
        let before = |a: u32, b: u32| distance(a, b) < 0;
        let begins_inside = !before(seq, next) && before(seq, edge);
        if len == 0 {
            return begins_inside || (seq == next && next == edge);
        }
        let end = seq.wrapping_add(len);
        next != edge && (begins_inside || (before(next, end) && !before(edge, end)))
    }

    /// Which bytes of a segment smoltcp takes: the first, and how many.
    #[inline]
    pub fn takes(&self, segment: &Segment, view: &View, packets: &Packets) -> Option<(u32, u32)> {
        if segment.len == 0 || !acceptable(segment, view) {
            return None;
        }
        let (next, edge) = (view.next, self.edge(view.next));
        let (start, end) = (segment.seq, segment.seq.wrapping_add(segment.len));
        let before = |a: u32, b: u32| distance(a, b) < 0;
        if !self.hears(start, segment.len, next) {
            return None;
        }
        let from = if before(start, next) { next } else { start };
        let to = if before(edge, end) { edge } else { end };
        let len = to.wrapping_sub(from);
        (from == next || self.has_place(packets, next, from, to)).then_some((from, len))
    }

    /// Whether smoltcp can keep bytes beyond a gap.
    fn has_place(&self, packets: &Packets, next: u32, from: u32, to: u32) -> bool {
        let (mut stretches, mut begin) = (0, None);
        let mut slot = self.list.tail;
        while let Some(piece) = packets.piece(slot) {
            if distance(piece.word, next) < 0 {
                break;
            }
            let end = piece.word.wrapping_add(piece.len);
            if begin != Some(end) {
                stretches += 1;
            }
            begin = Some(piece.word);
            if distance(piece.word, to) <= 0 && distance(end, from) >= 0 {
                // Joins what is there.
                return true;
            }
            slot = packets.before(slot);
        }
        stretches < STRETCHES
    }

    /// Files bytes of a packet, `piece.word` being the first one's number, in
    /// place of what was there.
    #[inline]
    pub fn file(
        &mut self,
        packets: &mut Packets,
        piece: Piece,
        holder: Holder,
        drop: impl FnMut(u32),
    ) {
        match packets.piece(self.list.tail) {
            Some(tail) if distance(tail.word.wrapping_add(tail.len), piece.word) > 0 => {
                self.insert(packets, piece, holder, drop);
            }
            _ => {
                packets.push(&mut self.list, piece, holder);
            }
        }
    }

    /// As `file`, among pieces that are there already; `drop` is called for
    /// packets of which nothing is left.
    fn insert(
        &mut self,
        packets: &mut Packets,
        new: Piece,
        holder: Holder,
        mut drop: impl FnMut(u32),
    ) {
        let (start, end) = (new.word, new.word.wrapping_add(new.len));
        let mut slot = self.list.tail;
        let mut cut = None;
        while let Some(&piece) = packets.piece(slot) {
            let piece_end = piece.word.wrapping_add(piece.len);
            if distance(piece_end, start) <= 0 {
                break;
            }
            let before = packets.before(slot);
            if distance(piece.word, end) < 0 {
                let sticks_out = distance(piece_end, end);
                let begins_before = distance(start, piece.word);
                if sticks_out > 0 && begins_before > 0 {
                    cut = Some(tail_of(&piece, sticks_out as u32));
                }
                match (begins_before > 0, sticks_out > 0) {
                    (true, _) => shorten(packets, slot, begins_before as u32),
                    (false, true) => replace(packets, slot, tail_of(&piece, sticks_out as u32)),
                    (false, false) => {
                        if let Some(id) = packets.remove(&mut self.list, slot) {
                            drop(id);
                        }
                    }
                }
                if begins_before > 0 {
                    break;
                }
            }
            slot = before;
        }
        let at = packets.piece(slot).is_some().then_some(slot);
        if packets.insert_after(&mut self.list, at, new, holder)
            && let Some(cut) = cut
        {
            let new = at.map_or(self.list.head, |at| packets.after(at));
            packets.insert_after(&mut self.list, Some(new), cut, holder);
        }
    }

    /// Whether what is there ends where the next byte is expected.
    #[inline]
    pub fn is_gapless(&self, packets: &Packets, next: u32) -> bool {
        packets
            .piece(self.list.tail)
            .is_none_or(|tail| tail.word.wrapping_add(tail.len) == next)
    }

    /// Drops what is behind `end`; `drop` is called for packets of which
    /// nothing is left.
    pub fn truncate(&mut self, packets: &mut Packets, end: u32, mut drop: impl FnMut(u32)) {
        let mut slot = self.list.tail;
        while let Some(piece) = packets.piece_mut(slot) {
            let keeps = distance(end, piece.word);
            if keeps > 0 {
                piece.len = piece.len.min(keeps as u32);
                return;
            }
            let before = packets.before(slot);
            if let Some(id) = packets.remove(&mut self.list, slot) {
                drop(id);
            }
            slot = before;
        }
    }

    /// Whether the first `len` bytes are all there.
    #[inline]
    pub fn covers(&self, packets: &Packets, len: u32) -> bool {
        let (mut slot, mut got) = (self.list.head, 0);
        while got < len {
            match packets.piece(slot) {
                Some(piece) if piece.word == self.base.wrapping_add(got) => got += piece.len,
                _ => return false,
            }
            slot = packets.after(slot);
        }
        true
    }
}

/// Whether smoltcp gets as far as the payload of a segment.
#[inline]
fn acceptable(segment: &Segment, view: &View) -> bool {
    use State::{Closing, Established, FinWait1, FinWait2, LastAck, SynReceived};
    let Some(ack) = segment.ack else {
        return false;
    };
    if segment.syn || segment.rst {
        return false;
    }
    // What follows the peer's FIN is not given to smoltcp.
    if !matches!(view.state, SynReceived | Established | FinWait1 | FinWait2) {
        return false;
    }
    if view.state == SynReceived {
        return ack == view.una;
    }
    let fin = matches!(view.state, FinWait1 | LastAck | Closing);
    let una = view.una.wrapping_add(u32::from(view.state == FinWait2));
    ack.wrapping_sub(una) <= view.queued + u32::from(fin)
}

/// The last `len` bytes of a piece.
fn tail_of(piece: &Piece, len: u32) -> Piece {
    let skipped = piece.len - len;
    Piece {
        at: piece.at + skipped,
        len,
        word: piece.word.wrapping_add(skipped),
        ..*piece
    }
}

fn shorten(packets: &mut Packets, slot: u32, len: u32) {
    if let Some(piece) = packets.piece_mut(slot) {
        piece.len = len;
    }
}

/// Puts another piece of the same packet into a slot.
fn replace(packets: &mut Packets, slot: u32, piece: Piece) {
    if let Some(old) = packets.piece_mut(slot) {
        *old = piece;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::Ipv4Address;
    use std::vec::Vec;

    fn piece(packet: u32, word: u32, len: u32) -> Piece {
        Piece {
            packet,
            at: 54,
            len,
            word,
            from: (Ipv4Address::UNSPECIFIED, 0),
            last: true,
        }
    }

    proptest! {
        /// Against a map of bytes: which packet's, and which of its bytes.
        #[test]
        fn later_bytes_take_the_place_of_earlier_ones(
            base in prop_oneof![Just(0u32), Just(u32::MAX - 40)],
            arrivals in proptest::collection::vec((0u32..80, 1u32..40), 1..60),
        ) {
            let mut packets = Packets::new(256);
            let mut inflow = Inflow::new(4096);
            inflow.base = base;
            let mut model = [None; 128];
            let mut gone = Vec::new();
            let holder = Holder::client(0);
            for (i, (at, len)) in arrivals.iter().enumerate() {
                let id = i as u32 + 1;
                packets.arrive(id, false, 0).unwrap();
                let new = piece(id, base.wrapping_add(*at), *len);
                inflow.file(&mut packets, new, holder, |id| gone.push(id));
                for byte in 0..*len {
                    model[(at + byte) as usize] = Some((id, 54 + byte));
                }
            }
            let (mut seen, mut slot, mut count) = ([None; 128], inflow.list.head, 0);
            let mut end = base;
            while let Some(piece) = packets.piece(slot) {
                prop_assert!(distance(piece.word, end) >= 0 && piece.len != 0);
                end = piece.word.wrapping_add(piece.len);
                for byte in 0..piece.len {
                    let at = piece.word.wrapping_sub(base) + byte;
                    seen[at as usize] = Some((piece.packet, piece.at + byte));
                }
                slot = packets.after(slot);
                count += 1;
            }
            prop_assert_eq!(seen, model);
            prop_assert_eq!(count, inflow.list.len);
            prop_assert!(count < 2 * arrivals.len() as u32);
            let whole = model.iter().take_while(|b| b.is_some()).count() as u32;
            prop_assert!(inflow.covers(&packets, whole));
            prop_assert!(!inflow.covers(&packets, whole + 1));
            while inflow.list.len != 0 {
                let slot = inflow.list.head;
                gone.extend(packets.remove(&mut inflow.list, slot));
            }
            gone.sort_unstable();
            prop_assert_eq!(gone, (1..=arrivals.len() as u32).collect::<Vec<_>>());
            prop_assert_eq!(packets.held(), 0);
        }
    }
}
