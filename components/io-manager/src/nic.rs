//! One NIC: the rings to its driver, and the memory of its frames.
//!
//! Problem: the driver knows frames by physical addresses and the server by
//! numbers; only here both meet. Invariant: an address goes out only in an
//! entry made here, for memory that the entry's number stands for; what comes
//! back is believed of numbers that are out, once. A driver that breaks its
//! rings, or lies too often, is given up: nothing is taken from it any more,
//! and what it had stays in use, since a device may still have it.

use alloc::collections::VecDeque;

use data_passing::{Input, Machine, Memory, PassingError};
use nic_api::{
    HEADER_SPLIT, NicInfo, RX_FILLED, RX_FILLED_OFFSET, RX_FREE, RX_FREE_OFFSET, ReceiveBuffer,
    Received, SendFrame, Sent, TX_DONE, TX_DONE_OFFSET, TX_READY, TX_READY_OFFSET, nic_features,
    payload_bytes,
};
use shared_ring::{AttachError, Consumer, Producer, RingLayout, SharedMemory};
use socket_api::{
    HEADER_SLOT_BYTES, SERVER_PACKETS, headers_bytes, send_slots_bytes, whole_slot_bytes,
};

use crate::config::{NicConfig, Region, ServerConfig};
use crate::packets::{NO_SLOT, Packets};
use crate::sends::Sends;
use crate::steer::{STEERED_FIRST, Steering};

/// Violations after which a driver is given up.
const MOST_FAULTS: u32 = 16;
/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: u32 = 14;

/// One NIC.
#[derive(Debug)]
pub(crate) struct Nic {
    pub control: SharedMemory,
    pub free: Producer<ReceiveBuffer>,
    pub filled: Consumer<Received>,
    pub ready: Producer<SendFrame>,
    pub done: Consumer<Sent>,
    /// What the driver says about it, once it does.
    pub info: Option<NicInfo>,
    pub alive: bool,
    /// Its driver runs in this thread.
    near: bool,
    /// What it offers, nothing if the driver is not there.
    features: u32,
    /// Which of that is made use of.
    usable: u32,
    /// Buffers that any frame may come in.
    buffers: u32,
    faults: u32,
    /// The driver's ring for buffers was full, which it cannot be.
    broken: bool,
    /// Most bytes of a packet.
    pub mtu: u32,
    pub headers: Region,
    pub send_slots: Region,
    pub payload: Region,
    /// Bytes of a payload buffer.
    payload_stride: u32,
    /// Bytes of a whole slot or send slot.
    pub slot_stride: u32,
    pub packets: Packets,
    pub sends: Sends,
    /// Entries for which the driver's ring had no room, whole frames.
    pub backlog: VecDeque<SendFrame>,
    /// The driver was asked to tell of every frame sent.
    pub asked: bool,
    pub steering: Steering,
}

impl Nic {
    /// Attaches to the rings.
    pub fn attach(config: &ServerConfig) -> Result<Self, AttachError> {
        let NicConfig {
            control,
            payload,
            mtu,
            near,
        } = config.nic;
        let bytes = mtu as usize;
        let payload_stride = payload_bytes(bytes);
        config.headers.memory.slice(0, headers_bytes(bytes))?;
        config.send_slots.memory.slice(0, send_slots_bytes(bytes))?;
        payload
            .memory
            .slice(0, payload_stride * SERVER_PACKETS as usize)?;
        let ring = |at, layout: RingLayout| control.slice(at, layout.bytes());
        Ok(Self {
            control,
            free: Producer::attach(ring(RX_FREE_OFFSET, RX_FREE)?, RX_FREE)?,
            filled: Consumer::attach(ring(RX_FILLED_OFFSET, RX_FILLED)?, RX_FILLED)?.near(near),
            ready: Producer::attach(ring(TX_READY_OFFSET, TX_READY)?, TX_READY)?,
            done: Consumer::attach(ring(TX_DONE_OFFSET, TX_DONE)?, TX_DONE)?.near(near),
            info: None,
            alive: true,
            near,
            features: 0,
            usable: match config.messages {
                Some(_) => nic_features::CHECKSUM,
                None => u32::MAX,
            },
            buffers: SERVER_PACKETS,
            faults: 0,
            broken: false,
            mtu,
            headers: config.headers,
            send_slots: config.send_slots,
            payload,
            payload_stride: payload_stride as u32,
            slot_stride: whole_slot_bytes(bytes) as u32,
            packets: Packets::new(),
            sends: Sends::new(),
            backlog: VecDeque::new(),
            asked: false,
            steering: Steering::new(),
        })
    }

    /// Looks whether the driver has published what it knows; true the first
    /// time that it has. Posts all buffers then.
    pub fn look(&mut self) -> bool {
        let Ok(Some(info)) = NicInfo::read(&self.control) else {
            return false;
        };
        self.mtu = self.mtu.min(info.mtu);
        self.features = info.features & self.usable;
        self.info = Some(NicInfo {
            mtu: self.mtu,
            features: self.features,
            ..info
        });
        if self.steers() {
            self.buffers = STEERED_FIRST;
        }
        for id in 0..self.buffers {
            self.post(id);
        }
        true
    }

    /// Buffers that any frame may come in; the numbers behind them are for
    /// those that are kept for a flow.
    #[inline(always)]
    pub const fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Whether frames can be given to the driver.
    #[inline(always)]
    pub fn is_ready(&self) -> bool {
        self.alive && self.info.is_some()
    }

