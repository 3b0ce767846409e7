//! Writes of the manager and of devices to a client's memory.
//!
//! Problem: what is written to may be on its way out with strong integrity, or
//! have no frame. Invariant: an output that relies on a frame never sees the
//! write; a frame that comes from elsewhere holds the new bytes, and beside
//! them the client's own or zeros, before the client can reach it; and a write
//! is refused before anything is changed.

use socket_api::Extent;

use crate::frames::Use;
use crate::machine::{FrameId, Machine, Place};
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, Page, PageState, SMALL};

/// Which pages a write may reach, and what becomes of the rest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Pages that are mapped.
    Mapped,
    /// Also those of a region that was taken away to be filled.
    Region,
    /// As `Region`; a page that is written to from its start on is a new one,
    /// zero where nothing is written.
    NewRegion,
}

/// The part of a page that is written to.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: u32,
    offset: u32,
    len: u32,
    reach: Reach,
}

impl<M: Machine> Memory<M> {
    /// Writes to all of `extent`: calls `put` for each piece, in order.
    ///
    /// # Errors
    /// `Extent`, `NotMapped` or `NoFrames`; nothing is written then.
    #[inline]
    pub(crate) fn overwrite(
        &mut self,
        client: u16,
        extent: Extent,
        reach: Reach,
        mut put: impl FnMut(&mut M, Place, u32),
    ) -> Result<(), PassingError> {
        let holding = self.writable(client, extent, reach)?;
        let (mut address, mut left) = (extent.address, extent.len);
        while left != 0 {
            let (number, offset) = holding.page_of(address);
            let len = left.min((1 << holding.grain) - offset);
            let page = self.page(client, number)?;
            if self.must_be_replaced(&holding, page) {
                let part = Part {
                    number,
                    offset,
                    len,
                    reach,
                };
                self.overwrite_replaced(client, &holding, part, &mut put)?;
            } else {
                let frame = page.frame;
                put(&mut self.machine, Place { frame, offset }, len);
                if reach == Reach::NewRegion && offset == 0 {
                    self.clear_around(client, Place { frame, offset }, len);
                }
            }
            address = address.wrapping_add(len);
            left -= len;
        }
        Ok(())
    }

    /// Whether a write to the page needs another frame.
    #[inline]
    fn must_be_replaced(&self, holding: &Holding, page: Page) -> bool {
        // Large frames are kept apart by byte: see `writable`.
        page.state == PageState::Gone
            || (holding.grain == SMALL && self.frames.is_strong(page.frame))
    }

    /// Writes to a page that gets another frame.
    fn overwrite_replaced(
        &mut self,
        client: u16,
        holding: &Holding,
        part: Part,
        put: &mut impl FnMut(&mut M, Place, u32),
    ) -> Result<(), PassingError> {
        let old = self.page(client, part.number)?;
        let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
        let (offset, len) = (part.offset, part.len);
        let at = Place { frame, offset };
        let gone = old.state == PageState::Gone;
        let zero = gone || (part.reach == Reach::NewRegion && offset == 0);
        self.replace_page(client, holding, part.number, frame, |this| {
            put(&mut this.machine, at, len);
            match zero {
                true => this.clear_around(client, at, len),
                false => {
                    let copied = this.copy_around(old.frame, at, len);
                    this.book(client, |account| account.copied_tcow += u64::from(copied));
                }
            }
        })?;
        if !gone {
            self.frames.orphan(old.frame);
        }
        Ok(())
    }

    /// Checks that all of `extent` can be written to, with the frames that
    /// there are.
    #[inline]
    fn writable(
        &mut self,
        client: u16,
        extent: Extent,
        reach: Reach,
    ) -> Result<Holding, PassingError> {
        let space = self.spaces.get_mut(usize::from(client));
        let space = space.ok_or(PassingError::Extent)?;
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        if !holding.writable {
            return Err(PassingError::Extent);
        }
        // A large frame cannot be replaced, but its bytes are kept apart.
        if holding.grain != SMALL && space.relies_on(extent) {
            return Err(PassingError::Extent);
        }
        let mut needed = 0;
        for page in space.pages_in(&holding, extent) {
            if reach == Reach::Mapped && page.state.is_away() {
                return Err(PassingError::NotMapped);
            }
            let strong = holding.grain == SMALL && self.frames.is_strong(page.frame);
            needed += u32::from(page.state == PageState::Gone || strong);
        }
        match needed <= self.frames.free_count() {
            true => Ok(holding),
            false => Err(PassingError::NoFrames),
        }
    }

    /// Lets a device write to all of `extent`, whose frames are counted as
    /// written to and given to `each`.
    ///
    /// # Errors
    /// `Extent`, `NotMapped` or `NoFrames`; the frames given to `each` are
    /// counted then, too.
    pub(crate) fn pin_for_device(
        &mut self,
        client: u16,
        extent: Extent,
        reach: Reach,
        mut each: impl FnMut(FrameId),
    ) -> Result<(), PassingError> {
        let holding = self.writable(client, extent, reach)?;
        if extent.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(extent.address);
        for number in first..first + holding.pages_of(extent) {
            let page = self.page(client, number)?;
            if self.must_be_replaced(&holding, page) {
                self.break_page(client, &holding, number)?;
            }
            let frame = self.page(client, number)?.frame;
            if !self.frames.refer(frame, Use::Written) {
                return Err(PassingError::NoFrames);
            }
            each(frame);
        }
        Ok(())
    }

    /// Copies what is around `len` bytes at `at` from the page's old frame;
    /// how many bytes that were.
    pub(crate) fn copy_around(&mut self, old: FrameId, at: Place, len: u32) -> u32 {
        let end = at.offset + len;
        for (offset, len) in [(0, at.offset), (end, 4096 - end)] {
            if len != 0 {
                let from = Place { frame: old, offset };
                self.machine.copy(from, Place { offset, ..at }, len);
            }
        }
        4096 - len
    }

    /// Clears what is around `len` bytes at `at`, in a frame that changes
    /// owner, on the receiver's account.
    pub(crate) fn clear_around(&mut self, client: u16, at: Place, len: u32) {
        if self.mutations.no_clearing {
            return;
        }
        let end = at.offset + len;
        for (offset, len) in [(0, at.offset), (end, 4096 - end)] {
            if len != 0 {
                self.machine.clear(Place { offset, ..at }, len);
            }
        }
        self.book(client, |account| account.cleared += u64::from(4096 - len));
    }
}
