//! Names to addresses (DNS, RFC 1035): who is asked, when, and who is believed.
//!
//! Problem: an answer is believed if number and port match, so both must be
//! unpredictable; a server may be silent, fail, or have more to say than fits a
//! datagram. Invariant: number and port are drawn anew for each server and each
//! name asked for; an answer is looked at only when it comes from port 53 of the
//! server that is being asked, to that port, and is one to the question
//! ([`dns`](crate::dns)); one that says it is truncated is asked for again over
//! TCP (RFC 7766, 5; [`dns_stream`](crate::dns_stream)), and if that fails it is
//! no answer. Each server has [`PATIENCE_US`], so a query ends, whatever they do.

use core::mem::offset_of;
use core::str::FromStr;

use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Name, Request, Status};

use crate::datagram::Sent;
use crate::dns::{self, Answer as Said, MOST_QUESTION};
use crate::dns_stream::Streams;
use crate::environment::Environment;
use crate::ingress::Fate;
use crate::lists::List;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, Refusal, bad};
use crate::server::{Id, Run, Server};
use crate::stack::Io;
use crate::wire::ROOM;

/// Bytes of the longest name (RFC 1035, 2.3.4).
pub(crate) const NAME: usize = 255;
/// Where DNS servers listen (RFC 1035, 4.2).
pub(crate) const PORT: u16 = 53;
/// Addresses returned at most.
const ADDRESSES: usize = dns::ADDRESSES;
/// Seconds until a question is asked again, until the next server is.
const WAITS: [u64; 4] = [1, 2, 4, 3];
/// How long a server has over TCP, and how long it takes to wait for a free
/// connection, in microseconds.
pub(crate) const PATIENCE_US: u64 = 10_000_000;
/// Names asked for in place of one, each the alias of the last.
const ALIASES: u8 = 8;

/// How a server is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In datagrams.
    Datagrams,
    /// Over TCP, once a connection is free.
    WaitsForStream,
    /// Over TCP.
    Stream(usize),
}

/// A name that is being looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub name: dns::Name,
    pub number: u16,
    port: u16,
    /// Which server is being asked.
    server: usize,
    pub stage: Stage,
    /// How often it was asked in datagrams.
    tries: usize,
    /// When it is asked again, or given up.
    next: u64,
    /// The question waits for a hardware address.
    postponed: bool,
    aliases: u8,
}

/// The resolver and its open queries.
pub(crate) struct Resolver {
    /// Servers from the configuration, then from DHCP.
    fixed: [Option<Ipv4Address>; 3],
    servers: [Option<Ipv4Address>; 3],
    pub queries: alloc::vec::Vec<Option<Query>>,
    /// The requests, each with its index in `queries` as tag.
    waiting: List,
    pub streams: Streams,
}

impl Resolver {
    /// Room for `queries` at a time.
    pub fn new(queries: usize, fixed: [Option<Ipv4Address>; 3], mtu: usize) -> Self {
        let mut resolver = Self {
            fixed,
            servers: [None; 3],
            queries: alloc::vec![None; queries],
            waiting: List::EMPTY,
            streams: Streams::new(mtu),
        };
        resolver.set_dhcp_servers([None; 3]);
        resolver
    }

    /// The servers are those of the configuration, then these.
    pub fn set_dhcp_servers(&mut self, dhcp: [Option<Ipv4Address>; 3]) {
        let all = self.fixed.into_iter().chain(dhcp).flatten();
        self.servers = [None; 3];
        for (slot, server) in self.servers.iter_mut().zip(all) {
            *slot = Some(server);
        }
    }

    /// Whether a datagram from port 53 of this host may be an answer.
    pub fn expects(&self, from: Ipv4Address) -> bool {
        self.waiting.len != 0 && self.servers.contains(&Some(from))
    }

    /// An open query.
    pub fn query(&mut self, index: usize) -> Option<&mut Query> {
        self.queries.get_mut(index)?.as_mut()
    }

