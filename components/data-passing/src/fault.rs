//! Faults of clients on pages in use.
//!
//! Invariant (transient output copy-on-write): a write to a page whose frame an
//! output relies on never reaches that frame; the writer gets a copy, and the
//! output keeps the frame. A write to a page that is only still protected gets
//! its access back.

use socket_api::Extent;

use crate::machine::{FrameId, Machine, Place, Rights};
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, Page, PageState, SMALL};

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client may go on.
    Resolved,
    /// Not now: the reserve is used up until an operation ends. Trying again
    /// faults again.
    Busy,
    /// It had no business there.
    NotOurs,
}

impl<M: Machine> Memory<M> {
    /// A client has faulted at an address, writing or reading.
    pub fn fault(&mut self, client: u16, address: u32, write: bool) -> Fault {
        let Some(space) = self.space(client) else {
            return Fault::NotOurs;
        };
        let Some(holding) = space.find(Extent { address, len: 1 }) else {
            return Fault::NotOurs;
        };
        let (number, _) = holding.page_of(address);
        match space.pages[number as usize].state {
            // Another thread's fault has been resolved meanwhile.
            PageState::Open => Fault::Resolved,
            PageState::Protected if !write => Fault::Resolved,
            PageState::Protected if holding.writable => self.write_fault(client, &holding, number),
            _ => Fault::NotOurs,
        }
    }

    fn write_fault(&mut self, client: u16, holding: &Holding, number: u32) -> Fault {
        let Ok(page) = self.page(client, number) else {
            return Fault::NotOurs;
        };
        let strong = self.frames.is_strong(page.frame);
        let address = holding.address_of(number);
        let resolved = match strong {
            true => self.break_page(client, holding, number),
            false => self
                .protect_page(client, address, number, Rights::Write)
                .map_err(PassingError::from),
        };
        match resolved {
            Ok(()) => self.note_fault(client, strong),
            Err(PassingError::NoFrames) => return Fault::Busy,
            Err(_) => return Fault::NotOurs,
        }
        Fault::Resolved
    }

    fn note_fault(&mut self, client: u16, copied: bool) {
        if let Some(space) = self.space(client) {
            space.faulted += 1;
            space.book().faults_copied += u64::from(copied);
            space.book().faults_restored += u64::from(!copied);
        }
    }

    /// Gives the client another frame with the same bytes in a page that an
    /// output relies on.
    ///
    /// # Errors
    /// `NoFrames` if there is none, which there never is for a large page.
    pub(crate) fn break_page(
        &mut self,
        client: u16,
        holding: &Holding,
        number: u32,
    ) -> Result<(), PassingError> {
        if holding.grain != SMALL {
            return Err(PassingError::NoFrames);
        }
        let Page { frame: old, state } = self.page(client, number)?;
        if state == PageState::Gone {
            return Err(PassingError::NotMapped);
        }
        let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
        let start = Place { frame, offset: 0 };
        self.replace_page(client, holding, number, frame, |this| {
            let copied = this.copy_around(old, start, 0);
            this.book(client, |account| account.copied_tcow += u64::from(copied));
        })?;
        self.frames.orphan(old);
        Ok(())
    }

    /// Puts a frame in the place of a page's, mapped if that was. `fill` is
    /// called while the client can reach neither.
    pub(crate) fn replace_page(
        &mut self,
        client: u16,
        holding: &Holding,
        number: u32,
        frame: FrameId,
        fill: impl FnOnce(&mut Self),
    ) -> Result<(), PassingError> {
        let address = holding.address_of(number);
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        if space.pages[number as usize].state.is_away() {
            self.frames.give(frame);
            let state = PageState::Hidden;
            space.set_page(number, Page { frame, state });
            fill(self);
            return Ok(());
        }
        self.unmap_page(client, address, number, PageState::Gone)?;
        fill(self);
        self.map_page(client, address, number, frame)?;
        Ok(())
    }
}
