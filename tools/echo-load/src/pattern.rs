//! Bytes that can be checked without being stored.
//!
//! A pattern is an endless stream of pseudo-random bytes that is a function of
//! a seed and the offset alone. A reply is checked by making the bytes again,
//! so a shift, a swap of two pages or stale data of an earlier message shows,
//! whatever its distance.

/// An endless reproducible byte stream.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// Writes the bytes at `offset..offset + out.len()` of the stream.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let mut word = offset / 8;
        let mut skip = (offset % 8) as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let bytes = mix(self.seed.wrapping_add(word)).to_le_bytes();
            let n = rest.len().min(8 - skip);
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&bytes[skip..skip + n]);
            (rest, skip, word) = (later, 0, word + 1);
        }
    }

    /// How many of `bytes` differ from the stream at `offset`.
    pub fn differences(&self, offset: u64, bytes: &[u8]) -> u64 {
        let mut expected = vec![0; bytes.len()];
        self.fill(offset, &mut expected);
        if expected == bytes {
            return 0;
        }
        expected.iter().zip(bytes).filter(|(a, b)| a != b).count() as u64
    }
}

/// A bijection on 64-bit words that spreads every input bit over the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let pattern = Pattern::new(7);
        let mut whole = [0; 100];
        pattern.fill(3, &mut whole);
        for at in 0..100 {
            for len in 0..(100 - at) {
                let mut piece = vec![0; len];
                pattern.fill(3 + at as u64, &mut piece);
                assert_eq!(piece, whole[at..at + len]);
            }
        }
    }

    #[test]
    fn a_shift_and_a_flip_show() {
        let pattern = Pattern::new(7);
        let mut bytes = [0; 4096];
        pattern.fill(0, &mut bytes);
        assert_eq!(pattern.differences(0, &bytes), 0);
        assert!(pattern.differences(1 << 20, &bytes) > 4000);
        bytes[17] ^= 1;
        assert_eq!(pattern.differences(0, &bytes), 1);
    }
}
