//! Who owns which piece of physical memory.
//!
//! Problem: the kernel lets untyped memory be cut up, but forgets what was cut
//! as soon as everything made of a piece is revoked. This is the record: a
//! tree for every piece that the kernel gave at boot, halved until the pieces
//! have the size wanted. Invariant: pieces in use are disjoint, and once both
//! halves of a piece are free they become one again, so whatever is created
//! and revoked leaves the same memory behind.

use alloc::vec::Vec;

/// A piece of physical memory in [`Untypeds`]. Ends with [`Untypeds::free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece(usize);

/// What the record asks of the kernel.
pub trait Cutter {
    /// Why the kernel refused.
    type Error;

    /// Two slots for the halves of a piece.
    ///
    /// # Errors
    /// If there are none left.
    fn take_slots(&mut self) -> Result<usize, Self::Error>;

    /// Makes two untypeds of 2^`bits` bytes each of the untyped in `slot`, in
    /// the slots `into` and `into + 1`.
    ///
    /// # Errors
    /// The kernel's.
    fn halve(&mut self, slot: usize, bits: u8, into: usize) -> Result<(), Self::Error>;

    /// Revokes all that was made of the untyped in `slot`.
    ///
    /// # Errors
    /// The kernel's.
    fn revoke(&mut self, slot: usize) -> Result<(), Self::Error>;

    /// The slots `at` and `at + 1` are empty again.
    fn release_slots(&mut self, at: usize);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Used,
    /// Number of the left half; the right half is the next.
    Halved(usize),
    /// Merged away; the entry can be used again, with its neighbour.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    slot: usize,
    paddr: u64,
    bits: u8,
    device: bool,
    parent: Option<usize>,
    state: State,
}

impl Node {
    fn holds(&self, paddr: u64, bytes: u64) -> bool {
        let end = self.paddr.saturating_add(1 << self.bits);
        self.paddr <= paddr && paddr.checked_add(bytes).is_some_and(|e| e <= end)
    }
}

/// All untyped memory.
#[derive(Clone, Debug, Default)]
pub struct Untypeds {
    nodes: Vec<Node>,
    /// Left halves of `Gone` pairs.
    spare: Vec<usize>,
}

/// Pieces smaller than this are not cut: the kernel's smallest untyped is
/// smaller, but nothing of ours is.
const MIN_BITS: u8 = 12;

impl Untypeds {
    /// Adds a piece that the kernel gave at boot: 2^`bits` bytes at `paddr`,
    /// in `slot`.
    pub fn add(&mut self, slot: usize, paddr: u64, bits: u8, device: bool) {
        self.nodes.push(Node {
            slot,
            paddr,
            bits,
            device,
            parent: None,
            state: State::Free,
        });
    }

    /// Takes 2^`bits` bytes of ordinary memory (at least a page): the
    /// smallest piece that fits, halved down. `None` if there is none.
    ///
    /// # Errors
    /// Those of the kernel; the piece stays free then.
    pub fn take<C: Cutter>(&mut self, bits: u8, kernel: &mut C) -> Result<Option<Piece>, C::Error> {
        let bits = bits.max(MIN_BITS);
        let fits = |n: &Node| n.state == State::Free && !n.device && n.bits >= bits;
        let found = (0..self.nodes.len())
            .filter(|&n| fits(&self.nodes[n]))
            .min_by_key(|&n| (self.nodes[n].bits, self.nodes[n].paddr));
        let Some(mut at) = found else {
            return Ok(None);
        };
        while self.nodes[at].bits > bits {
            at = self.halve(at, kernel)?;
        }
        self.nodes[at].state = State::Used;
        Ok(Some(Piece(at)))
    }

