//! Is this frame a packet that we should look at, and if not, why not?
//!
//! Problem: anything may arrive, and only its first bytes are here. Invariant:
//! what leaves this module has complete headers among the bytes that are here,
//! lengths inside the frame, checksums that were verified (by the device or
//! here, once), and addresses that a host may use. Nothing here panics: every
//! access goes through smoltcp's checked views.

use smoltcp::wire::{
    ArpHardware, ArpOperation, ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Packet, IpProtocol, Ipv4Address, Ipv4Packet, TcpOption, TcpPacket, UdpPacket,
};

use crate::checksum;
use crate::counters::Counter;
use crate::recovery::{Blocks, Offer};

pub(crate) use socket_api::host::is_host;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// A packet, of which the first bytes are in private memory.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    /// As long as the frame; what is not here has no meaning.
    pub frame: &'a mut [u8],
    /// How many bytes are here.
    pub have: usize,
    /// The packet.
    pub packet: u32,
    /// All of it is here.
    pub whole: bool,
    pub sum: Sum,
}

/// What is known of the sum of an IP packet's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// The device has verified the checksum, or vouches for it. If it is a
    /// fragment's, this is the sum.
    Verified(u16),
    /// Its one's complement sum, folded.
    Is(u16),
    /// The bytes are here.
    Bytes,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    Arp,
    Ipv4(Datagram),
}

/// The checked facts of an IPv4 header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    pub src: Ipv4Address,
    pub dst: Ipv4Address,
    pub protocol: IpProtocol,
    pub ident: u16,
    /// Bytes of the frame before the payload.
    pub payload_at: usize,
    /// Bytes of payload, inside the frame.
    pub payload_len: usize,
    pub more_fragments: bool,
    /// In bytes.
    pub fragment_offset: usize,
    pub src_mac: EthernetAddress,
}

/// The checked facts of a transport header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Udp {
        src_port: u16,
        dst_port: u16,
        len: usize,
    },
    Tcp(Segment),
    Icmp,
    Other,
}

/// The checked facts of a TCP header (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: Option<u32>,
    pub window: u16,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// What its options offer, if it is a SYN's.
    pub offer: Offer,
    /// Blocks that it acknowledges selectively (RFC 2018).
    pub blocks: Blocks,
    /// Bytes of all headers.
    pub header_len: u32,
    /// Bytes of payload.
    pub len: u32,
}

impl Segment {
    /// The sequence number behind the segment.
    pub fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.len)
            .wrapping_add(u32::from(self.syn))
            .wrapping_add(u32::from(self.fin))
    }
}

/// Checks a frame as far as the IPv4 header; the error is why it is dropped.
#[inline]
pub(crate) fn frame(arrived: &Arrived<'_>, mac: [u8; 6]) -> Result<Class, Counter> {
    let here = arrived.frame.get(..arrived.have).unwrap_or(&[]);
    let frame = EthernetFrame::new_checked(here).map_err(|_| Counter::DropRunt)?;
    let dst = frame.dst_addr();
    if dst.0 != mac && !dst.is_broadcast() {
        return Err(Counter::DropNotOurMac);
    }
    let src_mac = frame.src_addr();
    if !src_mac.is_unicast() {
        return Err(Counter::DropBadSource);
    }
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let len = arrived.frame.len() - ETHERNET;
            ipv4(frame.payload(), len, src_mac, dst.is_broadcast())
        }
        EthernetProtocol::Arp => Ok(Class::Arp),
        _ => Err(Counter::DropEthertype),
    }
}

/// The IPv4 header at the start of `here`, in a frame with room for `len`.
#[inline]
fn ipv4(here: &[u8], len: usize, src_mac: EthernetAddress, to_all: bool) -> Result<Class, Counter> {
    const BAD: Counter = Counter::DropBadIpHeader;
    let bytes: &[u8; 20] = here.first_chunk().ok_or(BAD)?;
    let packet = Ipv4Packet::new_unchecked(&bytes[..]);
    let (header, total) = (
        usize::from(packet.header_len()),
        usize::from(packet.total_len()),
    );
    // RFC 791, 3.1.
    if packet.version() != 4 || header < 20 || total < header || total > len {
        return Err(BAD);
    }
    let all = here.get(..header).ok_or(BAD)?;
    if !checksum::is_right(checksum::add(0, all)) {
        return Err(Counter::DropIpChecksum);
    }
    let src = packet.src_addr();
    if !(is_host(src) || src.is_unspecified() && to_all) {
        return Err(Counter::DropBadSource);
    }
    Ok(Class::Ipv4(Datagram {
        src,
        dst: packet.dst_addr(),
        protocol: packet.next_header(),
        ident: packet.ident(),
        payload_at: ETHERNET + header,
        payload_len: total - header,
        more_fragments: packet.more_frags(),
        fragment_offset: usize::from(packet.frag_offset()),
        src_mac,
    }))
}

/// What an ARP packet says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arp {
    /// It is an answer, and not a question.
    pub reply: bool,
    pub mac: EthernetAddress,
    pub from: Ipv4Address,
    pub to: Ipv4Address,
    /// From whom the frame is.
    pub src_mac: EthernetAddress,
}

