//! Sockets in the shape of `std::net`, over `core::net` addresses.
//!
//! Every operation takes `&self`; a socket may be used by several threads.
//! IPv4 only for now: an IPv6 address is answered with `Unsupported`.
//!
//! Data is passed with copy semantics unless another [`Passing`](crate::Passing)
//! is named, for a socket or for a call: what a call was given is the
//! application's again when it returns, whatever travels by reference
//! underneath.

mod datagrams;
mod handle;
mod listener;
mod lookup;
mod segments;
mod tcp;
mod udp;

pub use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub use listener::{Incoming, TcpListener};
pub use lookup::{
    Addresses, Interface, ToAddress, interface, interface_on, lookup_host, lookup_on,
};
pub use tcp::TcpStream;
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
