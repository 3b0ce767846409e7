//! Stands between clients and servers: validates, accounts, passes data.
//!
//! Problem: clients, protocol servers and drivers do not trust each other, and
//! none of them may harm the others; yet bytes should travel between client
//! and device without being copied. Invariant: a server sees only requests
//! whose every field was checked against what the client owns, each client
//! gets exactly one completion for each request, payload is seen by nobody but
//! client and device, and whatever one party writes into its rings costs the
//! others nothing but the time to refuse it.
//!
//! * [`Manager`]: the parties and one turn of work.
//! * `check`, `forward`, `begin`: requests, from a client to a server.
//! * `answer`, `deliver`, `progress`: completions and received bytes, from a
//!   server to a client.
//! * `receive`, `packets`: frames, from the driver to a server.
//! * `receives`: receives of datagrams, which wait here.
//! * `transmit`, `assembly`, `cut`, `sends`: frames, from a server to the driver.
//! * `plain`: what nearly every entry of a server or driver is.
//! * `steer`, `in_place`: buffers that the NIC keeps for one flow.
//! * `null`: sockets that lead nowhere, for measurements.
//! * `sockets`, `tokens`: what a client owns, and what it has outstanding.
//! * [`hosting`]: who has the next turn, where servers and drivers run in the
//!   manager's thread; `program`: what the component does with all of it.
//! * [`Windows`]: frames, as a machine finds them.
//! * `departure`: parties that are cut off, given up, or dead.
//!
//! The cost of a message is a handful of table look-ups by index: no hashing,
//! no division, no allocation, no search (but for `Cancel`, which looks through
//! the caller's own requests, and operations of more than two pages, which keep
//! their frames on the heap).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod assembly;
mod begin;
mod books;
mod check;
mod client;
mod config;
mod counters;
mod cut;
mod deliver;
mod departure;
mod forward;
pub mod hosting;
mod in_place;
mod manager;
mod messages;
mod nic;
mod null;
mod packets;
mod plain;
#[cfg(feature = "program")]
pub mod program;
mod progress;
mod receive;
mod receives;
mod sends;
mod server;
mod sockets;
mod steer;
mod tokens;
mod transmit;
mod windows;

pub use books::{Books, ClientBooks, NicBooks};
pub use config::{ClientConfig, MessageConfig, NicConfig, Quota, Region, ServerConfig};
pub use counters::Counters;
pub use data_passing::Fault;
pub use manager::{Bells, Manager};
pub use windows::Windows;
