//! The passes of the driver.

use nic_api::NicInfo;
use virtio_queue::{Transport, interrupt, status};

use crate::counters::Counters;
use crate::receive::Receiver;
use crate::stop::StopReason;
use crate::transmit::Transmitter;

/// Numbers of the queues (virtio 1.2, 5.1.2).
pub(crate) const RX: u16 = 0;
pub(crate) const TX: u16 = 1;

/// What is to be done after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The manager asked for a signal.
    pub signal: bool,
    /// There is nothing to do, and whoever makes some will wake the driver.
    pub idle: bool,
}

/// A running NIC.
#[derive(Debug)]
pub struct Nic<T: Transport> {
    pub(crate) info: NicInfo,
    pub(crate) has_status: bool,
    /// The manager runs in this thread: it is not signalled.
    pub(crate) near: bool,
    pub(crate) device: T,
    pub(crate) rx: Receiver,
    pub(crate) tx: Transmitter,
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

    /// Whether the manager has given something for the next pass since the last
    /// one was idle. For a manager in the same thread, which signals nothing; the
    /// device still does.
    #[inline]
    #[must_use]
    pub fn hears_manager(&self) -> bool {
        self.rx.hears_manager() || self.tx.hears_manager()
    }

    fn pass(&mut self) -> Result<Outcome, StopReason> {
        self.rx.receive(&self.counters)?;
        self.tx.reclaim(&self.counters)?;
        self.tx.send(&self.counters)?;
        if self.tx.out.queue.publish() {
            self.ring(TX);
        }
        self.rx.recycle(&self.counters)?;
        if self.rx.queue.publish() {
            self.ring(RX);
        }
        let signal = self.rx.filled.publish() | self.tx.done.publish();
        if signal && !self.near {
            self.counters.signals.add(1);
        }
        let idle = self.rx.arm()? & self.tx.arm()?;
        if idle {
            let (posted, flying) = (self.rx.posted(), self.tx.out.queue.in_flight());
            self.counters.rx_posted.set(posted.into());
            self.counters.tx_in_flight.set(flying.into());
        }
        Ok(Outcome { signal, idle })
    }

    /// Tells the device that a queue has chains that it sleeps for.
    #[inline]
    fn ring(&self, queue: u16) {
        self.counters.doorbells.add(1);
        self.device.notify(queue);
    }
}
