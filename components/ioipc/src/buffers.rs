//! Blocks of the data region: the only module that knows where they lie.
//!
//! Problem: datagrams and stream segments of 1 byte to 64 KiB, allocated and
//! freed with every packet, and buffers of up to 4 MiB, without fragmenting
//! the region. A buddy system over units of 2 KiB (more if the book-keeping
//! has no room for so many), with a short list of just-freed blocks per size in
//! front, so that the usual alloc and free neither split nor merge. Blocks
//! whose pages were moved to somebody else stand aside, by size, until a
//! receive brings pages back. Invariant: a block is either free, in one list,
//! or owned by exactly one request or [`Buffer`](crate::Buffer); one of a page
//! or more is page-aligned and shares no page with another.

use shared_ring::{Lease, Lender, Region};
use socket_api::Extent;

use crate::platform::Platform;
use crate::records::UnitRecord;

/// No block.
pub(crate) const NO_UNIT: u32 = u32::MAX;
/// log2 of the smallest unit, in bytes.
const LEAST_SHIFT: u32 = 11;
/// Bytes of a page.
pub(crate) const PAGE: u32 = 4096;
/// Sizes: 2^0 to 2^11 units.
const ORDERS: usize = 12;
/// Just-freed blocks kept per size.
const KEPT: u16 = 128;
/// Mark of a free block's first unit in [`UnitRecord::state`].
const FREE_UNIT: u32 = 1 << 31;

/// What became of a block's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They are there.
    Mapped = 0,
    /// Some may be hidden: the manager keeps them for this very place.
    Hidden = 1,
    /// Some may be gone for good.
    Absent = 2,
    /// Those behind what was received are gone for good, whatever becomes of
    /// the rest.
    Partial = 3,
}

impl Standing {
    /// The one with this number, as [`RequestRecord::after`] has it.
    ///
    /// [`RequestRecord::after`]: crate::records::RequestRecord::after
    #[inline]
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Mapped,
            1 => Self::Hidden,
            2 => Self::Absent,
            _ => Self::Partial,
        }
    }
}

/// How the region's bytes are reached.
enum Bytes {
    /// They are memory of this program.
    Own(Lender),
    /// The platform simulates them.
    Simulated,
}

/// The data region and its free lists.
pub(crate) struct Buffers {
    platform: &'static dyn Platform,
    base: u32,
    bytes: Bytes,
    units: &'static mut [UnitRecord],
    shift: u32,
    count: u32,
    /// Free units, those in `kept` included, those without pages not.
    free: u32,
    heads: [u32; ORDERS],
    kept: [u32; ORDERS],
    kept_count: [u16; ORDERS],
    /// Blocks that are hidden, and those that are absent.
    aside: [[u32; ORDERS]; 2],
}

impl Buffers {
    /// Takes over the data region of `platform`, `region` unless it is
    /// simulated; `units` and `marks` (a bit for each) bound how finely it is
    /// cut.
    pub fn new(
        platform: &'static dyn Platform,
        region: Option<Region>,
        units: &'static mut [UnitRecord],
        marks: &'static mut [u64],
    ) -> Self {
        let data = platform.data();
        let bytes = data.len.min(1 << 31) as usize;
        let mut shift = LEAST_SHIFT;
        while bytes >> shift > units.len() {
            shift += 1;
        }
        let count = (bytes >> shift) as u32;
        let mut this = Self {
            platform,
            base: data.address,
            bytes: match region {
                Some(region) => Bytes::Own(Lender::new(region, shift, marks)),
                None => Bytes::Simulated,
            },
            units,
            shift,
            count,
            free: count,
            heads: [NO_UNIT; ORDERS],
            kept: [NO_UNIT; ORDERS],
            kept_count: [0; ORDERS],
            aside: [[NO_UNIT; ORDERS]; 2],
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

    /// What the region is part of.
    #[inline]
    pub fn platform(&self) -> &'static dyn Platform {
        self.platform
    }

    /// Free units.
    pub fn free_units(&self) -> u32 {
        self.free
    }

    /// Units in all.
    pub fn total_units(&self) -> u32 {
        self.count
    }

    /// The size class that holds `len` bytes; `None` if none does.
    #[inline]
    pub fn order_for(&self, len: usize) -> Option<u16> {
        let units = (len.max(1) - 1) >> self.shift;
        let order = usize::BITS - units.leading_zeros();
        ((order as usize) < ORDERS).then_some(order as u16)
    }

    /// Bytes of a block of size class `order`.
    #[inline]
    pub fn bytes(&self, order: u16) -> u32 {
        1 << (self.shift + u32::from(order))
    }

    /// A free block of size class `order`.
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

    /// Gives a block back.
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

    /// Puts a block aside whose pages have been moved away, or gives it back.
    pub fn settle(&mut self, unit: u32, order: u16, standing: Standing) {
        let class = usize::from(order).min(ORDERS - 1);
        let list = match standing {
            Standing::Mapped => return self.free(unit, order),
            Standing::Hidden => 0,
            Standing::Absent | Standing::Partial => 1,
        };
        self.units[unit as usize].next = self.aside[list][class];
        self.aside[list][class] = unit;
    }

    /// A block of size class `order` that was put aside as `standing`.
    pub fn take_aside(&mut self, order: u16, standing: Standing) -> Option<u32> {
        let list = match standing {
            Standing::Mapped => return None,
            Standing::Hidden => 0,
            Standing::Absent | Standing::Partial => 1,
        };
        let head = &mut self.aside[list][usize::from(order).min(ORDERS - 1)];
        let unit = *head;
        *head = self.units.get(unit as usize)?.next;
        Some(unit)
    }

    /// Where a block's first `len` bytes from byte `skip` on are, as the
    /// manager knows them.
    #[inline]
    pub fn extent(&self, unit: u32, skip: u32, len: u32) -> Extent {
        Extent {
            address: self.base + (unit << self.shift) + skip,
            len,
        }
    }

    /// Copies `from` to byte `skip` of a block on; false if it is not ours.
    #[inline]
    pub fn fill(&mut self, unit: u32, skip: u32, from: &[u8]) -> bool {
        let at = self.at(unit) + skip as usize;
        match &mut self.bytes {
            Bytes::Own(lender) => lender.write(at, from).is_ok(),
            Bytes::Simulated => self.platform.write(self.base + at as u32, from),
        }
    }

    /// Copies from byte `skip` of a block on; false if it is not ours.
    #[inline]
    pub fn take(&mut self, unit: u32, skip: u32, into: &mut [u8]) -> bool {
        let at = self.at(unit) + skip as usize;
        match &mut self.bytes {
            Bytes::Own(lender) => lender.read(at, into).is_ok(),
            Bytes::Simulated => self.platform.read(self.base + at as u32, into),
        }
    }

    /// A block as plain bytes; `None` where they are simulated.
    pub fn lend(&mut self, unit: u32, order: u16) -> Option<Lease> {
        let (at, len) = (self.at(unit), self.bytes(order) as usize);
        match &mut self.bytes {
            Bytes::Own(lender) => lender.lend(at, len).ok(),
            Bytes::Simulated => None,
        }
    }

    /// Takes back what was lent.
    pub fn take_back(&mut self, lease: Lease) {
        if let Bytes::Own(lender) = &mut self.bytes {
            lender.take_back(lease);
        }
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
#[path = "buffers_tests.rs"]
mod tests;
