//! An I/O manager with a NIC, that trusts the server with nothing.
//!
//! Problem: by reference, a test sees what is sent and received only if
//! somebody resolves the names. Invariant: what the server says is checked as
//! the real manager would: a packet must be the server's, a token outstanding
//! or held, a range inside; whatever is not stops the test. Bytes that the
//! server has no business with are poisoned.

use std::collections::{HashMap, VecDeque};
use std::mem::offset_of;

use net_server::Environment;
use net_server::environment::{ManagerFault, Outgoing};
use smoltcp::wire::checksum;
use socket_api::{
    Completion, Deliver, Message, NAME_BYTES, NO_PACKET, Name, Op, Packet, Part, Receives, Request,
    Retire, SERVER_PACKETS, SocketKind, Status, TRANSMIT_PARTS, Transmit, WHOLE_SLOTS, flags, kind,
    packet_flags, whole_slot_bytes,
};

/// Bytes of a packet that the server sees.
const HEADERS_MOST: usize = 134;
const HEADER_SLOT: usize = socket_api::HEADER_SLOT_BYTES;
/// Frames that are made of one segment.
const SEGMENT_ROOM: u32 = 24;
/// What stands for the oldest receive of a socket, with the socket's number.
const OLDEST: u64 = 1 << 63;
const WHOLE_AT: usize = SERVER_PACKETS as usize * HEADER_SLOT;

/// A request that is not answered, with the client's extent.
#[derive(Clone, Copy)]
struct Outstanding {
    request: Request,
    /// Bytes that came for a `Recv`.
    done: usize,
}

/// The server's surroundings.
pub struct Fake {
    pub to_server: VecDeque<Vec<u8>>,
    pub from_server: VecDeque<Vec<u8>>,
    pub requests: VecDeque<Request>,
    pub completions: VecDeque<Completion>,
    pub regions: HashMap<u32, Vec<u8>>,
    /// Frames that can be sent before some are fetched.
    pub room: usize,
    pub verified: bool,
    /// The NIC completes checksums: datagrams are not summed beforehand.
    pub offload: bool,
    /// Checksums that were completed for the server.
    pub completed: u32,
    /// Said to the server before anything else, as it is.
    pub raw: VecDeque<Message>,
    /// Packets that the server has.
    pub packets: HashMap<u32, Vec<u8>>,
    /// Sends completed early: what is left, and where it begins.
    pub held: HashMap<u64, (u32, usize, Vec<u8>)>,
    /// Frames of which the device made segments.
    pub segmented: u32,
    /// Most parts that one frame had.
    pub most_parts: usize,
    /// Stop at a completion without a request, as the real manager would not.
    pub strict: bool,
    /// Receives of datagrams wait here, and the server is told how many.
    pub in_order: bool,
    /// Those, by socket.
    waiting: HashMap<u32, VecDeque<u64>>,
    /// What `Cancel`s are about that are on their way, by token.
    cancels: HashMap<u64, u64>,
    /// The real channel's send slots, if they are to count.
    pub slots: Option<super::slots::Slots>,
    headers: Vec<u8>,
    free: VecDeque<u32>,
    whole: Vec<Option<u32>>,
    outstanding: HashMap<u64, Outstanding>,
    kinds: HashMap<u32, u64>,
}

impl Fake {
    /// With clients that have these regions.
    pub fn new(regions: HashMap<u32, Vec<u8>>, offload: bool) -> Self {
        let bytes = WHOLE_AT + WHOLE_SLOTS as usize * whole_slot_bytes(9216);
        Self {
            to_server: VecDeque::new(),
            from_server: VecDeque::new(),
            requests: VecDeque::new(),
            completions: VecDeque::new(),
            regions,
            room: 256,
            verified: false,
            offload,
            completed: 0,
            raw: VecDeque::new(),
            packets: HashMap::new(),
            held: HashMap::new(),
            segmented: 0,
            most_parts: 0,
            strict: true,
            in_order: true,
            waiting: HashMap::new(),
            cancels: HashMap::new(),
            slots: None,
            headers: vec![0xee; bytes],
            free: (1..=SERVER_PACKETS).collect(),
            whole: vec![None; WHOLE_SLOTS as usize],
            outstanding: HashMap::new(),
            kinds: HashMap::new(),
        }
    }
}

/// One's complement sum as two bytes in memory order.
fn sum(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes(checksum::data(bytes).to_be_bytes())
}

/// The IP payload's range, if it is an IPv4 packet.
fn ip_payload(frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let header = usize::from(frame.get(14)? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]));
    let end = (14 + total).min(frame.len());
    Some((14 + header).min(end)..end)
}

