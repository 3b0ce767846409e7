//! The monotonic clock.
//!
//! Reading it costs one instruction and one multiplication: the timer driver
//! publishes what a count of the time-stamp counter is worth, once.

use core::arch::x86_64::_rdtsc;

use service_api::Clock;
use spin::Once;
use system_description::{Protocol, Role};

use crate::Component;

static CLOCK: Once<Clock> = Once::new();

/// Reads the clock page of the component's timer link; true once the clock
/// runs. Sleeps until the timer driver has published it: the driver measures
/// for some milliseconds at boot. False at once without a timer link or with
/// a page that is not a clock.
pub fn init(component: &Component) -> bool {
    if CLOCK.is_completed() {
        return true;
    }
    let Some(page) = component
        .link(Protocol::Timer, Role::Client)
        .and_then(|link| link.control)
    else {
        return false;
    };
    loop {
        match Clock::read(&page) {
            Ok(Some(clock)) => {
                CLOCK.call_once(|| clock);
                return true;
            }
            Ok(None) => sel4::r#yield(),
            Err(_) => return false,
        }
    }
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
