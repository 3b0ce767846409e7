//! The device: a free-running counter, and comparator 0 as a one-shot timer.
//!
//! Invariant: the comparator compares 32 bits, so arming it is one store and
//! there is never a moment with half a deadline in it. Its reach is
//! [`Hpet::reach_ns`]; a farther deadline is reached in steps.

use core::fmt;

const CAPABILITIES: usize = 0x00;
const PERIOD: usize = 0x04;
const CONFIGURATION: usize = 0x10;
const COUNTER: usize = 0xf0;
const TIMER_0: usize = 0x100;
const COMPARATOR_0: usize = 0x108;

/// Capabilities: the counter has 64 bits; legacy replacement is possible.
const COUNTER_64: u32 = 1 << 13;
const LEGACY_CAPABLE: u32 = 1 << 15;
/// Configuration: counts; legacy replacement.
const ENABLE: u32 = 1 << 0;
const LEGACY: u32 = 1 << 1;
/// Timer: interrupts; compares 32 bits. All other bits 0: edge, one-shot, no
/// routing of its own.
const INTERRUPT: u32 = 1 << 2;
const COMPARE_32: u32 = 1 << 8;
/// Longest legal period in femtoseconds (100 ns), and the shortest believed.
const LONGEST_PERIOD: u32 = 100_000_000;
const SHORTEST_PERIOD: u32 = 10_000;

const FS_PER_NS: u64 = 1_000_000;
/// Deadlines nearer than this many nanoseconds are put off to it, so that the
/// counter cannot have passed the comparator before it is written.
const LEAST_NS: u64 = 5_000;

/// The device's registers, 32 bits each, by byte offset.
pub trait Registers {
    /// Reads a register.
    fn read(&self, offset: usize) -> u32;
    /// Writes a register.
    fn write(&self, offset: usize, value: u32);
}

/// Why the HPET cannot be used; it, or who granted it, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpetError {
    /// The period, in femtoseconds, is not one of an HPET: nothing there?
    Period(u32),
    /// The counter has 32 bits only.
    NarrowCounter,
    /// It cannot take over the interrupt of the PIT.
    NoLegacyReplacement,
    /// The counter stands still.
    Stopped,
}

impl fmt::Display for HpetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Period(fs) => write!(f, "no HPET: a period of {fs} fs"),
            Self::NarrowCounter => write!(f, "the HPET has a 32-bit counter"),
            Self::NoLegacyReplacement => write!(f, "the HPET lacks legacy replacement"),
            Self::Stopped => write!(f, "the HPET's counter stands still"),
        }
    }
}

impl core::error::Error for HpetError {}

/// A running HPET.
#[derive(Debug)]
pub struct Hpet<R> {
    registers: R,
    period_fs: u32,
}

