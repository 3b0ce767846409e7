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
//! A cell is 16 bytes of header, then the table, at least two descriptors. The table's first
//! descriptor names the header and is written once, when the queue is made.

use core::sync::atomic::AtomicU64;

use super::{INDIRECT, NEXT, VirtQueue, WRITE, store};
use crate::error::{AddError, SetupError};
use crate::memory::{DmaSpan, Piece, Segment};

/// Bytes of a descriptor, and of a cell's header.
const UNIT: usize = 16;

/// Bytes of a cell of `units`: a header and a table of one less.
#[must_use]
pub const fn cell_bytes(units: usize) -> usize {
    UNIT * units
}

/// The cells for a queue, one for each of its descriptors.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// [`cell_bytes`] for each descriptor of the queue.
    pub span: DmaSpan,
    /// Bytes of a header, 1 to 16.
    pub header_bytes: u32,
    /// Whether the device writes header and pieces (else it reads them).
    pub writable: bool,
    /// Whether `VIRTIO_F_INDIRECT_DESC` was negotiated; else tables lie idle.
    pub indirect: bool,
}

/// Cells in use.
#[derive(Debug)]
pub(super) struct CellTable<const CELL: usize> {
    /// A header and a table each.
    cells: &'static [[[AtomicU64; 2]; CELL]],
    paddr: u64,
    /// Chains of so many pieces and more do not go into a table.
    direct_from: usize,
    /// The same for the direction the cells are made for; else 0.
    write_direct_from: usize,
    read_direct_from: usize,
    header_bytes: u32,
    writable: bool,
}

impl<const CELL: usize> CellTable<CELL> {
    /// No cells at all.
    pub(super) const NONE: Self = Self {
        cells: &[],
        paddr: 0,
        direct_from: 0,
        write_direct_from: 0,
        read_direct_from: 0,
        header_bytes: 0,
        writable: false,
    };

    /// Cells for `size` descriptors, headers 0.
    fn new(cells: Cells, size: u16) -> Result<Self, SetupError> {
        if CELL < 3 || !(1..=UNIT as u32).contains(&cells.header_bytes) {
            return Err(SetupError::Cells);
        }
        if !cells.span.paddr.is_multiple_of(UNIT as u64) {
            return Err(SetupError::Memory);
        }
        let words = 2 * CELL * usize::from(size);
        let units: &[[AtomicU64; 2]] = cells.span.memory.words(0, words)?.as_chunks().0;
        // No chain is longer than its queue (2.7.5.3.1).
        let longest = (CELL - 1).min(size.into());
        let direct_from = longest * usize::from(cells.indirect);
        let this = Self {
            cells: units.as_chunks().0,
            paddr: cells.span.paddr,
            direct_from,
            write_direct_from: direct_from * usize::from(cells.writable),
            read_direct_from: direct_from * usize::from(!cells.writable),
            header_bytes: cells.header_bytes,
            writable: cells.writable,
        };
        this.prepare();
        Ok(this)
    }

    /// Clears the headers and makes each table's first descriptor name its
    /// own.
    fn prepare(&self) {
        let write = if self.writable { WRITE } else { 0 };
        let word = u64::from(self.header_bytes) | write | NEXT | 1 << 48;
        for (head, cell) in (0..).zip(self.cells) {
            if let [header, table, ..] = &cell[..] {
                store(header, 0, 0);
                store(table, self.address(head), word);
            }
        }
    }

    /// Physical address of a cell, which begins with its header.
    #[inline]
    fn address(&self, head: u16) -> u64 {
        self.paddr + (usize::from(head) * CELL * UNIT) as u64
    }
}

