//! Sending and receiving: from the application's buffers and to them.
//!
//! Invariant: each function does all of it or says that it cannot now
//! (`None`), without waiting; waiting is the caller's.

use socket_api::{Op, WireAddress, flags};

use crate::core_state::{Core, RESERVE};
use crate::error::{Error, ErrorKind, Result};
use crate::records::flag;

/// The longest datagram (RFC 768, RFC 791).
const MOST_DATAGRAM: usize = 65_507;

/// A datagram as received.
pub(crate) struct Datagram {
    /// Bytes copied.
    pub len: usize,
    pub from: WireAddress,
}

impl Core {
    /// Takes, or with `peek` copies, the oldest datagram.
    #[inline]
    pub fn receive_datagram(
        &mut self,
        index: u16,
        buf: &mut [u8],
        peek: bool,
    ) -> Option<Result<Datagram>> {
        let first = self.socket(index).first;
        let Some(record) = self.records.get(usize::from(first)) else {
            let error = self.take_error(index);
            self.post_now(index);
            return error.map(|e| Err(Error::from_status(e)));
        };
        let len = buf.len().min(record.len as usize);
        let from = record.address;
        let copied = buf
            .get_mut(..len)
            .is_some_and(|into| self.buffers.take(record.unit, 0, into));
        if !copied {
            return Some(Err(Error::BROKEN));
        }
        if !peek {
            self.dequeue(index);
            self.repost(index, first);
        }
        Some(Ok(Datagram { len, from }))
    }

    /// Takes, or with `peek` copies, what a stream has received; 0 bytes at
    /// its end.
    #[inline]
    pub fn receive_stream(
        &mut self,
        index: u16,
        buf: &mut [u8],
        peek: bool,
    ) -> Option<Result<usize>> {
        if buf.is_empty() {
            return Some(Ok(0));
        }
        let mut done = 0;
        while done < buf.len() {
            let socket = &mut self.sockets[usize::from(index)];
            let first = socket.first;
            let Some(record) = self.records.get(usize::from(first)) else {
                break;
            };
            let skip = socket.consumed;
            let left = record.len.saturating_sub(skip);
            let len = (left as usize).min(buf.len() - done);
            if !self
                .buffers
                .take(record.unit, skip, &mut buf[done..done + len])
            {
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
            return Some(Ok(done));
        }
        self.stream_end(index)
    }

    /// Why a stream without received bytes yields no more, if it does not.
    fn stream_end(&mut self, index: u16) -> Option<Result<usize>> {
        let socket = self.socket(index);
        if socket.flags & (flag::END | flag::READ_SHUT) != 0 {
            return Some(Ok(0));
        }
        if socket.receive_end != 0 {
            return Some(Err(Error::from_status(socket.receive_end)));
        }
        self.post_now(index);
        None
    }

    /// Sends one datagram, to the connected peer if `to` is none.
    #[inline]
    pub fn send_datagram(
        &mut self,
        index: u16,
        buf: &[u8],
        to: WireAddress,
    ) -> Option<Result<usize>> {
        if let Some(error) = self.take_error(index) {
            return Some(Err(Error::from_status(error)));
        }
        let order = self.buffers.order_for(buf.len());
        let Some(order) = order.filter(|_| buf.len() <= MOST_DATAGRAM) else {
            let error = Error::new(ErrorKind::InvalidInput, "message too long");
            return Some(Err(error));
        };
        if buf.len() as u32 > self.quota.queued_bytes {
            let error = Error::new(ErrorKind::QuotaExceeded, "longer than queued-bytes");
            return Some(Err(error));
        }
        if !self.may_send(index, buf.len() as u32) {
            return None;
        }
        self.send_chunk(index, buf, order, to, 0)
            .then_some(Ok(buf.len()))
    }

    /// Appends as much of `buf` to a stream as may be queued now.
    #[inline]
    pub fn send_stream(&mut self, index: u16, buf: &[u8]) -> Option<Result<usize>> {
        let socket = self.socket(index);
        if socket.flags & flag::WRITE_SHUT != 0 {
            return Some(Err(Error::PIPE));
        }
        if socket.send_end != 0 {
            return Some(Err(Error::from_status(socket.send_end)));
        }
        if buf.is_empty() {
            return Some(Ok(0));
        }
        let no_delay = match socket.flags & flag::NO_DELAY {
            0 => 0,
            _ => flags::NO_DELAY,
        };
        let most = self.buffers.bytes(self.settings.most_stream_order);
        let mut done = 0;
        while done < buf.len() && self.may_send(index, 1) {
            let room = self.send_room(index).min(most) as usize;
            let chunk = &buf[done..buf.len().min(done + room)];
            let order = self.buffers.order_for(chunk.len()).unwrap_or(0);
            if !self.send_smaller(index, chunk, order, no_delay, &mut done) {
                break;
            }
        }
        (done != 0).then_some(Ok(done))
    }

    /// Sends `chunk`, or as much of it as a buffer can be had for.
    #[inline]
    fn send_smaller(
        &mut self,
        index: u16,
        chunk: &[u8],
        order: u16,
        no_delay: u16,
        done: &mut usize,
    ) -> bool {
        for order in (0..=order).rev() {
            let len = chunk.len().min(self.buffers.bytes(order) as usize);
            if self.send_chunk(index, &chunk[..len], order, WireAddress::NONE, no_delay) {
                *done += len;
                return true;
            }
        }
        false
    }

    /// Copies `bytes` into a buffer and submits them.
    #[inline]
    fn send_chunk(
        &mut self,
        index: u16,
        bytes: &[u8],
        order: u16,
        to: WireAddress,
        send_flags: u16,
    ) -> bool {
        let Some(unit) = self.buffers.alloc(order) else {
            self.starved = true;
            return false;
        };
        let len = bytes.len() as u32;
        let mut request = self.request(Op::Send, index);
        request.extent = self.buffers.extent(unit, len);
        request.address = to;
        request.flags = send_flags | flags::QUIET;
        if !self.buffers.fill(unit, bytes) || self.submit(request, index, unit, order).is_none() {
            self.buffers.free(unit, order);
            self.starved = true;
            return false;
        }
        self.queued_bytes += len;
        let socket = self.socket(index);
        socket.sends += 1;
        socket.queued += len;
        true
    }

    /// Whether `len` bytes may be queued on socket `index` now.
    #[inline]
    pub fn may_send(&mut self, index: u16, len: u32) -> bool {
        let may = self.send_room(index) >= len
            && self.free_record_count > RESERVE
            && self.buffers.free_units() != 0;
        self.starved |= !may;
        may
    }

    /// Bytes that may be queued, by the socket's limit and by the quota. A
    /// socket with nothing queued may send what the quota allows.
    #[inline]
    fn send_room(&mut self, index: u16) -> u32 {
        let quota = self.quota.queued_bytes.saturating_sub(self.queued_bytes);
        let queued = self.socket(index).queued;
        let most = match queued {
            0 => u32::MAX,
            queued => self.settings.queued_bytes.saturating_sub(queued),
        };
        quota.min(most)
    }
}
