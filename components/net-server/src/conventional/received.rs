//! What was received, in socket buffers of the server's own.
//!
//! Problem: payload arrives in buffers that the NIC wants back. Invariant: the
//! payload of a packet is copied once, when the packet comes, and the manager's
//! packet given back; the server gets one of our numbers for it, which stands
//! for the copy until the server gives it back. A packet that is all in one
//! slot, since it is for the server itself, keeps that slot, and is the
//! manager's until then.

use alloc::vec::Vec;

use nic_api::HEADER_SPLIT;
use shared_ring::SharedMemory;
use socket_api::{Packet, SERVER_PACKETS, packet_flags, whole_slot_bytes};

use crate::environment::ManagerFault;

/// A number of ours.
#[derive(Clone, Copy, Debug)]
struct Slot {
    in_use: bool,
    /// The manager's packet, if that is kept, and where in the region of
    /// headers it lies.
    kept: Option<(u32, u32)>,
    /// The bytes of the frame that are there, from the first to behind the
    /// last.
    start: u32,
    end: u32,
}

/// Where bytes of a packet are.
pub(super) enum Bytes<'a> {
    /// In a socket buffer.
    Own(&'a [u8]),
    /// In the region of headers, from there on.
    Kept(usize),
}

/// All of them.
pub(super) struct Received {
    bytes: Vec<u8>,
    /// Bytes of each socket buffer.
    stride: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    headers: SharedMemory,
    payload: SharedMemory,
}

/// What became of a packet that came.
pub(super) enum Came {
    /// It has a number of ours. So many bytes were copied.
    Taken(u32),
    /// There is no number for it.
    NoRoom,
}

impl Received {
    /// With as many buffers as there are packets, of frames of `mtu` bytes.
    pub fn new(headers: SharedMemory, payload: SharedMemory, mtu: usize) -> Self {
        let (count, stride) = (SERVER_PACKETS as usize, whole_slot_bytes(mtu));
        let slot = Slot {
            in_use: false,
            kept: None,
            start: 0,
            end: 0,
        };
        Self {
            bytes: alloc::vec![0; count * stride],
            stride,
            slots: alloc::vec![slot; count],
            free: (0..SERVER_PACKETS).rev().collect(),
            headers,
            payload,
        }
    }

    /// Takes a packet, which has a number of ours from then on.
    ///
    /// # Errors
    /// [`ManagerFault`] if what the manager says of it cannot be; nothing is
    /// taken then.
    #[inline]
    pub fn take(&mut self, packet: &mut Packet) -> Result<Came, ManagerFault> {
        let id = packet.id;
        if id == 0 || id > SERVER_PACKETS {
            return Err(ManagerFault::Packet(id));
        }
        let Some(&number) = self.free.last() else {
            return Ok(Came::NoRoom);
        };
        let whole = packet.flags & packet_flags::WHOLE != 0;
        let (start, end) = match whole {
            true => (0, packet.header_len),
            false => (packet.start, packet.end),
        };
        let copied = match whole {
            true => Some(0),
            false => self.copy(number as usize, packet, start as usize, end as usize),
        };
        let copied = copied.ok_or(ManagerFault::Header(id))?;
        self.free.pop();
        self.slots[number as usize] = Slot {
            in_use: true,
            kept: whole.then_some((id, packet.header)),
            start,
            end,
        };
        packet.id = number + 1;
        Ok(Came::Taken(copied))
    }

    /// Copies the bytes from `start` to `end` of a frame; how many. `None` if
    /// there are no such bytes.
    #[inline]
    fn copy(&mut self, number: usize, packet: &Packet, start: usize, end: usize) -> Option<u32> {
        let split = HEADER_SPLIT as usize;
        let len = end.checked_sub(start)?;
        if end > packet.len as usize || packet.len as usize > self.stride {
            return None;
        }
        let at = number * self.stride;
        let into = self.bytes.get_mut(at..at + len)?;
        // The first bytes of a fragment came with the headers.
        let (first, rest) = into.split_at_mut(split.saturating_sub(start).min(len));
        if !first.is_empty() {
            let from = packet.header as usize + start;
            self.headers.read(from, first).ok()?;
        }
        self.payload.read(packet.place as usize, rest).ok()?;
        Some(len as u32)
    }

    /// Bytes of a packet; `None` if it is none of ours, or has not so many.
    #[inline]
    pub fn bytes(&self, id: u32, offset: u32, len: u32) -> Option<Bytes<'_>> {
        let number = (id as usize).wrapping_sub(1);
        let slot = self.slots.get(number).filter(|slot| slot.in_use)?;
        let inside = (slot.start..=slot.end).contains(&offset) && len <= slot.end - offset;
        if !inside {
            return None;
        }
        if let Some((_, header)) = slot.kept {
            return Some(Bytes::Kept(header as usize + offset as usize));
        }
        let at = number * self.stride + (offset - slot.start) as usize;
        self.bytes.get(at..at + len as usize).map(Bytes::Own)
    }

    /// The server needs a packet no more: the manager's, if it was kept.
    #[inline]
    pub fn release(&mut self, id: u32) -> Option<u32> {
        let number = id.wrapping_sub(1);
        let slot = self.slots.get_mut(number as usize)?;
        if !core::mem::replace(&mut slot.in_use, false) {
            return None;
        }
        self.free.push(number);
        slot.kept.take().map(|(packet, _)| packet)
    }
}
