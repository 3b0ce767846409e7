//! Received packets: which of them we have, where their payload waits, and for
//! whom.
//!
//! Problem: a packet that nobody gives back is lost to the receive ring for
//! good, and one that a slow reader keeps is lost to everybody else.
//! Invariant: the manager's packet is ours from [`Packets::arrive`] on; it is
//! either given back by who took it in, or held by at least one [`Piece`], and
//! then goes back with its last piece. How many are held is bounded for each
//! client, for fragments, for packets that fill a whole slot, and in all; a
//! packet counts as the receive buffers that it takes.
//!
//! Each packet is filed as one piece, in the slot with its number. A piece is
//! cut in two only where a later packet is put into its middle, so of `n`
//! packets there are fewer than `2n` pieces (Davenport and Schinzel), and there
//! are slots for the others whenever a packet may be held.

use alloc::vec::Vec;

use smoltcp::wire::Ipv4Address;
use socket_api::{PACKET_BUFFERS, SERVER_PACKETS};

use crate::environment::ManagerFault;
use crate::lists::{Links, List};

/// Clients that are told apart; any more share the last place.
pub(crate) const CLIENTS: usize = 64;
/// Packets held in all: half of them, so that the device always has some.
pub(crate) const MOST: u32 = SERVER_PACKETS / 2;
/// What those may go beyond it that hold next to nothing.
const UTMOST: u32 = SERVER_PACKETS / 4 * 3;
/// What next to nothing is.
const RESERVED: u16 = 8;
/// Fragments held in all.
const FRAGMENTS: u16 = (SERVER_PACKETS / 4) as u16;
/// Packets held in whole slots, of which ARP and ICMP need some.
const WHOLE: u32 = socket_api::WHOLE_SLOTS / 4;

/// Bytes of a received packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub packet: u32,
    /// The first of them, from the start of the frame.
    pub at: u32,
    pub len: u32,
    /// In a stream, the sequence number of the first; in a fragment, its
    /// offset in the datagram; in the first piece of a queued datagram, the
    /// length of the datagram.
    pub word: u32,
    /// In the first piece of a queued datagram: where it came from.
    pub from: (Ipv4Address, u16),
    /// The last of its datagram.
    pub last: bool,
}

impl Piece {
    const NONE: Self = Self {
        packet: 0,
        at: 0,
        len: 0,
        word: 0,
        from: (Ipv4Address::UNSPECIFIED, 0),
        last: true,
    };
}

/// For whom packets are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u8);

impl Holder {
    /// Datagrams being put together.
    pub const FRAGMENTS: Self = Self(CLIENTS as u8);

    /// A client.
    pub fn client(number: u32) -> Self {
        Self((number as usize).min(CLIENTS - 1) as u8)
    }
}

#[derive(Clone, Copy)]
struct Packet {
    /// It is with us.
    ours: bool,
    whole: bool,
    holder: Holder,
    /// Receive buffers.
    buffers: u8,
    pieces: u16,
}

const _: () = assert!(PACKET_BUFFERS <= u8::MAX as u32);

/// All packets and pieces.
pub(crate) struct Packets {
    packets: Vec<Packet>,
    pieces: Vec<Piece>,
    links: Links,
    /// Slots that are no packet's own.
    free: List,
    /// Buffers held, by holder.
    held_by: [u16; CLIENTS + 1],
    held: u32,
    held_whole: u32,
    /// Most of one client.
    most: u16,
}

impl Packets {
    /// No packet is ours; a client may have `most` held.
    pub fn new(most: usize) -> Self {
        let none = Packet {
            ours: false,
            whole: false,
            holder: Holder::FRAGMENTS,
            buffers: 1,
            pieces: 0,
        };
        let pieces = 2 * SERVER_PACKETS;
        let (links, free) = Links::with_some(pieces, SERVER_PACKETS..pieces);
        Self {
            packets: alloc::vec![none; SERVER_PACKETS as usize],
            pieces: alloc::vec![Piece::NONE; pieces as usize],
            links,
            free,
            held_by: [0; CLIENTS + 1],
            held: 0,
            held_whole: 0,
            most: most as u16,
        }
    }

    /// Buffers held.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// A packet has come from the manager, in one buffer and so many more: it is
    /// ours.
    #[inline(always)]
    pub fn arrive(&mut self, id: u32, whole: bool, following: u32) -> Result<(), ManagerFault> {
        let place = (id as usize).wrapping_sub(1);
        match self.packets.get_mut(place) {
            Some(packet) if !packet.ours => {
                packet.ours = true;
                packet.whole = whole;
                packet.buffers = 1 + following.min(PACKET_BUFFERS - 1) as u8;
                Ok(())
            }
            _ => Err(ManagerFault::Packet(id)),
        }
    }

