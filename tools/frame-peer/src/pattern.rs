//! Bytes that tell where they belong.
//!
//! All traffic of a run is a piece of one endless sequence, so that a byte that
//! was lost, doubled, changed or put elsewhere shows. Invariant: the words of
//! the sequence are all different, so no shift makes it match itself.

/// Between two words; odd, so that words repeat after 2^64 of them only.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// The first word.
const FIRST: u64 = 0x6a09_e667_f3bc_c908;

fn word(n: u64) -> u64 {
    FIRST.wrapping_add(n.wrapping_mul(STEP))
}

fn byte(at: u64) -> u8 {
    word(at / 8).to_le_bytes()[(at % 8) as usize]
}

/// Bytes up to the first whole word from `at` on.
fn ragged(at: u64, len: usize) -> usize {
    len.min((at.next_multiple_of(8) - at) as usize)
}

/// Writes the bytes of the sequence from `at` on.
pub fn fill(bytes: &mut [u8], at: u64) {
    let (head, rest) = bytes.split_at_mut(ragged(at, bytes.len()));
    (at..).zip(&mut *head).for_each(|(n, b)| *b = byte(n));
    let at = at + head.len() as u64;
    let (words, tail) = rest.as_chunks_mut::<8>();
    for (n, bytes) in (at / 8..).zip(&mut *words) {
        *bytes = word(n).to_le_bytes();
    }
    let at = at + 8 * words.len() as u64;
    (at..).zip(tail).for_each(|(n, b)| *b = byte(n));
}

/// Where `bytes` first differ from the sequence from `at` on, if they do.
#[must_use]
pub fn first_wrong(bytes: &[u8], at: u64) -> Option<u64> {
    let (head, rest) = bytes.split_at(ragged(at, bytes.len()));
    let middle = at + head.len() as u64;
    let (words, tail) = rest.as_chunks::<8>();
    let pairs = || (middle / 8..).zip(words);
    let differ = |sum, (n, bytes): (u64, &[u8; 8])| sum | (u64::from_le_bytes(*bytes) ^ word(n));
    let end = middle + 8 * words.len() as u64;
    let single = |at: u64, bytes: &[u8]| (at..).zip(bytes).any(|(n, b)| *b != byte(n));
    let wrong = single(at, head) || pairs().fold(0, differ) != 0 || single(end, tail);
    wrong.then(|| {
        let mut all = (at..).zip(bytes);
        all.find(|(n, b)| **b != byte(*n)).map_or(at, |(n, _)| n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_of_the_same_sequence() {
        let mut whole = [0; 64];
        fill(&mut whole, 1000);
        for from in 0..24 {
            for to in from..64 {
                let mut piece = vec![0; to - from];
                fill(&mut piece, 1000 + from as u64);
                assert_eq!(piece, whole[from..to], "{from}..{to}");
                assert_eq!(first_wrong(&piece, 1000 + from as u64), None);
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_found_wherever_it_is() {
        let mut bytes = [0; 40];
        for at in 0..bytes.len() {
            fill(&mut bytes, 3);
            bytes[at] ^= 0x10;
            assert_eq!(first_wrong(&bytes, 3), Some(3 + at as u64));
        }
        fill(&mut bytes, 8);
        assert!(first_wrong(&bytes, 16).is_some(), "a word later");
    }
}
