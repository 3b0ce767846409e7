//! Faults of clients, and writes of the manager's own, on pages in use.
//!
//! Invariant (transient output copy-on-write): a write to a page whose frame an
//! output relies on never reaches that frame; the writer gets a copy, and the
//! output keeps the frame. A write to a page that is only still protected gets
//! its access back.

use socket_api::Extent;

use crate::frames::Use;
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
        let page = space.pages[number as usize];
        match page.state {
            // Another thread's fault has been resolved meanwhile.
            PageState::Open => Fault::Resolved,
            PageState::Protected if !write => Fault::Resolved,
            PageState::Protected if holding.writable => self.write_fault(client, &holding, number),
            _ => Fault::NotOurs,
        }
    }

    fn write_fault(&mut self, client: u16, holding: &Holding, number: u32) -> Fault {
        let Some(space) = self.space(client) else {
            return Fault::NotOurs;
        };
        space.faulted += 1;
        let frame = space.pages[number as usize].frame;
        let address = holding.address_of(number);
        if !self.frames.is_strong(frame) {
            if self
                .protect_page(client, address, number, Rights::Write)
                .is_err()
            {
                return Fault::NotOurs;
            }
            if let Some(space) = self.space(client) {
                space.account.faults_restored += 1;
            }
            return Fault::Resolved;
        }
        match self.break_page(client, holding, number, true) {
            Ok(()) => {
                if let Some(space) = self.space(client) {
                    space.account.faults_copied += 1;
                }
                Fault::Resolved
            }
            Err(PassingError::NoFrames) => Fault::Busy,
            Err(_) => Fault::NotOurs,
        }
    }

    /// Gives the client another frame in a page that an output relies on, with
    /// the same bytes if `keep`.
    fn break_page(
        &mut self,
        client: u16,
        holding: &Holding,
        number: u32,
        keep: bool,
    ) -> Result<(), PassingError> {
        if holding.grain != SMALL {
            return Err(PassingError::Extent);
        }
        let Some(space) = self.space(client) else {
            return Err(PassingError::Extent);
        };
        let old = space.pages[number as usize];
        let frame = self.frames.take().ok_or(PassingError::NoFrames)?;
        let replaced = self.replace_page(client, holding, number, frame, |this| {
            if keep {
                this.copy_page(client, old.frame, frame);
            }
        });
        if let Err(error) = replaced {
            self.frames.orphan(frame);
            return Err(error);
        }
        self.frames.orphan(old.frame);
        Ok(())
    }

    fn copy_page(&mut self, client: u16, from: FrameId, to: FrameId) {
        let start = |frame| Place { frame, offset: 0 };
        self.machine.copy(start(from), start(to), 4096);
        if let Some(space) = self.space(client) {
            space.account.copied_tcow += 4096;
        }
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
        let Page { state, .. } = space.pages[number as usize];
        if matches!(state, PageState::Hidden | PageState::Gone) {
            self.frames.give(frame);
            space.pages[number as usize] = Page {
                frame,
                state: PageState::Hidden,
            };
            fill(self);
            return Ok(());
        }
        self.unmap_page(client, address, number, PageState::Gone)?;
        fill(self);
        self.map_page(client, address, number, frame)?;
        Ok(())
    }

    /// Makes sure that the manager may write to all of `extent`: what is being
    /// sent from there with strong integrity gets out of the way.
    pub(crate) fn make_writable(
        &mut self,
        client: u16,
        extent: Extent,
    ) -> Result<(), PassingError> {
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        if !holding.writable {
            return Err(PassingError::Extent);
        }
        if holding.grain != SMALL {
            // A large frame cannot be replaced, but its bytes are kept apart.
            return match space.relies_on(extent) {
                true => Err(PassingError::Extent),
                false => Ok(()),
            };
        }
        if extent.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(extent.address);
        for number in first..first + holding.pages_of(extent) {
            let Some(space) = self.spaces.get(usize::from(client)) else {
                return Err(PassingError::Extent);
            };
            let page = space.pages[number as usize];
            if page.state == PageState::Gone {
                return Err(PassingError::NotMapped);
            }
            if !self.frames.is_strong(page.frame) {
                continue;
            }
            let whole = covers(extent, holding.address_of(number));
            self.break_page(client, &holding, number, !whole)?;
        }
        Ok(())
    }

    /// As `make_writable`, and counts the frames as written by a device.
    pub(crate) fn pin_for_device(
        &mut self,
        client: u16,
        extent: Extent,
        mut each: impl FnMut(FrameId),
    ) -> Result<(), PassingError> {
        self.make_writable(client, extent)?;
        let frames = &mut self.frames;
        let mut full = false;
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(PassingError::Extent);
        };
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        if extent.len == 0 {
            return Ok(());
        }
        let (first, _) = holding.page_of(extent.address);
        for number in first..first + holding.pages_of(extent) {
            let frame = space.pages[number as usize].frame;
            if frames.refer(frame, Use::Written) {
                each(frame);
            } else {
                full = true;
            }
        }
        if full {
            return Err(PassingError::NoFrames);
        }
        Ok(())
    }
}

/// Whether `extent` covers all of the small page at `address`.
fn covers(extent: Extent, address: u32) -> bool {
    extent.address <= address && extent.end() >= u64::from(address) + 4096
}
