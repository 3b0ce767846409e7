//! What a TCP segment does.
//!
//! Problem: smoltcp wants a segment with its payload and gets scratch bytes,
//! and a peer may send more than its reader takes. Invariant: payload that
//! smoltcp takes is filed ([`crate::inflow`]), and none else; payload that may
//! not be held is cut off before smoltcp sees the segment, so that the rest of
//! it, an acknowledgement above all, still counts, and the peer sends it
//! again.

use smoltcp::socket::tcp::State;
use smoltcp::wire::{Ipv4Packet, TcpPacket};
use socket_api::Status;

use crate::classify::{Arrived, Datagram, ETHERNET, Segment, is_host};
use crate::counters::Counter;
use crate::environment::Environment;
use crate::flows::{Flow, Target};
use crate::inflow::View;
use crate::ingress::Fate;
use crate::outflow::distance;
use crate::packets::{Holder, Piece};
use crate::recovery::Acknowledged;
use crate::resolve;
use crate::server::{Id, Server};
use crate::sockets::{Kind, Owner};
use crate::stack::{Io, Via};
use crate::time_wait::Verdict;

impl Server {
    #[inline]
    pub(crate) fn tcp_in(
        &mut self,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) -> Fate {
        if self.stack.own() != Some(ip.dst) || !is_host(ip.src) {
            return self.dropped(Counter::DropNotOurAddress);
        }
        let flow = Flow {
            remote: ip.src,
            remote_port: segment.src_port,
            port: segment.dst_port,
        };
        match self.flows.find(flow) {
            Some(Target::Connection(c)) => self.segment_in(c, arrived, ip, segment, env),
            Some(Target::TimeWait(t)) => self.time_wait_in(t, arrived, ip, segment, env),
            None => self.new_flow_in(flow, arrived, ip, segment, env),
        }
    }

    fn new_flow_in(
        &mut self,
        flow: Flow,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) -> Fate {
        if flow.remote_port == resolve::PORT
            && let Some(fate) = self.stream_in(flow, arrived, segment, env)
        {
            return fate;
        }
        let opens = segment.syn && segment.ack.is_none() && !segment.rst && !segment.fin;
        if opens
            && let Some(l) = self.flows.tcp(flow.port)
            && matches!(self.sockets[l as usize].kind, Kind::Listener(_))
        {
            if !self.syn_in(l, flow, arrived.frame, (ip, segment), env) && self.within_rate() {
                let io = Io::new(env, &mut self.counters);
                self.stack.ingress_none(Via::Narrow, arrived.frame, io);
                self.tend_neighbours();
            }
            return Fate::Drop;
        }
        self.reply_to_stranger(Via::Narrow, arrived, ip, env)
    }

    /// A segment for a connection.
    #[inline]
    fn segment_in(
        &mut self,
        c: u32,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) -> Fate {
        if segment.len != 0 && self.connections[c as usize].inflow.told().1 == 0 {
            self.hear_probe(c, arrived, ip, segment, env);
        }
        let view = self.connections[c as usize].view();
        let taken = self.what_is_taken(c, arrived, ip, segment, &view);
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        if let Some(ack) = segment.ack.filter(|_| !segment.rst && !segment.syn) {
            let ack = Acknowledged {
                before: ack,
                blocks: segment.blocks,
                bare: segment.len == 0 && !segment.fin && segment.window == connection.window,
            };
            connection.window = segment.window;
            let place = (segment.seq, segment.len, segment.window);
            let window = connection.acknowledged(place, &ack, view.next, now);
            connection.stopped = window == 0;
            set_window(arrived.frame, ip, window);
        }
        if segment.syn && !segment.rst {
            connection.stopped = segment.window == 0;
            set_shift(arrived.frame, ip, connection.recovery.shown_shift());
        }
        let io = Io::new(&mut *env, &mut self.counters);
        let note = self
            .stack
            .ingress(Via::Narrow, arrived.frame, &mut connection.set, io);
        connection.heard(note.segment, now);
        let after = connection.view();
        if after.state != view.state {
            connection.changed(segment, view.state, after.state);
        }
        let grown = after.next != view.next && after.state != State::SynReceived;
        self.wake(Id::Connection(c));
        match taken {
            Some((seq, len)) => self.file_segment(c, arrived, segment, (seq, len), env),
            None if grown && !segment.syn && segment.len != 0 => {
                // smoltcp took what it should not have.
                self.out_of_step(c);
                Fate::Drop
            }
            None => Fate::Drop,
        }
    }

    /// Bytes for a window that is closed: smoltcp answers them, and does not hear
    /// what they acknowledge, which it must (RFC 9293, 3.10.7.4). So it is shown
    /// that first, without the bytes.
    #[cold]
    fn hear_probe(
        &mut self,
        c: u32,
        arrived: &Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) {
        let legal = segment.ack.is_some() && !segment.rst && !segment.syn;
        let mut headers = [0; ETHERNET + 60 + 60];
        let here = headers.get_mut(..segment.header_len as usize);
        let there = arrived.frame.get(..segment.header_len as usize);
        let (Some(here), Some(there), true) = (here, there, legal) else {
            return;
        };
        here.copy_from_slice(there);
        cut_payload(here, ip);
        let bare = Segment {
            len: 0,
            fin: false,
            ..*segment
        };
        let mut arrived = Arrived {
            have: here.len(),
            frame: here,
            ..*arrived
        };
        // It has no payload that anybody could keep.
        let _ = self.segment_in(c, &mut arrived, ip, &bare, env);
    }

