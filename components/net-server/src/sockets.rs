//! Sockets as the manager sees them, connections as the wire sees them.
//!
//! Problem: a client's socket, a connection's buffers and the memory of a
//! connection that is over live for different times. Invariant: a [`Socket`]
//! is found by the manager's number, a [`Connection`] (a smoltcp socket with
//! its buffers, made at start-up, which hold no payload but count it) by its
//! flow; each connection has exactly one [`Owner`], and a free one has no
//! flow, no timer, no packets and no sends.

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::Ipv4Address;
use socket_api::Status;

use crate::classify::Segment;
use crate::flows::Flow;
use crate::inflow::{Inflow, View};
use crate::lists::List;
use crate::outflow::{Outflow, distance};
use crate::receives::Waiting;
use crate::recovery::{Acknowledged, Recovery};
use crate::wire::Emitted;

/// A socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub client: u32,
    pub kind: Kind,
    /// `Recv`s, or on a listener `Accept`s.
    pub recvs: List,
    /// `Recv`s that wait with the manager.
    pub waiting: Waiting,
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
        waiting: Waiting::NONE,
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
    /// Whose it is, or was before its socket was closed.
    pub client: u32,
    pub flow: Flow,
    pub inflow: Inflow,
    pub outflow: Outflow,
    pub recovery: Recovery,
    /// How it ended: `Ok` in an orderly way.
    pub fate: Option<Status>,
    /// Something was sent: the peer's hardware address is known.
    pub sent: bool,
    /// Highest sequence number sent.
    pub sent_seq: u32,
    /// Last acknowledgement sent.
    pub acked_seq: u32,
    /// The number behind the peer's FIN.
    pub fin_end: Option<u32>,
    /// The peer's last window, and whether it was 0.
    pub window: u16,
    pub stopped: bool,
    /// Remembered in TIME-WAIT; only unread bytes are left here.
    pub detached: bool,
    /// An answer was awaited when we last looked.
    waiting: bool,
    /// Since when, or since the peer was last heard of, in microseconds.
    pub waiting_since: u64,
}

impl Connection {
    /// A free connection with its buffers, whose segments have `segment` bytes
    /// at most.
    pub fn new(receive: usize, send: usize, segment: u32) -> Self {
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
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self {
            set,
            handle,
            owner: Owner::Free,
            client: 0,
            inflow: Inflow::new(receive),
            outflow: Outflow::NEW,
            recovery: Recovery::new(send, segment),
            flow: Flow {
                remote: Ipv4Address::UNSPECIFIED,
                remote_port: 0,
                port: 0,
            },
            fate: None,
            sent: false,
            sent_seq: 0,
            acked_seq: 0,
            fin_end: None,
            window: 0,
            stopped: false,
            detached: false,
            waiting: false,
            waiting_since: 0,
        }
    }

