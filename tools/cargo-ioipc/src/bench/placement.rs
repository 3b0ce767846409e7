//! `cargo ioipc bench placement`: what it costs to take the protocol server
//! and the driver out of the privileged domain, with I/O-oriented IPC and
//! with messages that are copied.

pub mod record;
