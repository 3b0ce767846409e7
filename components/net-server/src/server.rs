//! The server: what it holds, and one round of its work.
//!
//! Problem: packets, requests and timers compete for one thread. Invariant: a
//! round takes at most a batch of what the manager says, does the work that
//! it caused, and says whether more is waiting; between rounds nothing is half
//! done. Work is kept as a queue of ids, so that a socket without work is
//! never visited, and one with much is visited once a round.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use socket_api::{Completion, Message, Op, Request, Retire, Status, flags, kind};

use crate::arp::Awaited;
use crate::bucket::Bucket;
use crate::config::{Config, ConfigError};
use crate::conflict::Guard;
use crate::counters::{Counter, Counters};
use crate::dhcp::Dhcp;
use crate::environment::{Environment, ManagerFault};
use crate::flows::Flows;
use crate::lists::{Links, List};
use crate::packets::Packets;
use crate::pending::{Pending, Waiting};
use crate::random::Random;
use crate::reassembly::Reassembly;
use crate::resolve::{NAME, Resolver};
use crate::sockets::{Connection, Socket, UdpQueue};
use crate::stack::{Address, Stack};
use crate::time_wait::TimeWait;
use crate::timers::Timers;
use crate::train::Train;
use crate::wire::{Facts, LARGEST};

/// Packets and requests in one round at most.
pub(crate) const BATCH: usize = 128;
const SEND: u16 = Op::Send as u16;
const RECV: u16 = Op::Recv as u16;
/// Largest MTU that is used, whatever the manager says.
pub(crate) const MOST_MTU: u32 = 9216;
/// Bytes of the longest frame of the link's.
pub(crate) const MOST_FRAME: u32 = MOST_MTU + 14;
/// Bytes of the longest frame that the NIC makes of segments that follow each
/// other.
pub(crate) const MOST_LONG: u32 = LARGEST as u32;
/// Smallest (RFC 791, 3.2).
const LEAST_MTU: u32 = 576;

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// Call again at once: a batch was full.
    pub more: bool,
    /// Something waits for the manager to give send slots back.
    pub blocked: bool,
    /// Something waits for receives, which the manager tells of quietly.
    pub hungry: bool,
    /// Call at this time at the latest, in nanoseconds.
    pub deadline_ns: Option<u64>,
}

/// The result of running one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Done,
    /// Its share of the round is used up.
    Again,
    /// There are too few send slots.
    Blocked,
}

/// What an id in the work queue or the timers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Connection(u32),
    Socket(u32),
    Dhcp,
    Dns,
    TimeWait,
    Reassembly,
    Neighbours,
}

/// The protocol server. See the crate's documentation.
pub struct Server {
    pub(crate) config: Config,
    pub(crate) stack: Stack,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
    pub(crate) pending: Pending,
    /// Receives that wait with the manager.
    pub(crate) receives: u32,
    /// Datagrams that wait for receives.
    pub(crate) datagrams_queued: u32,
    /// Sockets with an error to report.
    pub(crate) errors: u32,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) sockets_used: u32,
    pub(crate) connections: Vec<Connection>,
    pub(crate) links: Links,
    pub(crate) free: List,
    pub(crate) half_open: u32,
    pub(crate) udp: Vec<UdpQueue>,
    pub(crate) udp_free: Vec<u32>,
    pub(crate) packets: Packets,
    pub(crate) flows: Flows,
    pub(crate) time_wait: TimeWait,
    pub(crate) reassembly: Reassembly,
    pub(crate) resolver: Resolver,
    pub(crate) dhcp: Option<Dhcp>,
    /// `AwaitAddress` requests.
    pub(crate) awaiting: List,
    /// Work that waits for an ARP answer.
    pub(crate) awaited: Awaited,
    /// Our hold on the own address.
    pub(crate) guard: Guard,
    pub(crate) arp_rate: Bucket,
    pub(crate) reply_rate: Bucket,
    pub(crate) timers: Timers,
    work: VecDeque<u32>,
    queued: Vec<bool>,
    /// Segments that smoltcp has not seen yet.
    pub(crate) train: Train,
    /// For packets of which the headers are here; the rest is never written.
    pub(crate) frame: Vec<u8>,
    /// For packets of which all is here.
    pub(crate) whole: Vec<u8>,
    /// The name that the next `Resolve` asks for.
    pub(crate) name: Vec<u8>,
}

