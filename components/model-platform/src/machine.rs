//! The simulated memory management unit.
//!
//! Invariant: it is as strict as the kernel: a page is mapped once, a frame in
//! one place, only what is mapped can be unmapped or protected, and an access
//! that the tables do not allow is a fault. What contradicts its tables ends
//! the test, because then the books of the manager are wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use data_passing::{FrameId, Machine, MachineError, Place, Rights};

use crate::physical::Physical;

/// A frame of physical memory.
#[derive(Clone, Copy, Debug)]
struct Frame {
    paddr: u64,
    bytes: u32,
}

/// What is mapped at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    frame: FrameId,
    rights: Rights,
}

/// Edits of page tables, as the machine saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageOperations {
    /// Pages mapped.
    pub mapped: u64,
    /// Pages unmapped.
    pub unmapped: u64,
    /// Pages whose rights were changed.
    pub protected: u64,
}

#[derive(Debug, Default)]
struct Tables {
    frames: Vec<Frame>,
    /// By client and page address.
    pages: HashMap<(u16, u32), Mapping>,
    operations: PageOperations,
    copied: u64,
}

/// Frames and page tables. Clones are handles to the same machine.
#[derive(Clone, Debug)]
pub struct ModelMachine {
    physical: Physical,
    tables: Arc<Mutex<Tables>>,
}

/// A client touched what it may not: its address, and whether it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The address.
    pub address: u32,
    /// Whether it was a write.
    pub write: bool,
}

impl ModelMachine {
    /// A machine with this memory, and no frames.
    #[must_use]
    pub fn new(physical: Physical) -> Self {
        Self {
            physical,
            tables: Arc::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A test that panicked has failed already.
        self.tables.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Numbers `count` frames of `bytes` each from `paddr` on; the first.
    pub fn add_frames(&self, paddr: u64, count: u32, bytes: u32) -> FrameId {
        let mut tables = self.tables();
        let first = tables.frames.len() as u32;
        let frame = |n: u32| Frame {
            paddr: paddr + u64::from(n) * u64::from(bytes),
            bytes,
        };
        tables.frames.extend((0..count).map(frame));
        FrameId(first)
    }

    /// Maps a frame from the start, as the root task does.
    pub fn preset(&self, client: u16, address: u32, frame: FrameId, rights: Rights) {
        let mapping = Mapping { frame, rights };
        let old = self.tables().pages.insert((client, address), mapping);
        assert_eq!(old, None, "mapped twice: {address:#x}");
    }

    /// What the tables have been told so far.
    #[must_use]
    pub fn operations(&self) -> PageOperations {
        self.tables().operations
    }

    /// Bytes copied between frames so far.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.tables().copied
    }

    /// Where the client's byte is, and how many follow in the same page.
    ///
    /// # Errors
    /// [`PageFault`].
    pub fn translate(
        &self,
        client: u16,
        address: u32,
        write: bool,
    ) -> Result<(u64, u32), PageFault> {
        let tables = self.tables();
        let fault = PageFault { address, write };
        for bytes in [4096, 2 << 20] {
            let base = address & !(bytes - 1);
            let Some(mapping) = tables.pages.get(&(client, base)) else {
                continue;
            };
            let frame = tables.frames[mapping.frame.0 as usize];
            if frame.bytes != bytes {
                continue;
            }
            if write && mapping.rights == Rights::Read {
                return Err(fault);
            }
            let offset = address - base;
            return Ok((frame.paddr + u64::from(offset), bytes - offset));
        }
        Err(fault)
    }

    /// Writes as the client would: all of it, or up to the first fault, whose
    /// bytes before it are written.
    ///
    /// # Errors
    /// How many bytes were written, and the [`PageFault`].
    pub fn store(&self, client: u16, address: u32, bytes: &[u8]) -> Result<(), (usize, PageFault)> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u32;
            let (paddr, room) = self.translate(client, at, true).map_err(|f| (done, f))?;
            let len = (room as usize).min(bytes.len() - done);
            self.physical.write(paddr, &bytes[done..done + len]);
            done += len;
        }
        Ok(())
    }

    /// Reads as the client would.
    ///
    /// # Errors
    /// The [`PageFault`].
    pub fn load(&self, client: u16, address: u32, into: &mut [u8]) -> Result<(), PageFault> {
        let mut done = 0;
        while done < into.len() {
            let (paddr, room) = self.translate(client, address + done as u32, false)?;
            let len = (room as usize).min(into.len() - done);
            into[done..done + len].copy_from_slice(&self.physical.read(paddr, len));
            done += len;
        }
        Ok(())
    }

    fn place(&self, at: Place, len: u32) -> u64 {
        let frame = self.tables().frames[at.frame.0 as usize];
        assert!(
            at.offset <= frame.bytes && len <= frame.bytes - at.offset,
            "{len} bytes at {at:?} leave the frame"
        );
        frame.paddr + u64::from(at.offset)
    }
}

impl Machine for ModelMachine {
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        let (from, to) = (self.place(from, len), self.place(to, len));
        self.physical.copy(from, to, len as usize);
        self.tables().copied += u64::from(len);
    }

    fn write(&mut self, to: Place, bytes: &[u8]) {
        let to = self.place(to, bytes.len() as u32);
        self.physical.write(to, bytes);
    }

    fn read(&self, from: Place, into: &mut [u8]) {
        let from = self.place(from, into.len() as u32);
        into.copy_from_slice(&self.physical.read(from, into.len()));
    }

    fn clear(&mut self, at: Place, len: u32) {
        let paddr = self.place(at, len);
        self.physical.write(paddr, &vec![0; len as usize]);
    }

    fn sum(&self, at: Place, len: u32) -> u16 {
        let paddr = self.place(at, len);
        let bytes = self.physical.at(paddr, len as usize);
        bytes.sum(0, len as usize).unwrap_or(0)
    }

    fn paddr(&self, at: Place) -> u64 {
        self.place(at, 0)
    }

    fn map(
        &mut self,
        client: u16,
        address: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError> {
        let mut tables = self.tables();
        let bytes = tables.frames[frame.0 as usize].bytes;
        let elsewhere = tables.pages.values().any(|m| m.frame == frame);
        assert!(!elsewhere, "{frame:?} is mapped already");
        assert_eq!(address % bytes, 0, "{address:#x} is no page");
        let mapping = Mapping { frame, rights };
        let old = tables.pages.insert((client, address), mapping);
        assert_eq!(old, None, "a page is mapped at {address:#x}");
        tables.operations.mapped += 1;
        Ok(())
    }

    fn unmap(&mut self, client: u16, address: u32, frame: FrameId) -> Result<(), MachineError> {
        let mut tables = self.tables();
        let old = tables.pages.remove(&(client, address));
        assert_eq!(old.map(|m| m.frame), Some(frame), "at {address:#x}");
        tables.operations.unmapped += 1;
        Ok(())
    }

    fn protect(
        &mut self,
        client: u16,
        address: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError> {
        let mut tables = self.tables();
        let mapping = tables.pages.get_mut(&(client, address));
        let mapping = mapping.expect("a page that is protected is mapped");
        assert_eq!(mapping.frame, frame, "at {address:#x}");
        mapping.rights = rights;
        tables.operations.protected += 1;
        Ok(())
    }
}
