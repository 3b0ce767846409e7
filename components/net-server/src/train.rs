//! Segments that follow each other, as one.
//!
//! Problem: smoltcp takes as long for a segment as for its payload, and a busy
//! stream comes in trains of segments that say nothing new but bytes.
//! Invariant: a segment joins the train of the round only if everything about
//! it is usual: the next bytes in order of an established connection without
//! gaps, all in the window, an acknowledgement that is good and not behind the
//! one before. Its payload is filed as it comes. Before anything else looks at
//! a connection, and before the round's work, smoltcp gets the train: the last
//! segment with payload by itself, those before it as one, so that it sees
//! more than one when it decides whether to acknowledge at once.

use smoltcp::socket::tcp::State;
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};
use socket_api::{Packet, packet_flags};

use crate::checksum;
use crate::classify::{ETHERNET, is_host};
use crate::counters::Counter;
use crate::environment::Environment;
use crate::express::{address, half, mac, word};
use crate::flows::{Flow, Target};
use crate::inflow::{Inflow, View};
use crate::outflow::distance;
use crate::packets::{Holder, Packets, Piece};
use crate::server::{Id, Server};
use crate::sockets::{Connection, Owner};
use crate::stack::{Io, Via};
use crate::wire::IP_HEADER;

/// Bytes of headers without options.
const HEADERS: usize = ETHERNET + IP_HEADER + 20;
/// Where TCP's header begins.
const TCP: usize = ETHERNET + IP_HEADER;
/// Bytes of payload in one train at most: what one IP packet can have.
const MOST: u32 = 65535 - 40;

/// Segments that smoltcp has not seen yet.
pub(crate) struct Train {
    connection: u32,
    /// What smoltcp knew when it began.
    view: View,
    head: [u8; HEADERS],
    /// The first byte.
    seq: u32,
    /// Bytes in all, and in the last segment with any.
    len: u32,
    last: u32,
    ack: u32,
    window: u16,
}

/// A segment without anything unusual.
struct Plain {
    flow: Flow,
    seq: u32,
    ack: u32,
    window: u16,
    len: u32,
}

/// The segment, if its headers are usual and sound.
#[inline]
fn plain(h: &[u8; HEADERS], packet: &Packet) -> Option<Plain> {
    let total = half(h, 16);
    let usual = half(h, 12) == 0x0800
        && h[14] == 0x45
        && half(h, 20) & 0x3fff == 0
        && h[23] == 6
        && total >= 40
        && u32::from(total) + ETHERNET as u32 <= packet.len
        && h[TCP + 12] >> 4 == 5
        // ACK, and perhaps PSH.
        && h[TCP + 13] & !0x08 == 0x10
        && h[6] & 1 == 0;
    let header = word(h, 14) + word(h, 18) + word(h, 22) + word(h, 26) + word(h, 30);
    if !usual || !checksum::is_right(header) {
        return None;
    }
    let sum = word(h, 26)
        + word(h, 30)
        + u64::from(6u16.swap_bytes())
        + u64::from((total - 20).swap_bytes())
        + u64::from(packet.sum as u16);
    let verified = packet.flags & packet_flags::VERIFIED != 0;
    if !verified && !checksum::is_right(sum) {
        return None;
    }
    Some(Plain {
        flow: Flow {
            remote: address(h, 26),
            remote_port: half(h, TCP),
            port: half(h, TCP + 2),
        },
        seq: (word(h, TCP + 4) as u32).swap_bytes(),
        ack: (word(h, TCP + 8) as u32).swap_bytes(),
        window: half(h, TCP + 14),
        len: u32::from(total) - 40,
    })
}

impl Server {
    /// Takes a packet, which is ours, if it is a segment that can wait for
    /// the end of the round.
    #[inline]
    pub(crate) fn train_in(&mut self, packet: &Packet, env: &mut impl Environment) -> bool {
        let mut h = [0; HEADERS];
        if packet.header_len < HEADERS as u32
            || packet.header_len > packet.len
            || packet.flags & packet_flags::WHOLE != 0
            || !env.read_header(packet.header, &mut h)
        {
            return false;
        }
        let (Some(own), Some(segment)) = (self.stack.address, plain(&h, packet)) else {
            return false;
        };
        let (own_ip, src) = (own.cidr.address(), segment.flow.remote);
        if mac(&h, 0) != self.stack.facts().mac
            || address(&h, 30) != own_ip
            || src == own_ip
            || !is_host(src)
            || own.is_broadcast(src)
        {
            return false;
        }
        let Some(Target::Connection(c)) = self.flows.find(segment.flow) else {
            return false;
        };
        if self
            .train
            .as_ref()
            .is_some_and(|train| train.connection != c)
        {
            self.flush_train(env);
        }
        self.join(c, &h, &segment, packet.id, env)
    }

