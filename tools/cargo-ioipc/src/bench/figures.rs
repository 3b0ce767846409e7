//! The loads, with what others need for them and what we may need.

use std::fmt;
use std::net::SocketAddr;

use echo_load::{LoadError, Outcome};

/// Under which circumstances a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Nothing else is going on.
    Plain,
    /// With idle TCP connections open.
    BesideIdle,
}

impl Series {
    /// What to put behind the name of a load.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::BesideIdle => ", 64 idle connections",
        }
    }
}

/// One load on the echo service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Datagrams, in bursts.
    Udp {
        /// Bytes of payload.
        size: usize,
        /// Datagrams in a burst.
        outstanding: u32,
        /// Datagrams in all; a multiple of the burst.
        count: u32,
    },
    /// One message at a time on one connection.
    TcpLockstep {
        /// Bytes of a message.
        size: usize,
        /// Messages in all.
        count: u32,
    },
    /// A stream with many bytes on their way.
    TcpBulk {
        /// KiB sent and not yet back, at most.
        in_flight_kib: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// What another system needs for the same load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its instructions per unit.
    pub figure: f64,
}

/// sDDF 0.7 on seL4 16 MCS, measured like ours on the same emulator.
const SDDF: &str = "sDDF";

/// Its UDP figures by size, for 1, 8 and 64 outstanding.
const SDDF_UDP: [(usize, [f64; 3]); 3] = [
    (64, [17_000.0, 4_300.0, 2_700.0]),
    (512, [17_600.0, 5_300.0, 3_600.0]),
    (1400, [19_200.0, 6_600.0, 5_100.0]),
];

impl Load {
    /// Whether it goes to the UDP port.
    pub fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. })
    }

    /// What is counted: a packet, a message or a byte.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Udp { .. } => "packet",
            Self::TcpLockstep { .. } => "message",
            Self::TcpBulk { .. } => "byte",
        }
    }

    /// What the best comparable system needs, where it was measured.
    pub fn peer(&self) -> Option<Peer> {
        let figure = match *self {
            Self::Udp {
                size, outstanding, ..
            } => {
                let (_, row) = SDDF_UDP.iter().find(|(known, _)| *known == size)?;
                let column = [1, 8, 64].iter().position(|known| *known == outstanding)?;
                row[column]
            }
            Self::TcpLockstep { size: 64, .. } => 18_600.0,
            Self::TcpLockstep { size: 1400, .. } => 21_700.0,
            Self::TcpBulk {
                in_flight_kib: 16, ..
            } => 6.4,
            Self::TcpBulk {
                in_flight_kib: 60, ..
            } => 5.8,
            _ => return None,
        };
        Some(Peer { name: SDDF, figure })
    }

    /// Most instructions per unit that the project allows itself.
    pub fn limit(&self) -> Option<f64> {
        match *self {
            Self::Udp {
                size: 64,
                outstanding: 1,
                ..
            } => Some(12_000.0),
            Self::Udp {
                size: 64,
                outstanding: 64,
                ..
            } => Some(2_200.0),
            Self::Udp {
                size: 1400,
                outstanding: 64,
                ..
            } => Some(3_500.0),
            Self::TcpBulk { .. } => Some(3.0),
            _ => None,
        }
    }

    /// The same on a TAP device, where offloads do part of the work.
    pub fn tap_limit(&self) -> Option<f64> {
        match self {
            Self::TcpBulk { .. } => Some(1.5),
            _ => None,
        }
    }

    /// Puts the load on the service at `to`.
    pub(super) fn run(&self, to: SocketAddr) -> Result<Outcome, LoadError> {
        match *self {
            Self::Udp {
                size,
                outstanding,
                count,
            } => echo_load::udp(to, size, outstanding, count),
            Self::TcpLockstep { size, count } => echo_load::tcp_lockstep(to, size, count),
            Self::TcpBulk {
                in_flight_kib,
                total,
            } => echo_load::tcp_bulk(to, in_flight_kib << 10, total),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp {
                size, outstanding, ..
            } => {
                write!(f, "UDP {size} B, {outstanding} outstanding")
            }
            Self::TcpLockstep { size, .. } => write!(f, "TCP {size} B, 1 outstanding"),
            Self::TcpBulk { in_flight_kib, .. } => {
                write!(f, "TCP bulk, {in_flight_kib} KiB in flight")
            }
        }
    }
}

/// The loads of a series, in the order of the table; `quick` ones are a tenth
/// as large.
pub fn loads(series: Series, quick: bool) -> Vec<Load> {
    let scale = scale(quick);
    let mut loads = Vec::new();
    for size in [64, 512, 1400] {
        for (outstanding, bursts) in [(1, 2000), (8, 500), (64, 100)] {
            let count = outstanding * (bursts / scale);
            loads.push(Load::Udp {
                size,
                outstanding,
                count,
            });
        }
    }
    if series == Series::Plain {
        for size in [64, 1400] {
            loads.push(Load::TcpLockstep {
                size,
                count: 1000 / scale,
            });
        }
        loads.extend([16, 60].map(|kib| bulk(kib, quick)));
    }
    loads
}

/// The loads on a TAP device: those of [`Series::Plain`], and more in flight
/// than the user network's windows hold.
pub fn tap_loads(quick: bool) -> Vec<Load> {
    let mut list = loads(Series::Plain, quick);
    list.push(bulk(256, quick));
    list
}

fn bulk(in_flight_kib: u64, quick: bool) -> Load {
    Load::TcpBulk {
        in_flight_kib,
        total: (16 << 20) / u64::from(scale(quick)),
    }
}

/// By how much quick loads are smaller.
fn scale(quick: bool) -> u32 {
    if quick { 10 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plain_load_has_a_peer_and_bursts_come_out_even() {
        for quick in [false, true] {
            for load in loads(Series::Plain, quick) {
                assert!(load.peer().is_some(), "{load}");
                if let Load::Udp {
                    outstanding, count, ..
                } = load
                {
                    assert!(count > 0 && count.is_multiple_of(outstanding), "{load}");
                }
            }
        }
    }

    #[test]
    fn limits_are_those_of_the_project() {
        let plain = loads(Series::Plain, false);
        let limited: Vec<f64> = plain.iter().filter_map(Load::limit).collect();
        assert_eq!(limited, [12_000.0, 2_200.0, 3_500.0, 3.0, 3.0]);
        assert!(loads(Series::BesideIdle, false).iter().all(Load::is_udp));
        let tap: Vec<f64> = tap_loads(false)
            .iter()
            .filter_map(Load::tap_limit)
            .collect();
        assert_eq!(tap, [1.5, 1.5, 1.5]);
    }
}
