//! What clients do, and what a copying system would make of it.
//!
//! Invariant: whatever is sent is noted before the system sees it, and whatever
//! is received is checked in the order in which it was asked for.

use ioipc::queue::{Done, Memory};
use ioipc::{ErrorKind, Passing, Semantics, Technique, UserBuffer};
use model_tests::copying::{Change, Flow};
use model_tests::pairs::address;
use model_tests::{HEAP, Noise, World, pattern};

use crate::client::{Client, Got, Pending, Socket, What};
use crate::program::{FIRST, Later};

/// The port of client number 0.
pub const PORT: u16 = 7;
/// Bytes of a slot: what a datagram is cut to that comes ahead of time.
const SLOT: usize = 2048;
/// Room that nothing else uses.
const SCRATCH: u32 = HEAP;
const SCRATCH_BYTES: u32 = 65_507;

/// What was done, over all programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sends: u64,
    pub receives: u64,
    pub stores: u64,
    pub refused: u64,
    pub deaths: u64,
    /// Operations by technique, in the order of [`TECHNIQUES`].
    pub techniques: [u64; TECHNIQUES.len()],
}

/// The manager's counters of operations by technique.
pub const TECHNIQUES: [&str; 10] = [
    "output.reference",
    "output.tcow",
    "output.copy-out",
    "output.hide",
    "output.remove",
    "input.in-place",
    "input.swap",
    "input.copy-in",
    "input.reinstate",
    "input.create",
];

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sends: self.sends + other.sends,
            receives: self.receives + other.receives,
            stores: self.stores + other.stores,
            refused: self.refused + other.refused,
            deaths: self.deaths + other.deaths,
            techniques: std::array::from_fn(|n| self.techniques[n] + other.techniques[n]),
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
            // Nothing is named to a server that gets it by value.
            let by_value = self.world.lock().hosts[0].is_conventional();
            let named = |p: Passing| by_value && p.forced == Some(Technique::Reference);
            let always = p
                .passing
                .is_none_or(|p| always_legal(p.semantics, p.forced) && !named(p));
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
        let is_send = |(n, done): &(usize, Done)| {
            let what = self.clients[*n].pending[&done.token].what;
            what != What::Receive
        };
        let (sends, receives): (Vec<_>, Vec<_>) = all.into_iter().partition(is_send);
        for (n, done) in sends.into_iter().chain(receives) {
            self.take(n, done);
        }
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
