//! The manager's end of the rings shared with one server.

use shared_ring::{AttachError, Consumer, Producer, SharedMemory};
use socket_api::{
    Completion, Request, SERVER_COMPLETIONS_OFFSET, SERVER_REQUESTS_OFFSET, SERVER_RING,
};

/// Violations after which a server is given up: one may be a mistake that
/// concerns one client, many are not.
const MOST_FAULTS: u32 = 16;

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub requests: Producer<Request>,
    pub completions: Consumer<Completion>,
    pub alive: bool,
    /// Its ring was full, which it cannot be unless the server broke it.
    pub overrun: bool,
    faults: u32,
}

impl Server {
    /// Attaches to the rings in `control`.
    pub fn attach(control: SharedMemory) -> Result<Self, AttachError> {
        let ring = |offset| control.slice(offset, SERVER_RING.bytes());
        Ok(Self {
            requests: Producer::attach(ring(SERVER_REQUESTS_OFFSET)?, SERVER_RING)?,
            completions: Consumer::attach(ring(SERVER_COMPLETIONS_OFFSET)?, SERVER_RING)?,
            alive: true,
            overrun: false,
            faults: 0,
        })
    }

    /// Counts a violation; true if there have been too many.
    pub fn fault(&mut self) -> bool {
        self.faults += 1;
        self.faults >= MOST_FAULTS
    }
}
