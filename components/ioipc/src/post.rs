//! Requests submitted ahead of time: `Recv`s and `Accept`s.
//!
//! Problem: a receive must find data that is here already without asking
//! anybody, but sockets that wait must not use up slots and buffers that
//! others need. Invariant: the first `Recv` of a socket may take all but a
//! reserve (for sends, and behind that for control), further ones only what is
//! left beyond a quarter; who got none is in the list of those that need
//! attention, and is served when something becomes free. Whoever asks to
//! receive now may use the reserve too, but only for as long as it waits.
//!
//! The first operation that needs receives ahead of time starts them: a
//! registration with a poll, an operation that may not wait, a receive into few
//! bytes. A socket that only ever receives by address (`direct` module) has
//! none, since what they were filled with would have to be copied again.
//!
//! It follows that readiness works for as many sockets as there are requests,
//! less 16; a component that polls more than that needs a larger
//! `requests` quota.

use socket_api::{Op, Passing, Request, Semantics, Status};

use crate::buffers::NO_UNIT;
use crate::core_state::{Core, RESERVE};
use crate::records::{flag, kind, owner, progress, state};

/// How slots of the library are passed, either way.
pub(crate) const SLOT: u32 = Passing::new(Semantics::EmulatedShare).word();

impl Core {
    /// From now on, socket `index` receives ahead of time.
    pub fn start_ahead(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.flags & (flag::STARTED | flag::POSTS) == flag::STARTED {
            socket.flags |= flag::POSTS;
            self.post(index);
        }
    }

    /// Socket `index` no longer receives ahead of time: has what is on its way
    /// come back unfilled, as far as there are free requests. True once nothing
    /// is on its way.
    pub fn stop_ahead(&mut self, index: u16) -> bool {
        let socket = self.socket(index);
        socket.flags &= !flag::POSTS;
        if socket.posted == 0 {
            return true;
        }
        for record in 0..self.records.len() as u16 {
            let r = self.record(record);
            let ours = r.socket == index && r.owner == owner::LIBRARY;
            let waits = r.progress == progress::OUTSTANDING && r.op == Op::Recv as u16;
            if ours && waits && r.cancelled == 0 && self.submit_cancel(record).is_none() {
                return false;
            }
        }
        false
    }

    /// Asks for the request of record `record` to be cancelled; `None` if there
    /// is no free request to ask with.
    pub fn submit_cancel(&mut self, record: u16) -> Option<()> {
        let r = self.record(record);
        if r.progress == progress::DONE || r.cancelled != 0 {
            return Some(());
        }
        let index = r.socket;
        let user_data = u64::from(r.generation) << 32 | u64::from(record);
        let mut request = self.request(Op::Cancel, index);
        request.arg = user_data;
        let answer = self.submit(request, index, NO_UNIT, 0)?;
        self.record(answer).progress = progress::ORPHAN;
        self.record(record).cancelled = 1;
        Some(())
    }

    /// Submits what socket `index` should have submitted ahead of time.
    pub fn post(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.flags & flag::POSTS == 0 || socket.state != state::OPEN {
            return;
        }
        match socket.kind {
            kind::LISTENER => self.post_accepts(index),
            _ => self.post_receives(index, false),
        }
    }

    /// As [`Core::post`], for somebody who wants to receive now: the first
    /// `Recv` may take from the reserve.
    pub fn post_now(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.flags & flag::STARTED != 0 && socket.kind != kind::LISTENER {
            socket.flags |= flag::POSTS;
            self.post_receives(index, true);
        }
    }

    fn post_receives(&mut self, index: u16, now: bool) {
        let socket = self.socket(index);
        let (udp, order) = (socket.kind == kind::UDP, socket.order);
        let depth = match udp {
            true => self.settings.datagrams,
            // Once it has shown that it fills buffers, twice as many.
            false if order > self.settings.stream_order => 2 * self.settings.stream_receives,
            false => self.settings.stream_receives,
        };
        loop {
            let socket = self.socket(index);
            let held = socket.posted + socket.received;
            if held >= depth {
                return;
            }
            let unit = match (now && held == 0) || self.may_post(held == 0) {
                true => self.buffers.alloc(order),
                false => None,
            };
            let Some(unit) = unit else {
                if held == 0 {
                    self.need_attention(index);
                }
                return;
            };
            let request = self.receive_request(index, unit, order);
            if self.submit(request, index, unit, order).is_none() {
                self.buffers.free(unit, order);
                return;
            }
            self.socket(index).posted += 1;
        }
    }

