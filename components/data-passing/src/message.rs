//! Bytes that leave in a message, by value.
//!
//! Problem: conventional IPC copies what is sent before anybody else has it,
//! whatever semantics the caller chose. Invariant: the bytes are those of the
//! moment; no frame of the client's is in use afterwards; and what the caller
//! may see of its semantics holds: pages that it moves are gone, or hidden.

use socket_api::{Extent, Passing, Technique};

use crate::machine::{FrameId, Machine, Place};
use crate::memory::{Memory, PassingError};

impl<M: Machine> Memory<M> {
    /// Copies the bytes of `extent` to memory of the manager's, of frames of
    /// 4 KiB with consecutive numbers, from `to` on. They are on the client's
    /// account.
    ///
    /// # Errors
    /// As [`Memory::begin_output`], and `Technique` if one was forced that
    /// passes by reference; bytes may have been copied.
    pub fn copy_message(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        to: Place,
    ) -> Result<(), PassingError> {
        let is_copied = match passing.forced {
            _ if passing.semantics.is_system_allocated() => self.stays(client, extent, passing),
            None => true,
            Some(Technique::CopyOut) if passing.semantics.is_strong() => true,
            Some(_) => return Err(PassingError::Technique),
        };
        if !is_copied {
            return self.move_message(client, extent, passing, to);
        }
        let mut at = 0;
        self.pieces(client, extent, |machine, from, len| {
            copy_run(machine, from, (to, at), len);
            at += len;
        })?;
        self.book(client, |a| a.copied_out += u64::from(extent.len));
        Ok(())
    }

    /// Whether the pages of a region that the system allocated stay where they
    /// are, so that there is nothing to do but to copy.
    fn stays(&mut self, client: u16, extent: Extent, passing: Passing) -> bool {
        if passing.semantics.is_strong() || passing.forced.is_some() {
            return false;
        }
        let holding = self.space(client).and_then(|s| s.find(extent));
        holding.is_some_and(|h| h.writable && extent.address.trailing_zeros() >= h.grain)
    }

    /// As `copy_message`, of a region that the caller gives away.
    #[inline(never)]
    fn move_message(
        &mut self,
        client: u16,
        extent: Extent,
        passing: Passing,
        to: Place,
    ) -> Result<(), PassingError> {
        let output = self.begin_output(client, extent, passing, false)?;
        let (mut at, machine) = (0, &mut self.machine);
        output.pieces(0, extent.len, |from, len| {
            copy_run(machine, from, (to, at), len);
            at += len;
        });
        self.end_output(output);
        self.book(client, |account| {
            account.copied_out += u64::from(extent.len);
            // It was for no longer than the copy took.
            account.referenced_out -= u64::from(extent.len);
        });
        Ok(())
    }
}

/// Copies a piece to the bytes `at` behind `to`.
fn copy_run<M: Machine>(machine: &mut M, mut from: Place, (to, at): (Place, u32), mut len: u32) {
    let mut at = to.offset + at;
    while len != 0 {
        let offset = at & 4095;
        let part = len.min(4096 - offset);
        let frame = FrameId(to.frame.0 + (at >> 12));
        machine.copy(from, Place { frame, offset }, part);
        from.offset += part;
        at += part;
        len -= part;
    }
}