    /// The server that a query is at; `None` if there is none left.
    pub fn server_of(&self, query: &Query) -> Option<Ipv4Address> {
        self.servers.get(query.server).copied().flatten()
    }

    /// The address that questions came from is gone: those over TCP are asked
    /// anew.
    pub fn forget_streams(&mut self, now: u64) {
        let queries = &mut self.queries;
        self.streams.forget(|index| {
            if let Some(Some(query)) = queries.get_mut(index) {
                query.stage = Stage::WaitsForStream;
                query.next = now + PATIENCE_US;
            }
        });
    }

    /// When a query has something to do next, in microseconds.
    fn deadline(&self) -> Option<u64> {
        let queries = self.queries.iter().flatten();
        let queries = queries.filter(|query| !matches!(query.stage, Stage::Stream(_)));
        queries.map(|query| query.next).min()
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
        let name = dns::Name::from_text(name).ok_or_else(extent)?;
        self.start_query(name, r)?;
        self.wake(Id::Dns);
        Ok(Answer::Later)
    }

    fn start_query(&mut self, name: dns::Name, r: &Request) -> Result<(), Refusal> {
        if self.stack.address.is_none() || self.resolver.servers[0].is_none() {
            return Err(Status::NetworkDown.into());
        }
        let free = self.resolver.queries.iter().position(Option::is_none);
        let free = free.ok_or(Status::NoResources)?;
        let waiting = Waiting {
            request: *r,
            tag: free as u32,
            ..Waiting::default()
        };
        self.pending
            .push(&mut self.resolver.waiting, waiting)
            .map_err(|_| Status::NoResources)?;
        let query = Query {
            name,
            number: 0,
            port: 0,
            server: 0,
            stage: Stage::Datagrams,
            tries: 0,
            next: 0,
            postponed: false,
            aliases: 0,
        };
        self.resolver.queries[free] = Some(query);
        self.ask_anew(free);
        Ok(())
    }

    /// Has the server that a query is at asked in datagrams, by another number
    /// and port than any before.
    fn ask_anew(&mut self, index: usize) {
        let port = self.flows.ephemeral_udp(&mut self.random);
        let number = self.random.next() as u16;
        let now = self.now();
        if let Some(query) = self.resolver.query(index) {
            query.stage = Stage::Datagrams;
            // With none free, no answer will come, and the query ends in time.
            (query.number, query.port) = (number, port.unwrap_or(0));
            (query.tries, query.next, query.postponed) = (0, now, false);
        }
    }

    /// A datagram from port 53 of `from` to `port`, which may be an answer.
    pub(crate) fn dns_in(
        &mut self,
        message: &[u8],
        (from, port): (Ipv4Address, u16),
        env: &mut impl Environment,
    ) -> Fate {
        for index in 0..self.resolver.queries.len() {
            let Some(query) = self.resolver.queries[index] else {
                continue;
            };
            let asked = query.stage == Stage::Datagrams
                && query.port == port
                && self.resolver.server_of(&query) == Some(from);
            if asked && let Some(said) = dns::hear(message, query.number, &query.name) {
                self.heard(index, &said, env);
                break;
            }
        }
        Fate::Drop
    }

    /// Acts on what a server has said to a query.
    pub(crate) fn heard(&mut self, index: usize, said: &Said, env: &mut impl Environment) {
        let now = self.now();
        let Some(query) = self.resolver.query(index) else {
            return;
        };
        match said {
            Said::Truncated if query.stage == Stage::Datagrams => {
                query.stage = Stage::WaitsForStream;
                query.next = now + PATIENCE_US;
            }
            Said::Alias(name) if query.aliases < ALIASES => {
                query.aliases += 1;
                query.name = *name;
                self.ask_anew(index);
            }
            Said::Addresses(found, count) => self.conclude(index, Ok(&found[..*count]), env),
            Said::Nothing => self.conclude(index, Err(Status::NotFound), env),
            Said::Truncated | Said::Alias(_) | Said::Failed => self.next_server(index, env),
        }
        self.wake(Id::Dns);
    }

