//! The channel with payload by value, against a manager that obeys, and one
//! that does not.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

use net_server::channel::Channel;
use net_server::environment::{ManagerFault, Outgoing};
use net_server::{Conventional, Environment};
use nic_api::{NicInfo, payload_bytes};
use shared_ring::{Consumer, Producer, RingLayout, SharedMemory};
use socket_api::{
    Completion, Deliver, Extent, FROM_SERVER, FROM_SERVER_OFFSET, Inbox, MESSAGE, MESSAGE_BYTES,
    Message, MessageEnd, MessageSizes, Op, Outbox, Packet, Part, Release, Request, Retire,
    SEND_SLOTS, SERVER_CONTROL_BYTES, SERVER_PACKETS, SLOTS_DONE, SLOTS_DONE_OFFSET, SOCKET_BLOCK,
    SOCKET_HELD_BLOCKS, SlotDone, Status, TO_SERVER, TO_SERVER_OFFSET, Transmit, attach_messages,
    flags, headers_bytes, kind, packet_flags, send_slots_bytes, whole_slot_bytes,
};

const MTU: usize = 1500;
const REQUESTS: u32 = 16;

/// Memory that lives for the rest of the test process, as regions do.
fn region(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(vec![0u64; bytes.div_ceil(8)].leak())
}

/// The manager, with its ends of all that it shares.
struct Manager {
    to_server: Producer<Message>,
    from_server: Consumer<Message>,
    done: Producer<SlotDone>,
    headers: SharedMemory,
    slots: SharedMemory,
    payload: SharedMemory,
    messages: SharedMemory,
    outbox: Outbox,
    inbox: Inbox,
    tokens: u64,
}

fn sizes() -> MessageSizes {
    MessageSizes::of(256 << 10, REQUESTS, MTU)
}

fn pair() -> (Manager, Conventional) {
    let control = region(SERVER_CONTROL_BYTES);
    let (headers, slots) = (region(headers_bytes(MTU)), region(send_slots_bytes(MTU)));
    let ring = |offset, layout: RingLayout| {
        let at = control.slice(offset, layout.bytes()).unwrap();
        layout.format(&at).unwrap();
        at
    };
    let to = ring(TO_SERVER_OFFSET, TO_SERVER);
    let from = ring(FROM_SERVER_OFFSET, FROM_SERVER);
    let done = ring(SLOTS_DONE_OFFSET, SLOTS_DONE);
    let info = NicInfo {
        mac: [2; 6],
        mtu: MTU as u32,
        features: 0,
    };
    let messages = region(sizes().bytes());
    let payload = region(SERVER_PACKETS as usize * payload_bytes(MTU));
    let (outbox, inbox) = attach_messages(&messages, sizes(), MessageEnd::Manager).unwrap();
    let manager = Manager {
        to_server: Producer::attach(to, TO_SERVER).unwrap(),
        from_server: Consumer::attach(from, FROM_SERVER).unwrap(),
        done: Producer::attach(done, SLOTS_DONE).unwrap(),
        headers,
        slots,
        payload,
        messages,
        outbox,
        inbox,
        tokens: 0,
    };
    let channel = Channel::attach(&control, headers, slots, &info, false).unwrap();
    let server = Conventional::new(channel, (messages, sizes()), payload, MTU);
    (manager, server.unwrap())
}

impl Manager {
    fn say(&mut self, message: impl Into<Message>) {
        self.to_server.push(&message.into()).unwrap();
        let _ = self.to_server.publish();
    }

    /// What the server says, as it publishes it.
    fn hears(&mut self, server: &mut Conventional) -> Vec<Message> {
        let _ = server.channel().publish();
        std::iter::from_fn(|| self.from_server.pop().unwrap()).collect()
    }

