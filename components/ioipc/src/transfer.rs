//! Sending and receiving through slots: bytes are copied to and from them.
//!
//! Invariant: each function does all of it or says that it cannot now
//! (`None`), without waiting; waiting is the caller's.

use socket_api::{Op, WireAddress, flags};

use crate::core_state::{Core, RESERVE};
use crate::error::{Error, Result};
use crate::memory::{Sink, Source};
use crate::post::SLOT;
use crate::records::{SocketRecord, flag, kind};

/// The longest datagram (RFC 768, RFC 791).
pub(crate) const MOST_DATAGRAM: usize = 65_507;
/// Sends that a stream may have on their way, however few requests there are.
const LEAST_SHARE: u16 = 4;

/// What was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// Bytes copied, or delivered by address.
    pub len: usize,
    /// The datagram's sender; none for streams.
    pub from: WireAddress,
}

impl Core {
    /// Takes, or with `peek` copies, the oldest datagram that came ahead of
    /// time.
    #[inline]
    pub fn receive_datagram<S: Sink + ?Sized>(
        &mut self,
        index: u16,
        sink: &mut S,
        peek: bool,
    ) -> Option<Result<Arrived>> {
        let first = self.socket(index).first;
        let Some(record) = self.records.get(usize::from(first)) else {
            let error = self.take_error(index);
            return error.map(|e| Err(Error::from_status(e)));
        };
        let len = sink.len().min(record.len as usize);
        let from = record.address;
        if !sink.take(0, len, &mut self.buffers, record.unit, 0) {
            return Some(Err(Error::BROKEN));
        }
        self.counters.copied_in += len as u64;
        if !peek {
            self.dequeue(index);
            self.repost(index, first);
        }
        Some(Ok(Arrived { len, from }))
    }

    /// Takes, or with `peek` copies, what a stream has received ahead of time;
    /// 0 bytes at its end.
    #[inline]
    pub fn receive_stream<S: Sink + ?Sized>(
        &mut self,
        index: u16,
        sink: &mut S,
        peek: bool,
    ) -> Option<Result<Arrived>> {
        let arrived = |len| Arrived {
            len,
            from: WireAddress::NONE,
        };
        if sink.len() == 0 {
            return Some(Ok(arrived(0)));
        }
        let mut done = 0;
        while done < sink.len() {
            let socket = &mut self.sockets[usize::from(index)];
            let first = socket.first;
            let Some(record) = self.records.get(usize::from(first)) else {
                break;
            };
            let skip = socket.consumed;
            let left = record.len.saturating_sub(skip);
            let len = (left as usize).min(sink.len() - done);
            if !sink.take(done, len, &mut self.buffers, record.unit, skip) {
                return Some(Err(Error::BROKEN));
            }
            done += len;
            if peek {
                break;
            }
            if len < left as usize {
                socket.consumed += len as u32;
                break;
            }
            socket.consumed = 0;
            self.dequeue(index);
            self.repost(index, first);
        }
        if done != 0 {
            self.counters.copied_in += done as u64;
            return Some(Ok(arrived(done)));
        }
        self.stream_end(index).map(|end| end.map(|()| arrived(0)))
    }

    /// Why a stream without received bytes yields no more, if it does not.
    pub fn stream_end(&mut self, index: u16) -> Option<Result<()>> {
        let socket = self.socket(index);
        if socket.flags & (flag::END | flag::READ_SHUT) != 0 {
            return Some(Ok(()));
        }
        if socket.receive_end != 0 {
            return Some(Err(Error::from_status(socket.receive_end)));
        }
        None
    }

    /// Why a datagram of `len` bytes cannot be sent at all, if it cannot.
    #[inline]
    pub fn datagram_error(&mut self, index: u16, len: usize) -> Option<Error> {
        let most = (self.quota.queued_bytes as usize).min(MOST_DATAGRAM);
        match self.socket(index).error == 0 && len <= most {
            true => None,
            false => Some(self.why_not_datagram(index, len)),
        }
    }

    #[cold]
    fn why_not_datagram(&mut self, index: u16, len: usize) -> Error {
        match self.take_error(index) {
            Some(error) => Error::from_status(error),
            None if len > MOST_DATAGRAM => Error::TOO_LONG,
            None => Error::BEYOND_QUOTA,
        }
    }

    /// Sends one datagram, to the connected peer if `to` is none.
    #[inline]
    pub fn send_datagram<S: Source>(
        &mut self,
        index: u16,
        source: S,
        to: WireAddress,
    ) -> Option<Result<usize>> {
        let len = source.len();
        if let Some(error) = self.datagram_error(index, len) {
            return Some(Err(error));
        }
        let Some(order) = self.buffers.order_for(len) else {
            return Some(Err(Error::TOO_LONG));
        };
        if !self.may_send(index, len as u32) {
            return None;
        }
        self.send_chunk(index, source, (0, len), order, to, 0)
            .then_some(Ok(len))
    }

    /// Why nothing can be appended to a stream, or nothing need be.
    #[inline]
    pub fn stream_error(&mut self, index: u16, len: usize) -> Option<Result<usize>> {
        let socket = self.socket(index);
        if socket.flags & flag::WRITE_SHUT != 0 {
            return Some(Err(Error::PIPE));
        }
        if socket.send_end != 0 {
            return Some(Err(Error::from_status(socket.send_end)));
        }
        (len == 0).then_some(Ok(0))
    }

