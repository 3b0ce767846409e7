//! Addresses: of hosts, of networks, of interfaces.
//!
//! Invariant: an address that comes out of here is one that a single host, or
//! a single interface, can have.

use std::net::Ipv4Addr;

use crate::report::{Diagnostic, Span};
use crate::rule::Rule;
use crate::value::{Faults, one};

fn bad_address(span: &Span, text: &str, label: &str) -> Diagnostic {
    let message = format!("`{text}` is not usable as an address here");
    Diagnostic::error(Rule::BadAddress, span, message).label(label)
}

/// An address that a single host can have.
pub(crate) fn host(key: &str, text: &str, span: &Span) -> Result<Ipv4Addr, Faults> {
    let address: Ipv4Addr = text.parse().map_err(|_| {
        let ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
        let label = if ipv6 {
            "IPv6 is not available yet"
        } else {
            "not an IPv4 address"
        };
        let example = format!("write `{key}` like \"10.0.2.2\"");
        one(bad_address(span, text, label).help(example))
    })?;
    unicast(address, text, span)?;
    Ok(address)
}

fn unicast(address: Ipv4Addr, text: &str, span: &Span) -> Result<(), Faults> {
    let why = if address.is_multicast() {
        "a multicast group"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_broadcast() || address.octets()[0] >= 240 {
        "not the address of a host"
    } else if address.octets()[0] == 0 {
        "no address at all"
    } else {
        return Ok(());
    };
    Err(one(bad_address(span, text, why)))
}

/// `10.0.2.15/24`.
pub(crate) fn network(text: &str, span: &Span) -> Result<(Ipv4Addr, u8), Faults> {
    let parts = text.split_once('/').and_then(|(address, prefix)| {
        let prefix = prefix.parse::<u8>().ok().filter(|p| (1..=30).contains(p))?;
        Some((address.parse::<Ipv4Addr>().ok()?, prefix))
    });
    let Some((address, prefix)) = parts else {
        let help = "write \"dhcp\", or address and prefix length (1 to 30): \"10.0.2.15/24\"";
        let diagnostic = bad_address(span, text, "not an IPv4 address with a prefix length");
        return Err(one(diagnostic.help(help)));
    };
    unicast(address, text, span)?;
    let host_bits = u32::from(address) & (u32::MAX >> prefix);
    if host_bits == 0 {
        return Err(one(bad_address(
            span,
            text,
            "the address of the network itself",
        )));
    }
    if host_bits == u32::MAX >> prefix {
        return Err(one(bad_address(
            span,
            text,
            "the network's broadcast address",
        )));
    }
    Ok((address, prefix))
}

/// `52:54:00:12:34:56`: the address of one interface.
pub(crate) fn mac(text: &str, span: &Span) -> Result<[u8; 6], Faults> {
    let octet = |part: &str| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    };
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    let Some(mac) = octets.and_then(|o| <[u8; 6]>::try_from(o).ok()) else {
        let message = format!("`{text}` is not a MAC address");
        let diagnostic = Diagnostic::error(Rule::BadMac, span, message)
            .label("not six pairs of hexadecimal digits")
            .help("write it like \"52:54:00:12:34:56\"");
        return Err(one(diagnostic));
    };
    if mac[0] & 1 == 1 || mac == [0; 6] {
        let what = if mac == [0; 6] {
            "names nobody"
        } else {
            "names a group"
        };
        let message = format!("the MAC address `{text}` {what}");
        let diagnostic = Diagnostic::error(Rule::MulticastMac, span, message)
            .label("not the address of one interface")
            .help("the lowest bit of the first octet must be 0; \"52:54:00:…\" is customary");
        return Err(one(diagnostic));
    }
    Ok(mac)
}
