//! Protection domains and their threads.
//!
//! Invariant: a component's CSpace holds what the description grants, its own
//! notification and endpoint, and one capability per thread to report that
//! thread's faults with; the latter carry a badge, so a component can report
//! nobody's faults but its own.

use alloc::vec;
use alloc::vec::Vec;

use root_task::elf::Image;
use root_task::pci::Function;
use sel4::init_thread;
use sel4::{
    AbsoluteCPtr, CNodeCapData, CPtr, CapRights, FrameObjectType, ObjectBlueprint, UserContext, cap,
};
use system_description::map::{self, PAGE, slot};
use system_description::{Component as Description, Record, Thread, startup};

use crate::failure::{Cause, Context, Failure};
use crate::holding::{Hoard, Keeping};
use crate::kernel::{Kernel, Pool, cap_in, place};
use crate::space::{Access, Space, Windows};

/// Slot of the capability that thread `n` reports its faults with, minus `n`.
const FAULTS: u32 = 0x20;

/// Marks a fault in the badge of the supervisor's endpoint.
const FAULT_BADGE: u64 = 1 << 24;
/// Marks what an I/O manager passes on.
const FORWARD_BADGE: u64 = 1 << 25;

/// The badge that faults of a thread arrive with.
#[must_use]
pub fn fault_badge(component: usize, thread: usize) -> u64 {
    FAULT_BADGE | (component as u64) << 8 | thread as u64
}

/// The badge of what I/O manager `component` passes on.
#[must_use]
pub fn forward_badge(component: usize) -> u64 {
    FORWARD_BADGE | (component as u64) << 8
}

/// Who reports a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// A thread of a component, its own.
    Thread(usize, usize),
    /// An I/O manager, one of its clients'.
    Manager(usize),
}

/// Who sends with this badge.
#[must_use]
pub fn reporter(badge: u64) -> Reporter {
    let component = (badge & (FAULT_BADGE - 1)) as usize >> 8;
    match badge & FORWARD_BADGE {
        0 => Reporter::Thread(component, badge as usize & 0xff),
        _ => Reporter::Manager(component),
    }
}

/// A frame of a region, mapped in a component.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Slot of the capability that is mapped.
    pub slot: usize,
    /// Whether that capability is a copy, in a slot of the component's pool.
    pub copy: bool,
    /// Number of the region; `None` once the region is gone.
    pub region: Option<u16>,
    /// Where.
    pub vaddr: u64,
    /// How.
    pub access: Access,
}

/// A component, built or being built.
#[derive(Debug)]
pub struct Component {
    /// Where all its private objects come from.
    pub pool: Pool,
    /// Its address space.
    pub space: Space,
    /// Frames of regions that are mapped there.
    pub mapped: Vec<Mapped>,
    /// Its notification.
    pub notification: cap::Notification,
    /// Its endpoint, if it can be called.
    pub endpoint: Option<cap::Endpoint>,
    /// Its endpoint, whether or not it can be called.
    pub own_endpoint: cap::Endpoint,
    /// What it holds of others' memory, if it is an I/O manager.
    pub hoard: Option<Hoard>,
    /// PCI functions that it drives.
    pub functions: Vec<Function>,
    cnode: cap::CNode,
    cnode_bits: u8,
    threads: Vec<cap::Tcb>,
}

