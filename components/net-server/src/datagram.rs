//! Datagrams on their way out: headers from here, payload by reference.
//!
//! Problem: a datagram may be longer than a frame, and its payload is in
//! memory that the server never sees. Invariant: what goes out is headers in
//! send slots and bytes of one `Send` by name, each byte once; a datagram has
//! the checksum that its payload's sum gives, or the manager is asked to
//! complete it, which is possible only if it is one frame.

use smoltcp::wire::Ipv4Address;
use socket_api::Part;

use crate::checksum;
use crate::classify::ETHERNET;
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, Outgoing, PartialChecksum};
use crate::hops::Hop;
use crate::neighbours::Way;
use crate::stack::{Io, Stack};
use crate::wire::IP_HEADER;

/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// Bytes of headers before a datagram's payload.
pub(crate) const HEADERS: usize = ETHERNET + IP_HEADER + UDP_HEADER;

/// The payload of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    pub token: u64,
    pub len: u32,
    /// Its one's complement sum, folded, if it is known.
    pub sum: Option<u16>,
    /// The frame that has it all says that its `Send` is done.
    pub done: bool,
}

impl Payload {
    fn part(&self, offset: u32, len: u32) -> Part {
        Part {
            token: self.token,
            offset,
            len,
        }
    }
}

/// What came of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Done,
    /// The neighbour's hardware address is being asked for.
    Neighbour,
    /// The neighbour did not answer a short time ago.
    Absent,
    /// Its checksum cannot be known.
    NoSum,
}

impl Stack {
    /// Sends a datagram, for whose frames there must be room.
    pub fn send_datagram<E: Environment>(
        &mut self,
        (port, to, to_port): (u16, Ipv4Address, u16),
        payload: &Payload,
        env: &mut E,
        counters: &mut Counters,
    ) -> Sent {
        if self.hops.find(to, self.now).is_none() && self.find_way(to) == Way::Absent {
            return Sent::Absent;
        }
        let Some(&hop) = self.hops.find(to, self.now) else {
            return Sent::Neighbour;
        };
        if payload.len as usize + UDP_HEADER + IP_HEADER > self.facts().mtu {
            return self.send_fragments(&hop, (port, to_port), payload, env, counters);
        }
        send_frame(&hop, (port, to_port), payload, env, counters);
        Sent::Done
    }

    /// Sends a datagram of the server's own, which fits a frame and for which
    /// there must be room; from `own` to all on the link if `to` is none.
    pub fn send_own<E: Environment>(
        &mut self,
        own: Ipv4Address,
        (port, to, to_port): (u16, Option<Ipv4Address>, u16),
        bytes: &[u8],
        io: Io<'_, E>,
    ) -> Sent {
        let Io { env, counters, .. } = io;
        let hop = match to {
            None => Hop::to_all((own, self.facts().mac)),
            Some(to) => {
                if self.hops.find(to, self.now).is_none() && self.find_way(to) == Way::Absent {
                    return Sent::Absent;
                }
                match self.hops.find(to, self.now) {
                    Some(hop) => *hop,
                    None => return Sent::Neighbour,
                }
            }
        };
        let payload = Payload {
            token: 0,
            len: bytes.len() as u32,
            sum: Some(checksum::fold(checksum::add(0, bytes))),
            done: false,
        };
        let frame = &mut self.buffer[..HEADERS + bytes.len()];
        frame[..HEADERS].copy_from_slice(&headers(&hop, (port, to_port), &payload));
        frame[HEADERS..].copy_from_slice(bytes);
        match env.transmit(&Outgoing::whole(frame)) {
            true => counters.add(Counter::FramesSent),
            false => counters.add(Counter::DropSendRoom),
        }
        Sent::Done
    }

