//! Sends of a stream, from the request to the last acknowledgement.
//!
//! Problem: bytes that are sent by reference must stay as they are until they
//! are acknowledged, and a client that waits for that waits a round trip.
//! Invariant: a send takes part in the stream in the order submitted; its
//! completion, or where it was held its retirement, comes when all its bytes
//! are acknowledged, or when none of them will be sent again; a send is held
//! only if it may be, all its bytes are queued, and little of it is left.

use smoltcp::socket::tcp::State;
use socket_api::{Completion, Request, Status, flags};

use crate::environment::Environment;
use crate::lists::NONE;
use crate::outflow::{HELD, distance};
use crate::pending::Waiting;
use crate::requests::{Answer, Answered};
use crate::server::{Id, Server};
use crate::sockets::Stream;

/// Bytes that may be unacknowledged when a send is completed early.
const TAIL: i32 = 64 * 1024;

impl Server {
    pub(crate) fn send_stream(
        &mut self,
        stream: Stream,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if stream.write_shut {
            return Err(Status::BrokenPipe.into());
        }
        let c = stream.connection;
        let connection = &mut self.connections[c as usize];
        if r.flags & flags::NO_DELAY != 0 {
            connection.tcp().set_nagle_enabled(false);
        }
        let no_wait = r.flags & flags::NO_WAIT != 0;
        let blocked = !connection.tcp().can_send() || connection.outflow.next != NONE;
        if no_wait && blocked && connection.tcp().is_open() {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        if !connection.outflow.push(&mut self.pending, waiting) {
            return Err(Status::NoResources.into());
        }
        self.pump_sends(c, env);
        if no_wait {
            self.take_no_more(c, self.connections[c as usize].outflow.next);
        }
        self.wake(Id::Connection(c));
        Ok(Answer::Later)
    }

    /// Queues what fits of the sends that wait.
    pub(crate) fn pump_sends(&mut self, c: u32, env: &mut impl Environment) {
        let connection = &mut self.connections[c as usize];
        let (fate, state) = (connection.fate, connection.state());
        match state {
            State::SynSent | State::SynReceived | State::Listen => return,
            State::Established | State::CloseWait => {
                while self.queue_next(c, env) {}
                return;
            }
            _ => {}
        }
        let status = match (state, fate) {
            (State::Closed, None) => Status::ConnectionAborted,
            (State::Closed, Some(status)) if status != Status::Ok => status,
            _ => Status::BrokenPipe,
        };
        if state == State::Closed {
            self.fail_sends(c, status, env);
            return;
        }
        while let Some(waiting) = {
            let outflow = &mut self.connections[c as usize].outflow;
            outflow.remove(&mut self.pending, outflow.next)
        } {
            self.answer_waiting(&waiting, status, env);
        }
    }

    /// Queues bytes of the first send that is not queued in full; whether it
    /// is now.
    #[inline]
    fn queue_next(&mut self, c: u32, env: &mut impl Environment) -> bool {
        let connection = &mut self.connections[c as usize];
        let slot = connection.outflow.next;
        let Some(waiting) = self.pending.get_mut(slot) else {
            return false;
        };
        if waiting.done == 0 {
            waiting.tag = connection.outflow.write_seq;
        }
        let len = waiting.request.extent.len;
        let queued = connection.enqueue(len - waiting.done);
        waiting.done += queued;
        let (whole, may_hold) = (
            waiting.done == len,
            waiting.request.flags & flags::MAY_HOLD != 0,
        );
        if !whole {
            return false;
        }
        let outflow = &mut self.connections[c as usize].outflow;
        outflow.next = self.pending.after(slot);
        outflow.holdable += u32::from(may_hold && len != 0);
        if len == 0
            && let Some(waiting) = outflow.remove(&mut self.pending, slot)
        {
            self.answer_waiting(&waiting, Status::Ok, env);
        }
        true
    }

    /// A send that is queued in part takes no more bytes; one of which none
    /// is queued is left alone.
    fn take_no_more(&mut self, c: u32, slot: u32) {
        let outflow = &mut self.connections[c as usize].outflow;
        let Some(waiting) = self.pending.get_mut(slot) else {
            return;
        };
        if waiting.done == 0 || outflow.next != slot {
            return;
        }
        waiting.request.extent.len = waiting.done;
        let may_hold = waiting.request.flags & flags::MAY_HOLD != 0;
        outflow.holdable += u32::from(may_hold);
        outflow.next = self.pending.after(slot);
    }

    /// Completes, or retires, the sends that are acknowledged, and completes
    /// those that may be held.
    #[inline]
    pub(crate) fn settle_sends(&mut self, c: u32, env: &mut impl Environment) {
        while self.connections[c as usize]
            .outflow
            .first_is_done(&self.pending)
        {
            self.end_first_send(c, env);
        }
        let outflow = &self.connections[c as usize].outflow;
        if outflow.holdable != 0 && outflow.held < HELD {
            self.hold_sends(c, env);
        }
    }

    /// Ends the first send, all bytes of which are acknowledged.
    fn end_first_send(&mut self, c: u32, env: &mut impl Environment) {
        let outflow = &mut self.connections[c as usize].outflow;
        let Some(waiting) = outflow.pop(&mut self.pending) else {
            return;
        };
        if waiting.held {
            self.retire(waiting.request.user_data, env);
            return;
        }
        if waiting.request.flags & flags::MAY_HOLD != 0 {
            outflow.holdable -= 1;
        }
        self.answer_waiting(&waiting, ended(&waiting), env);
    }

    /// Completes sends of which little is left.
    fn hold_sends(&mut self, c: u32, env: &mut impl Environment) {
        let mut slot = self.connections[c as usize].outflow.list.head;
        loop {
            let outflow = &mut self.connections[c as usize].outflow;
            let Some(waiting) = self.pending.get(slot).copied() else {
                return;
            };
            if slot == outflow.next || outflow.held >= HELD || outflow.holdable == 0 {
                return;
            }
            let end = waiting.tag.wrapping_add(waiting.done);
            let may = waiting.request.flags & flags::MAY_HOLD != 0 && !waiting.held;
            if may && distance(end, outflow.una) <= TAIL && self.pending.hold(slot) {
                outflow.held += 1;
                outflow.holdable -= 1;
                let completion = Completion {
                    len: waiting.done,
                    flags: flags::HELD,
                    arg: outflow.acknowledged(&waiting).into(),
                    ..waiting.request.complete(ended(&waiting))
                };
                self.finish(&waiting.request, &completion, env);
            }
            slot = self.pending.after(slot);
        }
    }

    /// Ends all sends of a connection that sends no more: with what is
    /// acknowledged of them.
    pub(crate) fn fail_sends(&mut self, c: u32, status: Status, env: &mut impl Environment) {
        let end = |waiting: &Waiting| match waiting.cancelled {
            true => Status::Cancelled,
            false if waiting.done == waiting.request.extent.len => Status::Ok,
            false => status,
        };
        self.end_sends(c, env, |server, waiting, env| {
            server.answer_waiting(waiting, end(waiting), env);
        });
    }

    /// Ends all sends of a connection whose client is gone: without a word,
    /// but for those that are held.
    pub(crate) fn forget_sends(&mut self, c: u32, env: &mut impl Environment) {
        self.end_sends(c, env, |_, _, _| ());
    }

    fn end_sends<E: Environment>(
        &mut self,
        c: u32,
        env: &mut E,
        answer: impl Fn(&mut Self, &Waiting, &mut E),
    ) {
        loop {
            let outflow = &mut self.connections[c as usize].outflow;
            let Some(mut waiting) = outflow.pop(&mut self.pending) else {
                outflow.holdable = 0;
                outflow.owed = None;
                return;
            };
            if waiting.held {
                self.retire(waiting.request.user_data, env);
            } else {
                waiting.done = outflow.acknowledged(&waiting);
                answer(self, &waiting, env);
            }
        }
    }

    /// Cancels the send with this token: at once if none of its bytes is
    /// queued. False if there is no such send.
    pub(crate) fn cancel_send(&mut self, c: u32, token: u64, env: &mut impl Environment) -> bool {
        let mut slot = self.connections[c as usize].outflow.list.head;
        while let Some(waiting) = self.pending.get_mut(slot) {
            if waiting.request.user_data == token && !waiting.held {
                waiting.cancelled = true;
                if waiting.done == 0 {
                    let outflow = &mut self.connections[c as usize].outflow;
                    if let Some(waiting) = outflow.remove(&mut self.pending, slot) {
                        self.answer_waiting(&waiting, Status::Cancelled, env);
                    }
                } else {
                    self.take_no_more(c, slot);
                }
                self.wake(Id::Connection(c));
                return true;
            }
            slot = self.pending.after(slot);
        }
        false
    }
}

/// How a send ended all of whose bytes are queued.
fn ended(waiting: &Waiting) -> Status {
    match waiting.cancelled {
        true => Status::Cancelled,
        false => Status::Ok,
    }
}
