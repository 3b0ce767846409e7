//! What things cost, so that the cheapest legal technique can be chosen.
//!
//! A unit is whatever the calibration counted: only ratios matter. Invariant:
//! the numbers change only through [`Costs::calibrated`], which takes the least
//! of several measurements (everything that disturbs one makes it larger) and
//! keeps the old number unless the new one differs by more than an eighth, so
//! that a choice does not flap.

use core::fmt;

/// The costs that choices are made by, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Copying, per operation.
    pub copy: u32,
    /// Copying 4 KiB.
    pub copy_page: u32,
    /// Mapping a page.
    pub map: u32,
    /// Unmapping a page.
    pub unmap: u32,
    /// Changing the rights of a page.
    pub protect: u32,
    /// A fault, without the page operation that resolves it.
    pub fault: u32,
    /// Booking a frame in and out of an operation.
    pub reference: u32,
    /// Having a device write to frames of one receiver, per operation.
    pub post: u32,
}

impl Costs {
    /// Measured on seL4 5.0.0, x86-64, in instructions, as `cargo ioipc bench
    /// data-passing` sees them: what the crate does around each copy, page
    /// operation and frame is in them. Half as much as the copy itself stands
    /// on top of it for the cache misses that instructions do not show.
    pub const PINNED: Self = Self {
        copy: 110,
        copy_page: 980,
        map: 950,
        unmap: 800,
        protect: 900,
        fault: 2200,
        reference: 100,
        post: 110,
    };

    /// Copying `bytes`.
    #[inline]
    #[must_use]
    pub const fn copying(&self, bytes: u32) -> u64 {
        self.copy as u64 + ((bytes as u64 * self.copy_page as u64) >> 12)
    }

    /// These costs, with what several measurements of `which` say: the least
    /// of them, unless it is within an eighth of what was known.
    #[must_use]
    pub fn calibrated(mut self, which: Cost, samples: &[u32]) -> Self {
        let Some(&least) = samples.iter().min() else {
            return self;
        };
        let known = self.get_mut(which);
        let near = known.abs_diff(least) <= *known / 8;
        if !near && least != 0 {
            *known = least;
        }
        self
    }

    /// These costs with one of them said to be `number`.
    #[must_use]
    pub const fn with(mut self, which: Cost, number: u32) -> Self {
        *self.get_mut(which) = number;
        self
    }

    /// One of them.
    #[must_use]
    pub const fn get(mut self, which: Cost) -> u32 {
        *self.get_mut(which)
    }

    const fn get_mut(&mut self, which: Cost) -> &mut u32 {
        match which {
            Cost::Copy => &mut self.copy,
            Cost::CopyPage => &mut self.copy_page,
            Cost::Map => &mut self.map,
            Cost::Unmap => &mut self.unmap,
            Cost::Protect => &mut self.protect,
            Cost::Fault => &mut self.fault,
            Cost::Reference => &mut self.reference,
            Cost::Post => &mut self.post,
        }
    }
}

impl Default for Costs {
    fn default() -> Self {
        Self::PINNED
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copy {} + {} per 4 KiB, map {}, unmap {}, protect {}, fault {}, \
             reference {}, post {}",
            self.copy,
            self.copy_page,
            self.map,
            self.unmap,
            self.protect,
            self.fault,
            self.reference,
            self.post
        )
    }
}

/// One of the costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A copy of no bytes.
    Copy,
    /// 4 KiB more.
    CopyPage,
    /// Mapping a page.
    Map,
    /// Unmapping a page.
    Unmap,
    /// Changing a page's rights.
    Protect,
    /// A fault, without the page operation that resolves it.
    Fault,
    /// Booking a frame in and out of an operation.
    Reference,
    /// Having a device write to frames of one receiver.
    Post,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_takes_the_least_and_ignores_small_differences() {
        let costs = Costs::PINNED;
        let same = costs.calibrated(Cost::Map, &[5000, 1000, 3000]);
        assert_eq!(same, costs, "1000 is within an eighth of 950");
        let dear = costs.calibrated(Cost::Map, &[20_000, 9000, 9001]);
        assert_eq!(dear.map, 9000);
        assert_eq!(costs.calibrated(Cost::Map, &[]), costs);
        assert_eq!(costs.calibrated(Cost::Copy, &[0]), costs);
    }

    #[test]
    fn copies_cost_by_the_byte() {
        let costs = Costs::PINNED;
        assert_eq!(costs.copying(0), 110);
        assert_eq!(costs.copying(4096), 1090);
        assert_eq!(costs.copying(1 << 21), 110 + 980 * 512);
    }
}
