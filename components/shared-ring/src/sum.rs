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
    let blocks = len / 64;
    let mut sum = 0u64;
    let mut at = src;
    if blocks != 0 {
        // SAFETY: reads 64 bytes a round, `blocks` rounds, all within `len`.
        unsafe {
            core::arch::asm!(
                "xor {sum}, {sum}",
                "2:",
                "adc {sum}, [{at}]",
                "adc {sum}, [{at} + 8]",
                "adc {sum}, [{at} + 16]",
                "adc {sum}, [{at} + 24]",
                "adc {sum}, [{at} + 32]",
                "adc {sum}, [{at} + 40]",
                "adc {sum}, [{at} + 48]",
                "adc {sum}, [{at} + 56]",
                // Neither changes the carry.
                "lea {at}, [{at} + 64]",
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
    let left = len & 63;
    if left != 0 {
        // SAFETY: the bytes that are left.
        sum = unsafe { sum_rest(sum, at, left) };
    }
    fold(sum)
}

/// As `sum_bytes`, of fewer than 64 bytes, added to `sum`.
///
/// # Safety
/// As there.
#[inline]
unsafe fn sum_rest(mut sum: u64, mut at: *const u8, mut left: usize) -> u64 {
    while left >= 8 {
        // SAFETY: eight of the bytes that are left.
        sum = carried(sum, unsafe { read_word(at) });
        // SAFETY: still within, or right behind, the `len` bytes.
        at = unsafe { at.add(8) };
        left -= 8;
    }
    let mut last = [0; 8];
    for (n, byte) in last.iter_mut().take(left).enumerate() {
        // SAFETY: one of the bytes that are left.
        *byte = unsafe { at.add(n).read_volatile() };
    }
    carried(sum, u64::from_ne_bytes(last))
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

/// The word at any address, read once.
///
/// # Safety
/// The eight bytes must be readable.
#[inline]
unsafe fn read_word(at: *const u8) -> u64 {
    let word;
    // SAFETY: the caller vouches for the eight bytes; x86-64 loads them from
    // any address.
    unsafe {
        core::arch::asm!(
            "mov {word}, [{at}]",
            word = out(reg) word,
            at = in(reg) at,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
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
