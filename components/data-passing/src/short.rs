//! Bytes that lie in small pages which are mapped: what nearly all operations
//! are.
//!
//! Problem: looking at all that could be is most of what passing a packet
//! costs. Invariant: what is done here is what the general way would have done,
//! chosen by the same costs; where that takes more than a comparison, errors
//! included, the operation is left to it untouched.

use socket_api::{Extent, Passing};

use crate::frames::{Frames, Use};
use crate::input::Input;
use crate::machine::{FrameId, Machine, Place};
use crate::memory::Memory;
use crate::output::Output;
use crate::space::{PageState, SMALL, Space};

impl Space {
    /// Where the bytes are, if they lie in one small page of the holding that
    /// was found last, which the client reads and writes.
    #[inline(always)]
    fn plain_place(&self, extent: Extent) -> Option<Place> {
        let holding = self.last_found()?;
        if holding.grain != SMALL || extent.len == 0 || !holding.contains(extent) {
            return None;
        }
        let at = extent.address - holding.address;
        let offset = at & 4095;
        if extent.len > 4096 - offset {
            return None;
        }
        let page = self
            .pages
            .get((holding.first_page + (at >> SMALL)) as usize)?;
        let frame = page.frame;
        (page.state == PageState::Open).then_some(Place { frame, offset })
    }
}

impl<M: Machine> Memory<M> {
    /// Copies bytes out of a page that is cheaper copied than protected, for a
    /// client that does not wait.
    #[inline]
    pub(crate) fn copy_short(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        blocked: bool,
    ) -> Option<Output> {
        let space = self.spaces.get_mut(usize::from(client))?;
        let waits = blocked && space.single_threaded;
        // Protecting an open page costs that much, whatever else it does.
        let dear = self.costs.copying(extent.len) >= u64::from(self.costs.protect);
        if passing != Passing::DEFAULT || waits || dear {
            return None;
        }
        let from = space.plain_place(extent)?;
        let frame = self.frames.take()?;
        self.frames.refer(frame, Use::Weak);
        space.book().copied_out += u64::from(extent.len);
        let to = Place { frame, offset: 0 };
        self.machine.copy(from, to, extent.len);
        Some(Output::copied(client, extent, frame))
    }

    /// Begins an output with weak integrity and no other wish, and says where
    /// the bytes are; `None` if it is not plain, as [`Memory::begin_output`]
    /// will see. One of a system-allocated region must begin with a page.
    #[inline(always)]
    pub fn shared_output(&mut self, client: u16, extent: Extent) -> Option<(Output, Place)> {
        let space = self.spaces.get_mut(usize::from(client))?;
        let place = space.plain_place(extent)?;
        if !self.frames.refer(place.frame, Use::Weak) {
            return None;
        }
        space.book().referenced_out += u64::from(extent.len);
        Some((Output::in_frame(client, extent, place), place))
    }

    /// Begins an input of application-allocated semantics and no other wish,
    /// for which no NIC keeps buffers; `None` if it is not plain, as
    /// [`Memory::begin_input`] will see.
    #[inline(always)]
    pub fn copied_input(&mut self, client: u16, extent: Extent) -> Option<Input> {
        let space = self.spaces.get(usize::from(client))?;
        let holding = space.last_found()?;
        let plain = holding.grain == SMALL
            && holding.writable
            && holding.contains(extent)
            && extent.len != 0
            && space.away == 0;
        plain.then(|| {
            let at = extent.address - holding.address;
            Input::in_pages(client, extent, holding.first_page + (at >> SMALL))
        })
    }

    /// Delivers `len` bytes, if they come to lie in one small page, or two, that
    /// no output relies on; whether it has. If not, [`Memory::deliver`] may.
    #[inline(always)]
    pub fn deliver_short(&mut self, input: &mut Input, from: Place, len: u32) -> bool {
        let Some(space) = self.spaces.get_mut(usize::from(input.client)) else {
            return false;
        };
        if len == 0 || len > input.len - input.filled || input.grain != SMALL {
            return false;
        }
        let at = input.start + input.filled;
        let (number, offset) = (input.page + (at >> SMALL), at & 4095);
        let Some(frame) = free_to_write(space, &self.frames, number) else {
            return false;
        };
        let first = len.min(4096 - offset);
        if first < len {
            let next = free_to_write(space, &self.frames, number + 1);
            let Some(next) = next.filter(|_| len - first <= 4096) else {
                return false;
            };
            let offset = from.offset + first;
            let (rest, to) = (
                Place { offset, ..from },
                Place {
                    frame: next,
                    offset: 0,
                },
            );
            self.machine.copy(rest, to, len - first);
        }
        self.machine.copy(from, Place { frame, offset }, first);
        space.book().copied_in += u64::from(len);
        input.filled += len;
        true
    }
}

/// The frame of a small page that the client reads and writes and no output
/// relies on.
#[inline(always)]
fn free_to_write(space: &Space, frames: &Frames, number: u32) -> Option<FrameId> {
    let page = space.pages.get(number as usize)?;
    let open = page.state == PageState::Open && !frames.is_strong(page.frame);
    open.then_some(page.frame)
}
