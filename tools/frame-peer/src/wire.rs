//! Frames from parts, right by default and wrong on request.
//!
//! A hostile frame is a good frame with one thing wrong: a generator that
//! trips over an earlier mistake tests nothing behind it. So the builders here
//! make complete frames with right lengths and checksums, fields that tests
//! want to falsify are plain, and `refresh` makes a checksum right again after
//! the header it covers was changed.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The Ethernet broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// Bytes of an Ethernet header, without VLAN tag.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of a UDP header.
pub const UDP: usize = 8;
/// Bytes of a TCP header without options.
pub const TCP: usize = 20;

/// EtherType of IPv4 and ARP.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;

/// IP protocol numbers.
pub const PROTO_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTO_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTO_UDP: u8 = 17;

/// Fragment bits of the IPv4 header: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Fragment bits of the IPv4 header: do not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;

/// The Internet checksum (RFC 1071) of `bytes`, continued from `sum`.
pub fn checksum(sum: u32, bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut sum = u64::from(sum);
    sum += pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)))
        .sum::<u64>();
    sum += odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum of the pseudo header of UDP and TCP.
pub fn pseudo_sum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> u32 {
    let words = |a: Ipv4Addr| {
        let bits = a.to_bits();
        (bits >> 16) + (bits & 0xffff)
    };
    words(src) + words(dst) + u32::from(protocol) + len as u32
}

/// An Ethernet frame; short payloads are not padded.
pub fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat()
}

/// What varies in an IPv4 header.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, as in the header (offset in units of 8 bytes).
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Options; a multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
}

impl Ipv4 {
    /// A header without options, not fragmented, time to live 64.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> Self {
        Self {
            src,
            dst,
            protocol,
            id: 0,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
        }
    }

    /// The packet with `payload` behind this header.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = IPV4 + self.options.len();
        let mut packet = vec![0; header];
        packet[0] = 0x40 | (header / 4) as u8;
        packet[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
        packet[4..6].copy_from_slice(&self.id.to_be_bytes());
        packet[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        packet[8..10].copy_from_slice(&[self.ttl, self.protocol]);
        packet[12..16].copy_from_slice(&self.src.octets());
        packet[16..20].copy_from_slice(&self.dst.octets());
        packet[IPV4..].copy_from_slice(&self.options);
        refresh_ipv4(&mut packet);
        packet.extend_from_slice(payload);
        packet
    }
}

