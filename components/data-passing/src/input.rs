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
use crate::machine::{FrameId, Machine, Place, Rights};
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, PageState, SMALL};

/// Room of a client that is being received into. It must be ended.
#[must_use = "its pages stay away until it is ended"]
#[derive(Debug)]
pub struct Input {
    client: u16,
    address: u32,
    len: u32,
    filled: u32,
    technique: Technique,
    /// Frames that a device may write to: the client's, or the system's.
    posted: FrameList,
    /// Offset of the first byte in the first of them.
    start: u32,
    grain: u32,
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
            let Some(frame) = self.posted.get(at >> self.grain) else {
                return;
            };
            let offset = at & (bytes - 1);
            let len = left.min(bytes - offset);
            each(Place { frame, offset }, len);
            at += len;
            left -= len;
        }
    }

    fn rest(&self) -> Extent {
        Extent {
            address: self.address.wrapping_add(self.filled),
            len: self.len - self.filled,
        }
    }

    fn extent(&self) -> Extent {
        Extent {
            address: self.address,
            len: self.len,
        }
    }

    /// Whether the client's pages are away until it ends.
    const fn hides(&self) -> bool {
        matches!(self.technique, Technique::Reinstate | Technique::Create)
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
    pub fn begin_input(
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
            None => choose_input(&self.costs, &case),
        };
        let mut input = Input {
            client,
            address: extent.address,
            len: extent.len,
            filled: 0,
            technique: technique.ok_or(PassingError::Technique)?,
            posted: FrameList::default(),
            start: extent.address & ((1 << holding.grain) - 1),
            grain: holding.grain,
        };
        if let Err(error) = self.prepare(&mut input, &holding, early) {
            self.end_input(input);
            return Err(error);
        }
        Ok(input)
    }

    fn prepare(
        &mut self,
        input: &mut Input,
        holding: &Holding,
        early: bool,
    ) -> Result<(), PassingError> {
        match input.technique {
            Technique::InPlace => {
                let (extent, mut list) = (input.extent(), core::mem::take(&mut input.posted));
                self.all_mapped(input, holding)?;
                let pinned = self.pin_for_device(input.client, extent, |frame| list.push(frame));
                input.posted = list;
                pinned
            }
            Technique::Swap => {
                self.all_mapped(input, holding)?;
                self.post_system_frames(input, holding)
            }
            Technique::Create | Technique::Reinstate => {
                self.hide(input, holding)?;
                match early && input.technique == Technique::Create {
                    true => self.post_system_frames(input, holding),
                    false => Ok(()),
                }
            }
            _ => self.all_mapped(input, holding),
        }
    }

    fn all_mapped(&mut self, input: &Input, holding: &Holding) -> Result<(), PassingError> {
        let Some(space) = self.spaces.get(usize::from(input.client)) else {
            return Err(PassingError::Extent);
        };
        if input.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(input.address);
        let pages =
            &space.pages[first as usize..(first + holding.pages_of(input.extent())) as usize];
        let away = |s: PageState| matches!(s, PageState::Hidden | PageState::Gone);
        match pages.iter().any(|p| away(p.state)) {
            true => Err(PassingError::NotMapped),
            false => Ok(()),
        }
    }

    /// System frames, aligned as the client's room is.
    fn post_system_frames(
        &mut self,
        input: &mut Input,
        holding: &Holding,
    ) -> Result<(), PassingError> {
        for _ in 0..holding.pages_of(input.extent()) {
            let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
            self.frames.refer(frame, Use::Written);
            input.posted.push(frame);
        }
        Ok(())
    }

    /// Takes the pages of a system-allocated region away until it is filled.
    fn hide(&mut self, input: &Input, holding: &Holding) -> Result<(), PassingError> {
        self.each_page(input, holding, |this, number, state| {
            if matches!(state, PageState::Open | PageState::Protected) {
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
            let Some(space) = self.spaces.get(usize::from(input.client)) else {
                return Err(PassingError::Extent);
            };
            let state = space.pages[number as usize].state;
            each(self, number, state)?;
        }
        Ok(())
    }

    /// Delivers `len` more bytes, which lie within one frame at `from`. Copied
    /// bytes are on the client's account.
    ///
    /// # Errors
    /// `Extent` if there is no room for them, or no frames for the room;
    /// nothing is delivered then.
    pub fn deliver(
        &mut self,
        input: &mut Input,
        from: Place,
        len: u32,
    ) -> Result<(), PassingError> {
        let rest = input.rest();
        if len > rest.len {
            return Err(PassingError::Extent);
        }
        let extent = Extent {
            address: rest.address,
            len,
        };
        if input.hides() {
            self.supply(input.client, extent)?;
        }
        self.make_writable(input.client, extent)?;
        self.copy_in(input.client, extent, from)?;
        input.filled += len;
        Ok(())
    }

    fn copy_in(
        &mut self,
        client: u16,
        extent: Extent,
        mut from: Place,
    ) -> Result<(), PassingError> {
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        let (mut address, mut left) = (extent.address, extent.len);
        while left != 0 {
            let (page, offset) = holding.page_of(address);
            let frame = space.pages[page as usize].frame;
            let len = left.min((1 << holding.grain) - offset);
            self.machine.copy(from, Place { frame, offset }, len);
            from.offset += len;
            address = address.wrapping_add(len);
            left -= len;
        }
        space.account.copied_in += u64::from(extent.len);
        Ok(())
    }

    /// Frames for the pages of `extent` that have none.
    fn supply(&mut self, client: u16, extent: Extent) -> Result<(), PassingError> {
        let Some(holding) = self.space(client).and_then(|s| s.find(extent)) else {
            return Err(PassingError::Extent);
        };
        if extent.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(extent.address);
        for number in first..first + holding.pages_of(extent) {
            let Some(space) = self.spaces.get(usize::from(client)) else {
                return Err(PassingError::Extent);
            };
            if space.pages[number as usize].state != PageState::Gone {
                continue;
            }
            if holding.grain != SMALL {
                return Err(PassingError::NoFrames);
            }
            let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
            self.replace_page(client, &holding, number, frame, |this| {
                this.clear(client, Place { frame, offset: 0 }, 4096);
            })?;
        }
        Ok(())
    }

    /// Clears memory that changes owner, on the receiver's account.
    fn clear(&mut self, client: u16, at: Place, len: u32) {
        if self.mutations.no_clearing {
            return;
        }
        self.machine.clear(at, len);
        if let Some(space) = self.space(client) {
            space.account.cleared += u64::from(len);
        }
    }

    /// A device has written the first `len` bytes of what was posted.
    ///
    /// # Errors
    /// As [`Memory::deliver`].
    pub fn deliver_posted(&mut self, input: &mut Input, len: u32) -> Result<(), PassingError> {
        if len > input.len || input.filled != 0 {
            return Err(PassingError::Extent);
        }
        match input.technique {
            Technique::InPlace => {
                input.filled = len;
                if let Some(space) = self.space(input.client) {
                    space.account.referenced_in += u64::from(len);
                }
            }
            _ => self.take_over(input, len)?,
        }
        Ok(())
    }

    /// Puts posted system frames into the client's pages: whole ones change
    /// places, partial ones are completed and swapped, or copied, or, in a new
    /// region, cleared where nothing was received.
    fn take_over(&mut self, input: &mut Input, len: u32) -> Result<(), PassingError> {
        let Some(holding) = self
            .space(input.client)
            .and_then(|s| s.find(input.extent()))
        else {
            return Err(PassingError::Extent);
        };
        let mut list = core::mem::take(&mut input.posted);
        let mut index = 0;
        let mut result = Ok(FrameId(NO_FRAME));
        while input.filled < len {
            let offset = (input.address + input.filled) & 4095;
            let part = (len - input.filled).min(4096 - offset);
            let Some(frame) = list.get(index) else { break };
            result = self.take_over_page(input, &holding, Place { frame, offset }, part);
            let Ok(instead) = result else { break };
            list.set(index, instead);
            input.filled += part;
            index += 1;
        }
        input.posted = list;
        result.map(drop)
    }

    /// One page; which frame is in the place of the posted one afterwards.
    fn take_over_page(
        &mut self,
        input: &Input,
        holding: &Holding,
        from: Place,
        len: u32,
    ) -> Result<FrameId, PassingError> {
        let (client, address) = (input.client, input.address + input.filled);
        let (number, _) = holding.page_of(address);
        let create = input.technique == Technique::Create;
        let extent = Extent { address, len };
        if !create && len <= 2048 {
            self.make_writable(client, extent)?;
            self.copy_in(client, extent, from)?;
            return Ok(from.frame);
        }
        let Some(space) = self.spaces.get(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        let old = space.pages[number as usize];
        if !create && matches!(old.state, PageState::Hidden | PageState::Gone) {
            return Err(PassingError::NotMapped);
        }
        self.replace_page(client, holding, number, from.frame, |this| match create {
            true => this.clear_around(client, from, len),
            false => this.complete(client, old.frame, from, len),
        })?;
        // What was posted is the client's now, the client's is posted.
        self.frames.release(from.frame, Use::Written);
        if let Some(space) = self.space(client) {
            space.account.referenced_in += u64::from(len);
        }
        if old.state == PageState::Gone {
            return Ok(FrameId(NO_FRAME));
        }
        self.frames.refer(old.frame, Use::Written);
        self.frames.orphan(old.frame);
        Ok(old.frame)
    }

    fn clear_around(&mut self, client: u16, at: Place, len: u32) {
        let end = at.offset + len;
        self.clear(client, Place { offset: 0, ..at }, at.offset);
        self.clear(client, Place { offset: end, ..at }, 4096 - end);
    }

    /// Reverse copyout: the rest of the client's page goes into the frame that
    /// replaces it.
    fn complete(&mut self, client: u16, old: FrameId, at: Place, len: u32) {
        let end = at.offset + len;
        for (offset, len) in [(0, at.offset), (end, 4096 - end)] {
            if len != 0 {
                let from = Place { frame: old, offset };
                self.machine.copy(from, Place { offset, ..at }, len);
            }
        }
        if let Some(space) = self.space(client) {
            space.account.copied_reverse += u64::from(4096 - len);
        }
    }

    /// Ends it: the client's pages are there again, those of a new region as
    /// far as it was filled.
    pub fn end_input(&mut self, input: Input) {
        for frame in input.posted.iter() {
            self.frames.release(frame, Use::Written);
        }
        if !input.hides() {
            return;
        }
        let Some(holding) = self
            .space(input.client)
            .and_then(|s| s.find(input.extent()))
        else {
            return;
        };
        let shown = self.each_page(&input, &holding, |this, number, state| {
            if state == PageState::Hidden {
                let address = holding.address_of(number);
                this.reinstate(input.client, address, number)?;
            }
            Ok(())
        });
        // The machine refuses only what contradicts our books.
        debug_assert!(shown.is_ok());
    }

    fn reinstate(&mut self, client: u16, address: u32, number: u32) -> Result<(), PassingError> {
        let Some(space) = self.spaces.get(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        let frame = space.pages[number as usize].frame;
        self.map_page(client, address, number, frame)?;
        if self.frames.is_strong(frame) {
            self.protect_page(client, address, number, Rights::Read)?;
        }
        Ok(())
    }
}