    /// Flags of a socket's sends.
    #[inline]
    pub fn send_flags(&mut self, index: u16) -> u16 {
        match self.socket(index).flags & flag::NO_DELAY {
            0 => 0,
            _ => flags::NO_DELAY,
        }
    }

    /// Appends as much to a stream as may be queued now.
    #[inline]
    pub fn send_stream<S: Source>(&mut self, index: u16, source: S) -> Option<Result<usize>> {
        let all = source.len();
        if let Some(end) = self.stream_error(index, all) {
            return Some(end);
        }
        let no_delay = self.send_flags(index);
        let mut done = 0;
        while done < all && self.may_send(index, 1) {
            let room = self.send_room(index) as usize;
            let len = self.slotful(room.min(all - done));
            match self.send_smaller(index, source, (done, len), no_delay) {
                0 => break,
                len => done += len,
            }
        }
        (done != 0).then_some(Ok(done))
    }

    /// How many of `len` bytes go into one slot: all, if they fill most of one.
    fn slotful(&self, len: usize) -> usize {
        let most = self.settings.most_send_order;
        let order = self
            .buffers
            .order_for(len)
            .map_or(most, |own| own.min(most));
        let slot = self.buffers.bytes(order) as usize;
        match order != 0 && len < slot / 4 * 3 {
            true => slot / 2,
            false => len.min(slot),
        }
    }

    /// Sends `part` (offset and length), or as much of it as a slot can be had
    /// for; how much.
    #[inline]
    fn send_smaller<S: Source>(
        &mut self,
        index: u16,
        source: S,
        part: (usize, usize),
        no_delay: u16,
    ) -> usize {
        let largest = self.buffers.order_for(part.1).unwrap_or(0);
        for order in (0..=largest).rev() {
            let len = part.1.min(self.buffers.bytes(order) as usize);
            let part = (part.0, len);
            if self.send_chunk(index, source, part, order, WireAddress::NONE, no_delay) {
                return len;
            }
        }
        0
    }

    /// Copies `part` (offset and length) into a slot and submits it.
    #[inline]
    fn send_chunk<S: Source>(
        &mut self,
        index: u16,
        source: S,
        part: (usize, usize),
        order: u16,
        to: WireAddress,
        send_flags: u16,
    ) -> bool {
        let Some(unit) = self.buffers.alloc(order) else {
            self.starved = true;
            return false;
        };
        let (at, len) = part;
        let mut request = self.request(Op::Send, index);
        request.extent = self.buffers.extent(unit, 0, len as u32);
        request.address = to;
        request.flags = send_flags | flags::QUIET;
        request.passing = SLOT;
        let filled = source.fill(at, len, &mut self.buffers, unit);
        if !filled || self.submit(request, index, unit, order).is_none() {
            self.buffers.free(unit, order);
            self.starved = true;
            return false;
        }
        self.counters.copied_out += len as u64;
        self.note_sent(index, len as u32);
        true
    }

    /// `len` bytes are on their way.
    #[inline]
    pub fn note_sent(&mut self, index: u16, len: u32) {
        self.queued_bytes += len;
        let socket = self.socket(index);
        socket.sends += 1;
        socket.queued += len;
    }

    /// Whether `len` bytes may be copied to a slot and queued on socket `index`
    /// now.
    #[inline]
    pub fn may_send(&mut self, index: u16, len: u32) -> bool {
        let slot = self.buffers.free_units() != 0;
        self.starved |= !slot;
        slot && self.may_request_send(index, len)
    }

    /// Whether `len` bytes may be queued on socket `index` now. A stream's sends
    /// wait for its peer to acknowledge them, so one stream gets no more than a
    /// share of the requests.
    #[inline]
    pub fn may_request_send(&mut self, index: u16, len: u32) -> bool {
        let socket = &self.sockets[usize::from(index)];
        let share = (self.quota.requests >> 3).max(LEAST_SHARE);
        let has_share = socket.kind != kind::STREAM || socket.sends < share;
        let room = self.quota_room().min(self.room_of(socket));
        let may = has_share && room >= len && self.free_record_count > RESERVE;
        let wanted = if may { 0 } else { len };
        self.socket(index).wanted = wanted;
        self.starved |= !may;
        may
    }

    /// Bytes that may be queued, by the socket's limit and by the quota.
    #[inline]
    pub fn send_room(&mut self, index: u16) -> u32 {
        self.quota_room()
            .min(self.room_of(&self.sockets[usize::from(index)]))
    }

    /// Bytes that the socket's own limit allows: everything, if nothing is
    /// queued.
    #[inline]
    fn room_of(&self, socket: &SocketRecord) -> u32 {
        match socket.queued {
            0 => u32::MAX,
            queued => self.settings.queued_bytes.saturating_sub(queued),
        }
    }

    /// Bytes that the quota allows.
    #[inline]
    pub fn quota_room(&self) -> u32 {
        let queued = self.queued_bytes + self.reposted_bytes;
        self.quota.queued_bytes.saturating_sub(queued)
    }
}
