//! Bytes that lie in one small page: what nearly all operations are.
//!
//! Invariant: what is done here is what the general way would have done, chosen
//! by the same costs; where that takes more than a comparison, the operation is
//! left to it untouched.

use socket_api::{Extent, Passing, Semantics, Technique};

use crate::frames::Use;
use crate::input::Input;
use crate::machine::{Machine, Place};
use crate::memory::Memory;
use crate::output::Output;
use crate::space::{Holding, PageState, SMALL};

/// Bytes of a small page.
const PAGE: u32 = 1 << SMALL;

/// The number of the small page that all the bytes lie in, and where in it.
#[inline]
fn within_a_page(holding: &Holding, extent: Extent) -> Option<(u32, u32)> {
    if holding.grain != SMALL || extent.len == 0 {
        return None;
    }
    let (number, offset) = holding.page_of(extent.address);
    (extent.len <= PAGE - offset).then_some((number, offset))
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
        let holding = space.find(extent)?;
        let waits = blocked && space.single_threaded;
        if passing != Passing::DEFAULT || waits || !holding.writable {
            return None;
        }
        let (number, offset) = within_a_page(&holding, extent)?;
        // Protecting an open page costs that much, whatever else it does.
        if self.costs.copying(extent.len) >= u64::from(self.costs.protect) {
            return None;
        }
        let page = space.pages.get(number as usize)?;
        if page.state != PageState::Open {
            return None;
        }
        let from = Place {
            frame: page.frame,
            offset,
        };
        let frame = self.frames.take()?;
        self.frames.refer(frame, Use::Weak);
        space.account.copied_out += u64::from(extent.len);
        let to = Place { frame, offset: 0 };
        self.machine.copy(from, to, extent.len);
        Some(Output::copied(client, extent, frame))
    }

    /// Begins to receive into a page that only a copy can fill: no NIC keeps
    /// buffers for the receiver.
    #[inline]
    pub(crate) fn await_short(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
    ) -> Option<Input> {
        let space = self.spaces.get_mut(usize::from(client))?;
        let holding = space.find(extent)?;
        let copied = matches!(
            passing.semantics,
            Semantics::Copy | Semantics::EmulatedCopy | Semantics::Share | Semantics::EmulatedShare
        );
        if !copied || passing.forced.is_some() || !holding.writable {
            return None;
        }
        let (number, _) = within_a_page(&holding, extent)?;
        if space.pages.get(number as usize)?.state.is_away() {
            return None;
        }
        Some(Input::new(client, &holding, extent, Technique::CopyIn))
    }

    /// Delivers bytes to a page that nothing relies on; false if it is not so,
    /// and nothing was done.
    #[inline]
    pub(crate) fn deliver_short(&mut self, input: &mut Input, from: Place, len: u32) -> bool {
        if input.technique != Technique::CopyIn || len > input.len - input.filled {
            return false;
        }
        let extent = Extent {
            len,
            ..input.rest()
        };
        let Some(space) = self.spaces.get_mut(usize::from(input.client)) else {
            return false;
        };
        let Some(holding) = space.find(extent) else {
            return false;
        };
        let Some((number, offset)) = within_a_page(&holding, extent) else {
            return false;
        };
        let Some(page) = space.pages.get(number as usize) else {
            return false;
        };
        let frame = page.frame;
        if page.state != PageState::Open || self.frames.is_strong(frame) {
            return false;
        }
        space.account.copied_in += u64::from(len);
        self.machine.copy(from, Place { frame, offset }, len);
        input.filled += len;
        true
    }
}
