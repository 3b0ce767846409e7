//! Where a ring lies in shared memory, and the header checked on attaching.
//!
//! The root task formats every ring before any component runs, so both sides
//! attach without a race; each copies the header once and trusts only what
//! equals the layout it expects itself.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `"ring"` |
//! | 4 | 2 | version |
//! | 6 | 2 | bytes an entry |
//! | 8 | 4 | capacity in entries |
//! | 12 | 4 | feature word |
//! | 64 | 4 | producer's index |
//! | 128 | 4 | consumer's index |
//! | 132 | 4 | consumer asks for a signal |
//! | 192 | | entries |

use core::fmt;
use core::sync::atomic::Ordering;

use crate::memory::{OutOfRange, SharedMemory};

/// First word of a ring header: `"ring"` in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ring");
/// Version of the header and of the signalling protocol.
pub const VERSION: u16 = 1;
/// Bytes before the first entry: four cache lines' worth of header, three used.
pub const HEADER_BYTES: usize = 192;

pub(crate) const TAIL: usize = 64;
pub(crate) const HEAD: usize = 128;
pub(crate) const WANTS_SIGNAL: usize = 132;

/// Size and features of a ring. Both sides and the host tool compute it from
/// the same protocol crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Bytes an entry; a multiple of 8.
    pub entry_bytes: u16,
    /// Entries; a power of two.
    pub capacity: u32,
    /// Protocol-defined feature bits that both sides must agree on.
    pub features: u32,
}

/// Why a side refused to attach to a ring. All but `OutOfRange` and
/// `BadLayout` mean that whoever can write the region damaged the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The region is too small for the ring.
    OutOfRange,
    /// The caller's own layout is not legal (entry size, capacity, alignment).
    BadLayout,
    /// The header has another magic word.
    Magic(u32),
    /// The header has another version.
    Version(u16),
    /// The header states another entry size.
    EntryBytes(u16),
    /// The header states another capacity.
    Capacity(u32),
    /// The header states other features.
    Features(u32),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => write!(f, "the region is too small for the ring"),
            Self::BadLayout => write!(f, "the ring layout asked for is not legal"),
            Self::Magic(v) => write!(f, "ring header has magic {v:#x}, not {MAGIC:#x}"),
            Self::Version(v) => write!(f, "ring header has version {v}, not {VERSION}"),
            Self::EntryBytes(v) => write!(f, "ring header has an entry size of {v} bytes"),
            Self::Capacity(v) => write!(f, "ring header has a capacity of {v} entries"),
            Self::Features(v) => write!(f, "ring header has features {v:#x}"),
        }
    }
}

impl core::error::Error for AttachError {}

impl From<OutOfRange> for AttachError {
    fn from(_: OutOfRange) -> Self {
        Self::OutOfRange
    }
}

impl RingLayout {
    /// A layout without feature bits.
    #[must_use]
    pub const fn new(entry_bytes: u16, capacity: u32) -> Self {
        Self {
            entry_bytes,
            capacity,
            features: 0,
        }
    }

    /// Bytes the ring takes, header included, rounded up to 64.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        (HEADER_BYTES + self.entry_bytes as usize * self.capacity as usize).next_multiple_of(64)
    }

    /// Writes the header of an empty ring at the start of `at`.
    ///
    /// # Errors
    /// `OutOfRange` or `BadLayout`; nothing is written then.
    pub fn format(&self, at: &SharedMemory) -> Result<(), AttachError> {
        self.check_legal(at)?;
        at.store32(TAIL, 0)?;
        at.store32(HEAD, 0)?;
        at.store32(WANTS_SIGNAL, 1)?;
        at.store32(4, u32::from(VERSION) | u32::from(self.entry_bytes) << 16)?;
        at.store32(8, self.capacity)?;
        at.store32(12, self.features)?;
        at.word32(0)?.store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Checks the header at the start of `at` against this layout.
    ///
    /// # Errors
    /// An [`AttachError`] that names the first field that differs.
    pub fn verify(&self, at: &SharedMemory) -> Result<(), AttachError> {
        self.check_legal(at)?;
        let magic = at.word32(0)?.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(AttachError::Magic(magic));
        }
        let versions = at.load32(4)?;
        let (version, entry_bytes) = (versions as u16, (versions >> 16) as u16);
        if version != VERSION {
            return Err(AttachError::Version(version));
        }
        if entry_bytes != self.entry_bytes {
            return Err(AttachError::EntryBytes(entry_bytes));
        }
        let capacity = at.load32(8)?;
        if capacity != self.capacity {
            return Err(AttachError::Capacity(capacity));
        }
        let features = at.load32(12)?;
        if features != self.features {
            return Err(AttachError::Features(features));
        }
        Ok(())
    }

    fn check_legal(&self, at: &SharedMemory) -> Result<(), AttachError> {
        let legal = self.entry_bytes != 0
            && self.entry_bytes.is_multiple_of(8)
            && self.capacity.is_power_of_two()
            && self.capacity <= 1 << 20;
        if !legal {
            return Err(AttachError::BadLayout);
        }
        at.word64(0)?;
        at.slice(0, self.bytes())?;
        Ok(())
    }
}
