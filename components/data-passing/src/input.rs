//! Bytes on their way in.
//!
//! Problem: received bytes must appear in the room of a `Recv`, whole or not at
//! all, without a copy where that can be avoided. Invariant: between
//! [`Memory::begin_input`] and [`Memory::end_input`] nothing beyond the bytes
//! that were delivered is changed; frames that come from elsewhere are cleared
//! or wholly overwritten before the client sees them.

use socket_api::{Extent, Passing, Technique};

use crate::choose::{InputCase, choose_input, input_is_legal};
use crate::frames::{FrameList, NO_FRAME, Use};
use crate::machine::{Machine, Place};
use crate::memory::{Memory, PassingError};
use crate::overwrite::Reach;
use crate::space::{Holding, PageState, SMALL};

/// Room of a client that is being received into. It must be ended.
#[must_use = "its pages stay away until it is ended"]
#[derive(Debug)]
pub struct Input {
    pub(crate) client: u16,
    address: u32,
    pub(crate) len: u32,
    pub(crate) filled: u32,
    pub(crate) technique: Technique,
    /// Frames that a device may write to: the client's, or the system's.
    pub(crate) posted: FrameList,
    /// Offset of the first byte in the first of its pages.
    pub(crate) start: u32,
    pub(crate) grain: u32,
    /// The number of that page, which stays what it is.
    pub(crate) page: u32,
}

impl Input {
    /// Bytes of room.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no room.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes delivered so far.
    #[must_use]
    pub const fn filled(&self) -> u32 {
        self.filled
    }

    /// How it is carried out.
    #[must_use]
    pub const fn technique(&self) -> Technique {
        self.technique
    }

    /// Whether a device may be given frames to write to.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        self.posted.len() != 0
    }

    /// Calls `each` with the pieces of memory for a device, in order, each
    /// within a frame.
    pub fn posted(&self, mut each: impl FnMut(Place, u32)) {
        let (mut at, mut left) = (self.start, self.len);
        let bytes = 1 << self.grain;
        while left != 0 {
            let frame = self.posted.get(at >> self.grain);
            let Some(frame) = frame.filter(|f| f.0 != NO_FRAME) else {
                return;
            };
            let offset = at & (bytes - 1);
            let len = left.min(bytes - offset);
            each(Place { frame, offset }, len);
            at += len;
            left -= len;
        }
    }

    #[inline]
    pub(crate) fn new(
        client: u16,
        holding: &Holding,
        extent: Extent,
        technique: Technique,
    ) -> Self {
        Self {
            client,
            address: extent.address,
            len: extent.len,
            filled: 0,
            technique,
            posted: FrameList::default(),
            start: extent.address & ((1 << holding.grain) - 1),
            grain: holding.grain,
            page: holding.page_of(extent.address).0,
        }
    }

    /// To be copied into small pages from `page` on.
    #[inline]
    pub(crate) fn in_pages(client: u16, extent: Extent, page: u32) -> Self {
        Self {
            client,
            address: extent.address,
            len: extent.len,
            filled: 0,
            technique: Technique::CopyIn,
            posted: FrameList::default(),
            start: extent.address & 4095,
            grain: SMALL,
            page,
        }
    }

    /// Whether nothing is done when it ends.
    #[inline]
    #[must_use]
    pub fn leaves_nothing(&self) -> bool {
        self.technique == Technique::CopyIn && self.grain == SMALL && !self.is_posted()
    }

    #[inline]
    pub(crate) fn rest(&self) -> Extent {
        Extent {
            address: self.address.wrapping_add(self.filled),
            len: self.len - self.filled,
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent {
            address: self.address,
            len: self.len,
        }
    }

    /// Whether the client's pages are away until it ends.
    const fn hides(&self) -> bool {
        matches!(self.technique, Technique::Reinstate | Technique::Create)
    }

    /// The bytes that nothing else may rely on while this waits: all of its
    /// pages if they are away, and bytes of large pages, which cannot be
    /// replaced when they are delivered.
    fn awaited(&self) -> Option<Extent> {
        let page = 1 << self.grain;
        let whole = self.extent().end().next_multiple_of(page) - u64::from(self.address);
        match (self.hides(), self.grain != SMALL) {
            _ if self.len == 0 => None,
            (true, _) => Some(Extent {
                address: self.address,
                len: u32::try_from(whole).unwrap_or(self.len),
            }),
            (false, true) => Some(self.extent()),
            (false, false) => None,
        }
    }

    /// Which pages its bytes are written to.
    pub(crate) const fn reach(&self) -> Reach {
        match self.technique {
            Technique::Create => Reach::NewRegion,
            Technique::Reinstate => Reach::Region,
            _ => Reach::Mapped,
        }
    }
}

