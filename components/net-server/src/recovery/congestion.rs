//! How much may be on its way at once (RFC 5681).
//!
//! Invariant: the window is never below a segment; it grows only while it is
//! what holds the sender back (RFC 7661 has the reason), by what is
//! acknowledged (RFC 3465, without its limit for one acknowledgement: several
//! may be merged before they get here), and shrinks once for all that is lost
//! of one flight.

/// Segments at the start (RFC 6928).
const INITIAL: u32 = 10;
/// Never more: no send buffer is larger.
const MOST: u32 = 1 << 20;

/// The congestion window of one connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    pub window: u32,
    threshold: u32,
    /// Acknowledged since the window last grew, beyond the threshold.
    counted: u32,
}

impl Congestion {
    /// For segments of so many bytes.
    pub const fn new(segment: u32) -> Self {
        Self {
            window: INITIAL * segment,
            threshold: MOST,
            counted: 0,
        }
    }

    /// `acked` bytes are acknowledged, of a window's worth of which at most
    /// `peak` were on their way at once.
    #[inline]
    pub fn acknowledged(&mut self, acked: u32, peak: u32, segment: u32) {
        let starting = self.window < self.threshold;
        // Bursts at the start use half of the window that they make room for.
        let used = if starting { 2 * peak } else { peak + segment };
        if used < self.window || self.window >= MOST {
            return;
        }
        if starting {
            self.window = (self.window + acked).min(MOST);
            return;
        }
        self.counted += acked;
        if self.counted >= self.window {
            self.counted -= self.window;
            self.window += segment;
        }
    }

    /// Something of `flight` bytes on their way was lost (RFC 5681, 3.2).
    pub fn lost(&mut self, flight: u32, segment: u32) {
        self.threshold = (flight / 2).max(2 * segment);
        self.window = self.threshold;
        self.counted = 0;
    }

    /// Nothing was heard for too long; `again` if that was so before and
    /// nothing has been acknowledged since (RFC 5681, 3.1).
    pub fn timed_out(&mut self, flight: u32, segment: u32, again: bool) {
        if !again {
            self.threshold = (flight / 2).max(2 * segment);
        }
        self.window = segment;
        self.counted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1000;

    #[test]
    fn the_window_doubles_and_then_grows_by_a_segment_a_round_trip() {
        let mut c = Congestion::new(SEGMENT);
        for _ in 0..10 {
            c.acknowledged(SEGMENT, c.window, SEGMENT);
        }
        assert_eq!(c.window, 20 * SEGMENT);
        c.lost(c.window, SEGMENT);
        assert_eq!(c.window, 10 * SEGMENT);
        for _ in 0..10 {
            c.acknowledged(SEGMENT, c.window, SEGMENT);
        }
        assert_eq!(c.window, 11 * SEGMENT);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut c = Congestion::new(SEGMENT);
        for _ in 0..1000 {
            c.acknowledged(SEGMENT, 4 * SEGMENT, SEGMENT);
        }
        assert_eq!(c.window, 10 * SEGMENT);
    }

    #[test]
    fn silence_takes_it_back_to_one_segment_and_half_is_remembered() {
        let mut c = Congestion::new(SEGMENT);
        c.timed_out(10 * SEGMENT, SEGMENT, false);
        c.timed_out(SEGMENT, SEGMENT, true);
        assert_eq!(c.window, SEGMENT);
        for _ in 0..4 {
            c.acknowledged(SEGMENT, c.window, SEGMENT);
        }
        assert_eq!(c.window, 5 * SEGMENT);
        c.acknowledged(SEGMENT, c.window, SEGMENT);
        assert_eq!(c.window, 5 * SEGMENT);
    }
}
