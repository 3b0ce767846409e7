//! I/O ports.
//!
//! Kernel 5.0.0 has no I/O port *control*: the initial thread gets a capability
//! to all ports, and narrower ones are minted from it. Newer kernels issue
//! ranges from a control capability. Both look like the latter here.

use crate::{AbsoluteCPtr, CapRights, Error, Result, Word, cap, init_thread, invoke::invoke};
use sel4_bindings::{io_port_capdata, request};

/// A port's number as the kernel takes it.
fn port_number(port: Word) -> Result<Word> {
    u16::try_from(port)
        .map(Word::from)
        .map_err(|_| Error::RangeError)
}

impl cap::IOPortControl {
    /// Corresponds to `seL4_X86_IOPortControl_Issue`: puts the capability to the
    /// ports from `first_port` to `last_port`, both included, into `dst`.
    ///
    /// On 5.0.0 only the initial thread can do this, since the kernel must be
    /// told in which CNode this capability is.
    ///
    /// # Errors
    /// [`Error::RangeError`] if a port has more than 16 bits,
    /// [`Error::IllegalOperation`] if the range is empty.
    pub fn ioport_control_issue(
        self,
        first_port: Word,
        last_port: Word,
        dst: &AbsoluteCPtr,
    ) -> Result<()> {
        let (first, last) = (port_number(first_port)?, port_number(last_port)?);
        if first > last {
            return Err(Error::IllegalOperation);
        }
        let all = init_thread::slot::CNODE.cap().absolute_cptr(self);
        dst.mint_data(&all, CapRights::all(), io_port_capdata::new(first, last).0)
    }
}

impl cap::IOPort {
    /// Corresponds to `seL4_X86_IOPort_In8`.
    pub fn ioport_in8(self, port: u16) -> Result<u8> {
        invoke(self.cptr(), request::X86_IOPort_In8(port)).map(|words| words[0] as u8)
    }

    /// Corresponds to `seL4_X86_IOPort_In16`.
    pub fn ioport_in16(self, port: u16) -> Result<u16> {
        invoke(self.cptr(), request::X86_IOPort_In16(port)).map(|words| words[0] as u16)
    }

    /// Corresponds to `seL4_X86_IOPort_In32`.
    pub fn ioport_in32(self, port: u16) -> Result<u32> {
        invoke(self.cptr(), request::X86_IOPort_In32(port)).map(|words| words[0] as u32)
    }

    /// Corresponds to `seL4_X86_IOPort_Out8`.
    pub fn ioport_out8(self, port: u16, data: u8) -> Result<()> {
        let message = request::X86_IOPort_Out8(port.into(), data.into());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_IOPort_Out16`.
    pub fn ioport_out16(self, port: u16, data: u16) -> Result<()> {
        let message = request::X86_IOPort_Out16(port.into(), data.into());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_X86_IOPort_Out32`.
    pub fn ioport_out32(self, port: u16, data: u32) -> Result<()> {
        let message = request::X86_IOPort_Out32(port.into(), data.into());
        invoke(self.cptr(), message).map(drop)
    }
}
