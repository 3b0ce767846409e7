//! The HPET's window.

use core::sync::atomic::AtomicU32;

use shared_ring::{OutOfRange, SharedMemory};

use crate::hpet::Registers;

/// Bytes of the window in use: up to comparator 0.
const BYTES: usize = 0x110;

/// The registers of a mapped HPET.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    words: &'static [AtomicU32],
}

impl Window {
    /// The registers at the start of `window`.
    ///
    /// # Errors
    /// [`OutOfRange`] if the window is too small.
    pub fn new(window: SharedMemory) -> Result<Self, OutOfRange> {
        let words = window.words(0, BYTES / 4)?;
        Ok(Self { words })
    }
}

impl Registers for Window {
    #[inline]
    fn read(&self, offset: usize) -> u32 {
        let Some(word) = self.words.get(offset / 4) else {
            return 0;
        };
        // SAFETY: the reference proves that the register is mapped and
        // aligned; a volatile access is what a register wants.
        unsafe { word.as_ptr().read_volatile() }
    }

    #[inline]
    fn write(&self, offset: usize, value: u32) {
        if let Some(word) = self.words.get(offset / 4) {
            // SAFETY: as in `read`.
            unsafe { word.as_ptr().write_volatile(value) }
        }
    }
}
