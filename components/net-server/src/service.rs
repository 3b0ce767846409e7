//! A connection at work: segments out, its state judged, its timer set.
//!
//! Problem: what concerns a connection comes in bursts, and each look at it
//! costs more than the segment that caused it. Invariant: however much
//! happened to a connection in a round, it is served once, at the end; smoltcp
//! is asked for a segment only when it said that it has one.

use smoltcp::socket::tcp::State;
use smoltcp::wire::Ipv4Address;
use socket_api::{Op, Status};

use crate::counters::Counter;
use crate::cut::Source;
use crate::environment::Environment;
use crate::flows::Target;
use crate::lists::NONE;
use crate::requests::wire_address;
use crate::server::{Id, Run, Server};
use crate::sockets::{Kind, Owner, Stream};
use crate::stack::{Io, Via};
use crate::wire::ROOM;

/// Times that smoltcp may send for a connection in one go.
const BURST: u32 = 32;
/// How long an ARP answer is waited for, in microseconds.
const NEIGHBOUR_US: u64 = 4_000_000;
/// How long a half-open connection is kept.
const HALF_OPEN_US: u64 = 20_000_000;
/// After which time a connection is looked at again that could not go on for
/// a reason we do not know.
const AGAIN_US: u64 = 1000;

impl Server {
    /// Does all that a connection can do now.
    pub(crate) fn service(&mut self, c: u32, env: &mut impl Environment) -> Run {
        let owner = self.connections[c as usize].owner;
        if owner == Owner::Free {
            return Run::Done;
        }
        self.time_out(c);
        self.settle_sends(c, env);
        if let Owner::Stream(s) = owner
            && let Kind::Stream(stream) = self.sockets[s as usize].kind
        {
            self.pump(c, s, stream, env);
        }
        let (run, at) = match self.send_again(c, env) {
            Run::Done => self.transmit(c, env),
            run => (run, None),
        };
        self.settle_sends(c, env);
        self.settle(c, env);
        self.rearm(c, run, at)
    }

    fn pump(&mut self, c: u32, s: u32, stream: Stream, env: &mut impl Environment) {
        self.pump_recvs(s, stream, env);
        self.pump_sends(c, env);
        if stream.read_shut {
            self.discard(c, env);
        }
        let connection = &mut self.connections[c as usize];
        let open = matches!(connection.state(), State::Established | State::CloseWait);
        if stream.write_shut && open && connection.outflow.next == NONE {
            connection.tcp().close();
        }
    }

    /// Lets smoltcp send what it has for a connection; when it wants to be
    /// asked again.
    fn transmit(&mut self, c: u32, env: &mut impl Environment) -> (Run, Option<u64>) {
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        if connection.detached {
            return (Run::Done, None);
        }
        for _ in 0..BURST {
            let at = match connection.outflow.owed {
                Some(_) => Some(0),
                None => self.stack.poll_at(Via::Narrow, &connection.set),
            };
            if at.is_none_or(|at| at > now) {
                return (Run::Done, at);
            }
            if !env.has_room(ROOM) {
                return (Run::Blocked, at);
            }
            let mut source = Source {
                outflow: &mut connection.outflow,
                pending: &self.pending,
                kept: connection.recovery.first(),
                sent: connection.sent_seq,
            };
            if source.outflow.owed.is_some() {
                if !source.pay(env, &mut self.counters) {
                    return (Run::Blocked, at);
                }
                continue;
            }
            let io = Io {
                env: &mut *env,
                counters: &mut self.counters,
                source: Some(source),
            };
            let (sent, note) = self.stack.egress(Via::Narrow, &mut connection.set, io);
            connection.record(note.segment, now);
            if sent && connection.has_sent_all(note.segment) {
                return (Run::Done, None);
            }
            if !sent {
                if note.attempts > note.packets {
                    self.await_neighbour(Id::Connection(c));
                }
                let set = &self.connections[c as usize].set;
                return (Run::Done, self.stack.poll_at(Via::Narrow, set));
            }
        }
        (Run::Again, Some(0))
    }

    /// Gives up a connection whose peer has been silent for too long.
    fn time_out(&mut self, c: u32) {
        let now = self.now();
        let limit = self.patience(c);
        let connection = &mut self.connections[c as usize];
        if !connection.is_waiting(now) || now < connection.waiting_since + limit {
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
                State::Closed | State::Listen => self.drop_unaccepted(c, env),
                _ => self.established(c, l, env),
            },
            Owner::Ready(_) if over => self.drop_unaccepted(c, env),
            Owner::Ready(_) => {}
            Owner::Orphan => {
                if !over && connection.tcp().recv_queue() != 0 {
                    // RFC 1122, 4.2.2.13: data is lost, the peer must know.
                    connection.tcp().abort();
                    self.transmit(c, env);
                    self.release(c, env);
                } else if over {
                    self.release(c, env);
                }
            }
            Owner::Stream(s) => self.settle_stream(c, s, over, env),
        }
    }

    fn drop_unaccepted(&mut self, c: u32, env: &mut impl Environment) {
        self.leave_listener(c);
        self.release(c, env);
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
            self.fail_sends(c, status, env);
            self.fail_receives(s, status, env);
            self.sockets[s as usize].kind = Kind::Tcp { port };
            self.release(c, env);
        }
        self.complete(&completion, env);
    }

    /// Answers all receives of a socket with a status.
    fn fail_receives(&mut self, s: u32, status: Status, env: &mut impl Environment) {
        while let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].recvs) {
            self.answer_waiting(&waiting, status, env);
        }
    }

    /// The connection is over: once its bytes are read, so is its memory.
    fn settle_over(&mut self, c: u32, s: u32, env: &mut impl Environment) {
        if let Kind::Stream(stream) = self.sockets[s as usize].kind {
            self.pump_recvs(s, stream, env);
            self.pump_sends(c, env);
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
        self.release(c, env);
    }

    /// A port that the socket itself was bound to becomes free with it.
    pub(crate) fn keep_port(&mut self, s: u32, c: u32) {
        let port = self.connections[c as usize].flow.port;
        if self.flows.tcp(port) == Some(s) {
            self.flows.set_tcp(port, None);
        }
    }

    /// Sets a connection's timer.
    fn rearm(&mut self, c: u32, run: Run, at: Option<u64>) -> Run {
        let now = self.now();
        let limit = self.patience(c);
        let connection = &mut self.connections[c as usize];
        if connection.owner == Owner::Free {
            return Run::Done;
        }
        let waits = connection.is_waiting(now);
        let give_up = waits.then_some(connection.waiting_since + limit);
        if connection.detached {
            self.set_timer(Id::Connection(c), give_up);
            return Run::Done;
        }
        if run != Run::Done {
            return run;
        }
        let at = earlier(at, connection.recovery.deadline());
        let at = at.map(|at| at.max(now + AGAIN_US));
        self.set_timer(Id::Connection(c), earlier(at, give_up));
        Run::Done
    }

    /// Frees a connection's slot: no flow, no timer, no owner, no packets, no
    /// sends.
    pub(crate) fn release(&mut self, c: u32, env: &mut impl Environment) {
        self.purge(c, env);
        let connection = &mut self.connections[c as usize];
        connection.tcp().abort();
        connection.owner = Owner::Free;
        let flow = connection.flow;
        self.flows.remove(flow, Target::Connection(c));
        self.set_timer(Id::Connection(c), None);
        self.links.push_back(&mut self.free, c);
    }
}

/// The earlier of two times, if there is one.
#[inline]
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
