//! What an asynchronous operation reads or writes.

use socket_api::{Extent, Passing};

use crate::buffer::{Block, Buffer};
use crate::buffers::{Buffers, Standing};
use crate::core_state::Core;
use crate::error::{Error, Result};
use crate::memory::{Sink, Source, UserBuffer};
use crate::platform::Platform;

/// Memory that an operation may keep for as long as it takes.
#[derive(Debug)]
pub enum Memory {
    /// A buffer of the library's.
    Buffer(Buffer),
    /// The application's own, given up until the operation is done.
    Bytes(&'static mut [u8]),
    /// The application's own, to send only.
    Constant(&'static [u8]),
    /// Memory without references, which others may change meanwhile.
    Shared(UserBuffer),
}

impl From<Buffer> for Memory {
    fn from(buffer: Buffer) -> Self {
        Self::Buffer(buffer)
    }
}

impl From<&'static mut [u8]> for Memory {
    fn from(bytes: &'static mut [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&'static [u8]> for Memory {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Constant(bytes)
    }
}

impl From<UserBuffer> for Memory {
    fn from(buffer: UserBuffer) -> Self {
        Self::Shared(buffer)
    }
}

/// What a request says about memory.
pub(super) struct Named {
    pub extent: Extent,
    pub word: u32,
    /// How a block stands once it was sent.
    pub after: Standing,
    /// The whole block is named, not only what it shows.
    pub whole: bool,
}

impl Memory {
    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Buffer(buffer) => buffer.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Constant(bytes) => bytes.len(),
            Self::Shared(buffer) => buffer.len(),
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the loan of a buffer's bytes: nobody looks at them for now.
    pub(super) fn withdraw(&mut self, core: &mut Core) {
        if let Self::Buffer(buffer) = self {
            buffer.withdraw(core);
        }
    }

    /// How a request names it to be sent with `word` (0: nothing was said).
    pub(super) fn name_to_send(&self, core: &mut Core, word: u32) -> Result<Named> {
        let extent = match self {
            Self::Buffer(buffer) => {
                let block = buffer.block();
                let (word, after) = core.passing_of(block, word);
                return Ok(Named {
                    extent: core.buffers.extent(block.unit, block.start, block.len),
                    word,
                    after,
                    whole: false,
                });
            }
            Self::Bytes(bytes) => Source::extent(&&**bytes, core.platform),
            Self::Constant(bytes) => Source::extent(bytes, core.platform),
            Self::Shared(buffer) => Source::extent(buffer, core.platform),
        };
        application_allocated(extent, word)
    }

    /// How a request names it to be received into with `word`.
    pub(super) fn name_to_receive(&mut self, core: &mut Core, word: u32) -> Result<Named> {
        let extent = match self {
            Self::Buffer(buffer) => {
                let Block {
                    unit,
                    bytes,
                    start,
                    len,
                    ..
                } = buffer.block();
                let system = Passing::from_word(word)
                    .is_some_and(|passing| word != 0 && passing.semantics.is_system_allocated());
                // Such semantics concern the region as a whole.
                let (start, len) = match system {
                    true => (0, bytes),
                    false => (start, len),
                };
                return Ok(Named {
                    extent: core.buffers.extent(unit, start, len),
                    word,
                    after: Standing::Mapped,
                    whole: system,
                });
            }
            Self::Bytes(bytes) => Sink::extent(&mut **bytes, core.platform),
            Self::Constant(_) => return Err(Error::READ_ONLY),
            Self::Shared(buffer) => Sink::extent(buffer, core.platform),
        };
        application_allocated(extent, word)
    }

    /// The manager is done writing it: `len` bytes, of a block from its start on
    /// if it was named `whole`.
    pub(super) fn reclaim(&mut self, whole: bool, len: usize) {
        match self {
            Self::Buffer(buffer) => buffer.landed(whole, len),
            Self::Bytes(bytes) => Sink::reclaim(&mut **bytes),
            Self::Constant(_) | Self::Shared(_) => {}
        }
    }
}

/// Bytes copied through private memory at a time.
const PIECE: usize = 256;

/// What a withdrawn buffer shows, to be copied into from a slot.
impl Sink for Block {
    fn len(&self) -> usize {
        self.len as usize
    }

    fn extent(&mut self, _: &dyn Platform) -> Option<Extent> {
        None
    }

    fn reclaim(&mut self) {}

    fn take(&mut self, at: usize, len: usize, buffers: &mut Buffers, unit: u32, skip: u32) -> bool {
        let mut piece = [0; PIECE];
        (0..len).step_by(PIECE).all(|done| {
            let bytes = &mut piece[..PIECE.min(len - done)];
            let to = self.start + (at + done) as u32;
            buffers.take(unit, skip + done as u32, bytes) && buffers.fill(self.unit, to, bytes)
        })
    }

    fn prefers_address(&self) -> bool {
        false
    }

    fn is_private(&self) -> bool {
        true
    }
}

fn application_allocated(extent: Option<Extent>, word: u32) -> Result<Named> {
    crate::direct::application_allocated(word)?;
    Ok(Named {
        extent: extent.ok_or(Error::NAMELESS)?,
        word,
        after: Standing::Mapped,
        whole: false,
    })
}
