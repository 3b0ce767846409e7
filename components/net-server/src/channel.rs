//! Our side of the channel to the I/O manager, in shared memory.
//!
//! Problem: the manager may write anything into rings and headers at any
//! time. Invariant: who has a send slot is known from a private table alone;
//! an entry is copied once out of its ring, a header once out of its region,
//! and what is done with them later sees only the copies; what a round
//! releases is on the ring before the round is shown; nothing is refused for
//! want of a slot before those were looked for that have come back.

use alloc::vec::Vec;
use core::fmt;

use nic_api::NicInfo;
use shared_ring::{AttachError, Consumer, OutOfRange, Producer, RingLayout, SharedMemory};
use socket_api::{
    FROM_SERVER, FROM_SERVER_OFFSET, Message, RELEASE_MOST, Release, SEGMENT_FRAMES, SEND_SLOTS,
    SLOTS_DONE, SLOTS_DONE_OFFSET, SlotDone, TO_SERVER, TO_SERVER_OFFSET, headers_bytes, kind,
    segments_in_slot, send_slots_bytes, whole_slot_bytes,
};

use crate::environment::{Environment, ManagerFault, Outgoing};

/// Send slots at which returned ones need not be looked for: as many as the
/// longest datagram takes in fragments at the smallest MTU.
const ENOUGH: usize = 128;
/// Packets that may be given back without waking the manager: few enough for
/// the device to have plenty left.
const UNSAID: usize = 64;

/// Why the channel could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// A ring's header is not as it should be.
    Ring(AttachError),
    /// A region is too small; the system description's fault.
    Region,
    /// The manager published an MTU that the regions are too small for.
    Mtu(u32),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(e) => write!(f, "channel to the I/O manager: {e}"),
            Self::Region => f.write_str("channel to the I/O manager: region too small"),
            Self::Mtu(mtu) => write!(f, "the I/O manager states an MTU of {mtu}"),
        }
    }
}

impl core::error::Error for ChannelError {}

impl From<AttachError> for ChannelError {
    fn from(error: AttachError) -> Self {
        Self::Ring(error)
    }
}

impl From<OutOfRange> for ChannelError {
    fn from(_: OutOfRange) -> Self {
        Self::Region
    }
}

/// Our side of the channel.
pub struct Channel {
    incoming: Consumer<Message>,
    outgoing: Producer<Message>,
    done: Consumer<SlotDone>,
    headers: SharedMemory,
    slots: SharedMemory,
    slot_bytes: usize,
    /// Send slots that are ours.
    ours: Vec<u16>,
    /// By send slot: the manager has it.
    lent: [bool; SEND_SLOTS as usize],
    /// And so many frames of a segment with it.
    frames: [u8; SEND_SLOTS as usize],
    /// How many more frames of segments it may have, and of one segment.
    more_frames: u32,
    most_frames: u32,
    release: Release,
    /// Packets given back since the manager would last have been woken.
    unsaid: usize,
    fault: Option<ManagerFault>,
}

impl Channel {
    /// Attaches to the rings in the control region, once the manager has
    /// published `info` there. A manager that is `near` runs in the same thread.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing is changed then.
    pub fn attach(
        control: &SharedMemory,
        headers: SharedMemory,
        slots: SharedMemory,
        info: &NicInfo,
        near: bool,
    ) -> Result<Self, ChannelError> {
        let mtu = info.mtu as usize;
        if mtu > 65535 || headers_bytes(mtu) > headers.len() || send_slots_bytes(mtu) > slots.len()
        {
            return Err(ChannelError::Mtu(info.mtu));
        }
        let at = |offset, layout: RingLayout| control.slice(offset, layout.bytes());
        Ok(Self {
            incoming: Consumer::attach(at(TO_SERVER_OFFSET, TO_SERVER)?, TO_SERVER)?.near(near),
            outgoing: Producer::attach(at(FROM_SERVER_OFFSET, FROM_SERVER)?, FROM_SERVER)?,
            done: Consumer::attach(at(SLOTS_DONE_OFFSET, SLOTS_DONE)?, SLOTS_DONE)?.near(near),
            headers,
            slots,
            slot_bytes: whole_slot_bytes(mtu),
            ours: (0..SEND_SLOTS as u16).rev().collect(),
            lent: [false; SEND_SLOTS as usize],
            frames: [0; SEND_SLOTS as usize],
            more_frames: SEGMENT_FRAMES,
            most_frames: segments_in_slot(mtu).min(u8::MAX.into()),
            release: Release::default(),
            unsaid: 0,
            fault: None,
        })
    }

    /// Shows what was said to the manager; true if it must be signalled.
    #[must_use = "the manager sleeps until it is signalled"]
    pub fn publish(&mut self) -> bool {
        self.flush();
        self.outgoing.publish()
    }

    /// Asks for a signal at the next entry, also if that is quiet and somebody is
    /// `hungry`, and if `blocked` at the next send slot that comes back; true if
    /// the caller may sleep. If `blocked`, it must signal the manager first, which
    /// looks at who waits for the device only before it sleeps.
    ///
    /// # Errors
    /// [`ManagerFault`]: treat the manager as silent.
    pub fn arm(&mut self, blocked: bool, hungry: bool) -> Result<bool, ManagerFault> {
        let slots = !blocked || self.done.arm_for_anything().map_err(ManagerFault::Ring)?;
        let entries = match hungry {
            true => self.incoming.arm_for_anything(),
            false => self.incoming.arm(),
        };
        let entries = entries.map_err(ManagerFault::Ring)?;
        Ok(slots && entries)
    }

