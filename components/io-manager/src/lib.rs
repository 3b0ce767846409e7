//! Stands between clients and servers: validates, accounts, passes extents.
//!
//! Problem: clients and protocol servers do not trust each other, and none of
//! them may harm the others. Invariant: a server sees only requests whose
//! every field was checked against what the client owns, each client gets
//! exactly one completion for each request, and whatever one party writes
//! into its rings costs the others nothing but the time to refuse it. No
//! payload is mapped here: extents are checked as numbers.
//!
//! * [`Manager`]: the parties and one turn of work.
//! * `check`: the fields of a request that can be judged alone.
//! * `sockets`, `tokens`: what a client owns, and what it has outstanding.
//!
//! The cost of a request is a handful of table look-ups by index: no hashing,
//! no division, no search (but for `Cancel`, which looks through the caller's
//! own requests).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod check;
mod client;
mod counters;
mod forward;
mod manager;
mod server;
mod sockets;
mod tokens;

pub use client::{ClientConfig, Quota};
pub use counters::Counters;
pub use manager::{Bells, Manager, ServerConfig};