/// Whether the server gets all of a frame, and if not, how much.
fn header_len(frame: &[u8]) -> Option<usize> {
    let is_ip = frame.get(12..14) == Some(&[8, 0]);
    let protocol = *frame.get(23).filter(|_| is_ip)?;
    match protocol {
        6 if is_for_resolver(frame) => None,
        6 => Some(frame.len().min(HEADERS_MOST)),
        17 => {
            let at = 14 + usize::from(frame[14] & 15) * 4;
            let first = frame[20] & 0x1f == 0 && frame[21] == 0;
            let port = frame.get(at..at + 2).filter(|_| first);
            if port == Some(&[0, 53]) || port == Some(&[0, 67]) {
                return None;
            }
            let most = if frame[14] == 0x45 { 42 } else { HEADERS_MOST };
            Some(frame.len().min(most))
        }
        _ => None,
    }
}

/// Whether a segment is from a DNS server to the server itself.
fn is_for_resolver(frame: &[u8]) -> bool {
    let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let plain = frame[14] == 0x45 && frame[20] & 0x3f == 0 && frame[21] == 0;
    let to_own = port(36).is_some_and(|port| socket_api::RESOLVER_PORTS.contains(&port));
    plain && port(34) == Some(53) && to_own && frame.len() <= 1514
}

impl Fake {
    /// Hands a frame over as the real manager would.
    fn packet(&mut self, frame: Vec<u8>) -> Option<Packet> {
        let id = *self.free.front()?;
        let mut packet = Packet {
            kind: kind::PACKET,
            id,
            len: frame.len() as u32,
            following: frame.len() as u32 / 2048,
            ..Packet::default()
        };
        match header_len(&frame) {
            None => {
                let slot = self.whole.iter().position(Option::is_none)?;
                self.whole[slot] = Some(id);
                packet.flags = packet_flags::WHOLE;
                packet.header = (WHOLE_AT + slot * whole_slot_bytes(9216)) as u32;
                packet.header_len = packet.len;
            }
            Some(len) => {
                packet.header = (id - 1) * HEADER_SLOT as u32;
                packet.header_len = len as u32;
                self.headers[packet.header as usize..][..HEADER_SLOT].fill(0xee);
                let fragment = frame[20] & 0x3f != 0 || frame[21] != 0;
                packet.sum = match self.verified && !fragment {
                    true => 0x1234,
                    false => ip_payload(&frame).map_or(0, |r| sum(&frame[r])).into(),
                };
            }
        }
        if self.verified {
            packet.flags |= packet_flags::VERIFIED;
        }
        let there = packet.header_len as usize;
        self.headers[packet.header as usize..][..there].copy_from_slice(&frame[..there]);
        self.free.pop_front();
        self.packets.insert(id, frame);
        Some(packet)
    }

    fn is_stream(&self, socket: u32) -> bool {
        self.kinds.get(&socket) != Some(&(SocketKind::Udp as u64))
    }

    /// Passes a request on, preceded by the name that it asks for.
    fn request(&mut self, mut request: Request) {
        let (op, extent) = (Op::from_number(request.op), request.extent);
        let bytes = self.extent_of(&request);
        if matches!(op, Some(Op::Send | Op::Recv | Op::Resolve)) && bytes.is_none() {
            let mut refused = request.complete(Status::BadRequest);
            refused.arg = offset_of!(Request, extent) as u64;
            self.completions.push_back(refused);
            return;
        }
        match op {
            Some(Op::Open) => {
                self.kinds.insert(request.socket, request.arg);
            }
            Some(Op::Accept) => {
                self.kinds
                    .insert(request.arg as u32, SocketKind::Tcp as u64);
            }
            Some(Op::Send) if self.is_stream(request.socket) => {
                let blocked = request.flags & flags::BLOCKED != 0;
                request.flags |= if blocked { flags::MAY_HOLD } else { 0 };
            }
            Some(Op::Send) if !self.offload || extent.len + 28 > 1500 => {
                if let Some(bytes) = &bytes {
                    request.flags |= flags::SUMMED;
                    request.arg = sum(bytes).into();
                }
            }
            Some(Op::Resolve) => {
                for part in bytes.unwrap_or_default().chunks(NAME_BYTES) {
                    let mut name = Name {
                        kind: kind::NAME,
                        len: part.len() as u16,
                        reserved: 0,
                        bytes: [0xee; NAME_BYTES],
                    };
                    name.bytes[..part.len()].copy_from_slice(part);
                    self.raw.push_back(name.into());
                }
            }
            _ => {}
        }
        let outstanding = Outstanding { request, done: 0 };
        self.outstanding.insert(request.user_data, outstanding);
        let (token, udp) = (request.user_data, !self.is_stream(request.socket));
        let waits = op == Some(Op::Recv) && request.flags & flags::NO_WAIT == 0;
        if self.in_order && udp && waits {
            let waiting = self.waiting.entry(request.socket).or_default();
            waiting.push_back(token);
            self.tell_of_receive(request.socket, request.client);
            return;
        }
        let of_socket = self.waiting.get(&request.socket);
        if op == Some(Op::Cancel) && of_socket.is_some_and(|w| w.contains(&request.arg)) {
            self.cancels.insert(token, request.arg);
            request.arg = OLDEST | u64::from(request.socket);
        }
        request.extent.address = 0;
        self.raw.push_back(request.into());
    }

