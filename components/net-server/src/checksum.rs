//! The Internet checksum (RFC 1071), eight bytes an addition.
//!
//! Problem: summing costs more than copying, and is done once for every byte
//! received and sent. Invariant: the same sums as smoltcp's, which the tests
//! compare with; sums are of bytes in memory order, so a folded sum is stored
//! as it is, whatever the processor's order (RFC 1071, 2 (B)).

use core::arch::x86_64::_addcarry_u64;

use smoltcp::wire::{IpProtocol, Ipv4Address};

/// Bytes added in one go.
const STEP: usize = 64;

/// Adds `bytes` to a sum. Between two calls the first must have had an even
/// number of bytes.
#[inline]
pub(crate) fn add(start: u64, bytes: &[u8]) -> u64 {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let mut sum = start;
    for step in steps {
        let (words, _) = step.as_chunks::<8>();
        let mut carry = 0;
        for word in words {
            carry = _addcarry_u64(carry, sum, u64::from_ne_bytes(*word), &mut sum);
        }
        sum = plus(sum, u64::from(carry));
    }
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        sum = plus(sum, u64::from_ne_bytes(*word));
    }
    if tail.is_empty() {
        return sum;
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    plus(sum, u64::from_ne_bytes(last))
}

/// One's complement addition.
#[inline]
fn plus(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(u64::from(carry))
}

/// A sum in 16 bits: halved twice, with the carry coming round each time.
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + u32::from(carry);
    let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
    sum + u16::from(carry)
}

/// The sum of the pseudo-header of a transport segment (RFC 768, RFC 9293).
#[inline]
pub(crate) fn pseudo(
    src: Ipv4Address,
    dst: Ipv4Address,
    protocol: IpProtocol,
    segment_bytes: usize,
) -> u64 {
    let address = |a: Ipv4Address| u64::from(u32::from_ne_bytes(a.octets()));
    let half = |n: u16| u64::from(u16::from_ne_bytes(n.to_be_bytes()));
    address(src) + address(dst) + half(u16::from(u8::from(protocol))) + half(segment_bytes as u16)
}

/// Whether the sum of a span that holds its own checksum is right: whether it
/// folds to 0xffff, since folding keeps what is left of it divided by that.
#[inline]
pub(crate) fn is_right(sum: u64) -> bool {
    sum != 0 && sum.is_multiple_of(0xffff)
}

/// The checksum's bytes for a span that was summed with 0 in its place.
#[inline]
pub(crate) fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::checksum;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn sums_are_smoltcps(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            src in any::<u32>(),
            dst in any::<u32>(),
            full in any::<bool>(),
        ) {
            let bytes: Vec<u8> = match full {
                true => bytes.iter().map(|_| 0xff).collect(),
                false => bytes,
            };
            let (src, dst) = (Ipv4Address::from(src), Ipv4Address::from(dst));
            prop_assert_eq!(
                fold(add(0, &bytes)).to_ne_bytes(),
                checksum::data(&bytes).to_be_bytes()
            );
            let theirs = checksum::combine(&[
                checksum::pseudo_header_v4(&src, &dst, IpProtocol::Udp, bytes.len() as u32),
                checksum::data(&bytes),
            ]);
            let ours = add(pseudo(src, dst, IpProtocol::Udp, bytes.len()), &bytes);
            prop_assert_eq!(fold(ours).to_ne_bytes(), theirs.to_be_bytes());
            prop_assert_eq!(is_right(ours), theirs == 0xffff);
            prop_assert_eq!(finish(ours), (!theirs).to_be_bytes());
        }
    }
}
