//! UDP, TCP and ICMP headers.

use super::{Aim, Case, PORT, Reason};
use crate::wire::{PROTO_ICMP, PROTO_TCP, PROTO_UDP, TCP, Tcp, icmp, refresh_tcp, refresh_udp};

pub(super) const CASES: &[Case] = &[
    Case::new("udp-truncated", Reason::UdpHeader, |aim| {
        (0..8)
            .map(|len| udp_bent(aim, |d| d.truncate(len)))
            .collect()
    }),
    Case::new("udp-length-over-packet", Reason::UdpHeader, |aim| {
        [109, 1000, 65_535]
            .map(|len| udp_bent(aim, |d| set_length(d, len)))
            .into()
    }),
    Case::new("udp-length-under-header", Reason::UdpHeader, |aim| {
        [0, 1, 7]
            .map(|len| udp_bent(aim, |d| set_length(d, len)))
            .into()
    }),
    Case::new("udp-port-zero", Reason::UdpHeader, |aim| {
        vec![udp_bent(aim, |d| d[2..4].fill(0))]
    }),
    Case::new("udp-checksum-wrong", Reason::UdpChecksum, |aim| {
        // A flip in each part that it covers.
        [0, 50, 107]
            .map(|at| {
                let mut datagram = aim.datagram(100);
                datagram[at] ^= 0x10;
                aim.carry(PROTO_UDP, &datagram)
            })
            .into()
    }),
    Case::new("udp-checksum-absent", Reason::Legal, |aim| {
        let mut datagram = aim.datagram(100);
        datagram[6..8].fill(0);
        vec![aim.carry(PROTO_UDP, &datagram)]
    }),
    Case::new("udp-empty", Reason::Legal, |aim| {
        let datagram = aim.datagram(0);
        vec![aim.carry(PROTO_UDP, &datagram)]
    }),
    Case::new("tcp-truncated", Reason::TcpHeader, |aim| {
        (0..TCP)
            .map(|len| tcp_bent(aim, |s| s.truncate(len)))
            .collect()
    }),
    Case::new("tcp-offset-short", Reason::TcpHeader, |aim| {
        (0..5)
            .map(|words| tcp_bent(aim, |s| s[12] = words << 4))
            .collect()
    }),
    Case::new("tcp-offset-over-segment", Reason::TcpHeader, |aim| {
        (8..16)
            .map(|words| tcp_bent(aim, |s| s[12] = words << 4))
            .collect()
    }),
    Case::new("tcp-checksum-wrong", Reason::TcpChecksum, |aim| {
        [0, 13, 20]
            .map(|at| {
                let syn = aim.segment(Tcp::SYN);
                let mut bytes = syn.segment(aim.from.1, aim.to.1, b"data");
                bytes[at] ^= 0x40;
                aim.carry(PROTO_TCP, &bytes)
            })
            .into()
    }),
    Case::new("tcp-option-length-zero", Reason::TcpHeader, |aim| {
        vec![with_options(aim, &[2, 0, 5, 0xb4])]
    }),
    Case::new("tcp-option-over-header", Reason::TcpHeader, |aim| {
        vec![
            with_options(aim, &[1, 1, 2, 4]),
            with_options(aim, &[8, 10, 0, 0]),
        ]
    }),
    Case::new("tcp-option-wrong-length", Reason::TcpHeader, |aim| {
        vec![
            with_options(aim, &[2, 3, 5, 0]),
            with_options(aim, &[3, 4, 1, 0]),
        ]
    }),
    Case::new("tcp-window-scale-255", Reason::Any, |aim| {
        vec![with_options(aim, &[3, 3, 255, 0])]
    }),
    Case::new("tcp-segment-size-zero", Reason::Any, |aim| {
        vec![with_options(aim, &[2, 4, 0, 0])]
    }),
    Case::new("tcp-port-zero", Reason::TcpHeader, |aim| {
        let mut segment = aim.segment(Tcp::SYN);
        segment.dst = 0;
        vec![aim.send(&segment, &[])]
    }),
    Case::new("tcp-flags-impossible", Reason::NoSocket, |aim| {
        [
            Tcp::SYN | Tcp::FIN,
            Tcp::SYN | Tcp::RST,
            Tcp::FIN | Tcp::RST,
            0x3f,
        ]
        .map(|flags| {
            let segment = aim.segment(flags);
            aim.send(&segment, &[])
        })
        .into()
    }),
    Case::new("tcp-flags-none", Reason::NoSocket, |aim| {
        let segment = aim.segment(0);
        vec![aim.send(&segment, b"null scan")]
    }),
    Case::new("icmp-truncated", Reason::Icmp, |aim| {
        let message = icmp(8, 0, [0; 4], &[]);
        (0..8)
            .map(|len| aim.carry(PROTO_ICMP, &message[..len]))
            .collect()
    }),
    Case::new("icmp-checksum-wrong", Reason::Icmp, |aim| {
        let mut message = icmp(8, 0, [0; 4], b"ping");
        message[9] ^= 1;
        vec![aim.carry(PROTO_ICMP, &message)]
    }),
    Case::new("icmp-unknown-type", Reason::Ignored, |aim| {
        let noise = aim.rng.bytes(40);
        [13, 17, 40, 255]
            .map(|kind| aim.carry(PROTO_ICMP, &icmp(kind, 0, [0; 4], &noise)))
            .into()
    }),
];

fn set_length(datagram: &mut [u8], len: u16) {
    datagram[4..6].copy_from_slice(&len.to_be_bytes());
}

/// A good datagram of 100 bytes, changed, with a right checksum if it still
/// has room for one.
fn udp_bent(aim: &mut Aim, bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = aim.datagram(100);
    bend(&mut datagram);
    if datagram.len() >= 8 {
        refresh_udp(aim.from.1, aim.to.1, &mut datagram);
    }
    aim.carry(PROTO_UDP, &datagram)
}

/// A good SYN with ten bytes of data, changed, checksum as for `udp_bent`.
fn tcp_bent(aim: &mut Aim, bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let syn = Tcp::new(PORT, aim.tcp_port, Tcp::SYN);
    let mut segment = syn.segment(aim.from.1, aim.to.1, &[0xff; 10]);
    bend(&mut segment);
    if segment.len() >= TCP {
        refresh_tcp(aim.from.1, aim.to.1, &mut segment);
    }
    aim.carry(PROTO_TCP, &segment)
}

/// A SYN with these options.
fn with_options(aim: &mut Aim, options: &[u8]) -> Vec<u8> {
    let mut segment = aim.segment(Tcp::SYN);
    segment.options = options.to_vec();
    aim.send(&segment, &[])
}
