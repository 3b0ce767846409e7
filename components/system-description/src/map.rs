//! Fixed points of a component's address space and CSpace.
//!
//! Invariant: everything lies below 4 GiB, where kernel 5.0.0 reports fault
//! addresses exactly and where the instruction counter takes code for user
//! code.

/// Bytes of a small page.
pub const PAGE: u64 = 4096;
/// Bytes of a large page.
pub const LARGE_PAGE: u64 = 2 << 20;
/// Program images lie below this address.
pub const IMAGE_END: u64 = 0x1000_0000;
/// The start-up page(s), read-only.
pub const STARTUP: u64 = 0x1000_0000;
/// Most bytes of start-up records.
pub const STARTUP_MAX: u64 = 64 << 10;
/// Stacks and IPC buffers: thread `n` has `THREADS + n * THREAD_STRIDE` on.
pub const THREADS: u64 = 0x2000_0000;
/// Distance between two threads' areas; a stack may take all but four pages.
pub const THREAD_STRIDE: u64 = 0x0100_0000;
/// Most threads of a component.
pub const MAX_THREADS: u64 = 16;
/// Private memory (heap) of the component.
pub const HEAP: u64 = 0x3000_0000;
/// Shared regions and devices, upward.
pub const REGIONS: u64 = 0x4000_0000;
/// Shared regions and devices end before this address.
pub const REGIONS_END: u64 = 0xf000_0000;

/// Slots that mean the same in every component.
pub mod slot {
    /// The component's own notification, bound to its first thread.
    pub const NOTIFICATION: u32 = 1;
    /// The component's own endpoint, to receive calls on; it is there even if
    /// nobody may call.
    pub const ENDPOINT: u32 = 2;
    /// Notification of thread `n` (`n` ≥ 1) is `THREAD_NOTIFICATION + n`.
    pub const THREAD_NOTIFICATION: u32 = 0x10;
    /// First slot that the host tool assigns.
    pub const FIRST_ASSIGNED: u32 = 0x40;
}

/// Badge bit that marks a call (as against a notification) on an endpoint
/// that has a notification bound; the bits below hold the caller's index.
pub const CALL_BADGE: u64 = 1 << 27;
/// Notification badges use bits below this one (28-bit badges, one kept for
/// [`CALL_BADGE`]).
pub const NOTIFICATION_BITS: u32 = 27;
