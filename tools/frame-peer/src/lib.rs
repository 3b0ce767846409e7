//! A raw-frame peer: our own host on the other end of a guest's network link.
//!
//! QEMU's user network regenerates every packet, so nothing hostile, jumbo or
//! merely unusual ever reaches a guest through it. This peer is the other end
//! of QEMU's `-netdev stream` on a Unix socket instead: what it puts on the
//! link arrives as it is. It is
//!
//! - a host with a stack of its own: UDP and TCP, client and server, ARP, ICMP
//!   echo, any MTU up to 64 KiB ([`Peer`], [`UdpHandle`], [`TcpHandle`]);
//! - a DHCP and a DNS server that misbehave on request ([`DhcpConfig`],
//!   [`DnsConfig`]);
//! - a bad cable, by seed ([`FaultRates`]), also between two others ([`relay`]);
//! - a source of hostile frames, by name and seed ([`hostile`]);
//! - a load in bursts, in step with the guest ([`lockstep`]);
//! - a witness: counts ([`Stats`]), copies ([`Peer::tap`]) and captures
//!   ([`Pcap`]) of what was really on the link.
//!
//! Traffic stays on the Unix socket; nothing reaches the host's network.
#![forbid(unsafe_code)]

mod device;
mod dhcp;
mod dns;
mod echo;
mod engine;
mod faults;
mod fragment;
mod framed;
mod host;
pub mod hostile;
mod link;
pub mod lockstep;
mod options;
pub mod pattern;
mod pcap;
mod peer;
pub mod relay;
mod rng;
mod stats;
mod tcp;
mod udp;
mod wake;
pub mod wire;

pub use dhcp::{DhcpConfig, DhcpStats};
pub use dns::{DnsConfig, DnsMood};
pub use faults::{FaultRates, HOLD};
pub use link::{Deframer, Desynchronised, MAX_FRAME, enframe};
pub use options::Options;
pub use pcap::Pcap;
pub use peer::Peer;
pub use rng::Rng;
pub use smoltcp::socket::tcp::State as TcpState;
pub use stats::Stats;
pub use tcp::{TcpAcceptor, TcpHandle};
pub use udp::UdpHandle;