impl<M: Machine> Memory<M> {
    /// Begins to receive into `extent`. `early` says that a NIC can be given
    /// buffers that only this receiver's data is written to; then those are
    /// [`Input::posted`].
    ///
    /// # Errors
    /// A [`PassingError`]; nothing is changed then, but that pages may have
    /// been replaced by others with the same bytes.
    #[inline]
    pub fn begin_input(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        (blocked, early): (bool, bool),
    ) -> Result<Input, PassingError> {
        let copied = !passing.semantics.is_system_allocated() && passing.forced.is_none();
        if copied
            && !early
            && let Some(input) = self.copied_input(client, extent)
        {
            return Ok(input);
        }
        self.begin_any_input(client, extent, passing, (blocked, early))
    }

    #[inline(never)]
    fn begin_any_input(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        (blocked, early): (bool, bool),
    ) -> Result<Input, PassingError> {
        let space = self.space(client).ok_or(PassingError::Extent)?;
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        if !holding.writable {
            return Err(PassingError::Extent);
        }
        let case = InputCase {
            semantics: passing.semantics,
            len: extent.len,
            pages: holding.pages_of(extent),
            small_pages: holding.grain == SMALL,
            blocked: blocked && space.single_threaded,
            aligned: extent.address & ((1 << holding.grain) - 1) == 0,
            early,
        };
        let technique = match passing.forced {
            Some(forced) => input_is_legal(&case, forced).then_some(forced),
            None => self.choose_input(&case),
        };
        let technique = technique.ok_or(PassingError::Technique)?;
        let mut input = Input::new(client, &holding, extent, technique);
        match self.prepare(&mut input, &holding, early) {
            Ok(()) => Ok(input),
            Err(error) => {
                self.withdraw(&input);
                Err(error)
            }
        }
    }

    /// The cheapest technique for which there are frames.
    fn choose_input(&self, case: &InputCase) -> Option<Technique> {
        let chosen = choose_input(&self.costs, case);
        let short = self.frames.free_count() < case.pages;
        match chosen {
            Some(Technique::Swap) if short => Some(Technique::CopyIn),
            chosen => chosen,
        }
    }

    /// What the technique needs; page tables are touched last.
    fn prepare(
        &mut self,
        input: &mut Input,
        holding: &Holding,
        early: bool,
    ) -> Result<(), PassingError> {
        match input.technique {
            Technique::Reinstate | Technique::Create => self.check_region(input, holding)?,
            _ => self.check_room(input, holding)?,
        }
        match input.technique {
            Technique::InPlace => self.post_own_frames(input)?,
            Technique::Swap => self.post_system_frames(input, holding)?,
            Technique::Create if early => self.post_system_frames(input, holding)?,
            Technique::Reinstate if early && self.is_whole(input, holding) => {
                self.post_own_frames(input)?;
            }
            _ => {}
        }
        if input.hides() {
            self.hide(input, holding)?;
        }
        if let Some(awaited) = input.awaited()
            && let Some(space) = self.space(input.client)
        {
            space.awaited.push(awaited);
        }
        Ok(())
    }

    /// All pages of the room are mapped, and no output relies on bytes that
    /// could not get out of the way later.
    #[inline]
    fn check_room(&mut self, input: &Input, holding: &Holding) -> Result<(), PassingError> {
        let space = self.spaces.get(usize::from(input.client));
        let space = space.ok_or(PassingError::Extent)?;
        let mut pages = space.pages_in(holding, input.extent()).iter();
        if pages.any(|p| p.state.is_away()) {
            return Err(PassingError::NotMapped);
        }
        match holding.grain != SMALL && space.relies_on(input.extent()) {
            true => Err(PassingError::Extent),
            false => Ok(()),
        }
    }

