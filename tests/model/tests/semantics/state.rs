//! Clients, what they have outstanding, and what a copying system would do.
//!
//! Invariant: memory of a client is as its shadow says, but for rooms that are
//! being received into; whatever is sent is noted before the system sees it,
//! and whatever is received is checked before anything else happens.

use std::collections::BTreeMap;

use ioipc::net::{TcpStream, UdpSocket};
use ioipc::queue::{Done, Memory, Queue};
use ioipc::{ErrorKind, Passing, Semantics, Technique, UserBuffer};
use model_tests::copying::{Change, Flow};
use model_tests::pairs::{Pair, address};
use model_tests::{HEAP, Noise, World, pattern};

use crate::program::{End, FIRST, LAST, Later};

/// Operations of a queue.
pub const OPERATIONS: usize = 16;
/// The port of client number 0.
pub const PORT: u16 = 7;
/// Bytes of a slot: what a datagram is cut to that comes ahead of time.
const SLOT: usize = 2048;
/// Room that nothing else uses.
const SCRATCH: u32 = HEAP;
const SCRATCH_BYTES: u32 = 65_507;

/// A socket of either kind.
pub enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    pub fn again(&self) -> Self {
        match self {
            Self::Udp(s) => Self::Udp(s.try_clone()),
            Self::Tcp(s) => Self::Tcp(s.try_clone()),
        }
    }
}

/// What an operation is that a client has outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Number so many of its flow.
    Send(usize),
    Receive,
}

/// An operation that a client has outstanding. Those of buffers have no place.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub what: What,
    pub at: u32,
    pub len: usize,
    pub passing: Option<Passing>,
}

impl Pending {
    fn is_weak(&self) -> bool {
        self.passing.is_some_and(|p| !p.semantics.is_strong())
    }

    /// The common part with the `len` bytes at an address.
    fn common(&self, at: u32, len: usize) -> Option<(u32, usize)> {
        let start = at.max(self.at);
        let end = (at + len as u32).min(self.at + self.len as u32);
        (self.at != 0 && start < end).then(|| (start, (end - start) as usize))
    }
}

/// What a receive has got.
#[derive(Clone, Debug)]
pub enum Got {
    /// So many bytes, in memory.
    Memory(usize),
    /// These, in a buffer that has room for so many.
    Buffer(Vec<u8>, usize),
}

/// A client.
pub struct Client {
    pub end: End,
    pub pair: Pair,
    pub socket: Socket,
    pub queue: Queue<OPERATIONS>,
    pub pending: BTreeMap<u64, Pending>,
    /// Receives that are done while earlier ones are not: they are filled in
    /// the order submitted, and end in any.
    done: BTreeMap<u64, Got>,
    shadow: Vec<u8>,
    /// It is dead, or its peer is.
    pub over: bool,
    /// Datagrams may come in slots.
    pub slots: bool,
}

impl Client {
    pub fn new(end: End, pair: Pair, socket: Socket, ahead: bool) -> Self {
        Self {
            end,
            pair,
            socket,
            queue: Queue::new_on(pair.stacks[end.host]).unwrap(),
            pending: BTreeMap::new(),
            done: BTreeMap::new(),
            shadow: vec![0; (LAST - FIRST) as usize],
            over: false,
            slots: ahead,
        }
    }

    fn shadow(&mut self, at: u32, len: usize) -> &mut [u8] {
        &mut self.shadow[(at - FIRST) as usize..][..len]
    }

    /// Whether something is being received into a part of it.
    pub fn awaits(&self, at: u32, len: usize) -> bool {
        let mut pending = self.pending.values();
        pending.any(|p| p.what == What::Receive && p.common(at, len).is_some())
    }

    pub fn receives(&self) -> bool {
        self.pending.values().any(|p| p.what == What::Receive)
    }

    fn sends(&self) -> bool {
        self.pending.values().any(|p| p.what != What::Receive)
    }

