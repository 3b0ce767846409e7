//! Questions of the resolver's over TCP (RFC 1035, 4.2.2; RFC 7766).
//!
//! Problem: an answer that does not fit a datagram comes over TCP, and a stream
//! of the server's own is no client's: its payload must be here. Invariant: a
//! few connections, from ports that no client is given by itself and whose
//! segments the manager passes whole ([`socket_api::RESOLVER_PORTS`]), each
//! with one question and buffers that were taken at the start; the window is
//! less than a frame, so that no NIC makes frames too long to be whole of
//! several segments. A connection ends with its answer, or when its time is
//! over.

use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{IpEndpoint, IpListenEndpoint, Ipv4Address};
use socket_api::RESOLVER_PORTS;

use crate::classify::{Arrived, Segment};
use crate::counters::Counter;
use crate::dns::{self, MOST_QUESTION};
use crate::environment::Environment;
use crate::flows::Flow;
use crate::ingress::Fate;
use crate::random::Random;
use crate::resolve::{PATIENCE_US, PORT, Query, Stage};
use crate::server::{Id, Server};
use crate::stack::{Io, Via, ip};

/// Connections at a time: whoever does not answer keeps few others waiting.
const STREAMS: usize = 4;
/// Bytes of the length before a message, and of the longest message with it.
const PREFIX: usize = 2;
const LONGEST: usize = PREFIX + 65535;
/// What a frame has besides payload, at most: headers and their options.
const HEADERS: usize = 120;
/// How long the end of a connection may take, in microseconds.
const CLOSING_US: u64 = 2_000_000;
/// Packets of one connection in one go.
const BURST: usize = 4;

/// Bytes of heap that all connections take, on a link of `mtu` bytes.
pub(crate) const fn heap_bytes(mtu: usize) -> usize {
    STREAMS * (LONGEST + PREFIX + MOST_QUESTION + mtu + 1024)
}

/// A connection, or room for one.
struct Stream {
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// `None` if it is free.
    flow: Option<Flow>,
    /// Whose question it has; `None` once that is over.
    query: Option<usize>,
    asked: bool,
    deadline: u64,
    /// What came so far.
    message: Vec<u8>,
}

impl Stream {
    fn new(mtu: usize) -> Self {
        let buffer = |bytes| tcp::SocketBuffer::new(alloc::vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(mtu - HEADERS), buffer(PREFIX + MOST_QUESTION));
        socket.set_ack_delay(None);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self {
            set,
            handle,
            flow: None,
            query: None,
            asked: false,
            deadline: 0,
            message: Vec::with_capacity(LONGEST),
        }
    }

    fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Sends the question, once it can be sent.
    fn ask(&mut self, query: &Query) {
        if self.asked || !self.tcp().may_send() {
            return;
        }
        let mut question = [0; MOST_QUESTION];
        let len = dns::ask(query.number, &query.name, &mut question);
        let mut message = [0; PREFIX + MOST_QUESTION];
        message[..PREFIX].copy_from_slice(&(len as u16).to_be_bytes());
        message[PREFIX..PREFIX + len].copy_from_slice(&question[..len]);
        // There is room: the buffer is as long, and empty.
        self.asked = self.tcp().send_slice(&message[..PREFIX + len]).is_ok();
    }

    /// Takes what has come; what is behind the message is lost.
    fn hear(&mut self) {
        let socket = self.set.get_mut::<tcp::Socket>(self.handle);
        let message = &mut self.message;
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let room = LONGEST - message.len();
                message.extend_from_slice(&bytes[..bytes.len().min(room)]);
                (bytes.len(), ())
            });
            if taken.is_err() {
                return;
            }
        }
    }

    /// The message, if all of it is here.
    fn message(&self) -> Option<&[u8]> {
        let (prefix, rest) = self.message.split_first_chunk::<PREFIX>()?;
        rest.get(..usize::from(u16::from_be_bytes(*prefix)))
    }

    /// The question is over; so is the connection, soon.
    fn close(&mut self, now: u64) {
        self.query = None;
        self.deadline = now + CLOSING_US;
        self.tcp().close();
    }
}

/// All connections.
pub(crate) struct Streams(Vec<Stream>);

impl Streams {
    /// None is in use.
    pub fn new(mtu: usize) -> Self {
        Self((0..STREAMS).map(|_| Stream::new(mtu)).collect())
    }

    /// Nobody waits for the answer any more: the server is told so with a reset.
    pub fn abandon(&mut self, s: usize) {
        if let Some(stream) = self.0.get_mut(s) {
            stream.query = None;
            stream.deadline = 0;
            stream.tcp().abort();
        }
    }

    /// All connections are gone, without a word; calls `each` with the query of
    /// each one.
    pub fn forget(&mut self, mut each: impl FnMut(usize)) {
        for stream in &mut self.0 {
            stream.tcp().abort();
            stream.flow = None;
            stream.query.take().map(&mut each);
        }
    }

    fn of(&self, flow: Flow) -> Option<usize> {
        self.0.iter().position(|stream| stream.flow == Some(flow))
    }