    /// Tells the server of one more receive that waits here.
    fn tell_of_receive(&mut self, socket: u32, client: u32) {
        let receives = Receives {
            kind: kind::RECEIVES,
            socket,
            token: OLDEST | u64::from(socket),
            client,
            count: 1,
            ..Receives::default()
        };
        self.raw.push_back(receives.into());
    }

    /// The request that a token means.
    fn named(&self, token: u64) -> u64 {
        match token & OLDEST {
            0 => token,
            _ => self.waiting[&(token as u32)][0],
        }
    }

    /// Takes a request out of its socket's order.
    fn forget(&mut self, token: u64) {
        for waiting in self.waiting.values_mut() {
            waiting.retain(|waits| *waits != token);
        }
    }

    /// Ends a receive that waits here.
    fn end_receive(&mut self, token: u64) {
        let recv = self.outstanding.remove(&token).expect("a receive");
        self.completions
            .push_back(recv.request.complete(Status::Cancelled));
        self.forget(token);
    }

    /// What a server's answer to `Cancel` comes to.
    fn cancelled(&mut self, cancel: &Request, completion: &mut Completion) {
        let Some(target) = self.cancels.remove(&cancel.user_data) else {
            return;
        };
        let waiting = &self.waiting[&cancel.socket];
        match completion.status == Status::Ok as u16 {
            true if waiting.contains(&target) => self.end_receive(target),
            true => {
                completion.status = Status::NotFound as u16;
                self.tell_of_receive(cancel.socket, cancel.client);
            }
            false => assert!(!waiting.contains(&target), "it was told of that one"),
        }
    }

    /// The client's bytes that a request names, if there are such.
    fn extent_of(&self, request: &Request) -> Option<Vec<u8>> {
        let (at, len) = (request.extent.address as usize, request.extent.len as usize);
        let region = self.regions.get(&request.client)?;
        region.get(at..at.checked_add(len)?).map(<[u8]>::to_vec)
    }

    /// Copies bytes of a packet to where a `Recv` has got.
    fn place(&mut self, token: u64, packet: u32, offset: u32, mut len: usize) {
        if token & OLDEST != 0 {
            // The server does not know how much room there is.
            let recv = &self.outstanding[&self.named(token)];
            len = len.min(recv.request.extent.len as usize - recv.done);
        }
        let token = self.named(token);
        let frame = &self.packets[&packet];
        let bytes = &frame[offset as usize..][..len];
        let recv = self.outstanding.get_mut(&token).expect("a receive");
        assert_eq!(recv.request.op, Op::Recv as u16);
        assert!(recv.done + len <= recv.request.extent.len as usize);
        let at = recv.request.extent.address as usize + recv.done;
        let region = self.regions.get_mut(&recv.request.client).unwrap();
        region[at..at + len].copy_from_slice(bytes);
        recv.done += len;
    }

    fn free_packet(&mut self, id: u32) {
        assert!(self.packets.remove(&id).is_some(), "packet {id} released");
        for slot in &mut self.whole {
            slot.take_if(|whole| *whole == id);
        }
        self.free.push_back(id);
    }