    /// Adds a segment to the train, or begins one.
    #[inline]
    fn join(
        &mut self,
        c: u32,
        head: &[u8; HEADERS],
        segment: &Plain,
        packet: u32,
        env: &mut impl Environment,
    ) -> bool {
        let connection = &mut self.connections[c as usize];
        let train = match &mut self.train {
            Some(train) => train,
            none => {
                let view = connection.view();
                // Segments of other states have a meaning of their own.
                if view.state != State::Established
                    || !connection.inflow.is_gapless(&self.packets, view.next)
                {
                    return false;
                }
                none.insert(Train::new(c, view, head))
            }
        };
        if !train.takes(segment, &connection.inflow) {
            return self.is_under_way();
        }
        if segment.len == 0 {
            self.packets.depart(packet);
            env.release(packet);
        } else {
            let asked = train.len == 0
                && match connection.owner {
                    Owner::Stream(s) => self.sockets[s as usize].recvs.len != 0,
                    _ => false,
                };
            if !file(connection, &mut self.packets, segment, packet, asked) {
                return self.is_under_way();
            }
            train.last = segment.len;
        }
        train.len += segment.len;
        (train.ack, train.window) = (segment.ack, segment.window);
        true
    }

    /// A segment has not joined: the train is gone if it would have been the
    /// first. False.
    fn is_under_way(&mut self) -> bool {
        self.train
            .take_if(|train| train.len == 0 && train.ack == train.view.una);
        false
    }

    /// Shows smoltcp the train, if there is one.
    #[inline]
    pub(crate) fn flush_train(&mut self, env: &mut impl Environment) {
        if let Some(train) = self.train.take() {
            self.show_train(&train, env);
        }
    }

    fn show_train(&mut self, train: &Train, env: &mut impl Environment) {
        let c = train.connection;
        let mut frame = core::mem::take(&mut self.frame);
        let first = train.len - train.last;
        if first != 0 {
            self.show(train, (0, first), &mut frame, env);
        }
        self.show(train, (first, train.last), &mut frame, env);
        self.frame = frame;
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        connection.waiting_since = now;
        connection.stopped = train.window == 0;
        let after = connection.view();
        connection.outflow.una = connection.outflow.write_seq.wrapping_sub(after.queued);
        self.counters.add_n(Counter::Scratch, train.len.into());
        if after.next != train.seq.wrapping_add(train.len) {
            connection
                .inflow
                .truncate(&mut self.packets, after.next, |id| env.release(id));
        }
        self.wake(Id::Connection(c));
    }

    /// Shows smoltcp bytes of a train as one segment.
    fn show(
        &mut self,
        train: &Train,
        (at, len): (u32, u32),
        frame: &mut [u8],
        env: &mut impl Environment,
    ) {
        let bytes = HEADERS + len as usize;
        let Some(frame) = frame.get_mut(..bytes) else {
            return;
        };
        frame[..HEADERS].copy_from_slice(&train.head);
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
        ip.set_total_len((bytes - ETHERNET) as u16);
        let mut tcp = TcpPacket::new_unchecked(&mut frame[TCP..]);
        tcp.set_seq_number(TcpSeqNumber(train.seq.wrapping_add(at) as i32));
        tcp.set_ack_number(TcpSeqNumber(train.ack as i32));
        tcp.set_window_len(train.window);
        let connection = &mut self.connections[train.connection as usize];
        let io = Io::new(env, &mut self.counters);
        let note = self
            .stack
            .ingress(Via::Narrow, frame, &mut connection.set, io);
        connection.record(note.segment);
    }
}

impl Train {
    /// Without any segment.
    fn new(connection: u32, view: View, head: &[u8; HEADERS]) -> Self {
        Self {
            connection,
            view,
            head: *head,
            seq: view.next,
            len: 0,
            last: 0,
            ack: view.una,
            window: 0,
        }
    }

    /// Whether a segment may follow.
    #[inline]
    fn takes(&self, segment: &Plain, inflow: &Inflow) -> bool {
        let news = distance(segment.ack, self.ack);
        let end = segment.seq.wrapping_add(segment.len);
        segment.seq == self.seq.wrapping_add(self.len)
            && (news > 0 || news == 0 && segment.len != 0)
            && segment.ack.wrapping_sub(self.view.una) <= self.view.queued
            && distance(inflow.edge(self.view.next), end) >= 0
            && self.len + segment.len <= MOST
    }
}

/// Files the payload of a segment, of which the first byte may be `asked` for;
/// false if it may not be held.
#[inline]
fn file(
    connection: &mut Connection,
    packets: &mut Packets,
    segment: &Plain,
    packet: u32,
    asked: bool,
) -> bool {
    let holder = Holder::client(connection.client);
    let list = &mut connection.inflow.list;
    if !packets.may_hold(holder, false, asked && list.len == 0) {
        return false;
    }
    let piece = Piece {
        packet,
        at: HEADERS as u32,
        len: segment.len,
        word: segment.seq,
        from: (segment.flow.remote, 0),
        last: false,
    };
    packets.push(list, piece, holder)
}
