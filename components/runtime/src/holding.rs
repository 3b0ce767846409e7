//! Memory that an I/O manager holds, and its clients' address spaces.
//!
//! Problem: the manager maps, unmaps and protects pages of its clients while
//! they run, and gives physical addresses to a driver; a wrong slot or address
//! would do that to another page. Invariant: pages are named by a [`Holding`],
//! which only the start-up page makes, and a number below its count; so a page
//! of a client is only ever mapped in that client, at its own address or not at
//! all, and the windows of this component stay mapped whatever happens there.

use core::fmt;
use core::ptr::NonNull;

use sel4::{CapRights, VmAttributes, cap, cap_type};
use shared_ring::SharedMemory;
use system_description::{self as description, NO_CLIENT, PAYLOAD, Record, map};

use crate::Component;
use crate::component::slot;

/// Whose memory a [`Holding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The client with this number: the `index` of its `Sockets` link.
    Client(u16),
    /// Nobody's: the manager's reserve.
    Reserve,
    /// Nobody's: payload buffers of the NIC, the data of the `Frames` link.
    Payload,
}

/// Memory whose frames this component holds.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// Whose it is.
    pub owner: Owner,
    /// Where the client has it mapped at the start; 0 if it is no client's.
    pub vaddr: u64,
    /// Bytes of a page: 4 KiB or 2 MiB.
    pub page: u64,
    /// How many pages it has.
    pub pages: u32,
    /// Whether the client may write to it. If not, the window is mapped
    /// read-only here too: storing to it faults.
    pub writable: bool,
    /// All of it, as mapped here.
    pub window: SharedMemory,
    slot: u32,
}

/// Why a page was not mapped, unmapped or asked for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The holding has no such page.
    Number,
    /// The kernel refused, for example because the client is dead.
    Kernel(sel4::Error),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => f.write_str("no such page"),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PageError {}

impl From<sel4::Error> for PageError {
    fn from(error: sel4::Error) -> Self {
        Self::Kernel(error)
    }
}

/// The address space of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientSpace {
    /// Number of the client.
    pub client: u16,
    slot: u32,
}

impl ClientSpace {
    fn cap(self) -> cap::VSpace {
        slot(self.slot)
    }
}

fn rights(writable: bool) -> CapRights {
    match writable {
        true => CapRights::read_write(),
        false => CapRights::read_only(),
    }
}

impl Holding {
    fn new(record: &description::Holding) -> Option<Self> {
        let page = if record.large {
            map::LARGE_PAGE
        } else {
            map::PAGE
        };
        let base = NonNull::new(record.own_vaddr as *mut u8)?;
        Some(Self {
            owner: match record.client {
                NO_CLIENT => Owner::Reserve,
                PAYLOAD => Owner::Payload,
                client => Owner::Client(client),
            },
            vaddr: record.vaddr,
            page,
            pages: (record.bytes / page) as u32,
            writable: record.writable,
            // SAFETY: the root task mapped all of it there for good, and no
            // Rust reference to it is ever made.
            window: unsafe { SharedMemory::new(base, record.bytes as usize) },
            slot: record.slot,
        })
    }

    fn frame(&self, page: u32) -> Result<cap::UnspecifiedPage, PageError> {
        if page >= self.pages {
            return Err(PageError::Number);
        }
        Ok(slot::<cap_type::UnspecifiedPage>(self.slot + page))
    }

    /// The physical address of a page. A system call.
    ///
    /// # Errors
    /// A [`PageError`].
    pub fn paddr(&self, page: u32) -> Result<u64, PageError> {
        Ok(self.frame(page)?.frame_get_address()? as u64)
    }

    /// Maps a page at `vaddr` in a client, where nothing is mapped now, or
    /// changes its rights if it is mapped there. A client's own page is mapped
    /// at the start; any other is mapped by this in one place at a time.
    ///
    /// # Errors
    /// A [`PageError`]: of the kernel, if something else is mapped there or the
    /// page is mapped elsewhere.
    pub fn map(
        &self,
        page: u32,
        space: ClientSpace,
        vaddr: u64,
        writable: bool,
    ) -> Result<(), PageError> {
        let frame = self.frame(page)?;
        let attributes = VmAttributes::DEFAULT;
        frame.frame_map(space.cap(), vaddr as usize, rights(writable), attributes)?;
        Ok(())
    }

    /// Changes the client's rights to a page that is mapped there. One system
    /// call; the client sees it at once, since it runs in another address space
    /// than this component.
    ///
    /// # Errors
    /// A [`PageError`]: of the kernel, if the page is not mapped there.
    pub fn protect(&self, page: u32, space: ClientSpace, writable: bool) -> Result<(), PageError> {
        let frame = self.frame(page)?;
        frame.frame_remap(space.cap(), rights(writable), VmAttributes::DEFAULT)?;
        Ok(())
    }

    /// Takes a page out of the client's address space, if it is there. The
    /// window here stays.
    ///
    /// # Errors
    /// A [`PageError`].
    pub fn unmap(&self, page: u32) -> Result<(), PageError> {
        Ok(self.frame(page)?.frame_unmap()?)
    }
}

impl Component {
    /// All memory that this component holds, in order of address in it for each
    /// client.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> + use<> {
        self.records().filter_map(|record| match record {
            Record::Holding(holding) => Holding::new(&holding),
            _ => None,
        })
    }

    /// The address spaces of its clients.
    pub fn spaces(&self) -> impl Iterator<Item = ClientSpace> + use<> {
        self.records().filter_map(|record| match record {
            Record::Space { client, slot } => Some(ClientSpace { client, slot }),
            _ => None,
        })
    }
}
