//! All that can be passed: frames, clients' pages, costs.
//!
//! Invariant: see [`frames`](crate::frames) and [`space`](crate::space); every
//! byte copied and every page operation made here is on the account of the
//! client that it was made for.

use alloc::vec::Vec;
use core::fmt;

use socket_api::{Account, Extent};

use crate::costs::Costs;
use crate::frames::Frames;
use crate::machine::{FrameId, Machine, MachineError, Place, Rights};
use crate::overwrite::Reach;
use crate::space::{LARGE, Page, PageState, SMALL, Space};

/// Why an operation was refused; the client is at fault, but for `NoFrames`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassingError {
    /// Not all of the bytes lie in one holding of the client's, or they cannot
    /// be written.
    Extent,
    /// A page was moved away and has not come back.
    NotMapped,
    /// The technique that was forced is not legal, or none is.
    Technique,
    /// The reserve is used up, or too many operations use the same frame.
    NoFrames,
    /// The machine refused a page operation.
    Machine,
}

impl From<MachineError> for PassingError {
    fn from(_: MachineError) -> Self {
        Self::Machine
    }
}

impl fmt::Display for PassingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Extent => "the bytes do not lie in memory that can be passed",
            Self::NotMapped => "a page of the buffer was moved away",
            Self::Technique => "the technique is not legal here",
            Self::NoFrames => "no frames are left",
            Self::Machine => "the machine refused a page operation",
        })
    }
}

impl core::error::Error for PassingError {}

/// A range of a client's memory that the manager holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldingConfig {
    /// Where it is in the client's address space; a multiple of the page size.
    pub address: u32,
    /// Bytes, a multiple of the page size.
    pub bytes: u32,
    /// Pages of 2 MiB instead of 4 KiB.
    pub large: bool,
    /// Whether the client may write to it.
    pub writable: bool,
    /// The frame of its first page; the others follow.
    pub first: FrameId,
}

/// What is switched off so that a test can show that it would be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Pages are not protected while they are sent.
    pub no_protection: bool,
    /// Frames that change owner are not cleared.
    pub no_clearing: bool,
}

/// Frames, pages and costs. See the crate's documentation.
#[derive(Debug)]
pub struct Memory<M> {
    pub(crate) machine: M,
    pub(crate) frames: Frames,
    pub(crate) spaces: Vec<Space>,
    pub(crate) costs: Costs,
    pub(crate) mutations: Mutations,
}

impl<M: Machine> Memory<M> {
    /// Memory without clients and without a reserve.
    #[must_use]
    pub fn new(machine: M, costs: Costs) -> Self {
        Self {
            machine,
            frames: Frames::new(),
            spaces: Vec::new(),
            costs,
            mutations: Mutations::default(),
        }
    }

    /// Switches safety mechanisms off, for tests that must fail then.
    pub fn mutate(&mut self, mutations: Mutations) {
        self.mutations = mutations;
    }

    /// Adds the next client; `threads` is how many it can ever have.
    pub fn add_client(&mut self, threads: u32) -> u16 {
        self.spaces.push(Space::new(threads == 1));
        (self.spaces.len() - 1) as u16
    }

