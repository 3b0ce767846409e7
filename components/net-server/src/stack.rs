//! One packet through smoltcp, with one socket.
//!
//! Problem: smoltcp looks at every socket of the set that it is given, takes
//! its MTU for TCP's segment size as well as for the limit of a datagram, and
//! draws from a predictable generator. Invariant: each call shows smoltcp one
//! socket or none; TCP goes through an interface with the NIC's MTU
//! (*narrow*), everything else through one with IPv4's (*wide*), which leaves
//! fragmenting to `wire`; what needs a random number is done by an interface
//! made for it (see `initial`). No ARP packet gets to smoltcp: it is told what
//! the table of neighbours knows (see `arp`).

use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::classify::is_host;
use crate::counters::{Counter, Counters};
use crate::cut::Source;
use crate::environment::Environment;
use crate::flows::Flow;
use crate::hops::Hops;
use crate::initial::Initial;
use crate::neighbours::{Neighbours, Way};
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

    /// The neighbour that packets to `to` go to (RFC 1122, 3.3.1.1).
    pub fn next_hop(&self, to: Ipv4Address) -> Ipv4Address {
        match self.gateway {
            Some(gateway) if !self.cidr.contains_addr(&to) => gateway,
            _ => to,
        }
    }

    /// Whether `host` can be a neighbour: on our net, and not all of it.
    pub fn is_neighbour(&self, host: Ipv4Address) -> bool {
        let there = self.cidr.contains_addr(&host) || self.gateway == Some(host);
        // All of a net of two addresses are hosts' (RFC 3021).
        let net = self.cidr.prefix_len() < 31 && self.cidr.network().address() == host;
        there && is_host(host) && !net && !self.is_broadcast(host)
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

/// The interfaces and their buffer.
pub(crate) struct Stack {
    narrow: Interface,
    wide: Interface,
    none: SocketSet<'static>,
    pub(crate) buffer: Vec<u8>,
    facts: Facts,
    pub(crate) ident: u16,
    initial: Initial,
    pub(crate) hops: Hops,
    pub(crate) neighbours: Neighbours,
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
            neighbours: Neighbours::new(),
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
        self.neighbours.clear();
        self.forget();
    }

    /// Has smoltcp forget all neighbours.
    pub fn forget(&mut self) {
        self.hops.clear();
        configure(&mut self.narrow, self.address);
        configure(&mut self.wide, self.address);
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

    /// Gives smoltcp a frame that is for no socket; once more, if it has to be
    /// told first where its answer goes.
    pub fn ingress_none<E: Environment>(&mut self, via: Via, frame: &[u8], io: Io<'_, E>) {
        self.show(
            via,
            frame,
            Manner::Send,
            Io::new(&mut *io.env, &mut *io.counters),
        );
        if let Some(wanted) = self.hops.wanted.take()
            && let Way::Known(mac) = self.want(wanted)
        {
            self.tell((wanted, mac), Io::new(&mut *io.env, &mut *io.counters));
            self.show(via, frame, Manner::Send, io);
        }
    }

    /// Shows smoltcp a frame and no socket.
    pub(crate) fn show<E: Environment>(
        &mut self,
        via: Via,
        frame: &[u8],
        manner: Manner,
        io: Io<'_, E>,
    ) {
        self.call(via, Some(frame), manner, io, |i, now, wire, none| {
            i.poll_ingress_single(now, wire, none)
        });
    }

    /// A datagram came from `host` by way of `mac`: what is known of neighbours
    /// stays fresh as long as datagrams go both ways.
    #[inline]
    pub fn hear(&mut self, host: Ipv4Address, mac: EthernetAddress) {
        if self.hops.should_hear(host, mac, self.now) {
            self.hear_neighbour(host, mac);
        }
    }

    #[inline(never)]
    fn hear_neighbour(&mut self, host: Ipv4Address, mac: EthernetAddress) {
        self.hops.hear(host, self.now);
        if let Some(address) = self.address {
            self.neighbours
                .confirm(address.next_hop(host), mac, self.now);
        }
    }

    /// The way to a neighbour, which is asked for if it is not known.
    pub fn want(&mut self, neighbour: Ipv4Address) -> Way {
        let (hops, now) = (&self.hops, self.now);
        let gateway = self.address.and_then(|a| a.gateway);
        self.neighbours.want(neighbour, now, |host, mac| {
            gateway != Some(host) && !hops.uses(mac, now)
        })
    }

    /// The way to a host; what it is stands in `hops` then, if it is known.
    #[inline(never)]
    pub fn find_way(&mut self, host: Ipv4Address) -> Way {
        let Some(address) = self.address else {
            return Way::Absent;
        };
        let way = match address.is_broadcast(host) {
            true => Way::Known(EthernetAddress::BROADCAST),
            false => self.want(address.next_hop(host)),
        };
        if let Way::Known(mac) = way {
            let own = (address.cidr.address(), self.facts.mac);
            self.hops.note(own, (host, mac), self.now);
        }
        way
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
