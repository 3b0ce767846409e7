//! The bytes of all loads: pieces of one endless sequence.
//!
//! Invariant: the same sequence as `tools/frame-peer/src/pattern.rs`, whose
//! tests say what it is good for.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FIRST: u64 = 0x6a09_e667_f3bc_c908;

fn word(n: u64) -> u64 {
    FIRST.wrapping_add(n.wrapping_mul(STEP))
}

fn byte(at: u64) -> u8 {
    (word(at / 8) >> (at % 8 * 8)) as u8
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
    let mut next = word(at / 8);
    for bytes in &mut *words {
        *bytes = next.to_le_bytes();
        next = next.wrapping_add(STEP);
    }
    let at = at + 8 * words.len() as u64;
    (at..).zip(tail).for_each(|(n, b)| *b = byte(n));
}

/// Whether `bytes` are those of the sequence from `at` on.
#[must_use]
pub fn is_right(bytes: &[u8], at: u64) -> bool {
    let (head, rest) = bytes.split_at(ragged(at, bytes.len()));
    let same = |at: u64, bytes: &[u8]| (at..).zip(bytes).all(|(n, b)| *b == byte(n));
    let middle = at + head.len() as u64;
    let (words, tail) = rest.as_chunks::<8>();
    let (mut next, mut differs) = (word(middle / 8), 0);
    for bytes in words {
        differs |= u64::from_le_bytes(*bytes) ^ next;
        next = next.wrapping_add(STEP);
    }
    differs == 0 && same(at, head) && same(middle + 8 * words.len() as u64, tail)
}
