//! Where datagrams to a host went last.
//!
//! Problem: smoltcp's way from a datagram to a frame costs more than all the
//! rest, and finds the same next hop every time. Invariant: what stands here
//! was seen in a frame that smoltcp sent to the host, a short time ago, since
//! when neither ARP nor our own address brought news; after that time smoltcp
//! sends and receives once more, and so keeps its own table fresh.

use smoltcp::wire::{EthernetAddress, Ipv4Address};

/// Hosts remembered; a power of two.
const PLACES: usize = 64;
/// How long, in microseconds: well below the minute that smoltcp keeps a
/// neighbour.
const KEPT_US: u64 = 5_000_000;

#[derive(Clone, Copy)]
struct Hop {
    host: Ipv4Address,
    mac: EthernetAddress,
    /// Good before this time, in microseconds; 0: empty.
    until: u64,
    /// When smoltcp may hear of a datagram from there again.
    heard: u64,
}

/// The table.
pub(crate) struct Hops([Hop; PLACES]);

/// A host's place. Hosts that share one take turns, which costs time only.
#[inline]
fn place(host: Ipv4Address) -> usize {
    let bits = u32::from_ne_bytes(host.octets());
    (bits.wrapping_mul(0x9e37_79b1) >> 26) as usize % PLACES
}

impl Hops {
    /// Nothing known.
    pub fn new() -> Self {
        Self(
            [Hop {
                host: Ipv4Address::UNSPECIFIED,
                mac: EthernetAddress([0; 6]),
                until: 0,
                heard: 0,
            }; PLACES],
        )
    }

    /// smoltcp has sent a packet for `host` to `mac`.
    #[inline]
    pub fn note(&mut self, host: Ipv4Address, mac: EthernetAddress, now: u64) {
        let hop = &mut self.0[place(host)];
        let known = hop.host == host && hop.mac == mac;
        if !known || hop.until <= now {
            *hop = Hop {
                host,
                mac,
                until: now + KEPT_US,
                heard: if known { hop.heard } else { 0 },
            };
        }
    }

    /// A datagram came from `host` by way of `mac`: whether smoltcp should
    /// hear of it, because that is where we send to and it has not lately.
    #[inline]
    pub fn hear(&mut self, host: Ipv4Address, mac: EthernetAddress, now: u64) -> bool {
        let hop = &mut self.0[place(host)];
        if hop.host != host || hop.mac != mac || now < hop.heard {
            return false;
        }
        hop.heard = now + KEPT_US;
        true
    }

    /// Where packets for `host` go.
    #[inline]
    pub fn find(&self, host: Ipv4Address, now: u64) -> Option<EthernetAddress> {
        let hop = &self.0[place(host)];
        (hop.host == host && now < hop.until).then_some(hop.mac)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for hop in &mut self.0 {
            hop.until = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_forgotten_in_time_and_at_news() {
        let (host, other) = (Ipv4Address::new(10, 0, 2, 2), Ipv4Address::new(10, 0, 2, 3));
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1]);
        let mut hops = Hops::new();
        assert_eq!(hops.find(Ipv4Address::UNSPECIFIED, 0), None);
        hops.note(host, mac, 7);
        assert_eq!(hops.find(host, 7 + KEPT_US - 1), Some(mac));
        // Being used does not make it last longer.
        hops.note(host, mac, KEPT_US);
        assert_eq!(hops.find(host, 7 + KEPT_US), None);
        assert_eq!(hops.find(other, 8), None);
        let heard = |hops: &mut Hops, host, now| hops.hear(host, mac, now);
        assert!(heard(&mut hops, host, 8) && !heard(&mut hops, host, 9));
        assert!(!heard(&mut hops, other, 9) && heard(&mut hops, host, 8 + KEPT_US));
        hops.clear();
        assert_eq!(hops.find(host, 8), None);
    }
}