    /// Whether slots and buffers allow one more receive.
    #[inline]
    fn may_post(&self, first: bool) -> bool {
        let free = self.free_record_count;
        let units = self.buffers.free_units();
        if first {
            free > 2 * RESERVE && units > self.buffers.total_units() >> 3
        } else {
            // A quarter beyond what the first receives of others need: an
            // idle socket's second one must not keep another from its first.
            free > 2 * RESERVE + (self.quota.requests >> 2)
                && units > self.buffers.total_units() >> 2
        }
    }

    /// Submits `Recv` again with record `record` and its buffer, after its
    /// contents were taken; frees both if the socket no longer wants it.
    #[inline]
    pub fn repost(&mut self, index: u16, record: u16) {
        let order = self.record(record).order;
        let scarce = self.free_record_count < 2 * RESERVE;
        let socket = self.socket(index);
        if socket.flags & flag::POSTS == 0 || socket.order != order || scarce {
            self.free_with_buffer(record);
            self.post(index);
            return;
        }
        socket.posted += 1;
        let unit = self.record(record).unit;
        let request = self.receive_request(index, unit, order);
        self.resubmit(record, request);
    }

    /// A `Recv` into a slot. The slot is the library's, so nobody touches it
    /// before the answer: in place will do.
    #[inline]
    fn receive_request(&mut self, index: u16, unit: u32, order: u16) -> Request {
        let mut request = self.request(Op::Recv, index);
        request.extent = self.buffers.extent(unit, 0, self.buffers.bytes(order));
        request.passing = SLOT;
        request
    }

    /// Takes the buffer of answered record `record` away, and submits the
    /// `Recv` again with another one if there is one.
    #[inline]
    pub fn replace(&mut self, index: u16, record: u16) {
        let order = self.record(record).order;
        let scarce = self.free_record_count < 2 * RESERVE;
        let socket = self.socket(index);
        let again = socket.flags & flag::POSTS != 0 && socket.order == order && !scarce;
        let unit = match again {
            true => self.buffers.alloc(order),
            false => None,
        };
        let Some(unit) = unit else {
            self.record(record).unit = NO_UNIT;
            self.free_record(record);
            self.post(index);
            return;
        };
        self.socket(index).posted += 1;
        self.record(record).unit = unit;
        let request = self.receive_request(index, unit, order);
        self.resubmit(record, request);
    }

    fn post_accepts(&mut self, index: u16) {
        loop {
            let depth = self.settings.accepts.min(self.socket(index).backlog);
            if self.socket(index).posted >= depth {
                return;
            }
            // Each may make a socket, which the quota must allow.
            let room = usize::from(self.sockets_used) < self.sockets.len();
            if !room || self.free_record_count <= 2 * RESERVE {
                if self.socket(index).posted == 0 {
                    self.need_attention(index);
                }
                return;
            }
            let request = self.request(Op::Accept, index);
            if self.submit(request, index, NO_UNIT, 0).is_none() {
                return;
            }
            self.sockets_used += 1;
            self.socket(index).posted += 1;
        }
    }

    /// Serves sockets that wait for slots or buffers, until one goes empty
    /// again.
    pub fn attend(&mut self) {
        for _ in 0..self.sockets.len() {
            let Some(index) = self.pop_attention() else {
                return;
            };
            match self.socket(index).state {
                state::CLOSING => self.finish_close(index),
                state::OPEN => {
                    self.post(index);
                    self.note_ready(index);
                }
                _ => {}
            }
            if self.socket(index).flags & flag::ATTENTION != 0 {
                return;
            }
        }
    }

    /// Takes the status to be reported once by socket `index`.
    #[inline]
    pub fn take_error(&mut self, index: u16) -> Option<u16> {
        let error = core::mem::take(&mut self.socket(index).error);
        (error != Status::Ok as u16).then_some(error)
    }
}
