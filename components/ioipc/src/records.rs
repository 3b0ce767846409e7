//! Book-keeping in memory that the platform gives.
//!
//! Problem: no allocator, and tables whose size is known only when the
//! component starts. Invariant: records are plain bytes of which every
//! pattern is legal, so a span of memory can be taken as a table of them
//! without unsafe code; links between records are 16-bit indices.

use socket_api::WireAddress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::SetupError;

/// End of a list; no record.
pub(crate) const NONE: u16 = u16::MAX;

/// Bits of [`SocketRecord::flags`].
pub(crate) mod flag {
    /// Operations do not wait.
    pub const NON_BLOCKING: u16 = 1 << 0;
    /// Sends ask for no Nagle delay.
    pub const NO_DELAY: u16 = 1 << 1;
    /// The reading side was shut down here.
    pub const READ_SHUT: u16 = 1 << 2;
    /// The writing side was shut down here.
    pub const WRITE_SHUT: u16 = 1 << 3;
    /// The stream has ended.
    pub const END: u16 = 1 << 4;
    /// In the list of sockets that wait for slots or buffers.
    pub const ATTENTION: u16 = 1 << 5;
    /// In the ready list of its poll.
    pub const READY: u16 = 1 << 6;
    /// `Close` has been submitted.
    pub const CLOSE_SENT: u16 = 1 << 7;
    /// Left the ready list although it wants to send: waits for room.
    pub const PARKED: u16 = 1 << 9;
    /// Is given `Recv`s or `Accept`s ahead of time.
    pub const POSTS: u16 = 1 << 8;
    /// May receive or accept: is bound or connected, and not at its end.
    pub const STARTED: u16 = 1 << 10;
    /// In the list of sockets that owe `Recv`s.
    pub const OWES: u16 = 1 << 11;
}

/// States of a socket record.
pub(crate) mod state {
    /// In the free list.
    pub const FREE: u16 = 0;
    /// Belongs to a socket of the application, or waits to be accepted.
    pub const OPEN: u16 = 1;
    /// Dropped by the application, not yet closed.
    pub const CLOSING: u16 = 2;
}

/// Kinds of sockets.
pub(crate) mod kind {
    pub const UDP: u16 = 1;
    pub const STREAM: u16 = 2;
    pub const LISTENER: u16 = 3;
}

/// One socket.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SocketRecord {
    /// What the manager calls it.
    pub handle: u32,
    /// Bytes of the first received buffer that were read.
    pub consumed: u32,
    /// Bytes in sends that are on their way.
    pub queued: u32,
    /// Bytes for which there was no room when they were last to be sent; 0 if
    /// there was. Less room does not make the socket ready.
    pub wanted: u32,
    /// Incremented when the record is freed.
    pub life: u32,
    pub kind: u16,
    pub state: u16,
    pub flags: u16,
    /// Handles of the application.
    pub references: u16,
    /// `Recv`s or `Accept`s on their way.
    pub posted: u16,
    /// `Send`s on their way.
    pub sends: u16,
    /// Received buffers or accepted connections, oldest first.
    pub first: u16,
    pub last: u16,
    /// A status to report once; 0: none.
    pub error: u16,
    /// A status that ended receiving for good; 0: none.
    pub receive_end: u16,
    /// A status that ended sending for good; 0: none.
    pub send_end: u16,
    /// log2 of the units of a receive buffer.
    pub order: u16,
    /// Free list, or list of those that need attention.
    pub next: u16,
    /// Neighbours in the ready list.
    pub ready_next: u16,
    pub ready_before: u16,
    /// Which poll, from 1; 0: none.
    pub poll: u16,
    pub interest: u16,
    /// Connections that may wait, of a listener.
    pub backlog: u16,
    /// Records in the queue that `first` heads.
    pub received: u16,
    /// The next of those that owe `Recv`s.
    pub owes_next: u16,
    pub reserved: [u16; 2],
    /// How data is passed, where the application said so: `Passing` words,
    /// 0: it did not.
    pub passing: PassingWords,
    /// What the application calls it in events.
    pub token: u64,
    /// Nanoseconds; 0: for ever.
    pub read_timeout: u64,
    pub write_timeout: u64,
    /// Milliseconds, as in `Close`.
    pub linger: u64,
    pub local: WireAddress,
    pub peer: WireAddress,
}

