//! The address spaces of clients, as far as they can be passed.
//!
//! Invariant: for each page of a holding the table says which frame belongs to
//! it and whether, and how, that frame is mapped; it changes only together
//! with the machine's tables. An address outside all holdings cannot be passed.

use alloc::vec::Vec;

use socket_api::{Account, Extent};

use crate::machine::FrameId;

/// log2 of the bytes of a small page.
pub(crate) const SMALL: u32 = 12;
/// log2 of the bytes of a large page.
pub(crate) const LARGE: u32 = 21;

/// How the page's frame is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageState {
    /// The client reads and writes it.
    Open,
    /// The client may only read it: until nothing relies on it any more, or
    /// for ever if the holding is read-only.
    Protected,
    /// Not mapped; the frame is kept.
    Hidden,
    /// Not mapped, and there is no frame.
    Gone,
}

impl PageState {
    /// Whether the client cannot reach the page at all.
    #[inline]
    pub const fn is_away(self) -> bool {
        matches!(self, Self::Hidden | Self::Gone)
    }
}

/// A page of a holding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub frame: FrameId,
    pub state: PageState,
}

/// A range of a client's memory that the manager holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub address: u32,
    pub bytes: u32,
    /// log2 of the page size.
    pub grain: u32,
    pub writable: bool,
    /// Number of its first page.
    pub first_page: u32,
}

impl Holding {
    #[inline]
    pub fn contains(&self, extent: Extent) -> bool {
        let at = extent.address.wrapping_sub(self.address);
        at <= self.bytes && extent.len <= self.bytes - at
    }

    /// The page of an address in it, and the offset there.
    #[inline]
    pub fn page_of(&self, address: u32) -> (u32, u32) {
        let at = address - self.address;
        (
            self.first_page + (at >> self.grain),
            at & ((1 << self.grain) - 1),
        )
    }

    /// Where one of its pages begins.
    pub fn address_of(&self, page: u32) -> u32 {
        self.address + ((page - self.first_page) << self.grain)
    }

    /// How many pages the bytes touch.
    pub fn pages_of(&self, extent: Extent) -> u32 {
        if extent.len == 0 {
            return 0;
        }
        let (first, _) = self.page_of(extent.address);
        let (last, _) = self.page_of(extent.address + (extent.len - 1));
        last - first + 1
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Space {
    holdings: Vec<Holding>,
    /// Changed by [`Space::set_page`] only.
    pub pages: Vec<Page>,
    /// How many of them are away.
    pub away: u32,
    /// Whether the client can have one thread only.
    pub single_threaded: bool,
    account: Account,
    /// Something was booked since the account was last looked at for news.
    booked: bool,
    /// Pages protected lately, and how many of them were written to while or
    /// after they were sent: what the next protection will cost.
    pub protected: u32,
    pub faulted: u32,
    /// Bytes of large pages that outputs rely on.
    pub relied_on: Vec<Extent>,
    /// Bytes that are being received into: of large pages, and of regions
    /// that are away until they are filled.
    pub awaited: Vec<Extent>,
    /// The holding found last.
    last: usize,
}

impl Space {
    pub fn new(single_threaded: bool) -> Self {
        Self {
            holdings: Vec::new(),
            pages: Vec::new(),
            away: 0,
            single_threaded,
            account: Account::default(),
            booked: false,
            protected: 0,
            faulted: 0,
            relied_on: Vec::new(),
            awaited: Vec::new(),
            last: 0,
        }
    }

    /// What was booked so far.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// The account, to book on.
    #[inline(always)]
    pub const fn book(&mut self) -> &mut Account {
        self.booked = true;
        &mut self.account
    }

    /// The account, if something was booked since this was last called.
    #[inline(always)]
    pub const fn take_news(&mut self) -> Option<&Account> {
        match core::mem::replace(&mut self.booked, false) {
            true => Some(&self.account),
            false => None,
        }
    }

    /// Adds a range whose pages have the frames from `first` on.
    pub fn hold(&mut self, address: u32, bytes: u32, grain: u32, writable: bool, first: FrameId) {
        self.holdings.push(Holding {
            address,
            bytes,
            grain,
            writable,
            first_page: self.pages.len() as u32,
        });
        let state = match writable {
            true => PageState::Open,
            false => PageState::Protected,
        };
        let frames = first.0..first.0 + (bytes >> grain);
        let page = |n| Page {
            frame: FrameId(n),
            state,
        };
        self.pages.extend(frames.map(page));
    }

    /// Changes a page, of which there is one.
    pub fn set_page(&mut self, number: u32, page: Page) {
        let old = core::mem::replace(&mut self.pages[number as usize], page);
        self.away += u32::from(page.state.is_away());
        self.away -= u32::from(old.state.is_away());
    }

    /// The holding in which all of `extent` lies.
    #[inline]
    pub fn find(&mut self, extent: Extent) -> Option<Holding> {
        if let Some(holding) = self.holdings.get(self.last)
            && holding.contains(extent)
        {
            return Some(*holding);
        }
        self.last = self.holdings.iter().position(|h| h.contains(extent))?;
        self.holdings.get(self.last).copied()
    }

    /// The holding found last.
    #[inline]
    pub fn last_found(&self) -> Option<&Holding> {
        self.holdings.get(self.last)
    }

    /// The pages that the bytes touch.
    #[inline]
    pub fn pages_in(&self, holding: &Holding, extent: Extent) -> &[Page] {
        if extent.len == 0 {
            return &[];
        }
        let first = holding.page_of(extent.address).0 as usize;
        let end = first + holding.pages_of(extent) as usize;
        self.pages.get(first..end).unwrap_or(&[])
    }

    /// Whether an output relies on some of the bytes, which lie in large pages.
    #[inline]
    pub fn relies_on(&self, extent: Extent) -> bool {
        overlaps(&self.relied_on, extent)
    }

    /// Whether some of the bytes are being received into, as far as that is
    /// kept in `awaited`.
    #[inline]
    pub fn awaits(&self, extent: Extent) -> bool {
        overlaps(&self.awaited, extent)
    }

    /// Forgets one output that relied on bytes of large pages.
    pub fn no_longer_relies_on(&mut self, extent: Extent) {
        forget(&mut self.relied_on, extent);
    }

    /// Forgets one input.
    pub fn no_longer_awaits(&mut self, extent: Extent) {
        forget(&mut self.awaited, extent);
    }

    /// In 256ths: how many protected pages are written to; all of them unless
    /// it is known better.
    pub fn fault_rate(&self) -> u32 {
        match u64::from(self.protected) {
            0 => 256,
            all => (u64::from(self.faulted) * 256 / all).min(256) as u32,
        }
    }

    /// Books that pages were protected; old experience fades.
    pub fn note_protected(&mut self, pages: u32) {
        self.protected += pages;
        if self.protected > 4096 {
            self.protected /= 2;
            self.faulted /= 2;
        }
    }
}

fn overlaps(extents: &[Extent], extent: Extent) -> bool {
    let overlaps = |other: &Extent| {
        u64::from(extent.address) < other.end() && u64::from(other.address) < extent.end()
    };
    extent.len != 0 && extents.iter().any(overlaps)
}

fn forget(extents: &mut Vec<Extent>, extent: Extent) {
    if let Some(found) = extents.iter().position(|e| *e == extent) {
        extents.swap_remove(found);
    }
}
