//! What can go wrong with a queue, and whose fault it is.

use core::fmt;

use shared_ring::OutOfRange;

/// Why a queue could not be made; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The size is 0, no power of two, or above the queue type's maximum.
    Size(u16),
    /// The memory is smaller than [`queue_bytes`](crate::queue_bytes), or not 64-byte aligned.
    Memory,
    /// A header of no or too many bytes, or a table that holds nothing beside
    /// it.
    Cells,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(n) => write!(f, "a virtqueue cannot have {n} descriptors here"),
            Self::Memory => write!(f, "the memory does not hold the virtqueue"),
            Self::Cells => write!(f, "no chain could have such a header and table"),
        }
    }
}

impl core::error::Error for SetupError {}

impl From<OutOfRange> for SetupError {
    fn from(_: OutOfRange) -> Self {
        Self::Memory
    }
}

/// Why a chain was not added; the caller is at fault or must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// Fewer descriptors are free than the chain has segments.
    Full,
    /// The chain has no segment, or there is none to add again.
    Empty,
    /// A segment that the device reads follows one that it writes
    /// (virtio 1.2, 2.7.4.2).
    Order,
    /// The queue was made without cells, or for chains of the other direction.
    NoCells,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the virtqueue has too few free descriptors",
            Self::Empty => "a chain needs a segment",
            Self::Order => "segments to read must precede segments to write",
            Self::NoCells => "the virtqueue has no such headers",
        })
    }
}

impl core::error::Error for AddError {}

/// What the device did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// It claims to have used more chains than it was given. Nothing it
    /// writes to the queue can be believed from now on.
    IndexJump {
        /// Chains taken back so far, modulo 2^16.
        ours: u16,
        /// The device's count.
        theirs: u16,
    },
    /// It completed a descriptor that does not exist.
    UnknownId(u32),
    /// It completed a descriptor that does not begin a chain in flight: one
    /// never posted, the middle of a chain, or one completed before.
    NotInFlight(u16),
    /// It claims to have written more than the chain has room for. The chain
    /// is free again.
    TooLong {
        /// The chain's token.
        token: u32,
        /// Bytes it claims.
        len: u32,
        /// Bytes there were.
        room: u32,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IndexJump { ours, theirs } => {
                write!(f, "the device moved its used index from {ours} to {theirs}")
            }
            Self::UnknownId(id) => write!(f, "the device completed descriptor {id}, there is none"),
            Self::NotInFlight(id) => write!(f, "the device completed idle descriptor {id}"),
            Self::TooLong { token, len, room } => {
                write!(
                    f,
                    "the device claims {len} bytes in the {room} of chain {token}"
                )
            }
        }
    }
}

impl core::error::Error for DeviceError {}