/// A socket's explicit semantics, by direction and by who allocates.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PassingWords {
    /// Sending from application-allocated buffers.
    pub send: u32,
    /// Receiving into them.
    pub receive: u32,
    /// Sending system-allocated buffers.
    pub send_buffer: u32,
    /// Receiving them.
    pub receive_buffer: u32,
}

/// Who takes the answer of a request: [`RequestRecord::owner`].
pub(crate) mod owner {
    /// The library; the buffer is one of its slots.
    pub const LIBRARY: u16 = 0;
    /// A thread that waits for it.
    pub const CALLER: u16 = 1;
    /// The asynchronous queue with number `owner - QUEUE`.
    pub const QUEUE: u16 = 2;
}

/// States of a request record.
pub(crate) mod progress {
    /// In the free list.
    pub const FREE: u16 = 0;
    /// Submitted.
    pub const OUTSTANDING: u16 = 1;
    /// Answered; the answer waits to be taken.
    pub const DONE: u16 = 2;
    /// Submitted, but nobody waits for the answer any more.
    pub const ORPHAN: u16 = 3;
}

/// One request, and later its answer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RequestRecord {
    /// Bytes of the extent; of the answer, once done.
    pub len: u32,
    /// First unit of the buffer; [`NO_UNIT`](crate::buffers::NO_UNIT): none.
    pub unit: u32,
    pub generation: u32,
    pub flags: u32,
    pub op: u16,
    pub progress: u16,
    /// Whose it is.
    pub socket: u16,
    /// Free list, or queue of the socket.
    pub next: u16,
    /// log2 of the buffer's units.
    pub order: u16,
    pub status: u16,
    /// The socket's record, of an accepted connection.
    pub accepted: u16,
    /// One of [`owner`].
    pub owner: u16,
    /// The new handle, of `Open`.
    pub handle: u32,
    /// What a queue calls the operation.
    pub tag: u32,
    /// What becomes of the buffer when a `Send` succeeds: a
    /// [`Standing`](crate::buffers::Standing).
    pub after: u16,
    /// `Cancel` has been submitted for it.
    pub cancelled: u16,
    /// Bytes of the `Send` that this `Recv` begins as.
    pub sent: u32,
    pub arg: u64,
    pub address: WireAddress,
}

/// One unit of the data region.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct UnitRecord {
    pub next: u32,
    pub before: u32,
    /// [`FREE_UNIT`](crate::buffers) plus order, or 0.
    pub state: u32,
}

/// Bytes of private memory for so many sockets and outstanding requests:
/// their records, and a fixed part for the data region.
#[must_use]
pub const fn bookkeeping_bytes(sockets: usize, requests: usize) -> usize {
    16 * 1024 + 512 * sockets + 256 * requests
}

const _: () = assert!(size_of::<SocketRecord>() <= 512 && size_of::<RequestRecord>() <= 256);

/// The tables.
pub(crate) struct Tables {
    pub sockets: &'static mut [SocketRecord],
    pub requests: &'static mut [RequestRecord],
    pub units: &'static mut [UnitRecord],
    /// At least one bit for each unit.
    pub marks: &'static mut [u64],
}

impl Tables {
    /// Cuts `memory` into tables; the rest is for units.
    pub fn cut(
        memory: &'static mut [u8],
        sockets: usize,
        requests: usize,
    ) -> Result<Self, SetupError> {
        if memory.len() < bookkeeping_bytes(sockets, requests) {
            return Err(SetupError::TooSmall);
        }
        memory.fill(0);
        let (sockets, rest) = <[SocketRecord]>::mut_from_prefix_with_elems(memory, sockets)
            .map_err(|_| SetupError::TooSmall)?;
        let (requests, rest) = <[RequestRecord]>::mut_from_prefix_with_elems(rest, requests)
            .map_err(|_| SetupError::TooSmall)?;
        // 64 units and their word of marks at a time.
        let words = rest.len() / (64 * size_of::<UnitRecord>() + 8);
        let (marks, rest) =
            <[u64]>::mut_from_prefix_with_elems(rest, words).map_err(|_| SetupError::TooSmall)?;
        let (units, _) = <[UnitRecord]>::mut_from_prefix_with_elems(rest, 64 * words)
            .map_err(|_| SetupError::TooSmall)?;
        Ok(Self {
            sockets,
            requests,
            units,
            marks,
        })
    }
}
