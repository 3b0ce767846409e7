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

/// Most components that can run in another's protection domain.
pub const MAX_GUESTS: usize = 7;

/// Most slots of a component's CSpace.
pub const MOST_SLOTS: u32 = 1 << 16;

/// Slots that mean the same in every component.
pub mod slot {
    /// The component's own notification, bound to its first thread.
    pub const NOTIFICATION: u32 = 1;
    /// The component's own endpoint, to receive calls on; it is there even if
    /// nobody may call.
    pub const ENDPOINT: u32 = 2;
    /// An I/O manager's capability to pass on to the root task what it cannot
    /// resolve of its clients' faults ([`crate::fault::Fault::to_message`]).
    pub const FORWARD: u32 = 3;
    /// Notification of thread `n` (`n` ≥ 1) is `THREAD_NOTIFICATION + n`.
    pub const THREAD_NOTIFICATION: u32 = 0x10;
    /// First slot that the host tool assigns.
    pub const FIRST_ASSIGNED: u32 = 0x40;
}

/// Badge bit that marks a call (as against a notification) on an endpoint
/// that has a notification bound; the bits below hold the caller's index.
pub const CALL_BADGE: u64 = 1 << 27;
/// Beside [`CALL_BADGE`], marks the fault of a client's thread: the bits below
/// hold the client's number and the thread's ([`fault_badge`]).
pub const FAULT_BADGE: u64 = 1 << 26;
/// Bits of a fault's badge that hold the number of the thread.
pub const FAULT_THREAD_BITS: u32 = 4;

/// The badge with which faults of a client's thread reach its I/O manager.
#[must_use]
pub const fn fault_badge(client: u16, thread: u8) -> u64 {
    CALL_BADGE | FAULT_BADGE | (client as u64) << FAULT_THREAD_BITS | thread as u64
}

/// Client and thread of a fault's badge; `None` if it is not one.
#[must_use]
pub const fn faulting(badge: u64) -> Option<(u16, u8)> {
    if badge & CALL_BADGE == 0 || badge & FAULT_BADGE == 0 {
        return None;
    }
    let thread = badge & ((1 << FAULT_THREAD_BITS) - 1);
    Some(((badge >> FAULT_THREAD_BITS) as u16, thread as u8))
}

/// Notification badges use bits below this one (28-bit badges, one kept for
/// [`CALL_BADGE`]).
pub const NOTIFICATION_BITS: u32 = 27;

const _: () = assert!(MAX_THREADS <= 1 << FAULT_THREAD_BITS);
// Every client's number fits between thread and mark.
const _: () = assert!((u16::MAX as u64) << FAULT_THREAD_BITS < FAULT_BADGE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_from_a_call_and_from_a_signal() {
        assert_eq!(faulting(fault_badge(61, 15)), Some((61, 15)));
        assert_eq!(faulting(fault_badge(u16::MAX, 0)), Some((u16::MAX, 0)));
        assert_eq!(faulting(CALL_BADGE | 3), None);
        assert_eq!(faulting(FAULT_BADGE | 3), None, "a signal's bit");
    }
}
