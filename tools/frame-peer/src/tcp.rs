//! TCP connections of the peer, with the blocking interface of `std`'s.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::engine::Shared;
use crate::host::Host;

/// Bytes that wait in each direction of a connection.
const BUFFER: usize = 256 << 10;

/// A socket, as all of the peer's are.
pub(crate) fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    // Tests send what they send, when they send it.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

/// An open connection. Dropped, it closes in the background.
pub struct TcpHandle {
    shared: Arc<Shared>,
    handle: SocketHandle,
    patience: Duration,
}

impl TcpHandle {
    pub(crate) fn connect(
        shared: Arc<Shared>,
        to: SocketAddrV4,
        patience: Duration,
    ) -> io::Result<Self> {
        let remote = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let handle = shared.with(|host| {
            let (mut socket, port) = (socket(), host.ephemeral_port());
            let begun = socket.connect(host.iface.context(), remote, port);
            begun.map_err(|_| ErrorKind::InvalidInput)?;
            Ok::<_, ErrorKind>(host.sockets.add(socket))
        })?;
        let opened = Self {
            shared,
            handle,
            patience: Duration::from_secs(10),
        };
        let settled: Option<io::Result<()>> =
            opened
                .shared
                .wait(patience, |host| match opened.socket(host).state() {
                    State::SynSent | State::SynReceived => None,
                    State::Closed => Some(Err(ErrorKind::ConnectionRefused.into())),
                    _ => Some(Ok(())),
                });
        settled.unwrap_or_else(|| {
            opened.abort();
            Err(ErrorKind::TimedOut.into())
        })?;
        Ok(opened)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// How long reads and writes wait; 10 s at first.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The state of the connection, in the words of RFC 9293.
    pub fn state(&self) -> State {
        self.shared.with(|host| self.socket(host).state())
    }

    /// Waits until the state is `wanted`; whether it came to that.
    pub fn wait_state(&self, wanted: State) -> bool {
        let holds = |host: &mut Host| (self.socket(host).state() == wanted).then_some(());
        self.shared.wait(self.patience, holds).is_some()
    }

    /// The port on this side.
    pub fn local_port(&self) -> Option<u16> {
        self.shared
            .with(|host| self.socket(host).local_endpoint().map(|end| end.port))
    }

    /// Ends our direction once everything written has gone.
    pub fn close(&self) {
        self.shared.with(|host| self.socket(host).close());
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.shared.with(|host| self.socket(host).abort());
    }

    fn socket<'a>(&self, host: &'a mut Host) -> &'a mut Socket<'static> {
        host.sockets.get_mut(self.handle)
    }

    fn wait<R>(&self, mut work: impl FnMut(&mut Socket<'static>) -> Option<R>) -> io::Result<R> {
        let result = self
            .shared
            .wait(self.patience, |host| work(self.socket(host)));
        result.ok_or_else(|| ErrorKind::TimedOut.into())
    }
}

impl Read for TcpHandle {
    /// Blocks until there are bytes; 0 at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(|socket| match socket.recv_slice(buffer) {
            Ok(0) if !buffer.is_empty() => None,
            Ok(n) => Some(Ok(n)),
            Err(RecvError::Finished) => Some(Ok(0)),
            Err(RecvError::InvalidState) => Some(Err(ErrorKind::ConnectionReset.into())),
        })?
    }
}

impl Write for TcpHandle {
    /// Blocks until there is room for at least one byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|socket| match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => None,
            Ok(n) => Some(Ok(n)),
            Err(_) => Some(Err(ErrorKind::ConnectionReset.into())),
        })?
    }

    /// Blocks until everything written was acknowledged.
    fn flush(&mut self) -> io::Result<()> {
        self.wait(|socket| match (socket.send_queue(), socket.is_open()) {
            (0, _) => Some(Ok(())),
            (_, true) => None,
            (_, false) => Some(Err(ErrorKind::ConnectionReset.into())),
        })?
    }
}

impl Drop for TcpHandle {
    fn drop(&mut self) {
        self.shared.with(|host| {
            self.socket(host).close();
            host.orphans.push((Instant::now(), self.handle));
        });
    }
}

/// Waits for connections at a port; dropped, it stops.
pub struct TcpAcceptor {
    shared: Arc<Shared>,
    port: u16,
    pool: Vec<SocketHandle>,
}

impl TcpAcceptor {
    pub(crate) fn open(shared: Arc<Shared>, port: u16, backlog: usize) -> io::Result<Self> {
        if port == 0 || backlog == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let pool = shared.with(|host| (0..backlog).map(|_| listening(host, port)).collect());
        Ok(Self { shared, port, pool })
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// The next connection.
    ///
    /// # Errors
    /// `TimedOut` if none comes within `patience`.
    pub fn accept(&mut self, patience: Duration) -> io::Result<TcpHandle> {
        let (port, pool) = (self.port, &mut self.pool);
        let found = self.shared.wait(patience, |host| {
            pool.iter_mut().find_map(|slot| {
                let socket = host.sockets.get_mut::<Socket<'_>>(*slot);
                match socket.state() {
                    State::Listen | State::SynReceived | State::SynSent => None,
                    State::Closed => {
                        // Reset before it was accepted: listen again.
                        host.sockets.remove(*slot);
                        *slot = listening(host, port);
                        None
                    }
                    _ => Some(std::mem::replace(slot, listening(host, port))),
                }
            })
        });
        let handle = found.ok_or(ErrorKind::TimedOut)?;
        Ok(TcpHandle {
            shared: self.shared.clone(),
            handle,
            patience: Duration::from_secs(10),
        })
    }
}

impl Drop for TcpAcceptor {
    fn drop(&mut self) {
        self.shared.with(|host| {
            for handle in self.pool.drain(..) {
                host.sockets.get_mut::<Socket<'_>>(handle).abort();
                host.orphans.push((Instant::now(), handle));
            }
        });
    }
}

fn listening(host: &mut Host, port: u16) -> SocketHandle {
    let mut socket = socket();
    // Fails only for port 0, which `open` refuses, and for open sockets.
    let _ = socket.listen(port);
    host.sockets.add(socket)
}
