//! Segments that follow each other, shown to smoltcp as one.
//!
//! Problem: a segment costs smoltcp the same whatever it holds, and in bulk
//! nearly every segment only goes on where the one before ended. Invariant: a
//! train leaves smoltcp as its segments would have left it one by one, since
//! it holds nothing but
//!
//! * payload of an established connection in the order of the stream and
//!   within the window that the peer was told, with nothing kept beyond a gap;
//! * acknowledgements that none of the others exceeds, each within what is
//!   outstanding; one without payload must acknowledge more than all before,
//!   so that smoltcp counts each duplicate (RFC 5681, 3.2);
//! * no flags but ACK and PSH, no options, no closed window.
//!
//! Whatever else comes has the train shown first. It is shown before anything
//! looks at what smoltcp knows: at the end of a batch at the latest. Its
//! payload is filed as each packet comes, and stays behind what smoltcp has
//! taken until then. A train of two segments with payload or more is
//! acknowledged at once (RFC 9293, 3.8.6.3), however many they are. A segment
//! longer than the link takes is one that the NIC has made of several.

use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::Ipv4Address;
use socket_api::{PACKET_BUFFERS, Packet, packet_flags};

use crate::checksum;
use crate::classify::{ETHERNET, is_host};
use crate::counters::Counter;
use crate::environment::Environment;
use crate::express::{address, half, mac, word};
use crate::flows::{Flow, Target};
use crate::lists::NONE;
use crate::outflow::distance;
use crate::packets::{Holder, Piece};
use crate::recovery::Acknowledged;
use crate::server::{Id, MOST_LONG, Server};
use crate::stack::{Io, Via};
use crate::wire::LARGEST;

/// Bytes of the headers of a segment without options.
const HEADERS: usize = ETHERNET + 40;
/// Bytes of payload that one segment may have.
const MOST: u32 = (LARGEST - HEADERS) as u32;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// smoltcp's own time to wait before it acknowledges.
const ACK_DELAY: Duration = Duration::from_millis(10);

type Headers = [u8; HEADERS];

/// A number of TCP's.
#[inline]
fn number(h: &Headers, at: usize) -> u32 {
    (word(h, at) as u32).swap_bytes()
}

/// Whether two segments are of one connection and came the same way: the
/// Ethernet header, IP addresses and ports.
#[inline(always)]
fn is_same(a: &Headers, b: &Headers) -> bool {
    let double = |h: &Headers, at| word(h, at) | word(h, at + 4) << 32;
    double(a, 0) == double(b, 0)
        && double(a, 26) == double(b, 26)
        && word(a, 8) == word(b, 8)
        && word(a, 34) == word(b, 34)
}

/// A word in which some bits matter.
const fn masked(mask: [u8; 4], want: [u8; 4]) -> (u64, u64) {
    (
        u32::from_ne_bytes(mask) as u64,
        u32::from_ne_bytes(want) as u64,
    )
}

/// IPv4 with a header of 20 bytes.
const IPV4: (u64, u64) = masked([0xff, 0xff, 0xff, 0], [0x08, 0x00, 0x45, 0]);
/// No fragment, TCP.
const TCP: (u64, u64) = masked([0x3f, 0xff, 0, 0xff], [0, 0, 0, 6]);
/// A header of 20 bytes, ACK, and perhaps PSH.
const SEGMENT: (u64, u64) = masked([0xff, !PSH, 0, 0], [0x50, ACK, 0, 0]);

/// The IP packet of one segment without anything unusual, whole and sound: how
/// many bytes of payload it has.
#[inline(always)]
fn sound(h: &Headers, packet: &Packet) -> Option<u32> {
    let is = |at, (mask, want)| word(h, at) & mask == want;
    let total = half(h, 16);
    let fits = total >= 40 && u32::from(total) + ETHERNET as u32 <= packet.len;
    if !(is(12, IPV4) && is(20, TCP) && is(46, SEGMENT) && fits) || half(h, 48) == 0 {
        return None;
    }
    let sum = |a: usize, b: usize| word(h, a) + word(h, b);
    let addresses = sum(26, 30);
    if !checksum::is_right(addresses + sum(14, 18) + word(h, 22)) {
        return None;
    }
    let rest = u64::from(6u16.swap_bytes()) + u64::from((total - 20).swap_bytes());
    let sound = packet.flags & packet_flags::VERIFIED != 0
        || checksum::is_right(addresses + rest + u64::from(packet.sum as u16));
    sound.then_some(u32::from(total) - 40)
}

