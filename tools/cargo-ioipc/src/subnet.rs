//! The network that the user network and passt make around a system.
//!
//! Problem: both wires play a whole network, 10.0.2.0/24 unless told otherwise,
//! and hand the system an address of it by DHCP. A system with a static address
//! that is not asked for there is not heard. So the network is made to fit the
//! system: its address, its gateway, its name server.
//!
//! Invariant: system, router and name server have three different addresses of
//! one network, if it has so many.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::machine::Net;

/// Prefixes that QEMU's user network takes, and that leave three addresses.
const PREFIXES: RangeInclusive<u8> = 4..=30;

/// Where the wire's own parts are, and where the system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The system's address.
    pub own: Ipv4Addr,
    /// Bits of it that are those of the network.
    pub prefix: u8,
    /// The address of the router, which is the host's too.
    pub router: Ipv4Addr,
    /// The address that answers for the host's name servers.
    pub names: Ipv4Addr,
}

/// What QEMU makes when told nothing.
impl Default for Subnet {
    fn default() -> Self {
        Self {
            own: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            router: Ipv4Addr::new(10, 0, 2, 2),
            names: Ipv4Addr::new(10, 0, 2, 3),
        }
    }
}

impl Subnet {
    /// The network for a system with this static address, gateway and name
    /// servers: the default one if it asks by DHCP.
    #[must_use]
    pub fn around(
        address: Option<(Ipv4Addr, u8)>,
        gateway: Option<Ipv4Addr>,
        dns: &[Ipv4Addr],
    ) -> Self {
        let Some((own, prefix)) = address else {
            return Self::default();
        };
        let base = u32::from(own) & mask(prefix);
        let inside = |a: &Ipv4Addr| u32::from(*a) & mask(prefix) == base && *a != own;
        // The broadcast address comes last: in the smallest network there is
        // none to spare, and nobody asks there. One of two (RFC 3021) has none:
        // the other is the router, and answers for name servers.
        let last = match prefix {
            31.. => u32::from(own) ^ 1,
            _ => base | !mask(prefix),
        };
        let spare = |first: u32, not: Ipv4Addr| {
            let hosts = [first, 3, 2, 1].map(|host| base + host);
            let fits = |a: &Ipv4Addr| inside(a) && *a != not && u32::from(*a) < last;
            let mut free = hosts.into_iter().map(Ipv4Addr::from).filter(fits);
            free.next().unwrap_or(Ipv4Addr::from(last))
        };
        let router = gateway.unwrap_or_else(|| spare(2, own));
        let mut servers = dns.iter().copied();
        let named = servers.find(|a| inside(a) && *a != router);
        Self {
            own,
            prefix,
            router,
            names: named.unwrap_or_else(|| spare(3, router)),
        }
    }

    /// The network's own address.
    #[must_use]
    pub fn base(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.own) & mask(self.prefix))
    }

    /// Those of `dns` that are addresses of this network, but not the one that
    /// answers.
    #[must_use]
    pub fn silent_servers(&self, dns: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
        let inside = |a: &Ipv4Addr| u32::from(*a) & mask(self.prefix) == u32::from(self.base());
        let servers = dns.iter().copied();
        servers.filter(|a| inside(a) && *a != self.names).collect()
    }

    /// Whether `net` can carry this network.
    ///
    /// # Errors
    /// Why not, and what would.
    pub fn fits(&self, net: &Net) -> Result<(), String> {
        if *net != Net::User || PREFIXES.contains(&self.prefix) {
            return Ok(());
        }
        let (own, prefix) = (self.own, self.prefix);
        Err(format!(
            "the address {own}/{prefix} cannot be had on QEMU's user network: \
             it takes prefixes of {} to {} bits; \
             choose another network, or another wire with --net",
            PREFIXES.start(),
            PREFIXES.end()
        ))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(address: &str, gateway: Option<&str>, dns: &[&str]) -> [String; 3] {
        let (own, prefix) = address.split_once('/').unwrap();
        let dns: Vec<Ipv4Addr> = dns.iter().map(|a| a.parse().unwrap()).collect();
        let address = (own.parse().unwrap(), prefix.parse().unwrap());
        let subnet = Subnet::around(Some(address), gateway.map(|a| a.parse().unwrap()), &dns);
        [subnet.base(), subnet.router, subnet.names].map(|a| a.to_string())
    }

    #[test]
    fn the_network_fits_the_description() {
        let kept = made("192.168.7.20/24", Some("192.168.7.1"), &["192.168.7.9"]);
        assert_eq!(kept, ["192.168.7.0", "192.168.7.1", "192.168.7.9"]);
        // What the description leaves open is as usual here.
        let usual = made("10.0.2.20/24", None, &["8.8.8.8"]);
        assert_eq!(usual, ["10.0.2.0", "10.0.2.2", "10.0.2.3"]);
    }

    #[test]
    fn nobody_shares_an_address_however_small_the_network() {
        let host = |n| Ipv4Addr::new(10, 0, 2, n);
        for (prefix, hosts) in [(30, 1..3), (29, 1..7), (24, 1..20)] {
            for (own, gateway) in hosts.flat_map(|own| [(own, 0), (own, 1), (own, 2)]) {
                if own == gateway {
                    continue;
                }
                let gateway = (gateway != 0).then(|| host(gateway));
                let made = Subnet::around(Some((host(own), prefix)), gateway, &[]);
                let [own, router, names] = [made.own, made.router, made.names];
                let clash = own == router || own == names || router == names;
                assert!(!clash, "{own}/{prefix}: {router} {names}");
            }
        }
    }

    #[test]
    fn name_servers_that_this_wire_has_not_are_told() {
        let [router, first, second] = [2, 9, 10].map(|n| Ipv4Addr::new(10, 0, 2, n));
        let own = Some((Ipv4Addr::new(10, 0, 2, 20), 24));
        let dns = [router, first, second, Ipv4Addr::new(8, 8, 8, 8)];
        let subnet = Subnet::around(own, Some(router), &dns);
        assert_eq!(subnet.names, first);
        assert_eq!(subnet.silent_servers(&dns), [router, second]);
    }

    #[test]
    fn a_network_that_the_wire_has_not_is_refused() {
        let around =
            |prefix| Subnet::around(Some((Ipv4Addr::new(10, 0, 2, 20), prefix)), None, &[]);
        for (prefix, fits) in [(3, false), (4, true), (30, true), (31, false)] {
            assert_eq!(around(prefix).fits(&Net::User).is_ok(), fits, "{prefix}");
        }
        let pair = around(31);
        assert_eq!(pair.router, Ipv4Addr::new(10, 0, 2, 21));
        assert_eq!(pair.fits(&Net::Passt), Ok(()));
        assert_eq!(around(3).fits(&Net::None), Ok(()));
        let why = around(3).fits(&Net::User).unwrap_err();
        assert!(
            why.contains("10.0.2.20/3") && why.contains("--net"),
            "{why}"
        );
    }
}
