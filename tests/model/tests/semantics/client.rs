//! Clients and what they have outstanding.
//!
//! Invariant: memory of a client is as its shadow says, but for rooms that are
//! being received into.

use std::collections::BTreeMap;

use ioipc::Passing;
use ioipc::net::{TcpStream, UdpSocket};
use ioipc::queue::Queue;
use model_tests::pairs::Pair;

use crate::program::{End, FIRST, LAST};

/// Operations of a queue.
pub const OPERATIONS: usize = 16;

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
    pub fn is_weak(&self) -> bool {
        self.passing.is_some_and(|p| !p.semantics.is_strong())
    }

    /// The common part with the `len` bytes at an address.
    pub fn common(&self, at: u32, len: usize) -> Option<(u32, usize)> {
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
    pub done: BTreeMap<u64, Got>,
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

    /// What should be in its memory.
    pub fn shadow(&mut self, at: u32, len: usize) -> &mut [u8] {
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

    pub fn sends(&self) -> bool {
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
