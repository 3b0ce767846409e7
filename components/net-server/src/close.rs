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

impl Server {
    pub(crate) fn close(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        let unsent = self.sockets[s as usize].sends.len != 0;
        self.cancel_waiting(s, env);
        let Kind::Stream(stream) = self.sockets[s as usize].kind else {
            self.abandon(s, env);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        };
        let c = stream.connection;
        let connection = &mut self.connections[c as usize];
        let unsent = unsent || connection.write_seq.wrapping_sub(connection.sent_seq) as i32 > 0;
        let unread = connection.tcp().recv_queue() != 0;
        let opening = matches!(connection.state(), State::SynSent | State::SynReceived);
        if opening || (r.arg == 0 && (unsent || unread)) {
            self.abandon(s, env);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        }
        connection.tcp().close();
        while matches!(connection.tcp().recv(|b| (b.len(), b.len())), Ok(1..)) {}
        if r.arg == 0 || r.arg == u64::MAX {
            self.orphan(s, stream);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        }
        let deadline = self.now().saturating_add(r.arg.saturating_mul(1000));
        let waiting = Waiting {
            request: *r,
            deadline,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.control, s, waiting)?;
        self.set_timer(Id::Socket(s), Some(deadline));
        self.wake(Id::Connection(c));
        Ok(Answer::Later)
    }

    /// Lets a connection finish without its socket.
    fn orphan(&mut self, s: u32, stream: Stream) {
        let now = self.now();
        self.keep_port(s, stream.connection);
        let connection = &mut self.connections[stream.connection as usize];
        connection.owner = Owner::Orphan;
        connection.waiting_since = now;
        self.free_number(s);
        self.wake(Id::Connection(stream.connection));
    }

    /// A closing socket that lingers: is all acknowledged?
    pub(crate) fn settle_close(&mut self, c: u32, s: u32, over: bool, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let acknowledged = matches!(connection.state(), State::FinWait2 | State::TimeWait);
        if !over && !acknowledged {
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
            Kind::Stream(_) => {
                let now = self.now();
                let control = &mut self.sockets[s as usize].control;
                let over = |w: &Waiting| w.request.op == Op::Close as u16 && w.deadline <= now;
                if let Some(waiting) = self.pending.take(control, over) {
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
            Kind::Udp(udp) => self.unbind_udp(udp),
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
            self.stack.egress(
                crate::stack::Via::Narrow,
                &mut connection.set,
                env,
                &mut self.counters,
            );
        }
        self.release(c);
    }

    fn free_number(&mut self, s: u32) {
        self.sockets[s as usize] = Socket::FREE;
        self.sockets_used -= 1;
        self.set_timer(Id::Socket(s), None);
    }

    /// Answers everything that waits on a socket with `Cancelled`.
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
    /// with it, a `Close` goes on in the background.
    pub(crate) fn cancelled(&mut self, s: u32, waiting: &Waiting, env: &mut impl Environment) {
        let Kind::Stream(stream) = self.sockets[s as usize].kind else {
            return;
        };
        match Op::from_number(waiting.request.op) {
            Some(Op::Connect) => {
                self.cancel_waiting(s, env);
                let port = self.connections[stream.connection as usize].flow.port;
                let bound = self.flows.tcp(port) == Some(s);
                self.reset(stream.connection, env);
                self.sockets[s as usize].kind = Kind::Tcp {
                    port: if bound { port } else { 0 },
                };
            }
            Some(Op::Close) => self.orphan(s, stream),
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
