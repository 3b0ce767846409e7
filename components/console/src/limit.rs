//! How much a component may log.

/// A token bucket over time-stamp counts.
///
/// The unit is raw counts because lines come before there is a clock; all
/// machines count at a gigahertz or more, so the limit is that or looser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// When the bucket will be full again, in counts.
    full_at: u64,
}

/// Counts that a token takes to come back: 100 lines a second at 1 GHz.
const INTERVAL: u64 = 10_000_000;
/// Tokens in a full bucket.
pub(crate) const BURST: u64 = 400;

impl Limit {
    /// A full bucket.
    pub(crate) const fn new() -> Self {
        Self { full_at: 0 }
    }

    /// Takes a token at count `now`; false if there is none.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        let full_at = self.full_at.max(now);
        if full_at - now > (BURST - 1) * INTERVAL {
            return false;
        }
        self.full_at = full_at.saturating_add(INTERVAL);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_line_an_interval() {
        let mut limit = Limit::new();
        let start = 7_000_000_000;
        let burst = (0..BURST * 2).filter(|_| limit.take(start)).count();
        assert_eq!(burst as u64, BURST);
        assert!(!limit.take(start + INTERVAL - 1));
        assert!(limit.take(start + INTERVAL));
        assert!(!limit.take(start + INTERVAL));
        let rested = start + (BURST + 1) * INTERVAL;
        assert_eq!(
            (0..BURST * 2).filter(|_| limit.take(rested)).count() as u64,
            BURST
        );
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let mut limit = Limit::new();
        assert!(limit.take(u64::MAX) && limit.take(u64::MAX));
        assert!(!Limit { full_at: u64::MAX }.take(0));
    }
}
