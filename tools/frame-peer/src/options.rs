//! What a peer is started with.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::dhcp::DhcpConfig;
use crate::dns::DnsConfig;
use crate::faults::FaultRates;
use crate::wire::Mac;

/// Addresses, services and faults of a peer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Length of its network prefix.
    pub prefix: u8,
    /// A default router, for guests of another network.
    pub router: Option<Ipv4Addr>,
    /// Largest IP packet on the link, in bytes; 68 to 65 535.
    pub mtu: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Where to write a capture of what was really sent and received.
    pub pcap: Option<PathBuf>,
    /// DHCP service, if any.
    pub dhcp: Option<DhcpConfig>,
    /// DNS service, if any.
    pub dns: Option<DnsConfig>,
    /// Whether ARP requests for any address are answered, so that replies to
    /// forged senders come back here.
    pub proxy_arp: bool,
    /// Faults on the way to the guest.
    pub to_guest: FaultRates,
    /// Faults on the way from the guest.
    pub from_guest: FaultRates,
}

impl Default for Options {
    /// 10.0.2.2/24 with an MTU of 1500 (where QEMU's own user network has its
    /// gateway), a perfect cable and no services.
    fn default() -> Self {
        Self {
            mac: [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02],
            address: Ipv4Addr::new(10, 0, 2, 2),
            prefix: 24,
            router: None,
            mtu: 1500,
            seed: 1,
            pcap: None,
            dhcp: None,
            dns: None,
            proxy_arp: false,
            to_guest: FaultRates::default(),
            from_guest: FaultRates::default(),
        }
    }
}

impl Options {
    /// Offers `address` by DHCP, with the peer as router and DNS server and a
    /// lease of one hour.
    pub fn with_dhcp(mut self, address: Ipv4Addr) -> Self {
        self.dhcp = Some(DhcpConfig {
            address,
            prefix: self.prefix,
            lease: 3600,
            renew: None,
            rebind: None,
            router: Some(self.address),
            dns: Some(self.address),
            silent: false,
        });
        self
    }
}
