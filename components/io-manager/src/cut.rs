//! One long segment into frames, for a NIC that makes none itself.
//!
//! Problem: a server says once which bytes a TCP segment has and what its
//! headers are, and the NIC takes packets of its MTU. Invariant: the frames
//! have the bytes, each once and in order, and the headers, each with its own
//! lengths, number and sums, PSH and FIN in the last one only. Headers that are
//! not those of a plain segment are refused, and so are bytes that are not the
//! server's to send, before the first frame goes. What the server writes to the
//! slot meanwhile changes headers only, which are its own to choose.
//!
//! The frames are a group: the slot is the server's again when the device has
//! let go of all.

use data_passing::{Machine, Place, Sum};
use nic_api::{MOST_SPANS, SendFrame, Span, frame_flags, nic_features};
use socket_api::{Part, SEGMENT_FRAMES, SEGMENT_HEADER, SEGMENT_PARTS, Transmit};

use crate::assembly::Refused;
use crate::client::client_at;
use crate::nic::{ETHERNET, Nic};
use crate::progress::Core;
use crate::sends::{Reference, References};
use crate::server::Server;
use crate::tokens::{Data, Outstanding, client_of};
use crate::transmit::{MANY_AWAY, submit};

/// Bytes of the headers of a segment without options: Ethernet, IPv4, TCP.
const HEADERS: usize = TRANSPORT + 20;
/// Where TCP begins.
const TRANSPORT: usize = 34;
/// Where its checksum is, from there.
const TCP_CHECKSUM: u16 = 16;
const TCP: u8 = 6;
/// PSH and FIN.
const ENDS: u8 = 0x09;
/// Most bytes of payload.
const MOST: u32 = 65535 - (HEADERS as u32 - ETHERNET);

// A frame has its header and a piece of each part and page.
const _: () = assert!(1 + SEGMENT_PARTS + 65536 / 4096 < MOST_SPANS);
const _: () = assert!(HEADERS <= SEGMENT_HEADER);

type Headers = [u8; HEADERS];

/// The parts of a segment, as far as they have been named.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    parts: [Part; SEGMENT_PARTS],
    count: usize,
}

impl Parts {
    /// Adds those of an entry.
    pub fn add(&mut self, entry: &Transmit) -> Result<(), Refused> {
        let new = entry.parts.get(..usize::from(entry.count));
        let new = new.ok_or(Refused::Part)?;
        let end = self.count + new.len();
        let places = self.parts.get_mut(self.count..end);
        places.ok_or(Refused::Size)?.copy_from_slice(new);
        self.count = end;
        Ok(())
    }

    fn all(&self) -> &[Part] {
        &self.parts[..self.count]
    }
}

impl<M: Machine> Core<M> {
    /// Cuts the segment that has all its parts.
    pub(crate) fn cut(&mut self, server: &mut Server) -> Result<(), Refused> {
        let Server {
            assembly,
            nic,
            index,
            ..
        } = server;
        let first = assembly.first;
        let parts = core::mem::take(&mut assembly.parts);
        let template = Template::read(nic, &first).ok_or(Refused::Header)?;
        let (bytes, waited_for) = self.look_over(*index, parts.all())?;
        let frames = bytes.div_ceil(u32::from(first.segment_bytes));
        if frames > nic.slot_stride / SEGMENT_HEADER as u32 {
            return Err(Refused::Size);
        }
        if frames > SEGMENT_FRAMES - nic.sends.frames() {
            return Err(Refused::Frames);
        }
        assembly.active = false;
        let ready = nic.is_ready();
        let mut cutter = Cutter::new(nic, template, &first, bytes);
        if waited_for {
            cutter.entry.flags |= frame_flags::WAITED_FOR;
        }
        let mut references = References::default();
        for part in parts.all() {
            self.cut_part(*index, part, &mut references, |machine, at, len| {
                if ready {
                    cutter.add(machine, at, len);
                }
            });
        }
        nic.sends.send(first.slot, references, frames);
        if ready {
            self.counters.packets_out.add(frames.into());
        } else {
            self.counters.transmit_no_nic.add(1);
            self.let_go(server, first.slot.into());
        }
        Ok(())
    }

