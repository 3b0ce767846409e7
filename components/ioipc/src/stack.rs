//! All sockets of a component, and how threads wait.
//!
//! Problem: one notification, one pair of rings, several threads that each
//! wait for something else. Invariant: whoever takes completions off the ring
//! wakes the others that wait; a thread sleeps only after it has shown the
//! manager its requests, asked for a signal, and looked once more.

use core::time::Duration;

use socket_api::{Completion, Op, Request, Status};
use spin::{Mutex, MutexGuard, Once};

use crate::buffers::NO_UNIT;
use crate::core_state::Core;
use crate::error::{Error, ErrorKind, Result, SetupError};
use crate::platform::{MAX_THREADS, Platform};
use crate::records::{NONE, flag, progress};
use crate::settings::Settings;

/// How long an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Never,
    Forever,
    /// Nanoseconds.
    For(u64),
    /// Until the clock says so.
    Until(u64),
}

impl Wait {
    /// From a timeout in which 0 nanoseconds means for ever.
    pub fn of_socket(flags: u16, timeout_ns: u64) -> Self {
        match timeout_ns {
            _ if flags & flag::NON_BLOCKING != 0 => Self::Never,
            0 => Self::Forever,
            ns => Self::For(ns),
        }
    }

    /// At most `duration`; for ever without one.
    pub fn at_most(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Forever, |d| Self::For(nanoseconds(d)))
    }
}

/// A duration in nanoseconds, 584 years at most.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All sockets of a component.
pub struct Stack {
    core: Mutex<Core>,
    platform: &'static dyn Platform,
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

static STACK: Once<Stack> = Once::new();

/// Makes `stack` the one that [`net`](crate::net) and [`time`](crate::time)
/// use when none is named.
///
/// # Errors
/// [`SetupError::Twice`].
pub fn install(stack: Stack) -> core::result::Result<&'static Stack, SetupError> {
    if STACK.is_completed() {
        return Err(SetupError::Twice);
    }
    Ok(STACK.call_once(|| stack))
}

/// The stack that was installed.
///
/// # Errors
/// `Unsupported` before [`install`].
pub fn stack() -> Result<&'static Stack> {
    const MISSING: Error = Error::new(ErrorKind::Unsupported, "sockets were not set up");
    STACK.get().ok_or(MISSING)
}

impl Stack {
    /// Attaches to the I/O manager. `memory`, aligned to 8 bytes, is for
    /// book-keeping: [`bookkeeping_bytes`](crate::bookkeeping_bytes).
    ///
    /// # Errors
    /// [`SetupError::TooSmall`] or [`SetupError::Ring`].
    pub fn new(
        platform: &'static dyn Platform,
        memory: &'static mut [u8],
        settings: Settings,
    ) -> core::result::Result<Self, SetupError> {
        Ok(Self {
            core: Mutex::new(Core::new(platform, memory, settings)?),
            platform,
        })
    }