    /// A packet with headers of 42 bytes and this payload.
    fn packet(&mut self, id: u32, payload: &[u8]) -> Packet {
        let header = (id - 1) * 256;
        self.headers.write(header as usize, &[0xee; 42]).unwrap();
        let at = (id as usize - 1) * payload_bytes(MTU);
        self.payload.write(at, payload).unwrap();
        let len = 42 + payload.len() as u32;
        Packet {
            kind: kind::PACKET,
            id,
            header,
            header_len: 42,
            len,
            start: 42,
            end: len,
            place: at as u32,
            ..Packet::default()
        }
    }

    /// A `Send` of `client` with these bytes in a message.
    fn send(&mut self, client: u32, bytes: &[u8]) -> Request {
        self.tokens += 1;
        let mut request = Request::new(Op::Send, 1, self.tokens);
        let len = bytes.len() as u32;
        let position = self.outbox.reserve(len).unwrap();
        self.messages
            .write(self.outbox.at(position), bytes)
            .unwrap();
        self.outbox.commit(position, len);
        request.extent = Extent {
            address: position,
            len,
        };
        request.flags = flags::MAY_HOLD;
        request.client = client;
        request
    }

    /// The bytes that a `Recv` is answered with.
    fn bytes(&self, completion: &Completion) -> Vec<u8> {
        assert_eq!(completion.packet, MESSAGE);
        let at = self.inbox.find(completion.offset, completion.len).unwrap();
        let mut bytes = vec![0; completion.len as usize];
        self.messages.read(at, &mut bytes).unwrap();
        bytes
    }
}

fn next<T: From<Message>>(server: &mut Conventional) -> Result<Option<T>, ManagerFault> {
    let mut message = Message::default();
    Ok(server.next(&mut message)?.then(|| message.into()))
}

/// Hands a packet over; what the server gets.
fn take(manager: &mut Manager, server: &mut Conventional, packet: Packet) -> Packet {
    manager.say(packet);
    next(server).unwrap().expect("a packet")
}

/// Hands a `Send` over; what the server gets.
fn take_send(manager: &mut Manager, server: &mut Conventional, bytes: &[u8]) -> Request {
    let request = manager.send(0, bytes);
    manager.say(request);
    next(server).unwrap().expect("a request")
}

fn released(said: &[Message]) -> Vec<u32> {
    let releases = said.iter().filter(|m| m.kind() == kind::RELEASE);
    let packets = |m: &Message| {
        let release = Release::from(*m);
        release.packets[..usize::from(release.count)].to_vec()
    };
    releases.flat_map(packets).collect()
}

/// Sends a frame with one part; it, or `None`.
fn frame(manager: &mut Manager, server: &mut Conventional, part: Part) -> Option<Vec<u8>> {
    let outgoing = Outgoing {
        header: &[7; 42],
        parts: &[part],
        checksum: None,
        segment: None,
        done: false,
        frames: 0,
    };
    if !server.transmit(&outgoing) {
        return None;
    }
    let said = manager.hears(server);
    let entry = said.iter().find(|m| m.kind() == kind::TRANSMIT);
    let transmit = Transmit::from(*entry.expect("a frame"));
    assert_eq!((transmit.count, transmit.flags), (0, 0));
    let mut bytes = vec![0; usize::from(transmit.header_len)];
    let at = usize::from(transmit.slot) * whole_slot_bytes(MTU);
    manager.slots.read(at, &mut bytes).unwrap();
    assert_eq!(bytes[..42], [7; 42]);
    Some(bytes[42..].to_vec())
}