    fn complete(&mut self, mut completion: Completion) {
        if completion.user_data & OLDEST != 0 {
            self.name_oldest(&mut completion);
        }
        let token = completion.user_data;
        let Some(outstanding) = self.outstanding.get(&token).copied() else {
            assert!(!self.strict, "nobody asked for {completion:?}");
            self.completions.push_back(completion);
            return;
        };
        match Op::from_number(completion.op) {
            Some(Op::Recv) => {
                if completion.packet != NO_PACKET {
                    let len = completion.len as usize - outstanding.done;
                    self.place(token, completion.packet, completion.offset, len);
                    if completion.flags & flags::RELEASE != 0 {
                        self.free_packet(completion.packet);
                    }
                }
                assert_eq!(self.outstanding[&token].done, completion.len as usize);
                completion.flags &= !flags::RELEASE;
                (completion.packet, completion.offset) = (0, 0);
            }
            Some(Op::Resolve) => {
                let len = completion.len as usize;
                let at = outstanding.request.extent.address as usize;
                let region = self.regions.get_mut(&outstanding.request.client).unwrap();
                region[at..at + len].copy_from_slice(&completion.address.octets[..len]);
            }
            Some(Op::Send) if completion.flags & flags::HELD != 0 => {
                assert!(outstanding.request.flags & flags::MAY_HOLD != 0);
                let bytes = self.extent_of(&outstanding.request).unwrap();
                let (from, to) = (completion.arg as usize, completion.len as usize);
                let held = (outstanding.request.client, from, bytes[from..to].to_vec());
                self.held.insert(token, held);
            }
            Some(Op::Cancel) => self.cancelled(&outstanding.request, &mut completion),
            Some(Op::Close) => {
                let waiting = self.waiting.remove(&completion.socket);
                for token in waiting.into_iter().flatten() {
                    self.end_receive(token);
                }
            }
            Some(Op::DropClient) => {
                let client = outstanding.request.client;
                self.outstanding
                    .retain(|t, o| *t == token || o.request.client != client);
                assert!(self.held.values().all(|(owner, ..)| *owner != client));
                let left = &self.outstanding;
                for waiting in self.waiting.values_mut() {
                    waiting.retain(|token| left.contains_key(token));
                }
            }
            _ => {}
        }
        self.outstanding.remove(&token);
        self.forget(token);
        self.completions.push_back(completion);
    }

    /// Has an answer to the oldest receive of a socket be one to that receive,
    /// cut to its room.
    fn name_oldest(&mut self, completion: &mut Completion) {
        assert_eq!(completion.op, Op::Recv as u16);
        completion.user_data = self.named(completion.user_data);
        let room = self.outstanding[&completion.user_data].request.extent.len;
        if completion.len > room {
            completion.len = room;
            completion.flags |= flags::TRUNCATED;
        }
    }

    /// The bytes of a part, which must be of a send that is not done.
    fn part(&self, part: &Part) -> Vec<u8> {
        let (at, len) = (part.offset as usize, part.len as usize);
        assert!(len != 0, "an empty part");
        if let Some((_, from, bytes)) = self.held.get(&part.token) {
            return bytes[at - from..][..len].to_vec();
        }
        let send = self.outstanding.get(&part.token);
        let send = send.unwrap_or_else(|| panic!("no send {}", part.token));
        assert_eq!(send.request.op, Op::Send as u16);
        self.extent_of(&send.request).unwrap()[at..at + len].to_vec()
    }

    /// What the entries of one frame say that it is.
    fn assemble(&self, header: &[u8], entries: &[Transmit]) -> Vec<u8> {
        let mut frame = header.to_vec();
        for (i, entry) in entries.iter().enumerate() {
            let more = entry.flags & packet_flags::MORE != 0;
            assert_eq!(more, i + 1 < entries.len());
            assert!(entry.kind == kind::TRANSMIT && usize::from(entry.count) <= TRANSMIT_PARTS);
            for part in &entry.parts[..usize::from(entry.count)] {
                frame.extend(self.part(part));
            }
        }
        frame
    }

    /// Completes the send that a frame says is done with it.
    fn sent_last(&mut self, entries: &[Transmit]) {
        let Some(entry) = entries.iter().find(|e| e.flags & packet_flags::DONE != 0) else {
            return;
        };
        assert!(entries.len() == 1 && entry.count != 0);
        let token = entry.parts[usize::from(entry.count) - 1].token;
        let send = self.outstanding.remove(&token).expect("a send that waits");
        assert_eq!(send.request.op, Op::Send as u16);
        let mut completion = send.request.complete(Status::Ok);
        completion.len = send.request.extent.len;
        self.completions.push_back(completion);
    }

    /// What a device does to a checksum (virtio 1.2, 5.1.6.2).
    fn checksum(&mut self, frame: &mut [u8], transmit: &Transmit) {
        let start = usize::from(transmit.checksum_start);
        let at = start + usize::from(transmit.checksum_offset);
        assert!(at + 2 <= usize::from(transmit.header_len));
        let sum = !checksum::data(&frame[start..]);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self.completed += 1;
    }

