//! One long segment, in as few messages as can be.
//!
//! Problem: smoltcp builds a segment of all that the window lets it send,
//! which is cheap for it, but a frame has room for the MSS, the device or the
//! manager, who make frames of it, have places for so many sends and frames,
//! and the next send slot may be a while away. Invariant: what is sent of a
//! segment has its bytes, each once and in order, and its headers, with PSH and
//! FIN in the last frame only; what goes on later ends with a full frame, if it
//! has one. What finds no slot stays owed ([`Outflow::owed`]) and goes before
//! anything else of the connection, unless it is acknowledged or given up
//! meanwhile.
//!
//! smoltcp gives no options to a segment with payload, since it is not asked
//! for timestamps.

use smoltcp::wire::{IpProtocol, Ipv4Address};
use socket_api::{Part, SEGMENT_PARTS};

use crate::checksum;
use crate::classify::ETHERNET;
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, Outgoing, PartialChecksum};
use crate::outflow::{Outflow, distance};
use crate::pending::Pending;
use crate::wire::IP_HEADER;

/// Bytes of the headers of a segment without options.
pub(crate) const HEADERS: usize = TRANSPORT + 20;
const TRANSPORT: usize = ETHERNET + IP_HEADER;
/// Where TCP's checksum is in its header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Flags of a segment.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
/// Those that only the last frame has.
const ENDS: u8 = PSH | FIN;

/// Where the payload of segments is.
pub(crate) struct Source<'a> {
    pub outflow: &'a mut Outflow,
    pub pending: &'a Pending,
    /// What was sent before: from the first byte that may be sent again by
    /// [`crate::recovery`], and so not by smoltcp, to the number behind the last.
    pub kept: u32,
    pub sent: u32,
}

impl Source<'_> {
    /// Sends what is owed; whether that is all.
    pub fn pay<E: Environment>(&mut self, env: &mut E, counters: &mut Counters) -> bool {
        let Some(mut cut) = self.outflow.owed.take() else {
            return true;
        };
        cut.skip(self.outflow.una);
        let paid = cut.send(self, env, counters);
        if !paid {
            self.outflow.owed = Some(cut);
        }
        paid
    }
}

/// A segment, or what is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// As they are in all frames but for lengths, sums, number and flags.
    headers: [u8; HEADERS],
    /// The last frame's.
    flags: u8,
    /// The number of its first byte, and the one behind it.
    seq: u32,
    end: u32,
    /// Segments of so many bytes are made of it, if it has more.
    segment: Option<u16>,
    /// The manager makes them.
    cuts: bool,
    /// The sum of the IP header and that of the pseudo-header, but for
    /// lengths.
    ip: u64,
    pseudo: u64,
}

impl Cut {
    /// The segment with these headers and so many bytes of payload, of which
    /// `segment` go in one frame; `cuts` if the device does not see to that.
    pub fn new(headers: &[u8; HEADERS], payload: u32, segment: Option<u16>, cuts: bool) -> Self {
        let mut headers = *headers;
        headers[16..18].fill(0);
        headers[24..26].fill(0);
        let address = |at: usize| {
            let [a, b, c, d] = [at, at + 1, at + 2, at + 3].map(|at| headers[at]);
            Ipv4Address::new(a, b, c, d)
        };
        let (src, dst) = (address(26), address(30));
        let seq = [38, 39, 40, 41].map(|at| headers[at]);
        let seq = u32::from_be_bytes(seq);
        Self {
            flags: headers[47],
            seq,
            end: seq.wrapping_add(payload),
            segment,
            cuts,
            ip: checksum::fold(checksum::add(0, &headers[ETHERNET..TRANSPORT])).into(),
            pseudo: checksum::pseudo(src, dst, IpProtocol::Tcp, 0),
            headers,
        }
    }

    /// Whether there is nothing left of it.
    pub fn is_empty(&self) -> bool {
        self.seq == self.end
    }

    /// Bytes before `una` need not be sent any more.
    pub fn skip(&mut self, una: u32) {
        if distance(una, self.seq) > 0 {
            self.seq = una;
        }
        if distance(self.end, self.seq) < 0 {
            self.seq = self.end;
        }
    }

