//! Too much of a good thing, and randomness.

use std::net::Ipv4Addr;

use super::{Aim, Case, Reason};
use crate::wire::{BROADCAST, Ipv4, PROTO_ICMP, PROTO_TCP, PROTO_UDP, TYPE_ARP, TYPE_IPV4, Tcp};
use crate::wire::{arp, ethernet, icmp, udp};

pub(super) const CASES: &[Case] = &[
    Case::new("flood-syn", Reason::Backlog, |aim| {
        // Half-open connections from many ports; only seen through if the
        // sender does not reset them (forged senders and `proxy_arp`).
        repeat(aim, |aim, n| {
            let source = neighbour(aim, n);
            let mut segment = aim.segment(Tcp::SYN);
            segment.src = 10_000 + n as u16;
            let bytes = segment.segment(source, aim.to.1, &[]);
            let packet = Ipv4::new(source, aim.to.1, PROTO_TCP).packet(&bytes);
            aim.frame(&packet)
        })
    }),
    Case::new("flood-arp-requests", Reason::Legal, |aim| {
        repeat(aim, |aim, n| {
            let asker = ([0x52, 0, 0, 1, (n >> 8) as u8, n as u8], neighbour(aim, n));
            let packet = arp(1, asker, ([0; 6], aim.to.1));
            ethernet(BROADCAST, asker.0, TYPE_ARP, &packet)
        })
    }),
    Case::new("flood-arp-replies", Reason::Ignored, |aim| {
        repeat(aim, |aim, n| {
            let owner = ([0x52, 0, 0, 2, (n >> 8) as u8, n as u8], neighbour(aim, n));
            ethernet(aim.to.0, owner.0, TYPE_ARP, &arp(2, owner, aim.to))
        })
    }),
    Case::new("flood-ping", Reason::Legal, |aim| {
        repeat(aim, |aim, n| {
            let message = icmp(8, 0, [0, 1, (n >> 8) as u8, n as u8], &[0x55; 1000]);
            aim.carry(PROTO_ICMP, &message)
        })
    }),
    Case::new("flood-udp-closed-ports", Reason::NoSocket, |aim| {
        repeat(aim, |aim, n| {
            let port = 20_000 + n as u16;
            let datagram = udp((aim.from.1, super::PORT), (aim.to.1, port), b"knock");
            aim.carry(PROTO_UDP, &datagram)
        })
    }),
    Case::new("random-bytes", Reason::Any, |aim| {
        repeat(aim, |aim, _| {
            let len = aim.rng.below(aim.mtu + 14);
            aim.rng.bytes(len)
        })
    }),
    Case::new("random-ip-payload", Reason::Any, |aim| {
        repeat(aim, |aim, _| {
            let len = aim.rng.below(aim.mtu);
            let noise = aim.rng.bytes(len);
            ethernet(aim.to.0, aim.from.0, TYPE_IPV4, &noise)
        })
    }),
    Case::new("random-transport", Reason::Any, |aim| {
        repeat(aim, |aim, n| {
            let len = aim.rng.below(200);
            let noise = aim.rng.bytes(len);
            aim.carry([PROTO_UDP, PROTO_TCP, PROTO_ICMP][n % 3], &noise)
        })
    }),
    Case::new("random-mutants", Reason::Any, |aim| {
        repeat(aim, |aim, _| mutant(aim))
    }),
];

fn repeat(aim: &mut Aim, mut one: impl FnMut(&mut Aim, usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..aim.flood.max(1)).map(|n| one(aim, n)).collect()
}

/// An address of the guest's /24 that is neither the guest's nor ours.
fn neighbour(aim: &Aim, n: usize) -> Ipv4Addr {
    let net = aim.to.1.to_bits() & !0xff;
    let mut candidates = (100..200)
        .chain(20..100)
        .map(|host| Ipv4Addr::from(net | host));
    let other = |address: &Ipv4Addr| *address != aim.to.1 && *address != aim.from.1;
    let chosen = candidates.by_ref().filter(other).nth(n % 150);
    chosen.unwrap_or(Ipv4Addr::from(net | 250))
}

/// A good frame with a few bytes changed, cut or doubled somewhere; half of
/// them with their checksums made right again where there is room.
pub(super) fn mutant(aim: &mut Aim) -> Vec<u8> {
    let mut frame = seedling(aim);
    for _ in 0..=aim.rng.below(4) {
        // The Ethernet header stays: the frame is to arrive.
        let at = 12 + aim.rng.below(frame.len().saturating_sub(12).max(1));
        match aim.rng.below(5) {
            0 => frame.truncate(at),
            1 => frame.extend_from_within(at.min(frame.len())..),
            2 if at < frame.len() => frame[at] ^= 1 << aim.rng.below(8),
            3 if at < frame.len() => frame[at] = [0, 1, 0x7f, 0x80, 0xff][aim.rng.below(5)],
            _ if at < frame.len() => frame[at] = aim.rng.bits() as u8,
            _ => {}
        }
    }
    if aim.rng.happens(500) && frame.len() >= 34 {
        crate::wire::refresh_ipv4(&mut frame[14..]);
    }
    frame.truncate(aim.mtu + 14);
    frame
}

/// Something good to mutate.
fn seedling(aim: &mut Aim) -> Vec<u8> {
    match aim.rng.below(6) {
        0 => {
            let packet = aim.packet(64);
            aim.frame(&packet)
        }
        1 => {
            let mut segment = aim.segment(Tcp::SYN);
            segment.options = vec![
                2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
            ];
            aim.send(&segment, &[])
        }
        2 => {
            let segment = aim.segment(Tcp::ACK);
            aim.send(&segment, b"some data in it")
        }
        3 => aim.carry(PROTO_ICMP, &icmp(8, 0, [0; 4], b"hello")),
        4 => {
            // Not in our own name: a changed sender would only have the guest
            // ask us whether it is true.
            let asker = (aim.from.0, Ipv4Addr::new(203, 0, 113, 5));
            ethernet(
                BROADCAST,
                aim.from.0,
                TYPE_ARP,
                &arp(1, asker, ([0; 6], aim.to.1)),
            )
        }
        _ => {
            let mut packet = aim.packet(512);
            packet[6] |= 0x20;
            crate::wire::refresh_ipv4(&mut packet);
            aim.frame(&packet)
        }
    }
}
