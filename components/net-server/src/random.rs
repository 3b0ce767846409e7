//! Randomness from one 32-byte seed.
//!
//! Invariant: what leaves the server (ports, DNS ids, sequence numbers) tells
//! nothing about what leaves it next: ChaCha12, never smoltcp's own generator.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// A seeded generator.
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    /// Starts from a seed, which must come from an entropy source outside
    /// tests.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 16 bytes for a keyed hash.
    pub fn key(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        self.0.fill_bytes(&mut key);
        key
    }
}
