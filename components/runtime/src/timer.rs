//! The client's side of the timer service.

use core::fmt;

use service_api::timer;

use crate::{Link, clock};

/// One deadline at a time, kept by the timer driver.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    link: Link,
}

/// The timer service is dead, or system.toml gives no way to call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerGone;

impl fmt::Display for TimerGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the timer service does not answer")
    }
}

impl core::error::Error for TimerGone {}

impl Timer {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Asks to be signalled with [`Timer::badge`] once [`clock::now_ns`] has
    /// reached `deadline_ns`; 0 cancels. Replaces the previous deadline.
    ///
    /// # Errors
    /// [`TimerGone`].
    pub fn arm(&self, deadline_ns: u64) -> Result<(), TimerGone> {
        match self.link.call(timer::LABEL_ARM, [deadline_ns, 0, 0, 0]) {
            Some((timer::REPLY_OK, _)) => Ok(()),
            _ => Err(TimerGone),
        }
    }

    /// The badge bit of an expiry.
    #[must_use]
    pub fn badge(&self) -> u64 {
        self.link.badge
    }

    /// Sleeps for at least `ns` nanoseconds. Returns the badge bits of others
    /// who signalled meanwhile, for the caller to act on. First thread only.
    ///
    /// # Errors
    /// [`TimerGone`].
    pub fn sleep(&self, component: &crate::Component, ns: u64) -> Result<u64, TimerGone> {
        let deadline = clock::now_ns().saturating_add(ns);
        let mut others = 0;
        self.arm(deadline)?;
        while clock::now_ns() < deadline {
            let bits = component.wait();
            others |= bits & !self.badge();
        }
        Ok(others)
    }
}
