//! Where datagrams to a host went last.
//!
//! Problem: the general way from a datagram to a frame costs more than all the
//! rest, and finds the same next hop every time. Invariant: what stands here
//! came from the table of neighbours, or was seen in a frame that smoltcp sent to
//! the host, a short time ago, since when neither a neighbour's address nor our
//! own has changed; after that time the table is asked once more, and told what
//! was heard, and so stays fresh.

use smoltcp::wire::{EthernetAddress, IpProtocol, Ipv4Address};

use crate::checksum;
use crate::classify::ETHERNET;
use crate::wire::IP_HEADER;

/// Hosts remembered; a power of two.
const PLACES: usize = 64;
/// How long, in microseconds: well below the minute for which a neighbour's
/// address is good.
const KEPT_US: u64 = 5_000_000;
/// Bytes of the headers before UDP's.
const HEAD: usize = ETHERNET + IP_HEADER;

/// The way to a host.
#[derive(Clone, Copy)]
pub(crate) struct Hop {
    host: Ipv4Address,
    mac: EthernetAddress,
    /// Good before this time, in microseconds; 0: empty.
    until: u64,
    /// When the neighbour's entry may hear of a datagram from there again.
    heard: u64,
    /// The headers of a datagram that goes there (RFC 894, 791), as smoltcp
    /// makes them: no options, not to be fragmented, 64 hops. Length and
    /// checksum are 0.
    pub head: [u8; HEAD],
    /// The sum of the IP header.
    pub sum: u64,
    /// The sum of the pseudo-header without a length.
    pub pseudo: u64,
}

impl Hop {
    const NONE: Self = Self {
        host: Ipv4Address::UNSPECIFIED,
        mac: EthernetAddress([0; 6]),
        until: 0,
        heard: 0,
        head: [0; HEAD],
        sum: 0,
        pseudo: 0,
    };

    /// To all on the link, from `own`, which may be no address yet.
    pub fn to_all(own: (Ipv4Address, [u8; 6])) -> Self {
        Self::new(own, (Ipv4Address::BROADCAST, EthernetAddress::BROADCAST))
    }

    fn new(own: (Ipv4Address, [u8; 6]), to: (Ipv4Address, EthernetAddress)) -> Self {
        let mut head = [0; HEAD];
        head[..6].copy_from_slice(&to.1.0);
        head[6..12].copy_from_slice(&own.1);
        head[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
        head[20..24].copy_from_slice(&[0x40, 0, 64, 17]);
        head[26..30].copy_from_slice(&own.0.octets());
        head[30..].copy_from_slice(&to.0.octets());
        Self {
            host: to.0,
            mac: to.1,
            sum: checksum::add(0, &head[ETHERNET..]),
            pseudo: checksum::pseudo(own.0, to.0, IpProtocol::Udp, 0),
            head,
            ..Self::NONE
        }
    }
}

/// The table.
pub(crate) struct Hops {
    places: [Hop; PLACES],
    /// The neighbour that smoltcp has last asked for, until somebody looks.
    pub wanted: Option<Ipv4Address>,
}

/// A host's place. Hosts that share one take turns, which costs time only.
#[inline]
fn place(host: Ipv4Address) -> usize {
    let bits = u32::from_ne_bytes(host.octets());
    (bits.wrapping_mul(0x9e37_79b1) >> 26) as usize % PLACES
}

impl Hops {
    /// Nothing known.
    pub fn new() -> Self {
        Self {
            places: [Hop::NONE; PLACES],
            wanted: None,
        }
    }

    /// A packet from our address to `host` goes by way of `mac`.
    #[inline]
    pub fn note(
        &mut self,
        own: (Ipv4Address, [u8; 6]),
        (host, mac): (Ipv4Address, EthernetAddress),
        now: u64,
    ) {
        let hop = &mut self.places[place(host)];
        let known = hop.host == host && hop.mac == mac;
        if !known || hop.until <= now {
            let heard = if known { hop.heard } else { 0 };
            *hop = Hop {
                until: now + KEPT_US,
                heard,
                ..Hop::new(own, (host, mac))
            };
        }
    }

    /// Whether the table of neighbours should hear of a datagram from `host` by
    /// way of `mac`, because that is where we send to and it has not lately.
    #[inline]
    pub fn should_hear(&self, host: Ipv4Address, mac: EthernetAddress, now: u64) -> bool {
        let hop = &self.places[place(host)];
        hop.host == host && now >= hop.heard && hop.mac == mac
    }

    /// It hears of one.
    pub fn hear(&mut self, host: Ipv4Address, now: u64) {
        self.places[place(host)].heard = now + KEPT_US;
    }

    /// Where packets for `host` go.
    #[inline]
    pub fn find(&self, host: Ipv4Address, now: u64) -> Option<&Hop> {
        let hop = &self.places[place(host)];
        (hop.host == host && now < hop.until).then_some(hop)
    }

    /// Whether anything goes by way of `mac`.
    pub fn uses(&self, mac: EthernetAddress, now: u64) -> bool {
        let uses = |hop: &Hop| hop.mac == mac && now < hop.until;
        self.places.iter().any(uses)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for hop in &mut self.places {
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
        let own = (Ipv4Address::new(10, 0, 2, 1), [2, 0, 0, 0, 0, 9]);
        let mut hops = Hops::new();
        let found = |hops: &Hops, host, now| hops.find(host, now).map(|hop| hop.mac);
        assert_eq!(found(&hops, Ipv4Address::UNSPECIFIED, 0), None);
        hops.note(own, (host, mac), 7);
        assert_eq!(found(&hops, host, 7 + KEPT_US - 1), Some(mac));
        // Being used does not make it last longer.
        hops.note(own, (host, mac), KEPT_US);
        assert_eq!(found(&hops, host, 7 + KEPT_US), None);
        assert_eq!(found(&hops, other, 8), None);
        assert!(hops.should_hear(host, mac, 8));
        hops.hear(host, 8);
        assert!(!hops.should_hear(host, mac, 7 + KEPT_US));
        assert!(hops.should_hear(host, mac, 8 + KEPT_US));
        assert!(!hops.should_hear(other, mac, 8));
        assert!(hops.uses(mac, 8) && !hops.uses(mac, 7 + KEPT_US));
        assert!(!hops.uses(EthernetAddress([0; 6]), 8));
        hops.clear();
        assert_eq!(found(&hops, host, 8), None);
    }
}
