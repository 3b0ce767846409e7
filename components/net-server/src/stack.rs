//! One packet through smoltcp, with one socket.
//!
//! Problem: smoltcp looks at every socket of the set that it is given, takes
//! its MTU for TCP's segment size as well as for the limit of a datagram, and
//! draws from a predictable generator. Invariant: each call shows smoltcp one
//! socket or none; TCP goes through an interface with the NIC's MTU
//! (*narrow*), everything else through one with IPv4's (*wide*), which leaves
//! fragmenting to `wire`; what needs a random number is done by an interface
//! made for it (see `initial`). ARP is fed to both.

use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, HardwareAddress, IpAddress,
    IpCidr, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};

use crate::checksum;
use crate::classify::{Datagram, ETHERNET};
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, PartialChecksum};
use crate::flows::Flow;
use crate::hops::Hops;
use crate::initial::Initial;
use crate::random::Random;
use crate::time_wait::Entry;
use crate::wire::{Facts, LARGEST, Note, Wire};

/// Which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Narrow,
    Wide,
}

/// Own address and gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub cidr: Ipv4Cidr,
    pub gateway: Option<Ipv4Address>,
}

impl Address {
    /// Whether packets to `to` have a way to go.
    pub fn reaches(&self, to: Ipv4Address) -> bool {
        self.gateway.is_some() || to.is_broadcast() || self.cidr.contains_addr(&to)
    }

    /// Whether `to` is the limited broadcast address or that of our net.
    pub fn is_broadcast(&self, to: Ipv4Address) -> bool {
        to.is_broadcast() || self.cidr.broadcast() == Some(to)
    }
}

/// The interfaces and their buffer.
pub(crate) struct Stack {
    narrow: Interface,
    wide: Interface,
    none: SocketSet<'static>,
    buffer: Vec<u8>,
    facts: Facts,
    ident: u16,
    initial: Initial,
    hops: Hops,
    /// Own address, once there is one.
    pub address: Option<Address>,
    /// Microseconds.
    pub now: u64,
}

impl Stack {
    /// Interfaces without an address.
    pub fn new(facts: Facts, random: &mut Random) -> Self {
        Self {
            narrow: interface(facts.capabilities(facts.mtu), facts.mac, random.next()),
            wide: interface(facts.capabilities(65535), facts.mac, random.next()),
            none: SocketSet::new(alloc::vec![]),
            buffer: alloc::vec![0; LARGEST],
            facts,
            ident: random.next() as u16,
            initial: Initial::new(random),
            hops: Hops::new(),
            address: None,
            now: 0,
        }
    }

    /// What is known of the NIC.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Own address.
    pub fn own(&self) -> Option<Ipv4Address> {
        self.address.map(|a| a.cidr.address())
    }

    /// Takes on another address, or none.
    pub fn set_address(&mut self, address: Option<Address>) {
        self.address = address;
        self.hops.clear();
        configure(&mut self.narrow, address);
        configure(&mut self.wide, address);
    }

    fn call<E: Environment, R>(
        &mut self,
        via: Via,
        incoming: Option<&[u8]>,
        mute: bool,
        (env, counters): (&mut E, &mut Counters),
        f: impl FnOnce(&mut Interface, Instant, &mut Wire<'_, E>, &mut SocketSet<'static>) -> R,
    ) -> (R, Note) {
        let mut wire = Wire {
            env,
            counters,
            buffer: &mut self.buffer,
            facts: self.facts,
            ident: &mut self.ident,
            note: Note::default(),
            hops: &mut self.hops,
            now: self.now,
            incoming,
            mute,
        };
        let interface = match via {
            Via::Narrow => &mut self.narrow,
            Via::Wide => &mut self.wide,
        };
        let now = Instant::from_micros(self.now as i64);
        let result = f(interface, now, &mut wire, &mut self.none);
        (result, wire.note)
    }

    /// Gives smoltcp a frame and the socket that it is for.
    pub fn ingress<E: Environment>(
        &mut self,
        via: Via,
        frame: &[u8],
        set: &mut SocketSet<'static>,
        env: &mut E,
        counters: &mut Counters,
    ) -> Note {
        counters.add(Counter::SocketsShown);
        let (_, note) = self.call(
            via,
            Some(frame),
            false,
            (env, counters),
            |i, now, wire, _| i.poll_ingress_single(now, wire, set),
        );
        note
    }

    /// Gives smoltcp a frame that is for no socket.
    pub fn ingress_none<E: Environment>(
        &mut self,
        via: Via,
        frame: &[u8],
        env: &mut E,
        counters: &mut Counters,
    ) {
        self.call(
            via,
            Some(frame),
            false,
            (env, counters),
            |i, now, wire, none| i.poll_ingress_single(now, wire, none),
        );
    }

