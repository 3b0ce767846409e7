//! Which addresses a host may have, and which router leads on from there.
//!
//! Problem: an address comes from a file, a command line or a DHCP server, and
//! whichever it is, one that no host can have makes a system that nobody
//! reaches. Invariant: there is this one check, and whoever takes an address
//! from anywhere asks it.

use core::fmt;
use core::net::Ipv4Addr;

/// Why an address will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// It begins with 0: "this network" (RFC 1122, 3.2.1.3).
    Nowhere,
    /// The host's way to itself (RFC 1122, 3.2.1.3).
    Loopback,
    /// A group of hosts (RFC 5771).
    Multicast,
    /// Class E and the limited broadcast address (RFC 1112, 4; RFC 919, 7).
    Reserved,
    /// Not from 1 to 31 bits; with 32, nobody else is on the link.
    Prefix,
    /// All bits of the host are 0.
    Network,
    /// All bits of the host are 1 (RFC 919, 7).
    Broadcast,
    /// Of a router or server: the host's own.
    Own,
    /// Of a router: on another link than the host.
    OffLink,
}

impl fmt::Display for AddressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nowhere => "no address at all",
            Self::Loopback => "a loopback address",
            Self::Multicast => "a multicast group",
            Self::Reserved => "not the address of a host",
            Self::Prefix => "not a prefix of 1 to 31 bits",
            Self::Network => "the address of the network itself",
            Self::Broadcast => "the network's broadcast address",
            Self::Own => "the system's own address",
            Self::OffLink => "not on the system's own link",
        })
    }
}

impl core::error::Error for AddressFault {}

/// Whether an address can be a single host's, on whatever network.
#[inline]
#[must_use]
pub const fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240)
}

/// As [`is_host`], with the reason.
///
/// # Errors
/// [`AddressFault::Nowhere`], `Loopback`, `Multicast` or `Reserved`.
pub const fn check_host(address: Ipv4Addr) -> Result<(), AddressFault> {
    Err(match address.octets()[0] {
        _ if is_host(address) => return Ok(()),
        0 => AddressFault::Nowhere,
        127 => AddressFault::Loopback,
        _ if address.is_multicast() => AddressFault::Multicast,
        _ => AddressFault::Reserved,
    })
}

/// Whether a host may have an address in a network whose prefix has so many
/// bits. With 31 there are two hosts and nothing else (RFC 3021).
///
/// # Errors
/// Those of [`check_host`], [`AddressFault::Prefix`], `Network` or `Broadcast`.
pub fn check_own(address: Ipv4Addr, prefix: u8) -> Result<(), AddressFault> {
    check_host(address)?;
    if !(1..=31).contains(&prefix) {
        return Err(AddressFault::Prefix);
    }
    let mask = u32::MAX >> prefix;
    match u32::from(address) & mask {
        _ if prefix == 31 => Ok(()),
        0 => Err(AddressFault::Network),
        bits if bits == mask => Err(AddressFault::Broadcast),
        _ => Ok(()),
    }
}

/// Whether the host that has the address `own` may ask another at `other`:
/// a name server, say.
///
/// # Errors
/// Those of [`check_host`], [`AddressFault::Own`], and on the host's own link
/// those of [`check_own`].
pub fn check_other((own, prefix): (Ipv4Addr, u8), other: Ipv4Addr) -> Result<(), AddressFault> {
    check_host(other)?;
    match other == own {
        true => Err(AddressFault::Own),
        false if is_on_link((own, prefix), other) => check_own(other, prefix),
        false => Ok(()),
    }
}

/// Whether the host that has the address `own` can send by way of `router`.
///
/// # Errors
/// Those of [`check_other`], and [`AddressFault::OffLink`]: its hardware
/// address is asked for on the link.
pub fn check_router((own, prefix): (Ipv4Addr, u8), router: Ipv4Addr) -> Result<(), AddressFault> {
    check_other((own, prefix), router)?;
    match is_on_link((own, prefix), router) {
        true => Ok(()),
        false => Err(AddressFault::OffLink),
    }
}

