//! The device's side of queue and transport, for tests of drivers.
//!
//! Invariant: nothing here keeps the driver from seeing what a test makes the
//! device do, however wrong; but memory is only reached through the spans
//! that the driver was given, so a driver that posts a wrong physical address
//! fails its test.

use core::sync::atomic::{AtomicU16, Ordering};
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

use crate::memory::{DmaSpan, QueueAddresses, Segment};
use crate::transport::{InitError, Transport, status};

/// A queue as its device sees it. Panics where a test asks for the
/// impossible.
#[derive(Debug)]
pub struct DeviceQueue {
    span: DmaSpan,
    size: u16,
    at: QueueAddresses,
    seen: u16,
    used: u16,
    indirect: bool,
}

impl DeviceQueue {
    /// The queue of `size` descriptors at `at`, in memory `span`.
    #[must_use]
    pub fn new(span: DmaSpan, size: u16, at: QueueAddresses) -> Self {
        Self {
            span,
            size,
            at,
            seen: 0,
            used: 0,
            indirect: false,
        }
    }

    fn offset(&self, paddr: u64) -> usize {
        (paddr - self.span.paddr) as usize
    }

    fn word(&self, paddr: u64) -> &'static AtomicU16 {
        let words = self.span.memory.words(self.offset(paddr), 1);
        &words.expect("queue memory")[0]
    }

    fn get(&self, paddr: u64) -> u16 {
        self.word(paddr).load(Ordering::Acquire)
    }

    fn set(&self, paddr: u64, value: u16) {
        self.word(paddr).store(value, Ordering::Release);
    }

    /// Takes the next chain, if there is one: its head and its segments.
    pub fn take(&mut self) -> Option<(u16, Vec<Segment>)> {
        if self.seen == self.get(self.at.driver + 2) {
            return None;
        }
        let slot = u64::from(self.seen % self.size);
        let head = self.get(self.at.driver + 4 + 2 * slot);
        self.seen = self.seen.wrapping_add(1);
        let (first, flags, _) = self.descriptor(self.at.descriptors, head);
        self.indirect = flags & 4 != 0;
        if self.indirect {
            // Virtio 1.2, 2.7.5.3.1.
            assert!(flags & 1 == 0, "a table in the middle of a chain");
            assert!(first.len != 0 && first.len % 16 == 0, "{first:?}");
            return Some((head, self.chain(first.paddr, 0, first.len / 16)));
        }
        let chain = self.chain(self.at.descriptors, head, self.size.into());
        Some((head, chain))
    }

    /// Whether the chain taken last was in a table.
    #[must_use]
    pub fn was_indirect(&self) -> bool {
        self.indirect
    }

    /// Descriptor `id` of the table at `base`: memory, flags, link.
    fn descriptor(&self, base: u64, id: u16) -> (Segment, u16, u16) {
        let base = base + 16 * u64::from(id);
        let memory = self.span.memory;
        let paddr = memory.word64(self.offset(base)).expect("descriptor");
        let flags = self.get(base + 12);
        let segment = Segment {
            paddr: paddr.load(Ordering::Relaxed),
            len: memory.load32(self.offset(base + 8)).expect("descriptor"),
            writable: flags & 2 != 0,
        };
        (segment, flags, self.get(base + 14))
    }

    /// The chain from `id` of the table at `base`, which has `entries`.
    fn chain(&self, base: u64, mut id: u16, entries: u32) -> Vec<Segment> {
        let mut chain = Vec::new();
        loop {
            assert!(u32::from(id) < entries, "the chain leaves its table");
            let (segment, flags, next) = self.descriptor(base, id);
            assert!(flags & 4 == 0, "a table in a chain");
            chain.push(segment);
            let most = entries.min(self.size.into());
            assert!(chain.len() <= most as usize, "the chain is too long");
            if flags & 1 == 0 {
                return chain;
            }
            id = next;
        }
    }

    /// Writes a used element, true or not, and moves the index.
    pub fn complete(&mut self, id: u32, len: u32) {
        let at = self.at.device + 4 + 8 * u64::from(self.used % self.size);
        let memory = self.span.memory;
        memory.store32(self.offset(at), id).expect("used ring");
        memory.store32(self.offset(at + 4), len).expect("used ring");
        self.set_used_index(self.used.wrapping_add(1));
    }

    /// Moves the used index anywhere.
    pub fn set_used_index(&mut self, index: u16) {
        self.used = index;
        self.set(self.at.device + 2, index);
    }

    /// The used index.
    #[must_use]
    pub fn used_index(&self) -> u16 {
        self.used
    }

    /// Whether the driver asked for no interrupts by flag.
    #[must_use]
    pub fn no_interrupt(&self) -> bool {
        self.get(self.at.driver) & 1 != 0
    }

    /// The index whose passing the driver wants to hear of.
    #[must_use]
    pub fn interrupt_at(&self) -> u16 {
        self.get(self.at.driver + 4 + 2 * u64::from(self.size))
    }

    /// Asks for no notifications by flag, or for all.
    pub fn set_no_notify(&mut self, quiet: bool) {
        self.set(self.at.device, quiet.into());
    }

    /// Asks for a notification when the available index passes `index`.
    pub fn set_notify_at(&mut self, index: u16) {
        self.set(self.at.device + 4 + 8 * u64::from(self.size), index);
    }
}