    /// What the stack stands on.
    pub(crate) fn platform(&self) -> &'static dyn Platform {
        self.platform
    }

    /// The state, once nobody else has it.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        loop {
            if let Some(core) = self.core.try_lock() {
                return core;
            }
            self.platform.yield_now();
        }
    }

    /// Repeats `attempt` until it yields something or `wait` is over. What it
    /// submitted is shown to the manager at once if `show`, else before
    /// anybody sleeps.
    ///
    /// # Errors
    /// `WouldBlock` or `TimedOut`; `Other` if the manager broke its ring.
    #[inline]
    pub(crate) fn block<R>(
        &self,
        wait: Wait,
        show: bool,
        attempt: impl FnMut(&mut Core) -> Option<R>,
    ) -> Result<R> {
        self.block_with(self.lock(), wait, show, attempt)
    }

    /// As [`Stack::block`], with the state at hand.
    ///
    /// # Errors
    /// As [`Stack::block`].
    #[inline]
    pub(crate) fn block_with<'a, R>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        wait: Wait,
        show: bool,
        mut attempt: impl FnMut(&mut Core) -> Option<R>,
    ) -> Result<R> {
        if let Some(result) = attempt(&mut core) {
            self.leave(core, show);
            return Ok(result);
        }
        let mut deadline = None;
        core.settle_debts();
        loop {
            core.process();
            if let Some(result) = attempt(&mut core) {
                self.leave(core, show);
                return Ok(result);
            }
            if core.broken {
                self.leave(core, true);
                return Err(Error::BROKEN);
            }
            if wait == Wait::Never {
                self.leave(core, true);
                return Err(Error::WOULD_BLOCK);
            }
            core = match self.sleep(core, wait, &mut deadline) {
                Some(core) => core,
                None => return Err(Error::TIMED_OUT),
            };
        }
    }

    /// `wait` from now on, for an operation that waits more than once.
    pub(crate) fn until(&self, wait: Wait) -> Wait {
        match wait {
            Wait::For(ns) => Wait::Until(self.platform.now_ns().saturating_add(ns)),
            wait => wait,
        }
    }

    /// Does `work` at once, then shows the manager what it submitted.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let result = work(&mut core);
        self.leave(core, true);
        result
    }

    /// Gives the lock back: wakes who must know what happened meanwhile.
    /// Shows the manager everything if `all`, else once there is much.
    #[inline]
    pub(crate) fn leave(&self, mut core: MutexGuard<'_, Core>, all: bool) {
        let signal = if all { core.show() } else { core.show_many() };
        let others = core.others(self.platform);
        drop(core);
        if signal {
            self.platform.signal_manager();
        }
        self.wake(others);
    }

    /// Wakes threads, one bit each.
    #[inline]
    fn wake(&self, mut threads: u32) {
        while threads != 0 {
            self.platform.wake(threads.trailing_zeros() as usize);
            threads &= threads - 1;
        }
    }

    /// Sleeps until something may have changed; `None` when `wait` is over.
    #[cold]
    fn sleep<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        wait: Wait,
        deadline: &mut Option<u64>,
    ) -> Option<MutexGuard<'a, Core>> {
        if let Wait::For(_) | Wait::Until(_) = wait {
            let now = self.platform.now_ns();
            let end = *deadline.get_or_insert(match wait {
                Wait::Until(end) => end,
                Wait::For(ns) => now.saturating_add(ns),
                _ => u64::MAX,
            });
            if now >= end {
                self.leave(core, true);
                return None;
            }
        }
        core.settle_debts();
        let signal = core.show();
        if signal {
            self.platform.signal_manager();
        }
        let me = self.platform.thread().min(MAX_THREADS - 1);
        let lead = core.waiters.leader.is_none() && self.platform.may_lead(me);
        let end = deadline.unwrap_or(u64::MAX);
        let starved = core.needs_anything();
        if (lead || starved) && !core.arm() {
            return Some(core);
        }
        if lead {
            core.waiters.leader = Some(me);
        } else if core.waiters.leader.is_none() {
            // Nobody here gets the manager's signals: look again later.
            drop(core);
            self.platform.yield_now();
            return Some(self.lock());
        } else {
            core.waiters.followers |= 1 << me;
        }
        let others = core.enter(me, end, lead, self.platform);
        let until = core.earliest(me, lead);
        core.counters.waits += 1;
        core.counters.signals += u64::from(starved);
        self.platform.publish(&core.counters);
        drop(core);
        if starved {
            self.platform.signal_manager();
        }
        self.wake(others);
        let until = (until != u64::MAX).then_some(until);
        self.platform.wait(me, lead, until);
        let mut core = self.lock();
        core.waiters.deadlines[me] = u64::MAX;
        core.waiters.followers &= !(1 << me);
        if lead {
            core.waiters.leader = None;
            // Followers' deadlines were ours to keep, and one may have to lead.
            core.progressed = true;
        }
        Some(core)
    }

    /// Submits `request` of socket `index` and waits for its answer. The
    /// buffer at `unit`, if any, is the caller's again after `Ok` only.
    ///
    /// # Errors
    /// The answer's status, or that of waiting.
    pub(crate) fn call(
        &self,
        request: Request,
        index: u16,
        unit: u32,
        order: u16,
        wait: Wait,
    ) -> Result<Completion> {
        let give_back = |core: &mut Core| {
            if unit != NO_UNIT {
                core.buffers.free(unit, order);
            }
        };
        let submitted = self.block(Wait::Forever, true, |core| {
            core.submit(request, index, unit, order)
        });
        let record = submitted.inspect_err(|_| self.with(give_back))?;
        let answered = self.block(wait, false, |core| {
            (core.record(record).progress == progress::DONE).then(|| core.take_answer(record))
        });
        let completion = answered.inspect_err(|_| {
            self.with(|core| core.abandon(record));
        })?;
        match completion.status {
            status if status == Status::Ok as u16 => Ok(completion),
            status => {
                self.with(give_back);
                Err(Error::from_status(status))
            }
        }
    }

    /// As [`Stack::call`] for a request without payload.
    pub(crate) fn control(&self, request: Request, index: u16, wait: Wait) -> Result<Completion> {
        self.call(request, index, NO_UNIT, 0, wait)
    }

    /// Opens a socket of the kind and returns its record.
    pub(crate) fn open(&'static self, wire_kind: u64, socket_kind: u16) -> Result<u16> {
        const FULL: Error = Error::new(ErrorKind::QuotaExceeded, "all sockets are in use");
        // A socket that is being closed becomes free soon.
        let index = self.block(Wait::Forever, false, |core| {
            match core.new_socket(socket_kind) {
                Some(index) => Some(Ok(index)),
                None if core.is_closing() => None,
                None => Some(Err(FULL)),
            }
        })??;
        let mut request = Request::new(Op::Open, 0, 0);
        request.arg = wire_kind;
        match self.control(request, NONE, Wait::Forever) {
            Ok(completion) => {
                self.with(|core| core.socket(index).handle = completion.socket);
                Ok(index)
            }
            Err(error) => {
                self.with(|core| core.free_socket(index));
                Err(error)
            }
        }
    }
}
