//! Threads that wait, and answers that they wait for.
//!
//! Invariant: the leader's sleep ends by the earliest deadline of all who wait,
//! and an answer is taken, or given up, exactly once.

use socket_api::Completion;

use crate::buffers::NO_UNIT;
use crate::core_state::Core;
use crate::platform::{MAX_THREADS, Platform};
use crate::records::{progress, state};

/// Which threads wait, and for how long at most.
pub(crate) struct Waiters {
    /// The thread that waits for the manager.
    pub leader: Option<usize>,
    /// The others, one bit each.
    pub followers: u32,
    /// Deadline of each thread that waits, leader included.
    pub deadlines: [u64; MAX_THREADS],
}

impl Waiters {
    /// Nobody waits.
    pub const NOBODY: Self = Self {
        leader: None,
        followers: 0,
        deadlines: [u64::MAX; MAX_THREADS],
    };
}

impl Core {
    /// Threads to wake because something completed: all that wait.
    #[inline]
    pub fn others(&mut self, platform: &dyn Platform) -> u32 {
        if self.waiters.followers == 0 && self.waiters.leader.is_none() {
            self.progressed = false;
            return 0;
        }
        self.others_slow(platform)
    }

    #[cold]
    fn others_slow(&mut self, platform: &dyn Platform) -> u32 {
        if !core::mem::take(&mut self.progressed) {
            return 0;
        }
        let leader = self.waiters.leader.map_or(0, |l| 1 << l);
        (self.waiters.followers | leader) & !(1 << platform.thread())
    }

    /// Books that thread `me` waits until `end`; who must be woken for it.
    pub fn enter(&mut self, me: usize, end: u64, lead: bool, platform: &dyn Platform) -> u32 {
        self.waiters.deadlines[me] = end;
        let mut others = self.others(platform);
        if let Some(leader) = self.waiters.leader.filter(|_| !lead) {
            // The leader keeps all deadlines.
            if end < self.waiters.deadlines[leader] {
                others |= 1 << leader;
            }
        }
        others
    }

    /// Until when thread `me` may sleep: the leader until anybody's deadline.
    pub fn earliest(&self, me: usize, lead: bool) -> u64 {
        let own = self.waiters.deadlines[me];
        if !lead || self.waiters.followers == 0 {
            return own;
        }
        self.waiters.deadlines.iter().copied().fold(own, u64::min)
    }

    /// Takes the answer in record `record`; the caller keeps its buffer.
    pub fn take_answer(&mut self, record: u16) -> Completion {
        let r = self.record(record);
        let completion = Completion {
            op: r.op,
            status: r.status,
            socket: r.handle,
            len: r.len,
            flags: r.flags,
            address: r.address,
            arg: r.arg,
            ..Completion::default()
        };
        r.unit = NO_UNIT;
        self.free_record(record);
        completion
    }

    /// Nobody waits for the answer in record `record` any more.
    pub fn abandon(&mut self, record: u16) {
        match self.record(record).progress {
            progress::OUTSTANDING => self.record(record).progress = progress::ORPHAN,
            progress::DONE => self.free_with_buffer(record),
            _ => {}
        }
    }

    /// Whether some socket will be free without anybody's doing.
    pub fn is_closing(&self) -> bool {
        self.sockets.iter().any(|s| s.state == state::CLOSING)
    }
}
