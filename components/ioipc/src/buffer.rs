//! Buffers that the library allocates and the application owns.
//!
//! Problem: with the system-allocated semantics (move and its kin) data comes
//! in a buffer and goes with one; what was received is sent on without anybody
//! looking at it. Invariant: a [`Buffer`] owns its block of the data region:
//! while it exists no request names the block and no slot lies in it, so its
//! bytes are the owner's alone ([`shared_ring::Lease`]). Sending consumes it;
//! the block comes back to the library when the request is answered.
//!
//! Bytes are lent only once somebody looks at them, so that passing a buffer
//! on costs nothing for that.

use core::cell::OnceCell;
use core::fmt;
use core::mem::ManuallyDrop;
use core::net::SocketAddr;
use core::ops::{Deref, DerefMut};

use shared_ring::Lease;
use socket_api::WireAddress;

use crate::buffers::{Buffers, PAGE, Standing};
use crate::core_state::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::stack::{Stack, stack};

/// Bytes in the data region that belong to the holder.
///
/// Dereferences to the bytes. On a platform whose memory is simulated there is
/// nothing to refer to, and it dereferences to an empty slice; [`Buffer::read`]
/// and [`Buffer::write`] work everywhere.
pub struct Buffer {
    stack: &'static Stack,
    lease: OnceCell<Lease>,
    block: Block,
}

/// Which bytes of which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub unit: u32,
    pub order: u16,
    /// Bytes of the whole block, or of those of its pages that are there.
    pub bytes: u32,
    /// First byte that counts.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

impl Block {
    /// How it stands when it is given up, if what is there of it stands as
    /// `after`.
    #[inline]
    pub fn standing(&self, buffers: &Buffers, after: Standing) -> Standing {
        match self.bytes < buffers.bytes(self.order) {
            true => Standing::Partial,
            false => after,
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.block.len)
            .finish_non_exhaustive()
    }
}

/// What could not be sent, and why.
#[derive(Debug)]
pub struct Unsent<T> {
    /// Why.
    pub error: Error,
    /// What.
    pub item: T,
}

impl<T> fmt::Display for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> core::error::Error for Unsent<T> {}

impl Buffer {
    /// A buffer of `len` bytes in whole pages of its own. What they hold was
    /// the component's before; it is not cleared.
    ///
    /// # Errors
    /// `OutOfMemory` while the data region has no room beyond what sockets
    /// need; `InvalidInput` for more than the region can ever hold in one
    /// piece.
    pub fn alloc(len: usize) -> Result<Self> {
        Self::alloc_on(stack()?, len)
    }

    /// As [`Buffer::alloc`], on a stack other than the installed one.
    ///
    /// # Errors
    /// As [`Buffer::alloc`].
    pub fn alloc_on(stack: &'static Stack, len: usize) -> Result<Self> {
        let block = stack.lock().alloc_pages(len)?;
        Ok(Self::own(stack, block))
    }

    /// The owner of `block`, which nobody else names.
    #[inline]
    pub(crate) fn own(stack: &'static Stack, block: Block) -> Self {
        Self {
            stack,
            lease: OnceCell::new(),
            block,
        }
    }

    /// Gives up ownership of the block.
    #[inline]
    pub(crate) fn disown(self, core: &mut Core) -> Block {
        let mut this = ManuallyDrop::new(self);
        this.withdraw(core);
        this.block
    }

    /// Ends the loan of the bytes, until somebody looks at them again.
    pub(crate) fn withdraw(&mut self, core: &mut Core) {
        if let Some(lease) = self.lease.take() {
            core.buffers.take_back(lease);
        }
    }