impl Component {
    /// Makes what other components may refer to: CSpace of 2^`cnode_bits`
    /// slots, address space, notification, endpoint.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn create(
        kernel: &mut Kernel,
        description: &Description<&str, &[u8]>,
        cnode_bits: u8,
    ) -> Result<Self, Cause> {
        let mut pool = Pool::default();
        if !(6..=16).contains(&cnode_bits) {
            return Err(Cause::Rule("its CSpace has an impossible size"));
        }
        let size_bits = cnode_bits.into();
        let cnode = kernel.object(&mut pool, ObjectBlueprint::CNode { size_bits })?;
        let notification = kernel.notification(&mut pool)?;
        // One that nobody may call lets a server without clients wait on it.
        let endpoint = kernel.endpoint(&mut pool)?;
        let this = Self {
            space: Space::new(kernel, &mut pool)?,
            pool,
            mapped: Vec::new(),
            notification,
            endpoint: description.endpoint.then_some(endpoint),
            own_endpoint: endpoint,
            hoard: description.keeps.map(Hoard::new),
            functions: Vec::new(),
            cnode,
            cnode_bits,
            threads: Vec::new(),
        };
        let own = this.place(slot::NOTIFICATION)?;
        own.copy(&absolute(notification), CapRights::read_write())?;
        let own = this.place(slot::ENDPOINT)?;
        own.copy(&absolute(endpoint), CapRights::read_only())?;
        Ok(this)
    }

    /// A slot of the component's CSpace.
    ///
    /// # Errors
    /// [`Cause::Rule`] if it has no such slot.
    pub fn place(&self, slot: u32) -> Result<AbsoluteCPtr, Cause> {
        if slot == 0 || slot >> self.cnode_bits != 0 {
            return Err(Cause::Rule("a capability is to go outside its CSpace"));
        }
        let bits = self.cnode_bits.into();
        Ok(self
            .cnode
            .absolute_cptr_from_bits_with_depth(slot.into(), bits))
    }

    /// Loads the program.
    ///
    /// # Errors
    /// If the image is refused, and as [`Kernel::object`].
    pub fn load(
        &mut self,
        kernel: &mut Kernel,
        windows: &mut Windows,
        file: &[u8],
        mut keeping: Option<&mut Keeping<'_>>,
    ) -> Result<u64, Failure> {
        let image = Image::parse(file, map::IMAGE_END)?;
        for segment in &image.segments {
            let access = if segment.writable {
                Access::Write
            } else {
                Access::Read
            };
            let span = (segment.first_page, segment.pages as u64);
            let keeping = keeping.as_deref_mut();
            self.pages(kernel, windows, span, access, keeping, |n| segment.page(n))
                .context(format_args!("segment at {:#x}", segment.first_page))?;
        }
        Ok(image.entry)
    }

    /// Pages of memory from `first` on, zero but for what `content` says. They
    /// are private, or held by the manager.
    fn pages<'c>(
        &mut self,
        kernel: &mut Kernel,
        windows: &mut Windows,
        (first, count): (u64, u64),
        access: Access,
        keeping: Option<&mut Keeping<'_>>,
        content: impl Fn(usize) -> (usize, &'c [u8]),
    ) -> Result<(), Cause> {
        let Some(keeping) = keeping else {
            for n in 0..count {
                let at = first + n * PAGE;
                self.page(kernel, windows, at, access, content(n as usize))?;
            }
            return Ok(());
        };
        let mut part = keeping.part((first, count * PAGE), false, access)?;
        for n in 0..count {
            let slot = filled(kernel, windows, part.pool()?, content(n as usize))?;
            let at = first + n * PAGE;
            self.space
                .map(kernel, &mut self.pool, (slot, false), at, access)?;
            part.take(kernel, slot)?;
        }
        Ok(())
    }

    /// A private page at `vaddr`, zero but for the content: bytes from an
    /// offset on.
    fn page(
        &mut self,
        kernel: &mut Kernel,
        windows: &mut Windows,
        vaddr: u64,
        access: Access,
        content: (usize, &[u8]),
    ) -> Result<cap::Granule, Cause> {
        let slot = filled(kernel, windows, &mut self.pool, content)?;
        self.space
            .map(kernel, &mut self.pool, (slot, false), vaddr, access)?;
        Ok(cap_in(slot))
    }

    /// Makes thread number `n`, which will start at `entry`, but not before
    /// [`Component::start`]. Its faults go to the endpoint with the badge.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn add_thread(
        &mut self,
        kernel: &mut Kernel,
        windows: &mut Windows,
        (n, thread): (usize, &Thread<&str>),
        entry: u64,
        (faults, badge): (cap::Endpoint, u64),
        keeping: Option<&mut Keeping<'_>>,
    ) -> Result<(), Cause> {
        let guarded = thread.stack_bytes > 0
            && thread.stack.is_multiple_of(PAGE)
            && thread.stack_bytes.is_multiple_of(PAGE)
            && n < map::MAX_THREADS as usize;
        if !guarded {
            return Err(Cause::Rule("its stack does not consist of pages"));
        }
        let stack = (thread.stack, thread.stack_bytes / PAGE);
        self.pages(kernel, windows, stack, Access::Write, keeping, |_| (0, &[]))?;
        let buffer = self.page(kernel, windows, thread.ipc_buffer, Access::Write, (0, &[]))?;
        let send = CapRights::new(true, true, false, true);
        self.place(FAULTS + n as u32)?
            .mint(&absolute(faults), send, badge)?;
        let tcb = self.tcb(kernel, (n, thread), buffer)?;
        let mut registers = UserContext::default();
        *registers.pc_mut() = entry;
        *registers.sp_mut() = thread.stack + thread.stack_bytes;
        *registers.c_param_mut(0) = n as u64;
        tcb.tcb_write_all_registers(false, &mut registers)?;
        self.threads.push(tcb);
        Ok(())
    }

    /// A thread without registers, and the notification that it waits on.
    fn tcb(
        &mut self,
        kernel: &mut Kernel,
        (n, thread): (usize, &Thread<&str>),
        buffer: cap::Granule,
    ) -> Result<cap::Tcb, Cause> {
        let tcb: cap::Tcb = kernel.object(&mut self.pool, ObjectBlueprint::Tcb)?;
        tcb.tcb_configure(
            CPtr::from_bits(u64::from(FAULTS) + n as u64),
            self.cnode,
            CNodeCapData::skip(sel4::WORD_SIZE - usize::from(self.cnode_bits)),
            self.space.cap(),
            thread.ipc_buffer,
            buffer,
        )?;
        let authority = init_thread::slot::TCB.cap();
        tcb.tcb_set_sched_params(authority, 0, thread.priority.into())?;
        if n == 0 {
            tcb.tcb_bind_notification(self.notification)?;
        } else {
            let own = kernel.notification(&mut self.pool)?;
            let at = self.place(slot::THREAD_NOTIFICATION + n as u32)?;
            at.copy(&absolute(own), CapRights::read_write())?;
        }
        Ok(tcb)
    }

    /// Writes and maps the start-up page.
    ///
    /// # Errors
    /// If the records do not fit, and as [`Kernel::object`].
    pub fn introduce(
        &mut self,
        kernel: &mut Kernel,
        windows: &mut Windows,
        records: Vec<Record<&str, &[u8]>>,
    ) -> Result<(), Cause> {
        let mut pages = vec![0; map::STARTUP_MAX as usize];
        let used = startup::write(records, &mut pages)?;
        for (n, page) in pages[..used].chunks(PAGE as usize).enumerate() {
            let at = map::STARTUP + n as u64 * PAGE;
            self.page(kernel, windows, at, Access::Read, (0, page))?;
        }
        Ok(())
    }

    /// Lets all threads run. A thread that blocks in the kernel makes its
    /// system call again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(&self) -> Result<(), Cause> {
        for thread in &self.threads {
            thread.tcb_resume()?;
        }
        Ok(())
    }

    /// Stops all threads.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stop(&self) -> Result<(), Cause> {
        for thread in &self.threads {
            thread.tcb_suspend()?;
        }
        Ok(())
    }

    /// Takes region `number` away: an empty page of the component's own, the
    /// same everywhere, appears in its place, so that the component may go on
    /// touching what it has not yet heard is gone.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn bereave(&mut self, kernel: &mut Kernel, number: u16, large: bool) -> Result<(), Cause> {
        let of_region = |page: &mut Mapped| page.region == Some(number);
        let gone: Vec<Mapped> = self.mapped.extract_if(.., of_region).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let kind = FrameObjectType::GRANULE.blueprint();
        let empty: cap::Granule = kernel.object(&mut self.pool, kind)?;
        let pages = if large { map::LARGE_PAGE / PAGE } else { 1 };
        for old in gone {
            cap_in::<sel4::cap_type::UnspecifiedPage>(old.slot).frame_unmap()?;
            if old.copy {
                place(old.slot).delete()?;
            }
            for n in 0..pages {
                // The slot of a copy is free again for one page.
                let slot = if old.copy && n == 0 {
                    old.slot
                } else {
                    kernel.slots(&mut self.pool, 1)?
                };
                place(slot).copy(&absolute(empty), CapRights::all())?;
                let vaddr = old.vaddr + n * PAGE;
                self.space
                    .map(kernel, &mut self.pool, (slot, false), vaddr, old.access)?;
                self.mapped.push(Mapped {
                    slot,
                    copy: true,
                    region: None,
                    vaddr,
                    ..old
                });
            }
        }
        Ok(())
    }

    /// Reclaims the component: what it maps of others is unmapped, the rest
    /// ceases to exist. What an I/O manager holds of it stays, mapped nowhere
    /// but there: with the address space its mappings are gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn destroy(self, kernel: &mut Kernel) -> Result<Option<Hoard>, Cause> {
        self.stop()?;
        for page in self.mapped {
            cap_in::<sel4::cap_type::UnspecifiedPage>(page.slot).frame_unmap()?;
        }
        kernel.release(self.pool)?;
        Ok(self.hoard)
    }
}

/// The slot of a new page from `pool`, zero but for the content: bytes from an
/// offset on.
fn filled(
    kernel: &mut Kernel,
    windows: &mut Windows,
    pool: &mut Pool,
    (offset, bytes): (usize, &[u8]),
) -> Result<usize, Cause> {
    let kind = FrameObjectType::GRANULE.blueprint();
    let frame: cap::Granule = kernel.object(pool, kind)?;
    let slot = frame.bits() as usize;
    if !bytes.is_empty() {
        windows.fill_page(kernel, slot, |page| {
            if let Some(to) = page.get_mut(offset..offset + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        })?;
    }
    Ok(slot)
}

/// Where a capability of the root task's lies.
pub fn absolute<T: sel4::CapType>(cap: sel4::Cap<T>) -> AbsoluteCPtr {
    place(cap.bits() as usize)
}