    /// Which bytes of a segment smoltcp will take. Payload that it must not
    /// is cut off the segment.
    #[inline]
    fn what_is_taken(
        &mut self,
        c: u32,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        view: &View,
    ) -> Option<(u32, u32)> {
        if segment.len == 0 {
            return None;
        }
        let connection = &self.connections[c as usize];
        let end = segment.seq.wrapping_add(segment.len);
        if let Some(fin) = connection.fin_end {
            // Nothing follows a FIN.
            if distance(end, fin) > 0 {
                cut_payload(arrived.frame, ip);
            }
            return None;
        }
        let taken = connection.inflow.takes(segment, view, &self.packets)?;
        if segment.fin && distance(end, connection.inflow.edge(view.next)) > 0 {
            // smoltcp would take the FIN without what comes before it.
            set_flags(arrived.frame, ip, false, true);
        }
        let urgent = connection.inflow.list.len == 0
            && taken.0 == view.next
            && match connection.owner {
                Owner::Stream(s) => self.sockets[s as usize].recvs.len != 0,
                _ => false,
            };
        let holder = Holder::client(connection.client);
        if !self.packets.may_hold_long(arrived.packet, holder, urgent) {
            self.counters.add(Counter::DropPinned);
            cut_payload(arrived.frame, ip);
            return None;
        }
        self.counters.add_n(Counter::Scratch, taken.1.into());
        Some(taken)
    }

    /// Files the bytes of a segment that smoltcp took.
    #[inline]
    fn file_segment(
        &mut self,
        c: u32,
        arrived: &Arrived<'_>,
        segment: &Segment,
        (seq, len): (u32, u32),
        env: &mut impl Environment,
    ) -> Fate {
        let connection = &mut self.connections[c as usize];
        let piece = Piece {
            packet: arrived.packet,
            at: segment.header_len + seq.wrapping_sub(segment.seq),
            len,
            word: seq,
            from: (connection.flow.remote, 0),
            last: false,
        };
        let holder = Holder::client(connection.client);
        connection
            .inflow
            .file(&mut self.packets, piece, holder, |id| env.release(id));
        Fate::Kept
    }

    fn time_wait_in(
        &mut self,
        t: u32,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) -> Fate {
        self.counters.add(Counter::TimeWaitSegments);
        let now = self.now();
        let Some(entry) = self.time_wait.get(t) else {
            return Fate::Drop;
        };
        let fate = match self.time_wait.judge(t, segment, now) {
            Verdict::Absorb => Fate::Drop,
            Verdict::Acknowledge => {
                self.stack.acknowledge(&entry, ip, env, &mut self.counters);
                Fate::Drop
            }
            Verdict::Reopen => {
                self.forget(t);
                self.new_flow_in(entry.flow, arrived, ip, segment, env)
            }
        };
        self.set_timer(Id::TimeWait, self.time_wait.deadline());
        fate
    }

    /// Only a handshake gives up at an ICMP error (RFC 5927, 5.2).
    pub(crate) fn tcp_error(&mut self, flow: Flow, seq: u32, status: Status) {
        let Some(Target::Connection(c)) = self.flows.find(flow) else {
            return;
        };
        let connection = &mut self.connections[c as usize];
        let quoted = connection.sent && seq == connection.outflow.write_seq.wrapping_sub(1);
        if quoted
            && connection.state() == State::SynSent
            && matches!(connection.owner, Owner::Stream(_))
        {
            connection.fate = Some(status);
            connection.tcp().abort();
            connection.detached = true;
            self.wake(Id::Connection(c));
        }
    }

    /// smoltcp and the lists of payload disagree: rather no byte than a wrong
    /// one.
    pub(crate) fn out_of_step(&mut self, c: u32) {
        self.counters.add(Counter::OutOfStep);
        let connection = &mut self.connections[c as usize];
        connection.fate = Some(Status::ConnectionAborted);
        connection.tcp().abort();
        self.wake(Id::Connection(c));
    }
}

/// Makes a segment one without payload.
fn cut_payload(frame: &mut [u8], ip: &Datagram) {
    set_flags(frame, ip, false, false);
    let transport = ip.payload_at;
    let header_len = TcpPacket::new_unchecked(&frame[transport..]).header_len();
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
    packet.set_total_len((transport - ETHERNET) as u16 + u16::from(header_len));
}

fn set_window(frame: &mut [u8], ip: &Datagram, window: u16) {
    TcpPacket::new_unchecked(&mut frame[ip.payload_at..]).set_window_len(window);
}

/// Changes how far a SYN says that windows are shifted (RFC 7323, 2.2), if it
/// does.
pub(crate) fn set_shift(frame: &mut [u8], ip: &Datagram, shift: u8) {
    let mut tcp = TcpPacket::new_unchecked(&mut frame[ip.payload_at..]);
    let mut options = tcp.options_mut();
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (0, _) => return,
            (1, rest) => rest,
            (3, [_, is, ..]) => {
                *is = shift;
                return;
            }
            (_, [len, rest @ ..]) => {
                let skip = usize::from(*len).saturating_sub(2);
                rest.get_mut(skip..).unwrap_or_default()
            }
            _ => return,
        };
    }
}

fn set_flags(frame: &mut [u8], ip: &Datagram, fin: bool, psh: bool) {
    let mut tcp = TcpPacket::new_unchecked(&mut frame[ip.payload_at..]);
    let psh = psh && tcp.psh();
    tcp.set_psh(psh);
    tcp.set_fin(fin);
}
