//! What the processor itself offers.

use core::arch::x86_64::{__cpuid, _rdrand64_step, _rdtsc};

use crate::pool::Pool;

/// `CPUID.1:ECX.RDRAND`.
const RDRAND: u32 = 1 << 30;
/// Times an empty generator is asked again, as Intel advises.
const RETRIES: u32 = 10;
/// Timings that make up a jitter seed: at well below one bit each, some
/// hundred bits.
const TIMINGS: usize = 4096;

/// The processor's generator.
///
/// Possessing one proves that the instruction exists.
#[derive(Clone, Copy, Debug)]
pub struct Rdrand(());

impl Rdrand {
    /// The generator, if this processor has one and it answers.
    #[must_use]
    pub fn find() -> Option<Self> {
        let has = __cpuid(1).ecx & RDRAND != 0;
        let this = has.then_some(Self(()))?;
        this.word().map(|_| this)
    }

    /// 64 bits, unless it stays empty. All zeros and all ones are what
    /// broken generators answer, and are not believed.
    #[must_use]
    pub fn word(self) -> Option<u64> {
        for _ in 0..RETRIES {
            let mut word = 0;
            // SAFETY: the processor has the instruction: `find` checked.
            let answered = unsafe { rdrand(&mut word) };
            if answered && word != 0 && word != u64::MAX {
                return Some(word);
            }
        }
        None
    }

    /// Mixes 256 bits into the pool; false if the generator is empty.
    pub fn feed(self, pool: &mut Pool) -> bool {
        (0..4).all(|_| {
            let word = self.word();
            pool.mix(&word.unwrap_or(0).to_le_bytes());
            word.is_some()
        })
    }
}

/// # Safety
/// The processor must have RDRAND.
#[target_feature(enable = "rdrand")]
unsafe fn rdrand(word: &mut u64) -> bool {
    _rdrand64_step(word) == 1
}

/// The time-stamp counter.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { _rdtsc() }
}

/// Mixes in how long some thousand hashes took. The last resort: on a
/// machine whose clock counts instructions it is worth nothing.
pub fn feed_jitter(pool: &mut Pool) {
    for _ in 0..TIMINGS {
        let before = tsc();
        pool.mix(&before.to_le_bytes());
        pool.mix(&tsc().wrapping_sub(before).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdrand_is_found_where_it_is() {
        let found = Rdrand::find();
        assert_eq!(found.is_some(), std::is_x86_feature_detected!("rdrand"));
        if let Some(rdrand) = found {
            let (mut a, mut b) = (Pool::new(), Pool::new());
            assert!(rdrand.feed(&mut a) && rdrand.feed(&mut b));
            assert_ne!(a.draw(), b.draw());
        }
    }

    #[test]
    fn jitter_differs_from_time_to_time() {
        let (mut a, mut b) = (Pool::new(), Pool::new());
        feed_jitter(&mut a);
        feed_jitter(&mut b);
        assert_ne!(a.draw(), b.draw());
    }
}
