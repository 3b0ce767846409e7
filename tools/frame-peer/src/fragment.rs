//! IPv4 fragments, both ways, at the edge of the link.
//!
//! The stack behind this edge sees whole datagrams up to 64 KiB whatever the
//! MTU of the link, and its TCP is told the MTU by clamping the segment size
//! that it announces. Like the receiver under test, reassembly drops datagrams
//! whose fragments overlap (the rule of RFC 5722; duplicates are none) and keeps
//! a bounded number.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::wire::{
    ETHERNET, IPV4, Located, MORE_FRAGMENTS, PROTO_TCP, TCP, Tcp, refresh_ipv4, refresh_tcp,
};

/// Incomplete datagrams that are kept; the oldest goes first.
const MAX_PARTIAL: usize = 32;

/// The frames that carry `frame` over a link of `mtu` bytes of IP packet.
pub fn fit(mut frame: Vec<u8>, mtu: usize) -> Vec<Vec<u8>> {
    clamp_segment_size(&mut frame, mtu);
    if frame.len() <= ETHERNET + mtu {
        return vec![frame];
    }
    let Some(found) = Located::find(&frame) else {
        return vec![frame];
    };
    let room = (mtu - found.header.len()) & !7;
    let pieces = found.payload.chunks(room);
    let last = pieces.len() - 1;
    let piece = |(index, payload): (usize, &[u8])| {
        let mut out = [&frame[..ETHERNET], found.header, payload].concat();
        let more = if index < last { MORE_FRAGMENTS } else { 0 };
        let field = more | (index * room / 8) as u16;
        let packet = &mut out[ETHERNET..];
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        refresh_ipv4(packet);
        out
    };
    pieces.enumerate().map(piece).collect()
}

/// Lowers the segment size announced in a SYN to what the link carries.
fn clamp_segment_size(frame: &mut [u8], mtu: usize) {
    let Some(found) = Located::find(frame) else {
        return;
    };
    let (src, dst, header, len) = (
        found.src,
        found.dst,
        found.header.len(),
        found.payload.len(),
    );
    if found.protocol != PROTO_TCP || found.is_fragment() || len < TCP {
        return;
    }
    let segment = &mut frame[ETHERNET + header..ETHERNET + header + len];
    let options = TCP..usize::from(segment[12] >> 4) * 4;
    if segment[13] & Tcp::SYN == 0 || options.end > len {
        return;
    }
    let limit = (mtu - IPV4 - TCP) as u16;
    let mut at = options.start;
    while at + 4 <= options.end {
        match segment[at] {
            0 => break,
            1 => at += 1,
            2 => {
                let announced = u16::from_be_bytes([segment[at + 2], segment[at + 3]]);
                segment[at + 2..at + 4].copy_from_slice(&announced.min(limit).to_be_bytes());
                refresh_tcp(src, dst, segment);
                return;
            }
            _ => at += usize::from(segment[at + 1]).max(2),
        }
    }
}

/// What tells datagrams apart: source, destination, protocol, identification.
type Key = (Ipv4Addr, Ipv4Addr, u8, [u8; 2]);

#[derive(Debug, Default)]
struct Partial {
    born: u64,
    pieces: BTreeMap<usize, Vec<u8>>,
    total: Option<usize>,
    first: Vec<u8>,
}

/// Puts datagrams together again.
#[derive(Debug, Default)]
pub struct Reassembly {
    partial: BTreeMap<Key, Partial>,
    born: u64,
    /// Fragments that arrived.
    pub fragments: u64,
}

impl Reassembly {
    /// A frame that is complete, either as it came or because `frame` was the
    /// last missing fragment.
    pub fn take(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let Some(found) = Located::find(&frame).filter(Located::is_fragment) else {
            return Some(frame);
        };
        self.fragments += 1;
        let key = (
            found.src,
            found.dst,
            found.protocol,
            [found.header[4], found.header[5]],
        );
        self.make_room(&key);
        self.born += 1;
        let born = self.born;
        let partial = self.partial.entry(key).or_insert_with(|| Partial {
            born,
            ..Partial::default()
        });
        match partial.add(&frame, &found) {
            Progress::Waiting => None,
            Progress::Complete(whole) => {
                self.partial.remove(&key);
                Some(whole)
            }
            Progress::Bad => {
                self.partial.remove(&key);
                None
            }
        }
    }

