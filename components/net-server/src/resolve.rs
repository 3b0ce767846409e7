//! Names to addresses (DNS, RFC 1035), by smoltcp's resolver.
//!
//! Problem: an answer is believed if id and port match, so both must be
//! unpredictable. Invariant: each query starts from an interface with a seed
//! of its own; an answer is looked at only when it comes from port 53 of a
//! server that we asked, while a query is open.

use core::mem::offset_of;
use core::str::FromStr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::dns;
use smoltcp::wire::{DnsQueryType, IpAddress, Ipv4Address};
use socket_api::{Completion, Name, Request, Status};

use crate::environment::Environment;
use crate::ingress::Fate;
use crate::lists::List;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, bad};
use crate::server::{Id, Run, Server};
use crate::stack::{Io, Via, ip};

/// Bytes of the longest name (RFC 1035, 2.3.4).
pub(crate) const NAME: usize = 255;
/// Addresses returned at most.
const ADDRESSES: usize = 4;

/// The resolver and its open queries.
pub(crate) struct Resolver {
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// Servers from the configuration, then from DHCP.
    fixed: [Option<Ipv4Address>; 3],
    servers: [Option<Ipv4Address>; 3],
    queries: alloc::vec::Vec<Option<dns::QueryHandle>>,
    /// The requests, each with its index in `queries` as tag.
    waiting: List,
}

impl Resolver {
    /// Room for `queries` at a time.
    pub fn new(queries: usize, fixed: [Option<Ipv4Address>; 3]) -> Self {
        let storage: alloc::vec::Vec<_> = (0..queries).map(|_| None).collect();
        let mut set = SocketSet::new(alloc::vec![]);
        let handle = set.add(dns::Socket::new(&[], storage));
        let mut resolver = Self {
            set,
            handle,
            fixed,
            servers: [None; 3],
            queries: alloc::vec![None; queries],
            waiting: List::EMPTY,
        };
        resolver.set_dhcp_servers([None; 3]);
        resolver
    }

    /// The servers are those of the configuration, then these.
    pub fn set_dhcp_servers(&mut self, dhcp: [Option<Ipv4Address>; 3]) {
        let mut servers = [None; 3];
        let mut list = [IpAddress::Ipv4(Ipv4Address::UNSPECIFIED); 3];
        let mut len = 0;
        for server in self.fixed.into_iter().chain(dhcp).flatten().take(3) {
            servers[len] = Some(server);
            list[len] = ip(server);
            len += 1;
        }
        self.servers = servers;
        self.dns().update_servers(&list[..len]);
    }

    /// Whether a datagram from port 53 of this host may be an answer.
    pub fn expects(&self, from: Ipv4Address) -> bool {
        self.waiting.len != 0 && self.servers.contains(&Some(from))
    }

    fn dns(&mut self) -> &mut dns::Socket<'static> {
        self.set.get_mut(self.handle)
    }
}

impl Server {
    /// Takes bytes of a name from the manager; too many are found out by the
    /// request.
    pub(crate) fn name_in(&mut self, part: &Name) {
        let bytes = part.bytes.get(..usize::from(part.len));
        for byte in bytes.unwrap_or(&part.bytes) {
            if self.name.len() < self.name.capacity() {
                self.name.push(*byte);
            }
        }
    }

    pub(crate) fn resolve(&mut self, r: &Request) -> Answered {
        let mut name = core::mem::take(&mut self.name);
        let answered = self.resolve_name(&name, r);
        name.clear();
        self.name = name;
        answered
    }

    fn resolve_name(&mut self, name: &[u8], r: &Request) -> Answered {
        let extent = || bad(offset_of!(Request, extent));
        if name.is_empty() || name.len() > NAME || name.len() != r.extent.len as usize {
            return Err(extent());
        }
        if r.arg < ADDRESSES as u64 * 4 {
            return Err(bad(offset_of!(Request, arg)));
        }
        let name = core::str::from_utf8(name).map_err(|_| extent())?;
        if !name.is_ascii() {
            return Err(extent());
        }
        if let Ok(literal) = Ipv4Address::from_str(name) {
            return Ok(Answer::Now(found(r, &[literal])));
        }
        self.start_query(name, r)?;
        self.wake(Id::Dns);
        Ok(Answer::Later)
    }