    /// Memory is as it should be, where nothing is being received into.
    pub fn check(&mut self, at: u32, len: usize) {
        let start = at.max(FIRST);
        let end = (at + len as u32).min(LAST);
        let bytes = self.pair.load(self.end.host, start, (end - start) as usize);
        if bytes == self.shadow(start, bytes.len()) {
            return;
        }
        for (n, byte) in bytes.iter().enumerate() {
            let at = start + n as u32;
            let same = *byte == self.shadow(at, 1)[0];
            assert!(
                same || self.awaits(at, 1),
                "memory differs at {at:#x}: {self:?}"
            );
        }
    }
}

impl Client {
    /// As `check`, for all memory that programs use, unless it is dead.
    pub fn check_all(&mut self) {
        if !self.over {
            self.check(FIRST, (LAST - FIRST) as usize);
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with {:?}", self.end, self.pending)
    }
}

/// What was done, over all programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sends: u64,
    pub receives: u64,
    pub stores: u64,
    pub refused: u64,
    pub deaths: u64,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sends: self.sends + other.sends,
            receives: self.receives + other.receives,
            stores: self.stores + other.stores,
            refused: self.refused + other.refused,
            deaths: self.deaths + other.deaths,
        }
    }
}

/// Everything.
pub struct State {
    pub world: &'static World,
    /// By host and client.
    pub clients: Vec<Client>,
    /// From each client to its peer.
    pub flows: Vec<Flow>,
    pub stream: bool,
    pub lossy: bool,
    /// Who waits in a blocking call.
    pub blocked: Option<usize>,
    pub later: Option<(usize, Later)>,
    pub done: Tally,
    noise: Noise,
    token: u64,
}

/// The peer of a client.
pub const fn peer(client: usize) -> usize {
    client ^ 2
}

impl State {
    pub fn new(world: &'static World, clients: Vec<Client>, stream: bool, lossy: bool) -> Self {
        let flow = || match stream {
            true => Flow::stream(),
            false => Flow::datagrams(),
        };
        Self {
            world,
            flows: clients.iter().map(|_| flow()).collect(),
            clients,
            stream,
            lossy,
            blocked: None,
            later: None,
            done: Tally::default(),
            noise: Noise::new(1),
            token: 0,
        }
    }

    pub fn new_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Bytes that were nowhere before.
    pub fn fresh(&mut self, len: usize) -> Vec<u8> {
        pattern(len, self.noise.number() as u32)
    }

    /// A client, or another thread of it, writes to its memory, unless
    /// something is being received there.
    pub fn store(&mut self, n: usize, at: u32, len: usize) {
        if self.clients[n].over || self.clients[n].awaits(at, len) {
            return;
        }
        let bytes = self.fresh(len);
        let client = &mut self.clients[n];
        client.pair.store(client.end.host, at, &bytes);
        client.shadow(at, len).copy_from_slice(&bytes);
        for p in client.pending.values().filter(|p| p.is_weak()) {
            if let (What::Send(id), Some((start, len))) = (p.what, p.common(at, len)) {
                let new = &bytes[(start - at) as usize..][..len];
                self.flows[n].change(id, (start - p.at) as usize, Change::To(new), true);
            }
        }
        self.done.stores += 1;
    }

    /// Notes that a client sends what is in its memory now; its number.
    pub fn begin_send(&mut self, n: usize, pending: Pending) -> usize {
        let Pending { at, len, .. } = pending;
        let client = &mut self.clients[n];
        let id = self.flows[n].begin(client.shadow(at, len).to_vec());
        let weak = pending.is_weak();
        let coming = self.flows[peer(n)].pending().1 != 0;
        for p in client.pending.values().filter(|p| p.what == What::Receive) {
            if let Some((start, len)) = p.common(at, len).filter(|_| weak || coming) {
                self.flows[n].change(id, (start - at) as usize, Change::Wild(len), weak);
            }
        }
        self.done.sends += 1;
        id
    }

    /// Notes that a client receives into its memory.
    pub fn begin_receive(&mut self, n: usize, at: u32, room: usize) {
        for p in self.clients[n].pending.values().filter(|p| p.is_weak()) {
            if let (What::Send(id), Some((start, len))) = (p.what, p.common(at, room)) {
                self.flows[n].change(id, (start - p.at) as usize, Change::Wild(len), true);
            }
        }
        self.done.receives += 1;
    }

