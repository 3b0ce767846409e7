//! Submitting operations.
//!
//! Invariant: an operation that was not submitted leaves nothing behind, and
//! its memory goes back to the caller with the error.

use core::net::SocketAddr;

use socket_api::{Op, Passing, Request, Semantics, WireAddress};

use super::done::as_it_stands;
use super::memory::Named;
use super::{Memory, Operation, Queue, State};
use crate::buffer::{Block, Buffer, Unsent};
use crate::buffers::{PAGE, Standing};
use crate::core_state::{Core, RESERVE};
use crate::error::{Error, Result};
use crate::memory::Sink;
use crate::poll::Pollable;
use crate::records::{NONE, kind, owner};
use crate::stack::Wait;
use crate::transfer::Arrived;

/// In a record's tag, beside the slot: the request named the whole block.
pub(super) const WHOLE: u32 = 1 << 16;

/// What submitting says.
type Submitted = core::result::Result<Operation, Unsent<Memory>>;

impl<const N: usize> Queue<N> {
    /// Sends `memory` to the connected peer, or appends it to a stream, with
    /// the socket's semantics or those named here.
    ///
    /// # Errors
    /// `WouldBlock` while the queue, the quota or the requests are used up;
    /// else as sending does.
    pub fn send(
        &mut self,
        socket: &impl Pollable,
        memory: impl Into<Memory>,
        passing: Option<Passing>,
        token: u64,
    ) -> Submitted {
        self.submit_send(socket, memory.into(), WireAddress::NONE, passing, token)
    }

    /// As [`Queue::send`], one datagram to `peer`.
    ///
    /// # Errors
    /// As [`Queue::send`].
    pub fn send_to(
        &mut self,
        socket: &impl Pollable,
        memory: impl Into<Memory>,
        peer: SocketAddr,
        passing: Option<Passing>,
        token: u64,
    ) -> Submitted {
        self.submit_send(socket, memory.into(), peer.into(), passing, token)
    }

    /// Receives into `memory`: a datagram, or at least a byte of a stream, with
    /// the socket's semantics or those named here. The first time on a socket
    /// that receives ahead of time this waits until that has stopped; it should
    /// be in no poll.
    ///
    /// # Errors
    /// `WouldBlock` while the queue or the requests are used up; else as
    /// receiving does.
    pub fn receive(
        &mut self,
        socket: &impl Pollable,
        memory: impl Into<Memory>,
        passing: Option<Passing>,
        token: u64,
    ) -> Submitted {
        let (stack, index) = socket.place();
        let mut memory = memory.into();
        let stopped = |core: &mut Core| core.stop_ahead(index).then_some(());
        let ready = self
            .admit(socket, &memory)
            .and_then(|()| stack.block(Wait::Forever, false, stopped));
        if let Err(error) = ready {
            return Err((error, memory).into());
        }
        let mut core = stack.lock();
        memory.withdraw(&mut core);
        if let Some(had) = core.receive_leftover(index, &mut memory) {
            stack.leave(core, false);
            return Ok(self.finish_at_once(had, token, memory));
        }
        let words = core.socket(index).passing;
        let word = match &memory {
            Memory::Buffer(_) => words.receive_buffer,
            _ => words.receive,
        };
        let word = passing.map_or(word, Passing::word);
        let named = memory.name_to_receive(&mut core, word);
        let submitted = named.and_then(|named| self.submit_receive(&mut core, index, &named));
        stack.leave(core, false);
        self.admitted(submitted, token, memory)
    }

    /// As [`Queue::receive`], into `len` bytes that the library provides. For
    /// emulated move that is best a region whose pages were moved away before:
    /// only a receive brings them back.
    ///
    /// # Errors
    /// As [`Queue::receive`]; `OutOfMemory` if the data region has no room.
    pub fn receive_new(
        &mut self,
        socket: &impl Pollable,
        len: usize,
        passing: Passing,
        token: u64,
    ) -> Result<Operation> {
        let (stack, index) = socket.place();
        let stopped = |core: &mut Core| core.stop_ahead(index).then_some(());
        stack.block(Wait::Forever, false, stopped)?;
        let mut core = stack.lock();
        let Some(block) = core.block_aside(index, len, passing) else {
            drop(core);
            let room = Buffer::alloc_on(stack, len)?;
            let submitted = self.receive(socket, room, Some(passing), token);
            return submitted.map_err(|unsent| unsent.error);
        };
        let memory = Memory::Buffer(Buffer::own(stack, block));
        let submitted = self
            .admit(socket, &memory)
            .and_then(|()| self.submit_aside(&mut core, index, block, passing));
        match submitted {
            Ok(record) => {
                stack.leave(core, false);
                Ok(self.fill_slot(token, memory, State::Outstanding(record)))
            }
            Err(error) => {
                as_it_stands(&mut core, memory, Standing::Hidden);
                stack.leave(core, false);
                Err(error)
            }
        }
    }

    /// Submits a receive into a block whose pages are away.
    fn submit_aside(
        &self,
        core: &mut Core,
        index: u16,
        block: Block,
        passing: Passing,
    ) -> Result<u16> {
        let named = Named {
            extent: core.buffers.extent(block.unit, 0, block.bytes),
            word: passing.word(),
            after: Standing::Hidden,
            whole: true,
        };
        let record = self.submit_receive(core, index, &named)?;
        // How it stands if nothing comes.
        core.record(record).after = Standing::Hidden as u16;
        Ok(record)
    }

