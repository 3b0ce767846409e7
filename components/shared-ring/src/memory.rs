//! A span of shared memory, and checked copies in and out of it.
//!
//! Invariant: no reference to the span's bytes ever exists, only raw pointers
//! and atomics, so a peer that writes at the same time causes no undefined
//! behaviour here, only other bytes.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::copy::{clear_bytes, copy_bytes, copy_entry};
use crate::sum::sum_bytes;

/// A span of memory shared with another protection domain.
///
/// Possessing one proves that the span stays mapped, readable and writable,
/// for as long as the program runs. Copies of the value name the same span.
#[derive(Clone, Copy, Debug)]
pub struct SharedMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: all access goes through atomics or through copies that tolerate
// concurrent writers, so any thread may hold the span.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

/// The atomic integers that a span may be looked at as.
pub trait AtomicWord: sealed::Sealed {}
impl AtomicWord for AtomicU8 {}
impl AtomicWord for AtomicU16 {}
impl AtomicWord for AtomicU32 {}
impl AtomicWord for AtomicU64 {}

mod sealed {
    /// Keeps [`AtomicWord`](super::AtomicWord) to types of which any bytes
    /// are a value.
    pub trait Sealed {}
    impl Sealed for super::AtomicU8 {}
    impl Sealed for super::AtomicU16 {}
    impl Sealed for super::AtomicU32 {}
    impl Sealed for super::AtomicU64 {}
}

/// An access that would have left the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("access outside the shared span")
    }
}

impl core::error::Error for OutOfRange {}

impl SharedMemory {
    /// Names the `len` bytes at `base`.
    ///
    /// # Safety
    /// The bytes must stay mapped readable and writable until the program
    /// ends, `base` must be 8-byte aligned, and no Rust reference to them may
    /// exist.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// Gives up a piece of the program's own memory to be shared, as tests and
    /// models of a peer on the host do.
    #[must_use]
    pub const fn from_static(memory: &'static mut [u64]) -> Self {
        let len = size_of_val(memory);
        let base = NonNull::new(memory.as_mut_ptr().cast::<u8>());
        match base {
            // SAFETY: the exclusive borrow ends here and never comes back, so
            // the memory lives on without a reference; `u64`s are aligned.
            Some(base) => unsafe { Self::new(base, len) },
            None => unreachable!(),
        }
    }

    /// Address of the span's first byte, exposed: whoever is told it may reach
    /// the span by it.
    #[inline]
    #[must_use]
    pub fn address(&self) -> usize {
        self.base.as_ptr().expose_provenance()
    }

    /// The span's size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the span holds no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`OutOfRange`] if they do not lie in the span.
    pub fn slice(&self, offset: usize, len: usize) -> Result<Self, OutOfRange> {
        Ok(Self {
            base: self.at(offset, len)?,
            len,
        })
    }

    /// Copies `into.len()` bytes out of the span, each read once.
    ///
    /// # Errors
    /// [`OutOfRange`] if the source does not lie in the span; nothing is copied.
    #[inline(always)]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        let src = self.at(offset, into.len())?;
        // SAFETY: `at` checked the source; the destination is a private slice,
        // which cannot overlap since no reference into the span exists.
        unsafe { copy_bytes(src.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// The `N` bytes from `offset`, each read once; few instructions for 8, 16,
    /// 32 to 47 and 49 to 64.
    ///
    /// # Errors
    /// [`OutOfRange`] if they do not lie in the span.
    #[inline(always)]
    pub fn read_array<const N: usize>(&self, offset: usize) -> Result<[u8; N], OutOfRange> {
        let src = self.at(offset, N)?;
        let mut into = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: `at` checked the source; the destination is private.
        unsafe { copy_entry(src.as_ptr(), into.as_mut_ptr().cast(), N) };
        // SAFETY: all of it was written just now, and any bytes are a value.
        Ok(unsafe { into.assume_init() })
    }

    /// Copies `from` into the span.
    ///
    /// # Errors
    /// [`OutOfRange`] if the destination does not lie in the span; nothing is
    /// copied.
    #[inline(always)]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        let dst = self.at(offset, from.len())?;
        // SAFETY: as in `read`, the other way round.
        unsafe { copy_bytes(from.as_ptr(), dst.as_ptr(), from.len()) };
        Ok(())
    }

    /// As [`SharedMemory::write`], of `N` bytes; few instructions for 33 to 47
    /// and 49 to 64.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn write_array<const N: usize>(
        &self,
        offset: usize,
        from: &[u8; N],
    ) -> Result<(), OutOfRange> {
        let dst = self.at(offset, N)?;
        // SAFETY: as in `read`, the other way round.
        unsafe { copy_entry(from.as_ptr(), dst.as_ptr(), N) };
        Ok(())
    }

