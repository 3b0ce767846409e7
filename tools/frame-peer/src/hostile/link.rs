//! Ethernet and ARP.

use super::{Aim, Case, Reason};
use std::net::Ipv4Addr;

use crate::wire::{BROADCAST, Ipv4, PROTO_UDP, TYPE_ARP, TYPE_IPV4, arp, ethernet, udp};

pub(super) const CASES: &[Case] = &[
    Case::new("ethernet-empty", Reason::Runt, |_| vec![Vec::new()]),
    Case::new("ethernet-one-byte", Reason::Runt, |_| vec![vec![0x52]]),
    Case::new("ethernet-no-type", Reason::Runt, |aim| cut(aim, 13)),
    Case::new("ethernet-no-payload", Reason::IpHeader, |aim| cut(aim, 14)),
    Case::new("ethernet-unknown-type", Reason::Ethertype, |aim| {
        retype(aim, 0x88b5)
    }),
    Case::new("ethernet-length-field", Reason::Ethertype, |aim| {
        retype(aim, 0x0040)
    }),
    Case::new("ethernet-ipv6", Reason::Ethertype, |aim| {
        retype(aim, 0x86dd)
    }),
    Case::new("ethernet-vlan", Reason::Ethertype, |aim| {
        retype(aim, 0x8100)
    }),
    Case::new("ethernet-other-destination", Reason::NotForUs, |aim| {
        let packet = aim.packet(100);
        vec![ethernet(
            [0x52, 0, 0, 0, 0, 0x77],
            aim.from.0,
            TYPE_IPV4,
            &packet,
        )]
    }),
    Case::new("ethernet-multicast-source", Reason::Source, |aim| {
        let packet = aim.packet(100);
        vec![ethernet(
            aim.to.0,
            [1, 0, 0x5e, 0, 0, 1],
            TYPE_IPV4,
            &packet,
        )]
    }),
    Case::new("ethernet-broadcast-source", Reason::Source, |aim| {
        let packet = aim.packet(100);
        vec![ethernet(aim.to.0, BROADCAST, TYPE_IPV4, &packet)]
    }),
    Case::new("ethernet-giant", Reason::Device, |aim| {
        let len = aim.mtu + 1;
        let packet = aim.packet(len);
        vec![aim.frame(&packet)]
    }),
    Case::new("ethernet-largest", Reason::Device, |aim| {
        let packet = aim.packet(65_507);
        vec![aim.frame(&packet)]
    }),
    Case::new("ethernet-giant-noise", Reason::Device, |aim| {
        let noise = aim.rng.bytes(20_000);
        vec![aim.frame(&noise)]
    }),
    Case::new("arp-truncated", Reason::Arp, |aim| {
        let request = ask(aim);
        (0..request.len())
            .step_by(3)
            .map(|len| frame(aim, &request[..len]))
            .collect()
    }),
    Case::new("arp-wrong-hardware", Reason::Arp, |aim| bent(aim, 1, 6)),
    Case::new("arp-wrong-protocol", Reason::Arp, |aim| bent(aim, 2, 0x86)),
    Case::new("arp-wrong-hardware-length", Reason::Arp, |aim| {
        bent(aim, 4, 255)
    }),
    Case::new("arp-wrong-protocol-length", Reason::Arp, |aim| {
        bent(aim, 5, 16)
    }),
    Case::new("arp-wrong-operation", Reason::Arp, |aim| bent(aim, 7, 9)),
    Case::new("arp-multicast-sender", Reason::Arp, |aim| {
        let packet = arp(1, ([0x33; 6], aim.from.1), ([0; 6], aim.to.1));
        vec![frame(aim, &packet)]
    }),
    Case::new("arp-no-sender", Reason::Arp, |aim| {
        let packet = arp(1, ([0; 6], nobody(aim)), ([0; 6], aim.to.1));
        vec![frame(aim, &packet)]
    }),
    Case::new("arp-of-another-sender", Reason::Arp, |aim| {
        let packet = arp(2, ([0x52, 0, 0, 3, 0, 1], nobody(aim)), aim.to);
        vec![frame(aim, &packet)]
    }),
    Case::new("arp-unasked", Reason::Arp, |aim| {
        let packet = arp(2, (aim.from.0, nobody(aim)), aim.to);
        vec![frame(aim, &packet)]
    }),
    Case::new("arp-for-another", Reason::Ignored, |aim| {
        let other = (aim.to.1.to_bits() ^ 0x40).into();
        let packet = arp(1, aim.from, ([0; 6], other));
        vec![ethernet(BROADCAST, aim.from.0, TYPE_ARP, &packet)]
    }),
    Case::new("ip-to-another-address", Reason::NotForUs, |aim| {
        let other = (aim.to.1.to_bits() ^ 0x40).into();
        let datagram = udp(
            (aim.from.1, super::PORT),
            (other, aim.udp_port),
            b"not for you",
        );
        let packet = Ipv4::new(aim.from.1, other, PROTO_UDP).packet(&datagram);
        vec![aim.frame(&packet)]
    }),
];

/// A good frame of which only the first `len` bytes arrive.
fn cut(aim: &mut Aim, len: usize) -> Vec<Vec<u8>> {
    let packet = aim.packet(100);
    vec![aim.frame(&packet)[..len].to_vec()]
}

fn retype(aim: &mut Aim, ethertype: u16) -> Vec<Vec<u8>> {
    let packet = aim.packet(100);
    vec![ethernet(aim.to.0, aim.from.0, ethertype, &packet)]
}

fn ask(aim: &Aim) -> Vec<u8> {
    arp(1, aim.from, ([0; 6], aim.to.1))
}

fn frame(aim: &Aim, packet: &[u8]) -> Vec<u8> {
    ethernet(aim.to.0, aim.from.0, TYPE_ARP, packet)
}

/// A good request with one byte changed.
fn bent(aim: &mut Aim, at: usize, value: u8) -> Vec<Vec<u8>> {
    let mut packet = ask(aim);
    packet[at] = value;
    vec![frame(aim, &packet)]
}

/// An address of the victim's network that nobody has. A false word in the
/// attacker's own name would have a credulous victim answer somebody else.
fn nobody(aim: &Aim) -> Ipv4Addr {
    Ipv4Addr::from(aim.to.1.to_bits() ^ 0x60)
}
