//! From a server to the driver: frames to send.
//!
//! Invariant: a frame goes out only with a header from a slot that the server
//! has, and with bytes of `Send`s that it was given and has not retired; from
//! then on slot and bytes are in use until the device has let go. A frame that
//! is refused changes nothing, and its slot stays the server's.

use data_passing::{Machine, Sum};
use nic_api::{SEND_SPANS, SendFrame, Sent, Span, frame_flags, nic_features};
use shared_ring::RingError;
use socket_api::{Op, Part, SEND_SLOTS, SlotDone, Status, TRANSMIT_PARTS, Transmit, packet_flags};

use crate::assembly::{Assembly, Refused};
use crate::client::client_at;
use crate::nic::{ETHERNET, Nic};
use crate::progress::Core;
use crate::sends::Reference;
use crate::server::Server;
use crate::tokens::{Data, Outstanding, Stage, client_of};

/// Most bytes of an IPv4 packet.
const MOST_PACKET: u32 = 65535;
/// Frames taken back in one turn.
const BATCH: usize = 512;
/// With more slots away than this, the driver is to tell when one comes back.
pub(crate) const MANY_AWAY: u32 = SEND_SLOTS / 2;

impl<M: Machine> Core<M> {
    /// Takes an entry of the server's; false if it broke the protocol.
    #[inline]
    pub(crate) fn transmit(&mut self, server: &mut Server, entry: &Transmit) -> bool {
        let begun = match server.assembly.active {
            true => legal_rest(entry),
            false => begin(server, entry),
        };
        let taken = begun.and_then(|()| match server.assembly.cuts {
            true => server.assembly.parts.add(entry),
            false => self.add_parts(server, entry),
        });
        let more = entry.flags & packet_flags::MORE != 0;
        let done = entry.flags & packet_flags::DONE != 0;
        let finished = taken.and_then(|()| match (more, server.assembly.cuts) {
            (true, _) => Ok(()),
            (false, true) => self.cut(server),
            (false, false) => self.complete(server, done),
        });
        match finished {
            Ok(()) => true,
            Err(why) => {
                self.refuse_frame(server, why);
                if done {
                    self.never_sent(server, entry);
                }
                false
            }
        }
    }

    /// Hands over a frame that is complete, and ends the `Send` of its last part
    /// if its server is `done` with that.
    #[inline]
    fn complete(&mut self, server: &mut Server, done: bool) -> Result<(), Refused> {
        let last = server.assembly.references.last();
        if done && !self.may_be_done(last) {
            return Err(Refused::Part);
        }
        self.finish_frame(server);
        if done {
            self.sent_and_done(server.nic.alive, last);
        }
        Ok(())
    }

    /// A frame is refused that would have said that its server is done with a
    /// `Send`: nothing else will.
    #[cold]
    fn never_sent(&mut self, server: &mut Server, entry: &Transmit) {
        let count = usize::from(entry.count).min(TRANSMIT_PARTS);
        let Some(part) = entry.parts[..count].last() else {
            return;
        };
        if let Some((number, index)) = self.named(part.token, server)
            && self
                .request(number, index)
                .is_some_and(|r| r.op == Op::Send && r.stage == Stage::Waiting)
        {
            self.end_server_side(&mut server.nic, number, index, Status::ServerGone);
        }
    }

    #[inline]
    fn add_parts(&mut self, server: &mut Server, entry: &Transmit) -> Result<(), Refused> {
        let parts = entry.parts.get(..usize::from(entry.count));
        for part in parts.ok_or(Refused::Part)? {
            self.add_part(server, part)?;
        }
        Ok(())
    }

    #[inline]
    fn add_part(&mut self, server: &mut Server, part: &Part) -> Result<(), Refused> {
        let Server {
            assembly,
            nic,
            index,
            ..
        } = server;
        if part.len == 0 {
            return Err(Refused::Part);
        }
        if part.len > assembly.most - assembly.len {
            return Err(Refused::Size);
        }
        let number = client_of(part.token);
        let client = client_at(&mut self.clients, number).ok_or(Refused::Part)?;
        let slot = client.tokens.find(part.token, *index);
        let slot = slot.ok_or(Refused::Part)?;
        let request = client.tokens.get(slot).ok_or(Refused::Part)?;
        gather(self.memory.machine(), assembly, nic, request, part)?;
        let reference = Reference {
            client: number as u16,
            index: slot,
        };
        if assembly.refer(reference) {
            request.in_flight += 1;
        }
        if assembly.copied != 0 {
            self.count_copied(number as u16, assembly);
        }
        Ok(())
    }

