//! What an I/O manager holds of its clients' memory.
//!
//! Problem: the manager is to map, unmap and protect its clients' pages, and
//! hand them to devices, without the root task; and a device may still use them
//! when the client is gone. Invariant: a client's frames come from its
//! manager's hoard and go with that; each is mapped in the client with the
//! original capability, which then moves to the manager's CSpace (a copy would
//! count as unmapped there on kernel 5.0.0, and could not unmap it), and in the
//! manager with a copy. So the root task keeps no capability that is mapped in
//! the client, and has nothing to unmap there.

use alloc::vec::Vec;

use root_task::elf::Image;
use sel4::{CapRights, cap};
use system_description::map::{self, LARGE_PAGE, PAGE};
use system_description::{Component as Description, Holding, Keeper, Keeps, PageSize, Record};

use crate::component::{Component, absolute};
use crate::failure::{Cause, Failure};
use crate::kernel::{Kernel, Pool, place};
use crate::space::Access;
use crate::system::Plan;

/// Where a manager's holdings go.
#[derive(Debug)]
pub struct Hoard {
    /// Frames of its clients' memory, and copies of their capabilities.
    pub pool: Pool,
    next: Keeps,
    records: Vec<Record<&'static str, &'static [u8]>>,
}

impl Hoard {
    /// An empty one.
    #[must_use]
    pub fn new(room: Keeps) -> Self {
        Self {
            pool: Pool::default(),
            next: room,
            records: Vec::new(),
        }
    }

    /// What the manager is told about it.
    pub fn records<'r>(&self) -> Vec<Record<&'r str, &'r [u8]>> {
        self.records.clone()
    }
}

/// A client's manager while the client is being made.
#[derive(Debug)]
pub struct Keeping<'a> {
    manager: &'a mut Component,
    client: u16,
}

/// Some of the client's memory, page by page.
#[derive(Debug)]
pub struct Part<'a> {
    manager: &'a mut Component,
    next: Keeps,
    large: bool,
    access: Access,
}

impl<'a> Keeping<'a> {
    /// Component `index`, and its manager if it has one.
    ///
    /// # Errors
    /// [`Cause::Rule`] if it is to be its own.
    pub fn of(
        components: &'a mut [Option<Component>],
        index: usize,
        keeper: Option<Keeper>,
    ) -> Result<(&'a mut Component, Option<Self>), Cause> {
        const NONE: Cause = Cause::Rule("it, or its I/O manager, has no domain of its own");
        let Some(Keeper { manager, client }) = keeper else {
            return Ok((components[index].as_mut().ok_or(NONE)?, None));
        };
        let both = components.get_disjoint_mut([index, usize::from(manager)]);
        let [component, manager] = both.map_err(|_| Cause::Rule("it is its own I/O manager"))?;
        let manager = manager.as_mut().ok_or(NONE)?;
        let component = component.as_mut().ok_or(NONE)?;
        Ok((component, Some(Self { manager, client })))
    }

    /// Where faults of the client's threads go.
    #[must_use]
    pub fn endpoint(&self) -> cap::Endpoint {
        self.manager.own_endpoint
    }

    /// The badge that they have there.
    #[must_use]
    pub fn badge(&self, thread: usize) -> u64 {
        map::fault_badge(self.client, thread as u8)
    }

    fn hoard(&mut self) -> Result<&mut Hoard, Cause> {
        let hoard = self.manager.hoard.as_mut();
        hoard.ok_or(Cause::Rule("its I/O manager is none"))
    }

    /// Gives the manager the client's address space.
    ///
    /// # Errors
    /// The kernel's, and those of the description.
    pub fn give_space(&mut self, space: cap::VSpace) -> Result<(), Cause> {
        let client = self.client;
        let hoard = self.hoard()?;
        let slot = hoard.next.slot;
        hoard.next.slot += 1;
        hoard.records.push(Record::Space { client, slot });
        let at = self.manager.place(slot)?;
        Ok(at.copy(&absolute(space), CapRights::all())?)
    }

