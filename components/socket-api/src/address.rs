//! Socket addresses as they travel in messages.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A socket address in 24 bytes; any bit pattern is legal to receive.
///
/// `nic` is the NIC index, 0 today. IPv6 travels already; servers answer it
/// with [`Status::Unsupported`](crate::Status::Unsupported) for now.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WireAddress {
    /// Address octets in network order; IPv4 uses the first four.
    pub octets: [u8; 16],
    /// Port in host order.
    pub port: u16,
    /// 4, 6, or 0 for "none".
    pub family: u16,
    /// NIC index.
    pub nic: u32,
}

impl WireAddress {
    /// No address.
    pub const NONE: Self = Self {
        octets: [0; 16],
        port: 0,
        family: 0,
        nic: 0,
    };

    /// The address, or `None` when `family` is neither 4 nor 6.
    #[must_use]
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let ip: IpAddr = match self.family {
            4 => {
                let [a, b, c, d, ..] = self.octets;
                Ipv4Addr::new(a, b, c, d).into()
            }
            6 => Ipv6Addr::from(self.octets).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for WireAddress {
    fn from(address: SocketAddr) -> Self {
        let mut octets = [0; 16];
        let family = match address.ip() {
            IpAddr::V4(ip) => {
                octets[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                octets = ip.octets();
                6
            }
        };
        Self {
            octets,
            port: address.port(),
            family,
            nic: 0,
        }
    }
}