    /// Shows an ARP packet to both interfaces; one answers.
    pub fn arp<E: Environment>(&mut self, frame: &[u8], env: &mut E, counters: &mut Counters) {
        self.hops.clear();
        for (via, mute) in [(Via::Wide, false), (Via::Narrow, true)] {
            self.call(
                via,
                Some(frame),
                mute,
                (env, counters),
                |i, now, wire, none| i.poll_ingress_single(now, wire, none),
            );
        }
    }

    /// Lets a socket send one packet; whether it did.
    pub fn egress<E: Environment>(
        &mut self,
        via: Via,
        set: &mut SocketSet<'static>,
        env: &mut E,
        counters: &mut Counters,
    ) -> (bool, Note) {
        counters.add(Counter::SocketsShown);
        let (result, note) = self.call(via, None, false, (env, counters), |i, now, wire, _| {
            i.poll_egress(now, wire, set)
        });
        (result == PollResult::SocketStateChanged, note)
    }

    /// When a socket wants to be looked at again, in microseconds; 0 for now.
    pub fn poll_at(&mut self, via: Via, set: &SocketSet<'static>) -> Option<u64> {
        let now = Instant::from_micros(self.now as i64);
        let interface = match via {
            Via::Narrow => &mut self.narrow,
            Via::Wide => &mut self.wide,
        };
        let at = interface.poll_at(now, set)?;
        Some(at.total_micros().max(0) as u64)
    }

    /// An interface whose first connection gets the right initial number.
    pub fn opener(&self, flow: Flow, random: &mut Random) -> Interface {
        let own = self.own().map_or(0, u32::from);
        let seed = self.initial.seed(own, flow.key(), self.now, random);
        self.fresh(seed)
    }

    /// An interface with a seed of its own.
    pub fn fresh(&self, seed: u64) -> Interface {
        let capabilities = self.facts.capabilities(self.facts.mtu);
        let mut interface = interface(capabilities, self.facts.mac, seed);
        configure(&mut interface, self.address);
        interface
    }

    /// Gives a SYN to a listening socket through an interface of its own.
    pub fn ingress_syn<E: Environment>(
        &mut self,
        frame: &[u8],
        flow: Flow,
        set: &mut SocketSet<'static>,
        random: &mut Random,
        (env, counters): (&mut E, &mut Counters),
    ) {
        counters.add(Counter::SocketsShown);
        let mut opener = self.opener(flow, random);
        self.call(
            Via::Narrow,
            Some(frame),
            false,
            (env, counters),
            |_, now, wire, _| opener.poll_ingress_single(now, wire, set),
        );
    }

    /// Whether a packet from `host` by way of `mac` tells smoltcp nothing new.
    #[inline]
    pub fn knows(&self, host: Ipv4Address, mac: EthernetAddress) -> bool {
        self.hops.find(host, self.now) == Some(mac)
    }

    /// Sends a datagram of `len` bytes, which `fill` provides, to where the
    /// last one went that smoltcp sent to the host. `None` if there was none
    /// lately, or if it does not fit a frame: smoltcp's turn. Otherwise what
    /// `fill` said, and whether the driver had room.
    #[inline]
    pub fn send_datagram<E: Environment>(
        &mut self,
        (port, to, to_port): (u16, Ipv4Address, u16),
        len: usize,
        env: &mut E,
        counters: &mut Counters,
        fill: impl FnOnce(&mut E, &mut [u8]) -> bool,
    ) -> Option<bool> {
        let own = self.own()?;
        if len + 28 > self.facts.mtu {
            return None;
        }
        let mac = self.hops.find(to, self.now)?;
        let frame = self.buffer.get_mut(..UDP_HEADERS + len)?;
        let (headers, payload) = frame.split_at_mut_checked(UDP_HEADERS)?;
        if !fill(env, payload) {
            return Some(false);
        }
        let offload = self.facts.offload;
        let headers: &mut [u8; UDP_HEADERS] = headers.try_into().ok()?;
        let addresses = ((own, port), (to, to_port));
        udp_headers(headers, self.facts.mac, mac, addresses, payload, offload);
        let partial = offload.then_some(PartialChecksum {
            start: (ETHERNET + 20) as u16,
            offset: 6,
        });
        if env.send_frame(frame, partial) {
            counters.add(Counter::FramesSent);
            counters.add_n(Counter::BytesToDriver, frame.len() as u64);
        } else {
            counters.add(Counter::DropSendRoom);
        }
        Some(true)
    }

