//! Sockets of a peer in lock step: what is sent waits for
//! [`Lockstep::flush`], so that a burst goes out whole.

use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::{Lockstep, pattern, wrong};
use crate::host::Host;

/// A bound UDP socket and the other end that it talks to.
#[derive(Debug)]
pub struct Datagrams {
    handle: SocketHandle,
    to: IpEndpoint,
}

/// An open TCP connection.
#[derive(Debug)]
pub struct Stream {
    handle: SocketHandle,
}

fn endpoint(to: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port())
}

impl Datagrams {
    /// A socket at `port` that talks to `to`.
    ///
    /// # Errors
    /// `AddrInUse` for port 0.
    pub fn open(peer: &mut Lockstep, port: u16, to: SocketAddrV4) -> io::Result<Self> {
        let handle = peer.host.sockets.add(crate::udp::socket(port)?);
        let to = endpoint(to);
        Ok(Self { handle, to })
    }

    /// Queues a datagram.
    ///
    /// # Errors
    /// `StorageFull` if too much is queued, `InvalidInput` for an address that
    /// cannot be sent to.
    pub fn send(&self, peer: &mut Lockstep, payload: &[u8]) -> io::Result<()> {
        let socket = peer.host.sockets.get_mut::<udp::Socket<'_>>(self.handle);
        socket.send_slice(payload, self.to).map_err(|e| match e {
            udp::SendError::BufferFull => ErrorKind::StorageFull.into(),
            udp::SendError::Unaddressable => ErrorKind::InvalidInput.into(),
        })
    }

    /// Waits for a datagram of few bytes.
    ///
    /// # Errors
    /// `TimedOut`, or that the link is lost.
    pub fn receive(&self, peer: &mut Lockstep, patience: Duration) -> io::Result<Vec<u8>> {
        peer.until(patience, 1, |host| {
            let socket = host.sockets.get_mut::<udp::Socket<'_>>(self.handle);
            Ok(socket.recv().ok().map(|(bytes, _)| bytes.to_vec()))
        })
    }

    /// Waits for `count` datagrams of `bytes` bytes each, those of the pattern
    /// from `at` on, in order.
    ///
    /// # Errors
    /// `InvalidData` for others, `TimedOut`, or that the link is lost.
    pub fn expect(
        &self,
        peer: &mut Lockstep,
        at: u64,
        (count, bytes): (usize, usize),
        patience: Duration,
    ) -> io::Result<()> {
        let (mut at, end) = (at, at + (count * bytes) as u64);
        peer.until(patience, count * bytes, |host| {
            let socket = host.sockets.get_mut::<udp::Socket<'_>>(self.handle);
            while at < end
                && let Ok((datagram, _)) = socket.recv()
            {
                if datagram.len() != bytes {
                    return Err(wrong(at));
                }
                pattern::first_wrong(datagram, at).map_or(Ok(()), |at| Err(wrong(at)))?;
                at += bytes as u64;
            }
            Ok((at == end).then_some(()))
        })
    }

    /// Closes it.
    pub fn close(self, peer: &mut Lockstep) {
        peer.host.sockets.remove(self.handle);
    }
}

impl Stream {
    /// Connects to `to`.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, or that the link is lost.
    pub fn connect(peer: &mut Lockstep, to: SocketAddrV4, patience: Duration) -> io::Result<Self> {
        let (mut socket, port) = (crate::tcp::socket(), peer.host.ephemeral_port());
        let begun = socket.connect(peer.host.iface.context(), endpoint(to), port);
        begun.map_err(|_| ErrorKind::InvalidInput)?;
        let handle = peer.host.sockets.add(socket);
        let stream = Self { handle };
        peer.until(patience, 1, |host| match stream.socket(host).state() {
            tcp::State::SynSent | tcp::State::SynReceived => Ok(None),
            tcp::State::Closed => Err(ErrorKind::ConnectionRefused.into()),
            _ => Ok(Some(())),
        })?;
        Ok(stream)
    }

    fn socket<'a>(&self, host: &'a mut Host) -> &'a mut tcp::Socket<'static> {
        host.sockets.get_mut(self.handle)
    }

    /// Queues bytes.
    ///
    /// # Errors
    /// `StorageFull` if too many are queued, `ConnectionReset`.
    pub fn send(&self, peer: &mut Lockstep, bytes: &[u8]) -> io::Result<()> {
        match self.socket(&mut peer.host).send_slice(bytes) {
            Ok(n) if n == bytes.len() => Ok(()),
            Ok(_) => Err(ErrorKind::StorageFull.into()),
            Err(_) => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// Waits for as many bytes as `into` has room for.
    ///
    /// # Errors
    /// `UnexpectedEof`, `ConnectionReset`, `TimedOut`, or that the link is lost.
    pub fn receive(
        &self,
        peer: &mut Lockstep,
        into: &mut [u8],
        patience: Duration,
    ) -> io::Result<()> {
        let expected = into.len();
        let mut done = 0;
        peer.until(patience, expected, |host| {
            done += received(self.socket(host).recv_slice(&mut into[done..]))?;
            Ok((done == expected).then_some(()))
        })
    }

    /// Waits for `bytes` bytes, those of the pattern from `at` on.
    ///
    /// # Errors
    /// As [`Stream::receive`], and `InvalidData` for other bytes.
    pub fn expect(
        &self,
        peer: &mut Lockstep,
        at: u64,
        bytes: usize,
        patience: Duration,
    ) -> io::Result<()> {
        let (mut at, end) = (at, at + bytes as u64);
        peer.until(patience, bytes, |host| {
            let socket = self.socket(host);
            while at < end && (socket.can_recv() || !socket.may_recv()) {
                let mut bad = None;
                let taken = socket.recv(|bytes| {
                    let len = bytes.len().min((end - at) as usize);
                    bad = pattern::first_wrong(&bytes[..len], at);
                    (len, len)
                });
                at += received(taken)? as u64;
                bad.map_or(Ok(()), |at| Err(wrong(at)))?;
            }
            Ok((at == end).then_some(()))
        })
    }

    /// Ends our direction, and waits until the other has ended too.
    ///
    /// # Errors
    /// `TimedOut`, or that the link is lost.
    pub fn close(self, peer: &mut Lockstep, patience: Duration) -> io::Result<()> {
        self.socket(&mut peer.host).close();
        let closed = peer.until(patience, 1, |host| {
            let state = self.socket(host).state();
            let ended = matches!(state, tcp::State::TimeWait | tcp::State::Closed);
            Ok(ended.then_some(()))
        });
        peer.flush()?;
        peer.host.orphans.push((Instant::now(), self.handle));
        closed
    }
}

fn received(result: Result<usize, tcp::RecvError>) -> io::Result<usize> {
    result.map_err(|e| match e {
        tcp::RecvError::Finished => ErrorKind::UnexpectedEof.into(),
        tcp::RecvError::InvalidState => ErrorKind::ConnectionReset.into(),
    })
}
