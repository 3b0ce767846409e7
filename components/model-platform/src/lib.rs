//! A machine in one process: simulated memory management and NIC.
//!
//! Problem: the guarantees of data passing are about what threads, devices and
//! peers do at the worst moment, which a real system seldom shows. Here the
//! very same I/O manager, server and client code runs on memory whose page
//! tables are a hash map and on a NIC that reads a frame's bytes when a test
//! says so; a run is determined by its inputs. Invariant: the model is at
//! least as strict as the machine it stands for. Whatever a correct system
//! would never do (a frame mapped twice, a bus error, an entry nobody asked
//! for) ends the test.
//!
//! * [`Physical`], [`Allocator`]: memory with physical addresses.
//! * [`ModelMachine`]: frames and page tables, the [`data_passing::Machine`].
//! * [`ModelNic`]: a NIC with or without early demultiplexing.
#![forbid(unsafe_code)]

mod machine;
mod nic;
mod packet;
mod physical;

pub use machine::{ModelMachine, PageFault, PageOperations};
pub use nic::{ModelNic, NicCounts};
pub use physical::{Allocator, BASE, Block, Physical};