    /// Looks whether the server may send all parts: how many bytes they are, and
    /// whether a client waits for them.
    fn look_over(&mut self, server: u8, parts: &[Part]) -> Result<(u32, bool), Refused> {
        let (mut bytes, mut waited_for) = (0, false);
        for part in parts {
            let (_, request) = self.sendable(server, part).ok_or(Refused::Part)?;
            let Data::Output(output) = &request.data else {
                return Err(Refused::Part);
            };
            let there = output.pieces(part.offset, part.len, |_, _| ());
            if part.len == 0 || !there {
                return Err(Refused::Part);
            }
            if part.len > MOST - bytes {
                return Err(Refused::Size);
            }
            bytes += part.len;
            waited_for |= request.is_waited_for();
        }
        match bytes {
            0 => Err(Refused::Part),
            _ => Ok((bytes, waited_for)),
        }
    }

    /// The request whose bytes a part is of, if the server may send those.
    #[inline]
    fn sendable(&mut self, server: u8, part: &Part) -> Option<(Reference, &mut Outstanding)> {
        let number = client_of(part.token);
        let client = client_at(&mut self.clients, number)?;
        let (index, request) = client.tokens.named(part.token, server)?;
        let client = number as u16;
        let reference = Reference { client, index };
        request.is_sendable().then_some((reference, request))
    }

    /// Calls `each` with the pieces of a part that was looked over, and notes
    /// that its request is in flight.
    #[inline]
    fn cut_part(
        &mut self,
        server: u8,
        part: &Part,
        references: &mut References,
        mut each: impl FnMut(&M, Place, u32),
    ) {
        let Self {
            memory, clients, ..
        } = self;
        let number = client_of(part.token);
        let Some(client) = client_at(clients, number) else {
            return;
        };
        let Some((index, request)) = client.tokens.named(part.token, server) else {
            return;
        };
        if let Data::Output(output) = &request.data {
            let machine = memory.machine_ref();
            output.pieces(part.offset, part.len, |at, len| each(machine, at, len));
        }
        let client = number as u16;
        if references.push(Reference { client, index }) {
            request.in_flight += 1;
        }
    }
}

/// The sum of bytes taken in pairs, in memory order.
fn words(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks_exact(2)
        .map(|w| u16::from_ne_bytes([w[0], w[1]]));
    words.map(u32::from).sum()
}

/// Folds a sum to 16 bits.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The headers of a segment.
struct Template {
    /// Without lengths and sums.
    headers: Headers,
    /// The last frame's.
    flags: u8,
    /// The number of the first byte.
    seq: u32,
    /// The sum of the IP header, that of the pseudo-header, and that of the TCP
    /// header but for number and flags; all without lengths.
    ip: u32,
    pseudo: u32,
    tcp: u32,
}

impl Template {
    /// Reads the headers in a slot once; `None` if they are not those of a plain
    /// segment.
    fn read(nic: &Nic, first: &Transmit) -> Option<Self> {
        let at = nic.send_at(first.slot) as usize;
        let headers: Headers = nic.send_slots.memory.read_array(at).ok()?;
        let plain = usize::from(first.header_len) == HEADERS
            && usize::from(first.checksum_start) == TRANSPORT
            && first.checksum_offset == TCP_CHECKSUM
            && headers[12..15] == [0x08, 0x00, 0x45]
            && headers[20] & 0x3f == 0
            && headers[21] == 0
            && headers[23] == TCP
            && headers[46] == 0x50;
        plain.then(|| Self::new(headers))
    }

    fn new(mut headers: Headers) -> Self {
        let [.., a, b, c, d, _, _, _, _, _, flags, _, _, _, _, _, _] = headers;
        headers[16..18].fill(0);
        headers[24..26].fill(0);
        headers[50..52].fill(0);
        let pseudo = words(&headers[26..34]) + u32::from(u16::from(TCP).to_be());
        let ports = words(&headers[34..38]);
        let tcp = ports + words(&headers[42..46]) + words(&headers[48..]);
        Self {
            flags,
            seq: u32::from_be_bytes([a, b, c, d]),
            ip: words(&headers[14..TRANSPORT]),
            pseudo,
            tcp,
            headers,
        }
    }

