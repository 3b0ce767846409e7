//! Messages and pages of the small services: timer, entropy, lifecycle.
//!
//! Problem: a client and its service must agree on a few numbers without
//! linking each other. Invariant: every message fits the registers of one
//! call, labels fit 20 bits, and what is read from a shared page is copied
//! once and checked.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod clock;
pub mod lifecycle;

pub use clock::{Clock, ClockError};

/// Calls to the timer service. A reply has one of the `REPLY_` labels.
pub mod timer {
    /// Sets the caller's one deadline: message word 0 is the absolute time in
    /// nanoseconds of the [`Clock`](crate::Clock), 0 cancels it. At or shortly
    /// after the deadline the service signals the caller once. A deadline in
    /// the past is signalled at once; a new one replaces the old.
    pub const LABEL_ARM: u64 = 1;
    /// Done.
    pub const REPLY_OK: u64 = 0;
    /// The label is not known, or the caller has no timer.
    pub const REPLY_REFUSED: u64 = 1;
}

/// Calls to the entropy service.
pub mod entropy {
    /// Asks for 32 fresh random bytes: four message words in the reply.
    pub const LABEL_SEED: u64 = 1;
    /// Done; the bytes are in the message words, little-endian.
    pub const REPLY_OK: u64 = 0;
    /// The label is not known.
    pub const REPLY_REFUSED: u64 = 1;
    /// Message words, and bytes, of a reply.
    pub const SEED_WORDS: usize = 4;

    /// The reply's message words as bytes.
    #[must_use]
    pub fn seed_bytes(words: [u64; SEED_WORDS]) -> [u8; 32] {
        let mut seed = [0; 32];
        for (to, word) in seed.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        seed
    }
}
