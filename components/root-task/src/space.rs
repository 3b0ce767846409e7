//! Address spaces, the root task's own windows included.
//!
//! Invariant: a frame capability is mapped at most once (the kernel keeps one
//! mapping per capability), and whoever maps keeps the slot to unmap it.

use alloc::collections::BTreeSet;
use core::ptr::NonNull;
use core::slice;

use sel4::init_thread;
use sel4::{
    CapRights, ObjectBlueprint, ObjectBlueprintX64, ObjectBlueprintX86, VmAttributes, cap, cap_type,
};
use shared_ring::SharedMemory;
use system_description::map::{LARGE_PAGE, PAGE};

use crate::failure::Cause;
use crate::kernel::{Kernel, Pool, cap_in};

const PDPT_BYTES: u64 = 1 << 39;
const DIRECTORY_BYTES: u64 = 1 << 30;

/// How a page may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and executed.
    Read,
    /// Read and written.
    Write,
    /// Read and written, uncached.
    Device,
}

/// An address space and which tables it has.
#[derive(Debug)]
pub struct Space {
    cap: cap::VSpace,
    tables: BTreeSet<(u64, u64)>,
}

impl Space {
    /// A new, empty one for `pool`.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn new(kernel: &mut Kernel, pool: &mut Pool) -> Result<Self, Cause> {
        let cap = kernel.object(pool, ObjectBlueprintX64::PML4.into())?;
        init_thread::slot::ASID_POOL.cap().asid_pool_assign(cap)?;
        Ok(Self {
            cap,
            tables: BTreeSet::new(),
        })
    }

    /// The address space's capability.
    #[must_use]
    pub fn cap(&self) -> cap::VSpace {
        self.cap
    }

    /// Maps the frame in `slot` (2 MiB if `large`) at `vaddr`, with tables
    /// from `pool` as needed.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn map(
        &mut self,
        kernel: &mut Kernel,
        pool: &mut Pool,
        (slot, large): (usize, bool),
        vaddr: u64,
        access: Access,
    ) -> Result<(), Cause> {
        self.table(kernel, pool, PDPT_BYTES, vaddr)?;
        self.table(kernel, pool, DIRECTORY_BYTES, vaddr)?;
        if !large {
            self.table(kernel, pool, LARGE_PAGE, vaddr)?;
        }
        let (rights, attributes) = match access {
            Access::Read => (CapRights::read_only(), VmAttributes::DEFAULT),
            Access::Write => (CapRights::read_write(), VmAttributes::DEFAULT),
            Access::Device => (CapRights::read_write(), VmAttributes::CACHE_DISABLED),
        };
        let frame = cap_in::<cap_type::UnspecifiedPage>(slot);
        Ok(frame.frame_map(self.cap, vaddr as usize, rights, attributes)?)
    }

    /// Makes sure of the table that covers `span` bytes around `vaddr`.
    fn table(
        &mut self,
        kernel: &mut Kernel,
        pool: &mut Pool,
        span: u64,
        vaddr: u64,
    ) -> Result<(), Cause> {
        let base = vaddr & !(span - 1);
        if !self.tables.insert((span, base)) {
            return Ok(());
        }
        let (at, attributes) = (base as usize, VmAttributes::DEFAULT);
        match span {
            PDPT_BYTES => {
                let table: cap::PDPT = kernel.object(pool, ObjectBlueprintX64::PDPT.into())?;
                table.pdpt_map(self.cap, at, attributes)?;
            }
            DIRECTORY_BYTES => {
                let what = ObjectBlueprint::Arch(ObjectBlueprintX86::PageDirectory);
                let table: cap::PageDirectory = kernel.object(pool, what)?;
                table.page_directory_map(self.cap, at, attributes)?;
            }
            _ => {
                let what = ObjectBlueprint::Arch(ObjectBlueprintX86::PageTable);
                let table: cap::PageTable = kernel.object(pool, what)?;
                table.page_table_map(self.cap, at, attributes)?;
            }
        }
        Ok(())
    }
}

/// Where the root task maps single pages to fill them.
const SCRATCH: u64 = 0xe000_0000;
/// Where it maps what it keeps, upward.
const KEPT: u64 = 0xe020_0000;
/// Where it maps a region to format it.
const REGION: u64 = 0xe400_0000;

/// The root task's windows onto memory of others.
#[derive(Debug)]
pub struct Windows {
    space: Space,
    pool: Pool,
    next: u64,
}

impl Windows {
    /// The root task's own address space: the kernel made the PDPT.
    #[must_use]
    pub fn new() -> Self {
        Self {
            space: Space {
                cap: init_thread::slot::VSPACE.cap(),
                tables: BTreeSet::from([(PDPT_BYTES, 0)]),
            },
            pool: Pool::default(),
            next: KEPT,
        }
    }

    /// Lets `fill` write the page in `slot`, which must not be mapped.
    ///
    /// # Errors
    /// As [`Space::map`].
    pub fn fill_page(
        &mut self,
        kernel: &mut Kernel,
        slot: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Cause> {
        let page = (slot, false);
        self.space
            .map(kernel, &mut self.pool, page, SCRATCH, Access::Write)?;
        // SAFETY: the page was just mapped there, nobody else runs that could
        // use it, and the reference ends before it is unmapped.
        fill(unsafe { slice::from_raw_parts_mut(SCRATCH as *mut u8, PAGE as usize) });
        Ok(cap_in::<cap_type::Granule>(slot).frame_unmap()?)
    }

    /// Lets `f` use the region of the given frames, which must not be mapped.
    /// What it is handed must not be kept.
    ///
    /// # Errors
    /// As [`Space::map`], and those of `f`.
    pub fn with_region(
        &mut self,
        kernel: &mut Kernel,
        frames: &[usize],
        large: bool,
        f: impl FnOnce(&SharedMemory) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let memory = self.map_all(kernel, frames, large, REGION)?;
        let result = f(&memory);
        for &slot in frames {
            cap_in::<cap_type::UnspecifiedPage>(slot).frame_unmap()?;
        }
        result
    }

    /// Maps copies of the frames for good.
    ///
    /// # Errors
    /// As [`Space::map`].
    pub fn keep(
        &mut self,
        kernel: &mut Kernel,
        frames: &[usize],
        large: bool,
    ) -> Result<SharedMemory, Cause> {
        let mut copies = alloc::vec::Vec::new();
        for &frame in frames {
            copies.push(kernel.copy(&mut self.pool, frame)?);
        }
        let at = self
            .next
            .next_multiple_of(if large { LARGE_PAGE } else { PAGE });
        let memory = self.map_all(kernel, &copies, large, at)?;
        self.next = at + memory.len() as u64;
        if self.next > REGION {
            return Err(Cause::Rule("the root task keeps too much memory mapped"));
        }
        Ok(memory)
    }

    fn map_all(
        &mut self,
        kernel: &mut Kernel,
        frames: &[usize],
        large: bool,
        at: u64,
    ) -> Result<SharedMemory, Cause> {
        let size = if large { LARGE_PAGE } else { PAGE };
        let mut vaddr = at;
        for &slot in frames {
            let frame = (slot, large);
            self.space
                .map(kernel, &mut self.pool, frame, vaddr, Access::Write)?;
            vaddr += size;
        }
        let base = NonNull::new(at as *mut u8).ok_or(Cause::Rule("no address"))?;
        // SAFETY: all of it was just mapped. `keep` leaves it mapped; what
        // `with_region` lends out is not kept, as its contract says.
        Ok(unsafe { SharedMemory::new(base, (vaddr - at) as usize) })
    }
}