    /// Withdraws `arm`, once awake.
    pub fn disarm(&mut self) {
        self.incoming.disarm();
        self.done.disarm();
    }

    /// Takes back the slots that the manager is done with.
    #[cold]
    #[inline(never)]
    fn reclaim(&mut self) {
        loop {
            match self.done.pop() {
                Ok(None) => return,
                Ok(Some(done)) => match self.lent.get_mut(done.slot as usize) {
                    Some(lent) if *lent => {
                        *lent = false;
                        self.ours.push(done.slot as u16);
                        self.more_frames += u32::from(self.frames[done.slot as usize]);
                    }
                    _ => self.fault = Some(ManagerFault::NotItsSlot(done.slot)),
                },
                Err(e) => {
                    self.fault = Some(ManagerFault::Ring(e));
                    return;
                }
            }
        }
    }

    /// The region of received headers.
    pub(crate) const fn headers(&self) -> SharedMemory {
        self.headers
    }

    /// Sends a frame whose payload `fill` writes to the region of send slots,
    /// from a place on, behind the headers; false if there was no room, or the
    /// frame is longer than a slot, or `fill` says so.
    #[inline]
    pub(crate) fn transmit_by_value(
        &mut self,
        frame: &Outgoing<'_>,
        fill: impl FnOnce(&SharedMemory, usize) -> bool,
    ) -> bool {
        let len = frame.len();
        if self.ours.is_empty() {
            self.reclaim();
        }
        let fits = len <= self.slot_bytes && matches!(self.outgoing.has_room(1), Ok(true));
        let Some(slot) = self.ours.pop_if(|_| fits) else {
            return false;
        };
        let at = usize::from(slot) * self.slot_bytes;
        let written = self.slots.write(at, frame.header).is_ok()
            && fill(&self.slots, at + frame.header.len());
        let mut transmit = Outgoing {
            parts: &[],
            done: false,
            ..*frame
        }
        .entry(slot, 0);
        transmit.header_len = len as u16;
        if !written || self.outgoing.push(&transmit.into()).is_err() {
            self.ours.push(slot);
            return false;
        }
        self.lent[usize::from(slot)] = true;
        true
    }

    /// Puts the packets given back on the ring.
    #[inline(never)]
    fn flush(&mut self) {
        if self.release.count == 0 {
            return;
        }
        self.release.kind = kind::RELEASE;
        self.unsaid += usize::from(self.release.count);
        let message = Message::from(core::mem::take(&mut self.release));
        // There is always room, unless the manager broke the ring.
        let _ = if self.unsaid >= UNSAID {
            self.unsaid = 0;
            self.outgoing.push(&message)
        } else {
            self.outgoing.push_quietly(&message)
        };
    }
}

impl Environment for Channel {
    #[inline]
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.incoming.pop_into(message).map_err(ManagerFault::Ring)
    }

    #[inline]
    fn read_header(&self, at: u32, into: &mut [u8]) -> bool {
        self.headers.read(at as usize, into).is_ok()
    }

    #[inline]
    fn header<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.headers.read_array(at as usize).ok()
    }

    #[inline]
    fn has_room(&mut self, frames: usize) -> bool {
        if self.ours.len() < ENOUGH {
            self.reclaim();
        }
        self.ours.len() >= frames
    }

    #[inline]
    fn segment_room(&mut self) -> u32 {
        if self.ours.len() < ENOUGH || self.more_frames < self.most_frames {
            self.reclaim();
        }
        match self.ours.is_empty() {
            true => 0,
            false => self.most_frames.min(self.more_frames),
        }
    }

    #[inline]
    fn transmit(&mut self, frame: &Outgoing<'_>) -> bool {
        let entries = frame.entries();
        if self.ours.is_empty() || frame.frames > self.more_frames {
            self.reclaim();
        }
        let fits = frame.header.len() <= self.slot_bytes
            && frame.frames <= self.most_frames.min(self.more_frames)
            && matches!(self.outgoing.has_room(entries as u32), Ok(true));
        let Some(slot) = self.ours.pop_if(|_| fits) else {
            return false;
        };
        let at = usize::from(slot) * self.slot_bytes;
        // A segment's headers are as long as that, and a datagram's.
        let header = frame.header;
        let written = match (header.as_array::<54>(), header.as_array::<42>()) {
            (Some(header), _) => self.slots.write_array(at, header),
            (_, Some(header)) => self.slots.write_array(at, header),
            _ => self.slots.write(at, header),
        };
        if written.is_err() {
            self.ours.push(slot);
            return false;
        }
        for entry in 0..entries {
            let transmit = frame.entry(slot, entry * socket_api::TRANSMIT_PARTS);
            if self.outgoing.push(&transmit.into()).is_err() {
                break;
            }
        }
        self.lent[usize::from(slot)] = true;
        self.frames[usize::from(slot)] = frame.frames as u8;
        self.more_frames -= frame.frames;
        true
    }

    #[inline]
    fn tell(&mut self, message: &Message) -> bool {
        self.unsaid = 0;
        self.outgoing.push(message).is_ok()
    }

    #[inline]
    fn tell_quietly(&mut self, message: &Message) -> bool {
        self.outgoing.push_quietly(message).is_ok()
    }

    #[inline(always)]
    fn release(&mut self, packet: u32) {
        if usize::from(self.release.count) == RELEASE_MOST {
            self.flush();
        }
        self.release.packets[usize::from(self.release.count)] = packet;
        self.release.count += 1;
    }
}
