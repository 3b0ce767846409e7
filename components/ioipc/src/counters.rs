//! What the library itself has done, by reason.

/// The library's own numbers; each only grows. What the I/O manager did for
/// this component is in its [`Account`](socket_api::Account).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes copied into slots to be sent, because they were few or
    /// the call may not wait.
    pub copied_out: u64,
    /// Payload bytes copied from slots to the application, because they were
    /// received ahead of time.
    pub copied_in: u64,
    /// Bytes of names and their addresses that were copied either way.
    pub copied_control: u64,
    /// Payload bytes sent by address.
    pub sent_by_address: u64,
    /// Payload bytes received by address.
    pub received_by_address: u64,
    /// Operations by address that the manager refused, and that went through
    /// slots then.
    pub refused: u64,
    /// Operations by address that were cancelled because their time was over.
    pub cancelled: u64,
    /// Requests submitted.
    pub requests: u64,
    /// Completions taken.
    pub completions: u64,
    /// Signals sent to the manager.
    pub signals: u64,
    /// Times a thread slept.
    pub waits: u64,
}

impl Counters {
    /// Nothing has been done.
    pub const ZERO: Self = Self {
        copied_out: 0,
        copied_in: 0,
        copied_control: 0,
        sent_by_address: 0,
        received_by_address: 0,
        refused: 0,
        cancelled: 0,
        requests: 0,
        completions: 0,
        signals: 0,
        waits: 0,
    };

    /// Names and values, in order.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("ioipc.copied.out", self.copied_out),
            ("ioipc.copied.in", self.copied_in),
            ("ioipc.copied.control", self.copied_control),
            ("ioipc.by-address.sent", self.sent_by_address),
            ("ioipc.by-address.received", self.received_by_address),
            ("ioipc.by-address.refused", self.refused),
            ("ioipc.by-address.cancelled", self.cancelled),
            ("ioipc.requests", self.requests),
            ("ioipc.completions", self.completions),
            ("ioipc.signals", self.signals),
            ("ioipc.waits", self.waits),
        ]
    }

    /// Payload bytes that the library copied, for any reason.
    #[must_use]
    pub const fn copied(&self) -> u64 {
        self.copied_out + self.copied_in
    }

    /// Times that this component entered the kernel for data: a signal, or a
    /// wait.
    #[must_use]
    pub const fn crossings(&self) -> u64 {
        self.signals + self.waits
    }
}
