//! The protocol server: smoltcp behind validated request rings.
//!
//! Problem: one server speaks ARP, IPv4, ICMP, UDP, TCP, DHCP and DNS for
//! many clients, on frames from a driver and requests from an I/O manager,
//! neither of which may crash it, and its cost must not grow with sockets
//! that are idle. Invariant: every packet is copied once into private memory,
//! checked, and demultiplexed *before* smoltcp sees it; smoltcp is only ever
//! shown the one socket that the packet concerns (or none). Everything is
//! allocated when the server starts.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`environment`] | what the server needs from its surroundings |
//! | [`config`] | sizes and addresses |
//! | `classify`, `reassembly` | which bytes from the wire are a packet for us |
//! | `stack`, `wire` | how one packet goes through smoltcp and out |
//! | `initial` | initial sequence numbers (RFC 6528) |
//! | `flows`, `time_wait` | which connection a segment belongs to |
//! | `ingress`, `requests` | what a packet or a request does |
//! | `udp`, `listen`, `stream`, `close`, `resolve`, `address` | the operations |
//! | [`nic`], [`manager`] | the rings of the real system |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod bucket;
mod checksum;
mod classify;
mod close;
pub mod config;
pub mod counters;
pub mod environment;
mod flows;
mod hops;
mod ingress;
mod initial;
mod listen;
mod lists;
pub mod manager;
pub mod nic;
mod pending;
mod random;
mod reassembly;
mod requests;
mod resolve;
mod server;
mod sockets;
mod stack;
mod stream;
mod time_wait;
mod timers;
mod udp;
mod wire;

pub use config::Config;
pub use counters::{Counter, Counters};
pub use environment::Environment;
pub use server::{Server, Wakeup};
