//! What the server needs from its surroundings.
//!
//! Problem: the same server runs between a driver and a manager on the real
//! system, and in host tests against another stack. Invariant: nothing that
//! comes through this trait is trusted: lengths are checked again, and a
//! fault is counted and survived.

use core::fmt;

use nic_api::DescriptorError;
use shared_ring::RingError;
use socket_api::{Completion, Request};

/// A frame that has been copied into the server's private buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame, Ethernet header included.
    pub len: usize,
    /// The device has verified the transport checksum.
    pub verified: bool,
}

/// Asks the device to complete a checksum (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where summing starts, in bytes from the start of the frame.
    pub start: u16,
    /// Where the sum goes, in bytes from `start`.
    pub offset: u16,
}

/// What the NIC driver did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverFault {
    /// It moved a ring index to an impossible place.
    Ring(RingError),
    /// It named a buffer or a length that cannot be.
    Descriptor(DescriptorError),
    /// It handed over a buffer that was not on its side.
    NotItsBuffer(u32),
}

impl fmt::Display for DriverFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(e) => write!(f, "the NIC driver broke a ring: {e}"),
            Self::Descriptor(e) => write!(f, "the NIC driver wrote a bad descriptor: {e}"),
            Self::NotItsBuffer(b) => {
                write!(
                    f,
                    "the NIC driver handed over buffer {b}, which it did not have"
                )
            }
        }
    }
}

impl core::error::Error for DriverFault {}

/// What the I/O manager did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagerFault {
    /// It moved a ring index to an impossible place.
    Ring(RingError),
}

impl fmt::Display for ManagerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ring(e) = self;
        write!(f, "the I/O manager broke a ring: {e}")
    }
}

impl core::error::Error for ManagerFault {}

/// Frames, requests and client memory.
pub trait Environment {
    /// Copies the next received frame into `into`, which has room for the
    /// largest frame; a frame that does not fit is the driver's fault.
    ///
    /// # Errors
    /// [`DriverFault`]; the frame or entry concerned is gone.
    fn receive_frame(&mut self, into: &mut [u8]) -> Result<Option<Received>, DriverFault>;
    /// How many frames can be sent now.
    fn frame_room(&mut self) -> usize;
    /// Sends a frame; false if there was no room.
    fn send_frame(&mut self, frame: &[u8], checksum: Option<PartialChecksum>) -> bool;

    /// The next request.
    ///
    /// # Errors
    /// [`ManagerFault`]; nothing was taken.
    fn next_request(&mut self) -> Result<Option<Request>, ManagerFault>;
    /// Answers a request; false if the manager left no room.
    fn complete(&mut self, completion: &Completion) -> bool;
    /// As `complete`, when nobody needs to be woken for it.
    fn complete_quietly(&mut self, completion: &Completion) -> bool {
        self.complete(completion)
    }

    /// Size of a client's data region in bytes, or `None` if there is none.
    fn region_len(&self, client: u32) -> Option<usize>;
    /// Copies out of a client's data region; false if outside it.
    fn read_client(&self, client: u32, offset: usize, into: &mut [u8]) -> bool;
    /// Copies into a client's data region; false if outside it.
    fn write_client(&mut self, client: u32, offset: usize, from: &[u8]) -> bool;
}