    /// The headers of a frame with so many bytes behind `done` others, which
    /// have the sum `payload`; without one, the NIC completes the checksum.
    #[inline]
    fn frame(&self, done: u32, bytes: u32, last: bool, payload: Option<u16>) -> Headers {
        let mut h = self.headers;
        let total = ((HEADERS as u32 - ETHERNET + bytes) as u16).to_be();
        let transport = ((HEADERS - TRANSPORT) as u16 + bytes as u16).to_be();
        h[16..18].copy_from_slice(&total.to_ne_bytes());
        let ip = !fold(self.ip + u32::from(total));
        h[24..26].copy_from_slice(&ip.to_ne_bytes());
        h[38..42].copy_from_slice(&self.seq.wrapping_add(done).to_be_bytes());
        h[47] = if last { self.flags } else { self.flags & !ENDS };
        let pseudo = self.pseudo + u32::from(transport);
        let sum = match payload {
            Some(payload) => {
                let own = words(&h[38..42]) + words(&h[46..48]);
                !fold(pseudo + self.tcp + own + u32::from(payload))
            }
            None => fold(pseudo),
        };
        h[50..52].copy_from_slice(&sum.to_ne_bytes());
        h
    }
}

/// A segment that is being cut.
struct Cutter<'a> {
    nic: &'a mut Nic,
    template: Template,
    /// What the entries of all frames have.
    entry: SendFrame,
    /// Bytes of payload in each frame but the last.
    segment: u32,
    /// Bytes in frames that went, and how many there are in all.
    done: u32,
    bytes: u32,
    /// Frames that went.
    frames: u32,
    /// The next one: the bytes that it lacks, and the sum and the pieces of those
    /// that it has.
    lacks: u32,
    sum: Option<Sum>,
    spans: [Span; MOST_SPANS],
    count: usize,
}

impl<'a> Cutter<'a> {
    fn new(nic: &'a mut Nic, template: Template, first: &Transmit, bytes: u32) -> Self {
        let segment = u32::from(first.segment_bytes);
        let mut entry = SendFrame {
            id: u32::from(first.slot),
            ..SendFrame::default()
        };
        if nic.sends.away() > MANY_AWAY {
            entry.flags |= frame_flags::WAITED_FOR;
        }
        let completes = nic.offers(nic_features::CHECKSUM);
        if completes {
            entry.flags |= frame_flags::NEEDS_CHECKSUM;
            entry.checksum_start = first.checksum_start;
            entry.checksum_offset = first.checksum_offset;
        }
        Self {
            nic,
            template,
            entry,
            segment,
            done: 0,
            bytes,
            frames: 0,
            lacks: segment.min(bytes),
            sum: (!completes).then(Sum::default),
            spans: [Span::default(); MOST_SPANS],
            count: 1,
        }
    }

    /// Adds bytes within a frame of memory.
    #[inline]
    fn add<M: Machine>(&mut self, machine: &M, mut at: Place, mut len: u32) {
        while len != 0 && self.lacks != 0 {
            let part = len.min(self.lacks);
            if let Some(sum) = &mut self.sum {
                sum.add(machine.sum(at, part), part);
            }
            self.append(machine.paddr(at), part);
            self.lacks -= part;
            at.offset += part;
            len -= part;
            if self.lacks == 0 {
                self.finish();
            }
        }
    }

    #[inline]
    fn append(&mut self, paddr: u64, len: u32) {
        // There is a place for each piece.
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = Span {
                paddr,
                len,
                reserved: 0,
            };
            self.count += 1;
        }
    }

    /// Hands the frame over that lacks nothing, and begins the next.
    fn finish(&mut self) {
        let bytes = self.segment.min(self.bytes - self.done);
        let last = self.done + bytes == self.bytes;
        let payload = self.sum.map(Sum::value);
        let headers = self.template.frame(self.done, bytes, last, payload);
        let nic = &mut *self.nic;
        let at = nic.send_at(self.entry.id as u16) + self.frames * SEGMENT_HEADER as u32;
        // It lies in the slot: `cut` looked.
        nic.send_slots
            .memory
            .write_array(at as usize, &headers)
            .ok();
        self.spans[0] = Span {
            paddr: nic.send_slots.paddr + u64::from(at),
            len: HEADERS as u32,
            reserved: 0,
        };
        let mut entry = self.entry;
        if !last {
            entry.flags |= frame_flags::GROUP;
        }
        submit(nic, entry, &self.spans[..self.count]);
        self.done += bytes;
        self.frames += 1;
        self.lacks = self.segment.min(self.bytes - self.done);
        self.sum = self.sum.map(|_| Sum::default());
        self.count = 1;
    }
}
