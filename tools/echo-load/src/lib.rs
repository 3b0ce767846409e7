//! Loads an echo service on loopback and checks every byte that comes back.
//!
//! A throughput figure is worth something only if the work was done: a reply
//! that never came, came twice or came back changed must show. So every
//! generator here returns an [`Outcome`] in which each unit of work is either
//! done, lost or wrong, and `done + lost + wrong` is what was asked for.
//!
//! Figures of instructions per packet also need a known batch size. [`udp`]
//! therefore sends bursts: exactly the stated number go out, and the next burst
//! waits until all of them are back. [`udp_sliding`] keeps a window full
//! instead, for throughput and for comparison with other generators.
//!
//! Nothing here is sent anywhere but to the address given.
#![forbid(unsafe_code)]

mod outcome;
mod pattern;
mod storm;
mod tcp;
mod udp;

pub use outcome::{LoadError, Outcome};
pub use pattern::Pattern;
pub use storm::{Closer, storm};
pub use tcp::{Held, tcp_bulk, tcp_lockstep, tcp_parallel};
pub use udp::{udp, udp_sliding};

use std::time::Duration;

/// How long a reply may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a TCP exchange may stand still before it is given up.
pub const TCP_PATIENCE: Duration = Duration::from_secs(10);