#[test]
fn a_packet_is_given_back_at_once_and_its_bytes_come_in_one_message() {
    let (mut manager, mut server) = pair();
    let first = manager.packet(5, &[1; 1000]);
    let first = take(&mut manager, &mut server, first);
    assert_eq!(released(&manager.hears(&mut server)), [5]);
    // The NIC fills the buffer again, which changes nothing.
    let second = manager.packet(5, &[2; 700]);
    let second = take(&mut manager, &mut server, second);
    assert_ne!(first.id, second.id);
    assert_eq!(server.copied().frame_to_socket, 1700);
    let deliver = Deliver {
        kind: kind::DELIVER,
        packet: first.id,
        token: 9,
        offset: 142,
        len: 900,
        flags: packet_flags::RELEASE,
        ..Deliver::default()
    };
    assert!(server.tell_quietly(&deliver.into()));
    let completion = Completion {
        len: 1000,
        packet: second.id,
        offset: 42,
        flags: flags::RELEASE | flags::TRUNCATED,
        ..Request::new(Op::Recv, 1, 9).complete(Status::Ok)
    };
    assert!(server.tell(&completion.into()));
    let said = manager.hears(&mut server);
    assert_eq!(released(&said), [5]);
    let told: Vec<_> = said
        .iter()
        .filter(|m| m.kind() == Op::Recv as u16)
        .collect();
    let told = Completion::from(**told.first().unwrap());
    assert_eq!((told.len, told.flags), (1000, flags::TRUNCATED));
    let bytes = manager.bytes(&told);
    assert!(bytes[..900] == [1; 900] && bytes[900..] == [2; 100]);
    assert_eq!(server.copied().socket_to_message, 1000);
    // Both numbers are free: they are given out again, and only once each.
    let mut given = std::collections::HashSet::new();
    for _ in 0..SERVER_PACKETS {
        let packet = manager.packet(6, b"again");
        assert!(given.insert(take(&mut manager, &mut server, packet).id));
    }
    let packet = manager.packet(6, b"one too many");
    manager.say(packet);
    assert_eq!(next::<Packet>(&mut server), Ok(None));
    assert_eq!(server.copied().dropped, 1);
}

#[test]
fn packets_that_cannot_be_are_refused_and_harm_nothing() {
    let lies: [fn(&mut Packet); 12] = [
        |p| p.id = 0,
        |p| p.id = SERVER_PACKETS + 1,
        |p| p.id = u32::MAX,
        |p| p.end = p.len + 1,
        |p| p.end = u32::MAX,
        |p| p.start = p.end + 1,
        |p| p.start = u32::MAX,
        |p| (p.len, p.end) = (70_000, 70_000),
        |p| (p.len, p.end) = (u32::MAX, u32::MAX),
        |p| (p.header, p.start) = (u32::MAX, 34),
        |p| (p.len, p.start, p.end) = (u32::MAX, u32::MAX - 100, u32::MAX),
        |p| p.place = u32::MAX - 50,
    ];
    let (mut manager, mut server) = pair();
    for (n, lie) in lies.into_iter().enumerate() {
        let mut packet = manager.packet(1, &[3; 100]);
        lie(&mut packet);
        manager.say(packet);
        assert!(next::<Packet>(&mut server).is_err(), "lie {n}");
    }
    assert_eq!(server.copied().frame_to_socket, 0);
    assert!(released(&manager.hears(&mut server)).is_empty());
    let packet = manager.packet(1, &[3; 100]);
    take(&mut manager, &mut server, packet);
}

/// Bytes that are not there, or of packets that are not, are told to nobody.
#[test]
fn only_bytes_that_came_are_handed_out() {
    let (mut manager, mut server) = pair();
    let packet = manager.packet(1, &[3; 100]);
    let packet = take(&mut manager, &mut server, packet);
    manager.hears(&mut server);
    let right = Completion {
        len: 100,
        packet: packet.id,
        offset: 42,
        ..Request::new(Op::Recv, 1, 9).complete(Status::Ok)
    };
    let lies: [fn(&mut Completion); 6] = [
        |c| c.offset = 41,
        |c| c.offset = 43,
        |c| c.len = 101,
        |c| c.packet += 1,
        |c| c.packet = u32::MAX,
        |c| c.offset = u32::MAX,
    ];
    for lie in lies {
        let mut completion = right;
        lie(&mut completion);
        assert!(!server.tell(&completion.into()));
        assert!(manager.hears(&mut server).is_empty());
    }
    assert!(server.tell(&right.into()));
    // Nothing of it is left once it was released.
    server.release(packet.id);
    assert!(!server.tell(&right.into()));
}

