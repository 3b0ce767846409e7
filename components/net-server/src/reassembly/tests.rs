//! Fragments in every order, doubled, contradicting, and too many.

use super::*;
use smoltcp::wire::{EthernetAddress, IpProtocol};
use std::vec::Vec;

/// A reassembly with packets, each fragment in a new one.
struct Bench {
    reassembly: Reassembly,
    packets: Packets,
    next: u32,
    dropped: Vec<u32>,
}

impl Bench {
    fn new(slots: usize) -> Self {
        Self {
            reassembly: Reassembly::new(slots),
            packets: Packets::new(256),
            next: 0,
            dropped: Vec::new(),
        }
    }

    fn add(&mut self, ip: &Datagram, len: usize, sum: u16, now: u64) -> Outcome {
        self.next += 1;
        self.packets.arrive(self.next, false, 0).unwrap();
        let ip = Datagram {
            payload_len: len,
            ..*ip
        };
        let fragment = Fragment {
            packet: self.next,
            whole: false,
            sum,
            verified: false,
            start: [self.next as u8; 8],
        };
        let dropped = &mut self.dropped;
        let outcome = self
            .reassembly
            .add(&ip, &fragment, now, &mut self.packets, |id| {
                dropped.push(id)
            });
        if !matches!(outcome, Outcome::Kept | Outcome::Whole(_)) {
            self.packets.depart(self.next);
        }
        outcome
    }
}

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
    let mut b = Bench::new(4);
    let last = fragment(1, 32, false);
    assert_eq!(b.add(&last, 4, 9, 0), Outcome::Kept);
    assert_eq!(b.add(&last, 4, 9, 0), Outcome::Again);
    assert_eq!(b.add(&fragment(1, 0, true), 16, 7, 0), Outcome::Kept);
    let Outcome::Whole(slot) = b.add(&fragment(1, 16, true), 16, 5, 0) else {
        panic!("not whole")
    };
    let mut whole = b.reassembly.whole(slot);
    assert_eq!((whole.len(), whole.sum, whole.start), (36, 21, [3; 8]));
    let mut order = Vec::new();
    while whole.list.len != 0 {
        let head = whole.list.head;
        let piece = *b.packets.piece(head).unwrap();
        order.push((piece.packet, piece.word, piece.len));
        assert_eq!(b.packets.remove(&mut whole.list, head), Some(piece.packet));
    }
    assert_eq!(order, [(3, 0, 16), (4, 16, 16), (1, 32, 4)]);
    assert_eq!((b.reassembly.active, b.packets.held()), (0, 0));
}

#[test]
fn overlap_spoils_the_whole_datagram() {
    let mut b = Bench::new(4);
    assert_eq!(b.add(&fragment(1, 0, true), 16, 1, 0), Outcome::Kept);
    let dropped = Outcome::Dropped(Counter::DropFragmentOverlap);
    assert_eq!(b.add(&fragment(1, 8, true), 16, 2, 0), dropped);
    assert_eq!((&b.dropped[..], b.packets.held()), (&[1][..], 0));
    assert_eq!(b.add(&fragment(1, 16, false), 4, 3, 0), dropped);
    let expired = b.reassembly.expire(LIFETIME_US, &mut b.packets, |_| ());
    assert_eq!(expired, 1);
}

#[test]
fn the_same_bytes_in_other_bounds_are_an_overlap() {
    let dropped = Outcome::Dropped(Counter::DropFragmentOverlap);
    for (offset, len) in [(0, 8), (8, 8), (16, 8), (8, 16), (0, 16)] {
        let mut b = Bench::new(4);
        assert_eq!(b.add(&fragment(1, 0, true), 24, 1, 0), Outcome::Kept);
        assert_eq!(b.add(&fragment(1, 0, true), 24, 1, 0), Outcome::Again);
        let again = b.add(&fragment(1, offset, true), len, 1, 0);
        assert_eq!(again, dropped, "{len} bytes at {offset}");
    }
    let mut b = Bench::new(4);
    for offset in [0, 8] {
        assert_eq!(b.add(&fragment(1, offset, true), 8, 1, 0), Outcome::Kept);
    }
    assert_eq!(b.add(&fragment(1, 0, true), 16, 1, 0), dropped);
    // Other bytes in the same bounds.
    let mut b = Bench::new(4);
    assert_eq!(b.add(&fragment(1, 0, true), 8, 1, 0), Outcome::Kept);
    assert_eq!(b.add(&fragment(1, 0, true), 8, 2, 0), dropped);
}

