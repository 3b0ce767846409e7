//! From names to addresses, and our own address.

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;

use socket_api::{Op, Request};

use crate::error::{Error, ErrorKind, Result};
use crate::records::NONE;
use crate::stack::{Stack, Wait, stack};

/// Most addresses that a look-up yields.
const MOST: usize = 4;
/// Longest host name (RFC 1035, 2.3.4).
const MOST_NAME: usize = 253;

/// What can be turned into a socket address; names are looked up.
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    /// `InvalidInput` if it is none, or that of looking a name up.
    fn to_address(&self, stack: &'static Stack) -> Result<SocketAddr>;
}

impl ToAddress for SocketAddr {
    #[inline]
    fn to_address(&self, _: &'static Stack) -> Result<SocketAddr> {
        Ok(*self)
    }
}

impl ToAddress for SocketAddrV4 {
    #[inline]
    fn to_address(&self, _: &'static Stack) -> Result<SocketAddr> {
        Ok((*self).into())
    }
}

impl<I: Copy + Into<IpAddr>> ToAddress for (I, u16) {
    #[inline]
    fn to_address(&self, _: &'static Stack) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.0.into(), self.1))
    }
}

/// `"10.0.2.2:7"` or `"host.example:7"`.
impl ToAddress for &str {
    fn to_address(&self, stack: &'static Stack) -> Result<SocketAddr> {
        const NO_PORT: Error = Error::new(ErrorKind::InvalidInput, "not an address with a port");
        if let Ok(address) = self.parse() {
            return Ok(address);
        }
        let (name, port) = self.rsplit_once(':').ok_or(NO_PORT)?;
        let port = port.parse().map_err(|_| NO_PORT)?;
        let first = lookup_on(stack, name, None)?.next();
        let ip = first.ok_or(Error::new(ErrorKind::NotFound, "the name has no address"))?;
        Ok(SocketAddr::new(ip.into(), port))
    }
}

/// The addresses of a name, at most four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    all: [Ipv4Addr; MOST],
    next: usize,
    count: usize,
}

impl Iterator for Addresses {
    type Item = Ipv4Addr;

    fn next(&mut self) -> Option<Ipv4Addr> {
        let address = self.all.get(..self.count)?.get(self.next)?;
        self.next += 1;
        Some(*address)
    }
}

/// Looks a host name up (DNS, RFC 1035); an IPv4 address yields itself.
///
/// # Errors
/// `NotFound`, `InvalidInput` (no legal name), `NetworkDown`; `TimedOut` if no
/// server could tell.
pub fn lookup_host(name: &str) -> Result<Addresses> {
    lookup_on(stack()?, name, None)
}

/// As [`lookup_host`], on a stack other than the installed one, giving up
/// after `limit`.
///
/// # Errors
/// As [`lookup_host`].
pub fn lookup_on(stack: &'static Stack, name: &str, limit: Option<Duration>) -> Result<Addresses> {
    let mut found = Addresses {
        all: [Ipv4Addr::UNSPECIFIED; MOST],
        next: 0,
        count: 0,
    };
    if let Ok(address) = name.parse() {
        found.all[0] = address;
        found.count = 1;
        return Ok(found);
    }
    if name.is_empty() || name.len() > MOST_NAME || !name.is_ascii() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a host name"));
    }
    let unit = stack.slot()?;
    let mut request = Request::new(Op::Resolve, 0, 0);
    stack.with(|core| {
        core.buffers.fill(unit, 0, name.as_bytes());
        request.extent = core.buffers.extent(unit, 0, name.len() as u32);
        request.arg = u64::from(core.buffers.bytes(0));
    });
    let answer = stack.call(request, NONE, unit, 0, Wait::at_most(limit))?;
    let mut bytes = [0; 4 * MOST];
    stack.with(|core| {
        core.buffers.take(unit, 0, &mut bytes);
        core.buffers.free(unit, 0);
        core.counters.copied_control += (name.len() + answer.len as usize) as u64;
    });
    found.count = (answer.len as usize >> 2).min(MOST);
    for (to, from) in found.all.iter_mut().zip(bytes.chunks_exact(4)) {
        *to = Ipv4Addr::new(from[0], from[1], from[2], from[3]);
    }
    Ok(found)
}

/// Our side of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Own address.
    pub address: IpAddr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
}

/// Our side of the network, once an address is configured: waits for DHCP.
///
/// # Errors
/// `Other` if the protocol server is gone.
pub fn interface() -> Result<Interface> {
    interface_on(stack()?, None)
}

/// As [`interface`], on a stack other than the installed one, giving up after
/// `limit`.
///
/// # Errors
/// As [`interface`], and `TimedOut`.
pub fn interface_on(stack: &'static Stack, limit: Option<Duration>) -> Result<Interface> {
    let request = Request::new(Op::AwaitAddress, 0, 0);
    let answer = stack.control(request, NONE, Wait::at_most(limit))?;
    let address = answer.address.to_socket_addr().ok_or(Error::BROKEN)?;
    Ok(Interface {
        address: address.ip(),
        prefix: answer.arg as u8,
        mtu: answer.len,
    })
}
