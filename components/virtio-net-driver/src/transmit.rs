//! Frames from the manager to the device, and news of their being sent.
//!
//! Invariant: a frame that was handed to the device is in `sends` until the
//! device lets go of it, and the manager is told once. A frame that is refused
//! is told at once, unless its number is that of another frame: the manager
//! loses no number.

use nic_api::{SENDS, SendFrame, Sent, Span, frame_flags};
use shared_ring::{Consumer, Producer};
use virtio_queue::{DeviceError, Piece};

use crate::books::Sends;
use crate::check::Limits;
use crate::counters::Counters;
use crate::gather::Gather;
use crate::header;
use crate::setup::{QUEUE_SIZE, TxQueue};
use crate::stop::StopReason;

/// Above this many frames in flight, the device is asked to wake us.
const TX_HIGH: u16 = (SENDS / 4) as u16;

/// The queue with its books.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) queue: TxQueue,
    sends: Sends,
    limits: Limits,
    /// Chains added when the last frame that somebody waits for was.
    waited_at: u16,
}

impl Outbox {
    /// Checks a frame of the manager and adds it to the queue, which has room
    /// or never will; its length, or `None` if it is refused.
    #[inline(always)]
    fn submit(&mut self, frame: &SendFrame, spans: &[Span]) -> Option<u32> {
        let bytes = self.limits.check(frame, spans)?;
        let more = frame.flags & frame_flags::GROUP != 0;
        if !self.sends.begin(frame.id, more) {
            return None;
        }
        let pieces = spans.iter().map(|span| Piece {
            paddr: span.paddr,
            len: span.len,
        });
        let header = header::to_send(frame);
        if self.queue.add_to_read(header, pieces, frame.id).is_err() {
            // Its number is told by whoever hears that it is refused.
            self.sends.unsent(frame.id);
            return None;
        }
        if frame.flags & frame_flags::WAITED_FOR != 0 {
            self.sends.wait_for(frame.id);
            self.waited_at = self.queue.added();
        }
        Some(bytes)
    }

    /// As [`Outbox::submit`] for a frame of one entry. The compiler knows the
    /// number of spans in each case.
    #[inline]
    fn submit_entry(&mut self, frame: &SendFrame) -> Option<u32> {
        match frame.count {
            1 => self.submit(frame, &frame.spans[..1]),
            2 => self.submit(frame, &frame.spans[..2]),
            3 => self.submit(frame, &frame.spans[..3]),
            _ => None,
        }
    }

