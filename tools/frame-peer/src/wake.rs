//! A thread that sleeps in `poll`, and those who wake it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, Timespec, eventfd, poll};

/// A descriptor that is readable once somebody has something to say.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    pub fn wake(&self) {
        // Full means that a wake-up is pending already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Forgets the wake-ups up to now.
    pub fn clear(&self) {
        // Empty if the thread was woken for something else.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until a descriptor is ready, or for `idle`, if that is known.
pub(crate) fn sleep(fds: &mut [PollFd<'_>], idle: Option<Duration>) {
    let timeout = idle.map(|idle| Timespec {
        tv_sec: idle.as_secs() as i64,
        tv_nsec: i64::from(idle.subsec_nanos()),
    });
    // A failing poll (a signal) is as good as a timeout.
    let _ = poll(fds, timeout.as_ref());
}
