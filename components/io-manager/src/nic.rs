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
    HEADER_ROOM, HEADER_SPLIT, JOINED_LEAD, NicInfo, RX_FILLED, RX_FILLED_OFFSET, RX_FREE,
    RX_FREE_OFFSET, ReceiveBuffer, Received, SendFrame, Sent, TX_DONE, TX_DONE_OFFSET, TX_READY,
    TX_READY_OFFSET, joins, nic_features, payload_bytes,
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
    pub near: bool,
    /// What it offers, nothing if the driver is not there.
    features: u32,
    /// Which of that is made use of.
    usable: u32,
    /// Whether payload buffers are made so that frames may lie there whole.
    joins: bool,
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
    /// Bytes of a frame that are not in its payload buffer but before it, in a
    /// header slot, and bytes that are left free there: one of them is 0.
    pub split: u32,
    lead: u32,
    /// Most bytes of a frame in one buffer.
    pub longest: u32,
    /// Bytes of a whole slot or send slot.
    pub slot_stride: u32,
    pub packets: Packets,
    pub sends: Sends,
    /// Entries for which the driver's ring had no room, whole frames.
    pub backlog: VecDeque<SendFrame>,
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
            joins: joins(bytes),
            buffers: SERVER_PACKETS,
            faults: 0,
            broken: false,
            mtu,
            headers: config.headers,
            send_slots: config.send_slots,
            payload,
            payload_stride: payload_stride as u32,
            split: HEADER_SPLIT,
            lead: 0,
            longest: mtu + ETHERNET,
            slot_stride: whole_slot_bytes(bytes) as u32,
            packets: Packets::new(),
            sends: Sends::new(),
            backlog: VecDeque::new(),
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
        self.longest = self.mtu + ETHERNET;
        // As the server has it, which is told the same MTU.
        self.slot_stride = whole_slot_bytes(self.mtu as usize) as u32;
        if self.steers() {
            self.buffers = STEERED_FIRST;
        } else if self.joins {
            (self.split, self.lead) = (0, JOINED_LEAD);
            if self.is_long() {
                self.longest = self.room();
            }
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

    /// Whether frames lie in their payload buffers whole, headers included:
    /// where no payload fills a page, which could change places with a
    /// client's.
    #[inline(always)]
    pub const fn joined(&self) -> bool {
        self.split == 0
    }

    /// Whether frames may be longer than the link's, and lie in several buffers.
    pub const fn is_long(&self) -> bool {
        self.joined() && self.offers(nic_features::LONG_RECEIVE)
    }

    /// Bytes of a frame that the first buffer has room for.
    #[inline(always)]
    const fn room(&self) -> u32 {
        self.payload_stride + self.split - self.lead
    }

    /// Most bytes of a frame that takes so many buffers beyond the first.
    pub const fn room_with(&self, following: u32) -> u32 {
        self.room() + following * (self.room() + HEADER_ROOM)
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
    /// wanted: also if it was before, but told of some frames since, and may have
    /// gone to sleep between that and our asking for the others.
    pub fn arm(&mut self, wanted: bool, idle: &mut bool) -> bool {
        if !self.alive || self.info.is_none() {
            return false;
        }
        let knows = self.done.is_asking_for_anything();
        *idle &= self.filled.arm().unwrap_or(false);
        *idle &= match wanted {
            true => self.done.arm_for_anything(),
            false => self.done.arm(),
        }
        .unwrap_or(false);
        wanted && !knows && self.sends.away() != 0
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

    /// Where in the payload region a frame begins, if it lies there whole.
    #[inline(always)]
    pub const fn frame_at(&self, id: u32) -> u32 {
        self.payload_at(id) + self.lead
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
        let payload = self.payload.paddr + u64::from(self.payload_at(id));
        let mut buffer = ReceiveBuffer {
            header: self.headers.paddr + u64::from(self.header_at(id)),
            payload,
            payload_len: self.payload_stride,
            id,
            flow: 0,
        };
        if self.joined() {
            let before = self.lead + HEADER_SPLIT;
            buffer.header = payload + u64::from(self.lead);
            buffer.payload = payload + u64::from(before);
            buffer.payload_len -= before;
        }
        // There is room for every buffer, unless the driver broke the ring.
        self.broken |= self.free.push(&buffer).is_err();
    }

    /// As `post`, with those that the frame in it goes on in.
    #[inline(always)]
    pub fn post_all(&mut self, id: u32) {
        let mut following = self.packets.part(id);
        self.post(id);
        while let Some(id) = following {
            following = self.packets.part(id);
            self.post(id);
        }
    }

    /// Gives a buffer with which the server is done to the driver.
    #[inline(always)]
    pub fn recycle(&mut self, id: u32) {
        if self.packets.release(id + 1).is_some() {
            self.post_all(id);
        }
    }

    /// Where in the payload region bytes of a frame are, if all of them are in
    /// the payload buffer that it begins in.
    #[inline(always)]
    pub const fn place_in(&self, id: u32, offset: u32, len: u32) -> Option<u32> {
        let room = self.room();
        if offset < self.split || offset > room || len > room - offset {
            return None;
        }
        Some(self.frame_at(id) + offset - self.split)
    }

    /// Where in the payload region what a buffer begins with is, if a frame
    /// goes on in it.
    #[inline]
    pub const fn start_at(&self, id: u32) -> u32 {
        self.frame_at(id) - HEADER_ROOM
    }

    /// Calls `each` with places in the payload region and lengths: where the
    /// bytes of a frame from `offset` on are, which do not lie in a header slot.
    /// Frames may end before the slot does: then there are none.
    #[inline]
    pub fn spread(&self, id: u32, mut offset: u32, mut len: u32, mut each: impl FnMut(u32, u32)) {
        if len == 0 {
            return;
        }
        let mut room = self.room();
        let mut at = self.frame_at(id);
        let mut next = id;
        offset -= self.split;
        room -= self.split;
        loop {
            if offset < room {
                let part = len.min(room - offset);
                each(at + offset, part);
                len -= part;
                offset += part;
            }
            if len == 0 {
                return;
            }
            let Some(id) = self.packets.next(next) else {
                return;
            };
            offset -= room;
            room = self.room() + HEADER_ROOM;
            at = self.start_at(id);
            next = id;
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
        if offset < self.split && len != 0 {
            let part = len.min(self.split - offset);
            self.headers
                .pieces(self.header_at(id) + offset, part, &mut deliver);
            offset += part;
            len -= part;
        }
        self.spread(id, offset, len, |at, len| {
            self.payload.pieces(at, len, &mut deliver);
        });
        result
    }

    /// Hands the waiting frames to the driver, as far as there is room, each
    /// with all its entries; false if the driver broke the ring.
    #[inline]
    pub fn flush(&mut self) -> bool {
        self.backlog.is_empty() || self.flush_backlog()
    }

    #[inline(never)]
    fn flush_backlog(&mut self) -> bool {
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
