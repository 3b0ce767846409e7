//! Sockets that lead nowhere, to measure data passing without protocols.
//!
//! The I/O manager itself answers the operations on a
//! [`SocketKind::Null`](crate::SocketKind): it reads what is sent once, as a
//! device would that sums it, and what is received comes from buffers of its
//! own, as from a NIC's. It does so only where its settings allow it, since
//! otherwise nobody could have it work for nothing.

/// Bit in `arg` of `Open`, beside the kind: what is received comes from a NIC
/// that demultiplexes early, so that it can be given frames for one receiver.
/// What such a NIC would write into them costs nothing, and is not written.
pub const EARLY: u64 = 1 << 16;
/// Bit in `arg` of `Open`: with [`EARLY`], it is written, by copying, so that
/// content can be compared.
pub const FILL: u64 = 1 << 17;
/// All of the bits.
pub const ALL: u64 = EARLY | FILL;

/// Bytes at the start of which [`pattern`] begins anew.
pub const PERIOD: u32 = 1 << 16;

/// Byte `n` of what is received.
#[must_use]
pub const fn pattern(n: u32) -> u8 {
    let n = n % PERIOD;
    (n as u8) ^ ((n >> 8) as u8).wrapping_mul(31)
}

/// What the completion of a `Send` or `Recv` says in `arg`: how it was carried
/// out, and the ones' complement sum of what was sent.
#[must_use]
pub const fn outcome(technique: crate::Technique, sum: u16) -> u64 {
    technique as u64 | (sum as u64) << 16
}

/// The meaning of such an `arg`; `None` if it has none.
#[must_use]
pub const fn from_outcome(arg: u64) -> Option<(crate::Technique, u16)> {
    match crate::Technique::from_number(arg as u16) {
        Some(technique) if arg >> 32 == 0 => Some((technique, (arg >> 16) as u16)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Technique;

    #[test]
    fn outcomes_mean_what_they_were_made_from() {
        for &technique in Technique::ALL {
            let arg = outcome(technique, 0xbeef);
            assert_eq!(from_outcome(arg), Some((technique, 0xbeef)));
        }
        assert_eq!(from_outcome(0), None);
        assert_eq!(from_outcome(1 << 32 | 1), None);
    }

    #[test]
    fn neighbouring_pages_differ() {
        let page = |at: u32| (0..4096).map(move |n| pattern(at + n));
        assert!(!page(0).eq(page(4096)) && !page(4096).eq(page(8192)));
        assert!(page(0).eq(page(PERIOD)));
    }
}