    /// Sends as many frames as find a slot; whether that is all.
    pub fn send<E: Environment>(
        &mut self,
        source: &mut Source<'_>,
        env: &mut E,
        counters: &mut Counters,
    ) -> bool {
        let mut parts = [Part::default(); SEGMENT_PARTS];
        while self.seq != self.end {
            let left = self.end.wrapping_sub(self.seq);
            let want = self.room(env).min(left);
            if want == 0 {
                return false;
            }
            let (count, bytes) = source
                .outflow
                .parts(source.pending, self.seq, want, &mut parts);
            if bytes == 0 {
                counters.add(Counter::OutOfStep);
                return true;
            }
            let bytes = self.whole_frames(bytes, left);
            let count = shorten(&mut parts[..count], bytes);
            self.write(bytes, bytes == left);
            if !env.transmit(&self.frame(&parts[..count], bytes)) {
                return false;
            }
            counters.add_n(Counter::FramesSent, self.frames(bytes).max(1).into());
            counters.add_n(Counter::ReferencedOut, bytes.into());
            self.seq = self.seq.wrapping_add(bytes);
        }
        true
    }

    /// How many bytes can be sent at once now.
    fn room<E: Environment>(&self, env: &mut E) -> u32 {
        match self.segment {
            Some(segment) if self.cuts => env.segment_room() * u32::from(segment),
            _ if env.has_room(1) => u32::MAX,
            _ => 0,
        }
    }

    /// How many of `bytes` are sent at once, if `left` are to be sent: no frame
    /// is shorter than it must.
    fn whole_frames(&self, bytes: u32, left: u32) -> u32 {
        match self.segment.map(u32::from) {
            Some(segment) if bytes > segment && bytes != left => bytes - bytes % segment,
            _ => bytes,
        }
    }

    /// How many frames the manager makes of so many bytes; 0 if it makes none.
    fn frames(&self, bytes: u32) -> u32 {
        match self.segment.map(u32::from) {
            Some(segment) if self.cuts && bytes > segment => bytes.div_ceil(segment),
            _ => 0,
        }
    }

    /// The frame with the headers as they are, and so many bytes.
    #[inline]
    fn frame<'a>(&'a self, parts: &'a [Part], bytes: u32) -> Outgoing<'a> {
        Outgoing {
            header: &self.headers,
            parts,
            checksum: Some(PartialChecksum {
                start: TRANSPORT as u16,
                offset: TCP_CHECKSUM as u16,
            }),
            segment: self.segment.filter(|segment| bytes > u32::from(*segment)),
            done: false,
            frames: self.frames(bytes),
        }
    }

    /// Makes the headers those of the next frame.
    #[inline]
    fn write(&mut self, bytes: u32, last: bool) {
        let h = &mut self.headers;
        let total = ((HEADERS - ETHERNET) as u16 + bytes as u16).to_be();
        let transport = ((HEADERS - TRANSPORT) as u16 + bytes as u16).to_be();
        h[16..18].copy_from_slice(&total.to_ne_bytes());
        h[24..26].copy_from_slice(&checksum::finish(self.ip + u64::from(total)));
        h[38..42].copy_from_slice(&self.seq.to_be_bytes());
        h[47] = if last { self.flags } else { self.flags & !ENDS };
        let sum = checksum::fold(self.pseudo + u64::from(transport));
        h[50..52].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// Makes headers those of a whole segment without payload: ACK, perhaps FIN.
pub(crate) fn without_payload(h: &mut [u8; HEADERS], seq: u32, fin: bool) {
    let address = |at: usize| Ipv4Address::new(h[at], h[at + 1], h[at + 2], h[at + 3]);
    let (src, dst) = (address(26), address(30));
    h[16..18].copy_from_slice(&((HEADERS - ETHERNET) as u16).to_be_bytes());
    h[24..26].fill(0);
    let sum = checksum::finish(checksum::add(0, &h[ETHERNET..TRANSPORT]));
    h[24..26].copy_from_slice(&sum);
    h[38..42].copy_from_slice(&seq.to_be_bytes());
    h[46..48].copy_from_slice(&[0x50, if fin { ACK | FIN } else { ACK }]);
    h[50..52].fill(0);
    let pseudo = checksum::pseudo(src, dst, IpProtocol::Tcp, HEADERS - TRANSPORT);
    let sum = checksum::finish(checksum::add(pseudo, &h[TRANSPORT..]));
    h[50..52].copy_from_slice(&sum);
}

/// Leaves `bytes` in some parts, which have as many or more; how many parts have
/// them.
fn shorten(parts: &mut [Part], bytes: u32) -> usize {
    let mut left = bytes;
    for (n, part) in parts.iter_mut().enumerate() {
        if part.len >= left {
            part.len = left;
            return n + 1;
        }
        left -= part.len;
    }
    parts.len()
}
