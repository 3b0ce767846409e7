//! Frames from the device to the manager, and buffers back.
//!
//! Invariant: a buffer that the manager gave is in `books` and in a chain of
//! the queue, both or neither. What the queue has no room for stays in the
//! manager's ring, which holds every buffer there is; so nothing is kept here
//! but numbers, and a buffer is posted again by its chain as it stands.
//!
//! A frame may take several buffers if that was agreed on. The device shows them
//! all at once, each but the last one full (virtio 1.2, 5.1.6.4); one that does
//! not has lost count of its frames, and is stopped.

use nic_api::{
    HEADER_SPLIT, MOST_BUFFERS, MOST_FRAME, NicInfo, ReceiveBuffer, Received, nic_features,
};
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
    /// Whether they say how many buffers a frame takes.
    merges: bool,
    /// Most bytes of a packet in one buffer.
    most: u32,
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
        let merges = info.features & nic_features::LONG_RECEIVE != 0;
        Self {
            queue,
            filled,
            free,
            books: Buffers::new(),
            checksums: info.features & nic_features::GUEST_CHECKSUM != 0,
            merges,
            most: if merges {
                MOST_FRAME - ETHERNET
            } else {
                info.mtu
            },
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
                    let buffers = self.buffers(&used);
                    let delivered = match buffers {
                        1 => self.deliver(used, counters),
                        _ => self.deliver_merged(used, buffers, counters)?,
                    };
                    if let Some(len) = delivered {
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

    /// How many buffers the frame takes that begins in the one that came back.
    #[inline]
    fn buffers(&self, first: &Used) -> u16 {
        match self.queue.header(first.head) {
            Some(header) if self.merges => header::buffers(header),
            _ => 1,
        }
    }

    /// What the header of the frame in a chain says of its checksum.
    #[inline]
    fn marks(&self, first: &Used) -> u32 {
        match self.queue.header(first.head) {
            Some(header) if self.checksums => header::received(header).into(),
            _ => 0,
        }
    }

    /// Passes the frame in a chain that came back to the manager; its length,
    /// or `None` if it was dropped.
    #[inline]
    fn deliver(&mut self, used: Used, counters: &Counters) -> Option<u32> {
        let len = used.len.wrapping_sub(HEADER_BYTES);
        if len.wrapping_sub(ETHERNET) > self.most {
            counters.rx_runt.add(1);
            self.post_again();
            return None;
        }
        let frame = Received {
            id: used.token,
            len,
            flags: self.marks(&used),
            following: 0,
        };
        if self.filled.push(&frame).is_err() {
            counters.rx_no_room.add(1);
            self.post_again();
            return None;
        }
        self.books.give(used.token);
        Some(len)
    }

    /// As `deliver`, of a frame in so many buffers, the first of which came
    /// back.
    #[inline(never)]
    fn deliver_merged(
        &mut self,
        first: Used,
        buffers: u16,
        counters: &Counters,
    ) -> Result<Option<u32>, StopReason> {
        let mut all = [first; MOST_BUFFERS as usize];
        let following = u32::from(buffers).wrapping_sub(1);
        let rest = all
            .get_mut(1..usize::from(buffers))
            .ok_or(StopReason::Torn)?;
        let written = self.gather(first, rest)?;
        let len = written.wrapping_sub(HEADER_BYTES);
        if len > MOST_FRAME {
            return Err(StopReason::Torn);
        }
        if !self.filled.has_room(u32::from(buffers)).unwrap_or(false) {
            // The ring has room for all buffers, so the manager has broken it:
            // it loses them.
            counters.rx_no_room.add(1);
            return Ok(None);
        }
        let frame = Received {
            id: first.token,
            len,
            flags: self.marks(&first),
            following,
        };
        self.hand_over(&frame);
        for used in rest {
            let start = self.queue.header(used.head).map_or([0; 12], header::start);
            self.hand_over(&Received::rest(used.token, start));
        }
        Ok(Some(len))
    }

    /// Takes the buffers that a frame goes on in; how many bytes the device
    /// wrote to all of them.
    fn gather(&mut self, first: Used, rest: &mut [Used]) -> Result<u32, StopReason> {
        let (mut last, mut written) = (first, first.len);
        for place in rest {
            let full = last.len == last.room;
            match self.queue.pop() {
                Ok(Some(used)) if full && used.len != 0 => last = used,
                _ => return Err(StopReason::Torn),
            }
            *place = last;
            written = written.saturating_add(last.len);
        }
        Ok(written)
    }

    /// Enters a buffer into the ring, which has room for it.
    #[inline]
    fn hand_over(&mut self, entry: &Received) {
        let _ = self.filled.push(entry);
        self.books.give(entry.id);
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
