//! Requests, completions, extents.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::WireAddress;
use crate::op::{Op, Status};

/// Bytes in the client's data region: offset and length in bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Extent {
    /// Offset from the start of the data region, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Extent {
    /// Whether the extent lies in a region of `region_bytes`.
    #[must_use]
    pub fn fits(&self, region_bytes: usize) -> bool {
        u64::from(self.offset) + u64::from(self.len) <= region_bytes as u64
    }
}

/// What a client asks of the manager, or the manager of a server. 64 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Request {
    /// An [`Op`] by number.
    pub op: u16,
    /// [`flags`](crate::flags) of the operation.
    pub flags: u16,
    /// Which socket: the client's handle, or the manager's socket number.
    pub socket: u32,
    /// Returned in the completion: the client's word, or the manager's token.
    pub user_data: u64,
    /// The bytes to send, or the room to receive into.
    pub extent: Extent,
    /// Destination, or address to bind or connect to.
    pub address: WireAddress,
    /// Meaning by operation; see [`Op`].
    pub arg: u64,
    /// On the server's hop, whose data region the extent lies in; must be 0
    /// on the client's hop.
    pub client: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// The answer to one request. 64 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Completion {
    /// The request's operation.
    pub op: u16,
    /// A [`Status`] by number.
    pub status: u16,
    /// The request's socket; for `Open` and `Accept` the new one.
    pub socket: u32,
    /// The request's `user_data`.
    pub user_data: u64,
    /// Bytes sent, received or written to the extent.
    pub len: u32,
    /// [`flags`](crate::flags) of the completion.
    pub flags: u32,
    /// Source of a datagram, peer of an accepted connection, or the local
    /// address after `Bind` and `Connect`.
    pub address: WireAddress,
    /// Meaning by operation; see [`Op`].
    pub arg: u64,
    /// 0.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Request>() == 64 && size_of::<Completion>() == 64);

impl Request {
    /// A request with everything zero but the operation, socket and user data.
    #[must_use]
    pub fn new(op: Op, socket: u32, user_data: u64) -> Self {
        Self {
            op: op as u16,
            socket,
            user_data,
            ..Self::default()
        }
    }

    /// The completion that answers this request with `status` and no data.
    #[must_use]
    pub fn complete(&self, status: Status) -> Completion {
        Completion {
            op: self.op,
            status: status as u16,
            socket: self.socket,
            user_data: self.user_data,
            ..Completion::default()
        }
    }
}
