//! Capabilities with a type.
//!
//! A [`Cap<T>`] is a [`CPtr`] together with the claim that a `T` is there. The
//! methods of each type are in the module of that type.

use crate::cptr::{CPtr, CPtrBits};
use core::{fmt, marker::PhantomData};

/// A kind of object that a capability can stand for.
pub trait CapType: Copy {
    /// Its name, for messages.
    const NAME: &'static str;
}

/// Frames: memory that can be mapped.
pub trait CapTypeForFrame: CapType {}

/// The capability to a `T` at some address of the thread's CSpace.
#[repr(transparent)]
pub struct Cap<T: CapType> {
    cptr: CPtr,
    _type: PhantomData<T>,
}

impl<T: CapType> Cap<T> {
    /// The capability at `bits`.
    #[inline(always)]
    pub const fn from_bits(bits: CPtrBits) -> Self {
        Self::from_cptr(CPtr::from_bits(bits))
    }

    /// The capability at `cptr`.
    #[inline(always)]
    pub const fn from_cptr(cptr: CPtr) -> Self {
        Self {
            cptr,
            _type: PhantomData,
        }
    }

    /// Where it is.
    #[inline(always)]
    pub const fn cptr(self) -> CPtr {
        self.cptr
    }

    /// Where it is, as a number.
    #[inline(always)]
    pub const fn bits(self) -> CPtrBits {
        self.cptr.bits()
    }

    /// Takes the same capability to be a `U`.
    #[inline(always)]
    pub const fn cast<U: CapType>(self) -> Cap<U> {
        Cap::from_cptr(self.cptr)
    }

    /// Forgets what kind of capability it is.
    #[inline(always)]
    pub const fn upcast(self) -> cap::Unspecified {
        self.cast()
    }
}

impl<T: CapType> Clone for Cap<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: CapType> Copy for Cap<T> {}

impl<T: CapType> PartialEq for Cap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cptr == other.cptr
    }
}

impl<T: CapType> Eq for Cap<T> {}

impl<T: CapType> fmt::Debug for Cap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:#x})", T::NAME, self.bits())
    }
}

macro_rules! cap_types {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Kinds of capability, as markers for [`Cap`].
        #[allow(
            clippy::upper_case_acronyms,
            non_camel_case_types,
            reason = "names are rust-sel4's"
        )]
        pub mod cap_type {
            use super::{CapType, CapTypeForFrame};
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy, PartialEq, Eq)]
                pub enum $name {}
                impl CapType for $name {
                    const NAME: &'static str = stringify!($name);
                }
            )*
            impl CapTypeForFrame for _4k {}
            impl CapTypeForFrame for LargePage {}
            impl CapTypeForFrame for UnspecifiedPage {}
            /// The smallest frame.
            pub type Granule = _4k;
            /// The root of an address space.
            pub type VSpace = PML4;
        }

        /// Capabilities by kind.
        #[allow(
            clippy::upper_case_acronyms,
            non_camel_case_types,
            reason = "names are rust-sel4's"
        )]
        pub mod cap {
            use super::{Cap, cap_type};
            $(
                $(#[$doc])*
                pub type $name = Cap<cap_type::$name>;
            )*
            /// The smallest frame.
            pub type Granule = _4k;
            /// The root of an address space.
            pub type VSpace = PML4;
        }
    };
}

cap_types! {
    /// Memory that objects can be made of.
    Untyped,
    /// Where threads meet to exchange messages.
    Endpoint,
    /// A word of signals.
    Notification,
    /// A thread.
    Tcb,
    /// A table of capabilities.
    CNode,
    /// The right to make [`IrqHandler`]s.
    IrqControl,
    /// An interrupt.
    IrqHandler,
    /// The right to make [`AsidPool`]s.
    AsidControl,
    /// Numbers for address spaces.
    AsidPool,
    /// A frame of 4 KiB.
    _4k,
    /// A frame of 2 MiB.
    LargePage,
    /// A frame of any size.
    UnspecifiedPage,
    /// Top level of an address space, 512 entries of 512 GiB.
    PML4,
    /// Second level, 512 entries of 1 GiB.
    PDPT,
    /// Third level, 512 entries of 2 MiB.
    PageDirectory,
    /// Last level, 512 entries of 4 KiB.
    PageTable,
    /// The right to make [`IOPort`]s.
    IOPortControl,
    /// A range of I/O ports.
    IOPort,
    /// No capability.
    Null,
    /// Some capability.
    Unspecified,
}
