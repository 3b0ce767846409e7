//! What to do with each completion.
//!
//! Invariant: a completion counts only if it answers a request that is on its
//! way; whatever else the manager writes is ignored.

use socket_api::{Completion, Op, Status};

use crate::buffers::{NO_UNIT, Standing};
use crate::core_state::Core;
use crate::records::{NONE, flag, kind, owner, progress, state};

const OK: u16 = Status::Ok as u16;
const CANCELLED: u16 = Status::Cancelled as u16;
const UNREACHABLE: u16 = Status::Unreachable as u16;

/// Whether a request failed before any of its data was touched, for a reason
/// that is the request's and not the socket's.
fn was_refused(status: u16) -> bool {
    const REFUSED: [Status; 4] = [
        Status::BadRequest,
        Status::BadSocket,
        Status::QuotaExceeded,
        Status::Unsupported,
    ];
    REFUSED.iter().any(|s| *s as u16 == status)
}

impl Core {
    /// Books one completion. The two that come with every packet, answers to
    /// the library's own sends and receives, are dealt with first.
    #[inline]
    pub fn complete(&mut self, completion: &Completion) {
        let index = completion.user_data as u16;
        let Some(record) = self.records.get_mut(usize::from(index)) else {
            return;
        };
        let waiting = matches!(record.progress, progress::OUTSTANDING | progress::ORPHAN);
        if !waiting || u64::from(record.generation) != completion.user_data >> 32 {
            return;
        }
        const SEND: u16 = Op::Send as u16;
        const RECEIVE: u16 = Op::Recv as u16;
        match (record.owner, record.op) {
            (owner::LIBRARY, SEND) => self.sent(completion.status, index),
            (owner::LIBRARY, RECEIVE) => self.received(completion, index),
            _ => self.complete_other(completion, index),
        }
    }

    /// As [`Core::complete`], for what somebody waits for.
    #[inline(never)]
    fn complete_other(&mut self, completion: &Completion, index: u16) {
        let record = self.record(index);
        // Never more than there is room for, whatever the manager says.
        let (room, socket) = (record.len, record.socket);
        let orphan = record.progress == progress::ORPHAN;
        record.status = completion.status;
        record.flags = completion.flags;
        record.arg = completion.arg;
        record.address = completion.address;
        record.handle = completion.socket;
        record.progress = progress::DONE;
        match Op::from_number(record.op) {
            Some(Op::Recv) => {
                record.len = completion.len.min(room);
                self.received_directly(socket, index, room);
            }
            Some(Op::Send) => {
                record.len = completion.len.min(room);
                self.sent_directly(socket, index, room);
            }
            Some(Op::Accept) => self.accepted(socket, index),
            Some(Op::Close) => {
                self.free_record(index);
                self.free_socket(socket);
            }
            _ => {
                record.len = completion.len;
                if orphan {
                    self.free_with_buffer(index);
                }
            }
        }
    }

    /// A `Recv` into a slot has been answered.
    #[inline]
    fn received(&mut self, completion: &Completion, index: u16) {
        let record = &mut self.records[usize::from(index)];
        let full = completion.len >= record.len;
        // Never more than there is room for, whatever the manager says.
        record.len = completion.len.min(record.len);
        record.status = completion.status;
        record.address = completion.address;
        record.progress = progress::DONE;
        record.next = NONE;
        self.reposted_bytes -= core::mem::take(&mut record.sent);
        let of = record.socket;
        let some = record.len != 0;
        let received = completion.op == Op::Recv as u16;
        if !received && record.status == OK {
            // It was sent, and did not become a `Recv`.
            record.status = CANCELLED;
        }
        let socket = &mut self.sockets[usize::from(of)];
        socket.posted = socket.posted.saturating_sub(1);
        let stream = socket.kind == kind::STREAM;
        let good = received && completion.status == OK && (some || !stream);
        if !good || socket.state != state::OPEN {
            return self.received_nothing(of, index);
        }
        // A stream that fills its buffers gets larger ones.
        if stream && full && socket.order < self.settings.most_stream_order {
            socket.order += 1;
        }
        socket.received += 1;
        let last = core::mem::replace(&mut socket.last, index);
        let silent = socket.poll == 0 || socket.flags & flag::READY != 0;
        match last {
            NONE => socket.first = index,
            last => self.records[usize::from(last)].next = index,
        }
        if !silent {
            self.note_ready(of);
        }
    }

    /// A `Recv` into a slot has been answered without data.
    #[cold]
    fn received_nothing(&mut self, index: u16, record: u16) {
        let status = self.record(record).status;
        self.free_with_buffer(record);
        let socket = self.socket(index);
        if socket.state != state::OPEN {
            return;
        }
        let stream = socket.kind == kind::STREAM;
        if !stream {
            self.owe(index);
        }
        let socket = self.socket(index);
        if stream && status == OK {
            socket.flags |= flag::END;
            socket.flags &= !(flag::POSTS | flag::STARTED);
        } else if stream && status != CANCELLED {
            socket.receive_end = status;
            socket.flags &= !(flag::POSTS | flag::STARTED);
        } else if status != CANCELLED {
            socket.error = status;
        }
        self.note_ready(index);
    }