    /// A packet of which nothing is held goes back to the manager.
    #[inline(always)]
    pub fn depart(&mut self, id: u32) {
        if let Some(packet) = self.packets.get_mut((id as usize).wrapping_sub(1)) {
            packet.ours = false;
        }
    }

    /// Whether one more packet in one buffer may be held for `holder`; `urgent`
    /// if its bytes are asked for already.
    #[inline(always)]
    pub fn may_hold(&self, holder: Holder, whole: bool, urgent: bool) -> bool {
        self.has_room(holder, 1, whole, urgent)
    }

    /// As `may_hold`, for a packet of ours, however many buffers it takes.
    #[inline(always)]
    pub fn may_hold_long(&self, id: u32, holder: Holder, urgent: bool) -> bool {
        let packet = self.packets.get((id as usize).wrapping_sub(1));
        packet.is_some_and(|p| self.has_room(holder, p.buffers.into(), p.whole, urgent))
    }

    #[inline(always)]
    fn has_room(&self, holder: Holder, buffers: u16, whole: bool, urgent: bool) -> bool {
        let held = self.held_by[usize::from(holder.0)];
        let most = match holder {
            Holder::FRAGMENTS => FRAGMENTS,
            _ => self.most,
        };
        let in_all = if urgent || (held < RESERVED && holder != Holder::FRAGMENTS) {
            UTMOST
        } else {
            MOST
        };
        (held + buffers <= most || urgent)
            && self.held + u32::from(buffers) <= in_all
            && (!whole || self.held_whole < WHOLE)
            && self.free.len >= 2
    }

    /// Whether as many more, of one buffer each, may be held for a client.
    pub fn may_take_over(&self, holder: Holder, packets: u32) -> bool {
        u32::from(self.held_by[usize::from(holder.0)]) + packets <= u32::from(self.most)
    }

    /// A piece that is on no list yet.
    #[inline(always)]
    fn make(&mut self, piece: Piece, holder: Holder) -> Option<u32> {
        let own = piece.packet.wrapping_sub(1);
        let packet = self.packets.get_mut(own as usize)?;
        let slot = match packet.pieces {
            0 => own,
            _ => self.links.pop_front(&mut self.free)?,
        };
        *self.pieces.get_mut(slot as usize)? = piece;
        packet.pieces += 1;
        if packet.pieces == 1 {
            packet.holder = holder;
            self.held += u32::from(packet.buffers);
            self.held_whole += u32::from(packet.whole);
            self.held_by[usize::from(holder.0)] += u16::from(packet.buffers);
        }
        Some(slot)
    }

    /// Files a piece at the end of a list; false if there is no room.
    #[inline(always)]
    pub fn push(&mut self, list: &mut List, piece: Piece, holder: Holder) -> bool {
        match self.make(piece, holder) {
            Some(slot) => {
                self.links.push_back(list, slot);
                true
            }
            None => false,
        }
    }

    /// Files a piece behind the piece in `slot`, or at the front; false if
    /// there is no room.
    pub fn insert_after(
        &mut self,
        list: &mut List,
        slot: Option<u32>,
        piece: Piece,
        holder: Holder,
    ) -> bool {
        match self.make(piece, holder) {
            Some(new) => {
                self.links.insert_after(list, slot, new);
                true
            }
            None => false,
        }
    }

    /// The piece in a slot.
    #[inline]
    pub fn piece(&self, slot: u32) -> Option<&Piece> {
        self.pieces.get(slot as usize)
    }

    /// The piece in a slot, to change what it is of its packet.
    #[inline]
    pub fn piece_mut(&mut self, slot: u32) -> Option<&mut Piece> {
        self.pieces.get_mut(slot as usize)
    }

    /// The slot behind one on its list.
    pub fn after(&self, slot: u32) -> u32 {
        self.links.after(slot)
    }

    /// The slot before one on its list.
    pub fn before(&self, slot: u32) -> u32 {
        self.links.before(slot)
    }

    /// Drops the first piece of a list, as `remove` does.
    #[inline(always)]
    #[must_use = "a packet that is not released is lost"]
    pub fn remove_first(&mut self, list: &mut List) -> Option<u32> {
        let slot = self.links.pop_front(list)?;
        self.unfile(slot)
    }

    /// Drops a piece. The packet, if that was its last one: it is the
    /// manager's from now on and must be released.
    #[inline]
    #[must_use = "a packet that is not released is lost"]
    pub fn remove(&mut self, list: &mut List, slot: u32) -> Option<u32> {
        self.pieces.get(slot as usize)?;
        self.links.remove(list, slot);
        self.unfile(slot)
    }

