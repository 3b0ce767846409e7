//! Deadlines, clock and device together.

use service_api::{Clock, ClockError};

use crate::deadlines::{Deadlines, NoSuchClient};
use crate::hpet::{Hpet, Registers};

/// How long the time-stamp counter is measured: long enough that a reading
/// delayed by a microsecond spoils 50 parts per million only.
const CALIBRATION_NS: u64 = 20_000_000;
/// An interrupt this late is lost.
const GRACE_NS: u64 = 10_000_000;
/// Pairs of readings at each end, of which the tightest counts.
const TRIES: usize = 8;

/// Both counters at nearly the same moment.
#[derive(Clone, Copy, Debug)]
struct Pair {
    tsc: u64,
    counter: u64,
    /// Time-stamp counts that the reading took.
    width: u64,
}

fn pair<R: Registers>(hpet: &Hpet<R>, tsc: &impl Fn() -> u64) -> Pair {
    let (before, counter, after) = (tsc(), hpet.counter(), tsc());
    let width = after.wrapping_sub(before);
    Pair {
        tsc: before.wrapping_add(width / 2),
        counter,
        width,
    }
}

fn tightest<R: Registers>(hpet: &Hpet<R>, tsc: &impl Fn() -> u64) -> Pair {
    let first = pair(hpet, tsc);
    let others = (1..TRIES).map(|_| pair(hpet, tsc));
    others.fold(first, |a, b| if b.width < a.width { b } else { a })
}

/// Measures the time-stamp counter against the HPET for 20 ms. The clock
/// starts at 0 now.
///
/// # Errors
/// [`ClockError::Factors`] if the time-stamp counter stands still or runs
/// absurdly.
pub fn calibrate<R: Registers>(hpet: &Hpet<R>, tsc: impl Fn() -> u64) -> Result<Clock, ClockError> {
    let start = tightest(hpet, &tsc);
    while hpet.ns(hpet.counter().wrapping_sub(start.counter)) < CALIBRATION_NS {
        core::hint::spin_loop();
    }
    let end = tightest(hpet, &tsc);
    let ns = hpet.ns(end.counter.wrapping_sub(start.counter));
    Clock::from_rate(start.tsc, 0, end.tsc.wrapping_sub(start.tsc), ns)
}

/// What the driver does between its messages.
#[derive(Debug)]
pub struct Timekeeper<R> {
    hpet: Hpet<R>,
    deadlines: Deadlines,
    /// When the HPET will interrupt, in nanoseconds.
    armed: Option<u64>,
}

impl<R: Registers> Timekeeper<R> {
    /// Keeps the deadlines of `clients` clients.
    #[must_use]
    pub fn new(hpet: Hpet<R>, clients: usize) -> Self {
        Self {
            hpet,
            deadlines: Deadlines::new(clients),
            armed: None,
        }
    }

