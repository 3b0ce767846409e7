//! Makes and reclaims kernel objects.
//!
//! Invariant: everything made for a component comes from pieces of memory and
//! slots of its own [`Pool`]; giving the pool back revokes the pieces, so no
//! object outlives its owner and nothing is leaked. Mappings of frames from
//! elsewhere are unmapped first (the kernel would leave them mapped).

use alloc::vec::Vec;
use core::ops::Range;

use root_task::slots::Slots;
use root_task::untyped::{Cutter, Piece, Untypeds};
use sel4::init_thread::{self, Slot};
use sel4::{AbsoluteCPtr, BootInfoPtr, Cap, CapType, FrameObjectType, ObjectBlueprint, cap};

use crate::failure::Cause;
use crate::serial;

/// Small objects of one owner share pieces of this size.
const SHARED_BITS: u8 = 16;
/// Regions are gathered from pieces no larger than this.
const LARGEST_BITS: u8 = 24;

/// Memory and slots of one owner.
#[derive(Debug, Default)]
pub struct Pool {
    pieces: Vec<Piece>,
    slots: Vec<Range<usize>>,
    /// The piece that small objects come from, and how much of it is used.
    shared: Option<(Piece, usize)>,
}

/// All untyped memory and all free slots.
#[derive(Debug)]
pub struct Kernel {
    untypeds: Untypeds,
    slots: Slots,
}

/// The slot's place in the root task's CSpace.
pub fn place(slot: usize) -> AbsoluteCPtr {
    let slot = Slot::<sel4::cap_type::Unspecified>::from_index(slot);
    init_thread::slot::CNODE.cap().absolute_cptr(slot.cptr())
}

/// The capability in the slot.
pub fn cap_in<T: CapType>(slot: usize) -> Cap<T> {
    Slot::from_index(slot).cap()
}

struct Cut<'a>(&'a mut Slots);

impl Cutter for Cut<'_> {
    type Error = Cause;

    fn take_slots(&mut self) -> Result<usize, Cause> {
        self.0.take(2).map(|r| r.start).ok_or(Cause::Slots)
    }

    fn halve(&mut self, slot: usize, bits: u8, into: usize) -> Result<(), Cause> {
        let size_bits = bits.into();
        retype(slot, ObjectBlueprint::Untyped { size_bits }, into, 2)
    }

    fn revoke(&mut self, slot: usize) -> Result<(), Cause> {
        Ok(place(slot).revoke()?)
    }

    fn release_slots(&mut self, at: usize) {
        self.0.release(at..at + 2);
    }
}

fn retype(untyped: usize, what: ObjectBlueprint, into: usize, count: usize) -> Result<(), Cause> {
    let own = init_thread::slot::CNODE.cap().absolute_cptr_for_self();
    Ok(cap_in::<sel4::cap_type::Untyped>(untyped).untyped_retype(&what, &own, into, count)?)
}

impl Kernel {
    /// All that the kernel gave at boot.
    #[must_use]
    pub fn new(boot_info: &BootInfoPtr) -> Self {
        let mut empty = boot_info.empty().range();
        empty.start += serial::SLOTS;
        let mut untypeds = Untypeds::default();
        let slots = boot_info.untyped().range();
        for (slot, desc) in slots.zip(boot_info.untyped_list()) {
            let bits = desc.size_bits() as u8;
            if bits >= 12 {
                untypeds.add(slot, desc.paddr() as u64, bits, desc.is_device());
            }
        }
        Self {
            untypeds,
            slots: Slots::new(empty),
        }
    }

    /// Bytes of free memory, and free slots.
    #[must_use]
    pub fn free(&self) -> (u64, usize) {
        (self.untypeds.free_bytes(), self.slots.count())
    }

    /// Takes `count` consecutive empty slots for `pool`.
    ///
    /// # Errors
    /// [`Cause::Slots`].
    pub fn slots(&mut self, pool: &mut Pool, count: usize) -> Result<usize, Cause> {
        let range = self.slots.take(count).ok_or(Cause::Slots)?;
        let start = range.start;
        pool.slots.push(range);
        Ok(start)
    }

    /// Makes an object for `pool`.
    ///
    /// # Errors
    /// The kernel's, or no memory or slots are left.
    pub fn object<T: CapType>(
        &mut self,
        pool: &mut Pool,
        what: ObjectBlueprint,
    ) -> Result<Cap<T>, Cause> {
        let bits = what.physical_size_bits();
        let piece = if bits >= SHARED_BITS.into() {
            self.piece(pool, bits as u8)?
        } else {
            self.shared(pool, 1 << bits)?
        };
        let slot = self.slots(pool, 1)?;
        retype(self.untypeds.slot(piece), what, slot, 1)?;
        Ok(cap_in(slot))
    }

    fn piece(&mut self, pool: &mut Pool, bits: u8) -> Result<Piece, Cause> {
        let piece = self.untypeds.take(bits, &mut Cut(&mut self.slots))?;
        let piece = piece.ok_or(Cause::Memory)?;
        pool.pieces.push(piece);
        Ok(piece)
    }

