//! Who has which packet: the buffers of one NIC.
//!
//! Invariant: a buffer is with the driver, with the server, or kept here; it
//! changes hands only as this book says, so no party can give one away that it
//! does not have, or twice. A packet is named by its buffer's number and one
//! more, so that 0 names none. Whole slots are either in the list of free ones
//! or with one packet or request.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use socket_api::{SERVER_PACKETS, WHOLE_SLOTS};

/// No whole slot.
pub(crate) const NO_SLOT: u8 = u8::MAX;

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: it is kept here.
    Manager,
    /// The driver may receive into it.
    Driver,
    /// The server has the packet in it.
    Server,
    /// A frame goes on in it that begins in another buffer.
    Following,
}

/// No buffer.
const NONE: u16 = u16::MAX;

/// A buffer.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    holder: Holder,
    /// The buffer that the frame goes on in, or [`NONE`].
    next: u16,
    /// The whole slot that all of the frame is in, or [`NO_SLOT`].
    whole: u8,
    /// Bytes of the frame that may be delivered.
    limit: u32,
}

/// The buffers of one NIC.
#[derive(Debug)]
pub(crate) struct Packets {
    buffers: Box<[Buffer]>,
    whole_free: Vec<u8>,
    with_server: u32,
}

impl Packets {
    /// All buffers and slots are here.
    pub fn new() -> Self {
        let buffer = Buffer {
            holder: Holder::Manager,
            next: NONE,
            whole: NO_SLOT,
            limit: 0,
        };
        Self {
            buffers: vec![buffer; SERVER_PACKETS as usize].into_boxed_slice(),
            whole_free: (0..WHOLE_SLOTS as u8).rev().collect(),
            with_server: 0,
        }
    }

    /// Buffers that are with `holder`.
    pub fn count(&self, holder: Holder) -> u32 {
        let held = self.buffers.iter().filter(|b| b.holder == holder);
        held.count() as u32
    }

    /// Buffers that the server has packets in.
    #[inline]
    pub const fn with_server(&self) -> u32 {
        self.with_server
    }

    /// Whole slots that are free.
    pub fn whole_free(&self) -> u32 {
        self.whole_free.len() as u32
    }

    /// Notes that the driver gets the buffer; false if it is not kept here.
    #[inline(always)]
    pub fn post(&mut self, id: u32) -> bool {
        match self.buffers.get_mut(id as usize) {
            Some(buffer) if buffer.holder == Holder::Manager => {
                buffer.holder = Holder::Driver;
                true
            }
            _ => false,
        }
    }

    /// Takes the buffer from the driver; false if the driver does not have it.
    #[inline(always)]
    pub fn take_filled(&mut self, id: u32) -> bool {
        match self.buffers.get_mut(id as usize) {
            Some(buffer) if buffer.holder == Holder::Driver => {
                buffer.holder = Holder::Manager;
                true
            }
            _ => false,
        }
    }

    /// The frame in a buffer goes on in one that is kept here; `false` if that
    /// is not.
    pub fn follow(&mut self, id: u32, next: u32) -> bool {
        let Some(buffer) = self.buffers.get_mut(next as usize) else {
            return false;
        };
        if buffer.holder != Holder::Manager || id == next {
            return false;
        }
        buffer.holder = Holder::Following;
        self.with_server += 1;
        if let Some(buffer) = self.buffers.get_mut(id as usize) {
            buffer.next = next as u16;
        }
        true
    }

    /// The buffer that the frame in another goes on in.
    #[inline(always)]
    pub fn next(&self, id: u32) -> Option<u32> {
        let next = self.buffers.get(id as usize).map_or(NONE, |b| b.next);
        (next != NONE).then_some(next.into())
    }

    /// Parts a buffer from what the frame in it goes on in, if it does: that is
    /// kept here now.
    #[inline(always)]
    pub fn part(&mut self, id: u32) -> Option<u32> {
        let next = self.next(id)?;
        if let Some(buffer) = self.buffers.get_mut(id as usize) {
            buffer.next = NONE;
        }
        if let Some(buffer) = self.buffers.get_mut(next as usize) {
            buffer.holder = Holder::Manager;
            self.with_server -= 1;
        }
        Some(next)
    }

    /// Gives the server the packet in a buffer kept here, of which `limit` bytes
    /// may be delivered, all of them in the slot `whole` if that is one.
    #[inline(always)]
    pub fn give(&mut self, id: u32, limit: u32, whole: u8) {
        if let Some(buffer) = self.buffers.get_mut(id as usize) {
            buffer.holder = Holder::Server;
            buffer.limit = limit;
            buffer.whole = whole;
            self.with_server += 1;
        }
    }

    /// The buffer of a packet that the server has, if the bytes may be
    /// delivered.
    #[inline(always)]
    pub fn find(&self, packet: u32, offset: u32, len: u32) -> Option<u32> {
        let id = packet.wrapping_sub(1);
        let buffer = self.buffers.get(id as usize)?;
        if cfg!(feature = "mutation-no-validation") {
            return Some(id);
        }
        let inside = offset <= buffer.limit && len <= buffer.limit - offset;
        (buffer.holder == Holder::Server && inside).then_some(id)
    }

    /// The whole slot that the frame is in, or [`NO_SLOT`].
    #[inline(always)]
    pub fn whole(&self, id: u32) -> u8 {
        self.buffers.get(id as usize).map_or(NO_SLOT, |b| b.whole)
    }

    /// The bytes of the frame are gone.
    pub fn spend(&mut self, id: u32) {
        if let Some(buffer) = self.buffers.get_mut(id as usize) {
            buffer.limit = 0;
        }
    }

    /// The server is done with a packet: its buffer, which is kept here now;
    /// `None` if it does not have it.
    #[inline(always)]
    pub fn release(&mut self, packet: u32) -> Option<u32> {
        let id = packet.wrapping_sub(1);
        let buffer = self.buffers.get_mut(id as usize)?;
        if buffer.holder != Holder::Server {
            return None;
        }
        buffer.holder = Holder::Manager;
        self.with_server -= 1;
        if buffer.whole != NO_SLOT {
            self.whole_free.push(buffer.whole);
            buffer.whole = NO_SLOT;
        }
        Some(id)
    }

    /// Takes a whole slot for a packet.
    pub fn take_whole(&mut self) -> Option<u8> {
        self.whole_free.pop()
    }
}
