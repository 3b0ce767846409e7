//! Single-producer single-consumer rings in shared memory between parties
//! that do not trust each other.
//!
//! Problem: two components share pages, and either may write anything into
//! them at any time. Invariant: whatever the peer writes, an operation here
//! ends after a bounded number of steps, touches no memory outside the ring,
//! and either returns an entry that was copied once or a [`RingError`] that
//! names the peer as the culprit. Each side keeps its own index privately and
//! only ever reads the other's.
//!
//! The signalling protocol (when a producer must wake its consumer) is
//! numbered in `docs/signalling.md`; the steps are quoted where they happen.
//!
//! * [`SharedMemory`]: a span of shared pages, copied in and out of.
//! * [`RingLayout`]: where a ring lies in it, and the header that is checked
//!   when a side attaches.
//! * [`Producer`], [`Consumer`]: the two ends.
//! * [`Region`], [`Lender`], [`Lease`]: memory that is the program's own except
//!   while a request names it.
//! * [`lend`]: the same for any slice, for as long as a call lasts.
#![no_std]

#[cfg(test)]
extern crate std;

mod copy;
mod layout;
pub mod lend;
mod memory;
mod region;
mod ring;
mod sum;

pub use layout::{AttachError, HEADER_BYTES, MAGIC, RingLayout, VERSION};
pub use memory::{AtomicWord, OutOfRange, SharedMemory};
pub use region::{Lease, Lender, Lent, Region};
pub use ring::{Consumer, Entry, Full, Producer, RingError, RingMemory, SharedRing, Word};
