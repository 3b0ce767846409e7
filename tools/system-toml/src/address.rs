//! Addresses: of hosts, of networks, of interfaces.
//!
//! Invariant: an address that comes out of here is one that a single host, or
//! a single interface, can have.

use std::net::Ipv4Addr;

use socket_api::host::{self, AddressFault};

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
    host::check_host(address).map_err(|fault| unusable(fault, text, span))?;
    Ok(address)
}

fn unusable(fault: AddressFault, text: &str, span: &Span) -> Faults {
    one(bad_address(span, text, &fault.to_string()))
}

/// `10.0.2.15/24`.
pub(crate) fn network(text: &str, span: &Span) -> Result<(Ipv4Addr, u8), Faults> {
    let parts = text
        .split_once('/')
        .and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)));
    let Some((address, prefix)) = parts else {
        let help = "write \"dhcp\", or address and prefix length (1 to 31): \"10.0.2.15/24\"";
        let diagnostic = bad_address(span, text, "not an IPv4 address with a prefix length");
        return Err(one(diagnostic.help(help)));
    };
    host::check_own(address, prefix).map_err(|fault| unusable(fault, text, span))?;
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
