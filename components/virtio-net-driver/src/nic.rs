//! The passes of the driver.

use core::fmt;

use nic_api::{BUFFERS, FrameDescriptor, HEADROOM, NicInfo, frame_flags, nic_features};
use shared_ring::{Consumer, Producer, RingError};
use virtio_queue::{
    AddError, DeviceError, DmaSpan, Segment, Transport, VirtQueue, interrupt, status,
};

use crate::books::{Books, Spare};
use crate::counters::Counters;
use crate::header::{self, HEADER_BYTES};
use crate::init::{HEADER_STRIDE, PLAIN_HEADER, QUEUE_SIZE};

/// Numbers of the queues (virtio 1.2, 5.1.2).
pub(crate) const RX: u16 = 0;
pub(crate) const TX: u16 = 1;

/// Ethernet header: addresses and type.
const ETHERNET: u32 = 14;
/// Receive buffers are fetched back once so many are with the server.
const RECYCLE_BATCH: u32 = 32;
/// Below this many, the server is asked to wake us when it gives one back.
const RX_LOW: u32 = BUFFERS / 2;
/// Above this many frames in flight, the device is asked to wake us.
const TX_HIGH: u16 = (BUFFERS / 4) as u16;

/// What is to be done after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The server asked for a signal.
    pub signal: bool,
    /// There is nothing to do, and whoever makes some will wake the driver.
    pub idle: bool,
}

/// Why the driver stopped; the device is reset, so it touches no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The device's index jumped.
    Device(DeviceError),
    /// The device says that it gave up.
    NeedsReset,
    /// The server's index jumped.
    Server(RingError),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(e) => write!(f, "network device: {e}"),
            Self::NeedsReset => write!(f, "network device: it gave up"),
            Self::Server(e) => write!(f, "protocol server: {e}"),
        }
    }
}

impl core::error::Error for StopReason {}

impl From<DeviceError> for StopReason {
    fn from(e: DeviceError) -> Self {
        Self::Device(e)
    }
}

impl From<RingError> for StopReason {
    fn from(e: RingError) -> Self {
        Self::Server(e)
    }
}

/// A running NIC.
#[derive(Debug)]
pub struct Nic<T: Transport> {
    pub(crate) info: NicInfo,
    pub(crate) has_status: bool,
    /// Whether received headers say something about checksums.
    pub(crate) checksums: bool,
    pub(crate) device: T,
    pub(crate) rx: VirtQueue<QUEUE_SIZE>,
    pub(crate) tx: VirtQueue<QUEUE_SIZE>,
    pub(crate) rx_filled: Producer<FrameDescriptor>,
    pub(crate) rx_free: Consumer<FrameDescriptor>,
    pub(crate) tx_ready: Consumer<FrameDescriptor>,
    pub(crate) tx_done: Producer<FrameDescriptor>,
    pub(crate) rx_books: Books,
    pub(crate) tx_books: Books,
    pub(crate) spare: Spare,
    /// Whether the device was asked to wake us when frames are sent.
    pub(crate) tx_armed: bool,
    pub(crate) buffers: DmaSpan,
    pub(crate) headers: DmaSpan,
    /// Bytes from buffer to buffer.
    pub(crate) stride: usize,
    /// Bytes of the longest frame in a buffer.
    pub(crate) room: u32,
    pub(crate) counters: Counters,
}

impl<T: Transport> Nic<T> {
    /// What the device is like.
    #[must_use]
    pub const fn info(&self) -> NicInfo {
        self.info
    }

    /// Takes an interrupt: lets the line drop, and looks why if it is not for
    /// the queues. The interrupt may be let through again after the next
    /// passes ended idle.
    ///
    /// # Errors
    /// [`StopReason::NeedsReset`]; the device is reset then.
    #[inline]
    pub fn interrupt(&mut self) -> Result<(), StopReason> {
        self.counters.irqs.add(1);
        if self.device.interrupt_status() & interrupt::CONFIG != 0 {
            if self.device.status() & status::NEEDS_RESET != 0 {
                self.device.set_status(0);
                return Err(StopReason::NeedsReset);
            }
            self.update_link();
        }
        Ok(())
    }