    /// What it is part of.
    #[inline]
    pub(crate) fn stack(&self) -> &'static Stack {
        self.stack
    }

    /// Which bytes it is.
    #[inline]
    pub(crate) fn block(&self) -> Block {
        self.block
    }

    /// Bytes that it shows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.block.len as usize
    }

    /// Whether it shows no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.block.len == 0
    }

    /// Bytes that it can show.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        (self.block.bytes - self.block.start) as usize
    }

    /// Shows `len` bytes from the first on, or as many as there are.
    pub fn set_len(&mut self, len: usize) {
        self.block.len = len.min(self.capacity()) as u32;
    }

    /// `len` bytes were received into it; if it was named `whole`, from the
    /// start of the block on.
    pub(crate) fn landed(&mut self, whole: bool, len: usize) {
        if whole {
            self.block.start = 0;
        }
        self.set_len(len);
    }

    /// Shows of its bytes what `other` shows of its own.
    pub(crate) fn show_as(&mut self, other: &Block) {
        (self.block.start, self.block.len) = (other.start, other.len);
    }

    /// Copies from byte `at` on; false if so many are not shown.
    #[must_use]
    pub fn read(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(at) = self.checked(at, into.len()) else {
            return false;
        };
        if let Some(lease) = self.lease.get() {
            let from = lease.bytes().get(at..at + into.len());
            return from.map(|from| into.copy_from_slice(from)).is_some();
        }
        let mut core = self.stack.lock();
        core.buffers.take(self.block.unit, at as u32, into)
    }

    /// Copies to byte `at`; false if so many are not shown.
    #[must_use]
    pub fn write(&mut self, at: usize, from: &[u8]) -> bool {
        let Some(at) = self.checked(at, from.len()) else {
            return false;
        };
        if let Some(lease) = self.lease.get_mut() {
            let into = lease.bytes_mut().get_mut(at..at + from.len());
            return into.map(|into| into.copy_from_slice(from)).is_some();
        }
        let mut core = self.stack.lock();
        core.buffers.fill(self.block.unit, at as u32, from)
    }

    /// Where byte `at` of what is shown is in the block, if `len` bytes are
    /// shown from there.
    fn checked(&self, at: usize, len: usize) -> Option<usize> {
        let end = at.checked_add(len)?;
        (end <= self.len()).then_some(self.block.start as usize + at)
    }

    /// Borrows the bytes from the library, unless they are simulated.
    fn borrow(&self) {
        if self.lease.get().is_none() {
            let Block { unit, order, .. } = self.block;
            if let Some(lease) = self.stack.lock().buffers.lend(unit, order) {
                // Empty until now, and this thread is the only one here.
                drop(self.lease.set(lease));
            }
        }
    }

    fn shown(&self) -> core::ops::Range<usize> {
        let start = self.block.start as usize;
        start..start + self.block.len as usize
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.borrow();
        let bytes = self.lease.get().map_or(&[][..], Lease::bytes);
        bytes.get(self.shown()).unwrap_or(&[])
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.borrow();
        let shown = self.shown();
        let bytes = self.lease.get_mut().map(Lease::bytes_mut);
        bytes.and_then(|b| b.get_mut(shown)).unwrap_or(&mut [])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let stack = self.stack;
        let mut core = stack.lock();
        self.withdraw(&mut core);
        let standing = self.block.standing(&core.buffers, Standing::Mapped);
        core.buffers
            .settle(self.block.unit, self.block.order, standing);
        // Threads that wait for room look again.
        core.progressed |= core.starved;
        stack.leave(core, false);
    }
}

/// A datagram in a buffer, and the peer that it came from or goes to.
///
/// Dereferences to its bytes as [`Buffer`] does.
#[derive(Debug)]
pub struct Datagram {
    buffer: Buffer,
    peer: WireAddress,
}

impl Datagram {
    /// The bytes that `buffer` shows, for `peer`.
    #[must_use]
    pub fn new(buffer: Buffer, peer: SocketAddr) -> Self {
        Self::of(buffer, peer.into())
    }

    /// As [`Datagram::new`], for the address as it travels.
    #[inline]
    pub(crate) fn of(buffer: Buffer, peer: WireAddress) -> Self {
        Self { buffer, peer }
    }

    /// Whom it came from, or goes to; `None` stands for the connected peer.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.to_socket_addr()
    }

    /// The buffer alone.
    #[must_use]
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// The peer as it travels.
    #[inline]
    pub(crate) fn address(&self) -> WireAddress {
        self.peer
    }
}

impl Deref for Datagram {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl DerefMut for Datagram {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Core {
    /// Whole pages for `len` bytes, leaving sockets a quarter of the region.
    pub fn alloc_pages(&mut self, len: usize) -> Result<Block> {
        const LONG: Error = Error::new(ErrorKind::InvalidInput, "longer than a buffer can be");
        let order = self.buffers.order_for(len.max(PAGE as usize)).ok_or(LONG)?;
        let units = 1 << order;
        if units > self.buffers.total_units() {
            return Err(LONG);
        }
        let unit = self.alloc_spare(order).ok_or(Error::NO_BUFFER)?;
        Ok(Block {
            unit,
            order,
            bytes: self.buffers.bytes(order),
            start: 0,
            len: len as u32,
        })
    }

    /// A block with pages that sockets can spare.
    fn alloc_spare(&mut self, order: u16) -> Option<u32> {
        let kept = self.buffers.total_units() >> 2;
        let spare = self.buffers.free_units().saturating_sub(kept);
        if spare >= 1 << order
            && let Some(unit) = self.buffers.alloc(order)
        {
            return Some(unit);
        }
        if !self.platform.moved_pages_return() {
            return None;
        }
        let hidden = self.buffers.take_aside(order, Standing::Hidden);
        hidden.or_else(|| self.buffers.take_aside(order, Standing::Absent))
    }

    /// A block to receive into whose pages the manager provides, best one that
    /// stands aside as `standing`. How it stands now goes with it.
    pub fn alloc_for(&mut self, order: u16, standing: Standing) -> Option<(u32, Standing)> {
        if let Some(unit) = self.buffers.take_aside(order, standing) {
            return Some((unit, standing));
        }
        Some((self.alloc_spare(order)?, Standing::Mapped))
    }
}