impl<const N: usize, const CELL: usize> VirtQueue<N, CELL> {
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
        self.cells.cells.get(usize::from(head))?.first()
    }

    /// Adds a chain of which the device writes all: the header, then `pieces`.
    ///
    /// # Errors
    /// An [`AddError`]; nothing is added then.
    #[inline]
    pub fn add_to_write(
        &mut self,
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) -> Result<(), AddError> {
        self.add_headed::<true>([0; 2], pieces, token)
    }

    /// Adds a chain of which the device reads all: a header that begins as
    /// `header` does, in memory order, then `pieces`.
    ///
    /// # Errors
    /// An [`AddError`]; nothing is added then.
    #[inline]
    pub fn add_to_read(
        &mut self,
        header: [u64; 2],
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) -> Result<(), AddError> {
        self.add_headed::<false>(header, pieces, token)
    }

    #[inline(always)]
    fn add_headed<const WRITABLE: bool>(
        &mut self,
        header: [u64; 2],
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) -> Result<(), AddError> {
        let direct_from = if WRITABLE {
            self.cells.write_direct_from
        } else {
            self.cells.read_direct_from
        };
        if pieces.len() >= direct_from {
            return self.add_direct::<WRITABLE>(header, pieces, token);
        }
        if self.free == 0 {
            return Err(AddError::Full);
        }
        if pieces.len() == 0 {
            return Err(AddError::Empty);
        }
        let cell = self.cells.cells.get(usize::from(self.free_head));
        let Some([own, _, table @ ..]) = cell.map(|c| &c[..]) else {
            return Err(AddError::NoCells);
        };
        if !WRITABLE {
            store(own, header[0], header[1]);
        }
        self.add_table::<WRITABLE>(table, pieces, token);
        Ok(())
    }

    /// Adds the next chain through its table, of which `table` is what follows
    /// the header's descriptor.
    #[inline(always)]
    fn add_table<const WRITABLE: bool>(
        &mut self,
        table: &[[AtomicU64; 2]],
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) {
        let head = self.free_head;
        let count = pieces.len() as u64;
        let write = if WRITABLE { WRITE } else { 0 };
        let mut room = u64::from(self.cells.header_bytes);
        for (n, (descriptor, piece)) in (1..).zip(table.iter().zip(pieces)) {
            let link = if n < count { NEXT | (n + 1) << 48 } else { 0 };
            store(descriptor, piece.paddr, u64::from(piece.len) | write | link);
            room += u64::from(piece.len);
        }
        let (entries, most) = (count as u16 + 1, u64::from(u32::MAX));
        let room = if WRITABLE { room.min(most) as u32 } else { 0 };
        let Some(slot) = self.slots.get_mut(usize::from(head)) else {
            return;
        };
        (slot.chain, slot.room, slot.token) = (1, room, token);
        self.free_head = slot.next;
        // Most often the head has had a table of this length before.
        if slot.table != entries {
            slot.table = entries;
            self.name_table(head, entries);
        }
        self.free -= 1;
        self.offer(head);
    }

    /// Makes descriptor `head` name the table of its cell.
    #[inline(never)]
    fn name_table(&self, head: u16, entries: u16) {
        if let Some(descriptor) = self.descriptors.get(usize::from(head)) {
            let table = self.cells.address(head) + UNIT as u64;
            let bytes = u64::from(entries) * UNIT as u64;
            store(descriptor, table, bytes | INDIRECT);
        }
    }

    /// Adds a chain through the queue's own descriptors.
    fn add_direct<const WRITABLE: bool>(
        &mut self,
        header: [u64; 2],
        pieces: impl ExactSizeIterator<Item = Piece>,
        token: u32,
    ) -> Result<(), AddError> {
        if self.cells.writable != WRITABLE || self.cells.cells.is_empty() {
            return Err(AddError::NoCells);
        }
        let (head, count) = (self.free_head, pieces.len());
        if count == 0 {
            return Err(AddError::Empty);
        }
        if count >= usize::from(self.free) {
            return Err(AddError::Full);
        }
        if let Some(own) = self.header(head).filter(|_| !WRITABLE) {
            store(own, header[0], header[1]);
        }
        let own = Piece {
            paddr: self.cells.address(head),
            len: self.cells.header_bytes,
        };
        let mut room = 0;
        let mut at = self.describe(head, &segment::<WRITABLE>(own), NEXT, &mut room);
        for (n, piece) in (1..).zip(pieces) {
            let next = if n < count { NEXT } else { 0 };
            at = self.describe(at, &segment::<WRITABLE>(piece), next, &mut room);
        }
        self.free_head = at;
        self.begin(head, count as u16 + 1, room, token);
        Ok(())
    }
}

#[inline(always)]
fn segment<const WRITABLE: bool>(piece: Piece) -> Segment {
    Segment {
        paddr: piece.paddr,
        len: piece.len,
        writable: WRITABLE,
    }
}

#[cfg(test)]
#[path = "headed_tests.rs"]
mod tests;
