//! The monotonic clock: a page that turns time-stamp counts into nanoseconds.
//!
//! Problem: reading the time must not be a call, and every component must see
//! the same time. The timer driver measures the time-stamp counter against
//! its hardware once and publishes the factors in a page that others map
//! read-only. Invariant: the factors never change once `ready` is 1, so a
//! reader copies them once and keeps them.
//!
//! `ns = ns_base + ((tsc - tsc_base) * multiplier >> shift)`
//!
//! The clock starts near 0 at boot. Its resolution is one count of the
//! time-stamp counter, rounded up to a nanosecond ([`Clock::resolution_ns`]);
//! its rate is as right as the measurement, some tens of parts per million.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `"clck"` |
//! | 4 | 4 | version |
//! | 8 | 4 | ready: 1 once all fields hold |
//! | 12 | 4 | shift |
//! | 16 | 8 | tsc base |
//! | 24 | 8 | ns base |
//! | 32 | 8 | multiplier |

use core::fmt;
use core::sync::atomic::Ordering;

use shared_ring::{OutOfRange, SharedMemory};

const MAGIC: u32 = u32::from_le_bytes(*b"clck");
const VERSION: u32 = 1;
const READY: u32 = 1;

/// Why a clock page was refused; the timer driver is at fault, or the region
/// is not a clock page at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// The region is smaller than the page.
    OutOfRange,
    /// The page is ready but has another magic word.
    Magic(u32),
    /// The page has another version.
    Version(u32),
    /// The factors make no clock: multiplier 0 or shift above 63.
    Factors,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => write!(f, "the region is too small for a clock page"),
            Self::Magic(v) => write!(f, "clock page has magic {v:#x}, not {MAGIC:#x}"),
            Self::Version(v) => write!(f, "clock page has version {v}, not {VERSION}"),
            Self::Factors => write!(f, "clock page has impossible factors"),
        }
    }
}

impl core::error::Error for ClockError {}

impl From<OutOfRange> for ClockError {
    fn from(_: OutOfRange) -> Self {
        Self::OutOfRange
    }
}

/// The factors of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    tsc_base: u64,
    ns_base: u64,
    multiplier: u64,
    shift: u32,
}