/// What smoltcp is to be shown next.
pub(crate) struct Train {
    /// Whose it is; `NONE` if there is none.
    connection: u32,
    /// The first segment's.
    headers: Headers,
    /// For whom packets are held.
    holder: Holder,
    /// Bytes before these are acknowledged, and so many may be.
    una: u32,
    queued: u32,
    /// The number behind it, and where the window ends.
    next: u32,
    edge: u32,
    /// The last segment's.
    ack: u32,
    window: u16,
    flags: u8,
    /// Bytes of payload, in so many segments.
    len: u32,
    segments: u32,
}

impl Train {
    /// No train.
    pub const NONE: Self = Self {
        connection: NONE,
        headers: [0; HEADERS],
        holder: Holder::FRAGMENTS,
        una: 0,
        queued: 0,
        next: 0,
        edge: 0,
        ack: 0,
        window: 0,
        flags: 0,
        len: 0,
        segments: 0,
    };

    /// Whether a segment with so much payload goes on where this ends.
    #[inline(always)]
    fn takes(&self, h: &Headers, len: u32) -> bool {
        let (seq, ack) = (number(h, 38), number(h, 42));
        let ahead = distance(ack, self.ack);
        let end = seq.wrapping_add(len);
        seq == self.next
            && ack.wrapping_sub(self.una) <= self.queued
            && (ahead > 0 || (ahead == 0 && len != 0))
            && (len == 0 || distance(self.edge, end) >= 0)
            && self.len + len <= MOST
    }

    /// Goes on with a segment; `long` if the NIC has made it of several.
    #[inline(always)]
    fn go_on(&mut self, h: &Headers, len: u32, long: bool) {
        self.next = self.next.wrapping_add(len);
        self.ack = number(h, 42);
        self.window = half(h, 48);
        self.flags = h[47];
        self.len += len;
        self.segments += u32::from(len != 0) + u32::from(long);
    }

    /// Writes the headers of one segment that is all of it.
    fn write(&self, into: &mut Headers) {
        *into = self.headers;
        into[16..18].copy_from_slice(&(40 + self.len as u16).to_be_bytes());
        into[42..46].copy_from_slice(&self.ack.to_be_bytes());
        into[47] = self.flags;
        into[48..50].copy_from_slice(&self.window.to_be_bytes());
    }
}

impl Server {
    /// Takes a packet, which is ours, if it is a segment that begins a train
    /// or goes on with the one that there is.
    #[inline(never)]
    pub(crate) fn train_in(&mut self, packet: &Packet, env: &mut impl Environment) -> bool {
        if packet.flags & packet_flags::WHOLE != 0
            || packet.header_len < HEADERS as u32
            || packet.header_len > packet.len
            || packet.len > MOST_LONG
            || packet.following >= PACKET_BUFFERS
        {
            return false;
        }
        let Some(h) = env.header(packet.header) else {
            return false;
        };
        let Some(len) = sound(&h, packet) else {
            return false;
        };
        let train = &self.train;
        let begins =
            train.connection == NONE || !is_same(&train.headers, &h) || !train.takes(&h, len);
        if begins {
            self.show_train(env);
            if !self.begin_train(&h, len) {
                return false;
            }
        }
        let joined = self.join_train(&h, len, packet, env);
        if begins && !joined {
            self.train.connection = NONE;
        }
        joined
    }