    /// A piece is on no list any more.
    #[inline(always)]
    fn unfile(&mut self, slot: u32) -> Option<u32> {
        let id = self.pieces.get(slot as usize)?.packet;
        if slot >= SERVER_PACKETS {
            self.links.push_front(&mut self.free, slot);
        }
        let packet = self.packets.get_mut((id as usize).wrapping_sub(1))?;
        packet.pieces = packet.pieces.saturating_sub(1);
        if packet.pieces != 0 {
            return None;
        }
        packet.ours = false;
        self.held -= u32::from(packet.buffers);
        self.held_whole -= u32::from(packet.whole);
        self.held_by[usize::from(packet.holder.0)] -= u16::from(packet.buffers);
        Some(id)
    }

    /// Moves all pieces of `from` to the end of `to`, held for `holder` now.
    pub fn take_over(&mut self, from: &mut List, to: &mut List, holder: Holder) {
        while let Some(slot) = self.links.pop_front(from) {
            let id = self.pieces[slot as usize].packet;
            if let Some(packet) = self.packets.get_mut((id as usize).wrapping_sub(1)) {
                let buffers = u16::from(packet.buffers);
                self.held_by[usize::from(packet.holder.0)] -= buffers;
                packet.holder = holder;
                self.held_by[usize::from(holder.0)] += buffers;
            }
            self.links.push_back(to, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(packet: u32) -> Piece {
        Piece {
            packet,
            ..Piece::NONE
        }
    }

    #[test]
    fn a_packet_goes_back_with_its_last_piece() {
        let mut packets = Packets::new(4);
        let mut list = List::EMPTY;
        let holder = Holder::client(3);
        packets.arrive(7, false, 0).unwrap();
        assert_eq!(packets.arrive(7, false, 0), Err(ManagerFault::Packet(7)));
        for _ in 0..2 {
            assert!(packets.push(&mut list, piece(7), holder));
        }
        assert_eq!(packets.held(), 1);
        let first = list.head;
        assert_eq!(packets.remove(&mut list, first), None);
        let last = list.head;
        assert_eq!(packets.remove(&mut list, last), Some(7));
        assert_eq!((packets.held(), list.len), (0, 0));
        packets.arrive(7, false, 0).unwrap();
        packets.depart(7);
        packets.arrive(7, false, 0).unwrap();
    }

    #[test]
    fn a_long_packet_counts_as_its_buffers() {
        let mut packets = Packets::new(70);
        let mut list = List::EMPTY;
        let holder = Holder::client(3);
        for (id, following) in [(1, 32), (2, 32), (3, 4)] {
            packets.arrive(id, false, following).unwrap();
        }
        for id in [1, 2] {
            assert!(packets.may_hold_long(id, holder, false));
            assert!(packets.push(&mut list, piece(id), holder));
        }
        assert!(!packets.may_hold_long(3, holder, false) && packets.may_hold(holder, false, false));
        assert!(packets.may_hold_long(3, holder, true));
        let mut other = List::EMPTY;
        packets.take_over(&mut list, &mut other, Holder::client(4));
        assert!(packets.may_hold_long(3, holder, false));
        assert_eq!(packets.held(), 66);
        for id in [1, 2] {
            assert_eq!(packets.remove_first(&mut other), Some(id));
        }
        assert_eq!(packets.held(), 0);
        assert!(!packets.may_hold_long(0, holder, true));
    }

    #[test]
    fn ids_that_cannot_be_are_refused() {
        let mut packets = Packets::new(4);
        for id in [0, SERVER_PACKETS + 1, u32::MAX] {
            assert_eq!(packets.arrive(id, true, 0), Err(ManagerFault::Packet(id)));
            packets.depart(id);
            let mut list = List::EMPTY;
            assert!(!packets.push(&mut list, piece(id), Holder::client(0)));
        }
    }

    #[test]
    fn bounds_are_kept_apart() {
        let mut packets = Packets::new(500);
        let (mut id, mut lists) = (0, [List::EMPTY; CLIENTS + 2]);
        let mut fill = |packets: &mut Packets, holder: Holder, whole| {
            let mut count = 0;
            while packets.may_hold(holder, whole, false) {
                id += 1;
                packets.arrive(id, whole, 0).unwrap();
                assert!(packets.push(&mut lists[usize::from(holder.0)], piece(id), holder));
                count += 1;
            }
            count
        };
        assert_eq!(fill(&mut packets, Holder::client(1), true), 16);
        assert_eq!(fill(&mut packets, Holder::FRAGMENTS, false), 256);
        assert_eq!(fill(&mut packets, Holder::client(2), false), 240);
        // Whoever has nothing yet still gets something.
        assert_eq!(fill(&mut packets, Holder::client(3), false), 8);
        assert!(packets.may_hold(Holder::client(2), false, true));
        assert_eq!(fill(&mut packets, Holder::FRAGMENTS, false), 0);
    }
}
