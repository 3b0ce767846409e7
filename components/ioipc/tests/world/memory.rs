//! A client's memory as the manager knows it: by address.
//!
//! Three spans: the data region, an arena for the application's own buffers,
//! and a part that is only to be read. Each page of the data region is there,
//! hidden or gone; what names a page that is not there is refused, so a library
//! that forgets where its pages went fails.

use std::sync::Mutex;

use ioipc::Semantics;
use shared_ring::{Region, SharedMemory};
use socket_api::Extent;

/// Where the data region lies.
pub const DATA: u32 = 0x4000_0000;
/// Where the arena lies.
pub const ARENA: u32 = 0x5000_0000;
/// Where constants lie.
pub const CONSTANTS: u32 = 0x6000_0000;
/// Bytes of the arena, and of the constants.
pub const ARENA_BYTES: usize = 4 << 20;
pub const CONSTANT_BYTES: usize = 64 << 10;
const PAGE: u32 = 4096;
/// What is found where pages went away.
const POISON: u8 = 0xde;

/// Whether a page is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    There,
    Hidden,
    Gone,
}

pub struct Memory {
    data: SharedMemory,
    arena: SharedMemory,
    constants: SharedMemory,
    pages: Mutex<Vec<Page>>,
}

fn leak(bytes: usize) -> SharedMemory {
    // Page-aligned, so that addresses here and there agree in their last bits.
    let words = Box::leak(vec![0u64; (bytes + 4096) / 8].into_boxed_slice());
    let skip = words.as_ptr().align_offset(4096);
    SharedMemory::from_static(&mut words[skip..skip + bytes / 8])
}

fn base(memory: &SharedMemory) -> std::ptr::NonNull<u8> {
    let pointer = std::ptr::with_exposed_provenance_mut(memory.address());
    std::ptr::NonNull::new(pointer).unwrap()
}

impl Memory {
    pub fn new(data_bytes: usize) -> Self {
        Self {
            data: leak(data_bytes),
            arena: leak(ARENA_BYTES),
            constants: leak(CONSTANT_BYTES),
            pages: Mutex::new(vec![Page::There; data_bytes / PAGE as usize]),
        }
    }

    pub fn data(&self) -> Extent {
        Extent {
            address: DATA,
            len: self.data.len() as u32,
        }
    }

    /// The data region, for the library. The manager keeps reaching it, as the
    /// real one does.
    pub fn region(&self) -> Region {
        // SAFETY: mapped for good; the manager below writes only while a
        // request says so, and nothing else here touches it.
        unsafe { Region::new(base(&self.data), self.data.len()) }
    }

    /// The arena as memory that anybody may change.
    pub fn arena(&self) -> SharedMemory {
        self.arena
    }

    /// A piece of the arena as an application's own bytes.
    ///
    /// # Safety
    /// No two pieces that are in use overlap.
    #[allow(clippy::mut_from_ref, reason = "what the pieces are made of")]
    pub unsafe fn piece(&self, offset: usize, len: usize) -> &'static mut [u8] {
        let piece = self.arena.slice(offset, len).unwrap();
        // SAFETY: in the arena, and the caller's alone; see `region` for the
        // manager.
        unsafe { std::slice::from_raw_parts_mut(base(&piece).as_ptr(), len) }
    }

    /// Bytes that cannot be written.
    pub fn constants(&self) -> &'static [u8] {
        // SAFETY: never written.
        unsafe { std::slice::from_raw_parts(base(&self.constants).as_ptr(), CONSTANT_BYTES) }
    }

    /// The client's address of a pointer of this program.
    pub fn address_of(&self, pointer: usize, len: usize) -> Option<u32> {
        let spans = [
            (self.data, DATA),
            (self.arena, ARENA),
            (self.constants, CONSTANTS),
        ];
        spans.iter().find_map(|(memory, address)| {
            let offset = pointer.checked_sub(memory.address())?;
            (offset.checked_add(len)? <= memory.len()).then(|| address + offset as u32)
        })
    }

    fn span(&self, extent: Extent) -> Option<(SharedMemory, usize)> {
        let (memory, base) = match extent.address {
            CONSTANTS.. => (self.constants, CONSTANTS),
            ARENA.. => (self.arena, ARENA),
            DATA.. => (self.data, DATA),
            _ => return None,
        };
        let offset = (extent.address - base) as usize;
        let fits = offset + extent.len as usize <= memory.len();
        fits.then_some((memory, offset))
    }

    fn pages(&self, extent: Extent) -> std::ops::Range<usize> {
        if extent.address < DATA || extent.address >= ARENA || extent.len == 0 {
            return 0..0;
        }
        let at = extent.address - DATA;
        (at / PAGE) as usize..(at + extent.len).div_ceil(PAGE) as usize
    }

    /// Whether a request may name the extent.
    pub fn may_name(&self, extent: Extent, writes: bool, semantics: Semantics) -> bool {
        if self.span(extent).is_none() || (writes && extent.address >= CONSTANTS) {
            return false;
        }
        let moves = matches!(semantics, Semantics::Move | Semantics::EmulatedMove);
        let pages = self.pages(extent);
        if moves && (pages.is_empty() || !extent.address.is_multiple_of(PAGE)) {
            return false;
        }
        let pages = &self.pages.lock().unwrap()[pages];
        (moves && writes) || pages.iter().all(|page| *page == Page::There)
    }

    /// Takes the pages of what was sent with `semantics` away.
    pub fn depart(&self, extent: Extent, semantics: Semantics) {
        let page = match semantics {
            Semantics::Move => Page::Gone,
            Semantics::EmulatedMove => Page::Hidden,
            _ => return,
        };
        for n in self.pages(extent) {
            self.pages.lock().unwrap()[n] = page;
            let poison = [POISON; PAGE as usize];
            self.data.write(n * PAGE as usize, &poison).unwrap();
        }
    }

    /// Gives the pages of what is received into with `semantics` back.
    pub fn arrive(&self, extent: Extent, semantics: Semantics) {
        if !matches!(semantics, Semantics::Move | Semantics::EmulatedMove) {
            return;
        }
        for n in self.pages(extent) {
            self.pages.lock().unwrap()[n] = Page::There;
            self.data
                .write(n * PAGE as usize, &[0; PAGE as usize])
                .unwrap();
        }
    }

    /// How many pages of the data region stand as `page`.
    pub fn count(&self, page: Page) -> usize {
        let pages = self.pages.lock().unwrap();
        pages.iter().filter(|p| **p == page).count()
    }

    pub fn read(&self, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0; extent.len as usize];
        let (memory, offset) = self.span(extent).unwrap();
        memory.read(offset, &mut bytes).unwrap();
        bytes
    }

    pub fn write(&self, address: u32, bytes: &[u8]) {
        let len = bytes.len() as u32;
        let (memory, offset) = self.span(Extent { address, len }).unwrap();
        memory.write(offset, bytes).unwrap();
    }
}
