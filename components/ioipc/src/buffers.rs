//! Buffers in the data region: the only module that knows where payload lies.
//!
//! Problem: datagrams and stream segments of 1 byte to 64 KiB, allocated and
//! freed with every packet, without fragmenting the region. A buddy system
//! over units of 2 KiB (more if the book-keeping has no room for so many),
//! with a short list of just-freed buffers per size in front, so that the
//! usual alloc and free neither split nor merge. Invariant: a buffer is
//! either free, in one list, or owned by exactly one request.

use shared_ring::SharedMemory;
use socket_api::Extent;

use crate::records::UnitRecord;

/// No buffer.
pub(crate) const NO_UNIT: u32 = u32::MAX;
/// log2 of the smallest unit, in bytes.
const LEAST_SHIFT: u32 = 11;
/// Sizes: 2^0 to 2^5 units.
const ORDERS: usize = 6;
/// Just-freed buffers kept per size.
const KEPT: u16 = 128;
/// Mark of a free buffer's first unit in [`UnitRecord::state`].
const FREE_UNIT: u32 = 1 << 31;

/// The data region and its free lists.
pub(crate) struct Buffers {
    memory: SharedMemory,
    units: &'static mut [UnitRecord],
    shift: u32,
    /// Free units, those in `kept` included.
    free: u32,
    heads: [u32; ORDERS],
    kept: [u32; ORDERS],
    kept_count: [u16; ORDERS],
}

impl Buffers {
    /// Takes over the region; `units` bounds how finely it is cut.
    pub fn new(memory: SharedMemory, units: &'static mut [UnitRecord]) -> Self {
        let bytes = memory.len().min(1 << 31);
        let mut shift = LEAST_SHIFT;
        while bytes >> shift > units.len() {
            shift += 1;
        }
        let count = (bytes >> shift) as u32;
        let mut this = Self {
            memory,
            units,
            shift,
            free: count,
            heads: [NO_UNIT; ORDERS],
            kept: [NO_UNIT; ORDERS],
            kept_count: [0; ORDERS],
        };
        let mut at = 0;
        while at < count {
            let aligned = at.trailing_zeros().min(ORDERS as u32 - 1);
            let fits = (count - at).ilog2();
            let order = aligned.min(fits);
            this.link(at, order as u16);
            at += 1 << order;
        }
        this
    }

    /// Free units.
    pub fn free_units(&self) -> u32 {
        self.free
    }

    /// Units in all.
    pub fn total_units(&self) -> u32 {
        (self.memory.len().min(1 << 31) >> self.shift) as u32
    }

    /// The size class that holds `len` bytes; `None` if none does.
    #[inline]
    pub fn order_for(&self, len: usize) -> Option<u16> {
        let units = (len.max(1) - 1) >> self.shift;
        let order = usize::BITS - units.leading_zeros();
        ((order as usize) < ORDERS).then_some(order as u16)
    }

    /// Bytes of a buffer of size class `order`.
    #[inline]
    pub fn bytes(&self, order: u16) -> u32 {
        1 << (self.shift + u32::from(order))
    }

    /// A free buffer of size class `order`.
    #[inline]
    pub fn alloc(&mut self, order: u16) -> Option<u32> {
        let class = usize::from(order).min(ORDERS - 1);
        let kept = self.kept[class];
        if kept != NO_UNIT {
            self.kept[class] = self.units[kept as usize].next;
            self.kept_count[class] -= 1;
            self.free -= 1 << class;
            return Some(kept);
        }
        self.alloc_slow(class)
    }

    #[cold]
    fn alloc_slow(&mut self, class: usize) -> Option<u32> {
        let split = |this: &mut Self| {
            let from = (class..ORDERS).find(|k| this.heads[*k] != NO_UNIT)?;
            let unit = this.heads[from];
            this.unlink(unit, from);
            for k in (class..from).rev() {
                this.link(unit + (1 << k), k as u16);
            }
            this.free -= 1 << class;
            Some(unit)
        };
        if let Some(unit) = split(self) {
            return Some(unit);
        }
        self.merge_kept();
        split(self)
    }

    /// Gives a buffer back.
    #[inline]
    pub fn free(&mut self, unit: u32, order: u16) {
        let class = usize::from(order).min(ORDERS - 1);
        self.free += 1 << class;
        if self.kept_count[class] < KEPT {
            self.units[unit as usize].next = self.kept[class];
            self.kept[class] = unit;
            self.kept_count[class] += 1;
        } else {
            self.merge(unit, class);
        }
    }

