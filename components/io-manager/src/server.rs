//! The manager's end of the rings shared with one server.

use shared_ring::{AttachError, Consumer, Producer, RingLayout};
use socket_api::{
    FROM_SERVER, FROM_SERVER_OFFSET, Message, SLOTS_DONE, SLOTS_DONE_OFFSET, SlotDone, Status,
    TO_SERVER, TO_SERVER_OFFSET,
};

use crate::assembly::Assembly;
use crate::config::ServerConfig;
use crate::messages::Messages;
use crate::nic::Nic;

/// Violations after which a server is given up: one may be a mistake that
/// concerns one client, many are not.
const MOST_FAULTS: u32 = 16;

/// One server, with its NIC.
#[derive(Debug)]
pub(crate) struct Server {
    pub index: u8,
    pub control: shared_ring::SharedMemory,
    pub to: Producer<Message>,
    pub from: Consumer<Message>,
    pub slots_done: Producer<SlotDone>,
    pub alive: bool,
    /// What those are told who ask it once it is not alive.
    pub farewell: Status,
    /// It runs in this thread.
    pub near: bool,
    /// Its ring was full, which it cannot be unless the server broke it.
    pub overrun: bool,
    faults: u32,
    /// The frame that it is naming the parts of.
    pub assembly: Assembly,
    /// With conventional IPC.
    pub messages: Option<Messages>,
    pub nic: Nic,
}

impl Server {
    /// Attaches to the rings of server number `index` and of its NIC.
    pub fn attach(index: u8, config: &ServerConfig) -> Result<Self, AttachError> {
        let ring = |at, layout: RingLayout| config.control.slice(at, layout.bytes());
        Ok(Self {
            index,
            control: config.control,
            to: Producer::attach(ring(TO_SERVER_OFFSET, TO_SERVER)?, TO_SERVER)?,
            from: Consumer::attach(ring(FROM_SERVER_OFFSET, FROM_SERVER)?, FROM_SERVER)?
                .near(config.near),
            slots_done: Producer::attach(ring(SLOTS_DONE_OFFSET, SLOTS_DONE)?, SLOTS_DONE)?,
            alive: true,
            farewell: Status::ServerGone,
            near: config.near,
            overrun: false,
            faults: 0,
            assembly: Assembly::new(),
            messages: config.messages.as_ref().map(Messages::attach).transpose()?,
            nic: Nic::attach(config)?,
        })
    }

    /// Whether it or its driver runs in this thread, and has said something.
    #[inline]
    pub fn hears_near(&self) -> bool {
        (self.near && self.alive && !self.from.looks_empty()) || self.nic.hears_near()
    }

    /// Counts a violation; true if there have been too many.
    pub fn fault(&mut self) -> bool {
        self.faults += 1;
        self.faults >= MOST_FAULTS
    }
}
