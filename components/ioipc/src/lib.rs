//! Sockets for components, in the shape of `std::net`.
//!
//! Problem: an application wants `send(&buf)` and `recv(&mut buf)` with copy
//! semantics, blocking or with readiness, without an allocator and without
//! knowing of rings. Invariant: whatever travels by reference underneath, a
//! buffer that was given to a call is the application's again, and nobody
//! else's, when the call returns; weaker semantics hold only where the
//! application named them. Nothing that the I/O manager writes to the rings can
//! make the library panic.
//!
//! * [`net`]: [`UdpSocket`](net::UdpSocket), [`TcpListener`](net::TcpListener),
//!   [`TcpStream`](net::TcpStream), name look-up.
//! * [`Poll`]: readiness over many sockets.
//! * [`queue`]: operations that are submitted now and complete later.
//! * [`Buffer`]: memory of the system's, for the semantics that pass it on.
//! * [`account`], [`counters`]: what passing data has cost, at the I/O manager
//!   and here.
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

mod account;
mod buffer;
mod buffers;
mod close;
mod complete;
mod core_state;
mod counters;
mod direct;
mod error;
mod exchange;
mod memory;
pub mod net;
mod pass;
mod platform;
mod poll;
mod post;
pub mod queue;
mod records;
mod repost;
#[cfg(feature = "sel4")]
mod sel4;
mod settings;
mod stack;
pub mod time;
mod transfer;
mod waiters;

pub use account::{account, counters};
pub use buffer::{Buffer, Datagram, Unsent};
pub use counters::Counters;
pub use error::{Error, ErrorKind, Result, SetupError};
pub use exchange::exchange;
pub use memory::UserBuffer;
pub use platform::{MAX_THREADS, Platform, Quota};
pub use poll::{Event, Interest, Poll, Pollable};
pub use records::bookkeeping_bytes;
#[cfg(feature = "sel4")]
pub use sel4::{init, init_with, take_signals};
pub use settings::Settings;
pub use socket_api::{Account, Passing, Semantics, Technique};
pub use stack::{Stack, install, stack};