    /// Begins a train without segments for one that may be its first.
    #[inline(never)]
    fn begin_train(&mut self, h: &Headers, len: u32) -> bool {
        let Some(c) = self.connection_of(h) else {
            return false;
        };
        let connection = &self.connections[c as usize];
        let view = connection.view();
        let train = Train {
            connection: c,
            headers: *h,
            holder: Holder::client(connection.client),
            una: view.una,
            queued: view.queued,
            next: view.next,
            edge: connection.inflow.edge(view.next),
            ack: view.una,
            ..Train::NONE
        };
        let begins = view.state == State::Established
            && connection.fin_end.is_none()
            && connection.inflow.is_gapless(&self.packets, view.next)
            && train.takes(h, len);
        if begins {
            self.train = train;
        }
        begins
    }

    /// The connection of a segment from a host to us.
    #[inline]
    fn connection_of(&self, h: &Headers) -> Option<u32> {
        let own = self.stack.address?;
        let (src, own_ip) = (address(h, 26), own.cidr.address());
        if mac(h, 0) != self.stack.facts().mac
            || h[6] & 1 != 0
            || address(h, 30) != own_ip
            || src == own_ip
            || !is_host(src)
            || own.is_broadcast(src)
        {
            return None;
        }
        let flow = Flow {
            remote: src,
            remote_port: half(h, 34),
            port: half(h, 36),
        };
        match self.flows.find(flow) {
            Some(Target::Connection(c)) => Some(c),
            _ => None,
        }
    }

    /// Adds a segment that the train takes; false if it may not be held.
    #[inline(always)]
    fn join_train(
        &mut self,
        h: &Headers,
        len: u32,
        packet: &Packet,
        env: &mut impl Environment,
    ) -> bool {
        let long = packet.len > self.stack.facts().mtu as u32 + ETHERNET as u32;
        let id = packet.id;
        let train = &mut self.train;
        if len == 0 {
            self.packets.depart(id);
            env.release(id);
        } else {
            let piece = Piece {
                packet: id,
                at: HEADERS as u32,
                len,
                word: train.next,
                from: (Ipv4Address::UNSPECIFIED, 0),
                last: false,
            };
            let list = &mut self.connections[train.connection as usize].inflow.list;
            if !self.packets.may_hold_long(id, train.holder, false)
                || !self.packets.push(list, piece, train.holder)
            {
                return false;
            }
        }
        train.go_on(h, len, long);
        true
    }

    /// Shows smoltcp the train, if there is one.
    #[inline]
    pub(crate) fn show_train(&mut self, env: &mut impl Environment) {
        if self.train.connection != NONE {
            self.show(env);
        }
    }

    #[inline(never)]
    fn show(&mut self, env: &mut impl Environment) {
        let c = core::mem::replace(&mut self.train.connection, NONE);
        let now = self.stack.now;
        let train = &mut self.train;
        let connection = &mut self.connections[c as usize];
        connection.window = train.window;
        let ack = Acknowledged {
            before: train.ack,
            blocks: [None; 3],
            bare: false,
        };
        let begin = train.next.wrapping_sub(train.len);
        let place = (begin, train.len, train.window);
        train.window = connection.acknowledged(place, &ack, begin, now);
        connection.stopped = train.window == 0;
        if let Some(headers) = self.frame.first_chunk_mut() {
            train.write(headers);
        }
        let frame = &self.frame[..HEADERS + train.len as usize];
        let several = train.segments > 1;
        if several {
            connection.tcp().set_ack_delay(Some(Duration::ZERO));
        }
        let io = Io::new(&mut *env, &mut self.counters);
        let note = self
            .stack
            .ingress(Via::Narrow, frame, &mut connection.set, io);
        if several {
            connection.tcp().set_ack_delay(Some(ACK_DELAY));
        }
        self.counters.add_n(Counter::Scratch, train.len.into());
        connection.heard(note.segment, now);
        let next = connection.view().next;
        if next != train.next {
            // smoltcp has not taken it: it comes again.
            self.counters.add(Counter::OutOfStep);
            let inflow = &mut connection.inflow;
            inflow.truncate(&mut self.packets, next, |id| env.release(id));
        }
        self.wake(Id::Connection(c));
    }
}