/// Whether two addresses begin with the same bits.
fn is_on_link((own, prefix): (Ipv4Addr, u8), other: Ipv4Addr) -> bool {
    let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    u32::from(own) & !host == u32::from(other) & !host
}

/// Bits of the prefix that a network mask stands for.
///
/// # Errors
/// [`AddressFault::Prefix`] if its ones are not all in front.
pub fn prefix_of(mask: Ipv4Addr) -> Result<u8, AddressFault> {
    let bits = u32::from(mask);
    match bits.leading_ones() + bits.trailing_zeros() {
        32 => Ok(bits.leading_ones() as u8),
        _ => Err(AddressFault::Prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressFault::{
        Broadcast, Loopback, Multicast, Network, Nowhere, OffLink, Own, Prefix, Reserved,
    };

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    #[test]
    fn what_no_host_can_have_is_refused_with_its_reason() {
        for (address, prefix, fault) in [
            ("0.0.0.0", 24, Some(Nowhere)),
            ("0.1.2.3", 24, Some(Nowhere)),
            ("127.0.0.1", 8, Some(Loopback)),
            ("224.0.0.1", 24, Some(Multicast)),
            ("239.255.255.255", 24, Some(Multicast)),
            ("240.0.0.1", 24, Some(Reserved)),
            ("255.255.255.255", 24, Some(Reserved)),
            ("10.0.2.15", 0, Some(Prefix)),
            ("10.0.2.15", 32, Some(Prefix)),
            ("10.0.2.15", 200, Some(Prefix)),
            ("10.0.2.0", 24, Some(Network)),
            ("10.0.2.255", 24, Some(Broadcast)),
            ("10.0.2.4", 30, Some(Network)),
            ("10.0.2.7", 30, Some(Broadcast)),
            ("10.0.2.6", 31, None),
            ("10.0.2.7", 31, None),
            ("10.0.2.0", 16, None),
            ("10.0.2.15", 24, None),
            ("126.255.255.255", 1, None),
        ] {
            let wanted = fault.map_or(Ok(()), Err);
            assert_eq!(check_own(ip(address), prefix), wanted, "{address}/{prefix}");
        }
    }

    #[test]
    fn a_router_is_another_host_on_the_link() {
        for (own, prefix, router, fault) in [
            ("10.0.2.15", 24, "10.0.2.2", None),
            ("10.0.2.15", 24, "10.0.2.15", Some(Own)),
            ("10.0.2.15", 24, "10.0.2.0", Some(Network)),
            ("10.0.2.15", 24, "10.0.2.255", Some(Broadcast)),
            ("10.0.2.15", 24, "10.0.3.1", Some(OffLink)),
            ("10.0.2.15", 32, "10.0.2.2", Some(OffLink)),
            ("10.0.2.14", 31, "10.0.2.15", None),
            ("10.0.2.15", 24, "224.0.0.1", Some(Multicast)),
            ("10.0.2.15", 24, "0.0.0.0", Some(Nowhere)),
        ] {
            let wanted = fault.map_or(Ok(()), Err);
            let got = check_router((ip(own), prefix), ip(router));
            assert_eq!(got, wanted, "{router} from {own}/{prefix}");
        }
        let own = (ip("10.0.2.15"), 24);
        assert_eq!(check_other(own, ip("1.1.1.1")), Ok(()));
        assert_eq!(check_other(own, ip("10.0.2.255")), Err(Broadcast));
    }

    #[test]
    fn masks_have_their_ones_in_front() {
        assert_eq!(prefix_of(ip("255.255.255.0")), Ok(24));
        assert_eq!(prefix_of(ip("255.255.255.255")), Ok(32));
        assert_eq!(prefix_of(ip("0.0.0.0")), Ok(0));
        assert_eq!(prefix_of(ip("255.0.255.0")), Err(Prefix));
        assert_eq!(prefix_of(ip("0.0.0.1")), Err(Prefix));
    }
}
