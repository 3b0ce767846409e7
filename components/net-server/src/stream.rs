//! TCP connections (RFC 9293): opening, bytes in and out, the end.
//!
//! Problem: a connection has to be looked at when a segment, a request or a
//! timer concerns it, and never otherwise. Invariant: all of these only wake
//! it; [`Server::service`] is the one place where bytes move, segments leave,
//! its state is judged and its next timer is set.

use core::mem::offset_of;

use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpEndpoint, IpListenEndpoint, Ipv4Address};
use socket_api::{Completion, Op, Request, Status, flags};

use crate::counters::Counter;
use crate::environment::Environment;
use crate::flows::{Flow, Target};
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, bad, wire_address};
use crate::server::{Id, Run, Server};
use crate::sockets::{Kind, Owner, Stream};
use crate::stack::{Via, ip};

/// Segments that a connection sends in one go at most.
const BURST: u32 = 32;
/// How long an ARP answer is waited for, in microseconds.
const NEIGHBOUR_US: u64 = 4_000_000;
/// How long a half-open connection is kept.
const HALF_OPEN_US: u64 = 20_000_000;
/// After which time a connection is looked at again that could not go on for
/// a reason we do not know.
const AGAIN_US: u64 = 1000;

impl Server {
    pub(crate) fn connect_tcp(
        &mut self,
        s: u32,
        bound: u16,
        (to, to_port): (Ipv4Address, u16),
        r: &Request,
    ) -> Answered {
        let address = self.stack.address.ok_or(Status::NetworkDown)?;
        let own = address.cidr.address();
        if !address.reaches(to) || to == own || address.is_broadcast(to) {
            return Err(Status::Unreachable.into());
        }
        let port = match bound {
            0 => {
                let remote = Some((to, to_port));
                let port = self.flows.ephemeral_tcp(remote, &mut self.random);
                port.ok_or(Status::AddressInUse)?
            }
            port => port,
        };
        let flow = Flow {
            remote: to,
            remote_port: to_port,
            port,
        };
        if self.flows.find(flow).is_some() {
            return Err(Status::AddressInUse.into());
        }
        let c = self
            .links
            .pop_front(&mut self.free)
            .ok_or(Status::NoResources)?;
        let now = self.now();
        let mut opener = self.stack.opener(flow, &mut self.random);
        let connection = &mut self.connections[c as usize];
        connection.begin(Owner::Stream(s), flow, now);
        let local = IpListenEndpoint {
            addr: Some(ip(own)),
            port,
        };
        let remote = IpEndpoint::new(ip(to), to_port);
        let connecting = connection.tcp().connect(opener.context(), remote, local);
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        let waits = self.wait(|socket| &mut socket.control, s, waiting);
        if connecting.is_err() || waits.is_err() {
            self.release(c);
            return Err(Status::NoResources.into());
        }
        self.flows.insert(flow, Target::Connection(c));
        self.sockets[s as usize].kind = Kind::Stream(Stream {
            connection: c,
            read_shut: false,
            write_shut: false,
        });
        self.wake(Id::Connection(c));
        Ok(Answer::Later)
    }

    pub(crate) fn send_stream(
        &mut self,
        s: u32,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if stream.write_shut {
            return Err(Status::BrokenPipe.into());
        }
        let socket = self.connections[stream.connection as usize].tcp();
        if r.flags & flags::NO_DELAY != 0 {
            socket.set_nagle_enabled(false);
        }
        let no_wait = r.flags & flags::NO_WAIT != 0;
        if no_wait
            && (!socket.can_send() || self.sockets[s as usize].sends.len != 0)
            && socket.is_open()
        {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.sends, s, waiting)?;
        self.pump_sends(s, stream, env);
        self.wake(Id::Connection(stream.connection));
        Ok(Answer::Later)
    }

