//! Numbers and bytes that look random and are the same in every run.

/// A generator (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// `len` bytes that tell their place and `seed`.
#[must_use]
pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut noise = Noise::new(u64::from(seed));
    let words = (0..len.div_ceil(8)).flat_map(|_| noise.number().to_le_bytes());
    let mut bytes: Vec<u8> = words.collect();
    bytes.truncate(len);
    bytes
}