    fn make_room(&mut self, key: &Key) {
        if self.partial.len() >= MAX_PARTIAL && !self.partial.contains_key(key) {
            let oldest = self
                .partial
                .iter()
                .min_by_key(|(_, p)| p.born)
                .map(|(key, _)| *key);
            oldest.map(|key| self.partial.remove(&key));
        }
    }
}

enum Progress {
    Waiting,
    Complete(Vec<u8>),
    Bad,
}

impl Partial {
    fn add(&mut self, frame: &[u8], found: &Located<'_>) -> Progress {
        let field = found.fragment();
        let start = usize::from(field & 0x1fff) * 8;
        let end = start + found.payload.len();
        let overlaps = |(at, piece): (&usize, &Vec<u8>)| *at < end && start < at + piece.len();
        if self
            .pieces
            .get(&start)
            .is_some_and(|piece| piece == found.payload)
        {
            return Progress::Waiting;
        }
        if end > 65_515 || found.payload.is_empty() || self.pieces.iter().any(overlaps) {
            return Progress::Bad;
        }
        if field & MORE_FRAGMENTS == 0 {
            self.total = Some(end);
        }
        if start == 0 {
            self.first = frame[..ETHERNET + found.header.len()].to_vec();
        }
        self.pieces.insert(start, found.payload.to_vec());
        let have: usize = self.pieces.values().map(Vec::len).sum();
        match self.total {
            Some(total) if have == total && !self.first.is_empty() => self.whole(),
            Some(total) if have > total => Progress::Bad,
            _ => Progress::Waiting,
        }
    }

    fn whole(&mut self) -> Progress {
        let mut whole = std::mem::take(&mut self.first);
        self.pieces
            .values()
            .for_each(|piece| whole.extend_from_slice(piece));
        let packet = &mut whole[ETHERNET..];
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[6..8].fill(0);
        refresh_ipv4(packet);
        Progress::Complete(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Ipv4, TYPE_IPV4, ethernet, udp};

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn datagram(len: usize) -> Vec<u8> {
        let body: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let packet = Ipv4::new(A, B, 17).packet(&udp((A, 1), (B, 2), &body));
        ethernet([2; 6], [4; 6], TYPE_IPV4, &packet)
    }

    #[test]
    fn what_is_cut_comes_together_in_any_order() {
        for mtu in [576, 1500, 9000] {
            let frame = datagram(20_000);
            let mut pieces = fit(frame.clone(), mtu);
            assert!(pieces.iter().all(|piece| piece.len() <= ETHERNET + mtu));
            pieces.reverse();
            let last = pieces.pop().unwrap();
            let mut reassembly = Reassembly::default();
            pieces
                .into_iter()
                .for_each(|piece| assert_eq!(reassembly.take(piece), None));
            assert_eq!(reassembly.take(last), Some(frame));
            assert!(reassembly.partial.is_empty());
        }
    }

    #[test]
    fn overlap_drops_the_datagram_and_memory_is_bounded() {
        let mut reassembly = Reassembly::default();
        let pieces = fit(datagram(4000), 1500);
        assert_eq!(reassembly.take(pieces[0].clone()), None);
        assert_eq!(
            reassembly.take(pieces[0].clone()),
            None,
            "a duplicate is no overlap"
        );
        assert_eq!(reassembly.partial.len(), 1);
        let mut other = pieces[0].clone();
        other[100] ^= 1;
        assert_eq!(reassembly.take(other), None);
        assert!(reassembly.partial.is_empty());
        for id in 0..1000u16 {
            let mut piece = pieces[0].clone();
            piece[18..20].copy_from_slice(&id.to_be_bytes());
            assert_eq!(reassembly.take(piece), None);
            assert!(reassembly.partial.len() <= MAX_PARTIAL);
        }
    }

    #[test]
    fn a_syn_announces_no_more_than_the_link_carries() {
        let mut syn = Tcp::new(1, 2, Tcp::SYN);
        syn.options = vec![1, 1, 2, 4, 0xff, 0xd7, 3, 3, 1, 1, 1, 0];
        let packet = Ipv4::new(A, B, PROTO_TCP).packet(&syn.segment(A, B, &[]));
        let out = fit(ethernet([2; 6], [4; 6], TYPE_IPV4, &packet), 1500);
        syn.options[4..6].copy_from_slice(&1460u16.to_be_bytes());
        let expected = Ipv4::new(A, B, PROTO_TCP).packet(&syn.segment(A, B, &[]));
        assert_eq!(out, [ethernet([2; 6], [4; 6], TYPE_IPV4, &expected)]);
    }
}
