//! Memory of socket buffers for sending, in blocks.
//!
//! Problem: what is to be sent is freed in the order of acknowledgements, not in
//! that in which it came, and nothing may be allocated once the server runs.
//! Invariant: each block is on one chain, the free one or that of who took it;
//! a chain is taken as a whole, or not at all, and comes back as a whole.

use alloc::vec::Vec;

use socket_api::SOCKET_BLOCK;

/// No block.
const NONE: u32 = u32::MAX;
const BLOCK: usize = SOCKET_BLOCK as usize;

/// Some blocks, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    head: u32,
    blocks: u32,
}

impl Chain {
    /// None.
    pub const EMPTY: Self = Self {
        head: NONE,
        blocks: 0,
    };

    /// How many.
    pub const fn blocks(self) -> u32 {
        self.blocks
    }
}

/// A place in a chain: a block, and which of the chain's it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    block: u32,
    number: u32,
}

/// All blocks.
pub(super) struct Pool {
    bytes: Vec<u8>,
    /// The block behind each.
    next: Vec<u32>,
    free: Chain,
}

impl Pool {
    /// `blocks` free blocks.
    pub fn new(blocks: u32) -> Self {
        let behind = |n: u32| if n < blocks { n } else { NONE };
        Self {
            bytes: alloc::vec![0; blocks as usize * BLOCK],
            next: (1..=blocks).map(behind).collect(),
            free: Chain {
                head: behind(0),
                blocks,
            },
        }
    }

    /// Blocks that are free.
    pub const fn free(&self) -> u32 {
        self.free.blocks
    }

    /// Takes blocks for `len` bytes; `None` if there are too few.
    #[inline]
    pub fn take(&mut self, len: u32) -> Option<Chain> {
        let blocks = len.div_ceil(SOCKET_BLOCK);
        if blocks > self.free.blocks {
            return None;
        }
        if blocks == 0 {
            return Some(Chain::EMPTY);
        }
        let head = self.free.head;
        let last = self.last(head, blocks);
        self.free = Chain {
            head: self.next[last],
            blocks: self.free.blocks - blocks,
        };
        self.next[last] = NONE;
        Some(Chain { head, blocks })
    }

    /// Takes a chain back.
    #[inline]
    pub fn give_back(&mut self, chain: Chain) {
        if chain.blocks == 0 {
            return;
        }
        let last = self.last(chain.head, chain.blocks);
        self.next[last] = self.free.head;
        self.free = Chain {
            head: chain.head,
            blocks: self.free.blocks + chain.blocks,
        };
    }

    /// The last of so many blocks from one on.
    #[inline]
    fn last(&self, from: u32, blocks: u32) -> usize {
        (1..blocks).fold(from as usize, |block, _| self.next[block] as usize)
    }

    /// The start of a chain.
    pub const fn start(chain: Chain) -> Cursor {
        Cursor {
            block: chain.head,
            number: 0,
        }
    }

    /// Calls `each` with pieces for the first `len` bytes of a chain; false if
    /// it is shorter, or if `each` says so.
    #[inline]
    pub fn fill(
        &mut self,
        chain: Chain,
        mut len: usize,
        mut each: impl FnMut(&mut [u8]) -> bool,
    ) -> bool {
        let mut block = chain.head as usize;
        while len != 0 {
            let part = len.min(BLOCK);
            let at = block.saturating_mul(BLOCK);
            let Some(bytes) = self.bytes.get_mut(at..at + part) else {
                return false;
            };
            if !each(bytes) {
                return false;
            }
            len -= part;
            block = self.next[block] as usize;
        }
        true
    }

    /// Calls `each` with the pieces of `len` bytes from `offset` on of a chain,
    /// in which `cursor` is, and moves that to the last of them; false if the
    /// chain has no such bytes.
    #[inline]
    pub fn pieces<'a>(
        &'a self,
        chain: Chain,
        cursor: &mut Cursor,
        (offset, len): (u32, u32),
        mut each: impl FnMut(&'a [u8]),
    ) -> bool {
        let (mut number, mut at) = (offset / SOCKET_BLOCK, offset as usize % BLOCK);
        if number < cursor.number {
            *cursor = Self::start(chain);
        }
        let mut left = len as usize;
        while left != 0 {
            if number >= chain.blocks {
                return false;
            }
            while cursor.number < number {
                cursor.block = self.next[cursor.block as usize];
                cursor.number += 1;
            }
            let part = left.min(BLOCK - at);
            let start = cursor.block as usize * BLOCK + at;
            let Some(bytes) = self.bytes.get(start..start + part) else {
                return false;
            };
            each(bytes);
            (left, at) = (left - part, 0);
            number += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn read(pool: &Pool, chain: Chain, cursor: &mut Cursor, at: u32, len: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let whole = pool.pieces(chain, cursor, (at, len), |part| bytes.extend(part));
        whole.then_some(bytes)
    }

    #[test]
    fn bytes_are_found_again_from_anywhere() {
        let mut pool = Pool::new(9);
        let hole = pool.take(1).unwrap();
        let other = pool.take(3000).unwrap();
        pool.give_back(hole);
        let chain = pool.take(6000).unwrap();
        let (mut n, mut expected) = (0u32, Vec::new());
        assert!(pool.fill(chain, 6000, |bytes| {
            for byte in bytes.iter_mut() {
                *byte = (n / 7) as u8;
                expected.push(*byte);
                n += 1;
            }
            true
        }));
        let mut cursor = Pool::start(chain);
        for (at, len) in [
            (0, 6000),
            (5999, 1),
            (100, 10),
            (2047, 2),
            (4096, 1904),
            (0, 0),
        ] {
            let there = read(&pool, chain, &mut cursor, at, len);
            let (from, to) = (at as usize, (at + len) as usize);
            assert_eq!(there.as_deref(), Some(&expected[from..to]), "{len} at {at}");
        }
        // A chain ends with its last block.
        assert_eq!(read(&pool, chain, &mut cursor, 6000, 145), None);
        assert_eq!(read(&pool, chain, &mut cursor, u32::MAX, 1), None);
        assert!(!pool.fill(other, 5000, |_| true));
    }

    #[test]
    fn blocks_come_back_in_any_order() {
        let mut pool = Pool::new(64);
        let mut taken: Vec<Chain> = Vec::new();
        let mut seed = 7u64;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (what, len) = (seed >> 60, (seed >> 33) as u32 % 40_000);
            let in_use: u32 = taken.iter().map(|c| c.blocks()).sum();
            assert_eq!(pool.free() + in_use, 64);
            if what < 8 && !taken.is_empty() {
                let which = (seed >> 20) as usize % taken.len();
                pool.give_back(taken.swap_remove(which));
            } else if let Some(chain) = pool.take(len) {
                assert_eq!(chain.blocks(), len.div_ceil(SOCKET_BLOCK));
                taken.push(chain);
            } else {
                assert!(len.div_ceil(SOCKET_BLOCK) > pool.free());
            }
        }
    }
}
