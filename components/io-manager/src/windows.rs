//! Frames as this component finds them: what copies and sums need of one.
//!
//! Problem: each byte that is copied is named by frame and offset, so looking a
//! frame up must cost next to nothing. Invariant: a frame's number is its place
//! in a table that only grows, so what a number stands for never changes; a
//! window stays mapped whatever is mapped in the clients; what leaves a frame,
//! or would write to memory that is read-only here, is not done at all.

use alloc::vec::Vec;

use data_passing::{FrameId, Place};
use shared_ring::SharedMemory;

/// In [`Frame::paddr`], whose lower bits are 0: it can be written to.
const WRITABLE: u64 = 1;

/// One frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    window: SharedMemory,
    paddr: u64,
}

/// All frames, by number. See the module's documentation.
#[derive(Debug, Default)]
pub struct Windows {
    frames: Vec<Frame>,
}

impl Windows {
    /// How many frames there are: the number of the next.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Adds a frame that is mapped at `window` and lies at `paddr`, a multiple
    /// of 4 KiB; its number.
    pub fn add(&mut self, window: SharedMemory, paddr: u64, writable: bool) -> FrameId {
        let id = FrameId(self.count());
        let paddr = paddr & !WRITABLE | if writable { WRITABLE } else { 0 };
        self.frames.push(Frame { window, paddr });
        id
    }

    #[inline(always)]
    fn get(&self, id: FrameId) -> Option<&Frame> {
        self.frames.get(id.0 as usize)
    }

    /// The window of a frame that can be written to.
    #[inline(always)]
    fn writable(&self, id: FrameId) -> Option<&SharedMemory> {
        let frame = self.get(id)?;
        (frame.paddr & WRITABLE != 0).then_some(&frame.window)
    }

    /// As [`Machine::copy`](data_passing::Machine::copy).
    #[inline(always)]
    pub fn copy(&self, from: Place, to: Place, len: u32) {
        if let Some(source) = self.get(from.frame)
            && let Some(target) = self.writable(to.frame)
        {
            let (at, to) = (from.offset as usize, to.offset as usize);
            let _ = source.window.copy_to(at, target, to, len as usize);
        }
    }

    /// As [`Machine::write`](data_passing::Machine::write).
    #[inline]
    pub fn write(&self, to: Place, bytes: &[u8]) {
        if let Some(window) = self.writable(to.frame) {
            let _ = window.write(to.offset as usize, bytes);
        }
    }

    /// As [`Machine::read`](data_passing::Machine::read).
    #[inline]
    pub fn read(&self, from: Place, into: &mut [u8]) {
        if let Some(frame) = self.get(from.frame) {
            let _ = frame.window.read(from.offset as usize, into);
        }
    }

    /// As [`Machine::clear`](data_passing::Machine::clear).
    pub fn clear(&self, at: Place, len: u32) {
        if let Some(window) = self.writable(at.frame) {
            let _ = window.clear(at.offset as usize, len as usize);
        }
    }

    /// As [`Machine::sum`](data_passing::Machine::sum).
    #[inline(always)]
    #[must_use]
    pub fn sum(&self, at: Place, len: u32) -> u16 {
        let sum = |f: &Frame| f.window.sum(at.offset as usize, len as usize);
        self.get(at.frame).map_or(0, |f| sum(f).unwrap_or(0))
    }

    /// As [`Machine::paddr`](data_passing::Machine::paddr).
    #[inline(always)]
    #[must_use]
    pub fn paddr(&self, at: Place) -> u64 {
        let paddr = |f: &Frame| (f.paddr & !WRITABLE) + u64::from(at.offset);
        self.get(at.frame).map_or(0, paddr)
    }
}
