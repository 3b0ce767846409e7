//! Memory that is named to a trusted domain by address, and used as plain
//! bytes in between.
//!
//! Problem: the pages of a client's data region are written by the I/O manager
//! between the submission of a request and its completion; before and after
//! they are the program's own, and an application wants them as `&mut [u8]`
//! without a copy. Invariant: a [`Region`] is the program's only hold on its
//! memory, and its [`Lender`] hands every byte out once at most, so nothing
//! else in the program reads or writes what a [`Lease`] derefs to. That the
//! manager does not either is its promise: it is trusted with all memory of
//! the component, and touches what a request names only until it answers.

use core::fmt;
use core::ptr::NonNull;
use core::slice;

use crate::copy::copy_bytes;

/// A span that nobody else in the program has. Not to be copied.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is the only hold on plain memory.
unsafe impl Send for Region {}

impl Region {
    /// Names the `len` bytes at `base`.
    ///
    /// # Safety
    /// The bytes must stay mapped readable and writable until the program
    /// ends, hold initialised bytes, and be reachable through nothing else in
    /// the program; another domain may write them only while a request of the
    /// program says so.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// Gives up memory of the program for good, as tests on the host do.
    #[must_use]
    pub fn from_static(memory: &'static mut [u64]) -> Self {
        let len = size_of_val(memory);
        let base = NonNull::from(memory).cast::<u8>();
        // SAFETY: the exclusive borrow ends here and never comes back.
        unsafe { Self::new(base, len) }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Some of the bytes are lent already, or none of the region's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent;

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are lent to somebody else")
    }
}

impl core::error::Error for Lent {}

/// A region cut into grains of which each is lent to one at a time.
#[derive(Debug)]
pub struct Lender {
    region: Region,
    shift: u32,
    /// One bit a grain: lent.
    marks: &'static mut [u64],
}

impl Lender {
    /// Cuts `region` into grains of 2^`shift` bytes, as many as `marks` has
    /// bits for; what lies behind them cannot be reached.
    #[must_use]
    pub fn new(region: Region, shift: u32, marks: &'static mut [u64]) -> Self {
        marks.fill(0);
        let most = (marks.len() * 64) << shift;
        let len = region.len.min(most);
        Self {
            region: Region { len, ..region },
            shift,
            marks,
        }
    }

    /// Copies `into.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Lent`]; nothing is copied then.
    #[inline]
    pub fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Lent> {
        let from = self.unlent(offset, into.len())?;
        // SAFETY: the bytes lie in the region and are lent to nobody, and
        // whoever could lend them needs the lender, which is borrowed.
        unsafe { copy_bytes(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies `from` to `offset`.
    ///
    /// # Errors
    /// [`Lent`]; nothing is copied then.
    #[inline]
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Lent> {
        let to = self.unlent(offset, from.len())?;
        // SAFETY: as in `read`.
        unsafe { copy_bytes(from.as_ptr(), to.as_ptr(), from.len()) };
        Ok(())
    }

    /// Lends `len` bytes from `offset` on, and with them the rest of their
    /// grains.
    ///
    /// # Errors
    /// [`Lent`].
    pub fn lend(&mut self, offset: usize, len: usize) -> Result<Lease, Lent> {
        let base = self.unlent(offset, len)?;
        self.mark(offset, len, true);
        Ok(Lease { base, len })
    }

    /// Takes back what was lent. A lease that is dropped instead stays lent
    /// for good.
    pub fn take_back(&mut self, lease: Lease) {
        let first = self.region.base.as_ptr() as usize;
        let offset = (lease.base.as_ptr() as usize).wrapping_sub(first);
        // A lease of another lender changes nothing here.
        if offset < self.region.len && lease.len <= self.region.len - offset {
            self.mark(offset, lease.len, false);
        }
    }

    /// The first of `len` bytes that are in the region and lent to nobody.
    #[inline]
    fn unlent(&self, offset: usize, len: usize) -> Result<NonNull<u8>, Lent> {
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= self.region.len);
        let end = end.ok_or(Lent)?;
        for grain in self.grains(offset, end) {
            let word = self.marks.get(grain / 64).ok_or(Lent)?;
            if word >> (grain % 64) & 1 != 0 {
                return Err(Lent);
            }
        }
        // SAFETY: `offset <= end <= len`.
        Ok(unsafe { self.region.base.add(offset) })
    }

    #[inline]
    fn grains(&self, offset: usize, end: usize) -> core::ops::Range<usize> {
        let last = end.div_ceil(1 << self.shift);
        offset >> self.shift..last
    }

    fn mark(&mut self, offset: usize, len: usize, lent: bool) {
        for grain in self.grains(offset, offset + len) {
            if let Some(word) = self.marks.get_mut(grain / 64) {
                let bit = 1 << (grain % 64);
                match lent {
                    true => *word |= bit,
                    false => *word &= !bit,
                }
            }
        }
    }
}

/// Bytes of a region that are its holder's alone.
///
/// Possessing one proves that nothing else in the program reads or writes
/// them.
#[derive(Debug)]
pub struct Lease {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is the only hold on plain bytes.
unsafe impl Send for Lease {}
// SAFETY: through a shared borrow the bytes are only read.
unsafe impl Sync for Lease {}

impl Lease {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for good and initialised; the lender gives them to
        // nobody else, and the manager writes them only while a request names
        // them, which its submitter, who holds the lease, answers for.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes, to be changed.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    fn lender(grains: usize) -> Lender {
        let memory = Box::leak(vec![0u64; grains * 2].into_boxed_slice());
        let marks = Box::leak(vec![0u64; grains.div_ceil(64)].into_boxed_slice());
        Lender::new(Region::from_static(memory), 4, marks)
    }

    #[test]
    fn what_is_lent_is_out_of_reach() {
        let mut lender = lender(100);
        lender.write(20, b"hello").unwrap();
        let mut lease = lender.lend(16, 40).unwrap();
        assert_eq!(&lease.bytes()[4..9], b"hello");
        lease.bytes_mut()[0] = 7;
        let mut byte = [0];
        assert_eq!(lender.read(63, &mut byte), Err(Lent), "the same grain");
        assert_eq!(lender.write(16, &byte), Err(Lent));
        assert_eq!(lender.lend(0, 17).unwrap_err(), Lent);
        assert_eq!(lender.read(64, &mut byte), Ok(()));
        assert_eq!(lender.lend(1599, 2).unwrap_err(), Lent, "behind the end");
        assert_eq!(lender.lend(usize::MAX, 2).unwrap_err(), Lent);
        lender.take_back(lease);
        lender.read(16, &mut byte).unwrap();
        assert_eq!(byte, [7]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lent_twice(
            steps in proptest::collection::vec((0usize..700, 1usize..200, any::<bool>()), 1..60),
        ) {
            let mut lender = lender(50);
            let mut held: Vec<(core::ops::Range<usize>, Lease)> = Vec::new();
            for (offset, len, back) in steps {
                if back && !held.is_empty() {
                    lender.take_back(held.swap_remove(offset % held.len()).1);
                    continue;
                }
                let grains = offset / 16..(offset + len).div_ceil(16);
                let free = held.iter().all(|(h, _)| h.end <= grains.start || grains.end <= h.start);
                let lent = lender.lend(offset, len);
                prop_assert_eq!(lent.is_ok(), free && offset + len <= 800);
                held.extend(lent.ok().map(|lease| (grains, lease)));
            }
        }
    }
}
