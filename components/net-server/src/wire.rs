//! smoltcp's device: one frame in, and frames out through private memory.
//!
//! Problem: smoltcp wants slices, shared memory must not be one; and it must
//! not fragment itself (see `initial`). Invariant: smoltcp builds each packet
//! in one private buffer; from there it goes to the driver whole, or in
//! fragments when it is longer than the MTU (RFC 791, 3.2), with its checksum
//! computed here or left to the device.

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

use crate::checksum;
use crate::classify::ETHERNET;
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, PartialChecksum};
use crate::hops::Hops;

/// Bytes of the largest frame that smoltcp may build.
pub(crate) const LARGEST: usize = ETHERNET + 65535;
const IP_HEADER: usize = 20;

/// What is known of the NIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub mac: [u8; 6],
    /// Largest IP packet in a frame.
    pub mtu: usize,
    /// The device completes transport checksums.
    pub offload: bool,
}

impl Facts {
    /// Frames that an IP packet of `len` bytes takes.
    pub fn frames_for(&self, len: usize) -> usize {
        if len <= self.mtu {
            return 1;
        }
        (len - IP_HEADER).div_ceil(self.fragment_bytes())
    }

    fn fragment_bytes(&self) -> usize {
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
        // `Wire` fills them in, or leaves them to the device.
        caps.checksum.udp = Checksum::None;
        caps.checksum.tcp = Checksum::None;
        caps
    }
}

/// What smoltcp did with its chances to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    /// It had something to send.
    pub attempts: u32,
    /// It sent an IP packet (and not an ARP request instead).
    pub packets: u32,
    /// The last TCP segment: sequence number, the number behind it,
    /// acknowledgement.
    pub segment: Option<(u32, u32, u32)>,
}

/// Where frames come from and go to during one call of smoltcp.
pub(crate) struct Wire<'a, E> {
    pub env: &'a mut E,
    pub counters: &'a mut Counters,
    pub buffer: &'a mut [u8],
    pub facts: Facts,
    pub ident: &'a mut u16,
    pub note: Note,
    pub hops: &'a mut Hops,
    /// Microseconds.
    pub now: u64,
    pub incoming: Option<&'a [u8]>,
    /// Discard what smoltcp sends.
    pub mute: bool,
}

/// The frame given to smoltcp.
pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// One chance to send.
pub(crate) struct Outgoing<'t, 'a, E>(&'t mut Wire<'a, E>);

impl<'a, E: Environment> Device for Wire<'a, E> {
    type RxToken<'t>
        = Incoming<'a>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t, 'a, E>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'a>, Outgoing<'_, 'a, E>)> {
        let frame = self.incoming.take()?;
        Some((Incoming(frame), Outgoing(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, 'a, E>> {
        if self.env.frame_room() == 0 {
            return None;
        }
        self.note.attempts += 1;
        Some(Outgoing(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.facts.capabilities(self.facts.mtu)
    }
}

impl<E: Environment> TxToken for Outgoing<'_, '_, E> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let wire = self.0;
        let result = f(&mut wire.buffer[..len]);
        if !wire.mute {
            wire.send(len);
        }
        result
    }
}

impl<E: Environment> Wire<'_, E> {
    fn send(&mut self, len: usize) {
        let frame = EthernetFrame::new_unchecked(&self.buffer[..len]);
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            self.emit(len, None);
            return;
        }
        self.note.packets += 1;
        let ip = Ipv4Packet::new_unchecked(frame.payload());
        let protocol = ip.next_header();
        if protocol == IpProtocol::Tcp {
            let tcp = TcpPacket::new_unchecked(ip.payload());
            let seq = tcp.seq_number().0 as u32;
            let end = seq.wrapping_add(tcp.segment_len() as u32);
            self.note.segment = Some((seq, end, tcp.ack_number().0 as u32));
        }
        let (host, mac) = (ip.dst_addr(), frame.dst_addr());
        self.hops.note(host, mac, self.now);
        if len > self.facts.mtu + ETHERNET {
            self.fill_checksum(len, protocol);
            self.send_fragments(len);
            return;
        }
        let checksum = match self.facts.offload {
            true => self.partial_checksum(len, protocol),
            false => self.fill_checksum(len, protocol),
        };
        self.emit(len, checksum);
    }

    fn emit(&mut self, len: usize, checksum: Option<PartialChecksum>) {
        if self.env.send_frame(&self.buffer[..len], checksum) {
            self.counters.add(Counter::FramesSent);
            self.counters.add_n(Counter::BytesToDriver, len as u64);
        } else {
            self.counters.add(Counter::DropSendRoom);
        }
    }

    /// Leaves the transport checksum to the device: its field holds the sum
    /// of the pseudo-header (virtio 1.2, 5.1.6.2).
    fn partial_checksum(&mut self, len: usize, protocol: IpProtocol) -> Option<PartialChecksum> {
        let at = match protocol {
            IpProtocol::Tcp => 16,
            IpProtocol::Udp => 6,
            _ => return None,
        };
        let ip = Ipv4Packet::new_unchecked(&self.buffer[ETHERNET..len]);
        let transport = len - ETHERNET - IP_HEADER;
        let sum = checksum::pseudo(ip.src_addr(), ip.dst_addr(), protocol, transport);
        let field = ETHERNET + IP_HEADER + at;
        self.buffer[field..field + 2].copy_from_slice(&checksum::fold(sum).to_ne_bytes());
        Some(PartialChecksum {
            start: (ETHERNET + IP_HEADER) as u16,
            offset: at as u16,
        })
    }

    /// Fills in the transport checksum, which smoltcp has left 0.
    fn fill_checksum(&mut self, len: usize, protocol: IpProtocol) -> Option<PartialChecksum> {
        let at = match protocol {
            IpProtocol::Tcp => 16,
            IpProtocol::Udp => 6,
            _ => return None,
        };
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
        None
    }

    fn send_fragments(&mut self, len: usize) {
        if self.env.frame_room() < self.facts.frames_for(len - ETHERNET) {
            self.counters.add(Counter::DropSendRoom);
            return;
        }
        *self.ident = self.ident.wrapping_add(1);
        let payload = len - ETHERNET - IP_HEADER;
        let step = self.facts.fragment_bytes();
        let mut offset = 0;
        while offset < payload {
            let part = step.min(payload - offset);
            self.send_fragment(offset, part, offset + part < payload);
            offset += part;
        }
    }

    /// Sends one fragment. Its header is put right before its payload, over
    /// bytes of the fragment before, which has been sent.
    fn send_fragment(&mut self, offset: usize, part: usize, more: bool) {
        self.buffer.copy_within(..ETHERNET + IP_HEADER, offset);
        let frame = &mut self.buffer[offset..offset + ETHERNET + IP_HEADER + part];
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
        ip.set_total_len((IP_HEADER + part) as u16);
        ip.set_ident(*self.ident);
        ip.set_dont_frag(false);
        ip.set_more_frags(more);
        ip.set_frag_offset(offset as u16);
        ip.fill_checksum();
        if self.env.send_frame(frame, None) {
            self.counters.add(Counter::FramesSent);
            self.counters.add(Counter::FragmentsSent);
            let bytes = ETHERNET + IP_HEADER + part;
            self.counters.add_n(Counter::BytesToDriver, bytes as u64);
        }
    }
}
