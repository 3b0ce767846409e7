//! Driver for virtio-net (virtio 1.2, section 5.1).
//!
//! Problem: two parties that the driver does not trust, a device and the I/O
//! manager, meet in its queues, and the driver maps nothing of what it moves:
//! the manager names headers and payload by physical address. Invariant: every
//! buffer and every frame has exactly one owner in the driver's private books,
//! by the manager's number; an entry of the manager that contradicts them is
//! refused and counted, a completion from the device that contradicts them is
//! an error and counted. Virtqueues, indirect tables and the headers that tell
//! the device what to do lie in memory that nobody else maps
//! ([`DMA_BYTES`]). The addresses themselves are the manager's word: without
//! an IOMMU nothing here could hold them against anything.
//!
//! Work is done in passes ([`Nic::poll`]): one pass takes what the device has
//! received, what the manager wants sent and what either gives back, and ends
//! with at most one doorbell a queue and one signal. The driver sleeps only
//! once a pass found nothing and both sides were asked to wake it; buffers
//! going back and sent frames wake nobody unless they run short, or somebody
//! waits for the frame.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod books;
mod check;
mod counters;
mod gather;
mod header;
mod init;
mod nic;
#[cfg(feature = "program")]
pub mod program;
mod receive;
mod setup;
mod stop;
#[cfg(test)]
mod tests;
mod transmit;

pub use counters::Counters;
pub use nic::{Nic, Outcome};
pub use setup::{DMA_BYTES, Memory, NicError, Setup};
pub use stop::StopReason;