    #[cold]
    fn count_copied(&mut self, client: u16, assembly: &mut Assembly) {
        let copied = core::mem::take(&mut assembly.copied);
        self.memory
            .book(client, |account| account.copied_out += u64::from(copied));
    }

    /// Hands the frame over that has all its parts.
    #[inline]
    fn finish_frame(&mut self, server: &mut Server) {
        let Server { assembly, nic, .. } = server;
        assembly.active = false;
        let references = core::mem::take(&mut assembly.references);
        nic.sends.send(assembly.first.slot, references, 0);
        if !nic.alive || nic.info.is_none() {
            self.counters.transmit_no_nic.add(1);
            self.let_go(server, u32::from(server.assembly.first.slot));
            return;
        }
        if let Some(sum) = assembly.sum {
            write_sum(nic, &assembly.first, sum);
        }
        let entry = describe(assembly, nic.sends.away() > MANY_AWAY);
        submit(nic, entry, assembly.spans());
        self.counters.packets_out.add(1);
    }

    /// Drops what was gathered of a frame of which no more will come.
    #[cold]
    pub(crate) fn refuse_unfinished(&mut self, server: &mut Server) {
        if server.assembly.active {
            self.refuse_frame(server, Refused::Unfinished);
        }
    }

    /// Drops what was gathered of a frame; the server keeps the slot.
    fn refuse_frame(&mut self, server: &mut Server, why: Refused) {
        self.counters.transmit_refused(why).add(1);
        server.assembly.active = false;
        server.assembly.copied = 0;
        let mut references = core::mem::take(&mut server.assembly.references);
        references.drain(|reference| self.landed(server.nic.alive, reference));
    }

