//! Frames, pages, the eight data-passing semantics and the techniques behind
//! them.
//!
//! Problem: applications want copy semantics, and copying is what makes
//! user-level servers slow; page operations alone do not help, since one costs
//! about as much as copying a page. This crate decides for each `Send` and
//! `Recv` which of the legal techniques is cheapest and carries it out, on a
//! [`Machine`] that is seL4, or a model of one. Invariant: **copy semantics is
//! never weakened by an optimisation.** What a technique relies on (a client
//! that is blocked, a page that is protected, a NIC that demultiplexes early)
//! is checked when it is chosen and enforced until the operation has ended.
//!
//! The semantics and techniques are those of Brustoloni and Steenkiste,
//! "Effects of buffering semantics on I/O performance" (OSDI 1996); the tables
//! of what is done when are in `docs/data-passing.md`.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`choose`] | which techniques are legal, and which is cheapest |
//! | [`costs`] | what things cost |
//! | `output`, `input`, `deliver` | what is done before, while and after bytes travel |
//! | `plain` | the same for what nearly every packet finds |
//! | `overwrite`, `fault` | what a write to a page in use does |
//! | `exchange` | what changes places at the client's own wish |
//! | `short` | the same, for bytes that lie in one page |
//! | `frames`, `space` | who has which frame, and where |
//! | [`machine`] | what is asked of the machine |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod choose;
pub mod costs;
mod deliver;
mod exchange;
mod fault;
mod frames;
mod input;
pub mod machine;
mod memory;
mod message;
mod output;
mod overwrite;
mod short;
mod space;

pub use costs::{Cost, Costs};
pub use fault::Fault;
pub use input::Input;
pub use machine::{FrameId, Machine, MachineError, Place, Rights};
pub use memory::{HoldingConfig, Memory, Mutations, PassingError};
pub use output::{Output, Sum};
