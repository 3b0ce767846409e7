//! Serial console, logs of all components, and the serial monitor.
//!
//! Problem: one slow serial line serves everybody, and any component may be
//! broken or talkative. Invariant: nothing that a component logs can stop the
//! console, drive the terminal, or keep another component's lines away for
//! long; nothing the line does (or fails to do) can stop the console either.
//! Lines that find no room stay in their component's ring, which drops and
//! counts when full.
//!
//! * [`Uart`]: the port, with a bounded queue before it.
//! * [`Source`]: one component's log and counters.
//! * [`Console`]: all of them, in turns; and the monitor that answers commands
//!   with one line of JSON.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod command;
mod editor;
mod limit;
mod mux;
mod report;
mod source;
mod uart;

pub use command::Command;
pub use mux::{Console, MAX_SOURCES, Step};
pub use source::Source;
pub use uart::{Ports, Uart};
