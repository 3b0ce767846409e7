//! The IPv4 header.

use std::net::Ipv4Addr;

use super::{Aim, Case, PORT, Reason};
use crate::wire::{IPV4, Ipv4, PROTO_UDP, udp};

pub(super) const CASES: &[Case] = &[
    Case::new("ip-truncated-header", Reason::IpHeader, |aim| {
        let packet = aim.packet(100);
        (1..IPV4).map(|len| aim.frame(&packet[..len])).collect()
    }),
    Case::new("ip-truncated-payload", Reason::IpHeader, |aim| {
        let packet = aim.packet(1000);
        [20, 21, 27, 28, 500, 1027]
            .map(|len| aim.frame(&packet[..len]))
            .into()
    }),
    Case::new("ip-version-6", Reason::IpHeader, |aim| {
        vec![aim.bent(|p| p[0] = 0x65)]
    }),
    Case::new("ip-version-0", Reason::IpHeader, |aim| {
        vec![aim.bent(|p| p[0] = 0x05)]
    }),
    Case::new("ip-header-length-short", Reason::IpHeader, |aim| {
        (0..5)
            .map(|words| aim.bent(|p| p[0] = 0x40 | words))
            .collect()
    }),
    Case::new("ip-header-length-over-total", Reason::IpHeader, |aim| {
        vec![aim.bent(|p| {
            p[0] = 0x4f;
            p[2..4].copy_from_slice(&40u16.to_be_bytes());
        })]
    }),
    Case::new("ip-header-length-over-frame", Reason::IpHeader, |aim| {
        vec![aim.bent(|p| {
            p.truncate(30);
            p[0] = 0x4f;
            p[2..4].copy_from_slice(&30u16.to_be_bytes());
        })]
    }),
    Case::new("ip-total-length-over-frame", Reason::IpHeader, |aim| {
        [129, 200, 1500, 65_535]
            .map(|len| aim.bent(|p| set_total(p, len)))
            .into()
    }),
    Case::new("ip-total-length-under-header", Reason::IpHeader, |aim| {
        [0, 1, 19].map(|len| aim.bent(|p| set_total(p, len))).into()
    }),
    Case::new("ip-total-length-cuts-udp", Reason::UdpHeader, |aim| {
        [20, 27, 28, 60]
            .map(|len| aim.bent(|p| set_total(p, len)))
            .into()
    }),
    Case::new("ip-checksum-wrong", Reason::IpChecksum, |aim| {
        let good = aim.packet(100);
        let flipped = |bit: usize| {
            let mut packet = good.clone();
            packet[10 + bit / 8] ^= 1 << (bit % 8);
            packet
        };
        (0..16).map(|bit| aim.frame(&flipped(bit))).collect()
    }),
    Case::new("ip-source-loopback", Reason::Source, |aim| {
        forged(aim, Ipv4Addr::LOCALHOST)
    }),
    Case::new("ip-source-broadcast", Reason::Source, |aim| {
        forged(aim, Ipv4Addr::BROADCAST)
    }),
    Case::new("ip-source-multicast", Reason::Source, |aim| {
        forged(aim, Ipv4Addr::new(224, 0, 0, 1))
    }),
    Case::new("ip-source-unspecified", Reason::Source, |aim| {
        forged(aim, Ipv4Addr::UNSPECIFIED)
    }),
    Case::new("ip-source-subnet-broadcast", Reason::Source, |aim| {
        let broadcast = aim.to.1.to_bits() | 0xff;
        forged(aim, broadcast.into())
    }),
    Case::new("ip-source-own-udp", Reason::Source, |aim| {
        let own = aim.to.1;
        forged(aim, own)
    }),
    Case::new("ip-destination-loopback", Reason::NotForUs, |aim| {
        let datagram = udp(
            (aim.from.1, PORT),
            (Ipv4Addr::LOCALHOST, aim.udp_port),
            b"loop",
        );
        let packet = Ipv4::new(aim.from.1, Ipv4Addr::LOCALHOST, PROTO_UDP).packet(&datagram);
        vec![aim.frame(&packet)]
    }),
    Case::new("ip-protocol-unknown", Reason::Protocol, |aim| {
        [0, 2, 4, 41, 47, 132, 255]
            .map(|protocol| {
                let noise = aim.rng.bytes(40);
                aim.carry(protocol, &noise)
            })
            .into()
    }),
    Case::new("ip-options-legal", Reason::Legal, |aim| {
        let datagram = aim.datagram(64);
        let mut header = aim.header(PROTO_UDP);
        header.options = vec![1; 40];
        let packet = header.packet(&datagram);
        vec![aim.frame(&packet)]
    }),
    Case::new("ip-options-nonsense", Reason::Any, |aim| {
        // Lengths of 0, past the header, and unterminated: nobody needs to look.
        [[7, 0, 0, 0], [7, 255, 4, 0], [68, 3, 5, 0], [131, 39, 0, 0]]
            .map(|options| {
                let datagram = aim.datagram(64);
                let mut header = aim.header(PROTO_UDP);
                header.options = options.to_vec();
                let packet = header.packet(&datagram);
                aim.frame(&packet)
            })
            .into()
    }),
    Case::new("ip-ttl-zero", Reason::Any, |aim| {
        vec![aim.bent(|p| p[8] = 0)]
    }),
];

fn set_total(packet: &mut [u8], len: u16) {
    packet[2..4].copy_from_slice(&len.to_be_bytes());
}

/// A good datagram from an address that the sender cannot have.
fn forged(aim: &mut Aim, source: Ipv4Addr) -> Vec<Vec<u8>> {
    let datagram = udp((source, PORT), (aim.to.1, aim.udp_port), b"who am I");
    let packet = Ipv4::new(source, aim.to.1, PROTO_UDP).packet(&datagram);
    vec![aim.frame(&packet)]
}
