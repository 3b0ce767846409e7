//! What the library stands on.

use shared_ring::SharedMemory;

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
/// A wake-up, by the manager or by [`Platform::wake`], that comes before the
/// thread waits is kept: the next wait returns at once. Waits may return for
/// no reason.
pub trait Platform: Sync {
    /// The region with the two rings shared with the I/O manager.
    fn control(&self) -> SharedMemory;
    /// The region that payload lies in, shared with the protocol server.
    fn data(&self) -> SharedMemory;
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
}