    /// A port that no connection of these has.
    fn port(&self, random: &mut Random, free: impl Fn(u16) -> bool) -> Option<u16> {
        let count = RESOLVER_PORTS.end() - RESOLVER_PORTS.start() + 1;
        let from = random.next() as u16 % count;
        let ports = (0..count).map(|n| RESOLVER_PORTS.start() + (from + n) % count);
        let ours = |port| {
            self.0
                .iter()
                .any(|s| s.flow.is_some_and(|f| f.port == port))
        };
        ports.into_iter().find(|port| !ours(*port) && free(*port))
    }
}

impl Server {
    /// Opens a connection for a query that waits for one, if one is free.
    pub(crate) fn start_stream(&mut self, index: usize) {
        let Some(s) = self
            .resolver
            .streams
            .0
            .iter()
            .position(|s| s.flow.is_none())
        else {
            return;
        };
        let query = self.resolver.queries.get(index).copied().flatten();
        let server = query.and_then(|query| self.resolver.server_of(&query));
        let flows = &self.flows;
        let free = |port| flows.tcp(port).is_none() && !flows.tcp_in_use(port);
        let port = self.resolver.streams.port(&mut self.random, free);
        let (Some(own), Some(remote), Some(port)) = (self.stack.own(), server, port) else {
            return;
        };
        let flow = Flow {
            remote,
            remote_port: PORT,
            port,
        };
        if !self.connect_stream(s, flow, own) {
            return;
        }
        let number = self.random.next() as u16;
        let stream = &mut self.resolver.streams.0[s];
        (stream.flow, stream.query, stream.asked) = (Some(flow), Some(index), false);
        stream.deadline = self.stack.now + PATIENCE_US;
        stream.message.clear();
        if let Some(query) = self.resolver.query(index) {
            (query.stage, query.number) = (Stage::Stream(s), number);
        }
    }

    fn connect_stream(&mut self, s: usize, flow: Flow, own: Ipv4Address) -> bool {
        let mut opener = self.stack.opener(flow, &mut self.random);
        let local = IpListenEndpoint {
            addr: Some(ip(own)),
            port: flow.port,
        };
        let remote = IpEndpoint::new(ip(flow.remote), flow.remote_port);
        let tcp = self.resolver.streams.0[s].tcp();
        tcp.connect(opener.context(), remote, local).is_ok()
    }

    /// A segment of one of the resolver's connections; `None` if it is of none.
    #[cold]
    pub(crate) fn stream_in(
        &mut self,
        flow: Flow,
        arrived: &Arrived<'_>,
        segment: &Segment,
        env: &mut impl Environment,
    ) -> Option<Fate> {
        let s = self.resolver.streams.of(flow)?;
        if segment.len != 0 && !arrived.whole {
            return Some(self.dropped(Counter::DropPinned));
        }
        let set = &mut self.resolver.streams.0[s].set;
        let io = Io::new(env, &mut self.counters);
        self.stack.own_ingress(arrived.frame, set, io);
        self.wake(Id::Dns);
        Some(Fate::Drop)
    }

    /// Lets the resolver's connections go on; when they are to be looked at again
    /// at the latest.
    pub(crate) fn service_streams(&mut self, env: &mut impl Environment) -> Option<u64> {
        let mut at = None;
        for s in 0..STREAMS {
            if self.resolver.streams.0[s].flow.is_none() {
                continue;
            }
            self.converse(s, env);
            self.emit_stream(s, env);
            at = at.into_iter().chain(self.end_stream(s)).min();
        }
        at
    }

    /// Asks and hears.
    fn converse(&mut self, s: usize, env: &mut impl Environment) {
        let now = self.now();
        let resolver = &mut self.resolver;
        let stream = &mut resolver.streams.0[s];
        let index = stream.query;
        let query = index.and_then(|index| resolver.queries.get(index).copied().flatten());
        let (Some(index), Some(query)) = (index, query) else {
            return;
        };
        stream.ask(&query);
        stream.hear();
        let said = stream
            .message()
            .map(|message| dns::hear(message, query.number, &query.name));
        let over = !stream.tcp().may_recv() && stream.asked || !stream.tcp().is_open();
        if said.is_some() || over || now >= stream.deadline {
            stream.close(now);
            let said = said.flatten().unwrap_or(dns::Answer::Failed);
            self.heard(index, &said, env);
        }
    }

    /// Sends what a connection has to send.
    fn emit_stream(&mut self, s: usize, env: &mut impl Environment) {
        for _ in 0..BURST {
            let set = &mut self.resolver.streams.0[s].set;
            let io = Io::new(&mut *env, &mut self.counters);
            let (sent, note) = self.stack.own_egress(set, io);
            if !sent {
                if note.attempts > note.packets {
                    self.await_neighbour(Id::Dns);
                }
                return;
            }
        }
    }

    /// Frees a connection that is over; else when it is to be looked at again.
    fn end_stream(&mut self, s: usize) -> Option<u64> {
        let now = self.now();
        let stream = &mut self.resolver.streams.0[s];
        let state = stream.tcp().state();
        let ended = matches!(state, tcp::State::Closed | tcp::State::TimeWait);
        if stream.query.is_none() && (ended || now >= stream.deadline) {
            // What the server still says is nobody's then, and answered so.
            stream.tcp().abort();
            stream.flow = None;
            self.wake(Id::Dns);
            return None;
        }
        let deadline = stream.deadline;
        let at = self
            .stack
            .poll_at(Via::Narrow, &self.resolver.streams.0[s].set);
        Some(at.map_or(deadline, |at| at.min(deadline)))
    }
}