    /// A `Recv` by address, into `room` bytes, has been answered.
    fn received_directly(&mut self, index: u16, record: u16, room: u32) {
        let (status, len) = (self.record(record).status, self.record(record).len);
        let socket = self.socket(index);
        let stream = socket.kind == kind::STREAM && socket.state == state::OPEN;
        if stream && status == OK && len == 0 && room != 0 {
            socket.flags |= flag::END;
            socket.flags &= !(flag::POSTS | flag::STARTED);
            self.note_ready(index);
        } else if stream && status != OK && status != CANCELLED && !was_refused(status) {
            socket.receive_end = status;
            socket.flags &= !(flag::POSTS | flag::STARTED);
            self.note_ready(index);
        }
        if status == OK {
            self.counters.received_by_address += u64::from(len);
        }
        self.answered(record);
    }

    /// A `Send` from a slot or a buffer has been answered.
    #[inline]
    fn sent(&mut self, status: u16, index: u16) {
        let record = &mut self.records[usize::from(index)];
        let (of, len) = (record.socket, record.len);
        if status != OK || record.after != 0 {
            record.status = status;
            self.sent_otherwise(of, index);
        } else {
            self.free_with_buffer(index);
        }
        self.queued_bytes = self.queued_bytes.saturating_sub(len);
        let socket = &mut self.sockets[usize::from(of)];
        socket.sends = socket.sends.saturating_sub(1);
        socket.queued = socket.queued.saturating_sub(len);
        let heard = socket.poll != 0 && socket.flags & flag::READY == 0;
        if heard || socket.state == state::CLOSING {
            self.after_send(of);
        }
    }

    /// A `Send` from a slot or a buffer failed, or took pages with it.
    #[cold]
    fn sent_otherwise(&mut self, index: u16, record: u16) {
        let (status, after) = (self.record(record).status, self.record(record).after);
        self.moved(record, after);
        let socket = self.socket(index);
        match socket.kind {
            _ if status == OK => {}
            kind::STREAM => socket.send_end = status,
            // One host of many is not there: no error of the socket's.
            _ if status == UNREACHABLE && socket.peer.family == 0 => {}
            _ => socket.error = status,
        }
    }

    /// A `Send` by address, of `len` bytes, has been answered.
    fn sent_directly(&mut self, index: u16, record: u16, len: u32) {
        let (status, done) = (self.record(record).status, self.record(record).len);
        self.counters.sent_by_address += u64::from(done);
        self.account_sent(index, len);
        let socket = self.socket(index);
        let ends = status != OK && status != CANCELLED && !was_refused(status);
        if ends && socket.kind == kind::STREAM {
            socket.send_end = status;
        }
        self.after_send(index);
        self.answered(record);
    }

    /// The block that was sent may have lost its pages.
    fn moved(&mut self, record: u16, after: u16) {
        let r = self.record(record);
        let (unit, order, status) = (r.unit, r.order, r.status);
        r.unit = NO_UNIT;
        let standing = match (Standing::from_number(after), was_refused(status)) {
            (Standing::Partial, _) => Standing::Partial,
            (_, true) => Standing::Mapped,
            (after, false) => after,
        };
        self.buffers.settle(unit, order, standing);
        self.free_record(record);
    }

    /// `len` bytes are no longer on their way.
    #[inline]
    fn account_sent(&mut self, index: u16, len: u32) {
        self.queued_bytes = self.queued_bytes.saturating_sub(len);
        let socket = self.socket(index);
        socket.sends = socket.sends.saturating_sub(1);
        socket.queued = socket.queued.saturating_sub(len);
    }

    /// Who waited for a send may go on.
    #[inline]
    fn after_send(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.state == state::CLOSING {
            self.finish_close(index);
        } else if socket.poll != 0 {
            self.note_ready(index);
        }
    }

    /// Tells the queue that submitted record `record`, if one did.
    fn answered(&mut self, record: u16) {
        let by = self.record(record).owner;
        if by >= owner::QUEUE {
            self.enqueue_done(by - owner::QUEUE, record);
        }
    }

    /// An `Accept` has been answered.
    fn accepted(&mut self, index: u16, record: u16) {
        let (status, handle, peer) = {
            let record = self.record(record);
            (record.status, record.handle, record.address)
        };
        let listener = self.socket(index);
        listener.posted = listener.posted.saturating_sub(1);
        let (open, local) = (listener.state == state::OPEN, listener.local);
        if status != OK {
            if status != CANCELLED {
                listener.error = status;
            }
            self.sockets_used -= 1;
            self.free_record(record);
            self.note_ready(index);
            return;
        }
        // Counted since the `Accept` was submitted, so there is a record.
        let Some(stream) = self.take_socket(kind::STREAM) else {
            self.broken = true;
            self.free_record(record);
            return;
        };
        let order = self.settings.stream_order;
        let socket = self.socket(stream);
        socket.handle = handle;
        socket.peer = peer;
        socket.local = local;
        socket.order = order;
        if open {
            socket.flags |= flag::STARTED;
            self.record(record).accepted = stream;
            self.enqueue(index, record);
            self.note_ready(index);
        } else {
            self.free_record(record);
            self.start_close(stream);
        }
    }
}
