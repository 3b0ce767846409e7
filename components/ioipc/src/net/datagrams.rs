//! Datagrams with named semantics, and in buffers.

use core::net::SocketAddr;

use socket_api::{Passing, WireAddress};

use super::{Handle, ToAddress, UdpSocket};
use crate::buffer::{Buffer, Datagram, Unsent};
use crate::core_state::Core;
use crate::error::{Error, Result};
use crate::memory::UserBuffer;
use crate::pass::Landed;
use crate::stack::{Stack, Wait};

impl UdpSocket {
    /// How sending passes data from now on: the application's own buffers, if
    /// the semantics are application-allocated, else [`Buffer`]s. With explicit
    /// semantics blocking sends of the application's buffers go by address,
    /// however short.
    pub fn set_send_semantics(&self, passing: Passing) {
        self.handle.set_send_semantics(passing);
    }

    /// How receiving passes data from now on; see
    /// [`UdpSocket::set_send_semantics`]. Operations that may not wait receive
    /// through slots, whatever is set.
    pub fn set_receive_semantics(&self, passing: Passing) {
        self.handle.set_receive_semantics(passing);
    }

    /// As [`UdpSocket::send_to`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`]; `InvalidInput` for semantics that need a
    /// [`Buffer`].
    pub fn send_to_with(
        &self,
        buf: &[u8],
        address: impl ToAddress,
        passing: Passing,
    ) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let to = address.to_address(stack)?.into();
        stack.send::<false, _>(index, buf, to, Some(passing))
    }

    /// As [`UdpSocket::send`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to_with`], and `NotConnected`.
    pub fn send_with(&self, buf: &[u8], passing: Passing) -> Result<usize> {
        self.peer_addr()?;
        let Handle { stack, index } = self.handle;
        stack.send::<false, _>(index, buf, WireAddress::NONE, Some(passing))
    }

    /// As [`UdpSocket::recv_from`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`]; `InvalidInput` for semantics that need a
    /// [`Buffer`].
    pub fn recv_from_with(&self, buf: &mut [u8], passing: Passing) -> Result<(usize, SocketAddr)> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<false, _>(index, buf, Some(passing), false)?;
        let from = arrived.from.to_socket_addr().ok_or(Error::BROKEN)?;
        Ok((arrived.len, from))
    }

    /// As [`UdpSocket::recv`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from_with`].
    pub fn recv_with(&self, buf: &mut [u8], passing: Passing) -> Result<usize> {
        self.recv_from_with(buf, passing).map(|(len, _)| len)
    }

    /// Sends memory that has no reference, with the socket's semantics or
    /// those named here.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub fn send_memory_to(
        &self,
        memory: UserBuffer,
        address: impl ToAddress,
        passing: Option<Passing>,
    ) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let to = address.to_address(stack)?.into();
        stack.send::<false, _>(index, memory, to, passing)
    }

    /// Receives into memory that has no reference, with the socket's semantics
    /// or those named here.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn recv_memory_from(
        &self,
        mut memory: UserBuffer,
        passing: Option<Passing>,
    ) -> Result<(usize, SocketAddr)> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<false, _>(index, &mut memory, passing, false)?;
        let from = arrived.from.to_socket_addr().ok_or(Error::BROKEN)?;
        Ok((arrived.len, from))
    }

    /// Receives one datagram in a buffer: the slot that it was received into
    /// ahead of time, or, with semantics of the socket's own, a buffer that the
    /// manager filled accordingly.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`]; `OutOfMemory` if the data region has no
    /// room.
    #[inline]
    pub fn recv_buffer(&self) -> Result<Datagram> {
        self.receive_buffer(None)
    }

    /// As [`UdpSocket::recv_buffer`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_buffer`]; `InvalidInput` for semantics of
    /// application-allocated buffers.
    pub fn recv_buffer_with(&self, passing: Passing) -> Result<Datagram> {
        self.receive_buffer(Some(passing))
    }

    #[inline]
    fn receive_buffer(&self, passing: Option<Passing>) -> Result<Datagram> {
        let Handle { stack, index } = self.handle;
        let landed = stack.receive_buffer::<false>(index, passing)?;
        let Landed { block, from } = landed.ok_or(Error::BROKEN)?;
        Ok(Datagram::of(Buffer::own(stack, block), from))
    }

    /// Receives as many datagrams as there are and places for them in `into`
    /// that are free, in order; waits for the first. How many.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_buffer`].
    pub fn recv_datagrams(&self, into: &mut [Option<Datagram>]) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let (wait, word) = self.handle.record(|r| {
            let wait = Wait::of_socket(r.flags, r.read_timeout);
            (wait, r.passing.receive_buffer)
        });
        let Some(first) = into.iter_mut().find(|place| place.is_none()) else {
            return Ok(0);
        };
        if word != 0 && wait != Wait::Never {
            *first = Some(self.recv_buffer()?);
            return Ok(1);
        }
        let mut core = stack.lock();
        core.top_up(index);
        stack.block_with(core, wait, false, |core| {
            let mut count = 0;
            for place in into.iter_mut().filter(|place| place.is_none()) {
                match core.receive_block::<false>(index) {
                    Some(Ok(Some(Landed { block, from }))) => {
                        *place = Some(Datagram::of(Buffer::own(stack, block), from));
                        count += 1;
                    }
                    Some(Err(error)) if count == 0 => return Some(Err(error)),
                    _ => break,
                }
            }
            if count == 0 {
                core.post_now(index);
            }
            (count != 0).then_some(Ok(count))
        })?
    }

    /// Sends a datagram to its peer. Returns at once: the buffer goes back to
    /// the library when the device is done with it, and an error that comes
    /// later is reported by the next operation, as for [`UdpSocket`] in general.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`], with the datagram.
    #[inline]
    pub fn send_datagram(&self, datagram: Datagram) -> core::result::Result<(), Unsent<Datagram>> {
        let peer = datagram.address();
        self.pass(datagram.into_buffer(), peer, None)
            .map_err(|(error, buffer)| Unsent {
                error,
                item: Datagram::of(buffer, peer),
            })
    }

    /// Sends the datagrams in `from`, in order, each as
    /// [`UdpSocket::send_datagram`] does, until one cannot be sent now. How
    /// many; they are gone from their places.
    ///
    /// # Errors
    /// That of the first one that is left, if none could be sent.
    pub fn send_datagrams(&self, from: &mut [Option<Datagram>]) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let wait = self
            .handle
            .record(|r| Wait::of_socket(r.flags, r.write_timeout));
        stack.block(wait, true, |core| {
            let mut count = 0;
            for place in from.iter_mut().filter(|place| place.is_some()) {
                match send_from(core, stack, index, place) {
                    Some(Ok(())) => count += 1,
                    Some(Err(error)) if count == 0 => return Some(Err(error)),
                    _ => break,
                }
            }
            let nothing_to_do = from.iter().all(Option::is_none);
            (count != 0 || nothing_to_do).then_some(Ok(count))
        })?
    }

    /// Sends what `buffer` shows to `address`; otherwise as
    /// [`UdpSocket::send_datagram`].
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`], with the buffer.
    pub fn send_buffer_to(
        &self,
        buffer: Buffer,
        address: SocketAddr,
    ) -> core::result::Result<(), Unsent<Buffer>> {
        Ok(self.pass(buffer, address.into(), None)?)
    }

    /// As [`UdpSocket::send_buffer_to`], with semantics for this call.
    ///
    /// # Errors
    /// As [`UdpSocket::send_buffer_to`].
    pub fn send_buffer_to_with(
        &self,
        buffer: Buffer,
        address: SocketAddr,
        passing: Passing,
    ) -> core::result::Result<(), Unsent<Buffer>> {
        Ok(self.pass(buffer, address.into(), Some(passing))?)
    }

    #[inline]
    fn pass(
        &self,
        buffer: Buffer,
        to: WireAddress,
        passing: Option<Passing>,
    ) -> core::result::Result<(), (Error, Buffer)> {
        let Handle { stack, index } = self.handle;
        stack.send_buffer::<false>(index, buffer, to, passing)
    }
}

/// Sends the datagram in `place`, if there is one, and empties the place.
#[inline]
fn send_from(
    core: &mut Core,
    stack: &'static Stack,
    index: u16,
    place: &mut Option<Datagram>,
) -> Option<Result<()>> {
    let datagram = place.take()?;
    if !core::ptr::eq(datagram.stack(), stack) {
        *place = Some(datagram);
        return Some(Err(Error::OTHER_STACK));
    }
    let word = core.socket(index).passing.send_buffer;
    let (block, to) = (datagram.block(), datagram.address());
    let sent = core.send_block::<false>(index, block, to, word);
    match sent {
        Some(Ok(())) => {
            datagram.into_buffer().disown(core);
        }
        _ => *place = Some(datagram),
    }
    sent
}
