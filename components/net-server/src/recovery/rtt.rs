//! How long an acknowledgement takes, and how long one is waited for
//! (RFC 6298).
//!
//! Invariant: samples come from segments that were sent once (Karn's
//! algorithm), and the waiting time is taken back to what the samples say as
//! soon as anything new is acknowledged. Times are microseconds.

/// Waited for while nothing is known (RFC 6298, 2.1).
const INITIAL_US: u64 = 1_000_000;
/// What is added to the round trip at least. RFC 6298 (2.4) wants a second in
/// all; Linux and others have shown that a fifth of one, the longest that a
/// receiver delays an acknowledgement in practice, is safe.
const MARGIN_US: u64 = 200_000;
/// The longest that is waited (RFC 6298, 2.5).
const MOST_US: u64 = 60_000_000;

/// The estimator of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    /// Smoothed, and its variation; 0 while there is no sample.
    smoothed: u64,
    variation: u64,
    /// The shortest that was seen.
    least: u64,
}

impl Rtt {
    /// Without a sample.
    pub const NEW: Self = Self {
        smoothed: 0,
        variation: 0,
        least: u64::MAX,
    };

    /// A round trip took so long (RFC 6298, 2.2 and 2.3).
    #[inline]
    pub fn sample(&mut self, us: u64) {
        let us = us.max(1);
        self.least = self.least.min(us);
        if self.smoothed == 0 {
            self.smoothed = us;
            self.variation = us / 2;
            return;
        }
        let off = self.smoothed.abs_diff(us);
        self.variation = (3 * self.variation + off) / 4;
        self.smoothed = (7 * self.smoothed + us) / 8;
    }

    /// The smoothed round trip, if there is a sample.
    pub fn smoothed(&self) -> Option<u64> {
        (self.smoothed != 0).then_some(self.smoothed)
    }

    /// The shortest round trip, if there is a sample.
    pub fn least(&self) -> Option<u64> {
        (self.smoothed != 0).then_some(self.least)
    }

    /// How long to wait, after waiting `doublings` times in vain
    /// (RFC 6298, 5.5).
    #[inline]
    pub fn timeout(&self, doublings: u32) -> u64 {
        let once = match self.smoothed {
            0 => INITIAL_US,
            smoothed => smoothed + MARGIN_US.max(4 * self.variation),
        };
        once.checked_shl(doublings.min(16))
            .map_or(MOST_US, |us| us.min(MOST_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_its_samples() {
        let mut rtt = Rtt::NEW;
        assert_eq!((rtt.timeout(0), rtt.smoothed()), (INITIAL_US, None));
        rtt.sample(100_000);
        assert_eq!(rtt.timeout(0), 300_000);
        for _ in 0..100 {
            rtt.sample(10_000);
        }
        assert!((210_000..212_000).contains(&rtt.timeout(0)));
        assert_eq!(rtt.least(), Some(10_000));
        // A line whose round trips vary is waited for longer.
        for n in 0..100 {
            rtt.sample(10_000 + n % 2 * 1_000_000);
        }
        assert!(rtt.timeout(0) > 2_000_000);
    }

    #[test]
    fn waiting_doubles_to_a_minute() {
        let mut rtt = Rtt::NEW;
        rtt.sample(50_000);
        assert_eq!(rtt.timeout(2), 4 * rtt.timeout(0));
        assert_eq!(rtt.timeout(40), MOST_US);
    }
}
