//! Sockets in the shape of `std::net`, over `core::net` addresses.
//!
//! Every operation takes `&self`; a socket may be used by several threads.
//! IPv4 only for now: an IPv6 address is answered with `Unsupported`.

mod handle;
mod lookup;
mod tcp;
mod udp;

pub use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub use lookup::{
    Addresses, Interface, ToAddress, interface, interface_on, lookup_host, lookup_on,
};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;

pub(crate) use handle::Handle;

/// Which halves of a connection to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The reading half: reads return 0 from now on.
    Read,
    /// The writing half: a FIN follows what is queued.
    Write,
    /// Both.
    Both,
}
