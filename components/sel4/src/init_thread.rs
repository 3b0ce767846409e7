//! The initial thread: what the kernel starts, with every capability.

use crate::{
    CPtr, CapType,
    capability::{Cap, cap_type},
};
use core::{fmt, marker::PhantomData, ops::Range};

/// A slot of the initial thread's CNode that holds a `T`.
pub struct Slot<T: CapType = cap_type::Unspecified> {
    index: usize,
    _type: PhantomData<T>,
}

impl<T: CapType> Slot<T> {
    /// Slot number `index`.
    pub const fn from_index(index: usize) -> Self {
        Self {
            index,
            _type: PhantomData,
        }
    }

    /// The slot's number.
    pub const fn index(self) -> usize {
        self.index
    }

    /// The slot's address in the initial thread's CSpace.
    pub const fn cptr(self) -> CPtr {
        CPtr::from_bits(self.index as u64)
    }

    /// The capability in the slot.
    pub const fn cap(self) -> Cap<T> {
        self.cptr().cast()
    }

    /// Takes the slot to hold a `U`.
    pub const fn cast<U: CapType>(self) -> Slot<U> {
        Slot::from_index(self.index)
    }
}

impl<T: CapType> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: CapType> Copy for Slot<T> {}

impl<T: CapType> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T: CapType> Eq for Slot<T> {}

impl<T: CapType> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot<{}>({})", T::NAME, self.index)
    }
}

/// Consecutive slots.
pub struct SlotRegion<T: CapType = cap_type::Unspecified> {
    range: Range<usize>,
    _type: PhantomData<T>,
}

impl<T: CapType> SlotRegion<T> {
    /// The slots with the numbers of `range`.
    pub const fn from_range(range: Range<usize>) -> Self {
        Self {
            range,
            _type: PhantomData,
        }
    }

    /// The first slot's number.
    pub const fn start(&self) -> usize {
        self.range.start
    }

    /// The number after the last slot's.
    pub const fn end(&self) -> usize {
        self.range.end
    }

    /// The slots' numbers.
    pub const fn range(&self) -> Range<usize> {
        self.range.start..self.range.end
    }

    /// How many slots.
    pub const fn len(&self) -> usize {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slot `i` of the region.
    ///
    /// # Panics
    /// If there is none.
    pub const fn index(&self, i: usize) -> Slot<T> {
        assert!(i < self.len(), "the region has fewer slots");
        Slot::from_index(self.range.start + i)
    }
}

impl<T: CapType> Clone for SlotRegion<T> {
    fn clone(&self) -> Self {
        Self::from_range(self.range())
    }
}

impl<T: CapType> fmt::Debug for SlotRegion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotRegion<{}>({:?})", T::NAME, self.range)
    }
}

/// Slots that the kernel fills.
pub mod slot {
    use super::{Slot, cap_type};

    macro_rules! slots {
        ($($(#[$doc:meta])* $name:ident: $kind:ident = $number:ident;)*) => {$(
            $(#[$doc])*
            pub const $name: Slot<cap_type::$kind> =
                Slot::from_index(sel4_bindings::$number as usize);
        )*};
    }

    slots! {
        /// Empty.
        NULL: Null = seL4_CapNull;
        /// The initial thread.
        TCB: Tcb = seL4_CapInitThreadTCB;
        /// The CNode that these slots are in.
        CNODE: CNode = seL4_CapInitThreadCNode;
        /// The initial thread's address space.
        VSPACE: VSpace = seL4_CapInitThreadVSpace;
        /// The right to make interrupt handlers.
        IRQ_CONTROL: IrqControl = seL4_CapIRQControl;
        /// The right to make ASID pools.
        ASID_CONTROL: AsidControl = seL4_CapASIDControl;
        /// The initial thread's ASID pool.
        ASID_POOL: AsidPool = seL4_CapInitThreadASIDPool;
        /// All I/O ports.
        IO_PORT_CONTROL: IOPortControl = seL4_CapIOPort;
        /// The frame of the boot information.
        BOOT_INFO_FRAME: Granule = seL4_CapBootInfoFrame;
        /// The frame of the initial thread's IPC buffer.
        IPC_BUFFER: Granule = seL4_CapInitThreadIPCBuffer;
    }
}

/// Stops the initial thread for good.
///
/// If somebody resumes it, it stops again. In a component whose CSpace does not
/// have its own thread in the same slot as the initial thread, this yields for
/// ever instead.
pub fn suspend_self<T>() -> T {
    loop {
        if slot::TCB.cap().tcb_suspend().is_err() {
            crate::r#yield();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_counts_from_its_start() {
        let region = SlotRegion::<cap_type::Untyped>::from_range(20..23);
        assert_eq!((region.len(), region.index(2).index()), (3, 22));
        assert!(SlotRegion::<cap_type::Null>::from_range(5..5).is_empty());
    }
}
