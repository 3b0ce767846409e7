//! `cargo ioipc bench placement`: what it costs to take the protocol server
//! and the driver out of the privileged domain, with I/O-oriented IPC and
//! with messages that are copied.

mod html;
mod pairs;
mod panel;
mod plot;
pub mod record;
mod table;

pub use html::html;
pub(crate) use panel::{CAVEAT, case_name, number};
pub use table::table;
