//! Hostile frames: a catalogue by name, each with the reason for which a sound
//! receiver drops it.
//!
//! Each case is a good conversation with one thing wrong (see `wire`), aimed at
//! a guest by an [`Aim`]. The same seed gives the same frames. After any of
//! them, and any number of them, a sound guest
//!
//! - still answers as before,
//! - has handed none of the bytes of a case with a drop reason to an
//!   application,
//! - holds no more memory than its quotas allow, and
//! - has counted a drop of that reason, if that reason has counters.

mod flood;
mod fragments;
mod ip;
mod link;
mod transport;
mod unsolicited;

use std::fmt;
use std::net::Ipv4Addr;

use crate::rng::Rng;
use crate::wire::{Ipv4, Mac, PROTO_TCP, PROTO_UDP, TYPE_IPV4, Tcp, ethernet, refresh_ipv4, udp};

/// Why a sound receiver drops a frame: what its drop counters tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The device or its emulation may drop it before any software sees it:
    /// frames longer than the link allows.
    Device,
    /// Shorter than an Ethernet header.
    Runt,
    /// Ethernet type that nobody here speaks.
    Ethertype,
    /// Well-formed, but for another Ethernet or IP address.
    NotForUs,
    /// ARP packet that is malformed, or of a sender that cannot be, or that nobody
    /// asked for.
    Arp,
    /// IPv4 header: version, lengths, options.
    IpHeader,
    /// IPv4 header checksum.
    IpChecksum,
    /// Ethernet or IPv4 source that no other host can have: multicast,
    /// broadcast, loopback, the guest's own.
    Source,
    /// Fragments that overlap, exceed 64 KiB, or never become whole.
    Fragment,
    /// IP protocol that nobody here speaks.
    Protocol,
    /// UDP header: length, port 0.
    UdpHeader,
    /// UDP checksum.
    UdpChecksum,
    /// TCP header: data offset, options, port 0.
    TcpHeader,
    /// TCP checksum.
    TcpChecksum,
    /// Malformed ICMP message.
    Icmp,
    /// Well-formed, but no socket or connection expects it.
    NoSocket,
    /// Connection attempts over the backlog.
    Backlog,
    /// Well-formed and for the guest, but nothing that it acts on: it may say
    /// nothing and count nothing.
    Ignored,
    /// Well-formed and legal, if unkind: nothing need be dropped.
    Legal,
    /// Random: anything may be.
    Any,
}

impl Reason {
    /// A word for tables and options, in lower case with hyphens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Runt => "runt",
            Self::Ethertype => "ethertype",
            Self::NotForUs => "not-for-us",
            Self::Arp => "arp",
            Self::IpHeader => "ip-header",
            Self::IpChecksum => "ip-checksum",
            Self::Source => "source",
            Self::Fragment => "fragment",
            Self::Protocol => "protocol",
            Self::UdpHeader => "udp-header",
            Self::UdpChecksum => "udp-checksum",
            Self::TcpHeader => "tcp-header",
            Self::TcpChecksum => "tcp-checksum",
            Self::Icmp => "icmp",
            Self::NoSocket => "no-socket",
            Self::Backlog => "backlog",
            Self::Ignored => "ignored",
            Self::Legal => "legal",
            Self::Any => "any",
        }
    }

    /// Names of counters, one of which moves at least: `component.counter`, with
    /// `nic` for the driver, `io` for the I/O manager and `net` for the protocol
    /// server, whoever of them sees it first. None where no drop need be counted.
    pub fn counters(self) -> &'static [&'static str] {
        match self {
            Self::Device | Self::Ignored | Self::Legal | Self::Any => &[],
            Self::Runt => &["nic.rx.runt", "net.drop_runt"],
            Self::Ethertype => &["net.drop_ethertype"],
            Self::NotForUs => &["net.drop_not_our_mac", "net.drop_not_our_address"],
            Self::Arp => &[
                "net.drop_bad_arp",
                "net.drop_arp_flood",
                "net.drop_arp_bad_sender",
                "net.drop_arp_unasked",
            ],
            Self::IpHeader => &["io.drop.malformed", "net.drop_bad_ip_header"],
            Self::IpChecksum => &["net.drop_ip_checksum"],
            Self::Source => &["net.drop_bad_source"],
            Self::Fragment => &[
                "net.drop_bad_fragment",
                "net.drop_fragment_overlap",
                "net.drop_fragment_table_full",
                "net.drop_fragment_timeout",
            ],
            Self::Protocol | Self::NoSocket => &["net.drop_no_socket"],
            Self::UdpHeader | Self::TcpHeader => &["net.drop_bad_transport_header"],
            Self::UdpChecksum | Self::TcpChecksum => &["net.drop_bad_checksum"],
            Self::Icmp => &[
                "net.drop_bad_transport_header",
                "net.drop_bad_checksum",
                "net.drop_no_socket",
            ],
            Self::Backlog => &["net.drop_backlog_overflow", "net.drop_no_connection_slot"],
        }
    }

    /// Whether a sound receiver drops the frame, for certain and in software.
    pub fn is_drop(self) -> bool {
        !matches!(self, Self::Device | Self::Legal | Self::Any)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who sends, at whom, and where services listen.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The sender's addresses, as far as not forged.
    pub from: (Mac, Ipv4Addr),
    /// The guest's addresses.
    pub to: (Mac, Ipv4Addr),
    /// A UDP port of the guest at which something listens.
    pub udp_port: u16,
    /// A TCP port of the guest at which something listens.
    pub tcp_port: u16,
    /// The link's MTU, in bytes of IP packet.
    pub mtu: usize,
    /// Frames in a flood.
    pub flood: usize,
    /// What is random.
    pub rng: Rng,
}

