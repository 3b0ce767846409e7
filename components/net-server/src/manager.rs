//! The request channel to the I/O manager, and the clients' data regions.
//!
//! Problem: requests name bytes in regions that clients write at any time.
//! Invariant: a request is copied once out of the ring; bytes are copied once
//! in or out of a region, within its bounds.

use alloc::vec::Vec;

use shared_ring::{AttachError, Consumer, Producer, SharedMemory};
use socket_api::{
    Completion, Request, SERVER_COMPLETIONS_OFFSET, SERVER_REQUESTS_OFFSET, SERVER_RING,
};

use crate::environment::{DriverFault, Environment, ManagerFault, PartialChecksum, Received};
use crate::nic::Nic;

/// Our side of the request channel.
pub struct Manager {
    requests: Consumer<Request>,
    completions: Producer<Completion>,
    regions: Vec<Option<SharedMemory>>,
}

impl Manager {
    /// Attaches to the rings in the control region; `regions` are the data
    /// regions by client index.
    ///
    /// # Errors
    /// [`AttachError`] if the region is too small or a header is wrong.
    pub fn attach(
        control: &SharedMemory,
        regions: Vec<Option<SharedMemory>>,
    ) -> Result<Self, AttachError> {
        let requests = control.slice(SERVER_REQUESTS_OFFSET, SERVER_RING.bytes())?;
        let completions = control.slice(SERVER_COMPLETIONS_OFFSET, SERVER_RING.bytes())?;
        Ok(Self {
            requests: Consumer::attach(requests, SERVER_RING)?,
            completions: Producer::attach(completions, SERVER_RING)?,
            regions,
        })
    }

    /// Shows completions to the manager; true if it must be signalled.
    #[must_use = "the manager sleeps until it is signalled"]
    pub fn publish(&mut self) -> bool {
        self.completions.publish()
    }

    /// Asks for a signal at the next request; true if the caller may sleep.
    ///
    /// # Errors
    /// [`ManagerFault`]: treat the manager as silent.
    pub fn arm(&mut self) -> Result<bool, ManagerFault> {
        self.requests.arm().map_err(ManagerFault::Ring)
    }

    /// Withdraws `arm`, once awake.
    pub fn disarm(&mut self) {
        self.requests.disarm();
    }

    fn region(&self, client: u32) -> Option<&SharedMemory> {
        self.regions.get(client as usize)?.as_ref()
    }
}

/// Both channels: the surroundings of a server on a real system.
pub struct Channels {
    /// Frames.
    pub nic: Nic,
    /// Requests.
    pub manager: Manager,
}

impl Environment for Channels {
    #[inline]
    fn receive_frame(&mut self, into: &mut [u8]) -> Result<Option<Received>, DriverFault> {
        self.nic.receive(into)
    }

    #[inline]
    fn frame_room(&mut self) -> usize {
        self.nic.room()
    }

    #[inline]
    fn send_frame(&mut self, frame: &[u8], checksum: Option<PartialChecksum>) -> bool {
        self.nic.send(frame, checksum)
    }

    #[inline]
    fn next_request(&mut self) -> Result<Option<Request>, ManagerFault> {
        self.manager.requests.pop().map_err(ManagerFault::Ring)
    }

    #[inline]
    fn complete(&mut self, completion: &Completion) -> bool {
        self.manager.completions.push(completion).is_ok()
    }

    #[inline]
    fn complete_quietly(&mut self, completion: &Completion) -> bool {
        self.manager.completions.push_quietly(completion).is_ok()
    }

    fn region_len(&self, client: u32) -> Option<usize> {
        self.manager.region(client).map(SharedMemory::len)
    }

    #[inline]
    fn read_client(&self, client: u32, offset: usize, into: &mut [u8]) -> bool {
        let region = self.manager.region(client);
        region.is_some_and(|region| region.read(offset, into).is_ok())
    }

    #[inline]
    fn write_client(&mut self, client: u32, offset: usize, from: &[u8]) -> bool {
        let region = self.manager.region(client);
        region.is_some_and(|region| region.write(offset, from).is_ok())
    }
}
