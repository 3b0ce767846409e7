//! What a capture of the wire holds.
//!
//! Problem: that the counters are right shows only against somebody who does not
//! ask them. Invariant: only what the emulator recorded is looked at.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;

use frame_peer::wire::{Located, PROTO_TCP, PROTO_UDP, TCP, UDP};

/// Bytes of a capture's header, and of that of each frame.
const HEADER: usize = 24;
const RECORD: usize = 16;
/// Ports whose datagrams are the protocol server's own: DNS, DHCP.
const OWN: [u16; 3] = [53, 67, 68];

/// Payload bytes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// All of it, as often as it was sent, but for DHCP and DNS.
    pub bytes: u64,
    /// So many of them were bytes of streams that had been sent before: a peer
    /// that is slow for a while is asked again.
    pub again: u64,
    /// By the TCP port at this end: bytes of the stream, each counted once.
    pub streams: BTreeMap<u16, u64>,
}

/// What `from` has sent, by the capture at `path`.
///
/// # Panics
/// If there is no capture, or not a whole one.
#[must_use]
pub fn payload(path: &Path, from: Ipv4Addr) -> Payload {
    let capture = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut rest, mut payload) = (&capture[HEADER..], Payload::default());
    let mut seen = BTreeMap::new();
    while !rest.is_empty() {
        let len = rest[8..12]
            .first_chunk()
            .map_or(0, |b| u32::from_le_bytes(*b));
        let (frame, behind) = rest[RECORD..].split_at(len as usize);
        rest = behind;
        match Located::find(frame).filter(|found| found.src == from) {
            Some(found) if found.protocol == PROTO_UDP => payload.bytes += datagram(&found),
            Some(found) if found.protocol == PROTO_TCP => {
                let (port, seq, len) = segment(&found);
                payload.bytes += len;
                let stream: &mut HashSet<_> = seen.entry((found.dst, port)).or_default();
                let before = stream.len() as u64;
                stream.extend((0..len as u32).map(|at| seq.wrapping_add(at)));
                payload.again += len - (stream.len() as u64 - before);
            }
            _ => {}
        }
    }
    for ((_, (own, _)), seen) in seen {
        *payload.streams.entry(own).or_default() += seen.len() as u64;
    }
    payload
}

/// Payload bytes of a datagram, or of a part of one.
fn datagram(found: &Located<'_>) -> u64 {
    let bytes = found.payload.len();
    if found.fragment() & 0x1fff != 0 {
        return bytes as u64;
    }
    match ports(found) {
        (own, other) if OWN.contains(&own) || OWN.contains(&other) => 0,
        _ => (bytes - UDP) as u64,
    }
}

/// Ports, first sequence number and payload bytes of a segment.
fn segment(found: &Located<'_>) -> ((u16, u16), u32, u64) {
    let bytes = found.payload;
    let seq = bytes[4..8]
        .first_chunk()
        .map_or(0, |b| u32::from_be_bytes(*b));
    let header = usize::from(bytes[12] >> 4) * 4;
    (ports(found), seq, (bytes.len() - header.max(TCP)) as u64)
}

fn ports(found: &Located<'_>) -> (u16, u16) {
    let port = |at: usize| u16::from_be_bytes([found.payload[at], found.payload[at + 1]]);
    (port(0), port(2))
}