    /// Adds memory of a client, which is mapped there already.
    pub fn add_holding(&mut self, client: u16, holding: HoldingConfig) {
        let HoldingConfig {
            address,
            bytes,
            large,
            writable,
            first,
        } = holding;
        let grain = if large { LARGE } else { SMALL };
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return;
        };
        space.hold(address, bytes, grain, writable, first);
        for n in first.0..first.0 + (bytes >> grain) {
            self.frames.add_held(FrameId(n));
        }
    }

    /// Adds `count` frames of 4 KiB from `first` on to the reserve.
    pub fn add_reserve(&mut self, first: FrameId, count: u32) {
        // Backwards, so that they are taken in order of their numbers.
        for n in (first.0..first.0 + count).rev() {
            self.frames.add_free(FrameId(n));
        }
    }

    /// Frames in the reserve.
    #[must_use]
    pub fn reserve(&self) -> u32 {
        self.frames.free_count()
    }

    /// The costs that choices are made by.
    #[must_use]
    pub fn costs(&self) -> Costs {
        self.costs
    }

    /// Chooses by other costs from now on.
    pub fn set_costs(&mut self, costs: Costs) {
        self.costs = costs;
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The machine.
    #[must_use]
    pub fn machine_ref(&self) -> &M {
        &self.machine
    }

    /// The account of a client, without signals and requests, of which nothing
    /// is known here.
    #[must_use]
    pub fn account(&self, client: u16) -> Option<&Account> {
        Some(self.spaces.get(usize::from(client))?.account())
    }

    /// The account of a client, if anything was booked on it since it was last
    /// asked for by this.
    #[inline]
    pub fn account_with_news(&mut self, client: u16) -> Option<&Account> {
        self.spaces.get_mut(usize::from(client))?.take_news()
    }

    /// Whether the client can have one thread only.
    #[must_use]
    pub fn is_single_threaded(&self, client: u16) -> bool {
        self.spaces
            .get(usize::from(client))
            .is_some_and(|s| s.single_threaded)
    }

    #[inline]
    pub(crate) fn space(&mut self, client: u16) -> Option<&mut Space> {
        self.spaces.get_mut(usize::from(client))
    }

    /// Books on a client's account.
    #[inline]
    pub fn book(&mut self, client: u16, on: impl FnOnce(&mut Account)) {
        if let Some(space) = self.space(client) {
            on(space.book());
        }
    }

    /// A page of a client's, which was found by an address in one of its
    /// holdings.
    #[inline]
    pub(crate) fn page(&self, client: u16, number: u32) -> Result<Page, PassingError> {
        let space = self.spaces.get(usize::from(client));
        let page = space.and_then(|s| s.pages.get(number as usize));
        page.copied().ok_or(PassingError::Extent)
    }

    /// Calls `each` with the pieces, each within a page, of the client's bytes
    /// as the manager finds them, for small things that are copied at once.
    ///
    /// # Errors
    /// `Extent` or `NotMapped`; `each` may have been called for the bytes before.
    pub(crate) fn pieces(
        &mut self,
        client: u16,
        extent: Extent,
        mut each: impl FnMut(&mut M, Place, u32),
    ) -> Result<(), PassingError> {
        let space = self.spaces.get_mut(usize::from(client));
        let space = space.ok_or(PassingError::Extent)?;
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        let (mut address, mut left) = (extent.address, extent.len);
        while left != 0 {
            let (page, offset) = holding.page_of(address);
            let Page { frame, state } = space.pages[page as usize];
            if state.is_away() {
                return Err(PassingError::NotMapped);
            }
            let len = left.min((1 << holding.grain) - offset);
            each(&mut self.machine, Place { frame, offset }, len);
            address = address.wrapping_add(len);
            left -= len;
        }
        Ok(())
    }

    /// Copies bytes of a client, as of now, into memory of the manager's.
    ///
    /// # Errors
    /// `Extent` or `NotMapped`.
    pub fn read_client(
        &mut self,
        client: u16,
        address: u32,
        into: &mut [u8],
    ) -> Result<(), PassingError> {
        let len = into.len() as u32;
        let mut done = 0;
        self.pieces(client, Extent { address, len }, |machine, place, len| {
            let end = done + len as usize;
            machine.read(place, &mut into[done..end]);
            done = end;
        })
    }

    /// Writes bytes of the manager's to a client's memory, as a `Recv` would.
    ///
    /// # Errors
    /// As for a `Recv`; nothing is written then.
    pub fn write_client(
        &mut self,
        client: u16,
        address: u32,
        bytes: &[u8],
    ) -> Result<(), PassingError> {
        let len = bytes.len() as u32;
        let (extent, mut done) = (Extent { address, len }, 0);
        self.overwrite(client, extent, Reach::Mapped, |machine, place, len| {
            let end = done + len as usize;
            machine.write(place, &bytes[done..end]);
            done = end;
        })
    }

    /// Maps a frame in a client's page, on the client's account: read-only as
    /// long as an output relies on it.
    pub(crate) fn map_page(
        &mut self,
        client: u16,
        address: u32,
        page: u32,
        frame: FrameId,
    ) -> Result<(), MachineError> {
        let (rights, state) = match self.frames.is_strong(frame) {
            true => (Rights::Read, PageState::Protected),
            false => (Rights::Write, PageState::Open),
        };
        self.machine.map(client, address, frame, rights)?;
        self.frames.give(frame);
        if let Some(space) = self.space(client) {
            space.book().mapped += 1;
            space.set_page(page, Page { frame, state });
        }
        Ok(())
    }

    /// Unmaps a client's page, on the client's account.
    pub(crate) fn unmap_page(
        &mut self,
        client: u16,
        address: u32,
        page: u32,
        into: PageState,
    ) -> Result<(), MachineError> {
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(MachineError);
        };
        let frame = space.pages[page as usize].frame;
        self.machine.unmap(client, address, frame)?;
        space.book().unmapped += 1;
        space.set_page(page, Page { frame, state: into });
        Ok(())
    }

    /// Changes the rights to a client's page, on the client's account.
    pub(crate) fn protect_page(
        &mut self,
        client: u16,
        address: u32,
        page: u32,
        rights: Rights,
    ) -> Result<(), MachineError> {
        let Some(space) = self.spaces.get_mut(usize::from(client)) else {
            return Err(MachineError);
        };
        let frame = space.pages[page as usize].frame;
        self.machine.protect(client, address, frame, rights)?;
        space.book().protected += 1;
        let state = match rights {
            Rights::Read => PageState::Protected,
            Rights::Write => PageState::Open,
        };
        space.set_page(page, Page { frame, state });
        Ok(())
    }
}
