//! Sending and receiving buffers: what goes is the block, not its bytes.
//!
//! Problem: a block may be a slot that something was received into, smaller
//! than a page, or whole pages; each semantics moves what it may. Invariant: a
//! request that takes pages away names whole blocks of pages only; anything
//! smaller keeps the promised integrity by being copied.

use socket_api::{Op, Passing, Request, Semantics, Status, WireAddress, flags};

use crate::buffer::{Block, Buffer, Unsent};
use crate::buffers::{NO_UNIT, PAGE, Standing};
use crate::core_state::Core;
use crate::direct::failure;
use crate::error::{Error, Result};
use crate::post::SLOT;
use crate::records::owner;
use crate::stack::{Stack, Wait};

/// What a buffer gets that nobody chose semantics for.
const DEFAULT: Passing = Passing::new(Semantics::EmulatedWeakMove);

/// How a block stands once it was sent with `semantics`.
pub(crate) fn standing_after(semantics: Semantics) -> Standing {
    match semantics {
        Semantics::Move => Standing::Absent,
        Semantics::EmulatedMove => Standing::Hidden,
        _ => Standing::Mapped,
    }
}

/// What was received into a block.
pub(crate) struct Landed {
    pub block: Block,
    pub from: WireAddress,
}

impl Core {
    /// The word for sending `block` with `word` (0: nothing was said), and how
    /// it stands afterwards.
    pub fn passing_of(&self, block: Block, word: u32) -> (u32, Standing) {
        let whole = self.buffers.bytes(block.order) >= PAGE && block.start == 0;
        if word == 0 {
            let word = if whole { DEFAULT.word() } else { SLOT };
            return (word, Standing::Mapped);
        }
        let Some(passing) = Passing::from_word(word) else {
            return (word, Standing::Mapped);
        };
        if whole || !passing.semantics.is_system_allocated() {
            return (word, standing_after(passing.semantics));
        }
        let semantics = match passing.semantics.is_strong() {
            true => Semantics::Copy,
            false => Semantics::EmulatedShare,
        };
        let passing = Passing {
            semantics,
            ..passing
        };
        (passing.word(), Standing::Mapped)
    }

    /// Sends `block`, which the caller gives up if this says so.
    #[inline]
    pub fn send_block<const STREAM: bool>(
        &mut self,
        index: u16,
        block: Block,
        to: WireAddress,
        word: u32,
    ) -> Option<Result<()>> {
        let len = block.len as usize;
        let failed = match STREAM {
            true => self.stream_error(index, 1).and_then(Result::err),
            false => self.datagram_error(index, len),
        };
        if let Some(error) = failed {
            return Some(Err(error));
        }
        if STREAM && block.len > self.quota.queued_bytes {
            return Some(Err(Error::BEYOND_QUOTA));
        }
        if !self.may_request_send(index, block.len) {
            return None;
        }
        if !STREAM && word == 0 && self.may_repost(index, &block) {
            return self.send_reposted(index, block, to);
        }
        let (word, after) = self.passing_of(block, word);
        let request = Request {
            flags: self.send_flags(index) | flags::QUIET,
            extent: self.buffers.extent(block.unit, block.start, block.len),
            address: to,
            passing: word,
            ..self.request(Op::Send, index)
        };
        let record = self.submit(request, index, block.unit, block.order)?;
        let after = block.standing(&self.buffers, after);
        self.record(record).after = after as u16;
        self.note_sent(index, block.len);
        Some(Ok(()))
    }

    /// Takes the oldest thing that was received ahead of time, slot and all;
    /// nothing at the end of a stream.
    #[inline(always)]
    pub fn receive_block<const STREAM: bool>(
        &mut self,
        index: u16,
    ) -> Option<Result<Option<Landed>>> {
        let socket = &mut self.sockets[usize::from(index)];
        let first = socket.first;
        let skip = core::mem::take(&mut socket.consumed);
        let Some(record) = self.records.get(usize::from(first)) else {
            if STREAM {
                return self.stream_end(index).map(|end| end.map(|()| None));
            }
            let error = self.take_error(index);
            return error.map(|e| Err(Error::from_status(e)));
        };
        let block = Block {
            unit: record.unit,
            order: record.order,
            bytes: self.buffers.bytes(record.order),
            start: skip,
            len: record.len.saturating_sub(skip),
        };
        let from = record.address;
        self.dequeue(index);
        match STREAM {
            true => self.replace(index, first),
            false => {
                self.record(first).unit = NO_UNIT;
                self.free_record(first);
                self.owe(index);
            }
        }
        Some(Ok(Some(Landed { block, from })))
    }

