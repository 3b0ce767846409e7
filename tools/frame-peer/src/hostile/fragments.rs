//! IPv4 fragments: RFC 791, 815, 1858, 3128, 5722.

use super::{Aim, Case, Reason};
use crate::wire::{MORE_FRAGMENTS, PROTO_TCP, PROTO_UDP, Tcp};

pub(super) const CASES: &[Case] = &[
    Case::new("fragment-duplicate", Reason::Legal, |aim| {
        // Networks do that; only a part with other bounds is an overlap.
        let d = aim.datagram(200);
        pieces(aim, &d, &[(0, 104), (0, 104), (104, 208)])
    }),
    Case::new("fragment-overlap-head", Reason::Fragment, |aim| {
        let d = aim.datagram(200);
        pieces(aim, &d, &[(0, 104), (48, 160), (160, 208)])
    }),
    Case::new("fragment-overlap-inside", Reason::Fragment, |aim| {
        // Other bytes over some that are there already.
        let (d, noise) = (aim.datagram(200), aim.rng.bytes(48));
        let mut frames = pieces(aim, &d, &[(0, 160)]);
        let id = id_of(&frames[0]);
        frames.push(piece(aim, id, &noise, 48, true));
        frames.push(piece(aim, id, &d[160..], 160, false));
        frames
    }),
    Case::new("fragment-overlap-last", Reason::Fragment, |aim| {
        let d = aim.datagram(200);
        pieces(aim, &d, &[(104, 208), (0, 120)])
    }),
    Case::new("fragment-two-ends", Reason::Fragment, |aim| {
        // Two last fragments that disagree about the length.
        let d = aim.datagram(200);
        let mut frames = pieces(aim, &d, &[(104, 208)]);
        let id = id_of(&frames[0]);
        frames.push(piece(aim, id, &d[48..96], 48, false));
        frames.push(piece(aim, id, &d[..48], 0, true));
        frames
    }),
    Case::new("fragment-over-64k", Reason::Fragment, |aim| {
        // The last piece ends past 65 535 bytes: "ping of death".
        let (id, noise) = (aim.rng.bits() as u16, aim.rng.bytes(1000));
        vec![
            piece(aim, id, &noise, 0, true),
            piece(aim, id, &noise, 65_528, false),
        ]
    }),
    Case::new("fragment-huge-datagram", Reason::Fragment, |aim| {
        // Whole and legal in itself, but without its first fragment: 64 KiB to
        // keep for nothing.
        let (id, noise) = (aim.rng.bits() as u16, aim.rng.bytes(1480));
        (1..44)
            .map(|n| piece(aim, id, &noise, n * 1480, n < 43))
            .collect()
    }),
    Case::new("fragment-endless", Reason::Fragment, |aim| {
        // First fragments of ever new datagrams that never end.
        let count = aim.flood;
        let first = |aim: &mut Aim| {
            let (id, datagram) = (aim.rng.bits() as u16, aim.datagram(800));
            piece(aim, id, &datagram[..800], 0, true)
        };
        (0..count).map(|_| first(aim)).collect()
    }),
    Case::new("fragment-only-last", Reason::Fragment, |aim| {
        let count = aim.flood;
        let last = |aim: &mut Aim| {
            let (id, noise) = (aim.rng.bits() as u16, aim.rng.bytes(64));
            piece(aim, id, &noise, 1480, false)
        };
        (0..count).map(|_| last(aim)).collect()
    }),
    Case::new("fragment-holes", Reason::Fragment, |aim| {
        // Every second 8 bytes of one datagram: as many holes as possible.
        let (id, noise) = (aim.rng.bits() as u16, aim.rng.bytes(8));
        let count = aim.flood.min(4000);
        (0..count)
            .map(|n| piece(aim, id, &noise, n * 16, true))
            .collect()
    }),
    Case::new("fragment-not-multiple-of-8", Reason::Fragment, |aim| {
        let (id, d) = (aim.rng.bits() as u16, aim.datagram(200));
        vec![
            piece(aim, id, &d[..101], 0, true),
            piece(aim, id, &d[101..], 104, false),
        ]
    }),
    Case::new("fragment-empty", Reason::Fragment, |aim| {
        let id = aim.rng.bits() as u16;
        vec![piece(aim, id, &[], 0, true), piece(aim, id, &[], 64, true)]
    }),
    Case::new("fragment-tiny-tcp", Reason::Fragment, |aim| {
        // A SYN whose flags are in the second fragment (RFC 1858), which never
        // comes.
        let segment = aim.segment(Tcp::SYN).segment(aim.from.1, aim.to.1, &[]);
        let mut header = aim.header(PROTO_TCP);
        header.fragment = MORE_FRAGMENTS;
        let packet = header.packet(&segment[..8]);
        vec![aim.frame(&packet)]
    }),
    Case::new("fragment-tiny-legal", Reason::Legal, |aim| {
        // A datagram in the smallest fragments there are.
        let d = aim.datagram(56);
        let cuts: Vec<_> = (0..8).map(|n| (n * 8, n * 8 + 8)).collect();
        pieces(aim, &d, &cuts)
    }),
];

/// One fragment of a UDP datagram, `at` bytes into it.
fn piece(aim: &mut Aim, id: u16, bytes: &[u8], at: usize, more: bool) -> Vec<u8> {
    let mut header = aim.header(PROTO_UDP);
    header.id = id;
    header.fragment = (at / 8) as u16 | if more { MORE_FRAGMENTS } else { 0 };
    let packet = header.packet(bytes);
    aim.frame(&packet)
}

/// Fragments of one datagram, by their bounds; the one that reaches the end is
/// the last.
fn pieces(aim: &mut Aim, datagram: &[u8], bounds: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let id = aim.rng.bits() as u16;
    let whole = datagram.len();
    bounds
        .iter()
        .map(|(a, b)| piece(aim, id, &datagram[*a..*b], *a, *b < whole))
        .collect()
}

fn id_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[18], frame[19]])
}
