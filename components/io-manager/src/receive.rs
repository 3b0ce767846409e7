//! From the driver to the server: frames that arrived.
//!
//! Problem: the server must see headers and know that the payload is what was
//! sent, without having it. Invariant: a frame is taken only in a buffer that
//! the driver has; the server gets its headers copied to where it can read
//! them, and a sum over the rest unless the device has verified that. Frames
//! beyond what the server may hold are dropped, so the driver never runs out
//! of buffers.

use data_passing::{Machine, Sum};
use nic_api::{HEADER_SPLIT, MOST_BUFFERS, MOST_FRAME, Received, frame_flags};
use shared_ring::RingError;
use socket_api::{HEADER_SLOT_BYTES, Packet, RESOLVER_PORTS, kind, packet_flags};

use crate::counters::Counters;
use crate::nic::{ETHERNET, Nic};
use crate::packets::NO_SLOT;
use crate::progress::Core;
use crate::server::Server;

/// Frames taken in one turn.
const BATCH: usize = 256;
/// Buffers that the server leaves to the driver.
const KEPT_FOR_DRIVER: u32 = 128;
/// Entries of the server's ring that packets leave to requests.
const KEPT_FOR_REQUESTS: u32 = 2048;
/// Bytes of an IPv4 header without options.
const IPV4: u32 = 20;
/// Protocol numbers in the IPv4 header.
const TCP_PROTOCOL: u8 = 6;
const UDP_PROTOCOL: u8 = 17;
/// Bytes of a UDP header.
const UDP: u32 = 8;
/// Ports of servers that the protocol server itself asks.
const DNS: u16 = 53;
const DHCP: u16 = 67;
/// The most bytes that all headers have: of Ethernet, IPv4 and TCP.
const MOST_HEADERS: usize = ETHERNET as usize + 60 + 60;
/// Flags that a driver may set.
const LEGAL_FLAGS: u32 =
    (frame_flags::CHECKSUM_VALID | frame_flags::NEEDS_CHECKSUM | frame_flags::STEERED) as u32;

const _: () = assert!(MOST_HEADERS <= HEADER_SLOT_BYTES);

/// The first bytes of a frame, copied once.
type Head = [u8; 64];

/// What a frame is, as far as the manager must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// For the server itself, or not IPv4: it gets all of it.
    Whole,
    /// An IPv4 packet with payload for sockets.
    Socket {
        /// Where the IP payload begins and ends, in bytes of the frame.
        payload: u32,
        end: u32,
        /// How many bytes hold all headers.
        headers: u32,
        /// It is a part of a datagram.
        fragment: bool,
    },
    /// It contradicts itself.
    Malformed,
}