    /// Submits a `Recv` into a block of its own, unless something came ahead of
    /// time; what is still on its way ahead of time comes back first.
    fn begin_receive_block<const STREAM: bool>(
        &mut self,
        index: u16,
        passing: Passing,
    ) -> Option<Begun> {
        if let Some(landed) = self.receive_block::<STREAM>(index) {
            return Some(Begun::Done(landed));
        }
        if !self.stop_ahead(index) {
            return None;
        }
        let least = self.buffers.order_for(PAGE as usize).unwrap_or(0);
        let order = self.socket(index).order.max(least);
        let Some((unit, was)) = self.alloc_for(order, standing_after(passing.semantics)) else {
            return Some(Begun::Done(Err(Error::NO_BUFFER)));
        };
        let block = Block {
            unit,
            order,
            bytes: self.buffers.bytes(order),
            start: 0,
            len: 0,
        };
        let started = self.submit_receive_block(index, block, passing.word());
        if started.is_none() {
            self.buffers.settle(unit, order, was);
        }
        let record = started?;
        Some(Begun::Started(Awaited { record, block, was }))
    }

    /// Submits a `Recv` into all of `block`.
    fn submit_receive_block(&mut self, index: u16, block: Block, word: u32) -> Option<u16> {
        let request = Request {
            flags: self.blocked(true),
            extent: self.buffers.extent(block.unit, 0, block.bytes),
            passing: word,
            ..self.request(Op::Recv, index)
        };
        self.submit_for(request, index, owner::CALLER)
    }
}

/// What became of the attempt to receive into a block.
enum Begun {
    Done(Result<Option<Landed>>),
    Started(Awaited),
}

/// A block that is being received into.
struct Awaited {
    record: u16,
    block: Block,
    /// How it stood before.
    was: Standing,
}

impl Stack {
    /// Sends `buffer`; gives it back with the error otherwise.
    pub(crate) fn send_buffer<const STREAM: bool>(
        &'static self,
        index: u16,
        buffer: Buffer,
        to: WireAddress,
        passing: Option<Passing>,
    ) -> core::result::Result<(), (Error, Buffer)> {
        let block = buffer.block();
        if !core::ptr::eq(buffer.stack(), self) {
            return Err((Error::OTHER_STACK, buffer));
        }
        if STREAM && block.len == 0 {
            return Ok(());
        }
        let mut core = self.lock();
        let record = core.socket(index);
        let wait = Wait::of_socket(record.flags, record.write_timeout);
        let word = passing.map_or(record.passing.send_buffer, Passing::word);
        let mut held = Some(buffer);
        let sent = self.block_with(core, wait, true, |core| {
            let sent = core.send_block::<STREAM>(index, block, to, word)?;
            if sent.is_ok() {
                held.take().map(|buffer| buffer.disown(core));
            }
            Some(sent)
        });
        match (sent.and_then(|sent| sent), held) {
            (Err(error), Some(buffer)) => Err((error, buffer)),
            _ => Ok(()),
        }
    }

    /// Receives a buffer; nothing at the end of a stream.
    ///
    /// # Errors
    /// As the sockets' functions say.
    pub(crate) fn receive_buffer<const STREAM: bool>(
        &'static self,
        index: u16,
        passing: Option<Passing>,
    ) -> Result<Option<Landed>> {
        let mut core = self.lock();
        let record = core.socket(index);
        let wait = Wait::of_socket(record.flags, record.read_timeout);
        let word = passing.map_or(record.passing.receive_buffer, Passing::word);
        let chosen = Passing::from_word(word).filter(|_| word != 0 && wait != Wait::Never);
        if let Some(passing) = chosen {
            drop(core);
            return self.receive_into_block::<STREAM>(index, passing, wait);
        }
        core.top_up(index);
        self.block_with(core, wait, false, |core| {
            let landed = core.receive_block::<STREAM>(index);
            if landed.is_none() {
                core.post_now(index);
            }
            landed
        })?
    }

    fn receive_into_block<const STREAM: bool>(
        &'static self,
        index: u16,
        passing: Passing,
        wait: Wait,
    ) -> Result<Option<Landed>> {
        if !passing.semantics.is_system_allocated() {
            return Err(Error::APPLICATION_ALLOCATED);
        }
        let wait = self.until(wait);
        let begun = self.block(wait, true, |core| {
            core.begin_receive_block::<STREAM>(index, passing)
        })?;
        let Awaited { record, block, was } = match begun {
            Begun::Done(landed) => return landed,
            Begun::Started(awaited) => awaited,
        };
        // A broken ring leaves the block to the manager.
        let (cancelled, completion) = self.finish(record, wait)?;
        let ok = completion.status == Status::Ok as u16;
        if ok && (completion.len != 0 || !STREAM) {
            let (len, from) = (completion.len, completion.address);
            // A new region is there as far as it was filled.
            let bytes = match was {
                Standing::Absent => len.next_multiple_of(PAGE).min(block.bytes),
                _ => block.bytes,
            };
            let block = Block {
                len,
                bytes,
                ..block
            };
            return Ok(Some(Landed { block, from }));
        }
        self.with(|core| core.buffers.settle(block.unit, block.order, was));
        match ok {
            true => Ok(None),
            false => Err(failure(cancelled, &completion)),
        }
    }
}

impl<T> From<(Error, T)> for Unsent<T> {
    fn from((error, item): (Error, T)) -> Self {
        Self { error, item }
    }
}
