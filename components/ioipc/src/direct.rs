//! Sending and receiving by address: the application's own bytes are named in
//! the request.
//!
//! Problem: a blocking call may let the I/O manager work on the caller's buffer
//! itself, which saves the copy to or from a slot, but costs a wait for the
//! answer. Invariant: no function here returns while a request names the
//! caller's buffer: when the time is over the request is cancelled, and its
//! answer, which tells how much was done, is waited for. Only a manager that
//! broke its ring is not waited for; it is trusted with all our memory anyway.
//!
//! What goes by address: any length, if semantics were named; else datagrams of
//! [`Settings::datagram_by_address`] bytes or more, streams' writes of
//! [`Settings::stream_by_address`] or more, receives into
//! [`Settings::receive_by_address`] or more. A buffer that has no address for
//! the manager, or that it refuses, goes through slots.
//!
//! [`Settings::datagram_by_address`]: crate::Settings::datagram_by_address
//! [`Settings::stream_by_address`]: crate::Settings::stream_by_address
//! [`Settings::receive_by_address`]: crate::Settings::receive_by_address

use core::mem::offset_of;

use socket_api::{Completion, Extent, Op, Passing, Request, Status, WireAddress, flags};

use crate::buffers::NO_UNIT;
use crate::core_state::{Core, RESERVE};
use crate::error::{Error, Result};
use crate::memory::{Sink, Source};
use crate::records::{flag, owner, progress};
use crate::stack::{Stack, Wait};
use crate::transfer::Arrived;

/// What became of the attempt to begin.
pub(crate) enum Begun<T> {
    /// It needed nobody: this is the outcome.
    Done(Result<T>),
    /// The request is on its way.
    Started(u16),
    /// The buffer has no address.
    Nameless,
}

impl Core {
    /// Whether a send of `len` bytes goes by address.
    #[inline]
    pub fn sends_by_address(&mut self, index: u16, stream: bool, len: usize, word: u32) -> bool {
        let least = match stream {
            true => self.settings.stream_by_address,
            false => self.settings.datagram_by_address,
        };
        if word == 0 && len < least as usize {
            return false;
        }
        len != 0 && self.socket(index).flags & flag::NON_BLOCKING == 0
    }

    /// Whether a receive into `len` bytes goes by address. Never of a socket in
    /// a poll, whose readiness hangs on receives ahead of time.
    #[inline]
    pub fn receives_by_address(&mut self, index: u16, stream: bool, len: usize, word: u32) -> bool {
        let ahead = self.settings.receive_ahead;
        if word == 0 && ahead && len < self.settings.receive_by_address as usize {
            return false;
        }
        let order = self.socket(index).order;
        // A slot that holds a datagram of that length saves waiting.
        let in_slot = !stream && len <= self.buffers.bytes(order) as usize;
        let socket = self.socket(index);
        let waits = socket.flags & flag::NON_BLOCKING == 0;
        waits && len != 0 && (word != 0 || socket.poll == 0 && !(ahead && in_slot))
    }

    /// `BLOCKED`, if a buffer that is `private` to the component is safe from
    /// others while this thread waits.
    pub fn blocked(&self, private: bool) -> u16 {
        match private && self.asynchronous == 0 && self.platform.is_single_threaded() {
            true => flags::BLOCKED,
            false => 0,
        }
    }

    /// Submits `request` for somebody who waits; `None` if requests are scarce.
    pub fn submit_for(&mut self, request: Request, index: u16, by: u16) -> Option<u16> {
        if self.free_record_count <= RESERVE {
            self.starved = true;
            return None;
        }
        let record = self.submit(request, index, NO_UNIT, 0)?;
        self.record(record).owner = by;
        Some(record)
    }

    /// How many of `len` bytes the quota allows to be sent by address; of a
    /// stream's not too few at a time.
    fn part_to_send(&mut self, stream: bool, len: usize) -> Option<u32> {
        let whole = len.min(self.quota.queued_bytes as usize) as u32;
        let least = match stream {
            true => whole.min(self.settings.stream_by_address),
            false => whole,
        };
        let part = whole.min(self.quota_room());
        self.starved |= part < least;
        (part >= least).then_some(part)
    }

