//! Memory that components share.
//!
//! Invariant: a region's memory is free again only when every mapping was
//! removed and no living component knows its physical address.

use alloc::vec::Vec;

use sel4::FrameObjectType;
use shared_ring::RingLayout;
use system_description::map::{LARGE_PAGE, PAGE};
use system_description::{Mapping, PageSize, Region as Description};

use crate::component::{Component, Mapped};
use crate::failure::{Cause, Context, Failure};
use crate::holding::Keeping;
use crate::kernel::{Kernel, Pool};
use crate::space::{Access, Windows};

/// A region of the system.
#[derive(Debug)]
pub struct Region {
    /// Slots of its frames, in order of address.
    pub frames: Vec<usize>,
    /// Whether the frames have 2 MiB.
    pub large: bool,
    /// Its physical address if it is contiguous, otherwise 0.
    pub paddr: u64,
    pool: Pool,
    /// Whether a component maps the original capabilities. The others map
    /// copies: the kernel allows one mapping per capability.
    originals_mapped: bool,
}

impl Region {
    /// Makes the frames and formats the rings.
    ///
    /// # Errors
    /// That the memory is exhausted, or a ring does not fit.
    pub fn create(
        kernel: &mut Kernel,
        windows: &mut Windows,
        description: &Description<&str>,
    ) -> Result<Self, Failure> {
        Self::make(kernel, windows, description)
            .context(format_args!("region {}", description.name))
    }

    fn make(
        kernel: &mut Kernel,
        windows: &mut Windows,
        description: &Description<&str>,
    ) -> Result<Self, Cause> {
        let large = description.page == PageSize::Large;
        let (kind, size) = if large {
            (FrameObjectType::LargePage, LARGE_PAGE)
        } else {
            (FrameObjectType::GRANULE, PAGE)
        };
        if description.bytes == 0 || !description.bytes.is_multiple_of(size) {
            return Err(Cause::Rule("its size is not a multiple of its page size"));
        }
        let mut pool = Pool::default();
        let (frames, paddr) =
            kernel.frames(&mut pool, kind, description.bytes, description.contiguous)?;
        if !description.rings.is_empty() {
            windows.with_region(kernel, &frames, large, |memory| {
                for ring in &description.rings {
                    let layout = RingLayout {
                        entry_bytes: ring.entry_bytes,
                        capacity: ring.capacity,
                        features: ring.features,
                    };
                    let at = memory.slice(ring.offset as usize, layout.bytes())?;
                    layout.format(&at)?;
                }
                Ok(())
            })?;
        }
        Ok(Self {
            frames,
            large,
            paddr: if description.contiguous { paddr } else { 0 },
            pool,
            originals_mapped: false,
        })
    }

    /// Maps the region in `component`; if it is to be held, in its manager too.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn map(
        &mut self,
        kernel: &mut Kernel,
        component: &mut Component,
        mapping: &Mapping,
        keeping: Option<&mut Keeping<'_>>,
    ) -> Result<(), Cause> {
        let access = if mapping.writable {
            Access::Write
        } else {
            Access::Read
        };
        let size = if self.large { LARGE_PAGE } else { PAGE };
        let copy = core::mem::replace(&mut self.originals_mapped, true);
        if mapping.held {
            let keeping = keeping.ok_or(Cause::Rule("nobody is there to hold it"))?;
            if copy {
                return Err(Cause::Rule("it is to be held, and is shared"));
            }
            return self.lend(kernel, component, mapping.vaddr, access, keeping);
        }
        for (n, &frame) in self.frames.iter().enumerate() {
            let slot = if copy {
                kernel.copy(&mut component.pool, frame)?
            } else {
                frame
            };
            let vaddr = mapping.vaddr + n as u64 * size;
            let page = (slot, self.large);
            component
                .space
                .map(kernel, &mut component.pool, page, vaddr, access)?;
            component.mapped.push(Mapped {
                slot,
                copy,
                region: Some(mapping.region),
                vaddr,
                access,
            });
        }
        Ok(())
    }

    /// Maps the region in a client and in its manager, who holds it then.
    fn lend(
        &self,
        kernel: &mut Kernel,
        client: &mut Component,
        vaddr: u64,
        access: Access,
        keeping: &mut Keeping<'_>,
    ) -> Result<(), Cause> {
        let size = if self.large { LARGE_PAGE } else { PAGE };
        let span = (vaddr, self.frames.len() as u64 * size);
        let mut part = keeping.part(span, self.large, access)?;
        for (n, &frame) in self.frames.iter().enumerate() {
            let (at, page) = (vaddr + n as u64 * size, (frame, self.large));
            client
                .space
                .map(kernel, &mut client.pool, page, at, access)?;
            part.take(kernel, frame)?;
        }
        Ok(())
    }

    /// Gives the memory back. Nobody may map it any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn release(self, kernel: &mut Kernel) -> Result<(), Cause> {
        kernel.release(self.pool)
    }
}
