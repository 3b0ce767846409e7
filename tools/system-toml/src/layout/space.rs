//! Address space and slots of one component, given out upward.

use system_description::map;

/// Gives out addresses in `REGIONS..REGIONS_END`, with an unmapped page
/// between any two spans.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    next: u64,
}

impl Space {
    pub(crate) const fn new() -> Self {
        Self { next: map::REGIONS }
    }

    /// An address for `bytes`, a multiple of `align` (a power of two).
    pub(crate) const fn take(&mut self, bytes: u64, align: u64) -> u64 {
        let at = self.next.next_multiple_of(align);
        self.next = (at + bytes).next_multiple_of(map::PAGE) + map::PAGE;
        at
    }

    /// Whether all that was given out lies in the component's range.
    pub(crate) const fn fits(&self) -> bool {
        self.next <= map::REGIONS_END
    }
}

/// Gives out slots.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    next: u32,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self {
            next: map::slot::FIRST_ASSIGNED,
        }
    }

    /// The next slot.
    pub(crate) const fn take(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// The first of `count` consecutive slots.
    pub(crate) fn take_many(&mut self, count: u64) -> u32 {
        let first = self.next;
        self.next = first.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    /// How many slots there must be.
    pub(crate) const fn count(&self) -> u32 {
        self.next
    }

    /// log2 of the slots that the CSpace needs; at least 8.
    pub(crate) fn cnode_bits(&self) -> u8 {
        let bits = self.next.next_power_of_two().trailing_zeros() as u8;
        bits.max(8)
    }
}