    /// A send is done.
    pub fn end_send(&mut self, n: usize, id: usize, p: &Pending, result: ioipc::Result<usize>) {
        let over = self.clients[n].over;
        if let Err(error) = result {
            self.done.refused += 1;
            let kind = error.kind();
            let always = p
                .passing
                .is_none_or(|p| always_legal(p.semantics, p.forced));
            let apart = is_apart(p.at, p.len);
            let legal = match kind {
                ErrorKind::WouldBlock | ErrorKind::QuotaExceeded => true,
                ErrorKind::InvalidInput => !always || !apart,
                _ => over,
            };
            assert!(legal, "client {n}: {error} for {p:?}");
        }
        let ended = self.flows[n].end(id, result.ok());
        if !over && let Err(why) = ended {
            panic!("client {n}: {why}: {p:?}");
        }
    }

    /// Bytes have come to a client.
    fn landed(&mut self, n: usize, p: &Pending, got: Got) {
        let client = &mut self.clients[n];
        let slots = if client.slots { SLOT } else { usize::MAX };
        let (bytes, room) = match got {
            Got::Memory(len) => (client.pair.load(client.end.host, p.at, len), p.len),
            Got::Buffer(bytes, room) => (bytes, room),
        };
        let len = bytes.len();
        let right = self.flows[peer(n)].receive(&bytes, room, slots);
        if let Err(why) = right {
            panic!("client {n}: {why}: {p:?}");
        }
        if p.at < FIRST {
            return;
        }
        client.shadow(p.at, len).copy_from_slice(&bytes);
        if p.is_weak() {
            let room = client.pair.load(client.end.host, p.at, p.len);
            client.shadow(p.at, p.len).copy_from_slice(&room);
        }
        client.check(p.at - 64, p.len + 128);
    }

    /// A receive is done.
    pub fn end_receive(&mut self, n: usize, token: u64, result: ioipc::Result<Got>) {
        match result {
            Ok(got) => drop(self.clients[n].done.insert(token, got)),
            Err(error) => {
                let p = self.clients[n].pending.remove(&token);
                self.failed(n, &p.expect("an operation that was begun"), error);
            }
        }
        loop {
            let client = &mut self.clients[n];
            let mut receives = client.pending.iter();
            let first = receives.find(|(_, p)| p.what == What::Receive);
            let Some((token, p)) = first.map(|(token, p)| (*token, *p)) else {
                return;
            };
            let Some(got) = client.done.remove(&token) else {
                return;
            };
            client.pending.remove(&token);
            match got {
                Got::Memory(0) if self.stream => {
                    assert!(self.clients[n].over, "{n}: the end");
                }
                got => self.landed(n, &p, got),
            }
        }
    }

    fn failed(&mut self, n: usize, p: &Pending, error: ioipc::Error) {
        let legal = match error.kind() {
            ErrorKind::InvalidInput => p.passing.is_some() || !is_apart(p.at, p.len),
            // The data region has no room for a buffer.
            ErrorKind::OutOfMemory => p.at == 0,
            ErrorKind::WouldBlock => true,
            ErrorKind::TimedOut => {
                let nothing = self.flows[peer(n)].pending().0 == 0;
                self.lossy || nothing || self.clients[n].receives()
            }
            _ => self.clients[n].over,
        };
        assert!(legal, "client {n}: {error} for {p:?}");
        self.done.refused += 1;
        if p.at >= FIRST && p.is_weak() {
            let client = &mut self.clients[n];
            let room = client.pair.load(client.end.host, p.at, p.len);
            client.shadow(p.at, p.len).copy_from_slice(&room);
        } else if p.at >= FIRST {
            self.clients[n].check(p.at, p.len);
        }
    }