    fn start_query(&mut self, name: &str, r: &Request) -> Result<(), crate::requests::Refusal> {
        if self.stack.address.is_none() || self.resolver.servers[0].is_none() {
            return Err(Status::NetworkDown.into());
        }
        let free = self.resolver.queries.iter().position(Option::is_none);
        let free = free.ok_or(Status::NoResources)?;
        let mut fresh = self.stack.fresh(self.random.next());
        let query = self
            .resolver
            .dns()
            .start_query(fresh.context(), name, DnsQueryType::A)
            .map_err(|error| match error {
                dns::StartQueryError::NoFreeSlot => Status::NoResources.into(),
                _ => bad(offset_of!(Request, extent)),
            })?;
        let waiting = Waiting {
            request: *r,
            tag: free as u32,
            ..Waiting::default()
        };
        if self
            .pending
            .push(&mut self.resolver.waiting, waiting)
            .is_err()
        {
            self.resolver.dns().cancel_query(query);
            return Err(Status::NoResources.into());
        }
        self.resolver.queries[free] = Some(query);
        Ok(())
    }

    /// A datagram that may answer a query.
    pub(crate) fn dns_in(&mut self, frame: &[u8], env: &mut impl Environment) -> Fate {
        let io = Io::new(env, &mut self.counters);
        self.stack
            .ingress(Via::Wide, frame, &mut self.resolver.set, io);
        self.wake(Id::Dns);
        Fate::Drop
    }

    /// Lets the resolver send, and answers what is resolved.
    pub(crate) fn service_dns(&mut self, env: &mut impl Environment) -> Run {
        let mut waits = false;
        // One packet a call: all open queries get a turn.
        for _ in 0..=self.resolver.waiting.len {
            let io = Io::new(&mut *env, &mut self.counters);
            let (sent, note) = self.stack.egress(Via::Wide, &mut self.resolver.set, io);
            if !sent {
                waits = note.attempts > note.packets;
                break;
            }
        }
        while let Some((waiting, result)) = self.next_result() {
            let completion = match &result {
                Some(addresses) => found(&waiting.request, addresses),
                None => waiting.request.complete(Status::NotFound),
            };
            self.complete(&completion, env);
        }
        if waits {
            self.await_neighbour(Id::Dns);
        }
        let at = self.stack.poll_at(Via::Wide, &self.resolver.set);
        let at = at.filter(|_| self.resolver.waiting.len != 0);
        let soonest = self.now() + 1000;
        self.set_timer(Id::Dns, at.map(|at| at.max(soonest)));
        Run::Done
    }

    /// A query that is done: its request, and what was found.
    fn next_result(&mut self) -> Option<(Waiting, Option<alloc::vec::Vec<Ipv4Address>>)> {
        let resolver = &mut self.resolver;
        for index in 0..resolver.queries.len() {
            let Some(query) = resolver.queries[index] else {
                continue;
            };
            let dns: &mut dns::Socket<'static> = resolver.set.get_mut(resolver.handle);
            let result = match dns.get_query_result(query) {
                Err(dns::GetQueryResultError::Pending) => continue,
                Err(dns::GetQueryResultError::Failed) => None,
                Ok(addresses) => Some(addresses.iter().filter_map(ipv4).collect()),
            };
            resolver.queries[index] = None;
            let tag = index as u32;
            let waiting = self.pending.take(&mut resolver.waiting, |w| w.tag == tag)?;
            return Some((waiting, result));
        }
        None
    }

    /// Takes back a query whose request `wanted` says yes to.
    pub(crate) fn cancel_resolve(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let waiting = self.pending.take(&mut self.resolver.waiting, wanted)?;
        let query = self
            .resolver
            .queries
            .get_mut(waiting.tag as usize)
            .and_then(Option::take);
        if let Some(query) = query {
            self.resolver.dns().cancel_query(query);
        }
        Some(waiting)
    }
}

fn ipv4(address: &IpAddress) -> Option<Ipv4Address> {
    match address {
        IpAddress::Ipv4(address) => Some(*address),
        IpAddress::Ipv6(_) => None,
    }
}

/// The answer with these addresses.
fn found(r: &Request, addresses: &[Ipv4Address]) -> Completion {
    let count = addresses.len().min(ADDRESSES);
    if count == 0 {
        return r.complete(Status::NotFound);
    }
    let mut completion = Completion {
        len: count as u32 * 4,
        ..r.complete(Status::Ok)
    };
    let slots = completion.address.octets.chunks_exact_mut(4);
    for (slot, address) in slots.zip(addresses) {
        slot.copy_from_slice(&address.octets());
    }
    completion
}
