//! smoltcp's device: one frame in, and frames out, of which only the headers
//! are real.
//!
//! Problem: smoltcp wants slices with payload, which the server does not have;
//! and it must not fragment itself (see `initial`). Invariant: smoltcp builds
//! each packet in one private buffer, a TCP segment with scratch bytes in
//! place of its payload. Its headers go to a send slot; its payload is named
//! by the sends that its sequence numbers belong to. What the server says for
//! itself goes to a send slot in full.
//!
//! smoltcp may build a segment that is longer than a frame: the device or the
//! manager make segments of it (`cut`), which costs less than having smoltcp
//! build each.

use core::num::{NonZeroU16, NonZeroUsize};

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpPacket, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Packet, TcpPacket,
};

use crate::checksum;
use crate::classify::ETHERNET;
use crate::counters::{Counter, Counters};
use crate::cut::{self, Cut, HEADERS, Source, TCP_CHECKSUM};
use crate::environment::{Environment, Outgoing};
use crate::hops::Hops;
use crate::outflow::distance;

/// Bytes of the largest frame that smoltcp may build.
pub(crate) const LARGEST: usize = ETHERNET + 65535;
/// Bytes of an IPv4 header without options; smoltcp makes no others.
pub(crate) const IP_HEADER: usize = 20;
/// Frames that there must be room for before smoltcp may send.
pub(crate) const ROOM: usize = 16;

/// What is known of the NIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub mac: [u8; 6],
    /// Largest IP packet in a frame.
    pub mtu: usize,
    /// The device makes segments; else the manager does.
    pub segments: bool,
}

impl Facts {
    /// Frames that an IP packet of `len` bytes takes.
    #[inline]
    pub fn frames_for(&self, len: usize) -> usize {
        if len <= self.mtu {
            return 1;
        }
        (len - IP_HEADER).div_ceil(self.fragment_bytes())
    }

    /// Bytes of payload in a fragment that is not the last.
    pub fn fragment_bytes(&self) -> usize {
        (self.mtu - IP_HEADER) & !7
    }

    /// What smoltcp is told; `mtu` as it should see it. It verifies nothing,
    /// since `classify` has.
    pub fn capabilities(&self, mtu: usize) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = mtu + ETHERNET;
        caps.checksum.ipv4 = Checksum::Tx;
        caps.checksum.icmpv4 = Checksum::Tx;
        // `Wire` fills them in, or leaves them to others.
        caps.checksum.udp = Checksum::None;
        caps.checksum.tcp = Checksum::None;
        // By the device or the manager.
        caps.segmentation.tcpv4 = NonZeroUsize::new(LARGEST);
        caps
    }
}

/// A TCP segment that smoltcp sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted {
    pub seq: u32,
    /// The number behind it.
    pub end: u32,
    pub ack: Option<u32>,
    pub window: u16,
    /// Bytes of payload.
    pub len: u32,
    pub fin: bool,
    pub rst: bool,
}

impl Emitted {
    /// What is in a segment of `len` bytes of payload.
    fn of(tcp: &TcpPacket<&[u8]>, len: u32) -> Self {
        let seq = tcp.seq_number().0 as u32;
        Self {
            seq,
            end: seq.wrapping_add(tcp.segment_len() as u32),
            ack: tcp.ack().then(|| tcp.ack_number().0 as u32),
            window: tcp.window_len(),
            len,
            fin: tcp.fin(),
            rst: tcp.rst(),
        }
    }
}

/// What smoltcp did with its chances to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    /// It had something to send.
    pub attempts: u32,
    /// It sent an IP packet (and not an ARP request instead).
    pub packets: u32,
    /// The last TCP segment.
    pub segment: Option<Emitted>,
}

/// Where frames come from and go to during one call of smoltcp.
pub(crate) struct Wire<'a, E> {
    pub env: &'a mut E,
    pub counters: &'a mut Counters,
    pub buffer: &'a mut [u8],
    pub facts: Facts,
    pub note: Note,
    pub hops: &'a mut Hops,
    /// Microseconds.
    pub now: u64,
    pub incoming: Option<&'a [u8]>,
    pub source: Option<Source<'a>>,
    pub manner: Manner,
}

/// What becomes of what smoltcp sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is sent.
    Send,
    /// It is discarded.
    Mute,
    /// It is sent, with the payload that smoltcp has: the server's own.
    Own,
}

/// The frame given to smoltcp.
pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// One chance to send.
pub(crate) struct Chance<'t, 'a, E> {
    wire: &'t mut Wire<'a, E>,
    segment: Option<NonZeroU16>,
}

