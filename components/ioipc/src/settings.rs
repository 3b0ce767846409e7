//! How the library uses what it was given.
//!
//! The figures below decide between copying through slots and naming the
//! caller's buffer. They are constants chosen for seL4 on x86-64, where a copy
//! of 4 KiB costs about as much as half a wake-up; set others where that does
//! not hold.

/// How the library uses what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Receives submitted ahead of time for each UDP socket, and so datagrams
    /// that may arrive between two looks.
    pub datagrams: u16,
    /// log2 of the 2 KiB units of a buffer that a datagram is received into.
    pub datagram_order: u16,
    /// Receives submitted ahead of time for each stream; twice as many once
    /// it fills them.
    pub stream_receives: u16,
    /// log2 of the 2 KiB units of a stream's buffers at first.
    pub stream_order: u16,
    /// The same at most.
    pub most_stream_order: u16,
    /// log2 of the 2 KiB units of the largest slot that a write to a stream is
    /// copied into: a request each.
    pub most_send_order: u16,
    /// Accepts submitted ahead of time for each listener.
    pub accepts: u16,
    /// Bytes that one socket may have in sends on their way.
    pub queued_bytes: u32,
    /// From how many bytes on a blocking send of a datagram goes by address.
    pub datagram_by_address: u32,
    /// From how many bytes on a blocking write to a stream goes by address, and
    /// so waits until all but a tail of 64 KiB has been acknowledged (all of
    /// it, if the component has several threads).
    pub stream_by_address: u32,
    /// From how many bytes on a blocking receive goes by address, of a socket
    /// that is in no poll; a datagram socket's only if its slots are smaller.
    pub receive_by_address: u32,
    /// Whether receives are submitted ahead of time at all, but for polls and
    /// operations that may not wait. Ahead of time, data is found without
    /// asking anybody, many packets for one wake-up, and is copied twice: by
    /// the manager into a slot, by the library out of it. Without, it is copied
    /// once, waits at the protocol server meanwhile, and each receive is a
    /// question and its answer.
    pub receive_ahead: bool,
    /// Linger of new streams, in milliseconds: 0 drops what is queued,
    /// `u64::MAX` sends it in the background.
    pub linger_ms: u64,
}

impl Settings {
    /// What suits most components.
    pub const DEFAULT: Self = Self {
        datagrams: 64,
        datagram_order: 0,
        stream_receives: 2,
        stream_order: 1,
        most_stream_order: 3,
        most_send_order: 5,
        accepts: 4,
        queued_bytes: 128 << 10,
        datagram_by_address: 4 << 10,
        stream_by_address: 64 << 10,
        receive_by_address: 16 << 10,
        receive_ahead: true,
        linger_ms: u64::MAX,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
