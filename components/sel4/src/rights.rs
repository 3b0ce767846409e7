//! What a copy of a capability may do, and the data that a CNode's carries.

use crate::Word;
use sel4_bindings::{cnode_capdata, seL4_CapRights};

/// Corresponds to `seL4_CapRights_t`.
///
/// Kernel 5.0.0 has no right to reply apart from `grant`, so `grant_reply` is
/// ignored there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapRights(seL4_CapRights);

impl CapRights {
    /// The given rights.
    #[inline(always)]
    pub const fn new(_grant_reply: bool, grant: bool, read: bool, write: bool) -> Self {
        Self(seL4_CapRights::new(
            grant as Word,
            read as Word,
            write as Word,
        ))
    }

    /// No right.
    #[inline(always)]
    pub const fn none() -> Self {
        Self::new(false, false, false, false)
    }

    /// Every right.
    #[inline(always)]
    pub const fn all() -> Self {
        Self::new(true, true, true, true)
    }

    /// Reading and writing, or receiving and sending.
    #[inline(always)]
    pub const fn read_write() -> Self {
        Self::new(false, false, true, true)
    }

    /// Reading, or receiving.
    #[inline(always)]
    pub const fn read_only() -> Self {
        Self::new(false, false, true, false)
    }

    /// Writing, or sending.
    #[inline(always)]
    pub const fn write_only() -> Self {
        Self::new(false, false, false, true)
    }

    /// The kernel's form.
    pub const fn into_inner(self) -> seL4_CapRights {
        self.0
    }
}

/// Corresponds to `seL4_CNode_CapData_t`: the guard of a CNode's capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CNodeCapData(cnode_capdata);

impl CNodeCapData {
    /// `guard_size` bits of address must equal `guard`.
    ///
    /// # Panics
    /// If `guard` has more than 18 bits or `guard_size` exceeds 63: the kernel
    /// would cut them off.
    pub const fn new(guard: Word, guard_size: usize) -> Self {
        assert!(
            guard >> cnode_capdata::WIDTH_OF_guard == 0,
            "the guard is too wide for this kernel"
        );
        assert!(
            guard_size >> cnode_capdata::WIDTH_OF_guardSize == 0,
            "the guard's size is too large"
        );
        Self(cnode_capdata::new(guard, guard_size as Word))
    }

    /// `bits` bits of address are skipped; they must be zero.
    ///
    /// A CNode of `n` bits that is a thread's CSpace root needs
    /// `skip(64 - n)`.
    ///
    /// # Panics
    /// If `bits` exceeds 63.
    pub const fn skip(bits: usize) -> Self {
        Self::new(0, bits)
    }

    /// The word to pass to [`mint`](crate::AbsoluteCPtr::mint).
    pub const fn into_word(self) -> Word {
        self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_lies_where_kernel_5_looks_for_it() {
        // decodeTCBConfigure reads guard << 8 | size << 2.
        assert_eq!(
            CNodeCapData::new(0x3_0001, 46).into_word(),
            (0x3_0001 << 8) | (46 << 2)
        );
    }

    #[test]
    #[should_panic(expected = "too wide")]
    fn a_guard_that_does_not_fit_is_refused() {
        CNodeCapData::new(1 << 18, 20);
    }

    #[test]
    fn rights_are_grant_read_write_from_the_top() {
        assert_eq!(CapRights::all().into_inner().0, 0b111);
        assert_eq!(CapRights::read_only().into_inner().0, 0b010);
        assert_eq!(CapRights::write_only().into_inner().0, 0b001);
    }
}
