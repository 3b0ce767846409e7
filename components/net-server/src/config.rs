//! Sizes and addresses of a server.
//!
//! Problem: memory is given out once, so every size must be known and legal
//! before the server starts. Invariant: a [`Config`] that passed
//! [`Config::check`] leads to no panic and to no allocation after start-up.

use core::fmt;

use smoltcp::wire::{Ipv4Address, Ipv4Cidr};
use socket_api::host::{self, AddressFault};

use crate::packets::MOST;
use crate::recovery::HEAP_BYTES;

/// A static IPv4 configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    /// Own address and prefix length.
    pub address: Ipv4Cidr,
    /// Default gateway.
    pub gateway: Option<Ipv4Address>,
}

/// What can be set. Keys of system.toml in brackets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address without DHCP [`ip`, `gateway`]; `None` asks DHCP [`dhcp`].
    pub address: Option<StaticAddress>,
    /// DNS servers beside those of DHCP [`dns`], at most 3.
    pub dns: [Option<Ipv4Address>; 3],
    /// MAC address instead of the NIC's [`mac`].
    pub mac: Option<[u8; 6]>,
    /// Socket numbers run below this [`max-sockets`]; 1 to 16384.
    pub max_sockets: usize,
    /// TCP connections with buffers [`max-connections`]; 1 to 16384.
    pub max_connections: usize,
    /// Bytes of receive window a TCP connection [`tcp-receive-window`], of
    /// which smoltcp wants a buffer; 4 KiB to 1 MiB.
    pub tcp_receive_window: usize,
    /// Bytes of send buffer a TCP connection [`tcp-send-buffer`]; as above.
    pub tcp_send_buffer: usize,
    /// UDP sockets that may be bound [`max-udp-sockets`]; 1 to 16384.
    pub max_udp_sockets: usize,
    /// Bytes that may wait at a UDP socket [`udp-receive-queue`]; 2 KiB to
    /// 1 MiB. A datagram longer than this is never received. Three of the longest
    /// fit in by default: a reader may start late.
    pub udp_receive_queue: usize,
    /// Received packets that a client's sockets may hold [`receive-frames`];
    /// 16 to 512.
    pub receive_frames: usize,
    /// Connections remembered in TIME-WAIT [`time-wait-entries`]; 16 to 16384.
    pub time_wait_entries: usize,
    /// How long, in milliseconds [`time-wait`]; 1000 to 240000.
    pub time_wait_ms: u64,
    /// Datagrams put together at the same time [`reassembly-slots`]; 1 to 256.
    pub reassembly_slots: usize,
    /// Names being resolved at the same time [`dns-queries`]; 1 to 256.
    pub dns_queries: usize,
    /// Milliseconds without an answer after which a connection with data (or
    /// a handshake) outstanding is given up [`tcp-timeout`]; 1000 to 3600000.
    pub tcp_timeout_ms: u64,
    /// Unsolicited answers (ARP, resets, ICMP) a second [`reply-rate`].
    pub reply_rate: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: None,
            dns: [None; 3],
            mac: None,
            max_sockets: 1024,
            max_connections: 256,
            tcp_receive_window: 64 * 1024,
            tcp_send_buffer: 64 * 1024,
            max_udp_sockets: 64,
            udp_receive_queue: 208 * 1024,
            receive_frames: 256,
            time_wait_entries: 4096,
            time_wait_ms: 60_000,
            reassembly_slots: 16,
            dns_queries: 16,
            tcp_timeout_ms: 60_000,
            reply_rate: 1000,
        }
    }
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No such key.
    UnknownKey,
    /// The value does not have the form that the key wants.
    Malformed(&'static str),
    /// The value is out of range; which key, least, most.
    OutOfRange(&'static str, u64, u64),
    /// The address of which key no host, router or server can have.
    Address(&'static str, AddressFault),
    /// Both or neither of a static address and DHCP.
    NoAddress,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("unknown configuration key"),
            Self::Malformed(want) => write!(f, "malformed value, want {want}"),
            Self::OutOfRange(key, least, most) => {
                write!(f, "`{key}` must be from {least} to {most}")
            }
            Self::Address(key, fault) => write!(f, "`{key}` is {fault}"),
            Self::NoAddress => f.write_str("with `dhcp = false`, `ip` is needed"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Sets one key from its text, as in system.toml.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "ip" => {
                let address: Ipv4Cidr = parse(value, "ADDRESS/PREFIX")?;
                host::check_own(address.address(), address.prefix_len())
                    .map_err(|fault| ConfigError::Address("ip", fault))?;
                let gateway = self.address.and_then(|a| a.gateway);
                self.address = Some(StaticAddress { address, gateway });
            }
            "gateway" => {
                let gateway = parse(value, "an IPv4 address")?;
                let Some(own) = &mut self.address else {
                    return Err(ConfigError::Malformed("`ip` before `gateway`"));
                };
                let at = (own.address.address(), own.address.prefix_len());
                host::check_router(at, gateway)
                    .map_err(|fault| ConfigError::Address("gateway", fault))?;
                own.gateway = Some(gateway);
            }
            "dns" => self.set_dns(value)?,
            "mac" => self.mac = Some(parse_mac(value)?),
            "dhcp" => match value {
                "true" => self.address = None,
                "false" if self.address.is_some() => {}
                "false" => return Err(ConfigError::NoAddress),
                _ => return Err(ConfigError::Malformed("true or false")),
            },
            _ => self.set_number(key, value)?,
        }
        Ok(())
    }

    fn set_dns(&mut self, value: &str) -> Result<(), ConfigError> {
        let mut dns = [None; 3];
        for (i, server) in value.split(',').enumerate() {
            let slot = dns.get_mut(i).ok_or(ConfigError::OutOfRange("dns", 1, 3))?;
            let server = parse(server.trim(), "IPv4 addresses with commas")?;
            let own = self.address.map(|own| own.address);
            match own {
                Some(own) => host::check_other((own.address(), own.prefix_len()), server),
                None => host::check_host(server),
            }
            .map_err(|fault| ConfigError::Address("dns", fault))?;
            *slot = Some(server);
        }
        self.dns = dns;
        Ok(())
    }

    fn set_number(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let known = self.numbers().into_iter().any(|(name, ..)| name == key)
            || matches!(key, "time-wait" | "tcp-timeout" | "reply-rate");
        if !known {
            return Err(ConfigError::UnknownKey);
        }
        let number: u32 = parse(value, "a number")?;
        let mut changed = self.clone();
        let size = number as usize;
        match key {
            "max-sockets" => changed.max_sockets = size,
            "max-connections" => changed.max_connections = size,
            "tcp-receive-window" => changed.tcp_receive_window = size,
            "tcp-send-buffer" => changed.tcp_send_buffer = size,
            "max-udp-sockets" => changed.max_udp_sockets = size,
            "udp-receive-queue" => changed.udp_receive_queue = size,
            "receive-frames" => changed.receive_frames = size,
            "time-wait-entries" => changed.time_wait_entries = size,
            "reassembly-slots" => changed.reassembly_slots = size,
            "dns-queries" => changed.dns_queries = size,
            "time-wait" => changed.time_wait_ms = u64::from(number),
            "tcp-timeout" => changed.tcp_timeout_ms = u64::from(number),
            _ => changed.reply_rate = number,
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

    fn numbers(&self) -> [(&'static str, usize, usize, usize); 10] {
        const TABLE: usize = 16384;
        const MIB: usize = 1 << 20;
        [
            ("max-sockets", self.max_sockets, 1, TABLE),
            ("max-connections", self.max_connections, 1, TABLE),
            ("tcp-receive-window", self.tcp_receive_window, 4096, MIB),
            ("tcp-send-buffer", self.tcp_send_buffer, 4096, MIB),
            ("max-udp-sockets", self.max_udp_sockets, 1, TABLE),
            ("udp-receive-queue", self.udp_receive_queue, 2048, MIB),
            ("receive-frames", self.receive_frames, 16, MOST as usize),
            ("time-wait-entries", self.time_wait_entries, 16, TABLE),
            ("reassembly-slots", self.reassembly_slots, 1, 256),
            ("dns-queries", self.dns_queries, 1, 256),
        ]
    }

    /// Checks every size.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (key, value, least, most) in self.numbers() {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::OutOfRange(key, least as u64, most as u64));
            }
        }
        if !(1000..=240_000).contains(&self.time_wait_ms) {
            return Err(ConfigError::OutOfRange("time-wait", 1000, 240_000));
        }
        if !(1000..=3_600_000).contains(&self.tcp_timeout_ms) {
            return Err(ConfigError::OutOfRange("tcp-timeout", 1000, 3_600_000));
        }
        Ok(())
    }

    /// Bytes of heap that a server of these sizes takes, to about 10 %: for
    /// each connection smoltcp's buffers, and tables.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let connection = self.tcp_receive_window + self.tcp_send_buffer + 1280 + HEAP_BYTES;
        self.max_connections * connection
            + self.max_sockets * 112
            + self.max_udp_sockets * 24
            + self.time_wait_entries * 128
            + self.reassembly_slots * 80
            + self.dns_queries * 336
            + crate::dns_stream::heap_bytes(1500)
            + (1120 << 10)
    }
}