    /// Sends a datagram that is longer than a frame (RFC 791, 3.2).
    fn send_fragments<E: Environment>(
        &mut self,
        hop: &Hop,
        ports: (u16, u16),
        payload: &Payload,
        env: &mut E,
        counters: &mut Counters,
    ) -> Sent {
        if payload.sum.is_none() {
            return Sent::NoSum;
        }
        self.ident = self.ident.wrapping_add(1);
        let total = UDP_HEADER + payload.len as usize;
        let step = self.facts().fragment_bytes();
        let (mut at, mut header) = (0, [0; HEADERS]);
        header[..ETHERNET + IP_HEADER].copy_from_slice(&hop.head);
        header[ETHERNET + IP_HEADER..].copy_from_slice(&udp(hop, ports, payload));
        while at < total {
            let bytes = step.min(total - at);
            let more = if at + bytes < total { 0x2000 } else { 0 };
            fragment(&mut header, bytes, self.ident, more | (at / 8) as u16);
            let first = if at == 0 { UDP_HEADER } else { 0 };
            let offset = (at + first - UDP_HEADER) as u32;
            let part = [payload.part(offset, (bytes - first) as u32)];
            let outgoing = Outgoing {
                header: &header[..ETHERNET + IP_HEADER + first],
                parts: &part,
                checksum: None,
                segment: None,
                done: false,
                frames: 0,
            };
            counters.add(Counter::FragmentsSent);
            emit(&outgoing, part[0].len, env, counters);
            at += bytes;
        }
        Sent::Done
    }
}

/// Sends a datagram that fits a frame; false if it is lost for want of room.
#[inline]
pub(crate) fn send_frame<E: Environment>(
    hop: &Hop,
    ports: (u16, u16),
    payload: &Payload,
    env: &mut E,
    counters: &mut Counters,
) -> bool {
    let frame = headers(hop, ports, payload);
    let part = [payload.part(0, payload.len)];
    let outgoing = Outgoing {
        header: &frame,
        parts: &part[..usize::from(payload.len != 0)],
        checksum: payload.sum.is_none().then_some(PartialChecksum {
            start: (ETHERNET + IP_HEADER) as u16,
            offset: 6,
        }),
        segment: None,
        done: payload.done,
        frames: 0,
    };
    emit(&outgoing, payload.len, env, counters)
}

/// All headers of a datagram that fits a frame.
#[inline]
fn headers(hop: &Hop, ports: (u16, u16), payload: &Payload) -> [u8; HEADERS] {
    let total = (payload.len as usize + UDP_HEADER + IP_HEADER) as u16;
    let mut frame = [0; HEADERS];
    frame[..ETHERNET + IP_HEADER].copy_from_slice(&hop.head);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    let sum = hop.sum + u64::from(total.swap_bytes());
    frame[24..26].copy_from_slice(&checksum::finish(sum));
    frame[ETHERNET + IP_HEADER..].copy_from_slice(&udp(hop, ports, payload));
    frame
}

#[inline]
fn emit<E: Environment>(
    frame: &Outgoing<'_>,
    bytes: u32,
    env: &mut E,
    counters: &mut Counters,
) -> bool {
    let sent = env.transmit(frame);
    if sent {
        counters.add(Counter::FramesSent);
        counters.add_n(Counter::ReferencedOut, bytes.into());
    } else {
        counters.add(Counter::DropSendRoom);
    }
    sent
}

/// Makes the IP header that of a fragment with `bytes` of payload; `flags`
/// are flags and offset.
fn fragment(frame: &mut [u8; HEADERS], bytes: usize, ident: u16, flags: u16) {
    let ip = &mut frame[ETHERNET..ETHERNET + IP_HEADER];
    ip[2..4].copy_from_slice(&((bytes + IP_HEADER) as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&ident.to_be_bytes());
    ip[6..8].copy_from_slice(&flags.to_be_bytes());
    ip[10..12].fill(0);
    let sum = checksum::finish(checksum::add(0, ip));
    ip[10..12].copy_from_slice(&sum);
}

/// A UDP header (RFC 768): its checksum is complete if the payload's sum is
/// known, and that of the pseudo-header otherwise.
#[inline]
fn udp(hop: &Hop, (port, to_port): (u16, u16), payload: &Payload) -> [u8; UDP_HEADER] {
    let bytes = (payload.len as usize + UDP_HEADER) as u16;
    let pseudo = hop.pseudo + u64::from(bytes.swap_bytes());
    let word = u64::from(port.swap_bytes())
        | u64::from(to_port.swap_bytes()) << 16
        | u64::from(bytes.swap_bytes()) << 32;
    let field = match payload.sum {
        None => checksum::fold(pseudo),
        Some(sum) => {
            let ports = u64::from(port.swap_bytes()) + u64::from(to_port.swap_bytes());
            let all = pseudo + u64::from(sum) + ports + u64::from(bytes.swap_bytes());
            match !checksum::fold(all) {
                // 0 would mean that there is none.
                0 => 0xffff,
                field => field,
            }
        }
    };
    (word | u64::from(field) << 48).to_le_bytes()
}
