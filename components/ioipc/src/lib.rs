//! Sockets for components, in the shape of `std::net`.
//!
//! Problem: an application wants `send(&buf)` and `recv(&mut buf)` with copy
//! semantics, blocking or with readiness, without an allocator and without
//! knowing of rings. Invariant: this interface says nothing about how bytes
//! travel; what is underneath (today: copies through a data region shared
//! with the protocol server) is confined to the `buffers` module and may
//! change. Nothing that the I/O manager writes can make the library panic.
//!
//! * [`net`]: [`UdpSocket`](net::UdpSocket), [`TcpListener`](net::TcpListener),
//!   [`TcpStream`](net::TcpStream), name look-up.
//! * [`Poll`]: readiness over many sockets.
//! * [`time`]: a monotonic clock and sleep.
//! * [`Stack`], [`Platform`]: what all sockets of a component share, and what
//!   it stands on. On seL4, `ioipc::init(component)` sets both up.
//!
//! ```no_run
//! use ioipc::net::UdpSocket;
//!
//! # fn main() -> Result<(), ioipc::Error> {
//! let socket = UdpSocket::bind("0.0.0.0:7")?;
//! let mut buf = [0; 2048];
//! loop {
//!     let (len, from) = socket.recv_from(&mut buf)?;
//!     socket.send_to(&buf[..len], from)?;
//! }
//! # }
//! ```
//!
//! Several threads may use the library at once, each with an index of its own
//! ([`Platform::thread`]): one of those that wait, the leader, waits for the
//! I/O manager, and wakes the others when completions have come.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod buffers;
mod close;
mod complete;
mod core_state;
mod error;
pub mod net;
mod platform;
mod poll;
mod post;
mod records;
#[cfg(feature = "sel4")]
mod sel4;
mod stack;
pub mod time;
mod transfer;

pub use error::{Error, ErrorKind, Result, SetupError};
pub use platform::{MAX_THREADS, Platform, Quota};
pub use poll::{Event, Interest, Poll, Pollable};
pub use records::bookkeeping_bytes;
#[cfg(feature = "sel4")]
pub use sel4::{init, init_with, take_signals};
pub use stack::{Settings, Stack, install, stack};
