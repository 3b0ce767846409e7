//! Datagrams (RFC 768).

use core::net::SocketAddr;
use core::time::Duration;

use socket_api::{Op, SocketKind, WireAddress};

use super::handle::{duration, timeout};
use super::{Handle, ToAddress};
use crate::error::{Error, Result};
use crate::poll::Pollable;
use crate::records::{flag, kind};
use crate::stack::{Stack, Wait, stack};

/// A UDP socket.
///
/// Datagrams of up to 2048 bytes are received whole
/// ([`Settings::datagram_order`](crate::Settings::datagram_order) gives more);
/// the rest of a longer one is lost, unless it is received by address. A `send`
/// of few bytes returns once the datagram has been copied, and an error that
/// comes later is reported by the next operation, but for a host that is not there,
/// of which only a connected socket is told; one of many
/// ([`Settings::datagram_by_address`](crate::Settings::datagram_by_address)),
/// or with semantics of its own, returns once the device is done with it.
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) handle: Handle,
}

impl UdpSocket {
    /// A socket with the local address `address`; port 0 picks one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, or that of looking `address` up.
    pub fn bind(address: impl ToAddress) -> Result<Self> {
        Self::bind_on(stack()?, address)
    }

    /// As [`UdpSocket::bind`], on a stack other than the installed one.
    ///
    /// # Errors
    /// As [`UdpSocket::bind`].
    pub fn bind_on(stack: &'static Stack, address: impl ToAddress) -> Result<Self> {
        let address = address.to_address(stack)?;
        let handle = Handle::open(stack, SocketKind::Udp as u64, kind::UDP)?;
        handle.attach(Op::Bind, address, Wait::Forever)?;
        let order = stack.lock().settings.datagram_order;
        handle.start(order);
        Ok(Self { handle })
    }

    /// Fixes the peer: `send` goes to it, and only it is received from.
    ///
    /// # Errors
    /// `HostUnreachable` and the like.
    pub fn connect(&self, address: impl ToAddress) -> Result<()> {
        let address = address.to_address(self.handle.stack)?;
        self.handle.attach(Op::Connect, address, Wait::Forever)?;
        self.handle.record(|r| r.peer = address.into());
        Ok(())
    }

    /// Receives one datagram: its length, or as much as fits, and who sent it.
    ///
    /// # Errors
    /// `WouldBlock`, `TimedOut`, or an error of an earlier send.
    #[inline]
    pub fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.receive(buf, false)
    }

    /// As [`UdpSocket::recv_from`], leaving the datagram where it is.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn peek_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.receive(buf, true)
    }

    /// Receives from the connected peer.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    #[inline]
    pub fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        self.receive(buf, false).map(|(len, _)| len)
    }

    /// As [`UdpSocket::recv`], leaving the datagram where it is.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn peek(&self, buf: &mut [u8]) -> Result<usize> {
        self.receive(buf, true).map(|(len, _)| len)
    }

    #[inline]
    fn receive(&self, buf: &mut [u8], peek: bool) -> Result<(usize, SocketAddr)> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<false, _>(index, buf, None, peek)?;
        let from = arrived.from.to_socket_addr().ok_or(Error::BROKEN)?;
        Ok((arrived.len, from))
    }

    /// Sends `buf` as one datagram.
    ///
    /// # Errors
    /// `InvalidInput` if it is longer than 65 507 bytes; `WouldBlock` or
    /// `TimedOut` while quota or buffers are used up; errors of earlier sends.
    #[inline]
    pub fn send_to(&self, buf: &[u8], address: impl ToAddress) -> Result<usize> {
        let address = address.to_address(self.handle.stack)?;
        self.submit(buf, address.into())
    }

    /// Sends to the connected peer.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`], and `NotConnected`.
    #[inline]
    pub fn send(&self, buf: &[u8]) -> Result<usize> {
        self.peer_addr()?;
        self.submit(buf, WireAddress::NONE)
    }

    #[inline]
    fn submit(&self, buf: &[u8], to: WireAddress) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        stack.send::<false, _>(index, buf, to, None)
    }

    /// The local address.
    ///
    /// # Errors
    /// `NotConnected` if the manager gave none.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.handle.local()
    }

    /// The connected peer.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.handle.peer()
    }

    /// How long receiving waits at most; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> Result<()> {
        let ns = timeout(limit)?;
        self.handle.record(|r| r.read_timeout = ns);
        Ok(())
    }

    /// How long receiving waits at most.
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        duration(self.handle.record(|r| r.read_timeout))
    }

    /// How long sending waits at most; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> Result<()> {
        let ns = timeout(limit)?;
        self.handle.record(|r| r.write_timeout = ns);
        Ok(())
    }

    /// How long sending waits at most.
    #[must_use]
    pub fn write_timeout(&self) -> Option<Duration> {
        duration(self.handle.record(|r| r.write_timeout))
    }

    /// Whether operations answer `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.handle.set_flag(flag::NON_BLOCKING, on);
    }

    /// Takes the error of an earlier send, if there is one.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.handle.take_error()
    }

    /// Another hold on the same socket.
    #[must_use]
    pub fn try_clone(&self) -> Self {
        Self {
            handle: self.handle.again(),
        }
    }
}

impl Pollable for UdpSocket {
    fn place(&self) -> (&'static Stack, u16) {
        (self.handle.stack, self.handle.index)
    }
}
