//! A monotonic clock and sleep, the same on every platform.

use core::ops::{Add, Sub};
use core::time::Duration;

use crate::error::Result;
use crate::stack::{Stack, Wait, nanoseconds, stack};

/// A point in time. The clock starts near 0 at boot and never goes back; see
/// [`resolution`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// Now. Costs a few instructions, no call to anybody.
    ///
    /// # Errors
    /// `Unsupported` before sockets were set up.
    pub fn now() -> Result<Self> {
        Ok(Self::now_on(stack()?))
    }

    /// As [`Instant::now`], on a stack other than the installed one.
    #[must_use]
    pub fn now_on(stack: &'static Stack) -> Self {
        Self {
            ns: stack.platform().now_ns(),
        }
    }

    /// The time since the clock started.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.ns)
    }

    /// The time since `earlier`; none if that is later.
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            ns: self.ns.saturating_add(nanoseconds(duration)),
        }
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// The smallest step of the clock.
///
/// # Errors
/// `Unsupported` before sockets were set up.
pub fn resolution() -> Result<Duration> {
    Ok(Duration::from_nanos(stack()?.platform().resolution_ns()))
}

/// Sleeps for at least `duration`.
///
/// # Errors
/// `Unsupported` before sockets were set up; `Other` if the I/O manager broke
/// its ring.
pub fn sleep(duration: Duration) -> Result<()> {
    sleep_on(stack()?, duration)
}

/// As [`sleep`], on a stack other than the installed one.
///
/// # Errors
/// As [`sleep`].
pub fn sleep_on(stack: &'static Stack, duration: Duration) -> Result<()> {
    let wait = Wait::For(nanoseconds(duration));
    match stack.block(wait, false, |_| None::<()>) {
        Err(e) if e != crate::Error::TIMED_OUT => Err(e),
        _ => Ok(()),
    }
}
