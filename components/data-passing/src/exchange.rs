//! User-directed page swapping: two ranges of a client change places.
//!
//! Problem: data that was received into one buffer is wanted in another, a page
//! of a file for example, and both are the client's. Invariant: afterwards each
//! range has the bytes of the other, no byte was copied, and what is being sent
//! from either with strong integrity keeps its frames; a range that a device
//! may write to is not exchanged.

use socket_api::Extent;

use crate::machine::Machine;
use crate::memory::{Memory, PassingError};
use crate::space::{Holding, PageState, SMALL};

impl<M: Machine> Memory<M> {
    /// Exchanges the pages of `extent` with as many from `other` on. Four page
    /// operations a pair.
    ///
    /// # Errors
    /// `Extent` if one of the ranges does not consist of whole writable pages
    /// of 4 KiB, or they overlap, or one is being received into; `NotMapped` if
    /// a page was moved away. Nothing is changed then.
    pub fn exchange(
        &mut self,
        client: u16,
        extent: Extent,
        other: u32,
    ) -> Result<(), PassingError> {
        let second = Extent {
            address: other,
            len: extent.len,
        };
        let from = self.exchangeable(client, extent)?;
        let to = self.exchangeable(client, second)?;
        let apart = u64::from(extent.address) >= second.end() || u64::from(other) >= extent.end();
        if !apart {
            return Err(PassingError::Extent);
        }
        for offset in (0..extent.len).step_by(1 << SMALL) {
            let (a, b) = (extent.address + offset, other + offset);
            self.exchange_pages(client, (&from, a), (&to, b))?;
        }
        Ok(())
    }

    /// The holding of a range all of whose pages can be exchanged.
    fn exchangeable(&mut self, client: u16, extent: Extent) -> Result<Holding, PassingError> {
        let space = self.spaces.get_mut(usize::from(client));
        let space = space.ok_or(PassingError::Extent)?;
        let holding = space.find(extent).ok_or(PassingError::Extent)?;
        let whole = (extent.address | extent.len) & 4095 == 0;
        if !whole || extent.len == 0 || !holding.writable || holding.grain != SMALL {
            return Err(PassingError::Extent);
        }
        let (first, _) = holding.page_of(extent.address);
        let last = first + (extent.len >> SMALL);
        for page in &space.pages[first as usize..last as usize] {
            if matches!(page.state, PageState::Hidden | PageState::Gone) {
                return Err(PassingError::NotMapped);
            }
            if self.frames.is_written(page.frame) {
                return Err(PassingError::Extent);
            }
        }
        Ok(holding)
    }

    fn exchange_pages(
        &mut self,
        client: u16,
        (from, a): (&Holding, u32),
        (to, b): (&Holding, u32),
    ) -> Result<(), PassingError> {
        let ((first, _), (second, _)) = (from.page_of(a), to.page_of(b));
        let (one, two) = (self.page(client, first)?, self.page(client, second)?);
        self.unmap_page(client, a, first, PageState::Gone)?;
        self.unmap_page(client, b, second, PageState::Gone)?;
        self.map_page(client, a, first, two.frame)?;
        self.map_page(client, b, second, one.frame)?;
        Ok(())
    }
}