    /// Acknowledges a segment on behalf of a connection in TIME-WAIT.
    pub fn acknowledge<E: Environment>(
        &mut self,
        entry: &Entry,
        ip: &Datagram,
        env: &mut E,
        counters: &mut Counters,
    ) {
        let tcp = TcpRepr {
            src_port: entry.flow.port,
            dst_port: entry.flow.remote_port,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(entry.seq as i32),
            ack_number: Some(TcpSeqNumber(entry.ack as i32)),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let len = ETHERNET + 20 + tcp.buffer_len();
        let frame = &mut self.buffer[..len];
        EthernetRepr {
            src_addr: EthernetAddress(self.facts.mac),
            dst_addr: ip.src_mac,
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut EthernetFrame::new_unchecked(&mut *frame));
        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        Ipv4Repr {
            src_addr: ip.dst,
            dst_addr: ip.src,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        }
        .emit(
            &mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]),
            &checksums,
        );
        tcp.emit(
            &mut TcpPacket::new_unchecked(&mut frame[ETHERNET + 20..]),
            &ip.dst.into(),
            &ip.src.into(),
            &checksums,
        );
        if env.send_frame(frame, None) {
            counters.add(Counter::FramesSent);
        } else {
            counters.add(Counter::DropSendRoom);
        }
    }
}

fn interface(capabilities: DeviceCapabilities, mac: [u8; 6], seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
    config.random_seed = seed;
    Interface::new(config, &mut Shape(capabilities), Instant::ZERO)
}

fn configure(interface: &mut Interface, address: Option<Address>) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        if let Some(address) = address {
            // There is room for one, and it was just emptied.
            addresses.push(IpCidr::Ipv4(address.cidr)).ok();
        }
    });
    interface.routes_mut().remove_default_ipv4_route();
    if let Some(gateway) = address.and_then(|a| a.gateway) {
        interface.routes_mut().add_default_ipv4_route(gateway).ok();
    }
}

/// Bytes of headers before a datagram's payload.
const UDP_HEADERS: usize = ETHERNET + 20 + 8;

/// Writes the headers of a datagram (RFC 894, 791, 768), as smoltcp does:
/// without options, not to be fragmented, 64 hops. With `offload` the UDP
/// checksum is that of the pseudo-header.
#[inline]
fn udp_headers(
    headers: &mut [u8; UDP_HEADERS],
    own_mac: [u8; 6],
    mac: EthernetAddress,
    ((own, port), (to, to_port)): ((Ipv4Address, u16), (Ipv4Address, u16)),
    payload: &[u8],
    offload: bool,
) {
    let bytes = payload.len() + 8;
    let [d0, d1, d2, d3, d4, d5] = mac.0;
    let [s0, s1, s2, s3, s4, s5] = own_mac;
    headers[..ETHERNET]
        .copy_from_slice(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 0x08, 0x00]);
    let [t0, t1] = ((bytes + 20) as u16).to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (own.octets(), to.octets());
    let mut ip = [
        0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, 17, 0, 0, a, b, c, d, e, f, g, h,
    ];
    let sum = checksum::finish(checksum::add(0, &ip));
    ip[10..12].copy_from_slice(&sum);
    headers[ETHERNET..ETHERNET + 20].copy_from_slice(&ip);
    let ([p, q], [r, s], [l, m]) = (
        port.to_be_bytes(),
        to_port.to_be_bytes(),
        (bytes as u16).to_be_bytes(),
    );
    let mut udp = [p, q, r, s, l, m, 0, 0];
    let pseudo = checksum::pseudo(own, to, IpProtocol::Udp, bytes);
    let sum = if offload {
        checksum::fold(pseudo).to_ne_bytes()
    } else {
        match checksum::finish(checksum::add(checksum::add(pseudo, &udp), payload)) {
            // 0 would mean that there is none.
            [0, 0] => [0xff; 2],
            sum => sum,
        }
    };
    udp[6..].copy_from_slice(&sum);
    headers[ETHERNET + 20..].copy_from_slice(&udp);
}

/// The address as smoltcp's type.
pub(crate) fn ip(address: Ipv4Address) -> IpAddress {
    IpAddress::Ipv4(address)
}

/// A device of which smoltcp learns the capabilities and nothing else.
struct Shape(DeviceCapabilities);

/// No frame ever passes.
enum Never {}

impl RxToken for Never {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, _: F) -> R {
        match self {}
    }
}

impl TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self {}
    }
}

impl Device for Shape {
    type RxToken<'a> = Never;
    type TxToken<'a> = Never;

    fn receive(&mut self, _: Instant) -> Option<(Never, Never)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Never> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.clone()
    }
}
