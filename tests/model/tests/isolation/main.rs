//! Hostile clients and servers beside honest parties.
//!
//! Each says what is right but for one field, every field in turn, or whatever
//! a generator makes of it. It is refused and counted; the honest client's
//! bytes, which go through the same manager, arrive as they were sent; and when
//! the hostile party is gone, nobody has lost anything. `IOIPC_FUZZ_SECONDS`
//! says how long the generators run, `IOIPC_SEED` repeats them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod fuzz;
mod honest;
mod server;
mod wrong;
