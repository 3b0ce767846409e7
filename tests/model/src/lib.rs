//! Two hosts in one process.
//!
//! The I/O manager, the protocol server and the client library are those of
//! the real system; memory, page tables and NICs are `model-platform`'s. What
//! one host's NIC sends the other's receives, perhaps not in order, perhaps
//! not at all. A client's blocking call lets the world go on until it returns.
//!
//! * [`World`], [`Host`]: the simulated hosts.
//! * [`background`]: what goes on while a client waits.
//! * [`copying`]: what would arrive if everything were copied.
//! * [`pairs`]: sockets that talk to each other.
//! * [`raw`]: clients, servers and drivers that do exactly what a test says.
//! * [`Noise`]: numbers that are the same in every run.
#![forbid(unsafe_code)]

mod arenas;
pub mod background;
pub mod copying;
mod host;
mod noise;
pub mod pairs;
pub mod raw;
mod world;

pub use host::{DATA, DATA_BYTES, HEAP, HEAP_BYTES, Host, HostConfig, LARGE, LARGE_BYTES, RESERVE};
pub use noise::{Noise, pattern};
pub use world::{Inner, ModelPlatform, Wire, World};
