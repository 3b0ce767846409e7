//! Requests submitted ahead of time: `Recv`s and `Accept`s.
//!
//! Problem: a receive must find data that is here already without asking
//! anybody, but sockets that wait must not use up slots and buffers that
//! others need. Invariant: the first `Recv` of a socket may take all but a
//! reserve (for sends, and behind that for control), further ones only what is left beyond a quarter; who got none is
//! in the list of those that need attention, and is served when something
//! becomes free. Whoever asks to receive now may use the reserve too, but
//! only for as long as it waits.
//!
//! It follows that readiness works for as many sockets as there are requests,
//! less 16; a component that polls more than that needs a larger
//! `requests` quota.

use socket_api::{Op, Status};

use crate::buffers::NO_UNIT;
use crate::core_state::{Core, RESERVE};
use crate::records::{flag, kind, state};

impl Core {
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
        if socket.flags & flag::POSTS != 0 && socket.kind != kind::LISTENER {
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
            let mut request = self.request(Op::Recv, index);
            request.extent = self.buffers.extent(unit, self.buffers.bytes(order));
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
        let mut request = self.request(Op::Recv, index);
        let unit = self.record(record).unit;
        request.extent = self.buffers.extent(unit, self.buffers.bytes(order));
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