    pub(crate) fn recv_stream(
        &mut self,
        s: u32,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.recvs, s, waiting)?;
        self.pump_recvs(s, stream, env);
        if r.flags & flags::NO_WAIT != 0 {
            let same = |w: &Waiting| w.request.user_data == r.user_data;
            let left = self.pending.take(&mut self.sockets[s as usize].recvs, same);
            if left.is_some() {
                return Err(Status::TimedOut.into());
            }
        }
        self.wake(Id::Connection(stream.connection));
        Ok(Answer::Later)
    }

    pub(crate) fn shutdown(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        if r.arg == 0 || r.arg > 3 {
            return Err(bad(offset_of!(Request, arg)));
        }
        let Kind::Stream(stream) = &mut self.sockets[s as usize].kind else {
            return Err(Status::NotConnected.into());
        };
        stream.read_shut |= r.arg & 1 != 0;
        stream.write_shut |= r.arg & 2 != 0;
        let stream = *stream;
        self.pump_recvs(s, stream, env);
        self.wake(Id::Connection(stream.connection));
        Ok(Answer::Now(r.complete(Status::Ok)))
    }

    /// Moves received bytes to the receives that wait.
    fn pump_recvs(&mut self, s: u32, stream: Stream, env: &mut impl Environment) {
        while let Some(waiting) = self.pending.first(&self.sockets[s as usize].recvs) {
            let Some((status, len)) = self.take_bytes(stream, &waiting.request, env) else {
                return;
            };
            self.pending.pop(&mut self.sockets[s as usize].recvs);
            let completion = Completion {
                len,
                ..waiting.request.complete(status)
            };
            self.complete(&completion, env);
        }
    }

    /// Copies what is there for one receive; `None` if it has to wait.
    fn take_bytes(
        &mut self,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Option<(Status, u32)> {
        let connection = &mut self.connections[stream.connection as usize];
        let fate = connection.fate;
        let socket = connection.tcp();
        if stream.read_shut {
            return Some((Status::Ok, 0));
        }
        if socket.recv_queue() == 0 {
            return match socket.state() {
                State::SynSent | State::SynReceived | State::Listen => None,
                State::Established | State::FinWait1 | State::FinWait2 => None,
                State::Closed => Some((fate.unwrap_or(Status::ConnectionAborted), 0)),
                _ => Some((Status::Ok, 0)),
            };
        }
        let (mut done, room) = (0, r.extent.len as usize);
        // The buffer is a ring: at most two pieces.
        while done < room && socket.can_recv() {
            let at = r.extent.offset as usize + done;
            let copied = socket.recv(|bytes| {
                let n = bytes.len().min(room - done);
                let copied = env.write_client(r.client, at, &bytes[..n]);
                if copied { (n, n) } else { (0, 0) }
            });
            match copied {
                Ok(0) | Err(_) => break,
                Ok(n) => done += n,
            }
        }
        if done == 0 && room != 0 {
            return Some((Status::BadRequest, 0));
        }
        self.counters.add_n(Counter::BytesToClients, done as u64);
        Some((Status::Ok, done as u32))
    }

    /// Moves bytes of the sends that wait into the send buffer.
    fn pump_sends(&mut self, s: u32, stream: Stream, env: &mut impl Environment) {
        while let Some(waiting) = self.pending.first_mut(&self.sockets[s as usize].sends) {
            let r = waiting.request;
            let connection = &mut self.connections[stream.connection as usize];
            let fate = connection.fate;
            let status = match connection.state() {
                State::SynSent | State::SynReceived => return,
                State::Established | State::CloseWait => {
                    let mut status = Status::Ok;
                    while waiting.done < r.extent.len {
                        let at = (r.extent.offset + waiting.done) as usize;
                        let left = (r.extent.len - waiting.done) as usize;
                        let copied = connection.tcp().send(|room| {
                            let n = room.len().min(left);
                            let copied = env.read_client(r.client, at, &mut room[..n]);
                            if copied { (n, Some(n)) } else { (0, None) }
                        });
                        match copied {
                            Ok(Some(0)) => break,
                            Ok(Some(n)) => {
                                waiting.done += n as u32;
                                connection.write_seq = connection.write_seq.wrapping_add(n as u32);
                                self.counters.add_n(Counter::BytesFromClients, n as u64);
                            }
                            Ok(None) | Err(_) => {
                                status = Status::BadRequest;
                                break;
                            }
                        }
                    }
                    let whole = waiting.done == r.extent.len;
                    if status == Status::Ok && !whole && r.flags & flags::NO_WAIT == 0 {
                        return;
                    }
                    status
                }
                State::Closed => match fate {
                    None => Status::ConnectionAborted,
                    Some(Status::Ok) => Status::BrokenPipe,
                    Some(status) => status,
                },
                _ => Status::BrokenPipe,
            };
            if let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].sends) {
                self.answer_waiting(&waiting, status, env);
            }
        }
    }

    /// Does all that a connection can do now.
    pub(crate) fn service(&mut self, c: u32, env: &mut impl Environment) -> Run {
        let owner = self.connections[c as usize].owner;
        if owner == Owner::Free {
            return Run::Done;
        }
        self.time_out(c);
        if let Owner::Stream(s) = owner
            && let Kind::Stream(stream) = self.sockets[s as usize].kind
        {
            self.pump(c, s, stream, env);
        }
        let run = self.transmit(c, env);
        self.settle(c, env);
        self.rearm(c, run)
    }

    fn pump(&mut self, c: u32, s: u32, stream: Stream, env: &mut impl Environment) {
        self.pump_recvs(s, stream, env);
        self.pump_sends(s, stream, env);
        let no_sends = self.sockets[s as usize].sends.len == 0;
        let socket = self.connections[c as usize].tcp();
        if stream.read_shut {
            while matches!(socket.recv(|bytes| (bytes.len(), bytes.len())), Ok(1..)) {}
        }
        let open = matches!(socket.state(), State::Established | State::CloseWait);
        if stream.write_shut && open && no_sends {
            socket.close();
        }
    }

    fn transmit(&mut self, c: u32, env: &mut impl Environment) -> Run {
        let mut waits = false;
        let connection = &mut self.connections[c as usize];
        if connection.detached {
            return Run::Done;
        }
        for _ in 0..BURST {
            let (sent, note) =
                self.stack
                    .egress(Via::Narrow, &mut connection.set, env, &mut self.counters);
            connection.record(note.segment);
            if !sent {
                waits = note.attempts > note.packets;
                break;
            }
            if env.frame_room() == 0 {
                return Run::Blocked;
            }
        }
        if waits {
            self.await_neighbour(Id::Connection(c));
        }
        Run::Done
    }

    /// Gives up a connection whose peer has been silent for too long.
    fn time_out(&mut self, c: u32) {
        let now = self.now();
        let limit = self.patience(c);
        let connection = &mut self.connections[c as usize];
        if !connection.awaits_peer() {
            connection.waiting_since = now;
            return;
        }
        if now < connection.waiting_since + limit {
            return;
        }
        self.counters.add(Counter::ConnectionTimeouts);
        connection.fate = Some(if connection.sent {
            Status::TimedOut
        } else {
            Status::Unreachable
        });
        // Nobody has answered a SYN, so nobody needs a reset.
        connection.detached = connection.state() == State::SynSent;
        connection.tcp().abort();
    }

    fn patience(&self, c: u32) -> u64 {
        let connection = &self.connections[c as usize];
        match connection.owner {
            Owner::HalfOpen(_) => HALF_OPEN_US,
            _ if !connection.sent => NEIGHBOUR_US,
            _ => self.config.tcp_timeout_ms * 1000,
        }
    }

    /// Draws the consequences of the state that a connection is in.
    fn settle(&mut self, c: u32, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let (owner, state) = (connection.owner, connection.state());
        if state == State::TimeWait && connection.fin_end == Some(connection.acked_seq) {
            self.enter_time_wait(c);
        }
        let connection = &mut self.connections[c as usize];
        let over = connection.detached || state == State::Closed;
        match owner {
            Owner::Free => {}
            Owner::HalfOpen(l) => match state {
                State::SynReceived => {}
                State::Closed | State::Listen => self.drop_unaccepted(c),
                _ => self.established(c, l, env),
            },
            Owner::Ready(_) if over => self.drop_unaccepted(c),
            Owner::Ready(_) => {}
            Owner::Orphan => {
                if !over && connection.tcp().recv_queue() != 0 {
                    // RFC 1122, 4.2.2.13: data is lost, the peer must know.
                    connection.tcp().abort();
                    self.transmit(c, env);
                    self.release(c);
                } else if over {
                    self.release(c);
                }
            }
            Owner::Stream(s) => self.settle_stream(c, s, over, env),
        }
    }

    fn drop_unaccepted(&mut self, c: u32) {
        self.leave_listener(c);
        self.release(c);
    }

    fn settle_stream(&mut self, c: u32, s: u32, over: bool, env: &mut impl Environment) {
        let control = self.pending.first(&self.sockets[s as usize].control);
        match control.map(|w| Op::from_number(w.request.op)) {
            Some(Some(Op::Connect)) => self.settle_connect(c, s, env),
            Some(Some(Op::Close)) => self.settle_close(c, s, over, env),
            _ if over => self.settle_over(c, s, env),
            _ => {}
        }
    }

    fn settle_connect(&mut self, c: u32, s: u32, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let (fate, flow) = (connection.fate, connection.flow);
        let status = match connection.state() {
            State::SynSent | State::SynReceived => return,
            State::Closed => match fate {
                None | Some(Status::Ok) => Status::ConnectionAborted,
                Some(status) => status,
            },
            _ => Status::Ok,
        };
        let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].control) else {
            return;
        };
        let mut completion = waiting.request.complete(status);
        if status == Status::Ok {
            self.counters.add(Counter::ConnectionsOpened);
            let own = self.stack.own().unwrap_or(Ipv4Address::UNSPECIFIED);
            completion.address = wire_address(own, flow.port);
            self.wake(Id::Connection(c));
        } else {
            let bound = self.flows.tcp(flow.port) == Some(s);
            let port = if bound { flow.port } else { 0 };
            self.fail_waiting(s, status, env);
            self.sockets[s as usize].kind = Kind::Tcp { port };
            self.release(c);
        }
        self.complete(&completion, env);
    }

    /// Answers all sends and receives of a socket with a status.
    fn fail_waiting(&mut self, s: u32, status: Status, env: &mut impl Environment) {
        for sends in [false, true] {
            loop {
                let socket = &mut self.sockets[s as usize];
                let list = if sends {
                    &mut socket.sends
                } else {
                    &mut socket.recvs
                };
                let Some(waiting) = self.pending.pop(list) else {
                    break;
                };
                self.answer_waiting(&waiting, status, env);
            }
        }
    }

    /// The connection is over: once its bytes are read, so is its memory.
    fn settle_over(&mut self, c: u32, s: u32, env: &mut impl Environment) {
        if let Kind::Stream(stream) = self.sockets[s as usize].kind {
            self.pump_recvs(s, stream, env);
            self.pump_sends(s, stream, env);
        }
        let connection = &mut self.connections[c as usize];
        if connection.tcp().recv_queue() != 0 {
            return;
        }
        let closed = connection.state() == State::Closed;
        let status = match connection.fate {
            Some(status) => status,
            None if closed => Status::ConnectionAborted,
            None => Status::Ok,
        };
        self.keep_port(s, c);
        self.sockets[s as usize].kind = Kind::Over { status };
        self.release(c);
    }

    /// A port that the socket itself was bound to becomes free with it.
    pub(crate) fn keep_port(&mut self, s: u32, c: u32) {
        let port = self.connections[c as usize].flow.port;
        if self.flows.tcp(port) == Some(s) {
            self.flows.set_tcp(port, None);
        }
    }

    /// Sets a connection's timer.
    fn rearm(&mut self, c: u32, run: Run) -> Run {
        let now = self.now();
        let limit = self.patience(c);
        let connection = &mut self.connections[c as usize];
        if connection.owner == Owner::Free {
            return Run::Done;
        }
        let waits = connection.awaits_peer();
        let give_up = waits.then_some(connection.waiting_since + limit);
        if connection.detached {
            self.set_timer(Id::Connection(c), give_up);
            return Run::Done;
        }
        let at = self.stack.poll_at(Via::Narrow, &connection.set);
        if at == Some(0) && run == Run::Blocked {
            return Run::Blocked;
        }
        let at = at.map(|at| at.max(now + AGAIN_US));
        let deadline = match (at, give_up) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.set_timer(Id::Connection(c), deadline);
        Run::Done
    }

    /// Frees a connection's slot: no flow, no timer, no owner.
    pub(crate) fn release(&mut self, c: u32) {
        let connection = &mut self.connections[c as usize];
        connection.tcp().abort();
        connection.owner = Owner::Free;
        let flow = connection.flow;
        self.flows.remove(flow, Target::Connection(c));
        self.set_timer(Id::Connection(c), None);
        self.links.push_back(&mut self.free, c);
    }
}
