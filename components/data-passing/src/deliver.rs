//! Received bytes reach the client.
//!
//! Invariant: what is delivered appears whole or not at all, and beside it
//! nothing changes that the client could see, but for the zeros that complete
//! a page of a new region. A page that another device may be writing to keeps
//! its frame.

use socket_api::{Extent, Technique};

use crate::frames::{NO_FRAME, Use};
use crate::input::Input;
use crate::machine::{FrameId, Machine, Place};
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, PageState};

impl<M: Machine> Memory<M> {
    /// Delivers `len` more bytes, which lie within one frame at `from`. Copied
    /// bytes are on the client's account.
    ///
    /// # Errors
    /// `Extent` if there is no room for them, `NotMapped` if the client has
    /// moved the room away meanwhile, `NoFrames` if there are none for it;
    /// nothing is delivered then.
    #[inline(always)]
    pub fn deliver(
        &mut self,
        input: &mut Input,
        from: Place,
        len: u32,
    ) -> Result<(), PassingError> {
        match self.deliver_short(input, from, len) {
            true => Ok(()),
            false => self.deliver_any(input, from, len),
        }
    }

    #[inline(never)]
    fn deliver_any(
        &mut self,
        input: &mut Input,
        from: Place,
        len: u32,
    ) -> Result<(), PassingError> {
        let rest = input.rest();
        if len > rest.len {
            return Err(PassingError::Extent);
        }
        let extent = Extent { len, ..rest };
        let mut from = from;
        self.overwrite(input.client, extent, input.reach(), |machine, to, len| {
            machine.copy(from, to, len);
            from.offset += len;
        })?;
        self.book(input.client, |a| a.copied_in += u64::from(len));
        input.filled += len;
        Ok(())
    }

    /// A device has written the first `len` bytes of what was posted, and has
    /// let go of it. Only what was posted before anything was delivered can be.
    ///
    /// # Errors
    /// As [`Memory::deliver`].
    pub fn deliver_posted(&mut self, input: &mut Input, len: u32) -> Result<(), PassingError> {
        let posted = input.is_posted() || len == 0;
        if len > input.len || input.filled != 0 || !posted {
            return Err(PassingError::Extent);
        }
        match input.technique {
            Technique::InPlace | Technique::Reinstate => {
                input.filled = len;
                self.book(input.client, |a| a.referenced_in += u64::from(len));
                Ok(())
            }
            _ => self.take_over(input, len),
        }
    }

    /// Puts posted system frames into the client's pages: whole ones change
    /// places, partial ones are completed and swapped, or copied, or, in a new
    /// region, cleared where nothing was received.
    fn take_over(&mut self, input: &mut Input, len: u32) -> Result<(), PassingError> {
        let space = self.spaces.get_mut(usize::from(input.client));
        let space = space.ok_or(PassingError::Extent)?;
        let extent = Extent {
            len,
            ..input.rest()
        };
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        let mut pages = space.pages_in(&holding, extent).iter();
        if input.technique == Technique::Swap && pages.any(|p| p.state.is_away()) {
            return Err(PassingError::NotMapped);
        }
        let mut index = 0;
        while input.filled < len {
            let offset = input.rest().address & 4095;
            let part = (len - input.filled).min(4096 - offset);
            let Some(frame) = input.posted.get(index) else {
                break;
            };
            if self.take_over_page(input, &holding, Place { frame, offset }, part)? {
                input.posted.set(index, FrameId(NO_FRAME));
            }
            input.filled += part;
            index += 1;
        }
        Ok(())
    }

    /// One page; whether the posted frame is the client's now.
    fn take_over_page(
        &mut self,
        input: &Input,
        holding: &Holding,
        from: Place,
        len: u32,
    ) -> Result<bool, PassingError> {
        let (client, address) = (input.client, input.rest().address);
        let (number, offset) = holding.page_of(address);
        let create = input.technique == Technique::Create;
        let old = self.page(client, number)?;
        let short = len <= 2048 && !self.frames.is_strong(old.frame);
        if !create && (short || self.frames.is_written(old.frame)) {
            let to = Place {
                frame: old.frame,
                offset,
            };
            self.machine.copy(from, to, len);
            self.book(client, |account| account.copied_in += u64::from(len));
            return Ok(false);
        }
        // It is the client's now, which no device writes to.
        self.frames.release_into_page(from.frame, Use::Written);
        self.replace_page(client, holding, number, from.frame, |this| match create {
            true => this.clear_around(client, from, len),
            false => {
                let copied = this.copy_around(old.frame, from, len);
                this.book(client, |account| {
                    account.copied_reverse += u64::from(copied)
                });
            }
        })?;
        self.book(client, |account| account.referenced_in += u64::from(len));
        if old.state != PageState::Gone {
            self.frames.orphan(old.frame);
        }
        Ok(true)
    }
}
