//! Entropy from virtio-rng, RDRAND and timing jitter.
//!
//! Problem: sequence numbers, ports and identifiers must not be guessable,
//! and one source may be missing, broken or hostile. Invariant: whatever is
//! known is mixed into one pool through SHA-256, so a bad source takes
//! nothing away from a good one; every answer is another image of the pool,
//! which then moves on irreversibly, so no two answers are the same and one
//! tells nothing of those before it.
//!
//! * [`Pool`]: what is mixed into, and what answers come from.
//! * [`Rng`]: the virtio device (virtio 1.2, section 5.4).
//! * [`cpu`]: the processor's own generator; and, as the last resort, how
//!   long things take.
#![cfg_attr(not(test), no_std)]

pub mod cpu;
mod device;
mod pool;

pub use device::{DEVICE_MEMORY, REQUEST_BYTES, Rng, RngError};
pub use pool::Pool;
