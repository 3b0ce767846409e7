//! Closing, and what is remembered afterwards.
//!
//! Problem: a client is done with a socket long before the network is.
//! Invariant: a socket's number is free with the completion of its `Close`;
//! the connection lives on without an owner until its bytes and its FIN are
//! acknowledged or its time is over; TIME-WAIT holds no buffers.

use smoltcp::socket::tcp::State;
use socket_api::{Op, Request, Status};

use crate::counters::Counter;
use crate::environment::Environment;
use crate::flows::Target;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered};
use crate::server::{Id, Run, Server};
use crate::sockets::{Kind, Owner, Socket, Stream};
use crate::stack::{Io, Via};

impl Server {
    pub(crate) fn close(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        self.cancel_waiting(s, env);
        let Kind::Stream(stream) = self.sockets[s as usize].kind else {
            self.abandon(s, env);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        };
        let connection = &mut self.connections[stream.connection as usize];
        let outflow = &connection.outflow;
        let unsent = outflow.outstanding() != 0
            || crate::outflow::distance(outflow.write_seq, connection.sent_seq) > 0;
        let unread = connection.tcp().recv_queue() != 0;
        let opening = matches!(connection.state(), State::SynSent | State::SynReceived);
        if opening || (r.arg == 0 && (unsent || unread)) {
            self.fail_sends(stream.connection, Status::Cancelled, env);
            self.abandon(s, env);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        }
        self.discard(stream.connection, env);
        let outstanding = self.connections[stream.connection as usize]
            .outflow
            .outstanding();
        if outstanding == 0 && (r.arg == 0 || r.arg == u64::MAX) {
            self.orphan(s, stream);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        }
        self.linger(s, stream, r)
    }

    /// Keeps a socket until its sends are acknowledged.
    fn linger(&mut self, s: u32, stream: Stream, r: &Request) -> Answered {
        let deadline = self.now().saturating_add(r.arg.saturating_mul(1000));
        let waiting = Waiting {
            request: *r,
            deadline,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.control, s, waiting)?;
        self.sockets[s as usize].kind = Kind::Stream(Stream {
            read_shut: true,
            write_shut: true,
            ..stream
        });
        if deadline != u64::MAX {
            self.set_timer(Id::Socket(s), Some(deadline));
        }
        self.wake(Id::Connection(stream.connection));
        Ok(Answer::Later)
    }

    /// Lets a connection finish without its socket; all its sends are queued.
    fn orphan(&mut self, s: u32, stream: Stream) {
        let now = self.now();
        self.keep_port(s, stream.connection);
        let connection = &mut self.connections[stream.connection as usize];
        connection.tcp().close();
        connection.owner = Owner::Orphan;
        connection.waiting_since = now;
        self.free_number(s);
        self.wake(Id::Connection(stream.connection));
    }

