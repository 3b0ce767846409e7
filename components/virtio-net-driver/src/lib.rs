//! Driver for virtio-net (virtio 1.2, section 5.1).
//!
//! Problem: two parties that the driver does not trust, a device and a
//! protocol server, meet in its buffers. Invariant: every buffer has exactly
//! one owner in the driver's private books; a descriptor from the server that
//! contradicts them is refused and counted, a completion from the device that
//! contradicts them is an error and counted. The virtqueues and the headers
//! that tell the device what to do lie in memory that the server cannot
//! reach.
//!
//! Work is done in passes ([`Nic::poll`]): one pass takes what the device has
//! received, what the server wants sent and what either gives back, and ends
//! with at most one doorbell a queue and one signal. The driver sleeps only
//! once a pass found nothing and both sides were asked to wake it; buffers
//! going back and sent frames wake nobody unless they run short.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod books;
mod counters;
mod header;
mod init;
mod nic;

pub use counters::Counters;
pub use init::{Memory, NicError, QUEUE_MEMORY, Setup};
pub use nic::{Nic, Outcome, StopReason};
