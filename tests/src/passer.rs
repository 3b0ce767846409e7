//! Giving orders to the component `passer`, and what it says to them.
//!
//! Invariant: every byte that comes is compared with the pattern that it is
//! sent in, and so is every byte that goes, by the component; an order that was
//! not carried out is a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use frame_peer::{Peer, TcpHandle, UdpHandle};
use socket_api::{Semantics, Technique};

use crate::wire::GUEST;

const PATIENCE: Duration = Duration::from_secs(20);

/// Byte `n` of what is sent, either way.
#[must_use]
pub fn pattern(n: usize) -> u8 {
    (n % 251) as u8
}

/// What is to be done: `count` calls of `size` bytes each, which begin at
/// `offset` in a page.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// On what it relies, if that is said.
    pub semantics: Option<Semantics>,
    /// How it is done, if that is said.
    pub technique: Option<Technique>,
    /// Where the bytes begin.
    pub offset: usize,
    /// Bytes of a call.
    pub size: usize,
    /// Calls.
    pub count: usize,
}

impl Order {
    /// `count` calls of `size` bytes, as the library does it by itself.
    #[must_use]
    pub const fn plain(size: usize, count: usize) -> Self {
        Self {
            semantics: None,
            technique: None,
            offset: 0,
            size,
            count,
        }
    }

    /// With semantics, and with a technique if one is named.
    #[must_use]
    pub const fn with(self, semantics: Semantics, technique: Option<Technique>) -> Self {
        Self {
            semantics: Some(semantics),
            technique,
            ..self
        }
    }

    /// Bytes in all.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.size * self.count
    }

    /// What is sent, in one piece.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        (0..self.total()).map(pattern).collect()
    }

    fn words(&self, verb: &str) -> String {
        format!(
            "{verb} {} {} {} {} {}",
            self.semantics.map_or(0, |s| s as u16),
            self.technique.map_or(0, |t| t as u16),
            self.offset,
            self.size,
            self.count
        )
    }
}

/// What the component says: numbers by name.
#[derive(Clone, Debug)]
pub struct Answer(BTreeMap<String, u64>);

impl Answer {
    /// The number called `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        let number = self.0.get(name);
        *number.unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }
}

/// One component, and the sockets that reach it.
pub struct Passer<'a> {
    peer: &'a Peer,
    port: u16,
    socket: UdpHandle,
}

impl<'a> Passer<'a> {
    /// The one at `port` of the guest on the wire of `peer`.
    ///
    /// # Panics
    /// If the peer has no socket for it.
    #[must_use]
    pub fn new(peer: &'a Peer, port: u16) -> Self {
        let socket = peer.udp_socket(5000 + port);
        Self {
            peer,
            port,
            socket: socket.unwrap_or_else(|e| panic!("{e}")),
        }
    }

    fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(GUEST, self.port)
    }

    /// Gives an order; `verb` is a verb and a way, such as `send tcp`.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn tell(&self, verb: &str, order: &Order, to: Option<SocketAddrV4>) {
        let mut words = order.words(verb);
        words.extend(to.map(|to| format!(" {to}")));
        let sent = self.socket.send_to(words.as_bytes(), self.address());
        sent.unwrap_or_else(|e| panic!("`{words}`: {e}"));
    }

    /// The next datagram; `what` it is in the words of a failure.
    fn datagram(&self, what: &dyn fmt::Debug) -> Vec<u8> {
        let received = self.socket.recv_from(PATIENCE);
        received.unwrap_or_else(|e| panic!("{what:?}: {e}")).0
    }

    /// What the component says to the last order.
    ///
    /// # Panics
    /// If it says nothing, or that it failed.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let datagram = self.datagram(&"the answer");
        let text = String::from_utf8_lossy(&datagram);
        let number = |word: &str| {
            let (name, number) = word.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        let numbers: Option<_> = text.split_whitespace().map(number).collect();
        Answer(numbers.unwrap_or_else(|| panic!("the answer is {text:?}")))
    }

    /// A connection to it.
    ///
    /// # Panics
    /// If none opens.
    #[must_use]
    pub fn connect(&self) -> TcpHandle {
        let opened = self.peer.tcp_connect(self.address(), PATIENCE);
        let mut stream = opened.unwrap_or_else(|e| panic!("{e}"));
        stream.set_patience(PATIENCE);
        stream
    }

    /// Has it send over TCP.
    ///
    /// # Panics
    /// If other bytes come, or fewer or more.
    #[must_use]
    pub fn sends_stream(&self, order: &Order) -> Answer {
        let mut stream = self.connect();
        self.tell("send tcp", order, None);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        read.unwrap_or_else(|e| panic!("{order:?}, after {} bytes: {e}", bytes.len()));
        let same = bytes.iter().zip(order.bytes()).position(|(a, b)| *a != b);
        assert_eq!((bytes.len(), same), (order.total(), None), "{order:?}");
        self.answer()
    }

    /// Has it receive over TCP.
    ///
    /// # Panics
    /// If other bytes come there, or fewer.
    #[must_use]
    pub fn receives_stream(&self, order: &Order) -> Answer {
        let mut stream = self.connect();
        self.tell("receive tcp", order, None);
        let wrote = stream.write_all(&order.bytes());
        wrote.unwrap_or_else(|e| panic!("{order:?}: {e}"));
        stream.close();
        self.received(order)
    }

    /// Has it send datagrams.
    ///
    /// # Panics
    /// If others come, or fewer.
    #[must_use]
    pub fn sends_datagrams(&self, order: &Order) -> Answer {
        self.tell("send udp", order, None);
        for (n, wanted) in order.bytes().chunks(order.size).enumerate() {
            let datagram = self.datagram(&(order, n));
            assert!(datagram == wanted, "{order:?}, datagram {n}");
        }
        self.answer()
    }

    /// Has it receive datagrams.
    ///
    /// # Panics
    /// If others come there, or fewer.
    #[must_use]
    pub fn receives_datagrams(&self, order: &Order) -> Answer {
        self.tell("receive udp", order, None);
        assert_eq!(self.datagram(order), b"ready", "{order:?}");
        for datagram in order.bytes().chunks(order.size) {
            let sent = self.socket.send_to(datagram, self.address());
            sent.unwrap_or_else(|e| panic!("{order:?}: {e}"));
        }
        self.received(order)
    }

    fn received(&self, order: &Order) -> Answer {
        let answer = self.answer();
        let right = (order.total() as u64, 0);
        let said = (answer.get("bytes"), answer.get("wrong"));
        assert_eq!(said, right, "{order:?}: {answer:?}");
        answer
    }
}
