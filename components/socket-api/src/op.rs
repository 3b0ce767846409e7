//! Operations and status values, numbered.
//!
//! Numbers are never reused; a reader that meets an unknown one answers
//! [`Status::BadRequest`].

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl $name {
            /// All values, in order of number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}

pub(crate) use numbered;

numbered! {
    /// What can be asked. Each request is answered by exactly one completion,
    /// in any order except that the `Send`s of one socket take effect, and its
    /// `Recv`s are filled, in the order submitted.
    Op {
        /// Create a socket. `arg` = a [`SocketKind`] number, for a null socket
        /// with bits of [`null`](crate::null). The completion's
        /// `socket` is the new handle. (Server's hop: `socket` is the number
        /// that the manager has chosen.)
        Open = 1 "open",
        /// Give the socket a local address; port 0 picks an ephemeral one.
        /// Completion: `address` = what was bound.
        Bind = 2 "bind",
        /// UDP: fix the peer (datagrams of others are no longer received).
        /// TCP: connect; completes when established or failed.
        /// Completion: `address` = the local address.
        Connect = 3 "connect",
        /// TCP: listen on the bound address; `arg` = backlog, at least 1:
        /// connections established or half open that wait for an `Accept`.
        Listen = 4 "listen",
        /// TCP: take the next connection. Completion: `socket` = the new one,
        /// `address` = its peer. (Server's hop: `arg` = the number that the
        /// manager has chosen for the new socket.)
        Accept = 5 "accept",
        /// Send the extent. UDP: one datagram, to `address` or, if its family
        /// is 0, to the connected peer; completes once queued to the NIC. TCP:
        /// appended to the stream; completes when all bytes are acknowledged
        /// (from then on nobody needs the extent), or early on reset, close or
        /// error with the count of those that are. With `NO_WAIT` only what
        /// fits the send queue is taken, and the count is what was taken;
        /// `TimedOut` if that is nothing.
        Send = 6 "send",
        /// Receive into the extent. UDP: one datagram; `len` = bytes stored,
        /// `arg` = the datagram's full length, flag `TRUNCATED` if that is
        /// more. TCP: completes with at least one byte, with as many as are
        /// there; `len` = 0 with status `Ok` at the end of the stream.
        Recv = 7 "receive",
        /// TCP: `arg` bit 0 closes the reading side, bit 1 sends FIN after
        /// what is queued.
        Shutdown = 8 "shutdown",
        /// Close. All outstanding requests of the socket complete first, with
        /// `Cancelled`; but with a linger time, `Send`s of a stream go on and
        /// complete as they would have. `arg` = linger in milliseconds: 0
        /// drops what is queued (TCP: RST if anything was unsent or unread or
        /// a `Send` was outstanding, else FIN); `u64::MAX` sends what is queued
        /// and completes when no `Send` is outstanding, at once if none is,
        /// with the rest of those completed as `HELD` sent in the background;
        /// otherwise the completion comes when all is acknowledged or the time
        /// is over (status `TimedOut`). The socket's number is free after the
        /// completion.
        Close = 9 "close",
        /// Cancel the request of this socket whose `user_data` (server's hop:
        /// token) is `arg`; it completes with `Cancelled` unless it is done. A
        /// `Send` of a stream of which some bytes are queued already takes no
        /// more, and completes with their count as soon as they are
        /// acknowledged or, with `MAY_HOLD`, held. Completes with `NotFound`
        /// when there is none.
        Cancel = 10 "cancel",
        /// Resolve the host name in the extent (`extent.len` bytes of ASCII);
        /// needs no socket. Completion: `len` = count of 4-byte IPv4 addresses
        /// × 4, written at the start of the extent, which must have room for
        /// 16 bytes: the request's `arg` = bytes of room from the extent's
        /// address. (Server's hop: the name comes before the request as
        /// [`Name`](crate::Name)s, of `extent.len` bytes in all; the addresses
        /// are the first `len` bytes of the completion's `address.octets`.)
        Resolve = 11 "resolve",
        /// Network status; needs no socket. Completes when an address is
        /// configured (at once if one is) with `address` = own address,
        /// `arg` = prefix length, `len` = MTU in bytes.
        AwaitAddress = 12 "await address",
        /// Manager to server only: the client `client` is gone; abort and free
        /// every socket it owns without completions of theirs, then complete.
        /// No token of the client is used afterwards; those that were `HELD`
        /// are retired before.
        DropClient = 13 "drop client",
        /// Client to manager only: write the client's [`Account`] to the start
        /// of the extent, which must have room for it. Needs no socket.
        ///
        /// [`Account`]: crate::Account
        Account = 14 "account",
        /// Client to manager only: the pages of the extent and as many from the
        /// address `arg` on change places (user-directed page swapping). Both
        /// are whole, writable pages of 4 KiB. Needs no socket.
        Exchange = 15 "exchange pages",
    }
}

numbered! {
    /// How a request ended.
    Status {
        /// Done.
        Ok = 0 "ok",
        /// A field of the request is not legal; `arg` of the completion is the
        /// byte offset of the field in [`Request`](crate::Request).
        BadRequest = 1 "bad request",
        /// No such socket, or not the caller's.
        BadSocket = 2 "no such socket",
        /// The operation does not fit the socket's kind or state.
        InvalidState = 3 "not possible in this state",
        /// A quota of the client is used up; `arg` = which, see `Quota` in
        /// the documentation of system.toml.
        QuotaExceeded = 4 "quota exceeded",
        /// The address or port is taken.
        AddressInUse = 5 "address in use",
        /// The address is not one of ours.
        AddressNotAvailable = 6 "address not available",
        /// No route, or no answer to ARP.
        Unreachable = 7 "destination unreachable",
        /// The peer refused the connection.
        ConnectionRefused = 8 "connection refused",
        /// The peer reset the connection.
        ConnectionReset = 9 "connection reset by peer",
        /// We aborted the connection.
        ConnectionAborted = 10 "connection aborted",
        /// Not connected.
        NotConnected = 11 "not connected",
        /// The time is over.
        TimedOut = 12 "timed out",
        /// The datagram is longer than can be sent; `arg` = the most, in bytes.
        MessageTooLong = 13 "message too long",
        /// Cancelled by `Cancel` or `Close`.
        Cancelled = 14 "cancelled",
        /// The server has no room (sockets, buffers).
        NoResources = 15 "server out of resources",
        /// Not supported yet (IPv6).
        Unsupported = 16 "not supported",
        /// Nothing to cancel, or the name does not exist.
        NotFound = 17 "not found",
        /// The server died or broke the protocol.
        ServerGone = 18 "the protocol server is gone",
        /// The writing side has been shut down.
        BrokenPipe = 19 "broken pipe",
        /// The link has no address yet.
        NetworkDown = 20 "network down",
    }
}

numbered! {
    /// Kinds of sockets.
    SocketKind {
        /// Datagrams (RFC 768).
        Udp = 1 "udp",
        /// Streams (RFC 9293).
        Tcp = 2 "tcp",
        /// What is sent is discarded, what is received is a pattern; inside
        /// the manager, see [`null`](crate::null).
        Null = 3 "null",
    }
}

/// Bits in the `flags` of requests and completions.
pub mod flags {
    /// Request: complete with `Ok`/0 … never wait; a `Recv` or `Accept` that
    /// finds nothing completes with `TimedOut` at once.
    pub const NO_WAIT: u16 = 1 << 0;
    /// `Bind`: allow the address of a connection that is in TIME-WAIT.
    pub const REUSE_ADDRESS: u16 = 1 << 1;
    /// `Send` on TCP: no Nagle delay for this socket from now on.
    pub const NO_DELAY: u16 = 1 << 2;
    /// `Send`: nobody needs to be woken for the completion if its status is
    /// `Ok` (`docs/signalling.md`).
    pub const QUIET: u16 = 1 << 3;
    /// `Send`, `Recv`: the caller does nothing else until this is answered.
    /// Believed of a component that can have one thread only; then the buffer
    /// goes by reference without protection.
    pub const BLOCKED: u16 = 1 << 4;
    /// `Send`, server's hop: may be completed with [`HELD`].
    pub const MAY_HOLD: u16 = 1 << 5;
    /// `Send`, server's hop: `arg` is the ones' complement sum of the extent,
    /// folded to 16 bits, as two bytes in memory order.
    pub const SUMMED: u16 = 1 << 6;
    /// `Send` of a socket for datagrams, client's hop: once it is over, `arg`
    /// bytes from its address on are room to receive into. It becomes a `Recv`
    /// of the same word, and is answered as that; only if it failed, or cannot
    /// become one, it is answered as a `Send`, and wakes the client.
    pub const REPOST: u16 = 1 << 7;
    /// Request flags that clients may use; others are refused.
    pub const REQUEST_ALL: u16 = NO_WAIT | REUSE_ADDRESS | NO_DELAY | QUIET | BLOCKED | REPOST;
    /// Completion: the datagram was longer than the extent.
    pub const TRUNCATED: u32 = 1 << 0;
    /// Completion of a `Recv`, server's hop: the packet is not needed any more.
    pub const RELEASE: u32 = 1 << 1;
    /// Completion of a stream's `Send`, server's hop, with `Ok` or `Cancelled`:
    /// `len` bytes are queued; those from `arg` on are not yet acknowledged and
    /// may be sent (again) until [`Retire`](crate::Retire). Only with
    /// [`MAY_HOLD`].
    pub const HELD: u32 = 1 << 2;
}