    /// Makes it ready for a new flow.
    pub fn begin(&mut self, owner: Owner, client: u32, flow: Flow, now: u64) {
        // A set keeps the neighbour that its socket waited for: start anew.
        let socket = self.set.remove(self.handle);
        if let smoltcp::socket::Socket::Tcp(socket) = socket {
            self.handle = self.set.add(socket);
        }
        self.owner = owner;
        self.client = client;
        self.flow = flow;
        self.inflow.begin();
        self.outflow = Outflow::NEW;
        self.recovery.reset();
        self.fate = None;
        self.sent = false;
        self.fin_end = None;
        self.window = 0;
        self.stopped = false;
        self.detached = false;
        self.waiting = false;
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
    #[inline]
    pub fn record(&mut self, segment: Option<Emitted>, now: u64) {
        let Some(segment) = segment else {
            return;
        };
        if !self.sent {
            self.sent = true;
            self.outflow.open(segment.seq);
            self.recovery.begin(segment.end);
            self.sent_seq = segment.end;
        }
        if let Some(ack) = segment.ack {
            self.acked_seq = ack;
        }
        // smoltcp remembers nothing of a probe of a window that is closed.
        let probe = self.stopped && segment.len == 1 && segment.seq == self.sent_seq;
        if probe || segment.rst {
            return;
        }
        self.inflow.tell(segment.ack, segment.window);
        if distance(segment.end, self.sent_seq) > 0 {
            self.recovery.sent(segment.end, segment.fin, now);
            self.sent_seq = segment.end;
        }
    }

    /// Whether smoltcp, which has just sent a segment, has nothing to send and
    /// waits for no time: all that is queued has left, and what is sent again
    /// is not its to decide.
    #[inline]
    pub fn has_sent_all(&self, segment: Option<Emitted>) -> bool {
        let behind = |s: Emitted| s.seq.wrapping_add(s.len);
        !self.stopped
            && self.outflow.owed.is_none()
            && segment.is_some_and(|s| behind(s) == self.outflow.write_seq)
    }

    /// Tells of what a segment of the peer's acknowledges, if it is one that
    /// smoltcp will listen to; the window to show smoltcp in place of its own.
    #[inline]
    pub fn acknowledged(
        &mut self,
        (seq, len, window): (u32, u32, u16),
        ack: &Acknowledged,
        next: u32,
        now: u64,
    ) -> u16 {
        if self.recovery.concerns(ack) && self.inflow.hears(seq, len, next) && self.sends() {
            self.recovery.acknowledged(ack, now);
        }
        self.recovery.show(window)
    }

    /// Whether what was sent may have to be sent again.
    #[inline]
    pub fn sends(&self) -> bool {
        use tcp::State::{CloseWait, Closing, Established, FinWait1, LastAck};
        matches!(
            self.state(),
            Established | CloseWait | FinWait1 | Closing | LastAck
        )
    }

    /// smoltcp has seen a segment of the peer's, and perhaps answered.
    #[inline]
    pub fn heard(&mut self, answer: Option<Emitted>, now: u64) {
        self.record(answer, now);
        self.waiting_since = now;
        if self.sent {
            let queued = self.tcp().send_queue() as u32;
            self.outflow.una = self.outflow.write_seq.wrapping_sub(queued);
            self.recovery.follow(self.outflow.una);
        }
    }

    /// A segment of the peer's has changed the state.
    pub fn changed(&mut self, segment: &Segment, before: tcp::State, after: tcp::State) {
        use tcp::State::{CloseWait, Closed, Closing, SynSent, TimeWait};
        if before == SynSent && after != Closed {
            self.inflow.open(segment, true);
            self.recovery.open(segment.offer);
        }
        if segment.fin && matches!(after, CloseWait | Closing | TimeWait) {
            self.fin_end = Some(segment.end());
        }
        if after == Closed {
            self.fate = Some(match (segment.rst, before) {
                (true, SynSent) => Status::ConnectionRefused,
                (true, _) => Status::ConnectionReset,
                (false, _) => Status::Ok,
            });
        }
    }

    /// Queues bytes for sending, without writing any; how many fit.
    #[inline]
    pub fn enqueue(&mut self, len: u32) -> u32 {
        let mut left = len as usize;
        // The buffer is a ring: at most two pieces.
        while left != 0 {
            let taken = self.tcp().send(|room| {
                let n = room.len().min(left);
                (n, n)
            });
            match taken {
                Ok(n @ 1..) => left -= n,
                _ => break,
            }
        }
        let queued = len - left as u32;
        self.outflow.write_seq = self.outflow.write_seq.wrapping_add(queued);
        queued
    }

    /// Takes bytes out of smoltcp's receive buffer, of which there are as many.
    #[inline]
    pub fn dequeue(&mut self, len: u32) {
        let mut left = len as usize;
        // The buffer is a ring: at most two pieces.
        while left != 0 {
            let taken = self.tcp().recv(|bytes| {
                let n = bytes.len().min(left);
                (n, n)
            });
            match taken {
                Ok(n @ 1..) => left -= n,
                _ => break,
            }
        }
        self.inflow.base = self.inflow.base.wrapping_add(len);
    }

    /// What smoltcp knows.
    #[inline]
    pub fn view(&self) -> View {
        let socket = self.set.get::<tcp::Socket>(self.handle);
        View {
            state: socket.state(),
            una: self.outflow.una,
            queued: socket.send_queue() as u32,
            next: self.inflow.base.wrapping_add(socket.recv_queue() as u32),
        }
    }

    /// Whether an answer is awaited; keeps `waiting_since`.
    pub fn is_waiting(&mut self, now: u64) -> bool {
        let waits = self.awaits_peer();
        if !waits || !self.waiting {
            self.waiting_since = now;
        }
        self.waiting = waits;
        waits
    }

    /// Whether we wait for the peer: for the handshake, for an
    /// acknowledgement, or as an orphan for anything.
    fn awaits_peer(&mut self) -> bool {
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

/// A UDP socket's receive queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpQueue {
    /// The pieces of its datagrams.
    pub list: List,
    pub datagrams: u32,
    /// Bytes of all datagrams.
    pub bytes: u32,
}

/// Datagrams that a receive queue holds at most.
pub(crate) const UDP_DATAGRAMS: u32 = 128;

impl UdpQueue {
    /// Without datagrams.
    pub const EMPTY: Self = Self {
        list: List::EMPTY,
        datagrams: 0,
        bytes: 0,
    };
}