impl<'a, E: Environment> Device for Wire<'a, E> {
    type RxToken<'t>
        = Incoming<'a>
    where
        Self: 't;
    type TxToken<'t>
        = Chance<'t, 'a, E>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _: Instant) -> Option<(Incoming<'a>, Chance<'_, 'a, E>)> {
        let frame = self.incoming.take()?;
        let chance = Chance {
            wire: self,
            segment: None,
        };
        Some((Incoming(frame), chance))
    }

    #[inline]
    fn transmit(&mut self, _: Instant) -> Option<Chance<'_, 'a, E>> {
        if !self.env.has_room(ROOM) {
            return None;
        }
        self.note.attempts += 1;
        Some(Chance {
            wire: self,
            segment: None,
        })
    }

    /// smoltcp asks, but remembers what it was told at first.
    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}

impl<E: Environment> TxToken for Chance<'_, '_, E> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let wire = self.wire;
        let result = f(&mut wire.buffer[..len]);
        if wire.manner != Manner::Mute {
            wire.send(len, self.segment);
        }
        result
    }

    #[inline]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}

impl<E: Environment> Wire<'_, E> {
    fn send(&mut self, len: usize, segment: Option<NonZeroU16>) {
        let frame = EthernetFrame::new_unchecked(&self.buffer[..len]);
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            self.want(len);
            return;
        }
        self.note.packets += 1;
        let ip = Ipv4Packet::new_unchecked(frame.payload());
        let protocol = ip.next_header();
        let own = (ip.src_addr(), self.facts.mac);
        let to = (ip.dst_addr(), frame.dst_addr());
        self.hops.note(own, to, self.now);
        match protocol {
            IpProtocol::Tcp => self.send_segment(len, segment),
            IpProtocol::Udp => {
                self.fill_checksum(len, IpProtocol::Udp, 6);
                self.emit_whole(len);
            }
            _ => self.emit_whole(len),
        }
    }

    /// smoltcp would ask for a neighbour: that is the server's to do.
    #[cold]
    fn want(&mut self, len: usize) {
        let packet = ArpPacket::new_checked(&self.buffer[ETHERNET..len]);
        if let Ok(packet) = packet
            && let Some(address) = packet.target_protocol_addr().first_chunk::<4>()
        {
            self.hops.wanted = Some(Ipv4Address::from(*address));
        }
    }

    fn emit_whole(&mut self, len: usize) {
        if self.env.transmit(&Outgoing::whole(&self.buffer[..len])) {
            self.counters.add(Counter::FramesSent);
        } else {
            self.counters.add(Counter::DropSendRoom);
        }
    }

    /// Computes the transport checksum of a packet that is here in full.
    fn fill_checksum(&mut self, len: usize, protocol: IpProtocol, at: usize) {
        let ip = Ipv4Packet::new_unchecked(&self.buffer[ETHERNET..len]);
        let segment = &self.buffer[ETHERNET + IP_HEADER..len];
        let pseudo = checksum::pseudo(ip.src_addr(), ip.dst_addr(), protocol, segment.len());
        let mut sum = checksum::finish(checksum::add(pseudo, segment));
        if protocol == IpProtocol::Udp && sum == [0; 2] {
            // 0 would mean that there is none (RFC 768).
            sum = [0xff; 2];
        }
        let field = ETHERNET + IP_HEADER + at;
        self.buffer[field..field + 2].copy_from_slice(&sum);
    }

    fn send_segment(&mut self, len: usize, segment: Option<NonZeroU16>) {
        let tcp = TcpPacket::new_unchecked(&self.buffer[ETHERNET + IP_HEADER..len]);
        let header_len = ETHERNET + IP_HEADER + usize::from(tcp.header_len());
        let payload = (len - header_len) as u32;
        let emitted = Emitted::of(&tcp, payload);
        self.note.segment = Some(emitted);
        if payload == 0 || self.manner == Manner::Own {
            self.fill_checksum(len, IpProtocol::Tcp, TCP_CHECKSUM);
            self.emit_whole(len);
            return;
        }
        self.counters.add_n(Counter::Scratch, u64::from(payload));
        let (Some(source), Some(headers)) = (&mut self.source, self.buffer.first_chunk()) else {
            self.counters.add(Counter::OutOfStep);
            return;
        };
        let segment = segment.map(NonZeroU16::get);
        let mut cut = Cut::new(headers, payload, segment, !self.facts.segments);
        if distance(source.sent, emitted.seq) > 0 && distance(emitted.seq, source.kept) >= 0 {
            cut.skip(source.sent);
            if cut.is_empty() {
                let fin = emitted.fin && emitted.end != source.sent;
                self.send_bare(emitted.end.wrapping_sub(fin.into()), fin);
                return;
            }
        }
        if !cut.send(source, self.env, self.counters) {
            source.outflow.owed = Some(cut);
        }
    }

    /// Sends what is left of a segment all payload of which was sent before:
    /// its acknowledgement, and perhaps its FIN.
    #[cold]
    fn send_bare(&mut self, seq: u32, fin: bool) {
        if let Some(headers) = self.buffer.first_chunk_mut() {
            cut::without_payload(headers, seq, fin);
        }
        self.emit_whole(HEADERS);
    }
}