fn parse<T: core::str::FromStr>(value: &str, want: &'static str) -> Result<T, ConfigError> {
    value.parse().map_err(|_| ConfigError::Malformed(want))
}

fn parse_mac(value: &str) -> Result<[u8; 6], ConfigError> {
    const WANT: ConfigError = ConfigError::Malformed("a unicast MAC address, aa:bb:cc:dd:ee:ff");
    let mut mac = [0; 6];
    let mut parts = value.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2).ok_or(WANT)?;
        *octet = u8::from_str_radix(part, 16).map_err(|_| WANT)?;
    }
    if parts.next().is_some() || mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(WANT);
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn keys_are_parsed_and_ranges_checked() {
        let mut c = Config::default();
        assert_eq!(c.set("dhcp", "false"), Err(ConfigError::NoAddress));
        c.set("ip", "10.0.2.15/24").unwrap();
        c.set("gateway", "10.0.2.2").unwrap();
        c.set("dns", "10.0.2.3, 1.1.1.1").unwrap();
        c.set("mac", "52:54:00:12:34:56").unwrap();
        c.set("tcp-receive-window", "32768").unwrap();
        let address = c.address.unwrap();
        assert_eq!(address.address.to_string(), "10.0.2.15/24");
        assert_eq!(address.gateway.unwrap().to_string(), "10.0.2.2");
        assert!(c.set("mac", "01:54:00:12:34:56").is_err());
        for (key, value, fault) in [
            ("ip", "224.0.0.1/24", AddressFault::Multicast),
            ("ip", "10.0.2.0/24", AddressFault::Network),
            ("ip", "10.0.2.255/24", AddressFault::Broadcast),
            ("ip", "10.0.2.15/32", AddressFault::Prefix),
            ("gateway", "10.0.3.2", AddressFault::OffLink),
            ("gateway", "10.0.2.15", AddressFault::Own),
            ("dns", "1.1.1.1,0.0.0.0", AddressFault::Nowhere),
        ] {
            let refused = Err(ConfigError::Address(key, fault));
            assert_eq!(c.set(key, value), refused, "{value}");
        }
        assert_eq!(c.address, Some(address));
        assert_eq!(c.set("nonsense", "1"), Err(ConfigError::UnknownKey));
        assert!(c.set("tcp-send-buffer", "50").is_err());
        assert_eq!(
            c.set("max-sockets", "0"),
            Err(ConfigError::OutOfRange("max-sockets", 1, 16384))
        );
        assert_eq!(c.tcp_receive_window, 32768);
        assert_eq!(c.max_sockets, 1024);
    }
}
