//! The numbered socket protocol between client, I/O manager and protocol
//! server.
//!
//! Problem: three components that do not trust each other move socket
//! operations over shared rings. Invariant: every message is plain bytes of a
//! fixed size with all patterns legal, so reading one cannot fail; what it
//! *means* is checked by the reader, field by field, with [`Op`] and
//! [`Status`] as the only legal values. No message carries a pointer: bytes
//! are named by an [`Extent`].
//!
//! The same 64-byte [`Request`] and [`Completion`] travel on both hops:
//!
//! ```text
//! client --Request--> I/O manager --Request--> server
//! client <-Completion- I/O manager <-Completion- server
//! ```
//!
//! On the client's hop `socket` is the client's handle and `user_data` is
//! the client's. On the server's hop the manager has replaced them by its own
//! socket number and token, and `client` tells whose data region an extent
//! lies in. A server never sees a value that a client chose, except payload,
//! addresses and lengths that the manager has checked.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod layout;
mod message;
mod op;

pub use address::WireAddress;
pub use layout::{
    CLIENT_CONTROL_BYTES, CLIENT_REQUESTS, CLIENT_RING, COMPLETIONS_OFFSET, REQUESTS_OFFSET,
    SERVER_COMPLETIONS_OFFSET, SERVER_CONTROL_BYTES, SERVER_REQUESTS, SERVER_REQUESTS_OFFSET,
    SERVER_RING,
};
pub use message::{Completion, Extent, Request};
pub use op::{Op, SocketKind, Status, flags};