    /// Copies `len` bytes from one shared span to another without passing
    /// through private memory.
    ///
    /// # Errors
    /// [`OutOfRange`] if either side leaves its span; nothing is copied.
    #[inline(always)]
    pub fn copy_to(
        &self,
        offset: usize,
        to: &SharedMemory,
        to_offset: usize,
        len: usize,
    ) -> Result<(), OutOfRange> {
        let src = self.at(offset, len)?;
        let dst = to.at(to_offset, len)?;
        // SAFETY: both sides were checked. Should the two overlap, the bytes
        // written are unspecified but stay inside the destination: the copy
        // is one `asm!` block, not a Rust memory operation.
        unsafe { copy_bytes(src.as_ptr(), dst.as_ptr(), len) };
        Ok(())
    }

    /// The ones' complement sum (RFC 1071) of `len` bytes taken in pairs, each
    /// read once, folded to 16 bits: two bytes in memory order.
    ///
    /// # Errors
    /// [`OutOfRange`] if they do not lie in the span.
    #[inline(always)]
    pub fn sum(&self, offset: usize, len: usize) -> Result<u16, OutOfRange> {
        let src = self.at(offset, len)?;
        // SAFETY: `at` checked the bytes.
        Ok(unsafe { sum_bytes(src.as_ptr(), len) })
    }

    /// Fills `len` bytes from `offset` on with zeros.
    ///
    /// # Errors
    /// [`OutOfRange`] if they do not lie in the span; nothing is written then.
    #[inline]
    pub fn clear(&self, offset: usize, len: usize) -> Result<(), OutOfRange> {
        let dst = self.at(offset, len)?;
        // SAFETY: `at` checked the bytes.
        unsafe { clear_bytes(dst.as_ptr(), len) };
        Ok(())
    }

    /// The 32-bit word at `offset`, as an atomic.
    ///
    /// # Errors
    /// [`OutOfRange`] if it leaves the span or is not 4-byte aligned.
    #[inline]
    pub fn word32(&self, offset: usize) -> Result<&'static AtomicU32, OutOfRange> {
        let at = self.at(offset, 4)?.cast::<AtomicU32>();
        if !at.is_aligned() {
            return Err(OutOfRange);
        }
        // SAFETY: in the span, aligned, and mapped until the program ends;
        // atomics tolerate the peer's writes.
        Ok(unsafe { at.as_ref() })
    }

    /// The 64-bit word at `offset`, as an atomic.
    ///
    /// # Errors
    /// [`OutOfRange`] if it leaves the span or is not 8-byte aligned.
    #[inline]
    pub fn word64(&self, offset: usize) -> Result<&'static AtomicU64, OutOfRange> {
        let at = self.at(offset, 8)?.cast::<AtomicU64>();
        if !at.is_aligned() {
            return Err(OutOfRange);
        }
        // SAFETY: as in `word32`.
        Ok(unsafe { at.as_ref() })
    }

    /// The `count` words from `offset`, as atomics.
    ///
    /// # Errors
    /// [`OutOfRange`] if they leave the span or are not aligned.
    pub fn words<W: AtomicWord>(
        &self,
        offset: usize,
        count: usize,
    ) -> Result<&'static [W], OutOfRange> {
        let bytes = count.checked_mul(size_of::<W>()).ok_or(OutOfRange)?;
        let at = self.at(offset, bytes)?.cast::<W>();
        if !at.is_aligned() {
            return Err(OutOfRange);
        }
        // SAFETY: as in `word32`, for each of the `count` words.
        Ok(unsafe { core::slice::from_raw_parts(at.as_ptr(), count) })
    }

    /// Reads the 32-bit word at `offset` without ordering.
    ///
    /// # Errors
    /// As [`SharedMemory::word32`].
    pub fn load32(&self, offset: usize) -> Result<u32, OutOfRange> {
        Ok(self.word32(offset)?.load(Ordering::Relaxed))
    }

    /// Writes the 32-bit word at `offset` without ordering.
    ///
    /// # Errors
    /// As [`SharedMemory::word32`].
    pub fn store32(&self, offset: usize, value: u32) -> Result<(), OutOfRange> {
        self.word32(offset)?.store(value, Ordering::Relaxed);
        Ok(())
    }

    /// The span's first byte.
    #[inline]
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[inline(always)]
    fn at(&self, offset: usize, len: usize) -> Result<NonNull<u8>, OutOfRange> {
        match offset.checked_add(len) {
            // SAFETY: `offset <= end <= len`, so the pointer stays in the span
            // or one past it.
            Some(end) if end <= self.len => Ok(unsafe { self.base.add(offset) }),
            _ => Err(OutOfRange),
        }
    }
}