    /// The piece that the pool's next object of `bytes` comes from. Keeps the
    /// books as the kernel does: an object is aligned to its size.
    fn shared(&mut self, pool: &mut Pool, bytes: usize) -> Result<Piece, Cause> {
        if let Some((piece, used)) = &mut pool.shared {
            let end = used.next_multiple_of(bytes) + bytes;
            if end <= 1 << SHARED_BITS {
                *used = end;
                return Ok(*piece);
            }
        }
        let piece = self.piece(pool, SHARED_BITS)?;
        pool.shared = Some((piece, bytes));
        Ok(piece)
    }

    /// Makes frames of `bytes` in all for `pool`: their slots in order of
    /// address, and the first one's physical address. Contiguous ones come
    /// from one piece.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn frames(
        &mut self,
        pool: &mut Pool,
        kind: FrameObjectType,
        bytes: u64,
        contiguous: bool,
    ) -> Result<(Vec<usize>, u64), Cause> {
        let (mut frames, mut paddr) = (Vec::new(), 0);
        let mut left = bytes.div_ceil(kind.bytes() as u64);
        while left > 0 {
            let bits = if contiguous {
                (left * kind.bytes() as u64).next_power_of_two().ilog2() as u8
            } else {
                let largest = (left.ilog2() as u8).saturating_add(kind.bits() as u8);
                largest.min(LARGEST_BITS.max(kind.bits() as u8))
            };
            let piece = self.largest_piece(
                pool,
                bits,
                if contiguous { bits } else { kind.bits() as u8 },
            )?;
            let count = left.min(1 << (piece.1 - kind.bits() as u8));
            if frames.is_empty() {
                paddr = self.untypeds.paddr(piece.0);
            }
            self.fill(pool, piece.0, kind, count as usize, &mut frames)?;
            left -= count;
        }
        Ok((frames, paddr))
    }

    /// A piece of 2^`bits` bytes, or the largest that is left, at least
    /// 2^`least`.
    fn largest_piece(
        &mut self,
        pool: &mut Pool,
        bits: u8,
        least: u8,
    ) -> Result<(Piece, u8), Cause> {
        for bits in (least..=bits).rev() {
            match self.piece(pool, bits) {
                Ok(piece) => return Ok((piece, bits)),
                Err(Cause::Memory) if bits > least => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(Cause::Memory)
    }

    fn fill(
        &mut self,
        pool: &mut Pool,
        piece: Piece,
        kind: FrameObjectType,
        count: usize,
        frames: &mut Vec<usize>,
    ) -> Result<(), Cause> {
        let mut left = count;
        while left > 0 {
            let now = left.min(sel4::config::RETYPE_FAN_OUT_LIMIT);
            let first = self.slots(pool, now)?;
            retype(self.untypeds.slot(piece), kind.blueprint(), first, now)?;
            frames.extend(first..first + now);
            left -= now;
        }
        Ok(())
    }

    /// Frames for the device memory of `bytes` at `paddr`: both rounded to
    /// pages, and to the power of two that a window is aligned to.
    ///
    /// # Errors
    /// As [`Kernel::object`]; [`Cause::Rule`] if the memory is not a device's
    /// or was taken before.
    pub fn device_frames(
        &mut self,
        pool: &mut Pool,
        paddr: u64,
        bytes: u64,
    ) -> Result<Vec<usize>, Cause> {
        let kind = FrameObjectType::GRANULE;
        let mut frames = Vec::new();
        let mut at = paddr & !(kind.bytes() as u64 - 1);
        let end = (paddr + bytes).next_multiple_of(kind.bytes() as u64);
        while at < end {
            let fits = (end - at).ilog2().min(at.trailing_zeros());
            let bits = fits.min(LARGEST_BITS.into()) as u8;
            let cut = &mut Cut(&mut self.slots);
            let piece = self.untypeds.take_device(at, bits, cut)?;
            let piece = piece.ok_or(Cause::Rule("no free device memory there"))?;
            pool.pieces.push(piece);
            self.fill(
                pool,
                piece,
                kind,
                1 << (bits - kind.bits() as u8),
                &mut frames,
            )?;
            at += 1 << bits;
        }
        Ok(frames)
    }

    /// Puts a copy of the capability in slot `from` into a slot of `pool`.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn copy(&mut self, pool: &mut Pool, from: usize) -> Result<usize, Cause> {
        let slot = self.slots(pool, 1)?;
        place(slot).copy(&place(from), sel4::CapRights::all())?;
        Ok(slot)
    }

    /// An endpoint for `pool`.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn endpoint(&mut self, pool: &mut Pool) -> Result<cap::Endpoint, Cause> {
        self.object(pool, ObjectBlueprint::Endpoint)
    }

    /// A notification for `pool`.
    ///
    /// # Errors
    /// As [`Kernel::object`].
    pub fn notification(&mut self, pool: &mut Pool) -> Result<cap::Notification, Cause> {
        self.object(pool, ObjectBlueprint::Notification)
    }

    /// Gives all that `pool` holds back: deletes what is in its slots, then
    /// revokes its memory. Mappings must be unmapped before.
    ///
    /// # Errors
    /// The kernel's; what was not yet given back is then lost.
    pub fn release(&mut self, pool: Pool) -> Result<(), Cause> {
        for piece in pool.pieces {
            self.untypeds.free(piece, &mut Cut(&mut self.slots))?;
        }
        for range in pool.slots {
            for slot in range.clone() {
                place(slot).delete()?;
            }
            self.slots.release(range);
        }
        Ok(())
    }
}