    /// Begins to send, as much as the quota allows of a stream's bytes.
    fn begin_send<const STREAM: bool, S: Source>(
        &mut self,
        index: u16,
        source: S,
        to: WireAddress,
        word: u32,
    ) -> Option<Begun<usize>> {
        let len = source.len();
        let failed = match STREAM {
            true => self.stream_error(index, len),
            false => self.datagram_error(index, len).map(Err),
        };
        if let Some(result) = failed {
            return Some(Begun::Done(result));
        }
        let len = self.part_to_send(STREAM, len)?;
        let Some(extent) = source.extent(self.platform) else {
            return Some(Begun::Nameless);
        };
        let request = Request {
            flags: self.send_flags(index) | self.blocked(source.is_private()),
            extent: Extent { len, ..extent },
            address: to,
            passing: word,
            ..self.request(Op::Send, index)
        };
        let record = self.submit_for(request, index, owner::CALLER)?;
        self.note_sent(index, len);
        Some(Begun::Started(record))
    }

    /// Begins to receive, unless something came ahead of time. What is still on
    /// its way ahead of time is filled first; with `exactly` it comes back
    /// unfilled if that is still possible.
    fn begin_receive<const STREAM: bool, S: Sink + ?Sized>(
        &mut self,
        index: u16,
        sink: &mut S,
        word: u32,
        exactly: bool,
    ) -> Option<Begun<Arrived>> {
        self.socket(index).flags &= !flag::POSTS;
        let ended = !exactly || self.stop_ahead(index);
        let had = match STREAM {
            true => self.receive_stream(index, sink, false),
            false => self.receive_datagram(index, sink, false),
        };
        if let Some(result) = had {
            return Some(Begun::Done(result));
        }
        if !ended || self.socket(index).posted != 0 {
            return None;
        }
        let Some(extent) = sink.extent(self.platform) else {
            return Some(Begun::Nameless);
        };
        let request = Request {
            flags: self.blocked(sink.is_private()),
            extent,
            passing: word,
            ..self.request(Op::Recv, index)
        };
        let record = self.submit_for(request, index, owner::CALLER)?;
        Some(Begun::Started(record))
    }
}

/// Whether the manager does not take the buffer.
pub(crate) fn is_extent_refused(completion: &Completion) -> bool {
    completion.status == Status::BadRequest as u16
        && completion.arg == offset_of!(Request, extent) as u64
}

impl Stack {
    /// Waits for the answer in record `record`; cancels the request when the
    /// time is over, and waits for the answer to that. Whether it was, and the
    /// answer.
    pub(crate) fn finish(&self, record: u16, wait: Wait) -> Result<(bool, Completion)> {
        let answer = |core: &mut Core| {
            let done = core.record(record).progress == progress::DONE;
            done.then(|| core.take_answer(record))
        };
        match self.block(wait, true, answer) {
            Err(e) if e == Error::TIMED_OUT || e == Error::WOULD_BLOCK => {}
            answered => return answered.map(|completion| (false, completion)),
        }
        self.block(Wait::Forever, true, |core| core.submit_cancel(record))?;
        let completion = self.block(Wait::Forever, false, answer)?;
        self.with(|core| core.counters.cancelled += 1);
        Ok((true, completion))
    }

    /// Sends by address; `None` if the buffer has to go through slots.
    ///
    /// # Errors
    /// What the answer or waiting says, if nothing was sent.
    pub(crate) fn send_by_address<const STREAM: bool, S: Source>(
        &self,
        index: u16,
        source: S,
        to: WireAddress,
        word: u32,
        wait: Wait,
    ) -> Result<Option<usize>> {
        let wait = self.until(wait);
        let begun = self.block(wait, true, |core| {
            core.begin_send::<STREAM, S>(index, source, to, word)
        })?;
        let record = match begun {
            Begun::Done(result) => return result.map(Some),
            Begun::Nameless => return Ok(None),
            Begun::Started(record) => record,
        };
        let (cancelled, completion) = self.finish(record, wait)?;
        let len = completion.len as usize;
        let ok = completion.status == Status::Ok as u16;
        if ok || (STREAM && len != 0) {
            return Ok(Some(len));
        }
        self.refused_or_failed(cancelled, &completion)
    }

