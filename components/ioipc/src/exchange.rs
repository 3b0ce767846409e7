//! User-directed page swapping: two pieces of memory change places.
//!
//! Problem: what was received into one buffer is wanted in another. Invariant:
//! no byte is copied; while the manager exchanges pages nobody holds a
//! reference to them.

use socket_api::{Extent, Op, Request};

use crate::buffer::Buffer;
use crate::buffers::NO_UNIT;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::UserBuffer;
use crate::records::NONE;
use crate::stack::{Stack, Wait, stack};

const DIFFERENT: Error = Error::new(ErrorKind::InvalidInput, "not as many bytes on both sides");
const NAMELESS: Error = Error::new(ErrorKind::InvalidInput, "memory without an address");

/// Exchanges the pages of two pieces of memory of the same length, which are
/// whole pages of 4 KiB. Four page operations for each page.
///
/// # Errors
/// `InvalidInput` if they are not of the same length, or not whole writable
/// pages of 4 KiB, or overlap, or are being received into.
pub fn exchange(one: UserBuffer, other: UserBuffer) -> Result<()> {
    stack()?.exchange(one, other)
}

impl Stack {
    /// As [`exchange()`], of a stack other than the installed one.
    ///
    /// # Errors
    /// As [`exchange()`].
    pub fn exchange(&self, one: UserBuffer, other: UserBuffer) -> Result<()> {
        if one.len() != other.len() {
            return Err(DIFFERENT);
        }
        let platform = self.platform();
        let names = one.extent_on(platform).zip(other.extent_on(platform));
        let (one, other) = names.ok_or(NAMELESS)?;
        self.exchange_extents(one, other)
    }

    fn exchange_extents(&self, one: Extent, other: Extent) -> Result<()> {
        let mut request = Request::new(Op::Exchange, 0, 0);
        request.extent = one;
        request.arg = u64::from(other.address);
        self.call(request, NONE, NO_UNIT, 0, Wait::Forever)?;
        Ok(())
    }
}

impl Buffer {
    /// Exchanges the pages of this buffer with those of another as large. What
    /// both show is exchanged with them.
    ///
    /// # Errors
    /// As [`exchange()`]: buffers of [`Buffer::alloc`] consist of whole pages,
    /// those that a socket received into ahead of time need not.
    pub fn exchange(&mut self, other: &mut Self) -> Result<()> {
        let (one, two) = (self.block(), other.block());
        if one.bytes != two.bytes || !core::ptr::eq(self.stack(), other.stack()) {
            return Err(DIFFERENT);
        }
        let stack = self.stack();
        let (from, to) = stack.with(|core| {
            self.withdraw(core);
            other.withdraw(core);
            let whole = |unit| core.buffers.extent(unit, 0, one.bytes);
            (whole(one.unit), whole(two.unit))
        });
        stack.exchange_extents(from, to)?;
        self.show_as(&two);
        other.show_as(&one);
        Ok(())
    }
}
