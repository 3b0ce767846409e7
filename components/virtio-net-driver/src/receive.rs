//! Frames from the device to the manager, and buffers back.
//!
//! Invariant: a buffer that the manager gave is in `books` and in a chain of
//! the queue, both or neither. What the queue has no room for stays in the
//! manager's ring, which holds every buffer there is; so nothing is kept here
//! but numbers, and a buffer is posted again by its chain as it stands.

use nic_api::{HEADER_SPLIT, NicInfo, ReceiveBuffer, Received, nic_features};
use shared_ring::{Consumer, Producer, RingError};
use virtio_queue::{DeviceError, Piece, Used};

use crate::books::Buffers;
use crate::check::ETHERNET;
use crate::counters::Counters;
use crate::header::{self, HEADER_BYTES};
use crate::setup::{QUEUE_SIZE, RxQueue};
use crate::stop::StopReason;

/// Receive buffers are fetched back once so many are missing.
const RECYCLE_BATCH: u16 = 32;

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) queue: RxQueue,
    pub(crate) filled: Producer<Received>,
    free: Consumer<ReceiveBuffer>,
    books: Buffers,
    /// Whether received headers say something about checksums.
    checksums: bool,
    mtu: u32,
    /// Bytes of payload that a buffer has room for at least.
    least_room: u32,
    /// Descriptors that a buffer takes.
    each: u16,
    /// Buffers are fetched from the manager once so many descriptors are free.
    refill_at: u16,
    /// With so many free, at least `refill_at`, the manager is asked to wake
    /// us when it gives one.
    low_at: u16,
}

impl Receiver {
    pub(crate) fn new(
        queue: RxQueue,
        filled: Producer<Received>,
        free: Consumer<ReceiveBuffer>,
        info: NicInfo,
    ) -> Self {
        let each = queue.descriptors_for(2) as u16;
        let most = queue.size() / each;
        Self {
            queue,
            filled,
            free,
            books: Buffers::new(),
            checksums: info.features & nic_features::GUEST_CHECKSUM != 0,
            mtu: info.mtu,
            least_room: info.mtu + ETHERNET - HEADER_SPLIT,
            each,
            refill_at: each * RECYCLE_BATCH.min(most.div_ceil(4)),
            low_at: each * (most / 2 + 1),
        }
    }

    /// Hands received frames to the manager.
    pub(crate) fn receive(&mut self, counters: &Counters) -> Result<(), StopReason> {
        let (mut frames, mut bytes) = (0, 0);
        for _ in 0..QUEUE_SIZE {
            match self.queue.pop() {
                Ok(None) => break,
                Ok(Some(used)) => {
                    if let Some(len) = self.deliver(used, counters) {
                        frames += 1;
                        bytes += u64::from(len);
                    }
                }
                Err(error) => self.false_receipt(error, counters)?,
            }
        }
        if frames != 0 {
            counters.rx_frames.add(frames);
            counters.rx_bytes.add(bytes);
        }
        Ok(())
    }

    /// Passes the frame in a chain that came back to the manager; its length,
    /// or `None` if it was dropped.
    #[inline]
    fn deliver(&mut self, used: Used, counters: &Counters) -> Option<u32> {
        let len = used.len.wrapping_sub(HEADER_BYTES);
        if len.wrapping_sub(ETHERNET) > self.mtu {
            counters.rx_runt.add(1);
            self.post_again();
            return None;
        }
        let mut flags = 0;
        if self.checksums {
            flags = self.queue.header(used.head).map_or(0, header::received);
        }
        let frame = Received {
            id: used.token,
            len,
            flags: flags.into(),
            reserved: 0,
        };
        if self.filled.push(&frame).is_err() {
            counters.rx_no_room.add(1);
            self.post_again();
            return None;
        }
        self.books.give(used.token);
        Some(len)
    }

    /// Posts the buffer of the chain that came back last again.
    #[cold]
    fn post_again(&mut self) {
        // There is such a chain: it was taken a moment ago.
        let _ = self.queue.add_again();
    }

    /// Counts a false completion; an index jump ends the driver.
    #[cold]
    fn false_receipt(&mut self, error: DeviceError, counters: &Counters) -> Result<(), StopReason> {
        counters.device_errors.add(1);
        match error {
            DeviceError::IndexJump { .. } => return Err(error.into()),
            DeviceError::TooLong { .. } => self.post_again(),
            DeviceError::UnknownId(_) | DeviceError::NotInFlight(_) => {}
        }
        Ok(())
    }

    /// Fetches buffers from the manager, in batches, for as long as the queue
    /// has room.
    pub(crate) fn recycle(&mut self, counters: &Counters) -> Result<(), RingError> {
        if self.queue.free() < self.refill_at {
            return Ok(());
        }
        let mut buffer = ReceiveBuffer::default();
        for _ in 0..QUEUE_SIZE {
            if self.queue.free() < self.each || !self.free.pop_into(&mut buffer)? {
                break;
            }
            if self.post(&buffer).is_none() {
                counters.manager_refused.add(1);
            }
        }
        Ok(())
    }

    /// Posts a buffer of the manager, `None` if it is refused: it is ours
    /// already, or there is no such, or the longest frame does not fit it.
    #[inline]
    fn post(&mut self, buffer: &ReceiveBuffer) -> Option<()> {
        if buffer.payload_len < self.least_room || !self.books.take(buffer.id) {
            return None;
        }
        let pieces = [
            Piece {
                paddr: buffer.header,
                len: HEADER_SPLIT,
            },
            Piece {
                paddr: buffer.payload,
                len: buffer.payload_len,
            },
        ];
        // There is room: `recycle` looked.
        self.queue.add_to_write(pieces.into_iter(), buffer.id).ok()
    }

    /// Buffers on the driver's side.
    pub(crate) fn posted(&self) -> u16 {
        (self.queue.size() - self.queue.free()) / self.each
    }

    /// Whether buffers are there that the next pass would fetch.
    #[inline]
    pub(crate) fn hears_manager(&self) -> bool {
        self.queue.free() >= self.low_at && !self.free.looks_empty()
    }

    /// Asks device and manager to wake us; true if neither has anything yet.
    #[inline]
    pub(crate) fn arm(&mut self) -> Result<bool, StopReason> {
        let mut idle = self.queue.arm(1)?;
        if self.queue.free() >= self.low_at {
            idle &= self.free.arm()?;
        }
        Ok(idle)
    }
}