    /// Takes the device memory of 2^`bits` bytes (at least a page) at
    /// `paddr`, which must be aligned to its size. `None` if there is none
    /// there or if it was taken before.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn take_device<C: Cutter>(
        &mut self,
        paddr: u64,
        bits: u8,
        kernel: &mut C,
    ) -> Result<Option<Piece>, C::Error> {
        let bits = bits.max(MIN_BITS);
        let fits =
            |n: &Node| n.state == State::Free && n.device && n.holds(paddr, 1 << bits.min(63));
        let Some(mut at) = self.nodes.iter().position(fits) else {
            return Ok(None);
        };
        while self.nodes[at].bits > bits {
            let left = self.halve(at, kernel)?;
            at = if paddr < self.nodes[left + 1].paddr {
                left
            } else {
                left + 1
            };
        }
        self.nodes[at].state = State::Used;
        Ok(Some(Piece(at)))
    }

    /// Gives a piece back: revokes all that was made of it.
    ///
    /// # Errors
    /// Those of the kernel; the piece stays in use then.
    pub fn free<C: Cutter>(&mut self, piece: Piece, kernel: &mut C) -> Result<(), C::Error> {
        let mut at = piece.0;
        kernel.revoke(self.nodes[at].slot)?;
        self.nodes[at].state = State::Free;
        while let Some(parent) = self.nodes[at].parent {
            let State::Halved(left) = self.nodes[parent].state else {
                break;
            };
            if [left, left + 1]
                .iter()
                .any(|&n| self.nodes[n].state != State::Free)
            {
                break;
            }
            kernel.revoke(self.nodes[parent].slot)?;
            kernel.release_slots(self.nodes[left].slot);
            self.nodes[left].state = State::Gone;
            self.nodes[left + 1].state = State::Gone;
            self.spare.push(left);
            self.nodes[parent].state = State::Free;
            at = parent;
        }
        Ok(())
    }

    /// The slot of a piece's untyped.
    #[must_use]
    pub fn slot(&self, piece: Piece) -> usize {
        self.nodes[piece.0].slot
    }

    /// The physical address of a piece.
    #[must_use]
    pub fn paddr(&self, piece: Piece) -> u64 {
        self.nodes[piece.0].paddr
    }

    /// Bytes of ordinary memory that are free.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let free = |n: &&Node| n.state == State::Free && !n.device;
        self.nodes.iter().filter(free).map(|n| 1 << n.bits).sum()
    }

    /// Halves a free piece; the left half.
    fn halve<C: Cutter>(&mut self, at: usize, kernel: &mut C) -> Result<usize, C::Error> {
        let node = self.nodes[at];
        let bits = node.bits - 1;
        let slot = kernel.take_slots()?;
        if let Err(error) = kernel.halve(node.slot, bits, slot) {
            kernel.release_slots(slot);
            return Err(error);
        }
        let left = Node {
            slot,
            bits,
            parent: Some(at),
            ..node
        };
        let right = Node {
            slot: slot + 1,
            paddr: node.paddr + (1 << bits),
            ..left
        };
        let index = self.spare.pop().unwrap_or(self.nodes.len());
        if index == self.nodes.len() {
            self.nodes.extend([left, right]);
        } else {
            self.nodes[index] = left;
            self.nodes[index + 1] = right;
        }
        self.nodes[at].state = State::Halved(index);
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Plays the kernel: knows which slots hold which memory, and objects to
    /// what the kernel would object to.
    struct Fake {
        slots: Slots,
        caps: HashMap<usize, (u64, u8)>,
        children: HashMap<usize, [usize; 2]>,
    }

    impl Fake {
        fn drop_children(&mut self, slot: usize) {
            if let Some(halves) = self.children.remove(&slot) {
                for half in halves {
                    self.drop_children(half);
                    self.caps.remove(&half).expect("a half that exists");
                }
            }
        }
    }

    impl Cutter for Fake {
        type Error = &'static str;

        fn take_slots(&mut self) -> Result<usize, Self::Error> {
            self.slots.take(2).map(|r| r.start).ok_or("out of slots")
        }

        fn halve(&mut self, slot: usize, bits: u8, into: usize) -> Result<(), Self::Error> {
            let (paddr, size) = self.caps[&slot];
            assert_eq!(size, bits + 1);
            assert!(!self.children.contains_key(&slot), "halved twice");
            assert!(self.caps.insert(into, (paddr, bits)).is_none());
            let right = (paddr + (1 << bits), bits);
            assert!(self.caps.insert(into + 1, right).is_none());
            self.children.insert(slot, [into, into + 1]);
            Ok(())
        }

        fn revoke(&mut self, slot: usize) -> Result<(), Self::Error> {
            assert!(self.caps.contains_key(&slot));
            self.drop_children(slot);
            Ok(())
        }

        fn release_slots(&mut self, at: usize) {
            assert!(!self.caps.contains_key(&at) && !self.caps.contains_key(&(at + 1)));
            self.slots.release(at..at + 2);
        }
    }

    fn boot(pieces: &[(u64, u8, bool)], slots: usize) -> (Untypeds, Fake) {
        let (mut untypeds, mut caps) = (Untypeds::default(), HashMap::new());
        for (slot, &(paddr, bits, device)) in pieces.iter().enumerate() {
            untypeds.add(slot, paddr, bits, device);
            caps.insert(slot, (paddr, bits));
        }
        let fake = Fake {
            slots: Slots::new(1000..1000 + slots),
            caps,
            children: HashMap::new(),
        };
        (untypeds, fake)
    }

    #[test]
    fn the_smallest_piece_that_fits_is_cut() {
        let (mut untypeds, mut kernel) = boot(&[(0, 20, false), (1 << 20, 14, false)], 100);
        let piece = untypeds.take(13, &mut kernel).unwrap().unwrap();
        assert_eq!(untypeds.paddr(piece), 1 << 20);
        let large = untypeds.take(20, &mut kernel).unwrap().unwrap();
        assert_eq!((untypeds.slot(large), untypeds.paddr(large)), (0, 0));
        assert_eq!(untypeds.free_bytes(), 1 << 13);
        assert_eq!(untypeds.take(14, &mut kernel), Ok(None));
    }

    #[test]
    fn a_device_window_is_found_wherever_it_lies() {
        let pieces = [(0x1000_0000, 16, false), (0x8000_0000, 31, true)];
        let (mut untypeds, mut kernel) = boot(&pieces, 200);
        let window = untypeds
            .take_device(0xfebd_4000, 14, &mut kernel)
            .unwrap()
            .unwrap();
        assert_eq!(untypeds.paddr(window), 0xfebd_4000);
        assert_eq!(kernel.caps[&untypeds.slot(window)], (0xfebd_4000, 14));
        assert_eq!(untypeds.take_device(0xfebd_4000, 12, &mut kernel), Ok(None));
        assert_eq!(untypeds.take_device(0x1000_0000, 12, &mut kernel), Ok(None));
        assert_eq!(untypeds.free_bytes(), 1 << 16, "devices do not count");
        untypeds.free(window, &mut kernel).unwrap();
        assert_eq!(kernel.slots.count(), 200);
    }

    #[test]
    fn running_out_of_slots_loses_nothing() {
        let (mut untypeds, mut kernel) = boot(&[(0, 20, false)], 4);
        assert_eq!(untypeds.take(12, &mut kernel), Err("out of slots"));
        let piece = untypeds.take(18, &mut kernel).unwrap().unwrap();
        assert_eq!(untypeds.free_bytes(), (1 << 20) - (1 << 18));
        untypeds.free(piece, &mut kernel).unwrap();
        assert_eq!((untypeds.free_bytes(), kernel.slots.count()), (1 << 20, 4));
    }

    proptest! {
        #[test]
        fn pieces_are_disjoint_and_all_comes_back(steps in prop::collection::vec((12u8..18, any::<prop::sample::Index>(), any::<bool>()), 1..60)) {
            let pieces = [(0, 19, false), (1 << 20, 17, false)];
            let (mut untypeds, mut kernel) = boot(&pieces, 500);
            let all = untypeds.free_bytes();
            let mut held: Vec<(Piece, u64, u64)> = Vec::new();
            for (bits, which, give) in steps {
                if give && !held.is_empty() {
                    let (piece, ..) = held.swap_remove(which.index(held.len()));
                    untypeds.free(piece, &mut kernel).unwrap();
                } else if let Some(piece) = untypeds.take(bits, &mut kernel).unwrap() {
                    let (start, end) = (untypeds.paddr(piece), untypeds.paddr(piece) + (1 << bits));
                    prop_assert_eq!(kernel.caps[&untypeds.slot(piece)], (start, bits));
                    prop_assert!(held.iter().all(|&(_, s, e)| e <= start || end <= s));
                    held.push((piece, start, end));
                }
                let used: u64 = held.iter().map(|(_, s, e)| e - s).sum();
                prop_assert_eq!(untypeds.free_bytes(), all - used);
            }
            for (piece, ..) in held {
                untypeds.free(piece, &mut kernel).unwrap();
            }
            prop_assert_eq!((untypeds.free_bytes(), kernel.slots.count()), (all, 500));
            prop_assert_eq!(kernel.caps.len(), 2);
        }
    }
}
