//! Data passing's machine on seL4: capabilities to frames, windows onto them.
//!
//! Problem: data passing names frames by numbers; the kernel wants a capability
//! for each page operation, a device an address, and a copy a window. Invariant:
//! a frame's number is its place in a table that only grows, so what a number
//! stands for never changes; a window is this component's own mapping and stays
//! whatever is mapped in the clients. What leaves a frame is not done at all.

use alloc::vec::Vec;

use component_runtime::clock::tsc;
use component_runtime::{ClientSpace, Component, Holding, Owner, PageError};
use data_passing::{FrameId, HoldingConfig, Machine, MachineError, Place, Rights};
use shared_ring::SharedMemory;

/// Bytes of a frame of the smaller kind.
const SMALL: u64 = 4096;

/// Frames next to each other in a window.
#[derive(Clone, Copy, Debug)]
struct Window {
    memory: SharedMemory,
    /// Bytes of a frame.
    frame: u32,
    /// The capabilities, if there are any.
    holding: Option<Holding>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    paddr: u64,
    /// Number of its window.
    window: u32,
    /// Its number there.
    page: u32,
}

/// All frames that this component can name. See the module's documentation.
#[derive(Debug, Default)]
pub struct Sel4 {
    windows: Vec<Window>,
    frames: Vec<Frame>,
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
        let (first, window) = (self.frames.len() as u32, self.windows.len() as u32);
        for page in 0..holding.pages {
            let paddr = holding.paddr(page)?;
            self.frames.push(Frame {
                paddr,
                window,
                page,
            });
        }
        self.windows.push(Window {
            memory: holding.window,
            frame: holding.page as u32,
            holding: Some(holding),
        });
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
    pub fn add_region(&mut self, memory: SharedMemory, paddr: u64) -> FrameId {
        let (first, window) = (self.frames.len() as u32, self.windows.len() as u32);
        let count = (memory.len() as u64).div_ceil(SMALL) as u32;
        self.frames.extend((0..count).map(|page| Frame {
            paddr: paddr + u64::from(page) * SMALL,
            window,
            page,
        }));
        self.windows.push(Window {
            memory,
            frame: SMALL as u32,
            holding: None,
        });
        FrameId(first)
    }

    /// The window onto a place of which `len` bytes are wanted, and where it is
    /// there.
    #[inline]
    fn at(&self, place: Place, len: usize) -> Option<(&SharedMemory, usize)> {
        let frame = self.frames.get(place.frame.0 as usize)?;
        let window = self.windows.get(frame.window as usize)?;
        let room = window.frame.checked_sub(place.offset)?;
        let start = frame.page as usize * window.frame as usize;
        (len <= room as usize).then_some((&window.memory, start + place.offset as usize))
    }

    /// The same for bytes that are to be written: never the read-only memory of
    /// a client, whose window is read-only too.
    #[inline]
    fn at_writable(&self, place: Place, len: usize) -> Option<(&SharedMemory, usize)> {
        let frame = self.frames.get(place.frame.0 as usize)?;
        let holding = self.windows.get(frame.window as usize)?.holding.as_ref();
        if holding.is_some_and(|holding| !holding.writable) {
            return None;
        }
        self.at(place, len)
    }

    /// What page operations on a frame for a client need.
    #[inline]
    fn page(&self, client: u16, id: FrameId) -> Option<(&Holding, u32, ClientSpace)> {
        let frame = self.frames.get(id.0 as usize)?;
        let holding = self.windows.get(frame.window as usize)?.holding.as_ref()?;
        let space = self.spaces.get(usize::from(client)).copied().flatten()?;
        Some((holding, frame.page, space))
    }
}

impl Machine for Sel4 {
    #[inline]
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        let len = len as usize;
        if let Some((from, at)) = self.at(from, len)
            && let Some((to, to_at)) = self.at_writable(to, len)
        {
            let _ = from.copy_to(at, to, to_at, len);
        }
    }

    #[inline]
    fn write(&mut self, to: Place, bytes: &[u8]) {
        if let Some((memory, at)) = self.at_writable(to, bytes.len()) {
            let _ = memory.write(at, bytes);
        }
    }

    #[inline]
    fn read(&self, from: Place, into: &mut [u8]) {
        if let Some((memory, at)) = self.at(from, into.len()) {
            let _ = memory.read(at, into);
        }
    }

    fn clear(&mut self, at: Place, len: u32) {
        let len = len as usize;
        if let Some((memory, at)) = self.at_writable(at, len) {
            let _ = memory.clear(at, len);
        }
    }

    #[inline]
    fn sum(&self, at: Place, len: u32) -> u16 {
        let len = len as usize;
        let found = self.at(at, len);
        found.map_or(0, |(memory, at)| memory.sum(at, len).unwrap_or(0))
    }

    #[inline]
    fn paddr(&self, at: Place) -> u64 {
        let frame = self.frames.get(at.frame.0 as usize);
        frame.map_or(0, |frame| frame.paddr + u64::from(at.offset))
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