    /// A closing socket that lingers: is all acknowledged?
    pub(crate) fn settle_close(&mut self, c: u32, s: u32, over: bool, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let acknowledged = matches!(connection.state(), State::FinWait2 | State::TimeWait);
        let background = connection.outflow.outstanding() == 0
            && self
                .pending
                .first(&self.sockets[s as usize].control)
                .is_some_and(|close| close.request.arg == u64::MAX);
        if !over && !acknowledged && !background {
            return;
        }
        let status = match connection.fate {
            Some(Status::Ok) | None => Status::Ok,
            Some(status) => status,
        };
        let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].control) else {
            return;
        };
        if let Kind::Stream(stream) = self.sockets[s as usize].kind {
            self.orphan(s, stream);
        }
        self.answer_waiting(&waiting, status, env);
    }

    /// A socket's own timer or work: waiting datagrams, or the end of a
    /// linger time.
    pub(crate) fn service_socket(&mut self, s: u32, env: &mut impl Environment) -> Run {
        match self.sockets[s as usize].kind {
            Kind::Udp(udp) => self.service_udp(s, udp, env),
            Kind::Stream(stream) => {
                let now = self.now();
                let control = &mut self.sockets[s as usize].control;
                let over = |w: &Waiting| w.request.op == Op::Close as u16 && w.deadline <= now;
                if let Some(waiting) = self.pending.take(control, over) {
                    self.fail_sends(stream.connection, Status::TimedOut, env);
                    self.abandon(s, env);
                    self.answer_waiting(&waiting, Status::TimedOut, env);
                }
                Run::Done
            }
            _ => Run::Done,
        }
    }

    /// Frees a socket at once; a connection is reset.
    pub(crate) fn abandon(&mut self, s: u32, env: &mut impl Environment) {
        match self.sockets[s as usize].kind {
            Kind::Free => return,
            Kind::Udp(udp) => self.unbind_udp(udp, env),
            Kind::Tcp { port } => {
                if port != 0 {
                    self.flows.set_tcp(port, None);
                }
            }
            Kind::Listener(listener) => {
                self.flows.set_tcp(listener.port, None);
                while let Some(c) = self.first_of(s) {
                    self.leave_listener(c);
                    self.reset(c, env);
                }
            }
            Kind::Stream(stream) => {
                self.keep_port(s, stream.connection);
                self.reset(stream.connection, env);
            }
            Kind::Over { .. } => {}
        }
        self.free_number(s);
    }

    fn first_of(&self, s: u32) -> Option<u32> {
        let Kind::Listener(listener) = self.sockets[s as usize].kind else {
            return None;
        };
        [listener.half_open, listener.ready]
            .into_iter()
            .find(|list| list.len != 0)
            .map(|list| list.head)
    }

    /// Resets a connection and frees its slot.
    fn reset(&mut self, c: u32, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let silent = connection.detached
            || matches!(
                connection.state(),
                State::SynSent | State::TimeWait | State::Closed
            );
        connection.tcp().abort();
        if !silent {
            let io = Io::new(&mut *env, &mut self.counters);
            self.stack.egress(Via::Narrow, &mut connection.set, io);
        }
        self.release(c, env);
    }

    /// Resets the connections that still send bytes of a client's from which
    /// nothing may be sent any more.
    pub(crate) fn drop_orphans(&mut self, client: u32, env: &mut impl Environment) {
        for c in 0..self.connections.len() as u32 {
            let connection = &self.connections[c as usize];
            let sends = connection.owner == Owner::Orphan && connection.outflow.list.len != 0;
            if sends && connection.client == client {
                self.forget_sends(c, env);
                self.reset(c, env);
            }
        }
    }

    fn free_number(&mut self, s: u32) {
        self.forget_receives(s);
        self.take_error(s);
        self.sockets[s as usize] = Socket::FREE;
        self.sockets_used -= 1;
        self.set_timer(Id::Socket(s), None);
    }

    /// Answers everything that waits on a socket, but for a stream's sends,
    /// with `Cancelled`.
    fn cancel_waiting(&mut self, s: u32, env: &mut impl Environment) {
        loop {
            let socket = &mut self.sockets[s as usize];
            let lists = [&mut socket.recvs, &mut socket.sends, &mut socket.control];
            let found = lists.into_iter().find_map(|list| self.pending.pop(list));
            let Some(waiting) = found else {
                return;
            };
            self.answer_waiting(&waiting, Status::Cancelled, env);
        }
    }

    /// A request of a socket was cancelled: a `Connect` takes its connection
    /// with it, a `Close` goes on in the background if no send needs its
    /// client.
    pub(crate) fn cancelled(&mut self, s: u32, waiting: &Waiting, env: &mut impl Environment) {
        let Kind::Stream(stream) = self.sockets[s as usize].kind else {
            return;
        };
        match Op::from_number(waiting.request.op) {
            Some(Op::Connect) => {
                self.cancel_waiting(s, env);
                self.fail_sends(stream.connection, Status::Cancelled, env);
                let port = self.connections[stream.connection as usize].flow.port;
                let bound = self.flows.tcp(port) == Some(s);
                self.reset(stream.connection, env);
                self.sockets[s as usize].kind = Kind::Tcp {
                    port: if bound { port } else { 0 },
                };
            }
            Some(Op::Close) => {
                let outflow = &self.connections[stream.connection as usize].outflow;
                if outflow.outstanding() == 0 {
                    self.orphan(s, stream);
                } else {
                    self.fail_sends(stream.connection, Status::Cancelled, env);
                    self.abandon(s, env);
                }
            }
            _ => {}
        }
    }

    /// Moves a connection that closed first to the table of TIME-WAIT.
    pub(crate) fn enter_time_wait(&mut self, c: u32) {
        if self.connections[c as usize].detached {
            return;
        }
        if let Some((index, entry)) = self.time_wait.make_room() {
            self.counters.add(Counter::TimeWaitRecycled);
            self.flows.remove(entry.flow, Target::TimeWait(index));
        }
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        let (flow, seq, ack) = (connection.flow, connection.sent_seq, connection.acked_seq);
        connection.detached = true;
        self.flows.remove(flow, Target::Connection(c));
        if let Some(index) = self.time_wait.insert(flow, seq, ack, now) {
            self.flows.insert(flow, Target::TimeWait(index));
        }
        self.set_timer(Id::TimeWait, self.time_wait.deadline());
    }

    /// Forgets one connection in TIME-WAIT.
    pub(crate) fn forget(&mut self, index: u32) {
        if let Some(entry) = self.time_wait.get(index) {
            self.flows.remove(entry.flow, Target::TimeWait(index));
            self.time_wait.remove(index);
        }
    }

    pub(crate) fn expire_time_wait(&mut self) -> Run {
        while let Some((index, entry)) = self.time_wait.expire(self.stack.now) {
            self.flows.remove(entry.flow, Target::TimeWait(index));
        }
        self.set_timer(Id::TimeWait, self.time_wait.deadline());
        Run::Done
    }
}
