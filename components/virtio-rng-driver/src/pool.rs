//! The pool.

use sha2::{Digest, Sha256};

/// Entropy gathered so far, as 32 bytes and the number of answers given.
///
/// Without any [`Pool::mix`] the answers are those of a fixed generator.
pub struct Pool {
    state: [u8; 32],
    answers: u64,
}

/// What a hash is for; two purposes never yield the same hash.
#[derive(Clone, Copy)]
enum Purpose {
    Mix = 1,
    Answer = 2,
    Advance = 3,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Pool {
    /// Keeps the state to itself.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pool {{ answers: {} }}", self.answers)
    }
}

impl Pool {
    /// A pool that knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: [0; 32],
            answers: 0,
        }
    }

    /// Mixes `bytes` in. Worth doing with any bytes: it never lessens what
    /// the pool knows.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.state = self.hash(Purpose::Mix, bytes);
    }

    /// 32 fresh bytes.
    pub fn draw(&mut self) -> [u8; 32] {
        self.answers = self.answers.wrapping_add(1);
        let answer = self.hash(Purpose::Answer, &[]);
        self.state = self.hash(Purpose::Advance, &[]);
        answer
    }

    fn hash(&self, purpose: Purpose, bytes: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([purpose as u8]);
        hash.update(self.state);
        hash.update(self.answers.to_le_bytes());
        hash.update(bytes);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_answers_are_the_same() {
        let mut pool = Pool::new();
        let answers: HashSet<_> = (0..10_000).map(|_| pool.draw()).collect();
        assert_eq!(answers.len(), 10_000);
    }

    #[test]
    fn every_bit_that_is_mixed_in_matters() {
        let mut seen = HashSet::new();
        for bit in 0..512 {
            let (mut pool, mut bytes) = (Pool::new(), [0u8; 64]);
            bytes[bit / 8] = 1 << (bit % 8);
            pool.mix(&bytes);
            pool.mix(b"constant");
            assert!(seen.insert(pool.draw()), "bit {bit}");
        }
    }

    #[test]
    fn a_constant_source_takes_nothing_away() {
        let draw = |secret: &[u8]| {
            let mut pool = Pool::new();
            pool.mix(secret);
            for _ in 0..100 {
                pool.mix(&[0; 64]);
            }
            pool.draw()
        };
        assert_ne!(draw(b"one"), draw(b"two"));
        assert_eq!(draw(b"one"), draw(b"one"));
    }

    #[test]
    fn bits_are_balanced() {
        let mut pool = Pool::new();
        let ones: u32 = (0..1000)
            .flat_map(|_| pool.draw())
            .map(u8::count_ones)
            .sum();
        // 256000 bits: six standard deviations are 1518.
        assert!(ones.abs_diff(128_000) < 1_518, "{ones}");
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        assert_eq!(format!("{:?}", Pool::new()), "Pool { answers: 0 }");
    }
}
