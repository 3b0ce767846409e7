//! What the library stands on.

use shared_ring::{Region, SharedMemory};
use socket_api::Extent;

use crate::counters::Counters;

/// Most threads of a component.
pub const MAX_THREADS: usize = 16;

/// What the I/O manager allows this component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sockets open at once.
    pub sockets: u16,
    /// Requests outstanding at once.
    pub requests: u16,
    /// Bytes in outstanding sends.
    pub queued_bytes: u32,
}

/// Memory, signals and time. One implementation each for seL4, for tests on
/// the host, and for what comes.
///
/// The component's memory is named by address, as the I/O manager knows it.
/// Where the program's pointers are those addresses, [`Platform::region`] gives
/// the data region to be used directly; where the component's memory is
/// simulated, with pages that move and faults, there is no region, and all
/// bytes go through [`Platform::read`] and [`Platform::write`]. What the
/// library does is the same.
///
/// A wake-up, by the manager or by [`Platform::wake`], that comes before the
/// thread waits is kept: the next wait returns at once. Waits may return for
/// no reason.
pub trait Platform: Sync {
    /// The region with the two rings shared with the I/O manager.
    fn control(&self) -> SharedMemory;
    /// Where the data region lies, page-aligned: memory for the library's
    /// slots and for [`Buffer`](crate::Buffer)s.
    fn data(&self) -> Extent;
    /// The data region as memory of this program; asked for once. `None` where
    /// it is simulated.
    fn region(&self) -> Option<Region>;
    /// What the manager allows.
    fn quota(&self) -> Quota;
    /// Wakes the I/O manager.
    fn signal_manager(&self);
    /// Nanoseconds of a clock that never goes back.
    fn now_ns(&self) -> u64;
    /// The smallest step of that clock, in nanoseconds.
    fn resolution_ns(&self) -> u64;
    /// Sleeps until the manager signals (if `lead`), somebody wakes this
    /// thread, or the clock has reached `deadline_ns`.
    fn wait(&self, thread: usize, lead: bool, deadline_ns: Option<u64>);
    /// Wakes a thread from its wait.
    fn wake(&self, thread: usize);
    /// The number of the calling thread, below [`MAX_THREADS`].
    fn thread(&self) -> usize {
        0
    }
    /// Whether this thread gets the manager's signals.
    fn may_lead(&self, thread: usize) -> bool {
        thread == 0
    }
    /// Lets other threads run: somebody else has the lock.
    fn yield_now(&self);
    /// The address by which the manager knows the `len` bytes at `pointer`, if
    /// it knows them. Here: the pointer, if all lies below 4 GiB.
    #[inline]
    fn address_of(&self, pointer: usize, len: usize) -> Option<u32> {
        let end = pointer.checked_add(len)?;
        let low = end <= 1 << 32 && !self.is_simulated();
        u32::try_from(pointer).ok().filter(|_| low)
    }
    /// Whether the component's memory is simulated: then any address may be
    /// named, read and written.
    fn is_simulated(&self) -> bool {
        false
    }
    /// Copies from the component's simulated memory; false if there is none at
    /// `address`.
    fn read(&self, _address: u32, _into: &mut [u8]) -> bool {
        false
    }
    /// Copies to the component's simulated memory; false if there is none at
    /// `address`.
    fn write(&self, _address: u32, _from: &[u8]) -> bool {
        false
    }
    /// Whether the component can have one thread only, so that nobody changes
    /// a buffer while that thread waits.
    fn is_single_threaded(&self) -> bool {
        false
    }
    /// Whether touching a page that was moved away gives a new one. Otherwise
    /// regions without pages wait for a receive that fills them.
    fn moved_pages_return(&self) -> bool {
        false
    }
    /// Shows the library's counters to whoever monitors the component. Called
    /// before each wait.
    fn publish(&self, _counters: &Counters) {}
}
