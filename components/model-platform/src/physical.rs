//! The model's physical memory.
//!
//! Invariant: a physical address is good for exactly the bytes that were
//! allocated there; everything else is a bus error, which ends the test.

use shared_ring::SharedMemory;

/// Where physical memory begins; lower addresses are nobody's.
pub const BASE: u64 = 1 << 20;

/// Memory with a physical address. Copies name the same memory.
#[derive(Clone, Copy, Debug)]
pub struct Physical {
    arena: SharedMemory,
}

/// A piece of it.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The bytes.
    pub memory: SharedMemory,
    /// Physical address of the first.
    pub paddr: u64,
}

impl Physical {
    /// `bytes` of memory, full of `0xee`, so that what nobody wrote shows.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let words = vec![0xeeee_eeee_eeee_eeee_u64; bytes.div_ceil(8)];
        Self {
            arena: SharedMemory::from_static(words.leak()),
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The `len` bytes at a physical address.
    ///
    /// # Panics
    /// If there is no such memory: a bus error.
    #[must_use]
    pub fn at(&self, paddr: u64, len: usize) -> SharedMemory {
        let offset = paddr.checked_sub(BASE).map(|at| at as usize);
        let found = offset.and_then(|at| self.arena.slice(at, len).ok());
        found.unwrap_or_else(|| panic!("bus error: {len} bytes at {paddr:#x}"))
    }

    /// Copies within it.
    ///
    /// # Panics
    /// As [`Physical::at`].
    pub fn copy(&self, from: u64, to: u64, len: usize) {
        let target = self.at(to, len);
        let copied = self.at(from, len).copy_to(0, &target, 0, len);
        assert!(copied.is_ok());
    }

    /// The bytes at a physical address.
    ///
    /// # Panics
    /// As [`Physical::at`].
    #[must_use]
    pub fn read(&self, paddr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.at(paddr, len).read(0, &mut bytes);
        assert!(read.is_ok());
        bytes
    }

    /// Writes bytes to a physical address.
    ///
    /// # Panics
    /// As [`Physical::at`].
    pub fn write(&self, paddr: u64, bytes: &[u8]) {
        let written = self.at(paddr, bytes.len()).write(0, bytes);
        assert!(written.is_ok());
    }
}

/// Gives out physical memory, upward.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// Where from.
    pub physical: Physical,
    next: usize,
}

impl Allocator {
    /// All of `physical`.
    #[must_use]
    pub fn new(physical: Physical) -> Self {
        Self { physical, next: 0 }
    }

    /// `bytes` of contiguous memory, aligned to `align`, which is a power of
    /// two. Physical addresses are aligned too.
    ///
    /// # Panics
    /// If no memory is left.
    pub fn take(&mut self, bytes: usize, align: usize) -> Block {
        let paddr = (BASE + self.next as u64).next_multiple_of(align as u64);
        self.next = (paddr - BASE) as usize + bytes;
        Block {
            memory: self.physical.at(paddr, bytes),
            paddr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_apart() {
        let mut allocator = Allocator::new(Physical::new(1 << 20));
        let a = allocator.take(100, 8);
        let b = allocator.take(4096, 4096);
        assert!(b.paddr.is_multiple_of(4096) && b.paddr >= a.paddr + 100);
        allocator.physical.write(b.paddr + 5, b"five");
        allocator.physical.copy(b.paddr + 5, a.paddr, 4);
        assert_eq!(allocator.physical.read(a.paddr, 5), *b"five\xee");
    }

    #[test]
    #[should_panic(expected = "bus error")]
    fn what_is_not_there_is_a_bus_error() {
        let _ = Physical::new(4096).read(BASE + 4090, 8);
    }
}
