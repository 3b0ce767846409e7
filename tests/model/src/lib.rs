//! Two hosts in one process.
//!
//! The I/O manager, the protocol server and the client library are those of
//! the real system; memory, page tables and NICs are `model-platform`'s. What
//! one host's NIC sends the other's receives, perhaps not in order, perhaps
//! not at all. A client's blocking call lets the world go on until it returns.
#![forbid(unsafe_code)]

mod host;
mod world;

pub use host::{DATA, DATA_BYTES, HEAP, HEAP_BYTES, Host, HostConfig, LARGE, LARGE_BYTES};
pub use world::{Inner, ModelPlatform, Wire, World};