    /// The bytes that a buffer's first `len` are, as the manager knows them.
    #[inline]
    pub fn extent(&self, unit: u32, len: u32) -> Extent {
        Extent {
            offset: unit << self.shift,
            len,
        }
    }

    /// Copies `from` to the start of a buffer; false if it does not fit.
    #[inline]
    pub fn fill(&self, unit: u32, from: &[u8]) -> bool {
        self.memory.write(self.at(unit), from).is_ok()
    }

    /// Copies from byte `skip` of a buffer on; false if outside the region.
    #[inline]
    pub fn take(&self, unit: u32, skip: u32, into: &mut [u8]) -> bool {
        let at = self.at(unit) + skip as usize;
        self.memory.read(at, into).is_ok()
    }

    #[inline]
    fn at(&self, unit: u32) -> usize {
        (unit as usize) << self.shift
    }

    fn merge_kept(&mut self) {
        for class in 0..ORDERS {
            while self.kept[class] != NO_UNIT {
                let unit = self.kept[class];
                self.kept[class] = self.units[unit as usize].next;
                self.merge(unit, class);
            }
            self.kept_count[class] = 0;
        }
    }

    fn merge(&mut self, mut unit: u32, mut class: usize) {
        let total = self.total_units();
        while class + 1 < ORDERS {
            let buddy = unit ^ 1 << class;
            let whole = buddy + (1 << class) <= total;
            if !whole || self.units[buddy as usize].state != FREE_UNIT | class as u32 {
                break;
            }
            self.unlink(buddy, class);
            unit &= !(1 << class);
            class += 1;
        }
        self.link(unit, class as u16);
    }

    fn link(&mut self, unit: u32, order: u16) {
        let head = self.heads[usize::from(order)];
        if head != NO_UNIT {
            self.units[head as usize].before = unit;
        }
        self.units[unit as usize] = UnitRecord {
            next: head,
            before: NO_UNIT,
            state: FREE_UNIT | u32::from(order),
        };
        self.heads[usize::from(order)] = unit;
    }

    fn unlink(&mut self, unit: u32, class: usize) {
        let UnitRecord { next, before, .. } = self.units[unit as usize];
        match before {
            NO_UNIT => self.heads[class] = next,
            before => self.units[before as usize].next = next,
        }
        if next != NO_UNIT {
            self.units[next as usize].before = before;
        }
        self.units[unit as usize].state = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;
    use zerocopy::FromZeros;

    fn buffers(bytes: usize, units: usize) -> Buffers {
        let memory = Box::leak(vec![0u64; bytes / 8].into_boxed_slice());
        let units = Box::leak(vec![UnitRecord::new_zeroed(); units].into_boxed_slice());
        Buffers::new(SharedMemory::from_static(memory), units)
    }

    #[test]
    fn sizes_fall_into_classes() {
        let b = buffers(1 << 20, 512);
        let classes = [0, 1, 2048, 2049, 4096, 65536, 65537].map(|len| b.order_for(len));
        let right = [Some(0), Some(0), Some(0), Some(1), Some(1), Some(5), None];
        assert_eq!(classes, right);
    }

    #[test]
    fn few_records_make_larger_units() {
        let b = buffers(1 << 20, 100);
        assert_eq!((b.bytes(0), b.total_units()), (16384, 64));
    }

    proptest! {
        #[test]
        fn buffers_never_overlap_and_all_come_back(
            steps in proptest::collection::vec((0u16..6, any::<u16>(), any::<bool>()), 1..400),
            units in 40usize..100,
        ) {
            let mut b = buffers(units * 2048, units);
            let mut held: Vec<(u32, u16)> = Vec::new();
            for (order, which, release) in steps {
                if release && !held.is_empty() {
                    let (unit, order) = held.swap_remove(which as usize % held.len());
                    b.free(unit, order);
                } else if let Some(unit) = b.alloc(order) {
                    let span = |u: u32, o: u16| u..u + (1 << o);
                    let new = span(unit, order);
                    prop_assert!(new.end as usize <= units);
                    for (u, o) in &held {
                        let old = span(*u, *o);
                        prop_assert!(new.end <= old.start || old.end <= new.start);
                    }
                    held.push((unit, order));
                }
                let used: u32 = held.iter().map(|(_, o)| 1 << o).sum();
                prop_assert_eq!(b.free_units() + used, units as u32);
            }
            for (unit, order) in held {
                b.free(unit, order);
            }
            // Everything merges again: as many large buffers as at first.
            b.merge_kept();
            let large = core::iter::from_fn(|| b.alloc(5)).count();
            prop_assert_eq!(large, units / 32);
        }
    }
}
