//! What bytes are sent from and received into, besides slots.
//!
//! Problem: an application has its bytes in a slice, in memory that it shares
//! with others, or (on a platform that simulates it) at an address; each is
//! copied to and from slots, or named by address in a request. Invariant: what
//! can be named is memory that the caller may let the manager read ([`Source`])
//! or write ([`Sink`]) until the request is answered: a borrowed slice for as
//! long as the call lasts, or memory without any Rust reference to it.

use shared_ring::{SharedMemory, lend};
use socket_api::Extent;

use crate::buffers::Buffers;
use crate::platform::Platform;

/// Bytes copied through private memory at a time.
const PIECE: usize = 256;

/// Memory of the component that no Rust reference names: memory that several
/// threads or components change as they like, or simulated memory.
///
/// It always goes by address, whatever its size, except where the manager
/// refuses it.
#[derive(Clone, Copy, Debug)]
pub struct UserBuffer(Place);

#[derive(Clone, Copy, Debug)]
enum Place {
    Shared(SharedMemory),
    Simulated(Extent),
}

impl UserBuffer {
    /// The shared span `memory`.
    #[must_use]
    pub const fn shared(memory: SharedMemory) -> Self {
        Self(Place::Shared(memory))
    }

    /// The `len` bytes at `address` of a component whose memory is simulated
    /// ([`Platform::is_simulated`]); elsewhere nothing can be done with it.
    #[must_use]
    pub const fn at(address: u32, len: u32) -> Self {
        Self(Place::Simulated(Extent { address, len }))
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            Place::Shared(memory) => memory.len(),
            Place::Simulated(extent) => extent.len as usize,
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `offset` on; none if there are fewer.
    #[must_use]
    pub fn from(&self, offset: usize) -> Self {
        let len = self.len().saturating_sub(offset);
        let offset = self.len() - len;
        Self(match self.0 {
            Place::Shared(memory) => Place::Shared(memory.slice(offset, len).unwrap_or(memory)),
            Place::Simulated(extent) => Place::Simulated(Extent {
                address: extent.address.wrapping_add(offset as u32),
                len: len as u32,
            }),
        })
    }

    pub(crate) fn extent_on(&self, platform: &dyn Platform) -> Option<Extent> {
        match self.0 {
            Place::Shared(memory) => Some(Extent {
                address: platform.address_of(memory.address(), memory.len())?,
                len: u32::try_from(memory.len()).ok()?,
            }),
            Place::Simulated(extent) => platform.is_simulated().then_some(extent),
        }
    }

    fn read(&self, platform: &dyn Platform, at: usize, into: &mut [u8]) -> bool {
        match self.0 {
            Place::Shared(memory) => memory.read(at, into).is_ok(),
            Place::Simulated(e) => platform.read(e.address.wrapping_add(at as u32), into),
        }
    }

    fn write(&self, platform: &dyn Platform, at: usize, from: &[u8]) -> bool {
        match self.0 {
            Place::Shared(memory) => memory.write(at, from).is_ok(),
            Place::Simulated(e) => platform.write(e.address.wrapping_add(at as u32), from),
        }
    }
}

/// Bytes to send.
pub(crate) trait Source: Copy {
    /// How many.
    fn len(&self) -> usize;
    /// Their name for the manager, which may read them until the end of the
    /// caller's borrow; `None` if they have none.
    fn extent(&self, platform: &dyn Platform) -> Option<Extent>;
    /// Copies `len` of them from byte `at` on to the start of block `unit`.
    fn fill(&self, at: usize, len: usize, buffers: &mut Buffers, unit: u32) -> bool;
    /// Whether they go by address whatever their number.
    fn prefers_address(&self) -> bool;
    /// Whether only threads of this component can change them.
    fn is_private(&self) -> bool;
}

impl Source for &[u8] {
    #[inline]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn extent(&self, platform: &dyn Platform) -> Option<Extent> {
        let len = u32::try_from(<[u8]>::len(self)).ok()?;
        let address = platform.address_of(lend::expose(self), <[u8]>::len(self))?;
        Some(Extent { address, len })
    }

    #[inline]
    fn fill(&self, at: usize, len: usize, buffers: &mut Buffers, unit: u32) -> bool {
        self.get(at..at + len)
            .is_some_and(|bytes| buffers.fill(unit, 0, bytes))
    }

    #[inline]
    fn prefers_address(&self) -> bool {
        false
    }

    #[inline]
    fn is_private(&self) -> bool {
        true
    }
}

impl Source for UserBuffer {
    fn len(&self) -> usize {
        UserBuffer::len(self)
    }

    fn extent(&self, platform: &dyn Platform) -> Option<Extent> {
        self.extent_on(platform)
    }

    fn fill(&self, at: usize, len: usize, buffers: &mut Buffers, unit: u32) -> bool {
        let mut piece = [0; PIECE];
        (0..len).step_by(PIECE).all(|done| {
            let bytes = &mut piece[..PIECE.min(len - done)];
            self.read(buffers.platform(), at + done, bytes)
                && buffers.fill(unit, done as u32, bytes)
        })
    }

    fn prefers_address(&self) -> bool {
        true
    }

    fn is_private(&self) -> bool {
        matches!(self.0, Place::Simulated(_))
    }
}

/// Room to receive into.
pub(crate) trait Sink {
    /// Bytes of it.
    fn len(&self) -> usize;
    /// Its name for the manager, which may write it until the request is
    /// answered; `None` if it has none. Nobody may touch it before `reclaim`.
    fn extent(&mut self, platform: &dyn Platform) -> Option<Extent>;
    /// The manager is done with it.
    fn reclaim(&mut self);
    /// Copies `len` bytes from byte `skip` of block `unit` on to byte `at`.
    fn take(&mut self, at: usize, len: usize, buffers: &mut Buffers, unit: u32, skip: u32) -> bool;
    /// Whether it is filled by address whatever its size.
    fn prefers_address(&self) -> bool;
    /// Whether only threads of this component can look at it.
    fn is_private(&self) -> bool;
}

impl Sink for [u8] {
    #[inline]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn extent(&mut self, platform: &dyn Platform) -> Option<Extent> {
        let len = u32::try_from(<[u8]>::len(self)).ok()?;
        let address = platform.address_of(lend::expose_mut(self), len as usize)?;
        Some(Extent { address, len })
    }

    fn reclaim(&mut self) {
        lend::reclaim(self);
    }

    #[inline]
    fn take(&mut self, at: usize, len: usize, buffers: &mut Buffers, unit: u32, skip: u32) -> bool {
        self.get_mut(at..at + len)
            .is_some_and(|into| buffers.take(unit, skip, into))
    }

    #[inline]
    fn prefers_address(&self) -> bool {
        false
    }

    #[inline]
    fn is_private(&self) -> bool {
        true
    }
}

impl Sink for UserBuffer {
    fn len(&self) -> usize {
        UserBuffer::len(self)
    }

    fn extent(&mut self, platform: &dyn Platform) -> Option<Extent> {
        self.extent_on(platform)
    }

    fn reclaim(&mut self) {}

    fn take(&mut self, at: usize, len: usize, buffers: &mut Buffers, unit: u32, skip: u32) -> bool {
        let mut piece = [0; PIECE];
        (0..len).step_by(PIECE).all(|done| {
            let bytes = &mut piece[..PIECE.min(len - done)];
            buffers.take(unit, skip + done as u32, bytes)
                && self.write(buffers.platform(), at + done, bytes)
        })
    }

    fn prefers_address(&self) -> bool {
        true
    }

    fn is_private(&self) -> bool {
        matches!(self.0, Place::Simulated(_))
    }
}