    /// Whether the NIC is there and has a feature.
    #[inline]
    pub const fn offers(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    /// Whether the NIC keeps buffers for flows.
    #[inline]
    pub const fn steers(&self) -> bool {
        self.offers(nic_features::STEERING)
    }

    /// The driver is gone.
    pub fn give_up(&mut self) {
        self.alive = false;
        self.features = 0;
    }

    /// Whether the NIC completes the checksum of a packet of `len` bytes.
    #[inline]
    pub const fn completes(&self, len: u32) -> bool {
        self.offers(nic_features::CHECKSUM) && len <= self.mtu
    }

    /// Counts a violation of the driver; true if there have been too many.
    pub fn fault(&mut self) -> bool {
        self.faults += 1;
        self.faults >= MOST_FAULTS
    }

    /// Whether the driver is to be given up.
    pub const fn is_hopeless(&self) -> bool {
        self.broken || self.faults >= MOST_FAULTS
    }

    /// Whether the driver runs in this thread, and has said something.
    #[inline]
    pub fn hears_near(&self) -> bool {
        self.near
            && self.alive
            && match self.info {
                Some(_) => !self.filled.looks_empty() || !self.done.looks_empty(),
                None => matches!(NicInfo::read(&self.control), Ok(Some(_))),
            }
    }

    /// Asks the driver for a signal, with `wanted` also for frames sent that
    /// nobody waits for in particular; `idle` becomes false if there is
    /// something to take. True if the driver must be woken to learn what is
    /// wanted.
    pub fn arm(&mut self, wanted: bool, idle: &mut bool) -> bool {
        if !self.alive || self.info.is_none() {
            return false;
        }
        *idle &= self.filled.arm().unwrap_or(false);
        *idle &= match wanted {
            true => self.done.arm_for_anything(),
            false => self.done.arm(),
        }
        .unwrap_or(false);
        let first = wanted && !self.asked && self.sends.away() != 0;
        self.asked = wanted;
        first
    }

    /// Where in the header region the header slot of a buffer is.
    #[inline(always)]
    pub const fn header_at(&self, id: u32) -> u32 {
        id * HEADER_SLOT_BYTES as u32
    }

    /// Where in the header region a whole slot is.
    #[inline]
    pub const fn whole_at(&self, slot: u8) -> u32 {
        SERVER_PACKETS * HEADER_SLOT_BYTES as u32 + slot as u32 * self.slot_stride
    }

    /// Where in the payload region a buffer is.
    #[inline(always)]
    pub const fn payload_at(&self, id: u32) -> u32 {
        id * self.payload_stride
    }

    /// Where in the region of send slots one is.
    #[inline(always)]
    pub const fn send_at(&self, slot: u16) -> u32 {
        slot as u32 * self.slot_stride
    }

    /// Gives a buffer that is kept here to the driver.
    #[inline(always)]
    pub fn post(&mut self, id: u32) {
        if !self.alive || !self.packets.post(id) {
            return;
        }
        let buffer = ReceiveBuffer {
            header: self.headers.paddr + u64::from(self.header_at(id)),
            payload: self.payload.paddr + u64::from(self.payload_at(id)),
            payload_len: self.payload_stride,
            id,
            flow: 0,
        };
        // There is room for every buffer, unless the driver broke the ring.
        self.broken |= self.free.push(&buffer).is_err();
    }

    /// Gives a buffer with which the server is done to the driver.
    #[inline(always)]
    pub fn recycle(&mut self, id: u32) {
        if self.packets.release(id + 1).is_some() {
            self.post(id);
        }
    }

    /// Delivers bytes of a frame, which lie inside it, to the room of a
    /// request.
    #[inline]
    pub fn deliver<M: Machine>(
        &self,
        memory: &mut Memory<M>,
        input: &mut Input,
        id: u32,
        (mut offset, mut len): (u32, u32),
    ) -> Result<(), PassingError> {
        let mut result = Ok(());
        let mut deliver = |place, len| {
            if result.is_ok() {
                result = memory.deliver(input, place, len);
            }
        };
        let whole = self.packets.whole(id);
        if whole != NO_SLOT {
            let at = self.whole_at(whole) + offset;
            self.headers.pieces(at, len, deliver);
            return result;
        }
        if offset < HEADER_SPLIT && len != 0 {
            let part = len.min(HEADER_SPLIT - offset);
            self.headers
                .pieces(self.header_at(id) + offset, part, &mut deliver);
            offset += part;
            len -= part;
        }
        if len != 0 {
            let at = self.payload_at(id) + (offset - HEADER_SPLIT);
            self.payload.pieces(at, len, deliver);
        }
        result
    }

    /// Hands the waiting frames to the driver, as far as there is room, each
    /// with all its entries; false if the driver broke the ring.
    pub fn flush(&mut self) -> bool {
        use nic_api::frame_flags::MORE;
        while !self.backlog.is_empty() {
            let more = self.backlog.iter().position(|e| e.flags & MORE == 0);
            let count = more.map_or(self.backlog.len(), |last| last + 1);
            match self.ready.has_room(count as u32) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            for entry in self.backlog.drain(..count) {
                // There is room.
                self.ready.push(&entry).ok();
            }
        }
        true
    }
}
