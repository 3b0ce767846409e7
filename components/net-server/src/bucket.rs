//! A rate limit: so many events a second, with a burst of as many.
//!
//! Invariant: answering unsolicited packets (ARP, resets, ICMP) never costs
//! more than the rate, whatever arrives.

/// A token bucket that is refilled by whole milliseconds.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u64,
    rate: u64,
    filled_us: u64,
}

impl Bucket {
    /// A full bucket of `rate` events, refilled at `rate` a second.
    pub fn new(rate: u32) -> Self {
        Self {
            tokens: u64::from(rate) * 1000,
            rate: u64::from(rate),
            filled_us: 0,
        }
    }

    /// Whether one more event is within the rate at `now_us`.
    pub fn take(&mut self, now_us: u64) -> bool {
        let elapsed_ms = now_us.saturating_sub(self.filled_us) >> 10;
        if elapsed_ms > 0 {
            self.filled_us = now_us;
            let gained = elapsed_ms.saturating_mul(self.rate);
            self.tokens = self.tokens.saturating_add(gained).min(self.rate * 1000);
        }
        if self.tokens < 1000 {
            return false;
        }
        self.tokens -= 1000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_a_burst_and_recovers() {
        let mut bucket = Bucket::new(10);
        assert_eq!((0..100).filter(|_| bucket.take(0)).count(), 10);
        assert!(!bucket.take(50_000));
        assert!(bucket.take(300_000));
    }
}