impl Clock {
    /// A clock that shows `ns_base` when the time-stamp counter shows
    /// `tsc_base`, for a counter that advanced `counts` in `ns` nanoseconds.
    ///
    /// # Errors
    /// [`ClockError::Factors`] if either is 0 or the rate is outside 2^-31 to
    /// 2^31 nanoseconds a count.
    pub fn from_rate(
        tsc_base: u64,
        ns_base: u64,
        counts: u64,
        ns: u64,
    ) -> Result<Self, ClockError> {
        const SHIFT: u32 = 32;
        let multiplier = (u128::from(ns) << SHIFT)
            .checked_div(u128::from(counts))
            .and_then(|m| u64::try_from(m).ok())
            .ok_or(ClockError::Factors)?;
        Self {
            tsc_base,
            ns_base,
            multiplier,
            shift: SHIFT,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ClockError> {
        if self.multiplier == 0 || self.multiplier >= 1 << 63 || self.shift > 63 {
            return Err(ClockError::Factors);
        }
        Ok(self)
    }

    /// Nanoseconds at a reading of the time-stamp counter. One multiplication;
    /// wraps instead of panicking.
    #[inline]
    #[must_use]
    pub const fn ns(&self, tsc: u64) -> u64 {
        let counts = tsc.wrapping_sub(self.tsc_base);
        let scaled = (counts as u128 * self.multiplier as u128) >> (self.shift & 63);
        self.ns_base.wrapping_add(scaled as u64)
    }

    /// As [`Clock::ns`], but the clock's start for a reading before it, as of
    /// a log line written while the clock was still being measured.
    #[must_use]
    pub const fn ns_since_start(&self, tsc: u64) -> u64 {
        if (tsc.wrapping_sub(self.tsc_base) as i64) < 0 {
            return self.ns_base;
        }
        self.ns(tsc)
    }

    /// The smallest step of the clock, in nanoseconds, rounded up.
    #[must_use]
    pub const fn resolution_ns(&self) -> u64 {
        let unit = 1u64 << (self.shift & 63);
        self.multiplier.div_ceil(unit)
    }

    /// Publishes the clock at the start of `page`. Only the timer driver does,
    /// and once.
    ///
    /// # Errors
    /// [`ClockError::OutOfRange`] if the region is too small.
    pub fn publish(&self, page: &SharedMemory) -> Result<(), ClockError> {
        page.store32(4, VERSION)?;
        page.store32(12, self.shift)?;
        page.word64(16)?.store(self.tsc_base, Ordering::Relaxed);
        page.word64(24)?.store(self.ns_base, Ordering::Relaxed);
        page.word64(32)?.store(self.multiplier, Ordering::Relaxed);
        page.store32(0, MAGIC)?;
        // Release: whoever sees `ready` sees the fields.
        page.word32(8)?.store(READY, Ordering::Release);
        Ok(())
    }

    /// The clock published at the start of `page`; `None` before it is.
    ///
    /// # Errors
    /// A [`ClockError`] that names what is wrong with the page.
    pub fn read(page: &SharedMemory) -> Result<Option<Self>, ClockError> {
        if page.word32(8)?.load(Ordering::Acquire) != READY {
            return Ok(None);
        }
        let (magic, version) = (page.load32(0)?, page.load32(4)?);
        if magic != MAGIC {
            return Err(ClockError::Magic(magic));
        }
        if version != VERSION {
            return Err(ClockError::Version(version));
        }
        Self {
            shift: page.load32(12)?,
            tsc_base: page.word64(16)?.load(Ordering::Relaxed),
            ns_base: page.word64(24)?.load(Ordering::Relaxed),
            multiplier: page.word64(32)?.load(Ordering::Relaxed),
        }
        .checked()
        .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::boxed::Box;

    fn page() -> SharedMemory {
        SharedMemory::from_static(Box::leak(Box::new([0u64; 8])))
    }

    #[test]
    fn a_published_clock_is_read_back() {
        let page = page();
        assert_eq!(Clock::read(&page), Ok(None));
        let clock = Clock::from_rate(1000, 5, 2_500_000, 1_000_000).unwrap();
        clock.publish(&page).unwrap();
        assert_eq!(Clock::read(&page), Ok(Some(clock)));
        assert_eq!(clock.ns(1000), 5);
        assert_eq!(clock.resolution_ns(), 1);
        assert_eq!(
            (clock.ns_since_start(999), clock.ns_since_start(1000)),
            (5, 5)
        );
        assert_eq!(clock.ns_since_start(3502), 1005);
    }

    #[test]
    fn damaged_pages_are_refused() {
        let clock = Clock::from_rate(0, 0, 1, 1).unwrap();
        let broken = |offset, value| {
            let page = page();
            clock.publish(&page).unwrap();
            page.store32(offset, value).unwrap();
            Clock::read(&page)
        };
        assert_eq!(broken(0, 7), Err(ClockError::Magic(7)));
        assert_eq!(broken(4, 9), Err(ClockError::Version(9)));
        assert_eq!(broken(12, 64), Err(ClockError::Factors));
        assert_eq!(broken(36, 0), Err(ClockError::Factors));
        let small = page().slice(0, 32).unwrap();
        assert_eq!(Clock::read(&small), Ok(None));
        assert_eq!(clock.publish(&small), Err(ClockError::OutOfRange));
    }

    #[test]
    fn impossible_rates_are_refused() {
        for (counts, ns) in [(0, 1), (1, 0), (1, u64::MAX), (u64::MAX, 1)] {
            let refused = Clock::from_rate(0, 0, counts, ns);
            assert_eq!(refused, Err(ClockError::Factors), "{counts} in {ns} ns");
        }
    }

    proptest! {
        #[test]
        fn time_advances_at_the_rate(mhz in 1u64..10_000, seconds in 0u64..1_000_000, base: u64) {
            let clock = Clock::from_rate(base, 0, mhz * 1000, 1_000_000).unwrap();
            let ns = clock.ns(base.wrapping_add(mhz * 1_000_000 * seconds));
            let right = seconds * 1_000_000_000;
            // Rounding of the multiplier: below 2^-32 ns a count.
            let slack = 1 + ((mhz * 1_000_000 * seconds) >> 32);
            prop_assert!(ns <= right && right - ns <= slack, "{ns} for {right}");
        }

        #[test]
        fn it_never_goes_back(counts in 1u64..u64::MAX >> 1, step in 0u64..1 << 40) {
            let clock = Clock::from_rate(0, 0, 3, 1).unwrap();
            prop_assert!(clock.ns(counts.saturating_add(step)) >= clock.ns(counts));
        }
    }
}
