//! Requests, completions, extents.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::WireAddress;
use crate::op::{Op, Status};

/// Bytes of a client: address in its address space, and length in bytes.
/// Components lie below 4 GiB.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Extent {
    /// Address of the first byte.
    pub address: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Extent {
    /// The address behind the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address as u64 + self.len as u64
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
    /// The bytes to send, or the room to receive into. On the server's hop
    /// the address is 0, or with conventional IPC, for a `Send`, where its
    /// message is ([`Outbox`](crate::Outbox)).
    pub extent: Extent,
    /// Destination, or address to bind or connect to.
    pub address: WireAddress,
    /// Meaning by operation; see [`Op`].
    pub arg: u64,
    /// On the server's hop, whose request it is; must be 0 on the client's hop.
    pub client: u32,
    /// How the data is passed: a [`Passing`](crate::Passing) word. 0 on the
    /// server's hop.
    pub passing: u32,
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
    /// On the server's hop, for a `Recv`: the packet that the last bytes are
    /// in, or [`NO_PACKET`](crate::NO_PACKET); with conventional IPC
    /// [`MESSAGE`](crate::MESSAGE), if there are bytes. 0 on the client's hop.
    pub packet: u32,
    /// The first of those bytes, counted from the start of the frame; they end
    /// the `len` bytes of the completion. With conventional IPC the position
    /// of the message that has all of them.
    pub offset: u32,
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