/// What a [`FakeTransport`] was told and will say.
#[derive(Debug, Default)]
pub struct FakeState {
    /// Features to offer.
    pub offered: u64,
    /// Features agreed on.
    pub agreed: u64,
    /// Features without which the device refuses to work.
    pub insists: u64,
    /// The device never comes out of reset.
    pub stuck: bool,
    /// The device status.
    pub status: u8,
    /// Most descriptors a queue.
    pub queue_max: u16,
    /// Size and place of the queues enabled, by number.
    pub queues: [Option<(u16, QueueAddresses)>; 4],
    /// Doorbells rung, in order.
    pub notified: Vec<u16>,
    /// Interrupt status; reading clears it.
    pub interrupt: u8,
    /// Device configuration.
    pub config: Vec<u8>,
}

/// A transport that a test looks behind; clones share their state.
#[derive(Clone, Debug, Default)]
pub struct FakeTransport(pub Rc<RefCell<FakeState>>);

impl Transport for FakeTransport {
    fn device_features(&mut self) -> u64 {
        self.0.borrow().offered
    }

    fn set_driver_features(&mut self, features: u64) {
        self.0.borrow_mut().agreed = features;
    }

    fn status(&self) -> u8 {
        let state = self.0.borrow();
        state.status | u8::from(state.stuck)
    }

    fn set_status(&mut self, status: u8) {
        let mut state = self.0.borrow_mut();
        let lacks = state.insists & !state.agreed != 0;
        state.status = status & !(status::FEATURES_OK * u8::from(lacks));
    }

    fn queue_max(&mut self, _queue: u16) -> u16 {
        self.0.borrow().queue_max
    }

    fn enable_queue(&mut self, queue: u16, size: u16, at: QueueAddresses) -> Result<(), InitError> {
        let mut state = self.0.borrow_mut();
        let slot = state.queues.get_mut(queue as usize);
        *slot.ok_or(InitError::Queue(queue))? = Some((size, at));
        Ok(())
    }

    fn notify(&self, queue: u16) {
        self.0.borrow_mut().notified.push(queue);
    }

    fn interrupt_status(&self) -> u8 {
        core::mem::take(&mut self.0.borrow_mut().interrupt)
    }

    fn config8(&self, offset: usize) -> Option<u8> {
        self.0.borrow().config.get(offset).copied()
    }

    fn config16(&self, offset: usize) -> Option<u16> {
        let state = self.0.borrow();
        let bytes = state.config.get(offset..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    }
}