    /// Nothing else is being received into the region.
    fn check_region(&mut self, input: &Input, holding: &Holding) -> Result<(), PassingError> {
        let space = self.spaces.get(usize::from(input.client));
        let space = space.ok_or(PassingError::Extent)?;
        let extent = input.awaited().unwrap_or_default();
        if space.awaits(extent) {
            return Err(PassingError::NotMapped);
        }
        if holding.grain != SMALL && space.relies_on(input.extent()) {
            return Err(PassingError::Extent);
        }
        let mut pages = space.pages_in(holding, input.extent()).iter();
        match pages.any(|p| p.state != PageState::Gone && self.frames.is_written(p.frame)) {
            true => Err(PassingError::Technique),
            false => Ok(()),
        }
    }

    /// Whether all pages have frames.
    fn is_whole(&self, input: &Input, holding: &Holding) -> bool {
        let space = self.spaces.get(usize::from(input.client));
        space.is_some_and(|space| {
            let mut pages = space.pages_in(holding, input.extent()).iter();
            pages.all(|p| p.state != PageState::Gone)
        })
    }

    /// The client's own frames, from which outputs get out of the way.
    fn post_own_frames(&mut self, input: &mut Input) -> Result<(), PassingError> {
        let mut list = FrameList::default();
        let (client, extent, reach) = (input.client, input.extent(), input.reach());
        let pinned = self.pin_for_device(client, extent, reach, |frame| list.push(frame));
        input.posted = list;
        pinned
    }

    /// System frames, aligned as the client's room is.
    fn post_system_frames(
        &mut self,
        input: &mut Input,
        holding: &Holding,
    ) -> Result<(), PassingError> {
        let count = holding.pages_of(input.extent());
        if self.frames.free_count() < count {
            return Err(PassingError::NoFrames);
        }
        for _ in 0..count {
            let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
            self.frames.refer(frame, Use::Written);
            input.posted.push(frame);
        }
        Ok(())
    }

    /// Takes the pages of a system-allocated region away until it is filled.
    fn hide(&mut self, input: &Input, holding: &Holding) -> Result<(), PassingError> {
        self.each_page(input, holding, |this, number, state| {
            if !state.is_away() {
                let address = holding.address_of(number);
                this.unmap_page(input.client, address, number, PageState::Hidden)?;
            }
            Ok(())
        })
    }

    fn each_page(
        &mut self,
        input: &Input,
        holding: &Holding,
        mut each: impl FnMut(&mut Self, u32, PageState) -> Result<(), PassingError>,
    ) -> Result<(), PassingError> {
        if input.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(input.address);
        for number in first..first + holding.pages_of(input.extent()) {
            let state = self.page(input.client, number)?.state;
            each(self, number, state)?;
        }
        Ok(())
    }

    /// No device writes to what was posted any more.
    fn withdraw(&mut self, input: &Input) {
        let frames = &mut self.frames;
        input.posted.for_each(|f| frames.release(f, Use::Written));
    }

    /// Ends it: the client's pages are there again, those of a new region as
    /// far as it was filled. No device may be using what was posted.
    #[inline]
    pub fn end_input(&mut self, input: Input) {
        if !input.leaves_nothing() {
            self.end_any_input(&input);
        }
    }

    #[inline(never)]
    fn end_any_input(&mut self, input: &Input) {
        self.withdraw(input);
        let Some(awaited) = input.awaited() else {
            return;
        };
        let Some(space) = self.space(input.client) else {
            return;
        };
        space.no_longer_awaits(awaited);
        let Some(holding) = space.find(input.extent()).filter(|_| input.hides()) else {
            return;
        };
        let shown = self.each_page(input, &holding, |this, number, state| {
            if state == PageState::Hidden {
                let frame = this.page(input.client, number)?.frame;
                let address = holding.address_of(number);
                this.map_page(input.client, address, number, frame)?;
            }
            Ok(())
        });
        // The machine refuses only what contradicts our books.
        debug_assert!(shown.is_ok());
    }
}
