//! Streams with named semantics, and in buffers.

use socket_api::{Passing, WireAddress};

use super::{Handle, TcpStream};
use crate::buffer::{Buffer, Unsent};
use crate::error::Result;
use crate::memory::UserBuffer;

impl TcpStream {
    /// How writing passes data from now on: the application's own buffers, if
    /// the semantics are application-allocated, else [`Buffer`]s. With explicit
    /// semantics blocking writes of the application's buffers go by address,
    /// however short.
    pub fn set_send_semantics(&self, passing: Passing) {
        self.handle.set_send_semantics(passing);
    }

    /// How reading passes data from now on; see
    /// [`TcpStream::set_send_semantics`]. Operations that may not wait receive
    /// through slots, whatever is set.
    pub fn set_receive_semantics(&self, passing: Passing) {
        self.handle.set_receive_semantics(passing);
    }

    /// As [`TcpStream::write`], with semantics for this call.
    ///
    /// # Errors
    /// As [`TcpStream::write`]; `InvalidInput` for semantics that need a
    /// [`Buffer`].
    pub fn write_with(&self, buf: &[u8], passing: Passing) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        stack.send::<true, _>(index, buf, WireAddress::NONE, Some(passing))
    }

    /// As [`TcpStream::read`], with semantics for this call.
    ///
    /// # Errors
    /// As [`TcpStream::read`]; `InvalidInput` for semantics that need a
    /// [`Buffer`].
    pub fn read_with(&self, buf: &mut [u8], passing: Passing) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<true, _>(index, buf, Some(passing), false)?;
        Ok(arrived.len)
    }

    /// Writes memory that has no reference, with the stream's semantics or
    /// those named here.
    ///
    /// # Errors
    /// As [`TcpStream::write`].
    pub fn write_memory(&self, memory: UserBuffer, passing: Option<Passing>) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        stack.send::<true, _>(index, memory, WireAddress::NONE, passing)
    }

    /// Reads into memory that has no reference, with the stream's semantics or
    /// those named here.
    ///
    /// # Errors
    /// As [`TcpStream::read`].
    pub fn read_memory(&self, mut memory: UserBuffer, passing: Option<Passing>) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<true, _>(index, &mut memory, passing, false)?;
        Ok(arrived.len)
    }

    /// Reads what is there in a buffer: the slot that it was received into
    /// ahead of time, or, with semantics of the stream's own, a buffer that the
    /// manager filled accordingly. `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`TcpStream::read`]; `OutOfMemory` if the data region has no room.
    pub fn recv_buffer(&self) -> Result<Option<Buffer>> {
        self.receive_buffer(None)
    }

    /// As [`TcpStream::recv_buffer`], with semantics for this call.
    ///
    /// # Errors
    /// As [`TcpStream::recv_buffer`]; `InvalidInput` for semantics of
    /// application-allocated buffers.
    pub fn recv_buffer_with(&self, passing: Passing) -> Result<Option<Buffer>> {
        self.receive_buffer(Some(passing))
    }

    fn receive_buffer(&self, passing: Option<Passing>) -> Result<Option<Buffer>> {
        let Handle { stack, index } = self.handle;
        let landed = stack.receive_buffer::<true>(index, passing)?;
        Ok(landed.map(|landed| Buffer::own(stack, landed.block)))
    }

    /// Appends what `buffer` shows to the stream. Returns at once: the buffer
    /// goes back to the library when the peer has acknowledged it.
    ///
    /// # Errors
    /// As [`TcpStream::write`], with the buffer.
    pub fn send_buffer(&self, buffer: Buffer) -> core::result::Result<(), Unsent<Buffer>> {
        self.pass(buffer, None)
    }

    /// As [`TcpStream::send_buffer`], with semantics for this call.
    ///
    /// # Errors
    /// As [`TcpStream::send_buffer`].
    pub fn send_buffer_with(
        &self,
        buffer: Buffer,
        passing: Passing,
    ) -> core::result::Result<(), Unsent<Buffer>> {
        self.pass(buffer, Some(passing))
    }

    fn pass(
        &self,
        buffer: Buffer,
        passing: Option<Passing>,
    ) -> core::result::Result<(), Unsent<Buffer>> {
        let Handle { stack, index } = self.handle;
        Ok(stack.send_buffer::<true>(index, buffer, WireAddress::NONE, passing)?)
    }
}
