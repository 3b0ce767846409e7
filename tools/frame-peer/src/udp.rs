//! A UDP socket of the peer, with the blocking interface of `std`'s.

use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, SendError, Socket};
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::engine::Shared;
use crate::host::Host;

/// Datagrams and bytes that wait in each direction.
const DATAGRAMS: usize = 1024;
const BYTES: usize = 2 << 20;

/// A socket at `port`, as all of the peer's are.
pub(crate) fn socket(port: u16) -> io::Result<Socket<'static>> {
    let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; DATAGRAMS], vec![0; BYTES]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.bind(port).map_err(|_| ErrorKind::AddrInUse)?;
    Ok(socket)
}

/// A bound UDP socket; dropped, it closes.
pub struct UdpHandle {
    shared: Arc<Shared>,
    handle: SocketHandle,
}

impl UdpHandle {
    pub(crate) fn open(shared: Arc<Shared>, port: u16) -> io::Result<Self> {
        let socket = socket(port)?;
        let handle = shared.with(|host| host.sockets.add(socket));
        Ok(Self { shared, handle })
    }

    /// Sends a datagram of up to 65 507 bytes; longer than the link carries, it
    /// goes in fragments.
    ///
    /// # Errors
    /// `InvalidInput` if it is too long or the address cannot be sent to,
    /// `TimedOut` if earlier ones wait for an address nobody answers for.
    pub fn send_to(&self, payload: &[u8], to: SocketAddrV4) -> io::Result<()> {
        if payload.len() > 65_507 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let to = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let send = |host: &mut Host| match self.socket(host).send_slice(payload, to) {
            Ok(()) => Some(Ok(())),
            Err(SendError::BufferFull) => None,
            Err(SendError::Unaddressable) => Some(Err(ErrorKind::InvalidInput.into())),
        };
        let done = self.shared.wait(Duration::from_secs(5), send);
        done.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }

    /// The next datagram and its sender.
    ///
    /// # Errors
    /// `TimedOut` if none comes within `patience`.
    pub fn recv_from(&self, patience: Duration) -> io::Result<(Vec<u8>, SocketAddrV4)> {
        let receive = |host: &mut Host| {
            let (payload, meta) = self.socket(host).recv().ok()?;
            let IpAddress::Ipv4(address) = meta.endpoint.addr else {
                // The link has no IPv6 address.
                return None;
            };
            Some((
                payload.to_vec(),
                SocketAddrV4::new(address, meta.endpoint.port),
            ))
        };
        self.shared
            .wait(patience, receive)
            .ok_or_else(|| ErrorKind::TimedOut.into())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    fn socket<'a>(&self, host: &'a mut Host) -> &'a mut Socket<'static> {
        host.sockets.get_mut(self.handle)
    }
}

impl Drop for UdpHandle {
    fn drop(&mut self) {
        self.shared
            .with(|host| drop(host.sockets.remove(self.handle)));
    }
}