/// The sender's port in most frames.
const PORT: u16 = 40_000;

impl Aim {
    /// Aims at a guest with an echo service at `port`, MTU 1500, floods of 200.
    pub fn new(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), port: u16, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self {
            from,
            to,
            udp_port: port,
            tcp_port: port,
            mtu: 1500,
            flood: 300,
            rng,
        }
    }

    /// An IPv4 header from us to the guest with a random identification.
    fn header(&mut self, protocol: u8) -> Ipv4 {
        let mut header = Ipv4::new(self.from.1, self.to.1, protocol);
        header.id = self.rng.bits() as u16;
        header
    }

    /// A frame to the guest with an IP packet in it.
    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        ethernet(self.to.0, self.from.0, TYPE_IPV4, packet)
    }

    /// A frame with `payload` behind a right IP header.
    fn carry(&mut self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let packet = self.header(protocol).packet(payload);
        self.frame(&packet)
    }

    /// A right UDP datagram of `len` random bytes to the service.
    fn datagram(&mut self, len: usize) -> Vec<u8> {
        let body = self.rng.bytes(len);
        udp((self.from.1, PORT), (self.to.1, self.udp_port), &body)
    }

    /// A right packet with such a datagram.
    fn packet(&mut self, len: usize) -> Vec<u8> {
        let datagram = self.datagram(len);
        self.header(PROTO_UDP).packet(&datagram)
    }

    /// A frame with such a datagram whose IP packet was changed; its header
    /// checksum is made right again.
    fn bent(&mut self, bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = self.packet(100);
        bend(&mut packet);
        refresh_ipv4(&mut packet);
        self.frame(&packet)
    }

    /// A segment from our port to the service's, with a random sequence number.
    fn segment(&mut self, flags: u8) -> Tcp {
        let mut segment = Tcp::new(PORT, self.tcp_port, flags);
        segment.seq = self.rng.bits() as u32;
        segment
    }

    /// A frame with a segment, right for our addresses.
    fn send(&mut self, segment: &Tcp, payload: &[u8]) -> Vec<u8> {
        let bytes = segment.segment(self.from.1, self.to.1, payload);
        self.carry(PROTO_TCP, &bytes)
    }
}

/// One entry of the catalogue.
pub struct Case {
    /// Its name, in lower case with hyphens.
    pub name: &'static str,
    /// Why a sound receiver drops it.
    pub reason: Reason,
    build: fn(&mut Aim) -> Vec<Vec<u8>>,
}

impl Case {
    const fn new(name: &'static str, reason: Reason, build: fn(&mut Aim) -> Vec<Vec<u8>>) -> Self {
        Self {
            name,
            reason,
            build,
        }
    }

    /// The frames of the case, in order; at least one.
    pub fn frames(&self, aim: &mut Aim) -> Vec<Vec<u8>> {
        (self.build)(aim)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// All cases, in a fixed order.
pub fn catalogue() -> impl Iterator<Item = &'static Case> {
    let lists: [&'static [Case]; 6] = [
        link::CASES,
        ip::CASES,
        fragments::CASES,
        transport::CASES,
        unsolicited::CASES,
        flood::CASES,
    ];
    lists.into_iter().flatten()
}

/// `count` frames drawn at random from the catalogue's cases and from mutated
/// good ones.
pub fn storm(aim: &mut Aim, count: usize) -> Vec<Vec<u8>> {
    let cases: Vec<_> = catalogue().collect();
    let mut frames = Vec::with_capacity(count);
    while frames.len() < count {
        if aim.rng.happens(500) {
            frames.push(flood::mutant(aim));
        } else {
            let case = cases[aim.rng.below(cases.len())];
            frames.extend(case.frames(aim));
        }
    }
    frames.truncate(count);
    frames
}
