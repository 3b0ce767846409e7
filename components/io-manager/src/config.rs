//! The parties, as the system description gives them.

use alloc::vec::Vec;

use data_passing::{FrameId, HoldingConfig, Place};
use shared_ring::SharedMemory;
use socket_api::MessageSizes;

/// log2 of the bytes of the frames that regions are made of.
const FRAME: u32 = 12;

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sockets open, those reserved by outstanding `Accept`s included.
    pub sockets: u16,
    /// Requests outstanding; at most [`CLIENT_REQUESTS`](socket_api::CLIENT_REQUESTS).
    pub requests: u16,
    /// Bytes in outstanding `Send`s.
    pub queued_bytes: u32,
    /// Requests taken in one turn.
    pub share: u16,
    /// Received packets that may wait for it; the servers see to that.
    pub receive_frames: u32,
}

/// A client as the system description gives it.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its name, for the log and the gauges.
    pub name: &'static str,
    /// The region with its two rings.
    pub control: SharedMemory,
    /// What it may use.
    pub quota: Quota,
    /// How many threads it can ever have.
    pub threads: u32,
    /// All its memory that can be passed.
    pub holdings: Vec<HoldingConfig>,
}

/// Memory that devices and servers use: contiguous, in frames of 4 KiB, mapped
/// here.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The bytes.
    pub memory: SharedMemory,
    /// Physical address of the first.
    pub paddr: u64,
    /// Its first frame; the others follow by number.
    pub first: FrameId,
}

impl Region {
    /// The byte at `offset`, as the machine knows it.
    #[inline(always)]
    pub(crate) const fn place(&self, offset: u32) -> Place {
        Place {
            frame: FrameId(self.first.0 + (offset >> FRAME)),
            offset: offset & ((1 << FRAME) - 1),
        }
    }

    /// Calls `each` with the pieces of a range, each within a frame.
    #[inline]
    pub(crate) fn pieces(&self, mut offset: u32, mut len: u32, mut each: impl FnMut(Place, u32)) {
        while len != 0 {
            let place = self.place(offset);
            let part = len.min((1 << FRAME) - place.offset);
            each(place, part);
            offset += part;
            len -= part;
        }
    }
}

/// A NIC as the system description gives it.
#[derive(Clone, Copy, Debug)]
pub struct NicConfig {
    /// The region with the rings to its driver (`nic-api`).
    pub control: SharedMemory,
    /// Buffers for received payload: `SERVER_PACKETS` of
    /// [`payload_bytes`](nic_api::payload_bytes) each.
    pub payload: Region,
    /// Most bytes of a packet, for which buffers and slots were made.
    pub mtu: u32,
    /// The driver runs in the manager's thread, and so looks by itself.
    pub near: bool,
}

/// A region of messages as the system description gives it.
#[derive(Clone, Copy, Debug)]
pub struct MessageConfig {
    /// The bytes, which server and manager write.
    pub region: Region,
    /// How they are divided.
    pub sizes: MessageSizes,
}

/// A server as the system description gives it, with its NIC.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// The region with its rings.
    pub control: SharedMemory,
    /// Headers of received packets
    /// ([`headers_bytes`](socket_api::headers_bytes)), which it reads.
    pub headers: Region,
    /// Send slots ([`send_slots_bytes`](socket_api::send_slots_bytes)), which
    /// it writes.
    pub send_slots: Region,
    /// It runs in the manager's thread, and so looks by itself.
    pub near: bool,
    /// Messages, if payload is passed by value (`ipc = "conventional"`).
    pub messages: Option<MessageConfig>,
    /// The NIC.
    pub nic: NicConfig,
}
