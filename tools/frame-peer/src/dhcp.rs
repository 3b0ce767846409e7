//! A DHCP server (RFC 2131) that does what a test wants.
//!
//! It has one address to give, and its lease may last seconds; the address may
//! be changed at any time, after which a renewal of the old one is refused with
//! a NAK; and it may go silent, so that the lease runs out.

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use crate::wire::{BROADCAST, Ipv4, Located, Mac, PROTO_UDP, TYPE_IPV4, ethernet, udp};

/// Port of the server.
const SERVER: u16 = 67;
/// Port of the client.
const CLIENT: u16 = 68;

/// What the server gives; may be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpConfig {
    /// The address to give.
    pub address: Ipv4Addr,
    /// Length of the network prefix.
    pub prefix: u8,
    /// Length of the lease, in seconds.
    pub lease: u32,
    /// Seconds until renewal; none leaves it to the client (half the lease).
    pub renew: Option<u32>,
    /// Seconds until rebinding; none leaves it to the client (7/8 of the lease).
    pub rebind: Option<u32>,
    /// The router to name, if any.
    pub router: Option<Ipv4Addr>,
    /// The DNS server to name, if any.
    pub dns: Option<Ipv4Addr>,
    /// Whether requests are ignored.
    pub silent: bool,
}

/// How often the server was asked and answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhcpStats {
    /// DISCOVER messages received.
    pub discovers: u64,
    /// REQUEST messages received, silent or not.
    pub requests: u64,
    /// OFFER messages sent.
    pub offers: u64,
    /// ACK messages sent.
    pub acks: u64,
    /// NAK messages sent.
    pub naks: u64,
}

/// The server at address `identity`.
#[derive(Debug)]
pub(crate) struct DhcpServer {
    pub config: DhcpConfig,
    pub stats: DhcpStats,
    mac: Mac,
    identity: Ipv4Addr,
}

impl DhcpServer {
    pub fn new(config: DhcpConfig, mac: Mac, identity: Ipv4Addr) -> Self {
        Self {
            config,
            stats: DhcpStats::default(),
            mac,
            identity,
        }
    }

    /// The reply frame, if `frame` is for this server and deserves one.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (CLIENT, SERVER, body) = Located::find(frame)?.udp()? else {
            return None;
        };
        let packet = DhcpPacket::new_checked(body).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let kind = self.decide(&request)?;
        let body = self.compose(kind, &request)?;
        // A client with an address can be reached at it (RFC 2131, 4.1).
        let direct = !request.client_ip.is_unspecified() && kind == DhcpMessageType::Ack;
        let (mac, to) = match direct {
            true => (request.client_hardware_address.0, request.client_ip),
            false => (BROADCAST, Ipv4Addr::BROADCAST),
        };
        let datagram = udp((self.identity, SERVER), (to, CLIENT), &body);
        let packet = Ipv4::new(self.identity, to, PROTO_UDP).packet(&datagram);
        Some(ethernet(mac, self.mac, TYPE_IPV4, &packet))
    }

    fn decide(&mut self, request: &DhcpRepr<'_>) -> Option<DhcpMessageType> {
        let wanted = request.requested_ip.unwrap_or(request.client_ip);
        let for_us = request
            .server_identifier
            .is_none_or(|id| id == self.identity);
        match request.message_type {
            DhcpMessageType::Discover => self.stats.discovers += 1,
            DhcpMessageType::Request => self.stats.requests += 1,
            _ => return None,
        }
        if self.config.silent || !for_us {
            return None;
        }
        let (kind, count) = match request.message_type {
            DhcpMessageType::Discover => (DhcpMessageType::Offer, &mut self.stats.offers),
            _ if wanted == self.config.address => (DhcpMessageType::Ack, &mut self.stats.acks),
            _ => (DhcpMessageType::Nak, &mut self.stats.naks),
        };
        *count += 1;
        Some(kind)
    }

    fn compose(&self, kind: DhcpMessageType, request: &DhcpRepr<'_>) -> Option<Vec<u8>> {
        let gives = kind != DhcpMessageType::Nak;
        let only = |given: Ipv4Addr| if gives { given } else { Ipv4Addr::UNSPECIFIED };
        let reply = DhcpRepr {
            message_type: kind,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: EthernetAddress(request.client_hardware_address.0),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: only(self.config.address),
            server_ip: self.identity,
            router: self.config.router.filter(|_| gives),
            subnet_mask: gives.then(|| mask(self.config.prefix)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: request.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.identity),
            parameter_request_list: None,
            dns_servers: self
                .config
                .dns
                .filter(|_| gives)
                .map(|dns| [dns].into_iter().collect()),
            max_size: None,
            lease_duration: gives.then_some(self.config.lease),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        self.emit(&reply, gives)
    }

    /// Serialises a reply, with the times that smoltcp does not emit itself.
    fn emit(&self, reply: &DhcpRepr<'_>, gives: bool) -> Option<Vec<u8>> {
        let times = [(58, self.config.renew), (59, self.config.rebind)];
        let given = times
            .iter()
            .filter_map(|(kind, seconds)| Some((*kind, seconds.filter(|_| gives)?.to_be_bytes())));
        let data: Vec<(u8, [u8; 4])> = given.collect();
        let options: Vec<_> = data
            .iter()
            .map(|(kind, data)| smoltcp::wire::DhcpOption { kind: *kind, data })
            .collect();
        let reply = DhcpRepr {
            additional_options: &options,
            ..reply.clone()
        };
        let mut body = vec![0; reply.buffer_len()];
        reply
            .emit(&mut DhcpPacket::new_unchecked(&mut body[..]))
            .ok()?;
        Some(body)
    }
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(
        u32::MAX
            .checked_shl(32 - u32::from(prefix.min(32)))
            .unwrap_or(0),
    )
}