/// A fragment of a source's.
fn of(host: u8, ident: u16, offset: usize, more: bool) -> Datagram {
    Datagram {
        src: Ipv4Address::new(10, 0, 0, host),
        ..fragment(ident, offset, more)
    }
}

/// Who has its half makes room itself, by its oldest; nobody else does.
#[test]
fn one_source_cannot_hold_all_slots_nor_be_shut_out() {
    let mut b = Bench::new(4);
    assert_eq!(b.add(&of(7, 1, 0, true), 8, 0, 0), Outcome::Kept);
    for ident in 1..100 {
        assert_eq!(b.add(&of(1, ident, 0, true), 8, 0, 9), Outcome::Kept);
        // A datagram in its name that does become whole.
        assert_eq!(b.add(&of(1, 500 + ident, 0, true), 8, 0, 9), Outcome::Kept);
        let Outcome::Whole(slot) = b.add(&of(1, 500 + ident, 8, false), 8, 0, 9) else {
            panic!("{ident} is not whole")
        };
        let mut whole = b.reassembly.whole(slot);
        whole.clear(&mut b.packets, &mut |_| ());
        assert!(b.reassembly.active <= 3);
    }
    assert_eq!(b.reassembly.evicted, 98);
    assert!(matches!(
        b.add(&of(7, 1, 8, false), 8, 0, 9),
        Outcome::Whole(_)
    ));
}

/// One fragment from each of many sources: none has to wait for those before, and
/// a source that has more than others gives way first.
#[test]
fn many_sources_do_not_shut_out_another() {
    let mut b = Bench::new(4);
    for host in 1..100 {
        assert_eq!(b.add(&of(host, 1, 0, true), 8, 0, 0), Outcome::Kept);
        assert_eq!(b.add(&of(200, 7, 0, true), 8, 0, 0), Outcome::Kept);
        let Outcome::Whole(slot) = b.add(&of(200, 7, 8, false), 8, 0, 0) else {
            panic!("{host} kept it from being whole")
        };
        let mut whole = b.reassembly.whole(slot);
        whole.clear(&mut b.packets, &mut |_| ());
    }
    let mut b = Bench::new(4);
    for (host, ident) in [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)] {
        assert_eq!(b.add(&of(host, ident, 0, true), 8, 0, 0), Outcome::Kept);
    }
    for host in [1, 3, 4] {
        let last = b.add(&of(host, 1, 8, false), 8, 0, 0);
        assert!(matches!(last, Outcome::Whole(_)), "{host}");
    }
}

/// Nor by as many packets as may be held.
#[test]
fn the_packets_of_one_source_do_not_shut_out_another() {
    let mut b = Bench::new(8);
    for i in 0..300 {
        let part = of(1, 1 + i / 100, i as usize % 100 * 8, true);
        assert_eq!(b.add(&part, 8, 0, 0), Outcome::Kept, "{i}");
        assert_eq!(b.add(&of(2, i, 0, true), 8, 0, 0), Outcome::Kept);
        let Outcome::Whole(slot) = b.add(&of(2, i, 8, false), 8, 0, 0) else {
            panic!("{i} is not whole")
        };
        let mut whole = b.reassembly.whole(slot);
        whole.clear(&mut b.packets, &mut |_| ());
    }
}

#[test]
fn what_makes_room_for_others_is_counted() {
    let mut b = Bench::new(2);
    for (host, now) in [(1, 0), (2, 0), (3, 1_000_000)] {
        let mut part = fragment(1, 0, true);
        part.src = Ipv4Address::new(10, 0, 0, host);
        assert_eq!(b.add(&part, 8, 0, now), Outcome::Kept);
    }
    assert_eq!((b.reassembly.active, b.reassembly.evicted), (2, 1));
    assert_eq!((&b.dropped[..], b.packets.held()), (&[1][..], 2));
}

#[test]
fn the_fragments_of_a_datagram_are_bounded() {
    let mut b = Bench::new(2);
    for i in 0..FRAGMENTS as usize {
        assert_eq!(b.add(&fragment(1, i * 8, true), 8, 0, 0), Outcome::Kept);
    }
    let full = Outcome::Dropped(Counter::DropFragmentTable);
    assert_eq!(b.add(&fragment(1, 8 * 200, true), 8, 0, 0), full);
}

#[test]
fn impossible_fragments_are_refused() {
    let mut b = Bench::new(1);
    let bad = Outcome::Dropped(Counter::DropBadFragment);
    assert_eq!(b.add(&fragment(1, 65528, false), 8, 0, 0), bad);
    assert_eq!(b.add(&fragment(1, 0, true), 7, 0, 0), bad);
    assert_eq!(b.add(&fragment(1, 8, true), 0, 0, 0), bad);
}