#[test]
fn a_message_that_finds_no_room_is_not_said() {
    let (mut manager, mut server) = pair();
    let packet = manager.packet(1, &[3; 1400]);
    let packet = take(&mut manager, &mut server, packet);
    let completion = Completion {
        len: 1400,
        packet: packet.id,
        offset: 42,
        ..Request::new(Op::Recv, 1, 9).complete(Status::Ok)
    };
    let mut last = completion;
    let mut said = 0;
    while server.tell(&completion.into()) {
        said += 1;
        for message in manager.hears(&mut server) {
            if message.kind() == Op::Recv as u16 {
                last = message.into();
            }
        }
    }
    // As many as the half has room for; all of them the manager's to read.
    assert_eq!(said, sizes().from_server / 1408);
    assert_eq!(manager.bytes(&last), [3; 1400]);
    manager.inbox.taken(last.offset, last.len);
    assert!(server.tell(&completion.into()));
}

#[test]
fn a_send_is_kept_until_nobody_needs_it() {
    let (mut manager, mut server) = pair();
    let room = server.socket_room();
    let bytes: Vec<u8> = (0..5000u32).map(|n| (n / 5) as u8).collect();
    let sent = take_send(&mut manager, &mut server, &bytes);
    assert_eq!(sent.extent.address, 0);
    assert_ne!(sent.user_data, manager.tokens);
    assert_eq!(server.socket_room(), room - 3);
    let part = |offset, len| Part {
        token: sent.user_data,
        offset,
        len,
    };
    for (at, len) in [(0, 1448), (1448, 1448), (4999, 1), (2000, 100), (0, 1)] {
        let (from, to) = (at as usize, (at + len) as usize);
        let sent = frame(&mut manager, &mut server, part(at, len));
        assert_eq!(sent.as_deref(), Some(&bytes[from..to]), "{len} at {at}");
    }
    // What it does not have, and what is longer than a frame.
    for (at, len) in [(5000, 1), (4000, 1001), (u32::MAX, 2), (0, 1500)] {
        let sent = frame(&mut manager, &mut server, part(at, len));
        assert_eq!(sent, None, "{len} at {at}");
    }
    let held = Completion {
        len: 5000,
        arg: 1448,
        flags: flags::HELD,
        ..sent.complete(Status::Ok)
    };
    assert!(server.tell(&held.into()));
    let told = Completion::from(*manager.hears(&mut server).last().unwrap());
    let expected = (manager.tokens, 5000, 0, 0);
    assert_eq!((told.user_data, told.len, told.flags, told.arg), expected);
    assert!(frame(&mut manager, &mut server, part(0, 1)).is_some());
    let retire = Retire {
        kind: kind::RETIRE,
        token: sent.user_data,
        ..Retire::default()
    };
    assert!(server.tell(&retire.into()));
    // The manager hears nothing of it, and the bytes are gone.
    assert!(manager.hears(&mut server).is_empty());
    assert!(frame(&mut manager, &mut server, part(0, 1)).is_none());
    assert_eq!(server.socket_room(), room);
    assert!(!server.tell(&held.into()), "it was answered");
}

#[test]
fn messages_that_cannot_be_are_refused_and_harm_nothing() {
    let lies: [fn(&mut Request); 4] = [
        |r| r.extent.len = MESSAGE_BYTES + 1,
        |r| r.extent.len = u32::MAX,
        |r| r.extent.address = u32::MAX - 63,
        |r| r.extent.address = sizes().to_server - 64,
    ];
    let (mut manager, mut server) = pair();
    let room = server.socket_room();
    for (n, lie) in lies.into_iter().enumerate() {
        let mut request = manager.send(0, &[4; 3000]);
        lie(&mut request);
        manager.say(request);
        assert_eq!(next::<Request>(&mut server), Ok(None), "lie {n}");
        let told = Completion::from(*manager.hears(&mut server).last().unwrap());
        let refused = (Op::Send as u16, Status::NoResources as u16, manager.tokens);
        assert_eq!((told.op, told.status, told.user_data), refused);
        manager.inbox.taken(0, 0);
    }
    assert_eq!(server.copied().refused, 4);
    assert_eq!(server.socket_room(), room);
}

