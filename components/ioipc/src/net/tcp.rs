//! Streams (RFC 9293).

use core::net::SocketAddr;
use core::time::Duration;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use socket_api::{Op, SocketKind, WireAddress};

use super::handle::{duration, timeout};
use super::{Handle, Shutdown, ToAddress};
use crate::error::{Error, ErrorKind, Result};
use crate::poll::Pollable;
use crate::records::{flag, kind};
use crate::stack::{Stack, Wait, stack};

/// A connection.
///
/// A `write` of few bytes returns once they have been copied; one of many
/// ([`Settings::stream_by_address`](crate::Settings::stream_by_address)), or
/// with semantics of its own, once the peer has acknowledged all but a tail.
/// Dropping the stream sends what is queued in the background, then FIN;
/// [`TcpStream::set_linger`] changes that.
#[derive(Debug)]
pub struct TcpStream {
    pub(super) handle: Handle,
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    /// `ConnectionRefused`, `HostUnreachable`, `TimedOut` and the like.
    pub fn connect(address: impl ToAddress) -> Result<Self> {
        Self::connect_on(stack()?, address, None)
    }

    /// As [`TcpStream::connect`], giving up after `limit`.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn connect_timeout(address: &SocketAddr, limit: Duration) -> Result<Self> {
        Self::connect_on(stack()?, *address, Some(limit))
    }

    /// As [`TcpStream::connect`], on a stack other than the installed one.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn connect_on(
        stack: &'static Stack,
        address: impl ToAddress,
        limit: Option<Duration>,
    ) -> Result<Self> {
        let address = address.to_address(stack)?;
        let handle = Handle::open(stack, SocketKind::Tcp as u64, kind::STREAM)?;
        // Should it fail, there is nothing to send: drop at once.
        let linger = handle.record(|r| core::mem::take(&mut r.linger));
        handle.attach(Op::Connect, address, Wait::at_most(limit))?;
        handle.record(|r| {
            r.linger = linger;
            r.peer = address.into();
        });
        let order = stack.lock().settings.stream_order;
        handle.start(order);
        Ok(Self { handle })
    }

    /// Reads what is there, waiting for at least one byte; 0 at the end of
    /// the stream, or for an empty `buf`.
    ///
    /// # Errors
    /// `ConnectionReset`, `WouldBlock`, `TimedOut` and the like.
    #[inline]
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.receive(buf, false)
    }

    /// As [`TcpStream::read`], leaving the bytes where they are. At least one
    /// byte if there is one, not necessarily all.
    ///
    /// # Errors
    /// As [`TcpStream::read`].
    pub fn peek(&self, buf: &mut [u8]) -> Result<usize> {
        self.receive(buf, true)
    }

    #[inline]
    fn receive(&self, buf: &mut [u8], peek: bool) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        let arrived = stack.receive::<true, _>(index, buf, None, peek)?;
        Ok(arrived.len)
    }

    /// Queues as much of `buf` as there is room for, at least one byte.
    ///
    /// # Errors
    /// `BrokenPipe`, `ConnectionReset`, `WouldBlock`, `TimedOut` and the like.
    #[inline]
    pub fn write(&self, buf: &[u8]) -> Result<usize> {
        let Handle { stack, index } = self.handle;
        stack.send::<true, _>(index, buf, WireAddress::NONE, None)
    }

    /// Queues all of `buf`.
    ///
    /// # Errors
    /// As [`TcpStream::write`]; how much was queued is not known then.
    pub fn write_all(&self, mut buf: &[u8]) -> Result<()> {
        while !buf.is_empty() {
            let done = self.write(buf)?;
            buf = buf.get(done..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Waits until the peer has acknowledged everything written, but for what
    /// was copied when a `write` by address returned.
    ///
    /// # Errors
    /// What ended the connection, `WouldBlock`, or `TimedOut`.
    pub fn flush(&self) -> Result<()> {
        let Handle { stack, index } = self.handle;
        let wait = self
            .handle
            .record(|r| Wait::of_socket(r.flags, r.write_timeout));
        stack.block(wait, true, |core| {
            let socket = core.socket(index);
            match (socket.send_end, socket.sends) {
                (0, 0) => Some(Ok(())),
                (0, _) => {
                    core.starved = true;
                    None
                }
                (end, _) => Some(Err(Error::from_status(end))),
            }
        })?
    }

    /// Shuts one half, or both, of the connection down. Writing ends behind
    /// what has been written.
    ///
    /// # Errors
    /// `NotConnected` and the like.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let (bits, arg) = match how {
            Shutdown::Read => (flag::READ_SHUT, 1),
            Shutdown::Write => (flag::WRITE_SHUT, 2),
            Shutdown::Both => (flag::READ_SHUT | flag::WRITE_SHUT, 3),
        };
        let (before, handle) = self.handle.record(|r| {
            let before = r.flags;
            r.flags |= bits;
            (before, r.handle)
        });
        if before & bits == bits || handle == 0 {
            return Ok(());
        }
        let wait = Wait::Forever;
        if self.handle.control(Op::Shutdown, None, arg, wait).is_err() {
            // The connection is over both ways: nothing is left to shut.
            return Err(Error::new(ErrorKind::NotConnected, "not connected"));
        }
        Ok(())
    }

    /// What dropping the stream does with what is queued: `None` sends it in
    /// the background; a time waits so long for it to be acknowledged, then
    /// drops the rest; no time drops it at once and resets the connection.
    pub fn set_linger(&self, linger: Option<Duration>) {
        let ms = match linger {
            None => u64::MAX,
            Some(d) if d.is_zero() => 0,
            Some(d) => u64::try_from(d.as_millis()).map_or(u64::MAX - 1, |ms| ms.max(1)),
        };
        self.handle.record(|r| r.linger = ms);
    }

    /// See [`TcpStream::set_linger`].
    #[must_use]
    pub fn linger(&self) -> Option<Duration> {
        let ms = self.handle.record(|r| r.linger);
        (ms != u64::MAX).then(|| Duration::from_millis(ms))
    }

    /// Sends small segments at once (no Nagle delay, RFC 896).
    ///
    /// # Errors
    /// `Unsupported` when switching the delay on again: the protocol server
    /// keeps the choice for good once something was sent with it.
    pub fn set_nodelay(&self, on: bool) -> Result<()> {
        if !on && self.nodelay() {
            return Err(Error::new(ErrorKind::Unsupported, "no delay is for good"));
        }
        if on {
            self.handle.set_flag(flag::NO_DELAY, true);
        }
        Ok(())
    }

    /// See [`TcpStream::set_nodelay`].
    #[must_use]
    pub fn nodelay(&self) -> bool {
        self.handle.has_flag(flag::NO_DELAY)
    }

    /// How long reading waits at most; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> Result<()> {
        let ns = timeout(limit)?;
        self.handle.record(|r| r.read_timeout = ns);
        Ok(())
    }

    /// How long reading waits at most.
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        duration(self.handle.record(|r| r.read_timeout))
    }

    /// How long writing waits at most; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> Result<()> {
        let ns = timeout(limit)?;
        self.handle.record(|r| r.write_timeout = ns);
        Ok(())
    }

    /// How long writing waits at most.
    #[must_use]
    pub fn write_timeout(&self) -> Option<Duration> {
        duration(self.handle.record(|r| r.write_timeout))
    }

    /// Whether operations answer `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.handle.set_flag(flag::NON_BLOCKING, on);
    }

    /// The local address.
    ///
    /// # Errors
    /// `NotConnected` if the manager gave none.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.handle.local()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` if the manager gave none.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.handle.peer()
    }

    /// Another hold on the same connection.
    #[must_use]
    pub fn try_clone(&self) -> Self {
        Self {
            handle: self.handle.again(),
        }
    }

    fn readiness(&self) -> (bool, bool) {
        self.handle.stack.with(|core| {
            core.start_ahead(self.handle.index);
            core.process();
            core.readiness(self.handle.index)
        })
    }
}

macro_rules! embedded_io {
    ($stream:ty) => {
        impl ErrorType for $stream {
            type Error = Error;
        }

        impl Read for $stream {
            fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
                TcpStream::read(self, buf)
            }
        }

        impl Write for $stream {
            fn write(&mut self, buf: &[u8]) -> Result<usize> {
                TcpStream::write(self, buf)
            }

            fn flush(&mut self) -> Result<()> {
                TcpStream::flush(self)
            }
        }

        impl ReadReady for $stream {
            fn read_ready(&mut self) -> Result<bool> {
                Ok(self.readiness().0)
            }
        }

        impl WriteReady for $stream {
            fn write_ready(&mut self) -> Result<bool> {
                Ok(self.readiness().1)
            }
        }
    };
}

embedded_io!(TcpStream);
embedded_io!(&TcpStream);

impl Pollable for TcpStream {
    fn place(&self) -> (&'static Stack, u16) {
        (self.handle.stack, self.handle.index)
    }
}