/// Takes the frames that arrived; true if there may be more.
#[inline(never)]
pub(crate) fn take_received<M: Machine>(
    core: &mut Core<M>,
    server: &mut Server,
) -> Result<bool, RingError> {
    let mut received = Received::default();
    for _ in 0..BATCH {
        if !server.nic.filled.pop_into(&mut received)? {
            return Ok(false);
        }
        if !take(core, server, &received)? {
            core.counters.driver_faults.add(1);
            if server.nic.fault() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Takes one frame; false if the driver broke the protocol with it.
#[inline(always)]
fn take<M: Machine>(
    core: &mut Core<M>,
    server: &mut Server,
    received: &Received,
) -> Result<bool, RingError> {
    let Received { id, len, flags, .. } = *received;
    if id >= server.nic.buffers() {
        return Ok(received.following == 0 && core.steered(server, received));
    }
    if !server.nic.packets.take_filled(id) {
        return Ok(false);
    }
    let mut legal = flags & !LEGAL_FLAGS == 0 && flags & u32::from(frame_flags::STEERED) == 0;
    legal &= match received.following {
        0 => (ETHERNET..=server.nic.longest).contains(&len),
        _ => gather(&mut server.nic, received)?,
    };
    if !(legal && pass(server, &core.counters, received)) {
        server.nic.post_all(id);
    }
    Ok(legal)
}

/// Passes a frame, in a buffer that is kept here, to the server; false if it
/// is dropped.
#[inline(always)]
pub(crate) fn pass(server: &mut Server, counters: &Counters, received: &Received) -> bool {
    if !has_room(server, counters) {
        return false;
    }
    let nic = &mut server.nic;
    let Received { id, len, flags, .. } = *received;
    let head = head_of(nic, id);
    let class = match classify(&head, len, nic.mtu + ETHERNET) {
        // Nothing but segments comes in frames longer than the link's.
        _ if len > nic.mtu + ETHERNET && head[23] != TCP_PROTOCOL => Class::Malformed,
        class => class,
    };
    let verified = frame_flags::CHECKSUM_VALID | frame_flags::NEEDS_CHECKSUM;
    let verified = flags & u32::from(verified) != 0;
    let mark = if verified { packet_flags::VERIFIED } else { 0 };
    let packet = match class {
        Class::Malformed => {
            counters.drop_malformed.add(1);
            return false;
        }
        Class::Whole => match give_whole(nic, counters, (id, len), mark) {
            Some(packet) => packet,
            None => return false,
        },
        Class::Socket {
            payload,
            end,
            headers,
            fragment,
        } => {
            nic.packets.give(id, end, NO_SLOT);
            let header_len = copy_headers(nic, &head, (id, len), headers, payload);
            let start = behind(headers, header_len).min(end);
            // A device may have verified one fragment and not the next.
            let summed = !verified || fragment;
            Packet {
                header: nic.header_at(id),
                header_len,
                following: received.following,
                flags: mark,
                sum: match summed {
                    true => u32::from(sum(nic, &head, id, payload, end)),
                    false => 0,
                },
                start,
                end,
                place: match server.messages {
                    Some(_) => nic.place_in(id, start.max(HEADER_SPLIT), 0).unwrap_or(0),
                    None => 0,
                },
                ..named(id, len)
            }
        }
    };
    counters.packets_in.add(1);
    server.overrun |= server.to.push(packet.as_ref()).is_err();
    true
}

/// Where the bytes behind the headers begin, of which there may be `headers`,
/// if so many bytes were found to hold them all.
#[inline(always)]
const fn behind(headers: u32, header_len: u32) -> u32 {
    if headers > HEADER_SPLIT {
        header_len
    } else {
        headers
    }
}

/// A packet with its name and length.
#[inline]
fn named(id: u32, len: u32) -> Packet {
    Packet {
        kind: kind::PACKET,
        id: id + 1,
        len,
        ..Packet::default()
    }
}

/// The first bytes of the frame in a buffer, and what is behind them.
#[inline(always)]
fn head_of(nic: &Nic, id: u32) -> Head {
    // Slot and buffer are longer.
    let head = match nic.joined() {
        true => nic.payload.memory.read_array(nic.frame_at(id) as usize),
        false => nic.headers.memory.read_array(nic.header_at(id) as usize),
    };
    head.unwrap_or([0; 64])
}

/// Gives the server all of a frame, with the device's `mark`; `None`, counted,
/// if there is no slot.
#[cold]
fn give_whole(
    nic: &mut Nic,
    counters: &Counters,
    (id, len): (u32, u32),
    mark: u16,
) -> Option<Packet> {
    let Some(slot) = copy_whole(nic, id, len) else {
        counters.drop_whole.add(1);
        return None;
    };
    counters.copied_control.add(u64::from(len));
    counters.packets_whole.add(1);
    nic.packets.give(id, len, slot);
    Some(Packet {
        flags: packet_flags::WHOLE | mark,
        header: nic.whole_at(slot),
        header_len: len,
        ..named(id, len)
    })
}

/// Where the payload ends of the frame in a buffer, if that is a datagram of
/// one piece, without IP options, for a socket: one that a NIC can keep buffers
/// for.
pub(crate) fn end_of_datagram(nic: &Nic, id: u32, len: u32) -> Option<u32> {
    let head = head_of(nic, id);
    match classify(&head, len, len) {
        Class::Socket {
            headers: HEADER_SPLIT,
            end,
            ..
        } if head[23] == UDP_PROTOCOL && end >= HEADER_SPLIT => Some(end),
        _ => None,
    }
}

/// Whether the server may get one more packet.
#[inline]
fn has_room(server: &mut Server, counters: &Counters) -> bool {
    if !server.alive {
        return false;
    }
    let most = server.nic.buffers() - KEPT_FOR_DRIVER;
    if server.nic.packets.with_server() >= most {
        counters.drop_held.add(1);
        return false;
    }
    match server.to.has_room(KEPT_FOR_REQUESTS) {
        Ok(true) => true,
        Ok(false) => {
            counters.drop_room.add(1);
            false
        }
        Err(_) => {
            server.overrun = true;
            false
        }
    }
}

/// What the frame of `len` bytes that begins with `head` is. What is longer than
/// `most` does not fit a whole slot; only segments are.
#[inline(always)]
fn classify(head: &Head, len: u32, most: u32) -> Class {
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if word(12) != 0x0800 {
        return Class::Whole;
    }
    let ihl = u32::from(head[14] & 15) * 4;
    let total = u32::from(word(16));
    let payload = ETHERNET + ihl;
    if head[14] >> 4 != 4 || ihl < IPV4 || payload > len || total < ihl {
        return Class::Malformed;
    }
    let end = len.min(ETHERNET + total);
    let (fragment, protocol) = (word(20) & 0x3fff, head[23]);
    let first = fragment & 0x1fff == 0;
    let whole = fragment == 0 && ihl == IPV4;
    let headers = match protocol {
        UDP_PROTOCOL if whole && matches!(word(34), DNS | DHCP) => {
            return Class::Whole;
        }
        UDP_PROTOCOL if first => payload + UDP,
        TCP_PROTOCOL if word(34) == DNS && is_own(word(36)) && whole && len <= most => {
            return Class::Whole;
        }
        // As many as there can be; `copy_headers` looks.
        TCP_PROTOCOL if first => payload + 60,
        TCP_PROTOCOL | UDP_PROTOCOL => payload,
        _ => return Class::Whole,
    };
    Class::Socket {
        payload,
        end,
        headers,
        fragment: fragment != 0,
    }
}

/// Whether a TCP port is one that the server asks DNS servers from.
#[cold]
fn is_own(port: u16) -> bool {
    RESOLVER_PORTS.contains(&port)
}

/// Takes the buffers that a frame goes on in, whose entries follow its own;
/// false if they, or its length, cannot be.
#[inline(never)]
fn gather(nic: &mut Nic, first: &Received) -> Result<bool, RingError> {
    let following = first.following;
    if !nic.is_long() || following >= MOST_BUFFERS {
        return Ok(false);
    }
    let most = nic.room_with(following).min(MOST_FRAME);
    let mut legal = nic.room_with(following - 1) < first.len && first.len <= most;
    let (mut last, mut rest) = (first.id, Received::default());
    for _ in 0..following {
        if !nic.filled.pop_into(&mut rest)? {
            return Ok(false);
        }
        if !nic.packets.take_filled(rest.id) {
            legal = false;
            continue;
        }
        nic.packets.follow(last, rest.id);
        last = rest.id;
        let at = nic.start_at(last) as usize;
        // It lies in the buffer.
        nic.payload.memory.write(at, &rest.start()).ok();
    }
    Ok(legal)
}

/// Copies the frame in a buffer to a whole slot; `None` if there is none.
fn copy_whole(nic: &mut Nic, id: u32, len: u32) -> Option<u8> {
    let slot = nic.packets.take_whole()?;
    let to = nic.whole_at(slot) as usize;
    let split = len.min(nic.split);
    let (headers, payload) = (&nic.headers.memory, &nic.payload.memory);
    // Slot and buffer hold the longest frame.
    headers
        .copy_to(nic.header_at(id) as usize, headers, to, split as usize)
        .ok();
    let to = to + split as usize;
    nic.spread(id, split, len - split, |at, len| {
        payload.copy_to(at as usize, headers, to, len as usize).ok();
    });
    Some(slot)
}

/// Has all headers in the header slot, at least [`HEADER_SPLIT`] bytes; how many
/// bytes of the frame are there now.
#[inline]
fn copy_headers(
    nic: &Nic,
    head: &Head,
    (id, len): (u32, u32),
    mut headers: u32,
    payload: u32,
) -> u32 {
    if headers == payload + 60 && len > HEADER_SPLIT {
        // The length of a TCP header stands in its 13th byte.
        headers = payload + u32::from(byte(nic, head, id, payload + 12) >> 4) * 4;
    }
    let headers = headers.max(HEADER_SPLIT).min(len);
    let (slots, to) = (&nic.headers.memory, nic.header_at(id) as usize);
    // Most of them are whole in what was read of the frame.
    match (nic.joined(), head.first_chunk(), head.first_chunk()) {
        (true, Some(udp), _) if headers == 42 => slots.write_array::<42>(to, udp),
        (true, _, Some(tcp)) if headers == 54 => slots.write_array::<54>(to, tcp),
        _ => {
            let there = nic.split.min(headers);
            let (to, len) = (to + there as usize, (headers - there) as usize);
            let from = nic.place_in(id, there, headers - there).unwrap_or(0) as usize;
            nic.payload.memory.copy_to(from, slots, to, len)
        }
    }
    .ok();
    headers
}

/// A byte of a frame behind its first headers.
#[inline]
fn byte(nic: &Nic, head: &Head, id: u32, at: u32) -> u8 {
    if nic.joined() && (at as usize) < head.len() {
        return head[at as usize];
    }
    let mut byte = [0];
    let place = nic.place_in(id, at, 1).unwrap_or(0);
    nic.payload.memory.read(place as usize, &mut byte).ok();
    byte[0]
}

/// The sum of the bytes from `start` to `end` of the frame in a buffer.
#[inline(always)]
fn sum(nic: &Nic, head: &Head, id: u32, start: u32, end: u32) -> u16 {
    match nic.place_in(id, start, end - start) {
        Some(at) => sum_at(nic, at, end - start),
        None => sum_apart(nic, head, id, start, end),
    }
}

/// The sum of bytes that lie in one payload buffer.
#[inline(always)]
fn sum_at(nic: &Nic, at: u32, len: u32) -> u16 {
    let sum = nic.payload.memory.sum(at as usize, len as usize);
    sum.unwrap_or(0)
}

/// As `sum`, of bytes in a header slot, or in several payload buffers.
#[inline(never)]
fn sum_apart(nic: &Nic, head: &Head, id: u32, mut start: u32, end: u32) -> u16 {
    let mut sum = Sum::default();
    let split = nic.split.min(end);
    if start < split {
        // An even number of bytes, but for a cut frame.
        for pair in head[start as usize..split as usize].chunks(2) {
            let pair = [pair[0], pair.get(1).copied().unwrap_or(0)];
            sum.add(u16::from_ne_bytes(pair), 2);
        }
        start = split;
    }
    nic.spread(id, start, end - start, |at, len| {
        sum.add(sum_at(nic, at, len), len);
    });
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(change: impl Fn(&mut Head)) -> Head {
        let mut head = [0; 64];
        head[12..15].copy_from_slice(&[8, 0, 0x45]);
        head[16..18].copy_from_slice(&100u16.to_be_bytes());
        head[23] = 17;
        change(&mut head);
        head
    }

    /// A segment of a DNS server's.
    fn dns_segment(head: &mut Head, to: u16) {
        (head[23], head[35]) = (TCP_PROTOCOL, 53);
        head[36..38].copy_from_slice(&to.to_be_bytes());
    }

    #[test]
    fn frames_are_told_apart() {
        let socket = |payload, end, headers| Class::Socket {
            payload,
            end,
            headers,
            fragment: false,
        };
        let fragment = |payload, end, headers| Class::Socket {
            payload,
            end,
            headers,
            fragment: true,
        };
        type Change = fn(&mut Head);
        let cases: [(Change, Class); 17] = [
            (|_| {}, socket(34, 114, 42)),
            (|h| h[23] = 6, socket(34, 114, 94)),
            (|h| h[23] = 1, Class::Whole),
            (|h| h[13] = 6, Class::Whole),
            (|h| h[35] = 53, Class::Whole),
            (|h| h[35] = 67, Class::Whole),
            (|h| dns_segment(h, 48_128), Class::Whole),
            (|h| dns_segment(h, 49_151), Class::Whole),
            (|h| dns_segment(h, 48_127), socket(34, 114, 94)),
            (|h| dns_segment(h, 49_152), socket(34, 114, 94)),
            (|h| h[20] = 0x20, fragment(34, 114, 42)),
            (|h| h[21] = 1, fragment(34, 114, 34)),
            (|h| h[14] = 0x4f, socket(74, 114, 82)),
            (|h| h[14] = 0x44, Class::Malformed),
            (|h| h[14] = 0x65, Class::Malformed),
            (|h| h[17] = 19, Class::Malformed),
            (|h| h[16] = 9, socket(34, 200, 42)),
        ];
        for (n, (change, class)) in cases.into_iter().enumerate() {
            assert_eq!(classify(&frame(change), 200, 1514), class, "case {n}");
        }
        assert_eq!(classify(&frame(|_| {}), 33, 1514), Class::Malformed);
        let segment = frame(|h| dns_segment(h, 49_151));
        assert_ne!(classify(&segment, 1515, 1514), Class::Whole);
    }
}