    /// Receives by address; `None` if the buffer has to be filled from slots.
    ///
    /// # Errors
    /// What the answer or waiting says.
    pub(crate) fn receive_by_address<const STREAM: bool, S: Sink + ?Sized>(
        &self,
        index: u16,
        sink: &mut S,
        word: u32,
        wait: Wait,
    ) -> Result<Option<Arrived>> {
        let wait = self.until(wait);
        let exactly = word != 0 || sink.prefers_address();
        let begun = self.block(wait, true, |core| {
            core.begin_receive::<STREAM, S>(index, sink, word, exactly)
        })?;
        let record = match begun {
            Begun::Done(result) => return result.map(Some),
            Begun::Nameless => return Ok(None),
            Begun::Started(record) => record,
        };
        let answer = self.finish(record, wait);
        sink.reclaim();
        let (cancelled, completion) = answer?;
        if completion.status == Status::Ok as u16 {
            return Ok(Some(Arrived {
                len: completion.len as usize,
                from: completion.address,
            }));
        }
        self.refused_or_failed(cancelled, &completion)
    }

    /// `None` if the manager does not take the buffer.
    fn refused_or_failed<T>(&self, cancelled: bool, completion: &Completion) -> Result<Option<T>> {
        if is_extent_refused(completion) {
            self.with(|core| core.counters.refused += 1);
            return Ok(None);
        }
        Err(failure(cancelled, completion))
    }

    /// Sends, by address or through slots.
    ///
    /// # Errors
    /// As the sockets' functions say.
    #[inline]
    pub(crate) fn send<const STREAM: bool, S: Source>(
        &self,
        index: u16,
        source: S,
        to: WireAddress,
        passing: Option<Passing>,
    ) -> Result<usize> {
        let mut core = self.lock();
        let word = passing.map_or(core.socket(index).passing.send, Passing::word);
        let explicit = word | u32::from(source.prefers_address());
        let direct = core.sends_by_address(index, STREAM, source.len(), explicit);
        let now = match (direct, STREAM) {
            (true, _) => None,
            (false, true) => core.send_stream(index, source),
            (false, false) => core.send_datagram(index, source, to),
        };
        if let Some(sent) = now {
            self.leave(core, true);
            return sent;
        }
        let record = core.socket(index);
        let wait = Wait::of_socket(record.flags, record.write_timeout);
        drop(core);
        if direct {
            application_allocated(word)?;
            let sent = self.send_by_address::<STREAM, S>(index, source, to, word, wait)?;
            if let Some(len) = sent {
                return Ok(len);
            }
        }
        self.block(wait, true, |core| match STREAM {
            true => core.send_stream(index, source),
            false => core.send_datagram(index, source, to),
        })?
    }

    /// Receives, by address or from slots; with `peek` leaves it there.
    ///
    /// # Errors
    /// As the sockets' functions say.
    #[inline]
    pub(crate) fn receive<const STREAM: bool, S: Sink + ?Sized>(
        &self,
        index: u16,
        sink: &mut S,
        passing: Option<Passing>,
        peek: bool,
    ) -> Result<Arrived> {
        let mut core = self.lock();
        let record = core.socket(index);
        let wait = Wait::of_socket(record.flags, record.read_timeout);
        let word = passing.map_or(record.passing.receive, Passing::word);
        let explicit = word | u32::from(sink.prefers_address());
        if !peek && core.receives_by_address(index, STREAM, sink.len(), explicit) {
            drop(core);
            application_allocated(word)?;
            let got = self.receive_by_address::<STREAM, S>(index, sink, word, wait)?;
            if let Some(arrived) = got {
                return Ok(arrived);
            }
            core = self.lock();
        }
        self.block_with(core, wait, false, |core| {
            let had = match STREAM {
                true => core.receive_stream(index, sink, peek),
                false => core.receive_datagram(index, sink, peek),
            };
            if had.is_none() {
                core.post_now(index);
            }
            had
        })?
    }
}

/// Refuses semantics that need a [`Buffer`](crate::Buffer).
pub(crate) fn application_allocated(word: u32) -> Result<()> {
    match Passing::from_word(word) {
        Some(passing) if !passing.semantics.is_system_allocated() => Ok(()),
        _ => Err(Error::SYSTEM_ALLOCATED),
    }
}

/// What an answer without success says.
pub(crate) fn failure(cancelled: bool, completion: &Completion) -> Error {
    match cancelled && completion.status == Status::Cancelled as u16 {
        true => Error::TIMED_OUT,
        false => Error::from_status(completion.status),
    }
}