impl Server {
    /// Makes a server for a NIC with this MAC address and MTU, which makes
    /// `segments` itself or does not, seeded with entropy. All memory is taken
    /// here: [`Config::heap_bytes`].
    ///
    /// # Errors
    /// [`ConfigError`] if a size is out of range.
    pub fn new(
        config: Config,
        mac: [u8; 6],
        mtu: u32,
        segments: bool,
        seed: [u8; 32],
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mac = config.mac.unwrap_or(mac);
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(ConfigError::Malformed("a unicast MAC address"));
        }
        let mut random = Random::new(seed);
        let mtu = mtu.clamp(LEAST_MTU, MOST_MTU) as usize;
        let facts = Facts { mac, mtu, segments };
        let ids = config.max_connections + config.max_sockets + 5;
        let (links, free) = Links::with_all(config.max_connections);
        let (window, send) = (config.tcp_receive_window, config.tcp_send_buffer);
        let flows = config.max_connections + config.time_wait_entries;
        let mut server = Self {
            stack: Stack::new(facts, &mut random),
            counters: Counters::default(),
            pending: Pending::new(),
            receives: 0,
            datagrams_queued: 0,
            errors: 0,
            sockets: alloc::vec![Socket::FREE; config.max_sockets],
            sockets_used: 0,
            connections: (0..config.max_connections)
                .map(|_| Connection::new(window, send, (mtu - 40) as u32))
                .collect(),
            links,
            free,
            half_open: 0,
            udp: alloc::vec![UdpQueue::EMPTY; config.max_udp_sockets],
            udp_free: (0..config.max_udp_sockets as u32).rev().collect(),
            packets: Packets::new(config.receive_frames),
            flows: Flows::new(flows, &mut random),
            time_wait: TimeWait::new(config.time_wait_entries, config.time_wait_ms),
            reassembly: Reassembly::new(config.reassembly_slots),
            resolver: Resolver::new(config.dns_queries, config.dns, mtu),
            dhcp: None,
            awaiting: List::EMPTY,
            awaited: Awaited::new(ids),
            guard: Guard::default(),
            arp_rate: Bucket::new(config.reply_rate),
            reply_rate: Bucket::new(config.reply_rate),
            timers: Timers::new(ids),
            work: VecDeque::with_capacity(ids),
            queued: alloc::vec![false; ids],
            train: Train::NONE,
            frame: alloc::vec![0; LARGEST],
            whole: alloc::vec![0; MOST_FRAME as usize],
            name: Vec::with_capacity(NAME + 1),
            random,
            config,
        };
        server.start_address();
        Ok(server)
    }

    /// Own address, once there is one.
    #[must_use]
    pub fn address(&self) -> Option<smoltcp::wire::Ipv4Cidr> {
        self.stack.address.map(|a: Address| a.cidr)
    }

    /// The counters, with the gauges as of the last round.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Calls `copy` for each counter that changed since the last time:
    /// [`Counters::copy_changed`].
    #[inline]
    pub fn copy_counters(&mut self, copy: impl FnMut(usize, u64)) {
        self.counters.copy_changed(copy);
    }

    /// One round at time `now_ns` (monotonic).
    pub fn poll(&mut self, now_ns: u64, env: &mut impl Environment) -> Wakeup {
        self.stack.now = self.stack.now.max(now_ns / 1000);
        self.due();
        let mut more = self.listen_to_manager(env);
        self.show_train(env);
        more |= self.run_work(env);
        self.gauges();
        let deadline_ns = self.timers.next().map(|us| us.saturating_mul(1000));
        let blocked = !self.work.is_empty();
        Wakeup {
            more,
            blocked,
            hungry: self.is_hungry(),
            deadline_ns,
        }
    }

    /// Microseconds.
    pub(crate) fn now(&self) -> u64 {
        self.stack.now
    }

    fn due(&mut self) {
        let now = self.now();
        while let Some(id) = self.timers.pop_due(now) {
            self.wake_number(id);
        }
    }

    /// Takes a batch of what the manager says; whether there may be more.
    fn listen_to_manager(&mut self, env: &mut impl Environment) -> bool {
        let mut message = Message::default();
        for _ in 0..BATCH {
            match env.next(&mut message) {
                Ok(true) => self.message(&message, env),
                Ok(false) => return false,
                Err(fault) => {
                    self.fault(fault);
                    if matches!(fault, ManagerFault::Ring(_)) {
                        return false;
                    }
                }
            }
        }
        true
    }

    #[inline]
    fn message(&mut self, message: &Message, env: &mut impl Environment) {
        match message.kind() {
            kind::PACKET => {
                self.counters.add(Counter::FramesReceived);
                if let Err(fault) = self.packet_in(message.as_ref(), env) {
                    self.fault(fault);
                }
            }
            kind::NAME => self.name_in(&(*message).into()),
            kind::RECEIVES => {
                if let Err(fault) = self.receives_in(message.as_ref(), env) {
                    self.fault(fault);
                }
            }
            op => {
                self.counters.add(Counter::Requests);
                let request = Request::from(*message);
                let done = match op {
                    SEND => self.express_send(&request, env),
                    RECV => self.express_recv(&request),
                    _ => false,
                };
                if !done {
                    // Streams' sends and receives come to the same whether
                    // they are before or behind a segment, if they may wait.
                    let waits = matches!(op, SEND | RECV) && request.flags & flags::NO_WAIT == 0;
                    if !waits {
                        self.show_train(env);
                    }
                    self.request(&request, env);
                }
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: ManagerFault) {
        self.counters.add(Counter::ManagerFaults);
        log::debug!("{fault}");
    }

    /// Runs each piece of work once; whether there is some that nothing keeps
    /// from running again.
    fn run_work(&mut self, env: &mut impl Environment) -> bool {
        let mut more = false;
        let mut blocked = 0;
        for _ in 0..self.work.len() {
            let Some(number) = self.work.pop_front() else {
                break;
            };
            self.queued[number as usize] = false;
            let run = match self.id(number) {
                Id::Connection(c) => self.service(c, env),
                Id::Socket(s) => self.service_socket(s, env),
                Id::Dhcp => self.service_dhcp(env),
                Id::Dns => self.service_dns(env),
                Id::TimeWait => self.expire_time_wait(),
                Id::Reassembly => self.expire_fragments(env),
                Id::Neighbours => self.service_neighbours(env),
            };
            if run != Run::Done {
                self.wake_number(number);
                more |= run == Run::Again;
                blocked += usize::from(run == Run::Blocked);
            }
        }
        // Work that this work caused, in the next round.
        more || self.work.len() > blocked
    }

    fn expire_fragments(&mut self, env: &mut impl Environment) -> Run {
        let now = self.now();
        let expired = self
            .reassembly
            .expire(now, &mut self.packets, |packet| env.release(packet));
        self.counters.add_n(Counter::DropFragmentTimeout, expired);
        self.set_timer(Id::Reassembly, self.reassembly.deadline());
        Run::Done
    }

    fn gauges(&mut self) {
        let gauges = [
            (Counter::SocketsInUse, self.sockets_used),
            (Counter::ConnectionsFree, self.free.len),
            (Counter::UdpQueuesFree, self.udp_free.len() as u32),
            (Counter::HalfOpen, self.half_open),
            (Counter::TimeWait, self.time_wait.len()),
            (Counter::RequestsPending, self.pending.len() + self.receives),
            (Counter::Reassembling, self.reassembly.active),
            (Counter::PacketsHeld, self.packets.held()),
        ];
        for (gauge, value) in gauges {
            self.counters.set(gauge, u64::from(value));
        }
    }

    pub(crate) fn number(&self, id: Id) -> u32 {
        let connections = self.connections.len() as u32;
        let specials = connections + self.sockets.len() as u32;
        match id {
            Id::Connection(c) => c,
            Id::Socket(s) => connections + s,
            Id::Dhcp => specials,
            Id::Dns => specials + 1,
            Id::TimeWait => specials + 2,
            Id::Reassembly => specials + 3,
            Id::Neighbours => specials + 4,
        }
    }

    fn id(&self, number: u32) -> Id {
        let connections = self.connections.len() as u32;
        let specials = connections + self.sockets.len() as u32;
        match number {
            c if c < connections => Id::Connection(c),
            s if s < specials => Id::Socket(s - connections),
            n if n == specials => Id::Dhcp,
            n if n == specials + 1 => Id::Dns,
            n if n == specials + 2 => Id::TimeWait,
            n if n == specials + 3 => Id::Reassembly,
            _ => Id::Neighbours,
        }
    }

    /// Puts something in the work queue, once.
    pub(crate) fn wake(&mut self, id: Id) {
        self.wake_number(self.number(id));
    }

    pub(crate) fn wake_number(&mut self, number: u32) {
        let queued = &mut self.queued[number as usize];
        if !*queued {
            *queued = true;
            self.work.push_back(number);
        }
    }

    /// Sets when something is to be woken, in microseconds.
    pub(crate) fn set_timer(&mut self, id: Id, deadline: Option<u64>) {
        let number = self.number(id);
        self.timers.set(number, deadline);
    }

    /// Answers `request`, of which success may be no reason to wake anybody.
    pub(crate) fn finish(
        &mut self,
        request: &Request,
        completion: &Completion,
        env: &mut impl Environment,
    ) {
        let quiet = request.flags & flags::QUIET != 0 && completion.status == Status::Ok as u16;
        if !quiet {
            self.complete(completion, env);
        } else if env.tell_quietly(&(*completion).into()) {
            self.counters.add(Counter::Completions);
        } else {
            self.counters.add(Counter::CompletionsLost);
        }
    }

    /// Answers with a completion.
    #[inline]
    pub(crate) fn complete(&mut self, completion: &Completion, env: &mut impl Environment) {
        if env.tell(&(*completion).into()) {
            self.counters.add(Counter::Completions);
        } else {
            self.counters.add(Counter::CompletionsLost);
        }
    }

    /// Says that a send that was held is not needed any more.
    pub(crate) fn retire(&mut self, token: u64, env: &mut impl Environment) {
        let retire = Retire {
            kind: kind::RETIRE,
            token,
            ..Retire::default()
        };
        if !env.tell(&retire.into()) {
            self.counters.add(Counter::CompletionsLost);
        }
    }

    /// Answers a request with a status alone.
    pub(crate) fn answer(&mut self, request: &Request, status: Status, env: &mut impl Environment) {
        self.complete(&request.complete(status), env);
    }

    /// Answers a request that waited, with what was done of it.
    pub(crate) fn answer_waiting(
        &mut self,
        waiting: &Waiting,
        status: Status,
        env: &mut impl Environment,
    ) {
        let completion = Completion {
            len: waiting.done,
            ..waiting.request.complete(status)
        };
        self.finish(&waiting.request, &completion, env);
    }
}