    /// One pass over both queues and all rings. Ends after a bounded number
    /// of steps.
    ///
    /// # Errors
    /// A [`StopReason`]; the device is reset then.
    #[inline]
    pub fn poll(&mut self) -> Result<Outcome, StopReason> {
        let outcome = self.pass();
        if outcome.is_err() {
            self.device.set_status(0);
        }
        outcome
    }

    fn pass(&mut self) -> Result<Outcome, StopReason> {
        self.receive()?;
        self.reclaim()?;
        let blocked = self.send()?;
        self.recycle()?;
        let signal = self.rx_filled.publish() | self.tx_done.publish();
        if signal {
            self.counters.signals.add(1);
        }
        let idle = self.arm(blocked)?;
        Ok(Outcome { signal, idle })
    }

    /// Hands received frames to the server.
    fn receive(&mut self) -> Result<(), StopReason> {
        let (mut frames, mut bytes) = (0, 0);
        for _ in 0..BUFFERS {
            match self.rx.pop() {
                Ok(None) => break,
                Ok(Some(used)) => {
                    if let Some(len) = self.deliver(used.token, used.len) {
                        frames += 1;
                        bytes += u64::from(len);
                    }
                }
                Err(error) => self.device_lied(error)?,
            }
        }
        if frames != 0 {
            self.counters.rx_frames.add(frames);
            self.counters.rx_bytes.add(bytes);
        }
        Ok(())
    }

    /// Passes buffer `buffer`, in which the device wrote `written` bytes, to
    /// the server; the frame's length, or `None` if it was dropped.
    #[inline]
    fn deliver(&mut self, buffer: u32, written: u32) -> Option<u32> {
        let len = written.wrapping_sub(HEADER_BYTES as u32);
        if len.wrapping_sub(ETHERNET) > self.room - ETHERNET {
            self.counters.rx_runt.add(1);
            self.post(buffer);
            return None;
        }
        let (mut flags, mut checksum) = (0, 0);
        if self.checksums {
            let at = buffer as usize * self.stride + HEADROOM - HEADER_BYTES;
            (flags, checksum) = header::received(&self.buffers.memory, at).ok()?;
        }
        let frame = FrameDescriptor {
            buffer,
            len,
            flags,
            checksum,
        };
        if self.rx_filled.push(&frame).is_err() {
            self.counters.rx_no_room.add(1);
            self.post(buffer);
            return None;
        }
        self.rx_books.give(buffer);
        Some(len)
    }

    /// Posts receive buffer `buffer` of ours to the device.
    #[inline]
    pub(crate) fn post(&mut self, buffer: u32) {
        let offset = buffer as usize * self.stride + HEADROOM - HEADER_BYTES;
        let segment = Segment::to_write(
            self.buffers.paddr + offset as u64,
            self.room + HEADER_BYTES as u32,
        );
        if let Err(AddError::Full) = self.rx.add(&[segment], buffer) {
            self.spare.push(buffer);
        }
    }

    /// Fetches receive buffers back from the server, in batches, and shows
    /// all posted ones to the device.
    fn recycle(&mut self) -> Result<(), StopReason> {
        if self.rx_books.count() <= BUFFERS - RECYCLE_BATCH {
            for _ in 0..BUFFERS {
                let Some(given) = self.rx_free.pop()? else {
                    break;
                };
                if self.rx_books.take(given.buffer) {
                    self.post(given.buffer);
                } else {
                    self.counters.server_refused.add(1);
                }
            }
        }
        while self.rx.free() != 0 {
            let Some(buffer) = self.spare.pop() else {
                break;
            };
            self.post(buffer);
        }
        self.ring_rx();
        Ok(())
    }

    /// Shows posted receive buffers to the device.
    #[inline]
    pub(crate) fn ring_rx(&mut self) {
        if self.rx.publish() {
            self.counters.doorbells.add(1);
            self.device.notify(RX);
        }
    }

