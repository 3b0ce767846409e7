//! Split virtqueues over physical addresses, and the PCI transport below
//! them, safe against a device that lies.
//!
//! Problem: a driver and its device share memory like any two components that
//! do not trust each other, only that one of them is hardware or its model.
//! Invariant: whatever the device writes, an operation here ends after a
//! bounded number of steps, touches nothing outside the queue, and returns
//! either a chain that was really in flight or a [`DeviceError`] that names
//! the device as the culprit. What the driver needs to know about a chain it
//! keeps privately and never reads back.
//!
//! * [`VirtQueue`]: the queue (virtio 1.2, 2.7).
//! * [`Cells`]: what the chains of a queue have of their own, a header and an
//!   indirect table each, for devices whose every buffer begins with a header.
//! * [`Transport`]: feature negotiation, queue set-up, doorbells, interrupt
//!   status; [`PciTransport`] over a device's windows.
//! * `fake` (feature `fake`): the device's side, as hostile as a test wants.
//!
//! Decision 29 of the starting design left the transport to the crate
//! `virtio-drivers`. Its PCI transport sizes base address registers through
//! configuration ports, which a component does not have; finds its windows
//! through process-wide static functions; touches three device registers for
//! every doorbell where one suffices; and panics or waits without bound on some
//! of what a device may answer. The part of it that is needed is smaller than the glue
//! would be.
#![no_std]

#[cfg(any(test, feature = "fake"))]
extern crate std;

mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod memory;
mod mmio;
mod pci;
mod queue;
mod transport;

pub use error::{AddError, DeviceError, SetupError};
pub use memory::{DmaSpan, Piece, QueueAddresses, Segment, queue_bytes};
pub use pci::{PciError, PciTransport};
pub use queue::{Cells, Used, VirtQueue, cell_bytes};
pub use transport::{
    InitError, Transport, feature, interrupt, negotiate, negotiate_with, start, status,
};
