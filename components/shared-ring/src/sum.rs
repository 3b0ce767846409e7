//! The Internet checksum's sum over memory that a peer may be changing.
//!
//! As the copies next door, an `asm!` block: each byte is read once, whatever
//! the peer does meanwhile. Eight bytes an addition with carry, since
//! 2^64 - 1 is a multiple of 2^16 - 1 (RFC 1071, 2).

/// The ones' complement sum of `len` bytes taken in pairs, a single last one
/// with a zero behind it, folded to 16 bits; two bytes in memory order.
///
/// # Safety
/// `src` must be readable for `len` bytes. They may be shared with another
/// protection domain.
#[inline]
pub unsafe fn sum_bytes(src: *const u8, len: usize) -> u16 {
    let (mut sum, mut at) = (0u64, src);
    let blocks = len / 128;
    if blocks != 0 {
        // SAFETY: reads 128 bytes a round, `blocks` rounds, all within `len`.
        unsafe {
            core::arch::asm!(
                // No carry.
                "test {n}, {n}",
                "2:",
                "adc {sum}, [{at}]",
                "adc {sum}, [{at} + 8]",
                "adc {sum}, [{at} + 16]",
                "adc {sum}, [{at} + 24]",
                "adc {sum}, [{at} + 32]",
                "adc {sum}, [{at} + 40]",
                "adc {sum}, [{at} + 48]",
                "adc {sum}, [{at} + 56]",
                "adc {sum}, [{at} + 64]",
                "adc {sum}, [{at} + 72]",
                "adc {sum}, [{at} + 80]",
                "adc {sum}, [{at} + 88]",
                "adc {sum}, [{at} + 96]",
                "adc {sum}, [{at} + 104]",
                "adc {sum}, [{at} + 112]",
                "adc {sum}, [{at} + 120]",
                // Neither changes the carry.
                "lea {at}, [{at} + 128]",
                "dec {n}",
                "jnz 2b",
                "adc {sum}, 0",
                sum = inout(reg) sum,
                at = inout(reg) at,
                n = inout(reg) blocks => _,
                options(nostack, readonly),
            );
        }
    }
    let words = len % 128 / 8;
    if words != 0 {
        // SAFETY: the whole words of the bytes that are left.
        (sum, at) = unsafe { sum_words(sum, at, words) };
    }
    if !len.is_multiple_of(8) {
        // SAFETY: the bytes that are left.
        sum = carried(sum, unsafe { last_word(at, len % 8) });
    }
    fold(sum)
}

/// Adds so many words, at least one, to `sum`; and what is behind them.
///
/// # Safety
/// The words must be readable.
#[inline(always)]
unsafe fn sum_words(mut sum: u64, mut at: *const u8, words: usize) -> (u64, *const u8) {
    // SAFETY: the caller vouches for the words.
    unsafe {
        core::arch::asm!(
            "test {n}, {n}",
            "2:",
            "adc {sum}, [{at}]",
            "lea {at}, [{at} + 8]",
            "dec {n}",
            "jnz 2b",
            "adc {sum}, 0",
            sum = inout(reg) sum,
            at = inout(reg) at,
            n = inout(reg) words => _,
            options(nostack, readonly),
        );
    }
    (sum, at)
}

/// Fewer than eight bytes, with zeros behind them.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn last_word(at: *const u8, len: usize) -> u64 {
    let (mut word, mut done) = (0u64, 0);
    // SAFETY: each reads bytes that are left, once.
    unsafe {
        if len & 4 != 0 {
            word = u32::from_le_bytes(at.cast::<[u8; 4]>().read_volatile()).into();
            done = 4;
        }
        if len & 2 != 0 {
            let pair = at.add(done).cast::<[u8; 2]>().read_volatile();
            word |= u64::from(u16::from_le_bytes(pair)) << (8 * done);
            done += 2;
        }
        if len & 1 != 0 {
            word |= u64::from(at.add(done).read_volatile()) << (8 * done);
        }
    }
    word
}

#[inline(always)]
fn carried(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + u64::from(carry)
}

/// Halves twice, with the carry coming round each time.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + u32::from(carry);
    let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// 0 and 0xffff are the same number.
    fn canonical(sum: u16) -> u16 {
        if sum == 0xffff { 0 } else { sum }
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_pairs(
            bytes in proptest::collection::vec(any::<u8>(), 0..700),
            skip in 0usize..9,
        ) {
            let bytes = bytes.get(skip..).unwrap_or(&[]);
            // SAFETY: the slice's own bytes.
            let sum = unsafe { sum_bytes(bytes.as_ptr(), bytes.len()) };
            prop_assert_eq!(canonical(sum), canonical(plain(bytes)));
        }
    }

    #[test]
    fn carries_are_not_lost() {
        for len in [63, 64, 65, 128, 1460, 4096] {
            let bytes: Vec<u8> = std::vec![0xff; len];
            // SAFETY: the vector's own bytes.
            let sum = unsafe { sum_bytes(bytes.as_ptr(), len) };
            assert_eq!(canonical(sum), canonical(plain(&bytes)), "{len}");
        }
    }
}
