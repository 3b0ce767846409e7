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

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv4Cidr,
};

use crate::counters::{Counter, Counters};
use crate::cut::Source;
use crate::environment::Environment;
use crate::flows::Flow;
use crate::hops::Hops;
use crate::initial::Initial;
use crate::random::Random;
use crate::wire::{Facts, LARGEST, Manner, Note, Wire};

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

/// Whom smoltcp's packets go to, and where the payload of segments is.
pub(crate) struct Io<'a, E> {
    pub env: &'a mut E,
    pub counters: &'a mut Counters,
    pub source: Option<Source<'a>>,
}

impl<'a, E> Io<'a, E> {
    /// For packets that have no payload of clients.
    pub fn new(env: &'a mut E, counters: &'a mut Counters) -> Self {
        Self {
            env,
            counters,
            source: None,
        }
    }
}

/// The socket that sends datagrams of no bytes, to learn where to send others.
struct Prober {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

impl Prober {
    fn new() -> Self {
        let buffer = |datagrams| {
            let metadata = alloc::vec![udp::PacketMetadata::EMPTY; datagrams];
            udp::PacketBuffer::new(metadata, alloc::vec![])
        };
        let mut set = SocketSet::new(alloc::vec![]);
        let handle = set.add(udp::Socket::new(buffer(0), buffer(1)));
        Self { set, handle }
    }

    /// Queues a datagram of no bytes; false if that cannot be.
    fn queue(&mut self, own: Ipv4Address, (port, to, to_port): (u16, Ipv4Address, u16)) -> bool {
        let socket = self.set.get_mut::<udp::Socket>(self.handle);
        let mut meta = udp::UdpMetadata::from(IpEndpoint::new(ip(to), to_port));
        meta.local_address = Some(ip(own));
        socket.bind(port).is_ok() && socket.send(0, meta).is_ok()
    }

    /// Forgets what is queued, and the neighbour that smoltcp waits for.
    fn reset(&mut self) {
        let socket = self.set.remove(self.handle);
        if let smoltcp::socket::Socket::Udp(mut socket) = socket {
            socket.close();
            self.handle = self.set.add(socket);
        }
    }
}

/// The interfaces and their buffer.
pub(crate) struct Stack {
    narrow: Interface,
    wide: Interface,
    none: SocketSet<'static>,
    /// Taken while it is used.
    prober: Option<Prober>,
    pub(crate) buffer: Vec<u8>,
    facts: Facts,
    pub(crate) ident: u16,
    initial: Initial,
    pub(crate) hops: Hops,
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
            prober: Some(Prober::new()),
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

