//! Chains that begin with a header of their own.
//!
//! Problem: virtio-net, like most devices, wants a small header before what a
//! buffer really holds, and an indirect table (virtio 1.2, 2.7.5.3) lets a
//! chain of any length take one descriptor; both need device-visible memory
//! for as long as the chain is in flight. Invariant: a chain's header and
//! table lie in the cell of its head, and a head begins one chain at a time,
//! so cells need no books of their own. The device may write what it likes to
//! a cell: of tables nothing is read back, of a header only what the device
//! has to say there.
//!
//! A cell is 16 bytes of header, then the table. The table's first
//! descriptor names the header and is written once, when the queue is made.

use core::sync::atomic::AtomicU64;

use super::{INDIRECT, NEXT, VirtQueue, WRITE, store};
use crate::error::{AddError, SetupError};
use crate::memory::{DmaSpan, Piece, Segment};

/// Bytes of a descriptor, and of a cell's header.
const UNIT: usize = 16;

/// Bytes of a cell whose table holds `depth` descriptors.
#[must_use]
pub const fn cell_bytes(depth: u16) -> usize {
    UNIT * (depth as usize + 1)
}

/// The cells for a queue, one for each of its descriptors.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// [`cell_bytes`] for each descriptor of the queue.
    pub span: DmaSpan,
    /// Descriptors that a table holds, the header's included; at least 2.
    pub depth: u16,
    /// Bytes of a header, 1 to 16.
    pub header_bytes: u32,
    /// Whether the device writes header and pieces (else it reads them).
    pub writable: bool,
    /// Whether `VIRTIO_F_INDIRECT_DESC` was negotiated; else tables lie idle.
    pub indirect: bool,
}

/// Cells in use.
#[derive(Debug)]
pub(super) struct CellTable {
    /// Cell behind cell: a header and `depth` descriptors each.
    units: &'static [[AtomicU64; 2]],
    paddr: u64,
    /// Units of a cell.
    stride: usize,
    /// Chains of so many pieces and more do not go into a table.
    direct_from: usize,
    header_bytes: u32,
    /// `WRITE` if the device writes the chains.
    write: u64,
}

impl CellTable {
    /// No cells at all.
    pub(super) const NONE: Self = Self {
        units: &[],
        paddr: 0,
        stride: 0,
        direct_from: 0,
        header_bytes: 0,
        write: 0,
    };

    /// Cells for `size` descriptors, headers 0.
    fn new(cells: Cells, size: u16) -> Result<Self, SetupError> {
        if cells.depth < 2 || !(1..=UNIT as u32).contains(&cells.header_bytes) {
            return Err(SetupError::Cells);
        }
        if !cells.span.paddr.is_multiple_of(UNIT as u64) {
            return Err(SetupError::Memory);
        }
        let stride = usize::from(cells.depth) + 1;
        let words = 2 * stride * usize::from(size);
        let longest = cells.depth.min(size);
        let this = Self {
            units: cells.span.memory.words(0, words)?.as_chunks().0,
            paddr: cells.span.paddr,
            stride,
            direct_from: usize::from(if cells.indirect { longest } else { 0 }),
            header_bytes: cells.header_bytes,
            write: u64::from(cells.writable) * WRITE,
        };
        let first = u64::from(this.header_bytes) | this.write | NEXT | 1 << 48;
        for head in 0..size {
            if let Some([header, table, ..]) = this.cell(head) {
                store(header, 0, 0);
                store(table, this.address(head), first);
            }
        }
        Ok(this)
    }

    #[inline]
    fn cell(&self, head: u16) -> Option<&'static [[AtomicU64; 2]]> {
        let at = usize::from(head) * self.stride;
        self.units.get(at..at + self.stride)
    }

    /// Physical address of a cell, which begins with its header.
    #[inline]
    fn address(&self, head: u16) -> u64 {
        self.paddr + (usize::from(head) * self.stride * UNIT) as u64
    }
}

