//! The frame channel to the NIC driver, in shared memory.
//!
//! Problem: the driver may write anything into rings and buffers at any time.
//! Invariant: who has a buffer is known from a private table alone; a
//! descriptor is copied once and checked before use; a frame is copied once
//! into private memory, and what is done with it later sees only the copy.

use alloc::vec::Vec;
use core::fmt;

use nic_api::{
    BUFFERS, FrameDescriptor, HEADROOM, NicInfo, RING, RX_FILLED_OFFSET, RX_FREE_OFFSET,
    TX_DONE_OFFSET, TX_READY_OFFSET, buffer_bytes, frame_flags, region_bytes,
};
use shared_ring::{AttachError, Consumer, OutOfRange, Producer, RingLayout, SharedMemory};

use crate::environment::{DriverFault, PartialChecksum, Received};

/// Send buffers at which returned ones need not be looked for: as many as the
/// longest datagram takes in fragments at the smallest MTU.
const ENOUGH: usize = 128;

/// Why the channel could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicError {
    /// A ring's header is not as it should be.
    Ring(AttachError),
    /// A region is too small; the system description's fault.
    Region,
    /// The driver published an MTU that the buffers are too small for.
    Mtu(u32),
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(e) => write!(f, "frame channel: {e}"),
            Self::Region => f.write_str("frame channel: region too small"),
            Self::Mtu(mtu) => write!(f, "the NIC driver states an MTU of {mtu}"),
        }
    }
}

impl core::error::Error for NicError {}

impl From<AttachError> for NicError {
    fn from(error: AttachError) -> Self {
        Self::Ring(error)
    }
}

impl From<OutOfRange> for NicError {
    fn from(_: OutOfRange) -> Self {
        Self::Region
    }
}

/// Our side of the frame channel.
pub struct Nic {
    filled: Consumer<FrameDescriptor>,
    free: Producer<FrameDescriptor>,
    ready: Producer<FrameDescriptor>,
    done: Consumer<FrameDescriptor>,
    buffers: SharedMemory,
    buffer_bytes: usize,
    /// Send buffers that are ours.
    ours: Vec<u32>,
    /// By send buffer: the driver has it.
    lent: [bool; BUFFERS as usize],
    fault: Option<DriverFault>,
}

impl Nic {
    /// Attaches to the channel, once the driver has published `info`.
    ///
    /// # Errors
    /// [`NicError`]; nothing is changed then.
    pub fn attach(
        control: &SharedMemory,
        buffers: SharedMemory,
        info: &NicInfo,
    ) -> Result<Self, NicError> {
        let mtu = info.mtu as usize;
        if mtu > 65535 || region_bytes(mtu) > buffers.len() {
            return Err(NicError::Mtu(info.mtu));
        }
        let at = |offset| -> Result<(SharedMemory, RingLayout), OutOfRange> {
            Ok((control.slice(offset, RING.bytes())?, RING))
        };
        let (filled, layout) = at(RX_FILLED_OFFSET)?;
        Ok(Self {
            filled: Consumer::attach(filled, layout)?,
            free: Producer::attach(at(RX_FREE_OFFSET)?.0, layout)?,
            ready: Producer::attach(at(TX_READY_OFFSET)?.0, layout)?,
            done: Consumer::attach(at(TX_DONE_OFFSET)?.0, layout)?,
            buffers,
            buffer_bytes: buffer_bytes(mtu),
            ours: (BUFFERS..2 * BUFFERS).rev().collect(),
            lent: [false; BUFFERS as usize],
            fault: None,
        })
    }

    /// See [`Environment::receive_frame`](crate::Environment::receive_frame).
    ///
    /// # Errors
    /// [`DriverFault`].
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Option<Received>, DriverFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let Some(frame) = self.filled.pop().map_err(DriverFault::Ring)? else {
            return Ok(None);
        };
        frame
            .check(0, self.buffer_bytes)
            .map_err(DriverFault::Descriptor)?;
        // Receive buffers are with the driver but for the moment of this copy,
        // so none can be handed over twice at a time.
        let len = frame.len as usize;
        let at = frame.buffer as usize * self.buffer_bytes + HEADROOM;
        let copied = into
            .get_mut(..len)
            .is_some_and(|into| self.buffers.read(at, into).is_ok());
        let back = FrameDescriptor {
            buffer: frame.buffer,
            ..FrameDescriptor::default()
        };
        // A driver that leaves no room for what it gave loses the buffer.
        self.free.push(&back).ok();
        if !copied {
            let error = nic_api::DescriptorError::Length(frame.len);
            return Err(DriverFault::Descriptor(error));
        }
        let verified = frame_flags::CHECKSUM_VALID | frame_flags::NEEDS_CHECKSUM;
        Ok(Some(Received {
            len,
            verified: frame.flags & verified != 0,
        }))
    }

    /// Frames that can be sent now.
    pub fn room(&mut self) -> usize {
        if self.ours.len() < ENOUGH {
            self.reclaim();
        }
        self.ours.len()
    }

    /// Takes back the send buffers that the device has let go of.
    pub fn reclaim(&mut self) {
        for _ in 0..BUFFERS {
            match self.done.pop() {
                Ok(Some(done)) => {
                    let slot = done.buffer.wrapping_sub(BUFFERS) as usize;
                    match self.lent.get_mut(slot) {
                        Some(lent @ true) => {
                            *lent = false;
                            self.ours.push(done.buffer);
                        }
                        _ => self.fault = Some(DriverFault::NotItsBuffer(done.buffer)),
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.fault = Some(DriverFault::Ring(error));
                    return;
                }
            }
        }
    }

    /// Sends a frame; false if there was no room.
    pub fn send(&mut self, frame: &[u8], checksum: Option<PartialChecksum>) -> bool {
        if frame.len() > self.buffer_bytes - HEADROOM || self.room() == 0 {
            return false;
        }
        let Some(buffer) = self.ours.pop() else {
            return false;
        };
        let at = buffer as usize * self.buffer_bytes + HEADROOM;
        let descriptor = FrameDescriptor {
            buffer,
            len: frame.len() as u32,
            flags: checksum.map_or(0, |_| frame_flags::NEEDS_CHECKSUM),
            checksum: checksum.map_or(0, |c| u32::from(c.start) | u32::from(c.offset) << 16),
        };
        if self.buffers.write(at, frame).is_err() || self.ready.push(&descriptor).is_err() {
            self.ours.push(buffer);
            return false;
        }
        self.lent[(buffer - BUFFERS) as usize] = true;
        true
    }

    /// Shows all that was pushed to the driver; true if it must be signalled.
    #[must_use = "the driver sleeps until it is signalled"]
    pub fn publish(&mut self) -> bool {
        let free = self.free.publish();
        self.ready.publish() || free
    }

    /// Asks for a signal at the next frame or (`sends_wait`) returned buffer;
    /// true if the caller may sleep.
    ///
    /// # Errors
    /// [`DriverFault`]: treat the driver as silent.
    pub fn arm(&mut self, sends_wait: bool) -> Result<bool, DriverFault> {
        let frames = self.filled.arm().map_err(DriverFault::Ring)?;
        let done = !sends_wait || self.done.arm().map_err(DriverFault::Ring)?;
        Ok(frames && done)
    }

    /// Withdraws `arm`, once awake.
    pub fn disarm(&mut self) {
        self.filled.disarm();
        self.done.disarm();
    }
}
