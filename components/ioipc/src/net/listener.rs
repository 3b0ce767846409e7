//! Connections that others open (RFC 9293).

use core::net::SocketAddr;
use core::time::Duration;

use socket_api::{Op, SocketKind};

use super::handle::timeout;
use super::{Handle, TcpStream, ToAddress};
use crate::error::{Error, Result};
use crate::poll::Pollable;
use crate::records::{flag, kind};
use crate::stack::{Stack, Wait, stack};

/// Connections that wait to be accepted, unless said otherwise.
const BACKLOG: u16 = 128;

/// A listening socket.
#[derive(Debug)]
pub struct TcpListener {
    handle: Handle,
}

impl TcpListener {
    /// Listens on `address` with a backlog of 128, as `std` does.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, or that of looking `address` up.
    pub fn bind(address: impl ToAddress) -> Result<Self> {
        Self::bind_on(stack()?, address, BACKLOG)
    }

    /// As [`TcpListener::bind`], on a stack other than the installed one and
    /// with `backlog` connections that may wait.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn bind_on(stack: &'static Stack, address: impl ToAddress, backlog: u16) -> Result<Self> {
        let address = address.to_address(stack)?;
        let backlog = backlog.max(1);
        let handle = Handle::open(stack, SocketKind::Tcp as u64, kind::LISTENER)?;
        handle.attach(Op::Bind, address, Wait::Forever)?;
        handle.control(Op::Listen, None, u64::from(backlog), Wait::Forever)?;
        handle.record(|r| r.backlog = backlog);
        handle.start_accepts();
        Ok(Self { handle })
    }

    /// The next connection and its peer.
    ///
    /// # Errors
    /// `WouldBlock`, or what befell an attempt to accept.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let Handle { stack, index } = self.handle;
        let wait = self
            .handle
            .record(|r| Wait::of_socket(r.flags, r.read_timeout));
        let accepted = stack.block(wait, true, |core| match core.dequeue(index) {
            Some(record) => {
                let accepted = core.record(record).accepted;
                core.free_record(record);
                core.post(index);
                Some(Ok(accepted))
            }
            None => {
                let error = core.take_error(index);
                core.post(index);
                error.map(|e| Err(Error::from_status(e)))
            }
        })??;
        let stream = TcpStream {
            handle: Handle {
                stack,
                index: accepted,
            },
        };
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    /// Connections, one after the other, without end.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The local address.
    ///
    /// # Errors
    /// `NotConnected` if the manager gave none.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.handle.local()
    }

    /// How long `accept` waits at most; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_accept_timeout(&self, limit: Option<Duration>) -> Result<()> {
        let ns = timeout(limit)?;
        self.handle.record(|r| r.read_timeout = ns);
        Ok(())
    }

    /// Whether `accept` answers `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.handle.set_flag(flag::NON_BLOCKING, on);
    }
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl Pollable for TcpListener {
    fn place(&self) -> (&'static Stack, u16) {
        (self.handle.stack, self.handle.index)
    }
}