impl<const N: usize> VirtQueue<N> {
    /// As [`VirtQueue::new`], with a cell for each descriptor.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn with_cells(
        span: DmaSpan,
        size: u16,
        event_index: bool,
        cells: Cells,
    ) -> Result<Self, SetupError> {
        let mut queue = Self::new(span, size, event_index)?;
        queue.cells = CellTable::new(cells, size)?;
        Ok(queue)
    }

    /// Descriptors that a chain of a header and `pieces` takes.
    #[inline]
    #[must_use]
    pub const fn descriptors_for(&self, pieces: usize) -> usize {
        if pieces < self.cells.direct_from {
            1
        } else {
            pieces + 1
        }
    }

    /// The header of the chain that begins, or last began, with `head`.
    #[inline]
    #[must_use]
    pub fn header(&self, head: u16) -> Option<&'static [AtomicU64; 2]> {
        self.cells.cell(head)?.first()
    }

    /// Adds a chain of a header and `pieces`, all in the direction that the
    /// queue's [`Cells`] say. `header`, in memory order, is written first;
    /// without, the header holds what it did.
    ///
    /// # Errors
    /// An [`AddError`]; nothing is added then.
    #[inline]
    pub fn add_headed(
        &mut self,
        header: Option<[u64; 2]>,
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) -> Result<(), AddError> {
        let count = pieces.len();
        if count == 0 {
            return Err(AddError::Empty);
        }
        if self.descriptors_for(count) > usize::from(self.free) {
            return Err(AddError::Full);
        }
        let head = self.free_head;
        let Some([own, _, table @ ..]) = self.cells.cell(head) else {
            return Err(AddError::NoCells);
        };
        if let Some([first, second]) = header {
            store(own, first, second);
        }
        if count < self.cells.direct_from {
            self.add_table(head, table, pieces, token);
        } else {
            self.add_direct(head, pieces, token);
        }
        Ok(())
    }

    /// Adds the chain of `head` through its table, of which `table` is what
    /// follows the header's descriptor.
    #[inline]
    fn add_table(
        &mut self,
        head: u16,
        table: &[[AtomicU64; 2]],
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) {
        let count = pieces.len() as u64;
        let mut room = u64::from(self.cells.header_bytes);
        for (n, (descriptor, piece)) in (1..).zip(table.iter().zip(pieces)) {
            let link = if n < count { NEXT | (n + 1) << 48 } else { 0 };
            let word = u64::from(piece.len) | self.cells.write | link;
            store(descriptor, piece.paddr, word);
            room += u64::from(piece.len);
        }
        if let Some(descriptor) = self.descriptors.get(usize::from(head)) {
            let bytes = (count + 1) * UNIT as u64;
            let table = self.cells.address(head) + UNIT as u64;
            store(descriptor, table, bytes | INDIRECT);
        }
        let room = if self.cells.write == 0 {
            0
        } else {
            u32::try_from(room).unwrap_or(u32::MAX)
        };
        self.free_head = self.slots.get(usize::from(head)).map_or(0, |s| s.next);
        self.begin(head, 1, room, token);
    }

    /// Adds the chain of `head` through the queue's own descriptors.
    fn add_direct(&mut self, head: u16, pieces: impl ExactSizeIterator<Item = Piece>, token: u32) {
        let writable = self.cells.write != 0;
        let segment = |paddr, len| Segment {
            paddr,
            len,
            writable,
        };
        let (count, mut room) = (pieces.len(), 0);
        let own = segment(self.cells.address(head), self.cells.header_bytes);
        let mut at = self.describe(head, &own, NEXT, &mut room);
        for (n, piece) in (1..).zip(pieces) {
            let next = if n < count { NEXT } else { 0 };
            at = self.describe(at, &segment(piece.paddr, piece.len), next, &mut room);
        }
        self.free_head = at;
        self.begin(head, count as u16 + 1, room, token);
    }
}

#[cfg(test)]
#[path = "headed_tests.rs"]
mod tests;
