//! A bad cable: loss, duplication, reordering and corruption, by seed.
//!
//! Each rate is in thousandths of the frames. A reordered frame is held back
//! until another one overtakes it, or for [`HOLD`] if none comes.

use std::time::{Duration, Instant};

use crate::rng::Rng;

/// How long a frame is held back at most.
pub const HOLD: Duration = Duration::from_millis(20);

/// What goes wrong, in thousandths of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Frames that vanish.
    pub loss: u16,
    /// Frames that come twice.
    pub duplicate: u16,
    /// Frames that the next one overtakes.
    pub reorder: u16,
    /// Frames of which one bit is flipped, behind the Ethernet header.
    pub corrupt: u16,
}

/// How often it went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultCounts {
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
}

/// One direction of the cable.
#[derive(Debug)]
pub(crate) struct Faults {
    pub rates: FaultRates,
    pub counts: FaultCounts,
    rng: Rng,
    held: Option<(Instant, Vec<u8>)>,
}

impl Faults {
    pub fn new(rates: FaultRates, seed: u64) -> Self {
        Self {
            rates,
            counts: FaultCounts::default(),
            rng: Rng::new(seed),
            held: None,
        }
    }

    /// What comes out when `frame` goes in.
    pub fn pass(&mut self, mut frame: Vec<u8>, now: Instant) -> Vec<Vec<u8>> {
        if self.rng.happens(self.rates.loss) {
            self.counts.lost += 1;
            return Vec::new();
        }
        if self.rng.happens(self.rates.corrupt) && frame.len() > crate::wire::ETHERNET {
            let at = crate::wire::ETHERNET + self.rng.below(frame.len() - crate::wire::ETHERNET);
            frame[at] ^= 1 << self.rng.below(8);
            self.counts.corrupted += 1;
        }
        if self.held.is_none() && self.rng.happens(self.rates.reorder) {
            self.held = Some((now + HOLD, frame));
            self.counts.reordered += 1;
            return Vec::new();
        }
        let mut out = vec![frame];
        if self.rng.happens(self.rates.duplicate) {
            out.extend_from_within(..);
            self.counts.duplicated += 1;
        }
        out.extend(self.held.take().map(|(_, frame)| frame));
        out
    }

    /// The held frame, once nothing overtook it in time.
    pub fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.held
            .take_if(|(deadline, _)| *deadline <= now)
            .map(|(_, frame)| frame)
    }

    /// When [`Faults::due`] has something, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rates: FaultRates) -> Vec<Vec<u8>> {
        let (mut faults, now) = (Faults::new(rates, 1), Instant::now());
        let mut out: Vec<_> = (0..200u8)
            .flat_map(|n| faults.pass(vec![n; 60], now))
            .collect();
        assert_eq!(faults.deadline().is_some(), faults.held.is_some());
        assert!(faults.due(now).is_none());
        out.extend(faults.due(now + HOLD));
        out
    }

    #[test]
    fn a_good_cable_changes_nothing() {
        assert_eq!(
            run(FaultRates::default()),
            (0..200u8).map(|n| vec![n; 60]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn each_fault_does_what_it_says() {
        assert!(
            run(FaultRates {
                loss: 1000,
                ..Default::default()
            })
            .is_empty()
        );
        assert_eq!(
            run(FaultRates {
                duplicate: 1000,
                ..Default::default()
            })
            .len(),
            400
        );
        let swapped = run(FaultRates {
            reorder: 500,
            ..Default::default()
        });
        assert_eq!(swapped.len(), 200);
        assert!(!swapped.is_sorted());
        let corrupt = run(FaultRates {
            corrupt: 1000,
            ..Default::default()
        });
        let good = |frame: &Vec<u8>| frame.iter().all(|byte| *byte == frame[0]);
        assert!(corrupt.len() == 200 && !corrupt.iter().any(good));
    }
}
