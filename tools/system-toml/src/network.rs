//! A protocol server's network.

use std::net::Ipv4Addr;

use socket_api::host::{self, AddressFault};

use crate::keys;
use crate::model::Network;
use crate::raw::RawComponent;
use crate::report::Diagnostic;
use crate::rule::Rule;
use crate::section::{Log, Section, size_of, u32_of};
use crate::value::At;

/// Reads and checks `[component.NAME.network]`.
pub(crate) fn read(log: &mut Log, raw: &RawComponent<'_>) -> Network {
    let empty = Section::empty();
    let (section, span) = match &raw.network {
        Some(at) => (&at.value, &at.span),
        None => (&empty, &raw.name.span),
    };
    let gateways = section.addresses("gateway");
    let address = section.network("address").map(|a| At::new(a.value, a.span));
    match &address {
        Some(At {
            value: Some(own), ..
        }) => check_static(log, *own, &gateways, section, span),
        // A broken address says nothing about the others.
        None if section.key_span("address").is_some() => {}
        _ => check_dhcp(log, section),
    }
    Network {
        address: address.and_then(|a| a.value),
        gateway: gateways.first().map(|g| g.value),
        dns: section
            .addresses("dns")
            .into_iter()
            .map(|d| d.value)
            .collect(),
        mac: section.mac("mac").map(|m| m.value),
        mtu: u32_of(section, &keys::NETWORK, "mtu"),
        window_bytes: size_of(section, &keys::NETWORK, "window"),
        connections: u32_of(section, &keys::NETWORK, "connections"),
        udp_sockets: u32_of(section, &keys::NETWORK, "udp-sockets"),
    }
}

fn check_dhcp(log: &mut Log, section: &Section<'_>) {
    let given = section.key_span("address");
    for key in ["gateway", "dns"] {
        let Some(span) = section.key_span(key) else {
            continue;
        };
        let message = format!("`{key}` is for static addresses; with DHCP the lease decides");
        let mut diagnostic = Diagnostic::error(Rule::StaticWithDhcp, &span, message)
            .label("would be ignored")
            .help("remove it, or set `address` to address and prefix length: \"10.0.2.15/24\"");
        if let Some(at) = &given {
            diagnostic = diagnostic.related(at, "by DHCP");
        }
        log.push(diagnostic);
    }
}

fn check_static(
    log: &mut Log,
    (address, prefix): (Ipv4Addr, u8),
    gateways: &[At<Ipv4Addr>],
    section: &Section<'_>,
    span: &crate::report::Span,
) {
    let mask = u32::MAX << (32 - u32::from(prefix));
    let network = |a: Ipv4Addr| u32::from(a) & mask;
    let own = section.key_span("address").unwrap_or_else(|| span.clone());
    for gateway in gateways {
        let why = match host::check_router((address, prefix), gateway.value) {
            Ok(()) => continue,
            Err(AddressFault::OffLink) => {
                let base = Ipv4Addr::from(network(address));
                format!("not in {base}/{prefix}")
            }
            Err(fault) => fault.to_string(),
        };
        let message = format!("the gateway `{}` cannot be reached", gateway.value);
        let diagnostic = Diagnostic::error(Rule::GatewayOutside, &gateway.span, message);
        log.push(diagnostic.label(why).related(&own, "own network"));
    }
    for server in section.addresses("dns") {
        let Err(fault) = host::check_other((address, prefix), server.value) else {
            continue;
        };
        let message = format!("the name server `{}` cannot be asked", server.value);
        let diagnostic = Diagnostic::error(Rule::BadAddress, &server.span, message);
        let diagnostic = diagnostic.label(fault.to_string());
        log.push(diagnostic.related(&own, "own network"));
    }
    if section.key_span("gateway").is_none() {
        let message = "there is no `gateway`";
        let base = Ipv4Addr::from(network(address));
        let diagnostic = Diagnostic::warning(Rule::NoGateway, span, message);
        log.push(diagnostic.label(format!("only {base}/{prefix} can be reached")));
    }
}