    /// Takes back what the device has let go of; true if there may be more.
    #[inline(never)]
    pub(crate) fn take_sent(&mut self, server: &mut Server) -> Result<bool, RingError> {
        let mut sent = Sent::default();
        for _ in 0..BATCH {
            if !server.nic.done.pop_into(&mut sent)? {
                return Ok(false);
            }
            if !self.let_go(server, sent.id) {
                self.counters.driver_faults.add(1);
                if server.nic.fault() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The device has let go of the frame with the slot `id`; false if it has
    /// none.
    #[inline(always)]
    pub(crate) fn let_go(&mut self, server: &mut Server, id: u32) -> bool {
        let Some(mut references) = server.nic.sends.done(id) else {
            return false;
        };
        references.drain(|reference| self.landed(server.nic.alive, reference));
        let done = SlotDone {
            slot: id,
            reserved: 0,
        };
        if server.alive {
            // Without room the server loses the slot: it has broken the ring.
            server.slots_done.push_quietly(&done).ok();
        }
        true
    }
}

/// Adds bytes of a request that the server may send.
#[inline]
fn gather<M: Machine>(
    machine: &mut M,
    assembly: &mut Assembly,
    nic: &Nic,
    request: &Outstanding,
    part: &Part,
) -> Result<(), Refused> {
    let Data::Output(output) = &request.data else {
        return Err(Refused::Part);
    };
    if !request.is_sendable() {
        return Err(Refused::Part);
    }
    let mut fits = true;
    let there = output.pieces(part.offset, part.len, |at, len| {
        fits = fits && assembly.add(nic, machine, at, len);
    });
    if !there {
        return Err(Refused::Part);
    }
    assembly.waited_for |= request.is_waited_for();
    match fits {
        true => Ok(()),
        false => Err(Refused::Size),
    }
}

/// Checks the first entry of a frame and begins it.
#[inline]
fn begin(server: &mut Server, first: &Transmit) -> Result<(), Refused> {
    let Server { assembly, nic, .. } = server;
    if !nic.sends.is_servers(first.slot) {
        return Err(Refused::Slot);
    }
    let len = u32::from(first.header_len);
    let segment = first.flags & packet_flags::SEGMENT != 0;
    let checksum = first.flags & packet_flags::CHECKSUM != 0;
    let more = first.flags & packet_flags::MORE != 0;
    let last = match (more, segment) {
        (true, _) => packet_flags::MORE,
        (false, true) => 0,
        (false, false) => packet_flags::DONE,
    };
    let legal = packet_flags::CHECKSUM | packet_flags::SEGMENT | last;
    let most = ETHERNET + if segment { MOST_PACKET } else { nic.mtu };
    if first.flags & !legal != 0
        || !(ETHERNET..=most.min(nic.slot_stride)).contains(&len)
        || (first.flags & (packet_flags::MORE | packet_flags::DONE) != 0 && first.count == 0)
    {
        return Err(Refused::Header);
    }
    if segment {
        if !checksum || first.segment_bytes == 0 {
            return Err(Refused::Header);
        }
        if !(nic.offers(nic_features::SEGMENTATION) && nic.offers(nic_features::CHECKSUM)) {
            let longest = ETHERNET + nic.mtu;
            if len + u32::from(first.segment_bytes) > longest {
                return Err(Refused::Header);
            }
            assembly.begin_parts(first);
            return Ok(());
        }
    }
    let mut sum = None;
    if checksum {
        if !is_in_header(first) {
            return Err(Refused::Checksum);
        }
        if !nic.offers(nic_features::CHECKSUM) {
            sum = Some(sum_header(nic, first));
        }
    }
    assembly.begin(nic, first, most, sum);
    Ok(())
}

/// Whether the checksum and what it is over begin in the header.
#[inline]
pub(crate) fn is_in_header(first: &Transmit) -> bool {
    let start = u32::from(first.checksum_start);
    let field = start + u32::from(first.checksum_offset);
    start >= ETHERNET && field + 2 <= u32::from(first.header_len)
}

/// Checks an entry with more parts of the same frame.
fn legal_rest(entry: &Transmit) -> Result<(), Refused> {
    match entry.count != 0 && entry.flags & !packet_flags::MORE == 0 {
        true => Ok(()),
        false => Err(Refused::Header),
    }
}

/// The sum of the header from where summing starts.
#[inline]
pub(crate) fn sum_header(nic: &Nic, first: &Transmit) -> Sum {
    let start = u32::from(first.checksum_start);
    let len = u32::from(first.header_len) - start;
    let at = nic.send_at(first.slot) + start;
    let mut sum = Sum::default();
    // It lies in the slot: `begin` looked.
    let header = nic.send_slots.memory.sum(at as usize, len as usize);
    sum.add(header.unwrap_or(0), len);
    sum
}

/// Completes the checksum in the slot.
#[inline]
pub(crate) fn write_sum(nic: &Nic, first: &Transmit, sum: Sum) {
    let field = first.checksum_start + first.checksum_offset;
    let at = nic.send_at(first.slot) + u32::from(field);
    // 0 means "none" for UDP, and is the same number for TCP.
    let value = match !sum.value() {
        0 => u16::MAX,
        value => value,
    };
    let bytes = value.to_ne_bytes();
    // It lies in the slot: `begin` looked.
    nic.send_slots.memory.write(at as usize, &bytes).ok();
}

/// Writes the entries of a frame to the driver's ring, or keeps them while it
/// is full: at most one frame for each slot, and [`SEGMENT_FRAMES`] of segments
/// that were cut.
///
/// [`SEGMENT_FRAMES`]: socket_api::SEGMENT_FRAMES
#[inline]
pub(crate) fn submit(nic: &mut Nic, mut entry: SendFrame, spans: &[Span]) {
    let entries = spans.len().div_ceil(SEND_SPANS);
    let room = nic.backlog.is_empty() && matches!(nic.ready.has_room(entries as u32), Ok(true));
    let mut chunks = spans.chunks(SEND_SPANS).peekable();
    while let Some(chunk) = chunks.next() {
        let more = chunks.peek().map_or(0, |_| frame_flags::MORE);
        entry.flags = entry.flags & !frame_flags::MORE | more;
        fill(&mut entry, chunk);
        match room {
            // There is room.
            true => drop(nic.ready.push(&entry)),
            false => nic.backlog.push_back(entry),
        }
    }
}

/// Writes the pieces that one entry has place for; the compiler knows their
/// number in each case.
#[inline(always)]
fn fill(entry: &mut SendFrame, chunk: &[Span]) {
    let [first, second, third] = &mut entry.spans;
    match *chunk {
        [a] => *first = a,
        [a, b] => (*first, *second) = (a, b),
        [a, b, c] => (*first, *second, *third) = (a, b, c),
        _ => {}
    }
    entry.count = chunk.len() as u16;
}

/// The fields of a frame's entries but for the pieces.
#[inline]
fn describe(assembly: &Assembly, many: bool) -> SendFrame {
    let first = &assembly.first;
    let mut entry = SendFrame {
        id: u32::from(first.slot),
        ..SendFrame::default()
    };
    if assembly.waited_for || many {
        entry.flags |= frame_flags::WAITED_FOR;
    }
    if first.flags & packet_flags::CHECKSUM != 0 && assembly.sum.is_none() {
        entry.flags |= frame_flags::NEEDS_CHECKSUM;
        entry.checksum_start = first.checksum_start;
        entry.checksum_offset = first.checksum_offset;
    }
    if first.flags & packet_flags::SEGMENT != 0 {
        entry.flags |= frame_flags::SEGMENT;
        entry.segment_bytes = first.segment_bytes;
        entry.header_len = first.header_len;
    }
    entry
}