    /// Takes what is done: sends first, since what was refused never arrives.
    pub fn poll(&mut self) {
        let mut all: Vec<(usize, Done)> = Vec::new();
        for (n, client) in self.clients.iter_mut().enumerate() {
            while let Some(done) = client.queue.poll() {
                all.push((n, done));
            }
        }
        let (sends, receives): (Vec<_>, Vec<_>) = self.parted(all);
        for (n, done) in sends.into_iter().chain(receives) {
            self.take(n, done);
        }
    }

    /// Sends, and receives.
    fn parted(&self, all: Vec<(usize, Done)>) -> (Vec<(usize, Done)>, Vec<(usize, Done)>) {
        all.into_iter().partition(|(n, done)| {
            let what = self.clients[*n].pending[&done.token].what;
            what != What::Receive
        })
    }

    fn take(&mut self, n: usize, done: Done) {
        let p = self.clients[n].pending[&done.token];
        match p.what {
            What::Send(id) => {
                self.clients[n].pending.remove(&done.token);
                self.end_send(n, id, &p, done.result);
            }
            What::Receive => self.end_receive(n, done.token, done.result.map(Got::Memory)),
        }
    }

    /// Submits a receive.
    pub fn submit_receive(&mut self, n: usize, at: u32, room: usize, passing: Option<Passing>) {
        let token = self.new_token();
        self.begin_receive(n, at, room);
        let client = &mut self.clients[n];
        let memory = UserBuffer::at(at, room as u32);
        let submitted = match &client.socket {
            Socket::Udp(s) => client.queue.receive(s, memory, passing, token),
            Socket::Tcp(s) => client.queue.receive(s, memory, passing, token),
        };
        let pending = Pending {
            what: What::Receive,
            at,
            len: room,
            passing,
        };
        match submitted {
            Ok(_) => drop(client.pending.insert(token, pending)),
            Err(unsent) => self.failed(n, &pending, unsent.error),
        }
        self.clients[n].queue.flush();
    }

    /// Submits a send of memory, or of a buffer.
    pub fn submit_send(&mut self, n: usize, memory: Memory, mut pending: Pending, id: usize) {
        pending.what = What::Send(id);
        let token = self.new_token();
        let client = &mut self.clients[n];
        let to = address(1 - client.end.host, PORT + client.end.client as u16);
        let passing = pending.passing;
        let submitted = match &client.socket {
            Socket::Udp(s) => client.queue.send_to(s, memory, to, passing, token),
            Socket::Tcp(s) => client.queue.send(s, memory, passing, token),
        };
        match submitted {
            Ok(_) => drop(client.pending.insert(token, pending)),
            Err(unsent) => self.end_send(n, id, &pending, Err(unsent.error)),
        }
        let Client { queue, end, .. } = &self.clients[n];
        queue.flush();
        // What is changed before the manager has taken it is sent changed.
        self.world.lock().hosts[end.host].manage();
    }

    /// Has clients receive that receive nothing though something comes.
    pub fn receive_leftovers(&mut self) {
        for n in 0..self.clients.len() {
            let coming = self.flows[peer(n)].pending().1 != 0;
            let client = &self.clients[n];
            if coming && !client.over && !client.receives() && self.blocked != Some(n) {
                self.submit_receive(n, SCRATCH, SCRATCH_BYTES as usize, None);
            }
        }
    }

    /// Whether everything has arrived that must, and every send is done.
    pub fn is_settled(&self) -> bool {
        let settled = |n: usize| {
            let client = &self.clients[n];
            client.over || (self.flows[n].pending().0 == 0 && !client.sends())
        };
        (0..self.clients.len()).all(settled)
    }
}

/// Whether a technique is legal whatever the circumstances.
fn always_legal(semantics: Semantics, forced: Option<Technique>) -> bool {
    use Semantics as S;
    use Technique as T;
    match (semantics, forced) {
        (_, None) => true,
        (S::Copy | S::EmulatedCopy, Some(T::CopyOut)) => true,
        (semantics, Some(T::Reference)) => !semantics.is_strong(),
        _ => false,
    }
}

/// Whether the bytes lie in pages of one size that can be replaced.
fn is_apart(at: u32, len: usize) -> bool {
    at as usize + len <= model_tests::LARGE as usize
}
