//! Which connection a segment belongs to, and which ports are taken.
//!
//! Problem: finding the socket of a packet must not depend on how many there
//! are, and peers choose addresses and ports. Invariant: one hash table keyed
//! with a secret (SipHash), filled to at most half, so that it never grows;
//! ports are looked up directly.

use alloc::boxed::Box;
use alloc::vec;
use core::cell::Cell;
use core::hash::BuildHasher;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use smoltcp::wire::Ipv4Address;

use crate::random::Random;

/// First ephemeral port (RFC 6335, 6).
const EPHEMERAL: u16 = 49152;
const EPHEMERALS: u16 = 16384;

/// Remote address, remote port and own port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub remote: Ipv4Address,
    pub remote_port: u16,
    pub port: u16,
}

impl Flow {
    /// All of it in one number.
    pub fn key(self) -> u64 {
        u64::from(u32::from(self.remote)) << 32
            | u64::from(self.remote_port) << 16
            | u64::from(self.port)
    }
}

/// What a flow leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Connection(u32),
    TimeWait(u32),
}

struct Keyed([u8; 16]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// A number in a table by port; 0 for none.
struct Ports(Box<[u16]>);

impl Ports {
    fn new() -> Self {
        Self(vec![0; 65536].into_boxed_slice())
    }
}

/// Flows and ports.
pub(crate) struct Flows {
    table: HashMap<u64, Target, Keyed>,
    /// What was found last: segments come in trains.
    last: Cell<Option<(u64, Target)>>,
    /// Socket number plus one, by UDP port.
    udp: Ports,
    /// Socket number plus one, by TCP port bound or listened on.
    tcp: Ports,
    /// Connections and TIME-WAIT entries by own TCP port.
    uses: Ports,
}

impl Flows {
    /// Room for `most` flows.
    pub fn new(most: usize, random: &mut Random) -> Self {
        Self {
            table: HashMap::with_capacity_and_hasher(most * 2, Keyed(random.key())),
            last: Cell::new(None),
            udp: Ports::new(),
            tcp: Ports::new(),
            uses: Ports::new(),
        }
    }

    /// Whom a segment is for.
    pub fn find(&self, flow: Flow) -> Option<Target> {
        let key = flow.key();
        if let Some((last, target)) = self.last.get()
            && last == key
        {
            return Some(target);
        }
        let target = self.table.get(&key).copied()?;
        self.last.set(Some((key, target)));
        Some(target)
    }

    /// Enters a flow that is not there yet.
    pub fn insert(&mut self, flow: Flow, target: Target) {
        self.last.set(None);
        if self.table.insert(flow.key(), target).is_none() {
            let uses = &mut self.uses.0[usize::from(flow.port)];
            *uses = uses.saturating_add(1);
        }
    }

    /// Removes a flow if it leads to `target`.
    pub fn remove(&mut self, flow: Flow, target: Target) {
        if self.find(flow) == Some(target) {
            self.last.set(None);
            self.table.remove(&flow.key());
            let uses = &mut self.uses.0[usize::from(flow.port)];
            *uses = uses.saturating_sub(1);
        }
    }

    /// The UDP socket on a port.
    pub fn udp(&self, port: u16) -> Option<u32> {
        u32::from(self.udp.0[usize::from(port)]).checked_sub(1)
    }

    /// Binds (or with `None` frees) a UDP port.
    pub fn set_udp(&mut self, port: u16, socket: Option<u32>) {
        self.udp.0[usize::from(port)] = socket.map_or(0, |s| s as u16 + 1);
    }

    /// The TCP socket bound to a port.
    pub fn tcp(&self, port: u16) -> Option<u32> {
        u32::from(self.tcp.0[usize::from(port)]).checked_sub(1)
    }

    /// Binds (or with `None` frees) a TCP port.
    pub fn set_tcp(&mut self, port: u16, socket: Option<u32>) {
        self.tcp.0[usize::from(port)] = socket.map_or(0, |s| s as u16 + 1);
    }

    /// Whether connections, live or in TIME-WAIT, use a TCP port.
    pub fn tcp_in_use(&self, port: u16) -> bool {
        self.uses.0[usize::from(port)] != 0
    }

    /// A free ephemeral UDP port; neither 67 and 68 nor bound ones.
    pub fn ephemeral_udp(&self, random: &mut Random) -> Option<u16> {
        Self::probe(random, |port| self.udp(port).is_none())
    }

    /// A free ephemeral TCP port: one that no connection uses, not even in
    /// TIME-WAIT, or failing that one whose flow to `remote` is unused.
    pub fn ephemeral_tcp(
        &self,
        remote: Option<(Ipv4Address, u16)>,
        random: &mut Random,
    ) -> Option<u16> {
        Self::probe(random, |port| {
            self.tcp(port).is_none() && !self.tcp_in_use(port)
        })
        .or_else(|| {
            let (remote, remote_port) = remote?;
            Self::probe(random, |port| {
                let flow = Flow {
                    remote,
                    remote_port,
                    port,
                };
                self.tcp(port).is_none() && self.find(flow).is_none()
            })
        })
    }

    /// From a random start, all ephemeral ports once (RFC 6056, 3.3.1).
    fn probe(random: &mut Random, free: impl Fn(u16) -> bool) -> Option<u16> {
        let start = random.next() as u16;
        (0..EPHEMERALS)
            .map(|i| EPHEMERAL + (start.wrapping_add(i) & (EPHEMERALS - 1)))
            .find(|port| free(*port))
    }
}
