//! What a client's data passing has cost, as the client may read it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The manager's account of one client; every number only grows. Bytes are
/// payload bytes, page operations are edits of one page-table entry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Account {
    /// Bytes copied into the client's buffers.
    pub copied_in: u64,
    /// Bytes copied out of the client's buffers because the technique says so.
    pub copied_out: u64,
    /// Bytes copied because a `Send` was completed before they were
    /// acknowledged.
    pub copied_tail: u64,
    /// Bytes copied because the client wrote to a page that was being sent.
    pub copied_tcow: u64,
    /// Bytes copied from the client's page to complete a partial page that was
    /// then swapped (reverse copyout).
    pub copied_reverse: u64,
    /// Bytes of frames cleared before they went to the client.
    pub cleared: u64,
    /// Bytes sent by reference.
    pub referenced_out: u64,
    /// Bytes received without a copy.
    pub referenced_in: u64,
    /// Pages mapped.
    pub mapped: u64,
    /// Pages unmapped.
    pub unmapped: u64,
    /// Pages whose rights were changed.
    pub protected: u64,
    /// Faults resolved by restoring access.
    pub faults_restored: u64,
    /// Faults resolved by a copy.
    pub faults_copied: u64,
    /// Signals sent to the client.
    pub signals: u64,
    /// Requests taken from the client.
    pub requests: u64,
    /// Completions given to the client.
    pub completions: u64,
}

impl Account {
    /// Page operations of all kinds.
    #[must_use]
    pub const fn page_operations(&self) -> u64 {
        self.mapped + self.unmapped + self.protected
    }

    /// Bytes copied for any reason.
    #[must_use]
    pub const fn copied(&self) -> u64 {
        self.copied_in + self.copied_out + self.copied_tail + self.copied_tcow + self.copied_reverse
    }
}
