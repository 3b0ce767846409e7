//! A split virtqueue (virtio 1.2, section 2.7).
//!
//! Invariant: `slots` is the truth about every descriptor; the descriptor
//! table and the available ring are write-only for us, the used ring is read
//! once an element and checked against `slots`.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use crate::error::{AddError, DeviceError, SetupError};
use crate::memory::{DmaSpan, QueueAddresses, Segment, available_offset, queue_bytes, used_offset};

mod headed;

use headed::CellTable;
pub use headed::{Cells, cell_bytes};

/// `VIRTQ_DESC_F_NEXT`, `VIRTQ_DESC_F_WRITE` and `VIRTQ_DESC_F_INDIRECT`, as
/// they stand in the second quadword of a descriptor: length, flags << 32,
/// next << 48.
const NEXT: u64 = 1 << 32;
const WRITE: u64 = 2 << 32;
const INDIRECT: u64 = 4 << 32;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT`, `VIRTQ_USED_F_NO_NOTIFY`.
const QUIET: u16 = 1;

/// A chain that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The token given to [`VirtQueue::add`].
    pub token: u32,
    /// Bytes the device wrote; at most `room`.
    pub len: u32,
    /// Bytes that its writable segments hold.
    pub room: u32,
    /// The chain's first descriptor. What the caller or the queue keeps by
    /// head (see [`VirtQueue::header`]) is the chain's until the next one is
    /// added.
    pub head: u16,
}

/// What we know about one descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The descriptor behind it in its chain or in the free list.
    next: u16,
    /// Descriptors in the chain it begins; 0 if it begins none in flight.
    chain: u16,
    /// Descriptors in the table that it was last written to name; 0 if none.
    table: u16,
    /// Bytes the device may write to the chain.
    room: u32,
    /// The caller's word.
    token: u32,
}

/// A queue of at most `N` descriptors; if its chains have headers, in cells of
/// `CELL` units of 16 bytes ([`Cells`]).
#[derive(Debug)]
pub struct VirtQueue<const N: usize, const CELL: usize = 1> {
    /// Address, and length with flags and link, each.
    descriptors: &'static [[AtomicU64; 2]],
    available_flags: &'static AtomicU16,
    available_index: &'static AtomicU16,
    available: &'static [AtomicU16],
    /// used_event.
    interrupt_at: &'static AtomicU16,
    used_flags: &'static AtomicU16,
    used_index: &'static AtomicU16,
    /// Identity and length, each.
    used: &'static [[AtomicU32; 2]],
    /// avail_event.
    wake_at: &'static AtomicU16,
    paddr: u64,
    size: u16,
    event_index: bool,
    slots: [Slot; N],
    free_head: u16,
    free: u16,
    /// Chains added, published, and taken back, modulo 2^16.
    added: u16,
    published: u16,
    taken: u16,
    /// The device's count when last read.
    used_seen: u16,
    /// Descriptors of the chain taken back last, which begins the free list;
    /// 0 once another chain was added.
    last_chain: u16,
    cells: CellTable<CELL>,
}

impl<const N: usize, const CELL: usize> VirtQueue<N, CELL> {
    /// An empty queue of `size` descriptors at the start of `span`.
    /// `event_index` says whether `VIRTIO_F_EVENT_IDX` was negotiated.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn new(span: DmaSpan, size: u16, event_index: bool) -> Result<Self, SetupError> {
        if !size.is_power_of_two() || size as usize > N || size > 1 << 15 {
            return Err(SetupError::Size(size));
        }
        if !span.paddr.is_multiple_of(64) {
            return Err(SetupError::Memory);
        }
        let memory = span.memory.slice(0, queue_bytes(size))?;
        for word in memory.words::<AtomicU64>(0, queue_bytes(size) / 8)? {
            word.store(0, Ordering::Relaxed);
        }
        let (n, used) = (size as usize, used_offset(size));
        let available = available_offset(size);
        let word16 = |at: usize| memory.words::<AtomicU16>(at, 1).map(|w| &w[0]);
        let mut slots = [Slot::default(); N];
        for (n, slot) in slots.iter_mut().enumerate() {
            slot.next = (n + 1) as u16;
        }
        Ok(Self {
            descriptors: memory.words(0, 2 * n)?.as_chunks().0,
            available_flags: word16(available)?,
            available_index: word16(available + 2)?,
            available: memory.words(available + 4, n)?,
            interrupt_at: word16(available + 4 + 2 * n)?,
            used_flags: word16(used)?,
            used_index: word16(used + 2)?,
            used: memory.words(used + 4, 2 * n)?.as_chunks().0,
            wake_at: word16(used + 4 + 8 * n)?,
            paddr: span.paddr,
            size,
            event_index,
            slots,
            free_head: 0,
            free: size,
            added: 0,
            published: 0,
            taken: 0,
            used_seen: 0,
            last_chain: 0,
            cells: CellTable::NONE,
        })
    }

    /// Where the queue lies, to tell the device.
    #[must_use]
    pub const fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            descriptors: self.paddr,
            driver: self.paddr + available_offset(self.size) as u64,
            device: self.paddr + used_offset(self.size) as u64,
        }
    }

    /// Descriptors of the queue.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that are free.
    #[must_use]
    pub const fn free(&self) -> u16 {
        self.free
    }

    /// Chains that the device has and we have not taken back.
    #[must_use]
    pub const fn in_flight(&self) -> u16 {
        self.added.wrapping_sub(self.taken)
    }

    /// Chains added since the queue was made, modulo 2^16.
    #[must_use]
    pub const fn added(&self) -> u16 {
        self.added
    }

    /// Adds a chain that the device does not see before [`publish`].
    ///
    /// # Errors
    /// An [`AddError`]; nothing is added then.
    ///
    /// [`publish`]: VirtQueue::publish
    #[inline]
    pub fn add(&mut self, chain: &[Segment], token: u32) -> Result<(), AddError> {
        if chain.len() > self.free as usize {
            return Err(AddError::Full);
        }
        let Some((last, front)) = chain.split_last() else {
            return Err(AddError::Empty);
        };
        if !chain.is_sorted_by_key(|s| s.writable) {
            return Err(AddError::Order);
        }
        let head = self.free_head;
        let (mut at, mut room) = (head, 0);
        for segment in front {
            at = self.describe(at, segment, NEXT, &mut room);
        }
        self.free_head = self.describe(at, last, 0, &mut room);
        self.begin(head, chain.len() as u16, room, token);
        Ok(())
    }

    /// Adds the chain that [`pop`] took back last, as it stands and with its
    /// token; also after [`DeviceError::TooLong`].
    ///
    /// # Errors
    /// [`AddError::Empty`] if nothing was taken back, or another chain was
    /// added since and may have its descriptors.
    ///
    /// [`pop`]: VirtQueue::pop
    pub fn add_again(&mut self) -> Result<(), AddError> {
        let (head, chain) = (self.free_head, self.last_chain);
        if chain == 0 {
            return Err(AddError::Empty);
        }
        // Nothing was taken from the free list since, so the chain's
        // descriptors and their links are as before.
        let tail = self.tail(head, chain);
        self.free_head = self.slots.get(tail as usize).map_or(0, |s| s.next);
        let Slot { room, token, .. } = self.slots.get(head as usize).copied().unwrap_or_default();
        self.begin(head, chain, room, token);
        Ok(())
    }

    /// Writes descriptor `at`; the one behind it in the free list.
    #[inline]
    fn describe(&mut self, at: u16, segment: &Segment, next: u64, room: &mut u32) -> u16 {
        let behind = self.slots.get_mut(at as usize).map_or(0, |slot| {
            slot.table = 0;
            slot.next
        });
        let mut word = u64::from(segment.len) | next | u64::from(behind) << 48;
        if segment.writable {
            word |= WRITE;
            *room = room.saturating_add(segment.len);
        }
        if let Some(descriptor) = self.descriptors.get(at as usize) {
            store(descriptor, segment.paddr, word);
        }
        behind
    }

    /// Books a chain whose descriptors are written, off the free list.
    #[inline]
    fn begin(&mut self, head: u16, chain: u16, room: u32, token: u32) {
        self.free -= chain;
        if let Some(slot) = self.slots.get_mut(head as usize) {
            slot.chain = chain;
            slot.room = room;
            slot.token = token;
        }
        self.offer(head);
    }

    /// Enters a chain into the available ring.
    #[inline]
    fn offer(&mut self, head: u16) {
        let position = (self.added & (self.size - 1)) as usize;
        if let Some(entry) = self.available.get(position) {
            entry.store(head, Ordering::Relaxed);
        }
        self.added = self.added.wrapping_add(1);
        self.last_chain = 0;
    }

    /// The last descriptor of the `chain` that begin at `head`.
    #[inline]
    fn tail(&self, head: u16, chain: u16) -> u16 {
        let mut tail = head;
        for _ in 1..chain {
            tail = self.slots.get(tail as usize).map_or(0, |s| s.next);
        }
        tail
    }

    /// Shows all added chains to the device; true if it must be notified.
    #[inline]
    #[must_use = "the device may sleep until it is notified"]
    pub fn publish(&mut self) -> bool {
        let old = self.published;
        if old == self.added {
            return false;
        }
        self.published = self.added;
        // Release: the device sees the chains before the index.
        self.available_index.store(self.added, Ordering::Release);
        // The index must be visible before we look whether the device sleeps
        // (virtio 1.2, 2.7.13.4.1).
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self.wake_at.load(Ordering::Relaxed);
            return passed(event, self.added, old);
        }
        self.used_flags.load(Ordering::Relaxed) & QUIET == 0
    }

    /// Takes back a chain that the device is done with, if there is one.
    ///
    /// # Errors
    /// A [`DeviceError`]. After all but `IndexJump` the element is consumed
    /// and the next call looks at the next one; an index jump stays.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Used>, DeviceError> {
        if self.taken == self.used_seen && !self.refresh()? {
            return Ok(None);
        }
        let Some([id, len]) = self.used.get((self.taken & (self.size - 1)) as usize) else {
            return Ok(None);
        };
        self.taken = self.taken.wrapping_add(1);
        // Each word is read once.
        let (id, len) = (id.load(Ordering::Relaxed), len.load(Ordering::Relaxed));
        self.release(id, len).map(Some)
    }

    /// Checks a used element, and frees the chain it names.
    #[inline]
    fn release(&mut self, id: u32, len: u32) -> Result<Used, DeviceError> {
        let Some(slot @ &mut Slot { chain: 1.., .. }) = self.slots.get_mut(id as usize) else {
            return Err(self.no_chain(id));
        };
        let Slot {
            chain, room, token, ..
        } = *slot;
        let head = id as u16;
        slot.chain = 0;
        if chain == 1 {
            slot.next = self.free_head;
        } else {
            let tail = self.tail(head, chain);
            if let Some(slot) = self.slots.get_mut(tail as usize) {
                slot.next = self.free_head;
            }
        }
        self.free_head = head;
        self.free += chain;
        self.last_chain = chain;
        if len > room {
            return Err(DeviceError::TooLong { token, len, room });
        }
        Ok(Used {
            token,
            len,
            room,
            head,
        })
    }

    /// What is wrong with completing `id`, which begins no chain in flight.
    #[cold]
    fn no_chain(&mut self, id: u32) -> DeviceError {
        // Nothing was taken back.
        self.last_chain = 0;
        if id < u32::from(self.size) {
            DeviceError::NotInFlight(id as u16)
        } else {
            DeviceError::UnknownId(id)
        }
    }

    /// Reads the device's index; true if there is something to take.
    #[inline]
    fn refresh(&mut self) -> Result<bool, DeviceError> {
        // Acquire: what the device wrote before the index is visible.
        let theirs = self.used_index.load(Ordering::Acquire);
        if theirs.wrapping_sub(self.taken) > self.published.wrapping_sub(self.taken) {
            return Err(DeviceError::IndexJump {
                ours: self.taken,
                theirs,
            });
        }
        self.used_seen = theirs;
        Ok(theirs != self.taken)
    }

    /// Asks the device not to interrupt. A hint: it may still do.
    #[inline]
    pub fn quiet(&mut self) {
        if self.event_index {
            // An index that was just passed is 2^16 completions away.
            self.store_used_event(self.taken.wrapping_sub(1));
        } else {
            self.available_flags.store(QUIET, Ordering::Relaxed);
        }
    }

    /// Asks for an interrupt once `more` (at least 1) chains beyond those
    /// taken are used, then looks; true if the caller may sleep, false if
    /// there is something to take now.
    ///
    /// Without `VIRTIO_F_EVENT_IDX` the interrupt comes with the next chain.
    ///
    /// # Errors
    /// As [`VirtQueue::pop`].
    #[inline]
    pub fn arm(&mut self, more: u16) -> Result<bool, DeviceError> {
        if self.event_index {
            self.store_used_event(self.taken.wrapping_add(more.max(1) - 1));
        } else {
            self.available_flags.store(0, Ordering::Relaxed);
        }
        // The wish must be visible before we look again (virtio 1.2, 2.7.14).
        fence(Ordering::SeqCst);
        let unseen = self.taken == self.used_seen;
        if self.event_index && more > 1 {
            self.refresh()?;
            return Ok(self.used_seen.wrapping_sub(self.taken) < more);
        }
        Ok(unseen && !self.refresh()?)
    }

    #[inline]
    fn store_used_event(&self, index: u16) {
        self.interrupt_at.store(index, Ordering::Relaxed);
    }
}

/// Writes a descriptor: address; length, flags and link.
#[inline]
fn store([first, second]: &[AtomicU64; 2], paddr: u64, word: u64) {
    first.store(paddr, Ordering::Relaxed);
    second.store(word, Ordering::Relaxed);
}

/// Whether moving an index from `old` to `new` passes `event`
/// (virtio 1.2, 2.7.13.4).
#[inline]
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