    #[inline]
    fn call<'e, E: Environment, R>(
        &'e mut self,
        via: Via,
        incoming: Option<&'e [u8]>,
        manner: Manner,
        io: Io<'e, E>,
        f: impl FnOnce(&mut Interface, Instant, &mut Wire<'e, E>, &mut SocketSet<'static>) -> R,
    ) -> (R, Note) {
        let mut wire = Wire {
            env: io.env,
            counters: io.counters,
            buffer: &mut self.buffer,
            facts: self.facts,
            note: Note::default(),
            hops: &mut self.hops,
            now: self.now,
            incoming,
            source: io.source,
            manner,
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
    #[inline]
    pub fn ingress<E: Environment>(
        &mut self,
        via: Via,
        frame: &[u8],
        set: &mut SocketSet<'static>,
        io: Io<'_, E>,
    ) -> Note {
        io.counters.add(Counter::SocketsShown);
        let (_, note) = self.call(via, Some(frame), Manner::Send, io, |i, now, wire, _| {
            i.poll_ingress_single(now, wire, set)
        });
        note
    }

    /// Gives smoltcp a frame that is for no socket.
    pub fn ingress_none<E: Environment>(&mut self, via: Via, frame: &[u8], io: Io<'_, E>) {
        self.call(via, Some(frame), Manner::Send, io, |i, now, wire, none| {
            i.poll_ingress_single(now, wire, none)
        });
    }

    /// Shows an ARP packet to both interfaces; one answers.
    pub fn arp<E: Environment>(&mut self, frame: &[u8], env: &mut E, counters: &mut Counters) {
        self.hops.clear();
        for (via, manner) in [(Via::Wide, Manner::Send), (Via::Narrow, Manner::Mute)] {
            let io = Io::new(&mut *env, &mut *counters);
            self.call(via, Some(frame), manner, io, |i, now, wire, none| {
                i.poll_ingress_single(now, wire, none)
            });
        }
    }

    /// A datagram came from `host` by way of `mac`: smoltcp's table stays
    /// fresh as long as datagrams go both ways.
    #[inline]
    pub fn hear<E: Environment>(
        &mut self,
        (host, mac): (Ipv4Address, EthernetAddress),
        frame: &[u8],
        io: Io<'_, E>,
    ) {
        if !self.hops.should_hear(host, mac, self.now) {
            return;
        }
        self.hops.hear(host, self.now);
        io.counters.add(Counter::SocketsShown);
        self.call(
            Via::Wide,
            Some(frame),
            Manner::Mute,
            io,
            |i, now, wire, none| i.poll_ingress_single(now, wire, none),
        );
    }

    /// Asks smoltcp where datagrams to a host go; what it finds stands in
    /// `hops` then. False if it has to ask for the hardware address.
    pub(crate) fn probe<E: Environment>(
        &mut self,
        own: Ipv4Address,
        ends: (u16, Ipv4Address, u16),
        io: Io<'_, E>,
    ) -> bool {
        io.counters.add(Counter::SocketsShown);
        let Some(mut prober) = self.prober.take() else {
            return false;
        };
        let queued = prober.queue(own, ends);
        let (result, note) = self.call(Via::Wide, None, Manner::Probe, io, |i, now, wire, _| {
            i.poll_egress(now, wire, &mut prober.set)
        });
        prober.reset();
        self.prober = Some(prober);
        queued && result == PollResult::SocketStateChanged && note.packets != 0
    }

    /// Lets a socket send one packet; whether it did.
    #[inline]
    pub fn egress<E: Environment>(
        &mut self,
        via: Via,
        set: &mut SocketSet<'static>,
        io: Io<'_, E>,
    ) -> (bool, Note) {
        io.counters.add(Counter::SocketsShown);
        let (result, note) = self.call(via, None, Manner::Send, io, |i, now, wire, _| {
            i.poll_egress(now, wire, set)
        });
        (result == PollResult::SocketStateChanged, note)
    }

    /// Gives smoltcp a segment of a connection of the server's own, whose payload
    /// is in the frame.
    pub fn own_ingress<E: Environment>(
        &mut self,
        frame: &[u8],
        set: &mut SocketSet<'static>,
        io: Io<'_, E>,
    ) {
        io.counters.add(Counter::SocketsShown);
        let via = Via::Narrow;
        self.call(via, Some(frame), Manner::Own, io, |i, now, wire, _| {
            i.poll_ingress_single(now, wire, set)
        });
    }

    /// As `egress`, of a connection of the server's own.
    pub fn own_egress<E: Environment>(
        &mut self,
        set: &mut SocketSet<'static>,
        io: Io<'_, E>,
    ) -> (bool, Note) {
        io.counters.add(Counter::SocketsShown);
        let via = Via::Narrow;
        let (result, note) = self.call(via, None, Manner::Own, io, |i, now, wire, _| {
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
        io: Io<'_, E>,
    ) {
        io.counters.add(Counter::SocketsShown);
        let mut opener = self.opener(flow, random);
        self.call(
            Via::Narrow,
            Some(frame),
            Manner::Send,
            io,
            |_, now, wire, _| opener.poll_ingress_single(now, wire, set),
        );
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
