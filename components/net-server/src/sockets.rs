//! Sockets as the manager sees them, connections as the wire sees them.
//!
//! Problem: a client's socket, a connection's buffers and the memory of a
//! connection that is over live for different times. Invariant: a [`Socket`]
//! is found by the manager's number, a [`Connection`] (a smoltcp socket with
//! its buffers, made at start-up) by its flow; each connection has exactly one
//! [`Owner`], and a free one has no flow and no timer.

use alloc::vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::Ipv4Address;
use socket_api::Status;

use crate::flows::Flow;
use crate::lists::List;

/// A socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub client: u32,
    pub kind: Kind,
    /// `Recv`s, or on a listener `Accept`s.
    pub recvs: List,
    pub sends: List,
    /// `Connect` or `Close`.
    pub control: List,
    /// An error to report once (from ICMP).
    pub error: Option<Status>,
}

/// What a socket is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Free,
    Udp(Udp),
    /// Neither connected nor listening; port 0 is unbound.
    Tcp {
        port: u16,
    },
    Listener(Listener),
    Stream(Stream),
    /// The connection is over and its buffers are gone.
    Over {
        status: Status,
    },
}

/// A UDP socket; `queue` is valid when the port is not 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Udp {
    pub port: u16,
    pub queue: u32,
    pub peer: Option<(Ipv4Address, u16)>,
}

/// A listening socket and the connections that wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub port: u16,
    pub backlog: u32,
    pub half_open: List,
    pub ready: List,
}

/// A connected (or connecting) socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub connection: u32,
    pub read_shut: bool,
    pub write_shut: bool,
}

impl Socket {
    pub const FREE: Self = Self {
        client: 0,
        kind: Kind::Free,
        recvs: List::EMPTY,
        sends: List::EMPTY,
        control: List::EMPTY,
        error: None,
    };
}

/// Who a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Free,
    /// A listener; the handshake is not finished.
    HalfOpen(u32),
    /// A listener; not accepted yet.
    Ready(u32),
    Stream(u32),
    /// Nobody: what was queued is being sent.
    Orphan,
}

/// A TCP connection's smoltcp socket and what we know besides.
pub(crate) struct Connection {
    pub set: SocketSet<'static>,
    handle: SocketHandle,
    pub owner: Owner,
    pub flow: Flow,
    /// How it ended: `Ok` in an orderly way.
    pub fate: Option<Status>,
    /// Something was sent: the peer's hardware address is known.
    pub sent: bool,
    /// Sequence number of the next byte that a client queues.
    pub write_seq: u32,
    /// Highest sequence number sent.
    pub sent_seq: u32,
    /// Last acknowledgement sent.
    pub acked_seq: u32,
    /// The number behind the peer's FIN.
    pub fin_end: Option<u32>,
    /// Remembered in TIME-WAIT; only unread bytes are left here.
    pub detached: bool,
    /// Since when an answer is awaited, in microseconds.
    pub waiting_since: u64,
}

impl Connection {
    /// A free connection with its buffers.
    pub fn new(receive: usize, send: usize) -> Self {
        // 64 KiB would have to be scaled, and what scaling rounds off moves a
        // full window's edge back: a peer that had filled it is not heard
        // before it opens again (RFC 7323, 2.4). A byte less needs no scaling.
        let receive = if receive == 1 << 16 {
            receive - 1
        } else {
            receive
        };
        let socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; receive]),
            tcp::SocketBuffer::new(vec![0; send]),
        );
        let mut set = SocketSet::new(vec![]);
        let handle = set.add(socket);
        Self {
            set,
            handle,
            owner: Owner::Free,
            flow: Flow {
                remote: Ipv4Address::UNSPECIFIED,
                remote_port: 0,
                port: 0,
            },
            fate: None,
            sent: false,
            write_seq: 0,
            sent_seq: 0,
            acked_seq: 0,
            fin_end: None,
            detached: false,
            waiting_since: 0,
        }
    }

    /// Makes it ready for a new flow.
    pub fn begin(&mut self, owner: Owner, flow: Flow, now: u64) {
        // A set keeps the neighbour that its socket waited for: start anew.
        let socket = self.set.remove(self.handle);
        if let smoltcp::socket::Socket::Tcp(socket) = socket {
            self.handle = self.set.add(socket);
        }
        self.owner = owner;
        self.flow = flow;
        self.fate = None;
        self.sent = false;
        self.fin_end = None;
        self.detached = false;
        self.waiting_since = now;
        let socket = self.tcp();
        socket.abort();
        socket.set_nagle_enabled(true);
    }

    /// The smoltcp socket.
    #[inline]
    pub fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Its state.
    #[inline]
    pub fn state(&self) -> tcp::State {
        self.set.get::<tcp::Socket>(self.handle).state()
    }

    /// Records a segment that smoltcp sent.
    pub fn record(&mut self, segment: Option<(u32, u32, u32)>) {
        let Some((seq, end, ack)) = segment else {
            return;
        };
        if !self.sent {
            self.sent = true;
            self.write_seq = seq.wrapping_add(1);
            self.sent_seq = end;
        }
        if end.wrapping_sub(self.sent_seq) as i32 > 0 {
            self.sent_seq = end;
        }
        self.acked_seq = ack;
    }

    /// Whether we wait for the peer: for the handshake, for an
    /// acknowledgement, or as an orphan for anything.
    pub fn awaits_peer(&mut self) -> bool {
        use tcp::State::{CloseWait, Closed, Established, FinWait2, Listen, TimeWait};
        let orphan = self.owner == Owner::Orphan;
        let socket = self.tcp();
        match socket.state() {
            Established | CloseWait => socket.send_queue() > 0,
            FinWait2 => orphan,
            Closed | Listen | TimeWait => false,
            _ => true,
        }
    }
}

/// A UDP socket's smoltcp socket, with its receive queue.
pub(crate) struct UdpQueue {
    pub set: SocketSet<'static>,
    handle: SocketHandle,
    /// Datagrams queued.
    pub queued: u32,
}

/// Datagrams that a receive queue holds at most.
pub(crate) const UDP_DATAGRAMS: u32 = 128;

impl UdpQueue {
    /// With room for `receive` and `send` bytes.
    pub fn new(receive: usize, send: usize, datagrams: usize) -> Self {
        let buffer = |datagrams: usize, bytes: usize| {
            udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; datagrams], vec![0; bytes])
        };
        let mut set = SocketSet::new(vec![]);
        let handle = set.add(udp::Socket::new(
            buffer(datagrams, receive),
            buffer(1, send),
        ));
        Self {
            set,
            handle,
            queued: 0,
        }
    }

    /// The smoltcp socket.
    #[inline]
    pub fn udp(&mut self) -> &mut udp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Forgets the neighbour that smoltcp waits for.
    pub fn reset(&mut self) {
        let socket = self.set.remove(self.handle);
        if let smoltcp::socket::Socket::Udp(mut socket) = socket {
            socket.close();
            self.handle = self.set.add(socket);
        }
        self.queued = 0;
    }
}
