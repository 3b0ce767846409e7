//! Replies that nobody asked for, well-formed every one.

use super::{Aim, Case, PORT, Reason};
use crate::wire::{BROADCAST, Ipv4, PROTO_ICMP, PROTO_TCP, PROTO_UDP, TYPE_ARP, Tcp};
use crate::wire::{arp, ethernet, icmp, udp};

/// A port of the guest at which nothing listens.
const CLOSED: u16 = 9;

pub(super) const CASES: &[Case] = &[
    Case::new("unasked-udp-closed-port", Reason::NoSocket, |aim| {
        let datagram = udp((aim.from.1, PORT), (aim.to.1, CLOSED), b"anybody there");
        vec![aim.carry(PROTO_UDP, &datagram)]
    }),
    Case::new("unasked-tcp-closed-port", Reason::NoSocket, |aim| {
        let mut segment = aim.segment(Tcp::SYN);
        segment.dst = CLOSED;
        vec![aim.send(&segment, &[])]
    }),
    Case::new("unasked-tcp-ack", Reason::NoSocket, |aim| {
        stray(aim, Tcp::ACK, b"")
    }),
    Case::new("unasked-tcp-data", Reason::NoSocket, |aim| {
        stray(aim, Tcp::ACK, b"stray data")
    }),
    Case::new("unasked-tcp-fin", Reason::NoSocket, |aim| {
        stray(aim, Tcp::FIN | Tcp::ACK, b"")
    }),
    Case::new("unasked-tcp-reset", Reason::NoSocket, |aim| {
        stray(aim, Tcp::RST, b"")
    }),
    Case::new("unasked-tcp-syn-ack", Reason::NoSocket, |aim| {
        stray(aim, Tcp::SYN | Tcp::ACK, b"")
    }),
    Case::new("tcp-land", Reason::Source, |aim| {
        let (guest, port) = (aim.to.1, aim.tcp_port);
        let segment = Tcp::new(port, port, Tcp::SYN).segment(guest, guest, &[]);
        let packet = Ipv4::new(guest, guest, PROTO_TCP).packet(&segment);
        vec![aim.frame(&packet)]
    }),
    Case::new("unasked-arp-reply", Reason::Ignored, |aim| {
        let forged = (aim.from.1.to_bits() ^ 0x20).into();
        let packet = arp(2, ([0x52, 0, 0, 0, 0, 0x66], forged), aim.to);
        vec![ethernet(aim.to.0, aim.from.0, TYPE_ARP, &packet)]
    }),
    Case::new("arp-claims-guest-address", Reason::Ignored, |aim| {
        let packet = arp(2, ([0x52, 0, 0, 0, 0, 0x66], aim.to.1), ([0; 6], aim.to.1));
        vec![ethernet(BROADCAST, aim.from.0, TYPE_ARP, &packet)]
    }),
    Case::new("unasked-dns-reply", Reason::NoSocket, |aim| {
        let mut body = aim.rng.bytes(2);
        body.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]);
        body.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 6, 6, 6, 6]);
        let port = 49_152 + aim.rng.below(16_384) as u16;
        let datagram = udp((aim.from.1, 53), (aim.to.1, port), &body);
        vec![aim.carry(PROTO_UDP, &datagram)]
    }),
    Case::new("unasked-dhcp-offer", Reason::Any, |aim| dhcp(aim, 2)),
    Case::new("unasked-dhcp-ack", Reason::Any, |aim| dhcp(aim, 5)),
    Case::new("unasked-dhcp-nak", Reason::Any, |aim| dhcp(aim, 6)),
    Case::new("unasked-icmp-echo-reply", Reason::Ignored, |aim| {
        vec![aim.carry(PROTO_ICMP, &icmp(0, 0, [1, 2, 3, 4], b"you asked"))]
    }),
    Case::new("icmp-unreachable-forged", Reason::Ignored, |aim| {
        // About a packet that the guest did not send.
        let segment = Tcp::new(aim.tcp_port, PORT, Tcp::ACK).segment(aim.to.1, aim.from.1, &[]);
        let inner = Ipv4::new(aim.to.1, aim.from.1, PROTO_TCP).packet(&segment);
        (0..4)
            .map(|code| aim.carry(PROTO_ICMP, &icmp(3, code, [0; 4], &inner[..28])))
            .collect()
    }),
    Case::new("icmp-unreachable-truncated", Reason::Icmp, |aim| {
        let inner = Ipv4::new(aim.to.1, aim.from.1, PROTO_UDP).packet(&[0; 8]);
        [0, 1, 19, 20, 27]
            .map(|len| aim.carry(PROTO_ICMP, &icmp(3, 3, [0; 4], &inner[..len])))
            .into()
    }),
    Case::new("icmp-unreachable-bad-inner", Reason::Icmp, |aim| {
        // The embedded header lies about its own lengths.
        let good = Ipv4::new(aim.to.1, aim.from.1, PROTO_UDP).packet(&[0; 8]);
        [(0, 0x4f), (0, 0x40), (0, 0x65), (2, 0xff), (3, 0)]
            .map(|(at, value)| {
                let mut inner = good.clone();
                inner[at] = value;
                aim.carry(PROTO_ICMP, &icmp(3, 3, [0; 4], &inner))
            })
            .into()
    }),
    Case::new("icmp-too-big-forged", Reason::Ignored, |aim| {
        // Wants the path MTU at 0 and at 68.
        let segment = Tcp::new(aim.tcp_port, PORT, Tcp::ACK).segment(aim.to.1, aim.from.1, &[]);
        let inner = Ipv4::new(aim.to.1, aim.from.1, PROTO_TCP).packet(&segment);
        [0, 68]
            .map(|mtu| aim.carry(PROTO_ICMP, &icmp(3, 4, [0, 0, 0, mtu], &inner[..28])))
            .into()
    }),
    Case::new("icmp-redirect-forged", Reason::Ignored, |aim| {
        let inner = Ipv4::new(aim.to.1, aim.from.1, PROTO_UDP).packet(&[0; 8]);
        vec![aim.carry(PROTO_ICMP, &icmp(5, 1, aim.from.1.octets(), &inner))]
    }),
];

/// A segment of no connection, to the port that listens.
fn stray(aim: &mut Aim, flags: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut segment = aim.segment(flags);
    segment.ack = aim.rng.bits() as u32;
    segment.src = 30_000 + aim.rng.below(1000) as u16;
    vec![aim.send(&segment, payload)]
}

/// A DHCP message of a server, with a random transaction number. Whether it
/// finds a socket depends on whether the guest uses DHCP.
fn dhcp(aim: &mut Aim, kind: u8) -> Vec<Vec<u8>> {
    let mut body = vec![0; 240];
    body[..4].copy_from_slice(&[2, 1, 6, 0]);
    let number = aim.rng.bits() as u32;
    body[4..8].copy_from_slice(&number.to_be_bytes());
    body[16..20].copy_from_slice(&[10, 66, 66, 66]);
    body[28..34].copy_from_slice(&aim.to.0);
    body[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    let server = aim.from.1.octets();
    body.extend_from_slice(&[
        53, 1, kind, 54, 4, server[0], server[1], server[2], server[3],
    ]);
    body.extend_from_slice(&[51, 4, 0, 0, 0, 1, 1, 4, 255, 0, 0, 0, 255]);
    let datagram = udp((aim.from.1, 67), (aim.to.1, 68), &body);
    vec![aim.carry(PROTO_UDP, &datagram)]
}