    /// Begins a part of the client's memory: `bytes` at `vaddr`.
    ///
    /// # Errors
    /// [`Cause::Rule`] if the manager has no room for it.
    pub fn part(
        &mut self,
        (vaddr, bytes): (u64, u64),
        large: bool,
        access: Access,
    ) -> Result<Part<'_>, Cause> {
        let client = self.client;
        let page = if large { LARGE_PAGE } else { PAGE };
        let hoard = self.hoard()?;
        let next = Keeps {
            slot: hoard.next.slot,
            vaddr: hoard.next.vaddr.next_multiple_of(page),
        };
        // An unmapped page lies between any two.
        hoard.next.vaddr = next.vaddr + bytes + PAGE;
        hoard.next.slot = next.slot + (bytes / page) as u32;
        if hoard.next.vaddr > map::REGIONS_END {
            return Err(Cause::Rule("its I/O manager has no addresses left for it"));
        }
        hoard.records.push(Record::Holding(Holding {
            client,
            vaddr,
            bytes,
            large,
            writable: access != Access::Read,
            own_vaddr: next.vaddr,
            slot: next.slot,
        }));
        Ok(Part {
            manager: self.manager,
            next,
            large,
            access,
        })
    }
}

impl Part<'_> {
    /// The pool for its frames.
    ///
    /// # Errors
    /// [`Cause::Rule`] if the manager is none.
    pub fn pool(&mut self) -> Result<&mut Pool, Cause> {
        let hoard = self.manager.hoard.as_mut();
        Ok(&mut hoard.ok_or(Cause::Rule("its I/O manager is none"))?.pool)
    }

    /// Gives the manager the next frame, whose only capability is in `slot` and
    /// is mapped in the client. A copy takes its place there.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn take(&mut self, kernel: &mut Kernel, slot: usize) -> Result<(), Cause> {
        let Keeps { slot: to, vaddr } = self.next;
        let page = if self.large { LARGE_PAGE } else { PAGE };
        self.next = Keeps {
            slot: to + 1,
            vaddr: vaddr + page,
        };
        let to = self.manager.place(to)?;
        to.move_(&place(slot))?;
        place(slot).copy(&to, CapRights::all())?;
        let manager = &mut *self.manager;
        let frame = (slot, self.large);
        manager
            .space
            .map(kernel, &mut manager.pool, frame, vaddr, self.access)
    }
}

/// log2 of the slots in the CSpace of component `index`: more than the
/// description says if it is a manager whose clients' programs are large.
///
/// # Errors
/// If an image is refused, or there are more pages than a CSpace has slots.
pub fn cnode_bits(plan: &Plan, index: usize, images: &[&[u8]]) -> Result<u8, Failure> {
    let description = &plan.components[index];
    let Some(room) = description.keeps else {
        return Ok(description.cnode_bits);
    };
    let mut slots = u64::from(room.slot);
    for client in &plan.components {
        if client
            .keeper
            .is_some_and(|k| usize::from(k.manager) == index)
        {
            slots += slots_for(plan, client, images)?;
        }
    }
    if slots > map::MOST_SLOTS.into() {
        let why = "its clients have more pages than its CSpace has slots: see `grain`";
        return Err(Cause::Rule(why).into());
    }
    let bits = slots.next_power_of_two().ilog2() as u8;
    Ok(bits.max(description.cnode_bits))
}

/// Slots that a client's memory and address space take.
fn slots_for(
    plan: &Plan,
    client: &Description<&str, &[u8]>,
    images: &[&[u8]],
) -> Result<u64, Failure> {
    let file = images.get(usize::from(client.image)).copied();
    let image = Image::parse(file.unwrap_or_default(), map::IMAGE_END)?;
    let program: usize = image.segments.iter().map(|s| s.pages).sum();
    let stacks: u64 = client.threads.iter().map(|t| t.stack_bytes / PAGE).sum();
    let held = client.mappings.iter().filter(|m| m.held);
    let regions: u64 = held
        .map(|mapping| {
            let region = &plan.regions[usize::from(mapping.region)];
            match region.page {
                PageSize::Small => region.bytes / PAGE,
                PageSize::Large => region.bytes / LARGE_PAGE,
            }
        })
        .sum();
    Ok(1 + program as u64 + stacks + regions)
}