    /// The server that a query is at has not said anything that counts.
    pub(crate) fn next_server(&mut self, index: usize, env: &mut impl Environment) {
        let Some(query) = self.resolver.query(index) else {
            return;
        };
        query.server += 1;
        let query = *query;
        match self.resolver.server_of(&query) {
            Some(_) => self.ask_anew(index),
            None => self.conclude(index, Err(Status::TimedOut), env),
        }
    }

    /// Ends a query and answers its request.
    fn conclude(
        &mut self,
        index: usize,
        result: Result<&[Ipv4Address], Status>,
        env: &mut impl Environment,
    ) {
        self.resolver.queries[index] = None;
        let waiting = &mut self.resolver.waiting;
        let Some(waiting) = self.pending.take(waiting, |w| w.tag == index as u32) else {
            return;
        };
        let completion = match result {
            Ok(addresses) => found(&waiting.request, addresses),
            Err(status) => waiting.request.complete(status),
        };
        self.complete(&completion, env);
    }

    /// Lets the resolver ask what is due, and hear what came over TCP.
    pub(crate) fn service_dns(&mut self, env: &mut impl Environment) -> Run {
        let mut run = Run::Done;
        for index in 0..self.resolver.queries.len() {
            if self.ask(index, env) == Run::Blocked {
                run = Run::Blocked;
            }
        }
        let streams = self.service_streams(env);
        let soonest = self.now() + 1000;
        let at = self.resolver.deadline().into_iter().chain(streams).min();
        self.set_timer(Id::Dns, at.map(|at| at.max(soonest)));
        run
    }

    /// Asks for a name, if it is time to.
    fn ask(&mut self, index: usize, env: &mut impl Environment) -> Run {
        let now = self.now();
        let Some(&mut query) = self.resolver.query(index) else {
            return Run::Done;
        };
        let due = now >= query.next;
        match query.stage {
            Stage::Datagrams if due && query.tries == WAITS.len() => self.next_server(index, env),
            Stage::Datagrams if due || query.postponed => return self.send_question(index, env),
            Stage::WaitsForStream if due => self.next_server(index, env),
            Stage::WaitsForStream => self.start_stream(index),
            _ => {}
        }
        Run::Done
    }

    /// Sends a question in a datagram.
    fn send_question(&mut self, index: usize, env: &mut impl Environment) -> Run {
        let now = self.now();
        let Some(&mut query) = self.resolver.query(index) else {
            return Run::Done;
        };
        let (Some(own), Some(server)) = (self.stack.own(), self.resolver.server_of(&query)) else {
            self.conclude(index, Err(Status::NetworkDown), env);
            return Run::Done;
        };
        if !env.has_room(ROOM) {
            return Run::Blocked;
        }
        let mut question = [0; MOST_QUESTION];
        let len = dns::ask(query.number, &query.name, &mut question);
        let ends = (query.port, Some(server), PORT);
        let io = Io::new(&mut *env, &mut self.counters);
        let sent = self.stack.send_own(own, ends, &question[..len], io);
        let waits = sent == Sent::Neighbour;
        if waits {
            self.await_neighbour(Id::Dns);
        }
        if let Some(query) = self.resolver.query(index) {
            // What is sent late was counted when it should have been.
            if !query.postponed || now >= query.next {
                query.next = now + WAITS[query.tries] * 1_000_000;
                query.tries += 1;
            }
            query.postponed = waits;
        }
        Run::Done
    }

    /// Takes back a query whose request `wanted` says yes to.
    pub(crate) fn cancel_resolve(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let waiting = self.pending.take(&mut self.resolver.waiting, wanted)?;
        let query = self.resolver.queries.get_mut(waiting.tag as usize);
        if let Some(query) = query.and_then(Option::take)
            && let Stage::Stream(s) = query.stage
        {
            self.resolver.streams.abandon(s);
            self.wake(Id::Dns);
        }
        Some(waiting)
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