    /// What a device does to a long TCP segment.
    fn segments(&mut self, frame: &[u8], transmit: &Transmit, frames: u32) -> Vec<Vec<u8>> {
        use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};
        self.segmented += 1;
        assert_eq!(transmit.header_len, 54);
        let most = usize::from(transmit.segment_bytes);
        let (header, payload) = frame.split_at(usize::from(transmit.header_len));
        let count = payload.len().div_ceil(most);
        // Made by the device, or by the manager as was said.
        assert!(frames == 0 || frames as usize == count && frames <= SEGMENT_ROOM);
        self.completed += count as u32;
        let cut = |(i, bytes): (usize, &[u8])| {
            let mut segment = [header, bytes].concat();
            let len = segment.len() - 14;
            let mut ip = Ipv4Packet::new_unchecked(&mut segment[14..]);
            ip.set_total_len(len as u16);
            ip.fill_checksum();
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
            let seq = tcp.seq_number().0.wrapping_add((i * most) as i32);
            tcp.set_seq_number(TcpSeqNumber(seq));
            tcp.set_fin(tcp.fin() && i + 1 == count);
            tcp.set_psh(tcp.psh() && i + 1 == count);
            tcp.fill_checksum(&src, &dst);
            segment
        };
        payload.chunks(most).enumerate().map(cut).collect()
    }
}

impl Fake {
    fn says(&mut self) -> Option<Message> {
        if let Some(message) = self.raw.pop_front() {
            return Some(message);
        }
        while let Some(frame) = self.to_server.pop_front() {
            // Without a buffer it is lost, as at a device.
            if let Some(packet) = self.packet(frame) {
                return Some(packet.into());
            }
        }
        if let Some(request) = self.requests.pop_front() {
            self.request(request);
        }
        self.raw.pop_front()
    }
}

impl Environment for Fake {
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        let says = self.says();
        *message = says.unwrap_or_default();
        Ok(says.is_some())
    }

    fn read_header(&self, at: u32, into: &mut [u8]) -> bool {
        let from = self.headers.get(at as usize..);
        let from = from.and_then(|from| from.get(..into.len()));
        from.map(|from| into.copy_from_slice(from)).is_some()
    }

    fn has_room(&mut self, frames: usize) -> bool {
        if let Some(slots) = &mut self.slots {
            return slots.has_room(frames);
        }
        self.room.saturating_sub(self.from_server.len()) >= frames
    }

    fn segment_room(&mut self) -> u32 {
        if let Some(slots) = &mut self.slots {
            return slots.segment_room().min(SEGMENT_ROOM);
        }
        let room = self.room.saturating_sub(self.from_server.len());
        SEGMENT_ROOM.min(room as u32)
    }

    fn transmit(&mut self, outgoing: &Outgoing<'_>) -> bool {
        let room = match &mut self.slots {
            Some(slots) => slots.transmit(outgoing),
            None => self.has_room(1),
        };
        if !room || outgoing.header.len() > whole_slot_bytes(1500) {
            return false;
        }
        let entries: Vec<Transmit> = (0..outgoing.entries())
            .map(|i| outgoing.entry(7, i * TRANSMIT_PARTS))
            .collect();
        self.most_parts = self.most_parts.max(outgoing.parts.len());
        let mut frame = self.assemble(outgoing.header, &entries);
        assert_eq!(frame.len(), outgoing.len());
        self.sent_last(&entries);
        let first = entries[0];
        if first.flags & packet_flags::SEGMENT != 0 {
            let segments = self.segments(&frame, &first, outgoing.frames);
            self.from_server.extend(segments);
            return true;
        }
        assert!(frame.len() <= 1514, "{} bytes", frame.len());
        if first.flags & packet_flags::CHECKSUM != 0 {
            self.checksum(&mut frame, &first);
        }
        self.from_server.push_back(frame);
        true
    }

    fn tell(&mut self, message: &Message) -> bool {
        match message.kind() {
            kind::DELIVER => {
                let entry = Deliver::from(*message);
                for deliver in entry.all() {
                    let len = deliver.len as usize;
                    self.place(entry.token, deliver.packet, deliver.offset, len);
                    if deliver.flags & packet_flags::RELEASE != 0 {
                        self.free_packet(deliver.packet);
                    }
                }
            }
            kind::RETIRE => {
                let token = Retire::from(*message).token;
                assert!(self.held.remove(&token).is_some(), "{token} is not held");
            }
            _ => self.complete(Completion::from(*message)),
        }
        true
    }

    fn release(&mut self, packet: u32) {
        self.free_packet(packet);
    }
}
