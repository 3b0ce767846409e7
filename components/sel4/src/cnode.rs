//! CNodes: addressing slots and moving capabilities between them.
//!
//! On kernel 5.0.0 badges have 28 bits and a wider one would be cut off without
//! a word (a debug kernel stops). [`AbsoluteCPtr::mint`] refuses it before the
//! kernel sees it.

use crate::{
    CapRights, Error, Result, Word,
    capability::{Cap, CapType, cap},
    config,
    cptr::{CPtr, CPtrBits, WORD_SIZE},
    invoke::invoke,
};
use sel4_bindings::request;

/// An address within some CSpace, and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CPtrWithDepth {
    bits: CPtrBits,
    depth: usize,
}

impl CPtrWithDepth {
    /// The lowest `depth` bits of `bits`.
    #[inline(always)]
    pub const fn from_bits_with_depth(bits: CPtrBits, depth: usize) -> Self {
        Self { bits, depth }
    }

    /// The CNode itself that this is looked up in.
    #[inline(always)]
    pub const fn empty() -> Self {
        Self::from_bits_with_depth(0, 0)
    }

    /// The address.
    #[inline(always)]
    pub const fn bits(&self) -> CPtrBits {
        self.bits
    }

    /// How many bits count.
    #[inline(always)]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// The depth as the kernel takes it; one that is too large stays too large.
    pub(crate) const fn depth_u8(&self) -> u8 {
        if self.depth > WORD_SIZE {
            u8::MAX
        } else {
            self.depth as u8
        }
    }
}

/// What names a slot below a CNode.
pub trait HasCPtrWithDepth {
    /// The slot's address.
    fn cptr_with_depth(self) -> CPtrWithDepth;
}

impl HasCPtrWithDepth for CPtrWithDepth {
    fn cptr_with_depth(self) -> CPtrWithDepth {
        self
    }
}

impl HasCPtrWithDepth for CPtr {
    fn cptr_with_depth(self) -> CPtrWithDepth {
        CPtrWithDepth::from_bits_with_depth(self.bits(), WORD_SIZE)
    }
}

impl<T: CapType> HasCPtrWithDepth for Cap<T> {
    fn cptr_with_depth(self) -> CPtrWithDepth {
        self.cptr().cptr_with_depth()
    }
}

/// A slot: a CNode and an address below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsoluteCPtr {
    root: cap::CNode,
    path: CPtrWithDepth,
}

impl cap::CNode {
    /// The slot at `path` below this CNode.
    pub fn absolute_cptr<T: HasCPtrWithDepth>(self, path: T) -> AbsoluteCPtr {
        AbsoluteCPtr {
            root: self,
            path: path.cptr_with_depth(),
        }
    }

    /// The slot at the lowest `depth` bits of `bits` below this CNode.
    pub const fn absolute_cptr_from_bits_with_depth(
        self,
        bits: CPtrBits,
        depth: usize,
    ) -> AbsoluteCPtr {
        AbsoluteCPtr {
            root: self,
            path: CPtrWithDepth::from_bits_with_depth(bits, depth),
        }
    }

    /// This CNode itself, as where retyping puts capabilities.
    pub const fn absolute_cptr_for_self(self) -> AbsoluteCPtr {
        AbsoluteCPtr {
            root: self,
            path: CPtrWithDepth::empty(),
        }
    }
}

/// `badge`, unless the kernel would cut it off.
fn checked_badge(badge: Word) -> Result<Word> {
    if badge >> config::BADGE_BITS == 0 {
        Ok(badge)
    } else {
        Err(Error::RangeError)
    }
}

impl AbsoluteCPtr {
    /// The CNode that the path starts from.
    pub const fn root(&self) -> cap::CNode {
        self.root
    }

    /// The address below it.
    pub const fn path(&self) -> &CPtrWithDepth {
        &self.path
    }

    /// Corresponds to `seL4_CNode_Revoke`: deletes every descendant.
    ///
    /// On 5.0.0 that leaves mapped frames mapped: unmap them first.
    pub fn revoke(self) -> Result<()> {
        let message = request::CNode_Revoke(self.path.bits(), self.path.depth_u8());
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_Delete`.
    ///
    /// On 5.0.0 deleting a copy of a mapped frame's capability leaves the frame
    /// mapped: unmap it first.
    pub fn delete(self) -> Result<()> {
        let message = request::CNode_Delete(self.path.bits(), self.path.depth_u8());
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_SaveCaller`: puts the reply capability here.
    pub fn save_caller(self) -> Result<()> {
        let message = request::CNode_SaveCaller(self.path.bits(), self.path.depth_u8());
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_CancelBadgedSends`.
    pub fn cancel_badged_sends(self) -> Result<()> {
        let message = request::CNode_CancelBadgedSends(self.path.bits(), self.path.depth_u8());
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_Copy`: puts a copy of `src` here.
    pub fn copy(self, src: &AbsoluteCPtr, rights: CapRights) -> Result<()> {
        let message = request::CNode_Copy(
            self.path.bits(),
            self.path.depth_u8(),
            src.root.bits(),
            src.path.bits(),
            src.path.depth_u8(),
            rights.into_inner().0,
        );
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_Mint`: puts a copy of `src` with `badge` here.
    ///
    /// For a CNode's capability `badge` is [`CNodeCapData::into_word`].
    ///
    /// # Errors
    /// [`Error::RangeError`] if `badge` has more than [`config::BADGE_BITS`]
    /// bits, which the kernel would not notice; others from the kernel.
    ///
    /// [`CNodeCapData::into_word`]: crate::CNodeCapData::into_word
    pub fn mint(self, src: &AbsoluteCPtr, rights: CapRights, badge: Word) -> Result<()> {
        self.mint_data(src, rights, checked_badge(badge)?)
    }

    /// [`Self::mint`] with data that is wider than a badge.
    pub(crate) fn mint_data(self, src: &AbsoluteCPtr, rights: CapRights, data: Word) -> Result<()> {
        let message = request::CNode_Mint(
            self.path.bits(),
            self.path.depth_u8(),
            src.root.bits(),
            src.path.bits(),
            src.path.depth_u8(),
            rights.into_inner().0,
            data,
        );
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_Move`: moves `src` here.
    pub fn move_(self, src: &AbsoluteCPtr) -> Result<()> {
        let message = request::CNode_Move(
            self.path.bits(),
            self.path.depth_u8(),
            src.root.bits(),
            src.path.bits(),
            src.path.depth_u8(),
        );
        invoke(self.root.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_CNode_Mutate`: moves `src` here, giving it `badge`.
    ///
    /// # Errors
    /// As [`Self::mint`].
    pub fn mutate(self, src: &AbsoluteCPtr, badge: Word) -> Result<()> {
        let message = request::CNode_Mutate(
            self.path.bits(),
            self.path.depth_u8(),
            src.root.bits(),
            src.path.bits(),
            src.path.depth_u8(),
            checked_badge(badge)?,
        );
        invoke(self.root.cptr(), message).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_that_would_be_cut_is_refused_before_the_kernel_sees_it() {
        assert_eq!(checked_badge((1 << 28) - 1), Ok((1 << 28) - 1));
        assert_eq!(checked_badge(1 << 28), Err(Error::RangeError));
    }

    #[test]
    fn an_impossible_depth_does_not_wrap_into_a_possible_one() {
        assert_eq!(CPtrWithDepth::from_bits_with_depth(0, 64).depth_u8(), 64);
        assert_eq!(CPtrWithDepth::from_bits_with_depth(0, 256).depth_u8(), 255);
    }
}
