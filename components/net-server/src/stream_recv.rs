//! Bytes of a stream on their way to receives.
//!
//! Problem: what smoltcp calls received is scratch; the bytes are in packets.
//! Invariant: bytes leave smoltcp's buffer and the list of pieces together,
//! in the same number; a packet is given back with its last piece.

use smoltcp::socket::tcp::State;
use socket_api::{Completion, Request, Status, flags};

use crate::counters::Counter;
use crate::environment::Environment;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered};
use crate::server::{Id, Server};
use crate::sockets::Stream;

impl Server {
    pub(crate) fn recv_stream(
        &mut self,
        s: u32,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if self.sockets[s as usize].recvs.len == 0
            && let Some(completion) = self.take_bytes(stream, r, env)
        {
            self.wake(Id::Connection(stream.connection));
            return Ok(Answer::Now(completion));
        }
        if r.flags & flags::NO_WAIT != 0 {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.recvs, s, waiting)?;
        Ok(Answer::Later)
    }

    /// Moves received bytes to the receives that wait.
    pub(crate) fn pump_recvs(&mut self, s: u32, stream: Stream, env: &mut impl Environment) {
        while let Some(waiting) = self.pending.first(&self.sockets[s as usize].recvs) {
            let Some(completion) = self.take_bytes(stream, &waiting.request, env) else {
                return;
            };
            self.pending.pop(&mut self.sockets[s as usize].recvs);
            self.complete(&completion, env);
        }
    }

    /// Hands out what is there for one receive; `None` if it has to wait.
    fn take_bytes(
        &mut self,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Option<Completion> {
        if stream.read_shut {
            return Some(r.complete(Status::Ok));
        }
        let connection = &mut self.connections[stream.connection as usize];
        let fate = connection.fate;
        let socket = connection.tcp();
        let there = socket.recv_queue() as u32;
        if there == 0 {
            return match socket.state() {
                State::SynSent | State::SynReceived | State::Listen => None,
                State::Established | State::FinWait1 | State::FinWait2 => None,
                State::Closed => Some(r.complete(fate.unwrap_or(Status::ConnectionAborted))),
                _ => Some(r.complete(Status::Ok)),
            };
        }
        let len = there.min(r.extent.len);
        if !connection.inflow.covers(&self.packets, len) {
            self.out_of_step(stream.connection);
            self.discard(stream.connection, env);
            return Some(r.complete(Status::ConnectionAborted));
        }
        connection.dequeue(len);
        let mut list = connection.inflow.list;
        let end = self.hand_out(&mut list, len, r.user_data, env);
        self.connections[stream.connection as usize].inflow.list = list;
        Some(Completion {
            len,
            flags: end.flags(),
            packet: end.packet,
            offset: end.offset,
            ..r.complete(Status::Ok)
        })
    }

    /// Drops what a connection has received in order.
    pub(crate) fn discard(&mut self, c: u32, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let there = connection.tcp().recv_queue() as u32;
        if there == 0 {
            return;
        }
        connection.dequeue(there);
        let inflow = &mut connection.inflow;
        while let Some(piece) = self.packets.piece(inflow.list.head) {
            let end = piece.word.wrapping_add(piece.len);
            if crate::outflow::distance(end, inflow.base) > 0 {
                break;
            }
            let head = inflow.list.head;
            if let Some(id) = self.packets.remove(&mut inflow.list, head) {
                env.release(id);
            }
        }
    }

    /// Drops everything that a connection has received, and ends its sends.
    pub(crate) fn purge(&mut self, c: u32, env: &mut impl Environment) {
        let list = &mut self.connections[c as usize].inflow.list;
        while list.len != 0 {
            let head = list.head;
            if let Some(id) = self.packets.remove(list, head) {
                env.release(id);
            }
        }
        self.fail_sends(c, Status::ConnectionAborted, env);
    }

    /// Counts payload that goes to a client.
    #[inline]
    pub(crate) fn note_referenced(&mut self, len: u32) {
        self.counters.add_n(Counter::ReferencedIn, len.into());
    }
}
