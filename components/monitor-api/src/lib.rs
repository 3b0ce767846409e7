//! Log records and counters in shared memory.
//!
//! Problem: every component must be able to say what it does, also while it
//! panics, without waiting for anybody, and the console that shows it must
//! survive whatever a broken component leaves in the shared pages. Each
//! component shares one *monitor region* with the console. Invariant: the
//! component never waits (a full log ring drops the line and counts it), and
//! the console copies once, then checks: names and text that reach the serial
//! line are printable, whatever was written.
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | 4096 | counter page ([`CounterPage`], [`CounterReader`]) |
//! | [`LOG_OFFSET`] | [`LOG_RING`]`.bytes()` | log ring ([`LogWriter`], [`LogReader`]) |
//!
//! The root task formats the ring before any component runs; the component
//! creates the counter page when it starts.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod counters;
pub mod json;
mod record;
mod text;

pub use counters::{
    Counter, CounterPage, CounterReader, Kind, NAME_BYTES, Name, PAGE_BYTES, RegisterError, SLOTS,
    Sample,
};
pub use record::{Line, LogEntry, LogReader, LogWriter, MAX_LINE, PIECE_BYTES};
pub use text::TextBuffer;

use shared_ring::RingLayout;

/// Offset of the log ring in a monitor region.
pub const LOG_OFFSET: usize = PAGE_BYTES;
/// Layout of the log ring.
pub const LOG_RING: RingLayout = RingLayout::new(size_of::<LogEntry>() as u16, 128);
/// Bytes of a monitor region: whole pages.
pub const MONITOR_REGION: usize = (LOG_OFFSET + LOG_RING.bytes()).next_multiple_of(4096);

const _: () = assert!(size_of::<LogEntry>() == 128);
