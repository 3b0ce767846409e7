//! The monotonic clock.
//!
//! Reading it costs one instruction and one multiplication: the timer driver
//! publishes what a count of the time-stamp counter is worth, once.

use core::arch::x86_64::_rdtsc;

use service_api::{Clock, timer};
use spin::Once;
use system_description::{Protocol, Role};

use crate::Component;

static CLOCK: Once<Clock> = Once::new();

/// Reads the clock page of the component's timer link; true once the clock
/// runs. Sleeps until the timer driver has published it: the driver measures
/// for some milliseconds at boot. False without a timer link, with a page that
/// is not a clock, and if the driver has failed.
pub fn init(component: &Component) -> bool {
    if CLOCK.is_completed() {
        return true;
    }
    let Some(link) = component.link(Protocol::Timer, Role::Client) else {
        return false;
    };
    let Some(page) = link.control else {
        return false;
    };
    let mut read = Clock::read(&page);
    if read == Ok(None) {
        // The driver answers calls once it has published the clock, or once
        // it knows that it never will. Cancelling no deadline changes nothing.
        let _ = link.call(timer::LABEL_ARM, [0; 4]);
        read = Clock::read(&page);
    }
    let Ok(Some(clock)) = read else {
        return false;
    };
    CLOCK.call_once(|| clock);
    true
}

/// Nanoseconds since boot, never going back; 0 before [`init`].
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    CLOCK.get().map_or(0, |clock| clock.ns(tsc()))
}

/// The smallest step of [`now_ns`] in nanoseconds; 0 before [`init`].
#[must_use]
pub fn resolution_ns() -> u64 {
    CLOCK.get().map_or(0, Clock::resolution_ns)
}

/// The time-stamp counter.
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 has the instruction, and the kernel lets user
    // programs use it.
    unsafe { _rdtsc() }
}