impl<R: Registers> Hpet<R> {
    /// Checks the device and starts its counter.
    ///
    /// # Errors
    /// An [`HpetError`].
    pub fn new(registers: R) -> Result<Self, HpetError> {
        let period_fs = registers.read(PERIOD);
        if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period_fs) {
            return Err(HpetError::Period(period_fs));
        }
        let capabilities = registers.read(CAPABILITIES);
        if capabilities & COUNTER_64 == 0 {
            return Err(HpetError::NarrowCounter);
        }
        if capabilities & LEGACY_CAPABLE == 0 {
            return Err(HpetError::NoLegacyReplacement);
        }
        registers.write(TIMER_0, COMPARE_32);
        registers.write(CONFIGURATION, ENABLE | LEGACY);
        let this = Self {
            registers,
            period_fs,
        };
        let before = this.counter();
        if (0..1000).all(|_| this.counter() == before) {
            return Err(HpetError::Stopped);
        }
        Ok(this)
    }

    /// The counter. Consistent although it is read in halves.
    pub fn counter(&self) -> u64 {
        let mut high = self.registers.read(COUNTER + 4);
        // The high half moves once in half a minute; a device where it always
        // moves yields some value.
        for _ in 0..3 {
            let low = self.registers.read(COUNTER);
            let again = self.registers.read(COUNTER + 4);
            if again == high {
                return u64::from(high) << 32 | u64::from(low);
            }
            high = again;
        }
        u64::from(high) << 32
    }

    /// The low half of the counter.
    #[inline]
    pub fn counter_low(&self) -> u32 {
        self.registers.read(COUNTER)
    }

    /// Nanoseconds in so many counts.
    #[must_use]
    pub fn ns(&self, counts: u64) -> u64 {
        let fs = u128::from(counts) * u128::from(self.period_fs);
        (fs / u128::from(FS_PER_NS)) as u64
    }

    /// The farthest that the comparator reaches, in nanoseconds: a quarter of
    /// its range.
    #[must_use]
    pub fn reach_ns(&self) -> u64 {
        u64::from(self.period_fs) * (1 << 30) / FS_PER_NS
    }

    /// Interrupts once after `ns` nanoseconds, or after the nearest time that
    /// the device can do: at least 5 µs, at most [`Hpet::reach_ns`].
    pub fn interrupt_after(&self, ns: u64) {
        let ns = ns.clamp(LEAST_NS, self.reach_ns());
        let counts = (ns * FS_PER_NS).div_ceil(self.period_fs.into()) as u32;
        let at = self.counter_low().wrapping_add(counts);
        self.registers.write(COMPARATOR_0, at);
        self.registers.write(TIMER_0, COMPARE_32 | INTERRUPT);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// An HPET whose counter advances by `step` at every reading.
    #[derive(Clone, Debug)]
    pub(crate) struct Fake(pub(crate) Rc<FakeState>);

    #[derive(Debug)]
    pub(crate) struct FakeState {
        pub(crate) period: u32,
        pub(crate) capabilities: u32,
        pub(crate) count: Cell<u64>,
        pub(crate) step: u64,
        pub(crate) writes: RefCell<Vec<(usize, u32)>>,
    }

    pub(crate) fn fake(period: u32, step: u64) -> Fake {
        Fake(Rc::new(FakeState {
            period,
            capabilities: COUNTER_64 | LEGACY_CAPABLE,
            count: Cell::new(0),
            step,
            writes: RefCell::default(),
        }))
    }

    impl Registers for Fake {
        fn read(&self, offset: usize) -> u32 {
            let state = &self.0;
            match offset {
                CAPABILITIES => state.capabilities,
                PERIOD => state.period,
                COUNTER => {
                    let running = state
                        .writes
                        .borrow()
                        .contains(&(CONFIGURATION, ENABLE | LEGACY));
                    let step = if running { state.step } else { 0 };
                    state.count.set(state.count.get() + step);
                    state.count.get() as u32
                }
                0xf4 => (state.count.get() >> 32) as u32,
                _ => 0,
            }
        }

        fn write(&self, offset: usize, value: u32) {
            self.0.writes.borrow_mut().push((offset, value));
        }
    }

    #[test]
    fn what_is_no_hpet_is_refused() {
        let with = |change: fn(&mut FakeState)| {
            let mut fake = fake(10_000_000, 1);
            change(Rc::get_mut(&mut fake.0).expect("the only one"));
            Hpet::new(fake).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(|s| s.period = u32::MAX), HpetError::Period(u32::MAX));
        assert_eq!(with(|s| s.period = 0), HpetError::Period(0));
        assert_eq!(
            with(|s| s.capabilities ^= COUNTER_64),
            HpetError::NarrowCounter
        );
        let legacy = with(|s| s.capabilities ^= LEGACY_CAPABLE);
        assert_eq!(legacy, HpetError::NoLegacyReplacement);
        assert_eq!(with(|s| s.step = 0), HpetError::Stopped);
    }

    #[test]
    fn halves_of_the_counter_fit_together() {
        let fake = fake(10_000_000, 1);
        let hpet = Hpet::new(fake.clone()).unwrap();
        fake.0.count.set(u64::from(u32::MAX));
        // The low half wraps between the two readings of the high one.
        assert_eq!(hpet.counter(), (1 << 32) + 1);
    }

    #[test]
    fn deadlines_become_comparator_values() {
        let fake = fake(10_000_000, 1);
        let hpet = Hpet::new(fake.clone()).unwrap();
        let armed = |ns| {
            fake.0.count.set(u64::from(u32::MAX) - 1);
            fake.0.writes.borrow_mut().clear();
            hpet.interrupt_after(ns);
            // No counter runs without the configuration write.
            let writes = fake.0.writes.borrow().clone();
            assert_eq!(writes[1], (TIMER_0, COMPARE_32 | INTERRUPT));
            assert_eq!(writes[0].0, COMPARATOR_0);
            writes[0].1.wrapping_sub(u32::MAX - 1)
        };
        assert_eq!(armed(1_000_000), 100_000);
        assert_eq!(armed(1_000_001), 100_001, "never early");
        assert_eq!(armed(0), 500, "the least");
        assert_eq!(armed(u64::MAX), 1 << 30, "the reach");
        assert_eq!(hpet.reach_ns(), 10_737_418_240);
        assert_eq!(hpet.ns(3), 30);
    }
}
