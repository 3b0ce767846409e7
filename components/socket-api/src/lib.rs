//! The numbered socket protocol between client, I/O manager and protocol
//! server.
//!
//! Problem: three components that do not trust each other move socket
//! operations over shared rings. Invariant: every message is plain bytes of a
//! fixed size with all patterns legal, so reading one cannot fail; what it
//! *means* is checked by the reader, field by field. No message carries a
//! pointer: a client names its bytes by an [`Extent`] of its own address
//! space, which only the manager can resolve; a server names bytes by token
//! and offset, or by packet and offset, and never has them mapped.
//!
//! The same 64-byte [`Request`] and [`Completion`] travel on both hops:
//!
//! ```text
//! client --Request--> I/O manager --Request, Packet--------------------> server
//! client <-Completion- I/O manager <-Completion, Deliver, Release, ... - server
//! ```
//!
//! On the client's hop `socket` is the client's handle and `user_data` is
//! the client's. On the server's hop the manager has replaced them by its own
//! socket number and token. A server never sees a value that a client chose,
//! except addresses and lengths that the manager has checked.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod account;
mod address;
pub mod host;
mod layout;
mod message;
mod messages;
pub mod null;
mod op;
mod packet;
mod passing;

pub use account::Account;
pub use address::WireAddress;
pub use layout::{
    CLIENT_CONTROL_BYTES, CLIENT_REQUESTS, CLIENT_RING, COMPLETIONS_OFFSET, FROM_SERVER,
    FROM_SERVER_OFFSET, HEADER_SLOT_BYTES, REQUESTS_OFFSET, RESOLVER_PORTS, SEGMENT_FRAMES,
    SEGMENT_HEADER, SEND_SLOTS, SERVER_CONTROL_BYTES, SERVER_PACKETS, SERVER_REQUESTS, SLOTS_DONE,
    SLOTS_DONE_OFFSET, TO_SERVER, TO_SERVER_OFFSET, WHOLE_SLOTS, headers_bytes, segments_in_slot,
    send_slots_bytes, whole_slot_bytes,
};
pub use message::{Completion, Extent, Request};
pub use messages::{
    Inbox, MESSAGE, MESSAGE_BYTES, MessageEnd, MessageSizes, Outbox, SOCKET_BLOCK,
    SOCKET_HELD_BLOCKS, attach_messages,
};
pub use op::{Op, SocketKind, Status, flags};
pub use packet::{
    DELIVER_MORE, Deliver, Delivery, Further, Message, NAME_BYTES, NO_PACKET, Name, PACKET_BUFFERS,
    Packet, Part, RELEASE_MOST, Receives, Release, Retire, SEGMENT_PARTS, SlotDone, TRANSMIT_PARTS,
    Transmit, kind, packet_flags,
};
pub use passing::{Passing, Semantics, Technique};
