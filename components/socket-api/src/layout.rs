//! Where the rings lie in the control regions.
//!
//! Both ends and the host tool, which sizes the regions and has the root task
//! format the rings, take the numbers from here. Invariant: no ring that a
//! party must be able to answer into can be full: the completion ring of a
//! client is as long as its request ring, and the ring from a server holds an
//! answer to every request, a release of every packet and every send slot.

use crate::message::{Completion, Request};
use crate::packet::{Message, SlotDone};
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
/// Packets the server may hold at a time, and frames it may have being sent.
pub const SERVER_PACKETS: u32 = 1024;
/// Send slots of a server.
pub const SEND_SLOTS: u32 = 256;
/// Layout of the ring to a server: requests and packets.
pub const TO_SERVER: RingLayout = RingLayout::new(size_of::<Message>() as u16, 8192);
/// Layout of the ring from a server.
pub const FROM_SERVER: RingLayout = RingLayout::new(size_of::<Message>() as u16, 8192);
/// Layout of the ring of send slots that come back to the server.
pub const SLOTS_DONE: RingLayout = RingLayout::new(size_of::<SlotDone>() as u16, SEND_SLOTS);
/// Offset of [`TO_SERVER`] in the server's control region; before it lies a
/// page with the facts about the NIC (`nic_api::NicInfo`), which the manager
/// publishes.
pub const TO_SERVER_OFFSET: usize = 4096;
/// Offset of [`FROM_SERVER`].
pub const FROM_SERVER_OFFSET: usize = TO_SERVER_OFFSET + TO_SERVER.bytes();
/// Offset of [`SLOTS_DONE`].
pub const SLOTS_DONE_OFFSET: usize = FROM_SERVER_OFFSET + FROM_SERVER.bytes();
/// Bytes of the server's control region.
pub const SERVER_CONTROL_BYTES: usize = SLOTS_DONE_OFFSET + SLOTS_DONE.bytes();

/// Bytes of a header slot: what a device scatters there of each frame, and room
/// before it.
pub const HEADER_SLOT_BYTES: usize = 256;
/// Bytes from one whole slot to the next: a frame of the MTU, rounded up.
#[must_use]
pub const fn whole_slot_bytes(mtu: usize) -> usize {
    (mtu + 14).next_multiple_of(256)
}
/// TCP ports that the server's own questions to DNS servers come from: below
/// those that connections are given by themselves (RFC 6335, 6). A segment from
/// port 53 to one of them is for the server, unless it is too long for a whole
/// slot.
pub const RESOLVER_PORTS: core::ops::RangeInclusive<u16> = 48_128..=49_151;
/// Whole slots: for packets that the server reads in full (ARP, ICMP, DHCP,
/// DNS).
pub const WHOLE_SLOTS: u32 = 64;
/// Bytes of the region of received headers: a header slot for each packet, then
/// the whole slots. The server maps it read-only.
#[must_use]
pub const fn headers_bytes(mtu: usize) -> usize {
    SERVER_PACKETS as usize * HEADER_SLOT_BYTES + WHOLE_SLOTS as usize * whole_slot_bytes(mtu)
}
/// Bytes of the region of send slots, one frame each. The server writes it.
#[must_use]
pub const fn send_slots_bytes(mtu: usize) -> usize {
    SEND_SLOTS as usize * whole_slot_bytes(mtu)
}

/// Frames that the manager may have in flight of segments that it cuts for one
/// server: as many as two slots for a frame would have.
pub const SEGMENT_FRAMES: u32 = 2 * SEND_SLOTS;
/// Bytes of a send slot that the headers of one segment take.
pub const SEGMENT_HEADER: usize = 64;
/// Segments of which the headers fit one send slot.
#[must_use]
pub const fn segments_in_slot(mtu: usize) -> u32 {
    (whole_slot_bytes(mtu) / SEGMENT_HEADER) as u32
}

const _: () = assert!(size_of::<Request>() == size_of::<Completion>());
const _: () = assert!(SERVER_REQUESTS + SERVER_PACKETS <= TO_SERVER.capacity);
// Each answer may be preceded by deliveries, each of which holds a packet.
const _: () = assert!(SERVER_REQUESTS + 2 * SERVER_PACKETS + SEND_SLOTS <= FROM_SERVER.capacity);