/// Makes the header checksum of an IPv4 packet right, over the header length
/// that it states, or over what there is.
pub fn refresh_ipv4(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    let header = header.clamp(IPV4, packet.len());
    packet[10..12].fill(0);
    let sum = checksum(0, &packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A UDP datagram with a right checksum for the addresses given.
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let len = UDP + payload.len();
    let mut datagram = Vec::with_capacity(len);
    for field in [from.1, to.1, len as u16, 0] {
        datagram.extend_from_slice(&field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    refresh_udp(from.0, to.0, &mut datagram);
    datagram
}

/// Makes the checksum of a UDP datagram right.
pub fn refresh_udp(src: Ipv4Addr, dst: Ipv4Addr, datagram: &mut [u8]) {
    datagram[6..8].fill(0);
    let sum = checksum(pseudo_sum(src, dst, PROTO_UDP, datagram.len()), datagram);
    // Zero means "no checksum": RFC 768.
    let sum = if sum == 0 { 0xffff } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// What varies in a TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// The flags, FIN in bit 0.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Options; a multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
}

impl Tcp {
    /// Flag bits.
    pub const FIN: u8 = 1;
    /// Flag bit: synchronise.
    pub const SYN: u8 = 2;
    /// Flag bit: reset.
    pub const RST: u8 = 4;
    /// Flag bit: acknowledgement is valid.
    pub const ACK: u8 = 16;

    /// A segment without options and with a window of 64 KiB.
    pub fn new(src: u16, dst: u16, flags: u8) -> Self {
        Self {
            src,
            dst,
            seq: 0,
            ack: 0,
            flags,
            window: 0xffff,
            options: Vec::new(),
        }
    }

    /// The segment with `payload` and a right checksum for the addresses.
    pub fn segment(&self, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let header = TCP + self.options.len();
        let mut segment = Vec::with_capacity(header + payload.len());
        segment.extend_from_slice(&self.src.to_be_bytes());
        segment.extend_from_slice(&self.dst.to_be_bytes());
        segment.extend_from_slice(&self.seq.to_be_bytes());
        segment.extend_from_slice(&self.ack.to_be_bytes());
        segment.extend_from_slice(&[(header as u8 / 4) << 4, self.flags]);
        segment.extend_from_slice(&self.window.to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        segment.extend_from_slice(&self.options);
        segment.extend_from_slice(payload);
        refresh_tcp(src, dst, &mut segment);
        segment
    }
}

/// Makes the checksum of a TCP segment right.
pub fn refresh_tcp(src: Ipv4Addr, dst: Ipv4Addr, segment: &mut [u8]) {
    segment[16..18].fill(0);
    let sum = checksum(pseudo_sum(src, dst, PROTO_TCP, segment.len()), segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP message with a right checksum.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &rest, payload].concat();
    let sum = checksum(0, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ARP packet for IPv4 over Ethernet; `operation` 1 asks, 2 answers.
pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        packet.extend_from_slice(&mac);
        packet.extend_from_slice(&address.octets());
    }
    packet
}

/// Where things are in a received IPv4 frame; holding one proves that the
/// header lengths lie within the frame and each other.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    /// Source Ethernet address.
    pub src_mac: Mac,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// The IPv4 header, options included.
    pub header: &'a [u8],
    /// What is behind the header, without Ethernet padding.
    pub payload: &'a [u8],
}

impl<'a> Located<'a> {
    /// Finds the parts of an IPv4 frame; none if it is not one.
    pub fn find(frame: &'a [u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
        if ethernet[12..] != TYPE_IPV4.to_be_bytes() || packet.len() < IPV4 || packet[0] >> 4 != 4 {
            return None;
        }
        let header = usize::from(packet[0] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if header < IPV4 || total < header {
            return None;
        }
        let (header, payload) = packet.get(..total)?.split_at(header);
        Some(Self {
            src_mac: *frame[6..].first_chunk()?,
            src: Ipv4Addr::from(*header[12..].first_chunk::<4>()?),
            dst: Ipv4Addr::from(*header[16..].first_chunk::<4>()?),
            protocol: header[9],
            header,
            payload,
        })
    }

    /// Flags and offset field of the header.
    pub fn fragment(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// Whether this is a part of a larger datagram.
    pub fn is_fragment(&self) -> bool {
        self.fragment() & !DONT_FRAGMENT != 0
    }

    /// Source port, destination port and payload, if this is a whole UDP
    /// datagram of a consistent length.
    pub fn udp(&self) -> Option<(u16, u16, &'a [u8])> {
        if self.protocol != PROTO_UDP || self.is_fragment() || self.payload.len() < UDP {
            return None;
        }
        let field = |at: usize| u16::from_be_bytes([self.payload[at], self.payload[at + 1]]);
        let body = self.payload.get(UDP..usize::from(field(4)))?;
        Some((field(0), field(2), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{
        ArpPacket, ArpRepr, EthernetFrame, Icmpv4Packet, Ipv4Packet, TcpPacket, UdpPacket,
    };

    const A: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
    const B: Ipv4Addr = Ipv4Addr::new(192, 168, 200, 255);

    #[test]
    fn smoltcp_finds_the_frames_right() {
        let datagram = udp((A, 5), (B, 7), b"odd");
        assert!(
            UdpPacket::new_checked(&datagram[..])
                .unwrap()
                .verify_checksum(&A.into(), &B.into())
        );
        let mut tcp = Tcp::new(1, 2, Tcp::SYN);
        tcp.options = vec![2, 4, 5, 0xb4];
        let segment = tcp.segment(A, B, b"hello");
        let parsed = TcpPacket::new_checked(&segment[..]).unwrap();
        assert!(parsed.verify_checksum(&A.into(), &B.into()) && parsed.syn());
        assert_eq!(parsed.payload(), b"hello");
        let mut header = Ipv4::new(A, B, PROTO_TCP);
        header.options = vec![1; 8];
        let frame = ethernet([2; 6], [4; 6], TYPE_IPV4, &header.packet(&segment));
        let outer = EthernetFrame::new_checked(&frame[..]).unwrap();
        let packet = Ipv4Packet::new_checked(outer.payload()).unwrap();
        assert!(packet.verify_checksum() && packet.header_len() == 28);
        assert_eq!(packet.payload(), segment);
        let message = icmp(8, 0, [1, 2, 3, 4], &[9; 5]);
        assert!(
            Icmpv4Packet::new_checked(&message[..])
                .unwrap()
                .verify_checksum()
        );
        let packet = arp(1, ([2; 6], A), ([0; 6], B));
        assert!(ArpRepr::parse(&ArpPacket::new_checked(&packet[..]).unwrap()).is_ok());
    }

    #[test]
    fn located_takes_padding_off_and_refuses_nonsense() {
        let datagram = udp((A, 5), (B, 7), b"x");
        let packet = Ipv4::new(A, B, PROTO_UDP).packet(&datagram);
        let mut frame = ethernet([2; 6], [4; 6], TYPE_IPV4, &packet);
        frame.resize(60, 0);
        let found = Located::find(&frame).unwrap();
        assert_eq!(found.udp(), Some((5, 7, &b"x"[..])));
        for (at, value) in [(12, 0x86), (14, 0x44), (14, 0x65), (16, 0xff)] {
            let mut wrong = frame.clone();
            wrong[at] = value;
            assert!(Located::find(&wrong).is_none(), "byte {at}");
        }
        (0..43).for_each(|cut| assert!(Located::find(&frame[..cut]).is_none()));
    }
}