/// A manager with more requests than it may have gets them refused; of those
/// that may be held only so many are that the others have room.
#[test]
fn what_is_held_takes_no_room_from_others() {
    let (mut manager, mut server) = pair();
    let mut held = 0;
    let mut requests = Vec::new();
    loop {
        let request = manager.send(0, &[5; 64]);
        manager.say(request);
        match next::<Request>(&mut server).unwrap() {
            Some(request) => requests.push(request),
            None => break,
        }
        held += u32::from(requests.last().unwrap().flags & flags::MAY_HOLD != 0);
    }
    assert_eq!(held, SOCKET_HELD_BLOCKS);
    assert_eq!(requests.len() as u32, SOCKET_HELD_BLOCKS + REQUESTS);
    assert!(server.socket_room() * SOCKET_BLOCK >= sizes().to_server);
    // One that is answered without being held makes room for one that may be.
    let done = requests[0].complete(Status::Ok);
    assert!(server.tell(&done.into()));
    let again = take_send(&mut manager, &mut server, &[6; 64]);
    assert_ne!(again.flags & flags::MAY_HOLD, 0);
    assert_ne!(again.user_data, requests[0].user_data);
}

#[test]
fn a_client_that_is_dropped_leaves_nothing() {
    let (mut manager, mut server) = pair();
    let room = server.socket_room();
    for client in [0, 1, 1, 0, 1] {
        let request = manager.send(client, &[client as u8; 4000]);
        manager.say(request);
        assert!(next::<Request>(&mut server).unwrap().is_some());
    }
    assert_eq!(server.socket_room(), room - 10);
    let mut drop = Request::new(Op::DropClient, 0, 99);
    drop.client = 1;
    manager.say(drop);
    let drop: Request = next(&mut server).unwrap().unwrap();
    assert_eq!(server.socket_room(), room - 10, "not before it is answered");
    assert!(server.tell(&drop.complete(Status::Ok).into()));
    assert_eq!(server.socket_room(), room - 4);
}

#[test]
fn a_cancel_names_the_send_as_the_server_knows_it() {
    let (mut manager, mut server) = pair();
    let sent = take_send(&mut manager, &mut server, &[1; 10]);
    for (theirs, ours) in [(manager.tokens, sent.user_data), (77, 77)] {
        let mut cancel = Request::new(Op::Cancel, 1, 50);
        cancel.arg = theirs;
        manager.say(cancel);
        let cancel: Request = next(&mut server).unwrap().unwrap();
        assert_eq!(cancel.arg, ours);
    }
    // A receive has room for no more than a message.
    let mut recv = Request::new(Op::Recv, 1, 51);
    recv.extent.len = 1 << 20;
    manager.say(recv);
    let recv: Request = next(&mut server).unwrap().unwrap();
    assert_eq!(recv.extent.len, MESSAGE_BYTES);
}

/// Also by who never asks for room: answers that nobody waits for.
#[test]
fn slots_that_came_back_are_found_by_who_sends() {
    let (mut manager, mut server) = pair();
    for _ in 0..SEND_SLOTS {
        assert!(server.transmit(&Outgoing::whole(&[0; 60])));
    }
    assert!(!server.transmit(&Outgoing::whole(&[0; 60])));
    manager.hears(&mut server);
    let done = SlotDone {
        slot: 9,
        reserved: 0,
    };
    manager.done.push(&done).unwrap();
    let _ = manager.done.publish();
    assert!(server.transmit(&Outgoing::whole(&[0; 60])));
    assert!(!server.transmit(&Outgoing::whole(&[0; 60])));
}