/// What an ARP frame says, if it is sound: RFC 826 for IPv4 over Ethernet, from
/// a sender that can be a single host.
pub(crate) fn arp(frame: &[u8]) -> Option<Arp> {
    let src_mac = EthernetFrame::new_checked(frame).ok()?.src_addr();
    let packet = ArpPacket::new_checked(frame.get(ETHERNET..)?).ok()?;
    let kind = (packet.hardware_type(), packet.protocol_type());
    let lengths = (packet.hardware_len(), packet.protocol_len());
    if kind != (ArpHardware::Ethernet, EthernetProtocol::Ipv4) || lengths != (6, 4) {
        return None;
    }
    let mac = EthernetAddress::from_bytes(packet.source_hardware_addr());
    let reply = match packet.operation() {
        ArpOperation::Request => false,
        ArpOperation::Reply => true,
        ArpOperation::Unknown(_) => return None,
    };
    let address = |bytes: &[u8]| Some(Ipv4Address::from(*bytes.first_chunk::<4>()?));
    mac.is_unicast().then_some(Arp {
        reply,
        mac,
        from: address(packet.source_protocol_addr())?,
        to: address(packet.target_protocol_addr())?,
        src_mac,
    })
}

/// Checks the transport header of a whole datagram.
#[inline]
pub(crate) fn transport(arrived: &Arrived<'_>, ip: &Datagram) -> Result<Transport, Counter> {
    const BAD: Counter = Counter::DropBadTransport;
    let payload = arrived.frame.get(ip.payload_at..).ok_or(BAD)?;
    let payload = payload.get(..ip.payload_len).ok_or(BAD)?;
    let here = arrived.have - ip.payload_at;
    match ip.protocol {
        IpProtocol::Udp => udp(payload, here, ip, arrived.sum),
        IpProtocol::Tcp => tcp(payload, here, ip, arrived.sum).map(Transport::Tcp),
        IpProtocol::Icmp if !arrived.whole => Err(BAD),
        IpProtocol::Icmp => {
            let packet = Icmpv4Packet::new_checked(payload).map_err(|_| BAD)?;
            let vouched = matches!(arrived.sum, Sum::Verified(_));
            if vouched || packet.verify_checksum() {
                Ok(Transport::Icmp)
            } else {
                Err(Counter::DropChecksum)
            }
        }
        _ => Ok(Transport::Other),
    }
}

#[inline]
fn udp(payload: &[u8], here: usize, ip: &Datagram, sum: Sum) -> Result<Transport, Counter> {
    let packet = UdpPacket::new_checked(payload).map_err(|_| Counter::DropBadTransport)?;
    let len = usize::from(packet.len());
    if packet.dst_port() == 0 || len < 8 || here < 8 {
        return Err(Counter::DropBadTransport);
    }
    // No checksum is one that its sender left out (RFC 768). The sum that we
    // are told is that of all bytes: others than the datagram's spoil it.
    if packet.checksum() != 0 && !is_sound(ip, &payload[..len], sum) {
        return Err(Counter::DropChecksum);
    }
    Ok(Transport::Udp {
        src_port: packet.src_port(),
        dst_port: packet.dst_port(),
        len: len - 8,
    })
}

#[inline]
fn tcp(payload: &[u8], here: usize, ip: &Datagram, sum: Sum) -> Result<Segment, Counter> {
    let packet = TcpPacket::new_checked(payload).map_err(|_| Counter::DropBadTransport)?;
    let header_len = usize::from(packet.header_len());
    if here < 20 || !(20..=here).contains(&header_len) {
        return Err(Counter::DropBadTransport);
    }
    if packet.src_port() == 0 || packet.dst_port() == 0 {
        return Err(Counter::DropBadTransport);
    }
    if !is_sound(ip, payload, sum) {
        return Err(Counter::DropChecksum);
    }
    let (offer, blocks) = options(packet.options()).ok_or(Counter::DropBadTransport)?;
    Ok(Segment {
        src_port: packet.src_port(),
        dst_port: packet.dst_port(),
        seq: packet.seq_number().0 as u32,
        ack: packet.ack().then(|| packet.ack_number().0 as u32),
        window: packet.window_len(),
        syn: packet.syn(),
        fin: packet.fin(),
        rst: packet.rst(),
        offer,
        blocks,
        header_len: (ip.payload_at + header_len) as u32,
        len: (payload.len() - header_len) as u32,
    })
}

/// Whether the checksum of a transport segment is right.
#[inline]
fn is_sound(ip: &Datagram, segment: &[u8], sum: Sum) -> bool {
    let pseudo = checksum::pseudo(ip.src, ip.dst, ip.protocol, segment.len());
    match sum {
        Sum::Verified(_) => true,
        Sum::Is(sum) => checksum::is_right(pseudo + u64::from(sum)),
        Sum::Bytes => checksum::is_right(checksum::add(pseudo, segment)),
    }
}

/// What TCP options say, which must be readable to their end (RFC 9293, 3.1):
/// what is offered, and which blocks have arrived.
#[inline]
fn options(mut options: &[u8]) -> Option<(Offer, Blocks)> {
    let (mut offer, mut blocks) = (Offer::default(), [None; 3]);
    while !options.is_empty() {
        let (rest, option) = TcpOption::parse(options).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(bytes) => offer.segment = Some(bytes),
            TcpOption::WindowScale(shift) => offer.shift = Some(shift),
            TcpOption::SackPermitted => offer.selective = true,
            TcpOption::SackRange(ranges) => blocks = ranges,
            _ => {}
        }
        options = rest;
    }
    Some((offer, blocks))
}
