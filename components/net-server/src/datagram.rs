//! Datagrams on their way out: headers from here, payload by reference.
//!
//! Problem: a datagram may be longer than a frame, and its payload is in
//! memory that the server never sees. Invariant: what goes out is headers in
//! send slots and bytes of one `Send` by name, each byte once; a datagram has
//! the checksum that its payload's sum gives, or the manager is asked to
//! complete it, which is possible only if it is one frame.

use smoltcp::wire::{EthernetAddress, IpProtocol, Ipv4Address};
use socket_api::Part;

use crate::checksum;
use crate::classify::ETHERNET;
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, Outgoing, PartialChecksum};
use crate::stack::{Io, Stack};
use crate::wire::IP_HEADER;

/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// Bytes of headers before a datagram's payload.
const HEADERS: usize = ETHERNET + IP_HEADER + UDP_HEADER;

/// The payload of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    pub token: u64,
    pub len: u32,
    /// Its one's complement sum, folded, if it is known.
    pub sum: Option<u16>,
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
    /// Its checksum cannot be known.
    NoSum,
}

/// Headers of the frames of one datagram.
struct Headers {
    own: (Ipv4Address, u16),
    to: (Ipv4Address, u16),
    macs: [u8; 12],
}

impl Stack {
    /// Sends a datagram, for whose frames there must be room.
    #[inline]
    pub fn send_datagram<E: Environment>(
        &mut self,
        own: Ipv4Address,
        (port, to, to_port): (u16, Ipv4Address, u16),
        payload: &Payload,
        env: &mut E,
        counters: &mut Counters,
    ) -> Sent {
        let mac = match self.hops.find(to, self.now) {
            Some(mac) => mac,
            None => {
                let io = Io::new(&mut *env, &mut *counters);
                self.probe(own, (port, to, to_port), io);
                match self.hops.find(to, self.now) {
                    Some(mac) => mac,
                    None => return Sent::Neighbour,
                }
            }
        };
        let headers = Headers {
            own: (own, port),
            to: (to, to_port),
            macs: macs(mac, self.facts().mac),
        };
        let bytes = UDP_HEADER + payload.len as usize;
        if bytes + IP_HEADER > self.facts().mtu {
            return self.send_fragments(&headers, payload, env, counters);
        }
        let mut frame = [0; HEADERS];
        headers.ip(&mut frame, bytes, 0, 0x4000);
        let pseudo = checksum::pseudo(own, to, IpProtocol::Udp, bytes);
        frame[ETHERNET + IP_HEADER..].copy_from_slice(&headers.udp(bytes, pseudo, payload.sum));
        let part = [payload.part(0, payload.len)];
        let outgoing = Outgoing {
            header: &frame,
            parts: if payload.len == 0 { &[] } else { &part },
            checksum: payload.sum.is_none().then_some(PartialChecksum {
                start: (ETHERNET + IP_HEADER) as u16,
                offset: 6,
            }),
            segment: None,
        };
        emit(&outgoing, payload.len, env, counters);
        Sent::Done
    }

    /// Sends a datagram that is longer than a frame (RFC 791, 3.2).
    fn send_fragments<E: Environment>(
        &mut self,
        headers: &Headers,
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
        while at < total {
            let bytes = step.min(total - at);
            let more = if at + bytes < total { 0x2000 } else { 0 };
            headers.ip(&mut header, bytes, self.ident, more | (at / 8) as u16);
            let first = if at == 0 { UDP_HEADER } else { 0 };
            if at == 0 {
                let pseudo = checksum::pseudo(headers.own.0, headers.to.0, IpProtocol::Udp, total);
                let udp = headers.udp(total, pseudo, payload.sum);
                header[ETHERNET + IP_HEADER..].copy_from_slice(&udp);
            }
            let offset = (at + first - UDP_HEADER) as u32;
            let part = [payload.part(offset, (bytes - first) as u32)];
            let outgoing = Outgoing {
                header: &header[..ETHERNET + IP_HEADER + first],
                parts: &part,
                checksum: None,
                segment: None,
            };
            counters.add(Counter::FragmentsSent);
            emit(&outgoing, part[0].len, env, counters);
            at += bytes;
        }
        Sent::Done
    }
}

#[inline]
fn emit<E: Environment>(frame: &Outgoing<'_>, bytes: u32, env: &mut E, counters: &mut Counters) {
    if env.transmit(frame) {
        counters.add(Counter::FramesSent);
        counters.add_n(Counter::ReferencedOut, bytes.into());
    } else {
        counters.add(Counter::DropSendRoom);
    }
}

fn macs(to: EthernetAddress, from: [u8; 6]) -> [u8; 12] {
    let [a, b, c, d, e, f] = to.0;
    let [g, h, i, j, k, l] = from;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

impl Headers {
    /// Writes the headers before UDP's (RFC 894, 791), as smoltcp does:
    /// without options, 64 hops. `bytes` of payload follow; `fragment` is the
    /// field of flags and offset.
    #[inline]
    fn ip(&self, frame: &mut [u8; HEADERS], bytes: usize, ident: u16, fragment: u16) {
        frame[..12].copy_from_slice(&self.macs);
        frame[12..ETHERNET].copy_from_slice(&[0x08, 0x00]);
        let [t0, t1] = ((bytes + IP_HEADER) as u16).to_be_bytes();
        let ([i0, i1], [f0, f1]) = (ident.to_be_bytes(), fragment.to_be_bytes());
        let ([a, b, c, d], [e, f, g, h]) = (self.own.0.octets(), self.to.0.octets());
        let mut ip = [
            0x45, 0, t0, t1, i0, i1, f0, f1, 64, 17, 0, 0, a, b, c, d, e, f, g, h,
        ];
        let sum = checksum::finish(checksum::add(0, &ip));
        ip[10..12].copy_from_slice(&sum);
        frame[ETHERNET..ETHERNET + IP_HEADER].copy_from_slice(&ip);
    }

    /// A UDP header (RFC 768): its checksum is complete if the payload's sum
    /// is known, and that of the pseudo-header otherwise.
    #[inline]
    fn udp(&self, bytes: usize, pseudo: u64, sum: Option<u16>) -> [u8; UDP_HEADER] {
        let ([p, q], [r, s], [l, m]) = (
            self.own.1.to_be_bytes(),
            self.to.1.to_be_bytes(),
            (bytes as u16).to_be_bytes(),
        );
        let mut udp = [p, q, r, s, l, m, 0, 0];
        let field = match sum {
            None => checksum::fold(pseudo).to_ne_bytes(),
            Some(sum) => {
                let all = checksum::add(pseudo + u64::from(sum), &udp);
                match checksum::finish(all) {
                    // 0 would mean that there is none.
                    [0, 0] => [0xff; 2],
                    field => field,
                }
            }
        };
        udp[6..].copy_from_slice(&field);
        udp
    }
}
