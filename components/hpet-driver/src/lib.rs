//! Timer driver for the HPET (IA-PC HPET specification 1.0a).
//!
//! Problem: many components want to sleep until some time, there is one
//! timer, and the kernel offers user level neither time nor sleep: it keeps
//! the local APIC timer for its own time slices. This driver measures the
//! time-stamp counter against the HPET, publishes the clock that all others
//! read (`service_api::Clock`), keeps one deadline a client and arms the HPET
//! for the nearest. Invariant: a client is signalled once for each deadline
//! and never before the clock shows it; nothing ticks while nobody waits.
//!
//! Why the HPET and not the PIT: the PIT counts 16 bits at 1.2 MHz, so it
//! needs a tick every 55 ms to keep count, three port accesses (each a system
//! call) for each deadline, and cannot be read without stopping it first. The
//! HPET is a free-running counter of nanosecond grain with a comparator; a
//! deadline is one store. Both QEMU machine types have it.
//!
//! Why legacy replacement: QEMU's `pc` lets comparators drive IO-APIC input 2
//! only, which the PIT drives too; firmware leaves the PIT running. With
//! legacy replacement on, comparator 0 has input 2 to itself, on `pc`, on
//! `q35` and on real machines alike.
#![cfg_attr(not(test), no_std)]

mod deadlines;
mod hpet;
mod mmio;
mod timekeeper;

pub use deadlines::{Deadlines, MAX_CLIENTS, NoSuchClient};
pub use hpet::{Hpet, HpetError, Registers};
pub use mmio::Window;
pub use timekeeper::{Timekeeper, calibrate};