    /// An operation that needs nobody.
    fn finish_at_once(&mut self, had: Result<Arrived>, token: u64, memory: Memory) -> Operation {
        let state = State::Finished(had.map(|arrived| arrived.len));
        let operation = self.fill_slot(token, memory, state);
        let from = had.map_or(WireAddress::NONE, |arrived| arrived.from);
        self.slots[usize::from(operation.slot)].peer = from;
        operation
    }

    fn submit_send(
        &mut self,
        socket: &impl Pollable,
        mut memory: Memory,
        to: WireAddress,
        passing: Option<Passing>,
        token: u64,
    ) -> Submitted {
        let (stack, index) = socket.place();
        if let Err(error) = self.admit(socket, &memory) {
            return Err((error, memory).into());
        }
        let mut core = stack.lock();
        memory.withdraw(&mut core);
        let words = core.socket(index).passing;
        let word = match &memory {
            Memory::Buffer(_) => words.send_buffer,
            _ => words.send,
        };
        let word = passing.map_or(word, Passing::word);
        let may = core.may_submit(index, memory.len());
        let named = may.and_then(|()| memory.name_to_send(&mut core, word));
        let submitted = named.and_then(|named| self.submit_named(&mut core, index, to, &named));
        stack.leave(core, false);
        self.admitted(submitted, token, memory)
    }

    /// Whether an operation can be one of this queue's now.
    fn admit(&self, socket: &impl Pollable, memory: &Memory) -> Result<()> {
        let (stack, _) = socket.place();
        let foreign = match memory {
            Memory::Buffer(buffer) => !core::ptr::eq(buffer.stack(), stack),
            _ => false,
        };
        if foreign || !core::ptr::eq(stack, self.stack) {
            return Err(Error::OTHER_STACK);
        }
        match self.free {
            NONE => Err(Error::WOULD_BLOCK),
            _ => Ok(()),
        }
    }

    fn admitted(&mut self, submitted: Result<u16>, token: u64, memory: Memory) -> Submitted {
        match submitted {
            Ok(record) => Ok(self.fill_slot(token, memory, State::Outstanding(record))),
            Err(error) => Err((error, memory).into()),
        }
    }

    fn submit_named(
        &self,
        core: &mut Core,
        index: u16,
        to: WireAddress,
        named: &Named,
    ) -> Result<u16> {
        let request = Request {
            flags: core.send_flags(index),
            extent: named.extent,
            address: to,
            passing: named.word,
            ..core.request(Op::Send, index)
        };
        let record = self.submit(core, index, request, 0)?;
        core.record(record).after = named.after as u16;
        core.note_sent(index, named.extent.len);
        Ok(record)
    }

    fn submit_receive(&self, core: &mut Core, index: u16, named: &Named) -> Result<u16> {
        let request = Request {
            extent: named.extent,
            passing: named.word,
            ..core.request(Op::Recv, index)
        };
        let whole = u32::from(named.whole) * WHOLE;
        self.submit(core, index, request, whole)
    }

    fn submit(&self, core: &mut Core, index: u16, request: Request, tag: u32) -> Result<u16> {
        let record = core.submit_for(request, index, owner::QUEUE + self.id);
        let record = record.ok_or(Error::WOULD_BLOCK)?;
        core.record(record).tag = u32::from(self.free) | tag;
        core.asynchronous += 1;
        Ok(record)
    }
}

impl Core {
    /// A block for `len` bytes whose pages were moved away and that a receive
    /// brings back, if there is one, and nothing came ahead of time that would
    /// have to be copied into it.
    fn block_aside(&mut self, index: u16, len: usize, passing: Passing) -> Option<Block> {
        if passing.semantics != Semantics::EmulatedMove || self.socket(index).first != NONE {
            return None;
        }
        let order = self.buffers.order_for(len.max(PAGE as usize))?;
        let unit = self.buffers.take_aside(order, Standing::Hidden)?;
        Some(Block {
            unit,
            order,
            bytes: self.buffers.bytes(order),
            start: 0,
            len: len as u32,
        })
    }

    /// Whether `len` bytes may be sent now.
    fn may_submit(&mut self, index: u16, len: usize) -> Result<()> {
        let failed = match self.socket(index).kind {
            kind::UDP => self.datagram_error(index, len),
            // Nothing to append is appended at once.
            _ => self.stream_error(index, len.max(1)).and_then(Result::err),
        };
        if let Some(error) = failed {
            return Err(error);
        }
        if len > self.quota.queued_bytes as usize {
            return Err(Error::BEYOND_QUOTA);
        }
        let may = self.quota_room() as usize >= len && self.free_record_count > RESERVE;
        self.starved |= !may;
        may.then_some(()).ok_or(Error::WOULD_BLOCK)
    }

    /// What came ahead of time before that was stopped, and why nothing more
    /// will come.
    fn receive_leftover(&mut self, index: u16, memory: &mut Memory) -> Option<Result<Arrived>> {
        match memory {
            Memory::Buffer(buffer) => {
                let had = self.receive_any(index, &mut buffer.block());
                if let Some(Ok(arrived)) = &had {
                    buffer.landed(false, arrived.len);
                }
                had
            }
            Memory::Bytes(bytes) => self.receive_any(index, &mut **bytes),
            Memory::Shared(buffer) => self.receive_any(index, buffer),
            Memory::Constant(_) => None,
        }
    }

    fn receive_any<S: Sink + ?Sized>(
        &mut self,
        index: u16,
        sink: &mut S,
    ) -> Option<Result<Arrived>> {
        match self.socket(index).kind {
            kind::UDP => self.receive_datagram(index, sink, false),
            _ => self.receive_stream(index, sink, false),
        }
    }
}
