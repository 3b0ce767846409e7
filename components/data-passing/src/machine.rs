//! What data passing needs of a machine: frames and address spaces.
//!
//! One implementation each for seL4, for the in-process model, and for what
//! comes. Invariant asked of an implementation: it does what it is told and
//! nothing else; which frame is mapped where is known to [`Memory`] alone,
//! which never names a frame or an address that it was not given.
//!
//! [`Memory`]: crate::Memory

use core::fmt;

/// A frame of physical memory, numbered by the manager: 4 KiB, or 2 MiB for a
/// holding of that grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(pub u32);

/// A byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The frame.
    pub frame: FrameId,
    /// Bytes from its start.
    pub offset: u32,
}

/// What a client may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// The machine refused a page operation: its tables and ours differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineError;

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine refused a page operation")
    }
}

impl core::error::Error for MachineError {}

/// Frames and address spaces. All lengths are in bytes, and no access leaves
/// the frame that it names.
pub trait Machine {
    /// Copies between frames; the two do not overlap.
    fn copy(&mut self, from: Place, to: Place, len: u32);
    /// Copies bytes of the manager's into a frame.
    fn write(&mut self, to: Place, bytes: &[u8]);
    /// Copies bytes of a frame into memory of the manager's.
    fn read(&self, from: Place, into: &mut [u8]);
    /// Fills with zeros.
    fn clear(&mut self, at: Place, len: u32);
    /// The ones' complement sum (RFC 1071) folded to 16 bits, of bytes taken
    /// in pairs from the first, as two bytes in memory order.
    fn sum(&self, at: Place, len: u32) -> u16;
    /// Where a device finds the byte.
    fn paddr(&self, at: Place) -> u64;
    /// Maps a frame at a page of the client where nothing is mapped.
    ///
    /// # Errors
    /// [`MachineError`]; nothing is mapped then.
    fn map(
        &mut self,
        client: u16,
        address: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError>;
    /// Takes the frame from the page, so that the next access faults.
    ///
    /// # Errors
    /// [`MachineError`]; it is still mapped then.
    fn unmap(&mut self, client: u16, address: u32, frame: FrameId) -> Result<(), MachineError>;
    /// Changes what the client may do with the page.
    ///
    /// # Errors
    /// [`MachineError`]; nothing changes then.
    fn protect(
        &mut self,
        client: u16,
        address: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError>;
}
