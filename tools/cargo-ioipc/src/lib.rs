//! Builds, boots and questions systems; the library behind `cargo ioipc`.
//!
//! Problem: between a `system.toml` and a running system lie a kernel, a
//! dozen programs with unusual compiler flags, an image and an emulator with
//! a particular machine. Both the command and the emulator tests need all of
//! it, so it is a library: [`prepare`] does everything up to the image,
//! [`Prepared::boot`] starts it, and [`Running`] is a running system.
//!
//! Invariant: no emulator outlives the [`Running`] that owns it, whichever
//! way the program ends: returning, panicking or being killed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! let mut running = cargo_ioipc::launch(&cargo_ioipc::Options::default())?;
//! running.wait_ready(Duration::from_secs(30))?;
//! let counters = running.ask("counters", Duration::from_secs(5))?;
//! running.stop();
//! # Ok::<(), cargo_ioipc::Error>(())
//! ```

#![forbid(unsafe_code)]

mod address;
mod backlog;
pub mod bench;
pub mod compare;
pub mod components;
pub mod control;
pub mod elf_check;
mod emulator;
mod error;
mod home;
pub mod image;
pub mod inspect;
mod launch;
pub mod machine;
pub mod offloads;
mod passt;
mod placement;
pub mod plan;
mod ports;
mod programs;
mod ready;
pub mod run;
mod running;
mod serial;
mod subnet;
pub mod tap;
mod tcp_table;
mod wire;

pub use address::Address;
pub use error::Error;
pub use home::Home;
pub use launch::{Options, Prepared, launch, prepare};
pub use machine::{Accel, Forward, Machine, Net, Transport};
pub use passt::PasstError;
pub use placement::Placement;
pub use running::{Exit, Running};
pub use serial::{Event, Follower, Input, Serial};
pub use subnet::Subnet;
