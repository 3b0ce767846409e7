//! Data passing's machine on seL4: capabilities to frames, windows onto them.
//!
//! Problem: data passing names frames by numbers; the kernel wants a capability
//! for each page operation, a device an address, and a copy a window. Invariant:
//! numbers are given in order, once, by [`Windows`]; the capabilities to frames
//! next to each other have numbers next to each other.

use alloc::vec::Vec;

use component_runtime::clock::tsc;
use component_runtime::{ClientSpace, Component, Holding, Owner, PageError};
use data_passing::{FrameId, HoldingConfig, Machine, MachineError, Place, Rights};
use shared_ring::SharedMemory;

use crate::Windows;

/// Bytes of a frame of the smaller kind.
const SMALL: u64 = 4096;

/// The capabilities to frames next to each other.
#[derive(Clone, Copy, Debug)]
struct Capabilities {
    /// The frames' first number.
    first: u32,
    holding: Holding,
}

/// All frames that this component can name. See the module's documentation.
#[derive(Debug, Default)]
pub struct Sel4 {
    windows: Windows,
    /// In order of the numbers.
    capabilities: Vec<Capabilities>,
    /// By number of the client.
    spaces: Vec<Option<ClientSpace>>,
    /// How many times as long page operations are made to take.
    burden: u32,
}

/// Everything that the start-up page says this component holds.
#[derive(Debug)]
pub struct Held {
    /// The machine that knows it.
    pub machine: Sel4,
    /// The clients' memory, by number of the client.
    pub clients: Vec<Vec<HoldingConfig>>,
    /// The reserve: its first frame, and how many.
    pub reserve: (FrameId, u32),
    /// First frame of the payload buffers of each NIC, in order of the links.
    pub payload: Vec<FrameId>,
}

impl Held {
    /// Looks at everything. Some system calls a frame.
    ///
    /// # Errors
    /// The kernel's; none if root task and component match.
    pub fn by(component: &Component) -> Result<Self, PageError> {
        let mut this = Self {
            machine: Sel4::default(),
            clients: Vec::new(),
            reserve: (FrameId(0), 0),
            payload: Vec::new(),
        };
        for space in component.spaces() {
            *entry(&mut this.machine.spaces, space.client) = Some(space);
            entry(&mut this.clients, space.client);
        }
        for holding in component.holdings() {
            let first = this.machine.hold(holding)?;
            match holding.owner {
                Owner::Reserve => this.reserve = (first, holding.pages),
                Owner::Payload => this.payload.push(first),
                Owner::Client(client) => {
                    entry(&mut this.clients, client).push(HoldingConfig {
                        address: holding.vaddr as u32,
                        bytes: holding.window.len() as u32,
                        large: holding.page != SMALL,
                        writable: holding.writable,
                        first,
                    });
                }
            }
        }
        Ok(this)
    }
}

/// The entry for a number, made if it is not there.
fn entry<T: Default>(list: &mut Vec<T>, number: u16) -> &mut T {
    let number = usize::from(number);
    if list.len() <= number {
        list.resize_with(number + 1, T::default);
    }
    &mut list[number]
}

impl Sel4 {
    fn hold(&mut self, holding: Holding) -> Result<FrameId, PageError> {
        let first = self.windows.count();
        let bytes = holding.page as usize;
        for page in 0..holding.pages {
            let window = holding.window.slice(page as usize * bytes, bytes);
            let window = window.map_err(|_| PageError::Number)?;
            let paddr = holding.paddr(page)?;
            self.windows.add(window, paddr, holding.writable);
        }
        self.capabilities.push(Capabilities { first, holding });
        Ok(FrameId(first))
    }

    /// Makes page operations take `times` as long as they do, to see what comes
    /// of that.
    pub fn burden(&mut self, times: u32) {
        self.burden = times;
    }

    /// Does a page operation, and idles as long again as it is to take.
    #[inline]
    fn burdened<R>(&self, operation: impl FnOnce() -> R) -> R {
        match self.burden {
            0 | 1 => operation(),
            times => idle_after(times, operation),
        }
    }

    /// Adds contiguous memory that is mapped here, at `paddr`, in frames that
    /// can be copied from and to but not be mapped in clients; the first one's
    /// number.
    pub fn add_region(&mut self, memory: SharedMemory, paddr: u64) -> Option<FrameId> {
        let first = FrameId(self.windows.count());
        let frame = SMALL as usize;
        for at in (0..memory.len()).step_by(frame) {
            let window = memory.slice(at, frame.min(memory.len() - at)).ok()?;
            self.windows.add(window, paddr + at as u64, true);
        }
        Some(first)
    }

    /// What page operations on a frame for a client need.
    fn page(&self, client: u16, id: FrameId) -> Option<(&Holding, u32, ClientSpace)> {
        let behind = self.capabilities.partition_point(|c| c.first <= id.0);
        let Capabilities { first, holding } = self.capabilities.get(behind.checked_sub(1)?)?;
        let page = id.0 - first;
        let space = self.spaces.get(usize::from(client)).copied().flatten()?;
        (page < holding.pages).then_some((holding, page, space))
    }
}

impl Machine for Sel4 {
    #[inline(always)]
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        self.windows.copy(from, to, len);
    }

    #[inline]
    fn write(&mut self, to: Place, bytes: &[u8]) {
        self.windows.write(to, bytes);
    }

    #[inline]
    fn read(&self, from: Place, into: &mut [u8]) {
        self.windows.read(from, into);
    }

    fn clear(&mut self, at: Place, len: u32) {
        self.windows.clear(at, len);
    }

    #[inline(always)]
    fn sum(&self, at: Place, len: u32) -> u16 {
        self.windows.sum(at, len)
    }

    #[inline(always)]
    fn paddr(&self, at: Place) -> u64 {
        self.windows.paddr(at)
    }

    fn map(
        &mut self,
        client: u16,
        address: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError> {
        let (holding, page, space) = self.page(client, frame).ok_or(MachineError)?;
        let writable = rights == Rights::Write;
        let mapped = self.burdened(|| holding.map(page, space, address.into(), writable));
        mapped.map_err(|_| MachineError)
    }

    fn unmap(&mut self, client: u16, _: u32, frame: FrameId) -> Result<(), MachineError> {
        let (holding, page, _) = self.page(client, frame).ok_or(MachineError)?;
        let unmapped = self.burdened(|| holding.unmap(page));
        unmapped.map_err(|_| MachineError)
    }

    fn protect(
        &mut self,
        client: u16,
        _: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError> {
        let (holding, page, space) = self.page(client, frame).ok_or(MachineError)?;
        let writable = rights == Rights::Write;
        let changed = self.burdened(|| holding.protect(page, space, writable));
        changed.map_err(|_| MachineError)
    }
}

/// Does something and idles, so that it takes `times` as long in all.
#[cold]
fn idle_after<R>(times: u32, work: impl FnOnce() -> R) -> R {
    let start = tsc();
    let result = work();
    let took = tsc() - start;
    let end = start + took * u64::from(times);
    // Few looks at the clock, which are slow under emulation; a round of the
    // inner loop is about an instruction a step.
    loop {
        let left = end.saturating_sub(tsc());
        if left == 0 {
            return result;
        }
        for step in 0..left / 8 {
            core::hint::black_box(step);
        }
    }
}
