//! What lies where in memory that a device can reach.
//!
//! Invariant: sizes and offsets here are those of the standard (virtio 1.2,
//! 2.7) and depend on nothing but the queue's size, so driver, device and
//! whoever reserves the memory agree.

use shared_ring::{OutOfRange, SharedMemory};

/// Memory that a device can reach: mapped here, and contiguous at a physical
/// address.
#[derive(Clone, Copy, Debug)]
pub struct DmaSpan {
    /// The mapping.
    pub memory: SharedMemory,
    /// Physical address of its first byte.
    pub paddr: u64,
}

impl DmaSpan {
    /// The `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`] if they do not lie in the span.
    pub fn slice(&self, offset: usize, len: usize) -> Result<Self, OutOfRange> {
        Ok(Self {
            memory: self.memory.slice(offset, len)?,
            paddr: self.paddr.wrapping_add(offset as u64),
        })
    }
}

/// Where a queue's three parts lie physically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAddresses {
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring ("driver area").
    pub driver: u64,
    /// Used ring ("device area").
    pub device: u64,
}

pub(crate) const fn available_offset(size: u16) -> usize {
    16 * size as usize
}

pub(crate) const fn used_offset(size: u16) -> usize {
    // flags, index, ring, used_event; then a cache line of its own.
    (available_offset(size) + 6 + 2 * size as usize).next_multiple_of(64)
}

/// Bytes of memory a queue of `size` descriptors takes.
#[must_use]
pub const fn queue_bytes(size: u16) -> usize {
    (used_offset(size) + 6 + 8 * size as usize).next_multiple_of(64)
}

/// A piece of physical memory in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical address.
    pub paddr: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the device writes it (else it reads it).
    pub writable: bool,
}

impl Segment {
    /// Memory that the device reads.
    #[must_use]
    pub const fn to_read(paddr: u64, len: u32) -> Self {
        Self {
            paddr,
            len,
            writable: false,
        }
    }

    /// Memory that the device writes.
    #[must_use]
    pub const fn to_write(paddr: u64, len: u32) -> Self {
        Self {
            paddr,
            len,
            writable: true,
        }
    }
}

/// A piece of physical memory whose direction is that of the whole chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Physical address.
    pub paddr: u64,
    /// Bytes; not 0, which devices take for a broken chain.
    pub len: u32,
}
