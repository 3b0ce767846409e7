//! Capability addresses.
//!
//! A [`CPtr`] is where a capability may be in the thread's own CSpace. Having
//! one proves nothing: the kernel looks it up at every use.

use crate::capability::{Cap, CapType};

/// A machine word.
pub type Word = u64;
/// The bits of a [`CPtr`].
pub type CPtrBits = Word;
/// What identifies the capability through which a message or signal came.
pub type Badge = Word;
/// Bits in a [`Word`].
pub const WORD_SIZE: usize = sel4_bindings::seL4_WordBits as usize;

/// Corresponds to `seL4_CPtr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct CPtr(CPtrBits);

impl CPtr {
    /// The address `bits`.
    #[inline(always)]
    pub const fn from_bits(bits: CPtrBits) -> Self {
        Self(bits)
    }

    /// The address as a number.
    #[inline(always)]
    pub const fn bits(self) -> CPtrBits {
        self.0
    }

    /// Takes the capability there to be a `T`.
    ///
    /// If it is something else, using it gives an error or does what that
    /// something else does.
    #[inline(always)]
    pub const fn cast<T: CapType>(self) -> Cap<T> {
        Cap::from_cptr(self)
    }
}
