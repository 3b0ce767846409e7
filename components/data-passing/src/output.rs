//! Bytes on their way out.
//!
//! Problem: the bytes of a `Send` must stay what they were while the server and
//! the device use them, without copying them where that can be avoided.
//! Invariant: from [`Memory::begin_output`] to [`Memory::end_output`] the frames
//! of an [`Output`] are counted as in use, so none of them gets another owner;
//! with strong integrity, whoever writes to one of its pages, the client or a
//! receive, gets another frame first.

use core::ops::Range;

use socket_api::{Extent, Passing, Technique};

use crate::choose::{OutputCase, choose_output, output_is_legal, without_copy};
use crate::frames::{FrameList, Use};
use crate::machine::{FrameId, Machine, Place, Rights};
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, PageState, SMALL};

/// Bytes of a client that are being sent. It must be ended.
#[must_use = "its frames stay in use until it is ended"]
#[derive(Debug)]
pub struct Output {
    client: u16,
    address: u32,
    len: u32,
    technique: Technique,
    how: Use,
    frames: FrameList,
    /// log2 of the bytes of each frame.
    grain: u32,
    /// See [`Output::is_exposed`].
    exposed: bool,
    /// The first byte that is still there, and where in the first frame.
    base: u32,
    start: u32,
}

impl Output {
    /// Bytes that have been copied to one frame of the system.
    #[inline]
    pub(crate) fn copied(client: u16, extent: Extent, frame: FrameId) -> Self {
        Self {
            client,
            address: extent.address,
            len: extent.len,
            technique: Technique::CopyOut,
            how: Use::Weak,
            frames: FrameList::of(frame),
            grain: SMALL,
            exposed: false,
            base: 0,
            start: 0,
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How it is carried out.
    #[must_use]
    pub const fn technique(&self) -> Technique {
        self.technique
    }

    /// Whether the bytes lie in the client's own frames, which it may write
    /// to once it has been answered.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    #[inline]
    fn new(
        client: u16,
        holding: &Holding,
        extent: Extent,
        technique: Technique,
        strong: bool,
    ) -> Self {
        let own = technique == Technique::Reference && extent.len != 0;
        Self {
            client,
            address: extent.address,
            len: extent.len,
            technique,
            how: if strong { Use::Strong } else { Use::Weak },
            frames: FrameList::default(),
            grain: holding.grain,
            exposed: own && strong && holding.writable,
            base: 0,
            start: 0,
        }
    }

    /// By reference, with weak integrity, of bytes in a small frame that is
    /// counted as in use.
    #[inline]
    pub(crate) fn in_frame(client: u16, extent: Extent, at: Place) -> Self {
        Self {
            client,
            address: extent.address,
            len: extent.len,
            technique: Technique::Reference,
            how: Use::Weak,
            frames: FrameList::of(at.frame),
            grain: SMALL,
            exposed: false,
            base: 0,
            start: at.offset,
        }
    }

    /// Where `len` bytes from `offset` on are, if they are there, and within a
    /// frame.
    #[inline(always)]
    #[must_use]
    pub fn piece(&self, offset: u32, len: u32) -> Option<Place> {
        if offset < self.base || offset > self.len || len > self.len - offset {
            return None;
        }
        let at = self.start + (offset - self.base);
        let frame = self.frames.get(at >> self.grain)?;
        let bytes = 1 << self.grain;
        let offset = at & (bytes - 1);
        (len <= bytes - offset).then_some(Place { frame, offset })
    }

    /// Its frame, if it is one and nothing else is to be let go of.
    #[inline(always)]
    fn sole_frame(&self) -> Option<FrameId> {
        self.frames.sole().filter(|_| !self.relies_on_large())
    }

    fn extent(&self) -> Extent {
        Extent {
            address: self.address,
            len: self.len,
        }
    }

    /// Whether it relies on bytes of large pages, which cannot be replaced.
    #[inline]
    fn relies_on_large(&self) -> bool {
        self.grain != SMALL && self.how == Use::Strong && self.len != 0
    }

    /// Calls `each` with the pieces that the bytes lie in, each within a frame;
    /// false, after pieces before it, if a byte is not there (any more).
    #[inline]
    pub fn pieces(&self, offset: u32, len: u32, mut each: impl FnMut(Place, u32)) -> bool {
        if offset < self.base || offset > self.len || len > self.len - offset {
            return false;
        }
        let (mut at, mut left) = (self.start + (offset - self.base), len);
        // A packet's bytes, most of the time.
        if self.grain == SMALL && len != 0 && len <= 4096 - (at & 4095) {
            let Some(frame) = self.frames.get(at >> SMALL) else {
                return false;
            };
            let offset = at & 4095;
            each(Place { frame, offset }, len);
            return true;
        }
        let bytes = 1 << self.grain;
        while left != 0 {
            let Some(frame) = self.frames.get(at >> self.grain) else {
                return false;
            };
            let offset = at & (bytes - 1);
            let len = left.min(bytes - offset);
            each(Place { frame, offset }, len);
            at += len;
            left -= len;
        }
        true
    }
}

impl<M: Machine> Memory<M> {
    /// Begins to send the bytes of `extent`. `blocked` says that the client
    /// does nothing else before it is answered, which is believed of a client
    /// that can have one thread only.
    ///
    /// # Errors
    /// A [`PassingError`]; nothing is changed then, but that pages may have
    /// been protected.
    #[inline]
    pub fn begin_output(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        blocked: bool,
    ) -> Result<Output, PassingError> {
        match self.copy_short(client, extent, passing, blocked) {
            Some(output) => Ok(output),
            None => self.begin_any_output(client, extent, passing, blocked),
        }
    }

    #[inline(never)]
    fn begin_any_output(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        blocked: bool,
    ) -> Result<Output, PassingError> {
        let space = self.spaces.get_mut(usize::from(client));
        let space = space.ok_or(PassingError::Extent)?;
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        let blocked = blocked && space.single_threaded;
        let case = self.output_case(client, &holding, extent, passing, blocked)?;
        let technique = match passing.forced {
            Some(forced) => output_is_legal(&case, forced).then_some(forced),
            None => self.choose_output(&case),
        };
        let technique = technique.ok_or(PassingError::Technique)?;
        let strong = passing.semantics.is_strong();
        let mut output = Output::new(client, &holding, extent, technique, strong);
        let begun = match technique {
            Technique::CopyOut => self.copy_out(&mut output, extent),
            _ => self.refer(&mut output, &holding, extent),
        };
        if let Err(error) = begun {
            self.let_go(&output);
            return Err(error);
        }
        Ok(output)
    }

    /// The cheapest technique for which there are frames.
    fn choose_output(&self, case: &OutputCase) -> Option<Technique> {
        let chosen = choose_output(&self.costs, case);
        let short = self.frames.free_count() < case.len.div_ceil(4096);
        if short && chosen == Some(Technique::CopyOut) {
            return without_copy(case).or(chosen);
        }
        chosen
    }

    /// Looks at the pages of an output.
    fn output_case(
        &mut self,
        client: u16,
        holding: &Holding,
        extent: Extent,
        passing: Passing,
        blocked: bool,
    ) -> Result<OutputCase, PassingError> {
        let space = self.spaces.get(usize::from(client));
        let space = space.ok_or(PassingError::Extent)?;
        // What is to be copied in is awaited where it cannot be kept apart later.
        let mut written = holding.grain != SMALL && space.awaits(extent);
        let mut protected = 0;
        for page in space.pages_in(holding, extent) {
            if page.state.is_away() {
                return Err(PassingError::NotMapped);
            }
            protected += u32::from(page.state == PageState::Protected);
            written |= self.frames.is_written(page.frame);
        }
        Ok(OutputCase {
            semantics: passing.semantics,
            len: extent.len,
            pages: holding.pages_of(extent),
            small_pages: holding.grain == SMALL,
            writable: holding.writable,
            blocked,
            aligned: extent.address & ((1 << holding.grain) - 1) == 0,
            fault_rate: if blocked { 0 } else { space.fault_rate() },
            protected,
            written,
        })
    }

    /// Counts the frames as in use, and only then touches the page tables, so
    /// that a refusal changes nothing.
    fn refer(
        &mut self,
        output: &mut Output,
        holding: &Holding,
        extent: Extent,
    ) -> Result<(), PassingError> {
        let space = self.spaces.get_mut(usize::from(output.client));
        let space = space.ok_or(PassingError::Extent)?;
        if extent.len == 0 {
            return Ok(());
        }
        let (first, start) = holding.page_of(extent.address);
        output.start = start;
        if output.relies_on_large() {
            space.relied_on.push(extent);
        }
        let pages = first..first + holding.pages_of(extent);
        for page in &space.pages[pages.start as usize..pages.end as usize] {
            if !self.frames.refer(page.frame, output.how) {
                return Err(PassingError::NoFrames);
            }
            output.frames.push(page.frame);
        }
        space.book().referenced_out += u64::from(extent.len);
        match output.technique {
            Technique::Tcow => self.protect_all(output.client, holding, pages)?,
            Technique::Hide | Technique::Remove => self.take_away(output, holding, pages)?,
            _ => {}
        }
        Ok(())
    }

    /// Makes open pages read-only.
    fn protect_all(
        &mut self,
        client: u16,
        holding: &Holding,
        pages: Range<u32>,
    ) -> Result<(), PassingError> {
        let mut opened = 0;
        for number in pages {
            if self.page(client, number)?.state != PageState::Open {
                continue;
            }
            if !self.mutations.no_protection {
                let address = holding.address_of(number);
                self.protect_page(client, address, number, Rights::Read)?;
            }
            opened += 1;
        }
        if let Some(space) = self.space(client) {
            space.note_protected(opened);
        }
        Ok(())
    }

    /// Takes moved pages from the client, with their frames for a plain move.
    fn take_away(
        &mut self,
        output: &Output,
        holding: &Holding,
        pages: Range<u32>,
    ) -> Result<(), PassingError> {
        let (client, remove) = (output.client, output.technique == Technique::Remove);
        let into = match remove {
            true => PageState::Gone,
            false => PageState::Hidden,
        };
        for number in pages {
            let frame = self.page(client, number)?.frame;
            self.unmap_page(client, holding.address_of(number), number, into)?;
            if remove {
                self.frames.orphan(frame);
            }
        }
        Ok(())
    }

    fn copy_out(&mut self, output: &mut Output, extent: Extent) -> Result<(), PassingError> {
        output.grain = SMALL;
        output.how = Use::Weak;
        self.take_frames(&mut output.frames, extent.len.div_ceil(4096))?;
        let frames = &output.frames;
        let mut at = 0;
        let mut fill = |machine: &mut M, from: Place, len: u32| {
            copy_into(machine, frames, &mut at, from, len);
        };
        self.pieces(output.client, extent, &mut fill)?;
        if let Some(space) = self.space(output.client) {
            space.book().copied_out += u64::from(extent.len);
        }
        Ok(())
    }

    /// Takes frames of the reserve into use.
    fn take_frames(&mut self, list: &mut FrameList, count: u32) -> Result<(), PassingError> {
        if self.frames.free_count() < count {
            return Err(PassingError::NoFrames);
        }
        for _ in 0..count {
            let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
            self.frames.refer(frame, Use::Weak);
            list.push(frame);
        }
        Ok(())
    }

    /// Copies the bytes from `from` on into frames of the system, so that the
    /// client may be answered; the bytes before are gone. No device may be
    /// using any of them.
    ///
    /// # Errors
    /// `NoFrames`; nothing is changed then.
    pub fn hold_back(&mut self, output: &mut Output, from: u32) -> Result<(), PassingError> {
        let from = from.clamp(output.base, output.len);
        let rest = output.len - from;
        let mut list = FrameList::default();
        self.take_frames(&mut list, rest.div_ceil(4096))?;
        let (mut at, machine) = (0, &mut self.machine);
        output.pieces(from, rest, |place, len| {
            copy_into(machine, &list, &mut at, place, len);
        });
        self.let_go(output);
        output.frames = list;
        (output.how, output.grain, output.exposed) = (Use::Weak, SMALL, false);
        (output.base, output.start) = (from, 0);
        self.book(output.client, |account| {
            account.copied_tail += u64::from(rest)
        });
        Ok(())
    }

    /// Forgets the bytes from `len` on: they will not be sent.
    pub fn shorten(&mut self, output: &mut Output, len: u32) {
        let len = len.clamp(output.base, output.len);
        if output.relies_on_large()
            && let Some(space) = self.spaces.get_mut(usize::from(output.client))
        {
            space.no_longer_relies_on(output.extent());
            space.relied_on.push(Extent {
                len,
                ..output.extent()
            });
        }
        output.len = len;
    }

    /// The ones' complement sum of bytes being sent, as [`Machine::sum`].
    #[must_use]
    #[inline]
    pub fn sum_output(&self, output: &Output, offset: u32, len: u32) -> u16 {
        if let Some(at) = output.piece(offset, len) {
            return self.machine.sum(at, len);
        }
        let mut sum = Sum::default();
        output.pieces(offset, len, |place, len| {
            sum.add(self.machine.sum(place, len), len);
        });
        sum.value()
    }

    /// As [`Memory::end_output`], leaving an output of no bytes.
    #[inline(always)]
    pub fn empty_output(&mut self, output: &mut Output) {
        match output.sole_frame() {
            Some(frame) => self.frames.release(frame, output.how),
            None => self.let_go(output),
        }
        output.frames.clear();
        output.len = 0;
    }

    /// Ends it: nobody uses the bytes any more.
    #[inline]
    pub fn end_output(&mut self, output: Output) {
        self.let_go(&output);
    }

    #[inline]
    fn let_go(&mut self, output: &Output) {
        if output.relies_on_large()
            && let Some(space) = self.space(output.client)
        {
            space.no_longer_relies_on(output.extent());
        }
        let frames = &mut self.frames;
        output.frames.for_each(|f| frames.release(f, output.how));
    }
}

/// Copies a piece to byte `at` of the frames of a list, of 4 KiB each.
fn copy_into<M: Machine>(
    machine: &mut M,
    list: &FrameList,
    at: &mut u32,
    mut from: Place,
    mut len: u32,
) {
    while len != 0 {
        let offset = *at & 4095;
        let part = len.min(4096 - offset);
        if let Some(frame) = list.get(*at >> SMALL) {
            machine.copy(from, Place { frame, offset }, part);
        }
        from.offset += part;
        *at += part;
        len -= part;
    }
}

/// A ones' complement sum over pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    sum: u32,
    odd: bool,
}

impl Sum {
    /// Adds the sum of the next `len` bytes.
    #[inline(always)]
    pub fn add(&mut self, sum: u16, len: u32) {
        // A byte at an odd place is the other half of its pair.
        let sum = if self.odd { sum.swap_bytes() } else { sum };
        self.sum += u32::from(sum);
        self.sum = (self.sum & 0xffff) + (self.sum >> 16);
        self.odd ^= len & 1 != 0;
    }

    /// The sum so far, folded.
    #[must_use]
    pub const fn value(self) -> u16 {
        ((self.sum & 0xffff) + (self.sum >> 16)) as u16
    }
}