    /// Clients that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.deadlines.waiting()
    }

    /// Sets client `client`'s deadline (0 takes it away) at time `now`; one
    /// bit for each client to signal.
    ///
    /// # Errors
    /// [`NoSuchClient`].
    pub fn set(&mut self, client: u16, at: u64, now: u64) -> Result<u64, NoSuchClient> {
        self.deadlines.set(client, at)?;
        Ok(self.advance(now))
    }

    /// The HPET interrupted, at time `now`; one bit for each client to signal.
    pub fn interrupt(&mut self, now: u64) -> u64 {
        self.armed = None;
        self.advance(now)
    }

    /// Expires what is due and arms the HPET for the next.
    ///
    /// An HPET armed for an earlier time than needed is left so: a wake-up in
    /// vain is rarer than a deadline moved away, and costs as much.
    fn advance(&mut self, now: u64) -> u64 {
        let due = self.deadlines.expire(now);
        if let Some(next) = self.deadlines.nearest()
            && self
                .armed
                .is_none_or(|armed| next < armed || armed.saturating_add(GRACE_NS) < now)
        {
            let ns = next.saturating_sub(now);
            self.hpet.interrupt_after(ns);
            self.armed = Some(now.saturating_add(ns.min(self.hpet.reach_ns())));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpet::tests::{Fake, fake};

    fn keeper() -> (Fake, Timekeeper<Fake>) {
        let fake = fake(10_000_000, 1);
        let hpet = Hpet::new(fake.clone()).unwrap();
        (fake, Timekeeper::new(hpet, 4))
    }

    fn armed(fake: &Fake) -> bool {
        !std::mem::take(&mut *fake.0.writes.borrow_mut()).is_empty()
    }

    #[test]
    fn the_clock_has_the_rate_of_the_hpet() {
        // 10 ns a count; the time-stamp counter at 2.5 GHz: 25 a count.
        let fake = fake(10_000_000, 100);
        let hpet = Hpet::new(fake.clone()).unwrap();
        let clock = calibrate(&hpet, || fake.0.count.get() * 25).unwrap();
        let (a, b) = (clock.ns(10_000_000_000), clock.ns(12_500_000_000));
        assert!((b - a).abs_diff(1_000_000_000) < 200_000, "{}", b - a);
        assert_eq!(calibrate(&hpet, || 7), Err(ClockError::Factors));
    }

    #[test]
    fn the_device_is_armed_for_the_nearest_only() {
        let (fake, mut keeper) = keeper();
        assert!(armed(&fake), "set up");
        assert_eq!(keeper.set(0, 9_000_000, 0), Ok(0));
        assert!(armed(&fake));
        assert_eq!(keeper.set(1, 20_000_000, 0), Ok(0));
        assert!(!armed(&fake), "later");
        assert_eq!(keeper.set(2, 7_000_000, 0), Ok(0));
        assert!(armed(&fake), "earlier");
        assert_eq!(keeper.set(2, 0, 0), Ok(0));
        assert!(!armed(&fake), "left as it is");
        assert_eq!(keeper.interrupt(7_000_001), 0, "in vain");
        assert!(armed(&fake));
        assert_eq!(keeper.interrupt(9_000_000), 1);
        assert_eq!(keeper.interrupt(20_000_000), 2);
        assert!(armed(&fake));
        assert_eq!(keeper.waiting(), 0);
        assert_eq!(keeper.interrupt(30_000_000), 0);
        assert!(!armed(&fake), "nothing ticks");
    }

    #[test]
    fn the_past_is_due_at_once_and_early_interrupts_wait() {
        let (fake, mut keeper) = keeper();
        assert_eq!(keeper.set(3, 5, 6), Ok(8));
        assert_eq!(keeper.set(1, 1_000_000, 0), Ok(0));
        armed(&fake);
        assert_eq!(keeper.interrupt(999_999), 0, "the clocks differ a little");
        assert!(armed(&fake));
        assert_eq!(keeper.interrupt(1_000_000), 2);
        assert!(keeper.set(4, 1, 0).is_err());
    }

    #[test]
    fn a_lost_interrupt_is_made_up_for() {
        let (fake, mut keeper) = keeper();
        assert_eq!(keeper.set(0, 1_000_000, 0), Ok(0));
        armed(&fake);
        assert_eq!(keeper.set(1, 90_000_000, 5_000_000), Ok(1));
        assert!(!armed(&fake), "it may still come");
        assert_eq!(keeper.set(1, 90_000_000, 12_000_000), Ok(0));
        assert!(armed(&fake));
    }

    #[test]
    fn far_deadlines_are_reached_in_steps() {
        let (fake, mut keeper) = keeper();
        let (day, reach) = (86_400_000_000_000, keeper.hpet.reach_ns());
        assert_eq!(keeper.set(0, day, 0), Ok(0));
        let (mut now, mut steps) = (0, 0);
        armed(&fake);
        while now < day {
            now = (now + reach).min(day);
            steps += 1;
            let due = keeper.interrupt(now);
            assert_eq!(due != 0, now == day);
            assert_eq!(armed(&fake), now < day);
        }
        assert_eq!(steps, day.div_ceil(reach));
    }
}
