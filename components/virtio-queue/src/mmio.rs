//! Device registers.
//!
//! Problem: a register access has effects, so the compiler may neither drop,
//! repeat, split nor merge it. Invariant: each access here is one volatile
//! load or store of the register's own width (virtio 1.2, 4.1.3.1).

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

use shared_ring::{AtomicWord, OutOfRange, SharedMemory};

/// One register.
#[derive(Debug)]
pub(crate) struct Register<W: 'static>(&'static W);

impl<W> Clone for Register<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Register<W> {}

impl<W: AtomicWord> Register<W> {
    /// The register at `offset` of a window.
    pub(crate) fn at(window: &SharedMemory, offset: usize) -> Result<Self, OutOfRange> {
        match window.words::<W>(offset, 1)? {
            [word] => Ok(Self(word)),
            _ => Err(OutOfRange),
        }
    }
}

macro_rules! access {
    ($atomic:ty, $int:ty) => {
        impl Register<$atomic> {
            #[inline]
            pub(crate) fn read(self) -> $int {
                // SAFETY: the reference proves that the register is mapped and
                // aligned; only volatile and atomic accesses are made to it.
                unsafe { self.0.as_ptr().read_volatile() }
            }

            #[inline]
            pub(crate) fn write(self, value: $int) {
                // SAFETY: as in `read`.
                unsafe { self.0.as_ptr().write_volatile(value) }
            }
        }
    };
}

access!(AtomicU8, u8);
access!(AtomicU16, u16);
access!(AtomicU32, u32);