    /// After how many more completions somebody who waits is served.
    fn until_waited(&self) -> u16 {
        let behind = self.queue.added().wrapping_sub(self.waited_at);
        // Not in order: then each completion may be the one.
        self.queue.in_flight().saturating_sub(behind).max(1)
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct Transmitter {
    pub(crate) out: Outbox,
    ready: Consumer<SendFrame>,
    pub(crate) done: Producer<Sent>,
    gather: Gather,
    /// Descriptors that a frame of one entry takes at most.
    each: u16,
    /// Whether the device was asked to wake us when frames are sent.
    armed: bool,
    /// Whether frames stay with us for want of descriptors.
    blocked: bool,
}

impl Transmitter {
    pub(crate) fn new(
        mut queue: TxQueue,
        ready: Consumer<SendFrame>,
        done: Producer<Sent>,
        limits: Limits,
    ) -> Self {
        queue.quiet();
        Self {
            each: queue.descriptors_for(nic_api::SEND_SPANS) as u16,
            out: Outbox {
                queue,
                sends: Sends::new(),
                limits,
                waited_at: 0,
            },
            ready,
            done,
            gather: Gather::new(),
            armed: false,
            blocked: false,
        }
    }

    /// Tells the manager of sent frames.
    pub(crate) fn reclaim(&mut self, counters: &Counters) -> Result<(), StopReason> {
        if core::mem::take(&mut self.armed) {
            self.out.queue.quiet();
        }
        for _ in 0..QUEUE_SIZE {
            let id = match self.out.queue.pop() {
                Ok(None) => break,
                Ok(Some(used)) => used.token,
                Err(error) => match self.false_receipt(error, counters)? {
                    Some(id) => id,
                    None => continue,
                },
            };
            self.give_back(id, counters);
        }
        Ok(())
    }

    #[inline]
    fn give_back(&mut self, id: u32, counters: &Counters) {
        let Some(waited_for) = self.out.sends.end(id) else {
            return;
        };
        let sent = Sent { id, reserved: 0 };
        let pushed = if waited_for {
            self.done.push(&sent)
        } else {
            self.done.push_quietly(&sent)
        };
        if pushed.is_err() {
            counters.tx_no_room.add(1);
        }
    }

    /// Counts a false completion; an index jump ends the driver. The frame that
    /// the device has let go of nevertheless, if there is one.
    #[cold]
    fn false_receipt(
        &mut self,
        error: DeviceError,
        counters: &Counters,
    ) -> Result<Option<u32>, StopReason> {
        counters.device_errors.add(1);
        match error {
            DeviceError::IndexJump { .. } => Err(error.into()),
            // It claims to have written to it.
            DeviceError::TooLong { token, .. } => Ok(Some(token)),
            DeviceError::UnknownId(_) | DeviceError::NotInFlight(_) => Ok(None),
        }
    }

    /// Hands the manager's frames to the device.
    pub(crate) fn send(&mut self, counters: &Counters) -> Result<(), StopReason> {
        let (mut frames, mut bytes, mut entry) = (0, 0, SendFrame::default());
        let mut blocked = self.gather.is_whole() && !self.flush(counters);
        for _ in 0..SENDS {
            blocked |= self.out.queue.free() < self.each;
            if blocked || !self.ready.pop_into(&mut entry)? {
                break;
            }
            if self.gather.concerns(&entry) {
                self.gather.add(&entry);
                blocked = self.gather.is_whole() && !self.flush(counters);
            } else if let Some(len) = self.out.submit_entry(&entry) {
                frames += 1;
                bytes += u64::from(len);
            } else {
                self.refuse(&entry, counters);
            }
        }
        self.blocked = blocked;
        if frames != 0 {
            counters.tx_frames.add(frames);
            counters.tx_bytes.add(bytes);
        }
        Ok(())
    }

    /// Hands the gathered frame, which is whole, to the device; false if it
    /// has to wait for descriptors.
    #[inline(never)]
    fn flush(&mut self, counters: &Counters) -> bool {
        let (frame, spans) = self.gather.frame();
        let queue = &self.out.queue;
        let needed = queue.descriptors_for(spans.len());
        if needed > queue.free().into() && needed <= queue.size().into() {
            return false;
        }
        let frame = *frame;
        match self.out.submit(&frame, spans) {
            Some(len) => {
                counters.tx_frames.add(1);
                counters.tx_bytes.add(len.into());
            }
            None => self.refuse(&frame, counters),
        }
        self.gather.clear();
        true
    }

    /// Counts a frame that is not sent, and gives its number back if it has
    /// one of its own, and it was the last to come with it.
    #[cold]
    fn refuse(&mut self, frame: &SendFrame, counters: &Counters) {
        counters.manager_refused.add(1);
        let id = frame.id;
        let more = frame.flags & frame_flags::GROUP != 0;
        let sent = Sent { id, reserved: 0 };
        if self.out.sends.give_up(id, more) && self.done.push(&sent).is_err() {
            counters.tx_no_room.add(1);
        }
    }

    /// Whether frames are there that the next pass would send.
    #[inline]
    pub(crate) fn hears_manager(&self) -> bool {
        !self.blocked && !self.ready.looks_empty()
    }

    /// Asks device and manager to wake us; true if neither has anything yet.
    #[inline]
    pub(crate) fn arm(&mut self) -> Result<bool, StopReason> {
        let mut idle = true;
        if self.out.queue.in_flight() != 0
            && let Some(more) = self.completions_to_wait_for()
        {
            self.armed = true;
            idle = self.out.queue.arm(more)?;
        }
        if !self.blocked {
            idle &= self.ready.arm()?;
        }
        Ok(idle)
    }

    /// After how many completions the device is to wake us, `None` for never:
    /// the earliest of what the queue, a frame and the manager ask for.
    #[inline]
    fn completions_to_wait_for(&self) -> Option<u16> {
        let flying = self.out.queue.in_flight();
        let crowded = self.blocked || flying > TX_HIGH;
        let mut more = crowded.then_some((flying / 2).max(1));
        if self.out.sends.waited_for() != 0 {
            let waited = self.out.until_waited();
            more = Some(more.map_or(waited, |m| m.min(waited)));
        }
        if self.done.is_asked_for_anything() {
            more = Some(1);
        }
        more
    }
}