    /// Gives buffers of sent frames back to the server.
    fn reclaim(&mut self) -> Result<(), StopReason> {
        if self.tx_armed {
            self.tx_armed = false;
            self.tx.quiet();
        }
        for _ in 0..BUFFERS {
            match self.tx.pop() {
                Ok(None) => break,
                Ok(Some(used)) => self.give_back(used.token),
                Err(error) => self.device_lied(error)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn give_back(&mut self, slot: u32) {
        let done = FrameDescriptor {
            buffer: slot + BUFFERS,
            ..FrameDescriptor::default()
        };
        self.tx_books.give(slot);
        if self.tx_done.push(&done).is_err() {
            self.counters.tx_no_room.add(1);
        }
    }

    /// Hands the server's frames to the device; true if some had to stay for
    /// want of descriptors.
    fn send(&mut self) -> Result<bool, StopReason> {
        let (mut frames, mut bytes, mut blocked) = (0, 0, false);
        for _ in 0..BUFFERS {
            if self.tx.free() < 2 {
                blocked = true;
                break;
            }
            let Some(frame) = self.tx_ready.pop()? else {
                break;
            };
            if self.submit(&frame).is_some() {
                frames += 1;
                bytes += u64::from(frame.len);
            } else {
                self.counters.server_refused.add(1);
            }
        }
        if frames != 0 {
            self.counters.tx_frames.add(frames);
            self.counters.tx_bytes.add(bytes);
        }
        if self.tx.publish() {
            self.counters.doorbells.add(1);
            self.device.notify(TX);
        }
        Ok(blocked)
    }

    /// Checks a frame of the server and adds it to the queue; `None` if it is
    /// refused.
    #[inline]
    fn submit(&mut self, frame: &FrameDescriptor) -> Option<()> {
        frame.check(BUFFERS, self.stride).ok()?;
        if frame.len.wrapping_sub(ETHERNET) > self.info.mtu {
            return None;
        }
        let slot = frame.buffer - BUFFERS;
        let mut header = PLAIN_HEADER;
        if frame.flags & frame_flags::NEEDS_CHECKSUM != 0 {
            let offered = self.info.features & nic_features::CHECKSUM != 0;
            // The books come first: while the device has the buffer it reads
            // the header that stands in the slot.
            if !offered || !header::checksum_fits(frame) || !self.tx_books.take(slot) {
                return None;
            }
            header = slot as usize * HEADER_STRIDE;
            header::write(&self.headers.memory, header, frame.checksum).ok()?;
        } else if !self.tx_books.take(slot) {
            return None;
        }
        let offset = frame.buffer as usize * self.stride + HEADROOM;
        let chain = [
            Segment::to_read(self.headers.paddr + header as u64, HEADER_BYTES as u32),
            Segment::to_read(self.buffers.paddr + offset as u64, frame.len),
        ];
        if self.tx.add(&chain, slot).is_err() {
            self.tx_books.give(slot);
            return None;
        }
        Some(())
    }

    /// Asks everybody who can make work to wake us; true if there is none yet.
    fn arm(&mut self, blocked: bool) -> Result<bool, StopReason> {
        let mut idle = self.rx.arm(1)?;
        let flying = self.tx.in_flight();
        if blocked || flying > TX_HIGH {
            self.tx_armed = true;
            idle &= self.tx.arm(flying / 2)?;
        }
        if !blocked {
            idle &= self.tx_ready.arm()?;
        }
        if self.rx_books.count() < RX_LOW {
            idle &= self.rx_free.arm()?;
        }
        if idle {
            self.counters.rx_posted.set(self.rx_books.count().into());
            self.counters.tx_in_flight.set(self.tx_books.count().into());
        }
        Ok(idle)
    }

    /// Counts a false completion; an index jump ends the driver.
    #[cold]
    fn device_lied(&mut self, error: DeviceError) -> Result<(), StopReason> {
        self.counters.device_errors.add(1);
        match error {
            DeviceError::IndexJump { .. } => return Err(error.into()),
            // The chain is free. Frames to send have no room to write: their
            // buffer goes to the server, a receive buffer back to the device.
            DeviceError::TooLong { token, room: 0, .. } => self.give_back(token),
            DeviceError::TooLong { token, .. } => self.post(token),
            DeviceError::UnknownId(_) | DeviceError::NotInFlight(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "nic_tests.rs"]
mod tests;
