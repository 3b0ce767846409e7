//! Where the rings lie in the control regions.
//!
//! Both ends and the host tool, which sizes the regions and has the root task
//! format the rings, take the numbers from here. Invariant: the completion
//! ring is as long as the request ring, and the manager accepts no more
//! requests than it has room to complete, so completing never blocks.

use crate::message::{Completion, Request};
use shared_ring::RingLayout;

/// Requests a client may have outstanding, and so completions too.
pub const CLIENT_REQUESTS: u32 = 512;
/// Layout of both rings between a client and the I/O manager.
pub const CLIENT_RING: RingLayout = RingLayout::new(size_of::<Request>() as u16, CLIENT_REQUESTS);
/// Offset of the request ring in a client's control region.
pub const REQUESTS_OFFSET: usize = 0;
/// Offset of the completion ring in a client's control region.
pub const COMPLETIONS_OFFSET: usize = CLIENT_RING.bytes();
/// Bytes of a client's control region.
pub const CLIENT_CONTROL_BYTES: usize = 2 * CLIENT_RING.bytes();

/// Requests the I/O manager may have outstanding at a server, over all clients.
pub const SERVER_REQUESTS: u32 = 4096;
/// Layout of both rings between the I/O manager and a server.
pub const SERVER_RING: RingLayout = RingLayout::new(size_of::<Request>() as u16, SERVER_REQUESTS);
/// Offset of the request ring in the server's control region.
pub const SERVER_REQUESTS_OFFSET: usize = 0;
/// Offset of the completion ring in the server's control region.
pub const SERVER_COMPLETIONS_OFFSET: usize = SERVER_RING.bytes();
/// Bytes of the server's control region.
pub const SERVER_CONTROL_BYTES: usize = 2 * SERVER_RING.bytes();

const _: () = assert!(size_of::<Request>() == size_of::<Completion>());
