//! A NIC that keeps buffers for flows: received data is where it should be
//! without a copy, whatever server and NIC do in which order.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::{frame_flags, nic_features, udp_flow};
use parties::driver::Buffer;
use parties::frames::udp;
use parties::{DATA, Parties, Setup};
use socket_api::{
    Completion, Op, Passing, Request, Semantics, SocketKind, Status, Technique, WireAddress, flags,
};

const STEERED: u16 = frame_flags::STEERED | frame_flags::CHECKSUM_VALID;
const PORT: u16 = 4000;

fn setup() -> Parties {
    Parties::with(Setup {
        clients: 2,
        features: nic_features::STEERING,
        ..Setup::ONE
    })
}

/// A socket bound to [`PORT`].
fn bound(parties: &mut Parties) -> u32 {
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let local: WireAddress = std::net::SocketAddr::from(([10, 0, 2, 15], PORT)).into();
    let bind = Request {
        address: local,
        ..Request::new(Op::Bind, handle, 1)
    };
    parties.submit(0, bind);
    let forwarded = parties.forwarded(0);
    let completion = Completion {
        address: local,
        ..forwarded.complete(Status::Ok)
    };
    parties.complete(0, completion);
    parties.answer(0);
    handle
}

fn recv(parties: &mut Parties, handle: u32, technique: Technique, room: (u32, u32)) -> Request {
    let semantics = match technique {
        Technique::Create => Semantics::Move,
        _ => Semantics::EmulatedCopy,
    };
    let passing = Passing {
        semantics,
        forced: Some(technique),
    };
    let request = Request {
        flags: flags::BLOCKED,
        passing: passing.word(),
        ..Request::new(Op::Recv, handle, 2)
    };
    parties.pass(0, request, room)
}

fn kept(parties: &mut Parties) -> Buffer {
    let buffers = &mut parties.drivers[0].buffers;
    let found = buffers.iter().position(|b| b.entry.flow != 0);
    buffers.remove(found.expect("a kept buffer")).unwrap()
}

fn arrive(parties: &mut Parties, payload: &[u8]) -> u32 {
    let buffer = kept(parties);
    let frame = udp(9, PORT, payload);
    parties.drivers[0].fill(&buffer, &frame, STEERED);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    assert_eq!(
        (packet.id, packet.len),
        (buffer.entry.id + 1, 42 + payload.len() as u32)
    );
    assert_eq!(parties.servers[0].header(&packet), frame[..42]);
    packet.id
}

fn fill(request: &Request, packet: u32, len: u32) -> Completion {
    Completion {
        len,
        packet,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    }
}

#[test]
fn a_datagram_lands_in_the_clients_own_pages() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let payload = [7; 1000];
    for (technique, copied) in [(Technique::InPlace, 0), (Technique::Swap, 1000)] {
        let before = parties.count("copied.in");
        let request = recv(&mut parties, handle, technique, (DATA + 4000, 1200));
        let buffer = parties.drivers[0].buffers.back().unwrap();
        assert_eq!(buffer.entry.flow & 0xffff_ffff, udp_flow(PORT));
        assert_eq!(buffer.payload.len(), 2);
        let packet = arrive(&mut parties, &payload);
        parties.complete(0, fill(&request, packet, 1000));
        assert_eq!(parties.answer(0).len, 1000);
        let bytes = parties.load(0, DATA + 3999, 1002);
        assert_eq!(bytes, [&[0], &payload[..], &[0]].concat());
        assert_eq!(parties.count("copied.in") - before, copied);
        parties.store(0, DATA + 4000, &[0; 1000]);
        parties.assert_settled();
    }
}

#[test]
fn whole_pages_change_places() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let request = recv(&mut parties, handle, Technique::Swap, (DATA + 4096, 8192));
    // A machine whose datagrams are longer than ours would fill both pages.
    let payload = [9; 1400];
    let packet = arrive(&mut parties, &payload);
    parties.complete(0, fill(&request, packet, 1400));
    parties.answer(0);
    assert_eq!(parties.load(0, DATA + 4096, 1400), payload);
    parties.assert_settled();
}

#[test]
fn a_new_region_shows_nothing_old() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let request = recv(&mut parties, handle, Technique::Create, (DATA, 4096));
    let packet = arrive(&mut parties, b"new");
    parties.complete(0, fill(&request, packet, 3));
    parties.answer(0);
    let bytes = parties.load(0, DATA, 4096);
    assert_eq!(
        (&bytes[..3], bytes[3..].iter().all(|b| *b == 0)),
        (&b"new"[..], true)
    );
    parties.assert_settled();
}

#[test]
fn a_receive_ends_only_when_the_nic_has_let_go() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    for technique in [Technique::InPlace, Technique::Swap] {
        let request = recv(&mut parties, handle, technique, (DATA, 1000));
        parties.complete(0, request.complete(Status::Cancelled));
        assert_eq!(parties.answered(0), None);
        // Answered twice.
        parties.complete(0, request.complete(Status::Cancelled));
        let id = parties.drivers[0].wanted.pop().unwrap();
        assert!(parties.drivers[0].wanted.is_empty(), "asked once");
        let buffer = kept(&mut parties);
        assert_eq!(buffer.entry.id, id);
        parties.drivers[0].report(id, 0, 0);
        parties.run();
        assert_eq!(parties.answer(0).status, Status::Cancelled as u16);
        parties.assert_settled();
    }
    assert_eq!(parties.count("server.faults"), 2);
}

#[test]
fn data_that_came_before_is_copied_once_the_buffer_is_back() {
    for raced in [false, true] {
        let mut parties = setup();
        let handle = bound(&mut parties);
        parties.drivers[0].receive(&udp(9, PORT, b"earlier"), 0);
        parties.run();
        let early = parties.servers[0].packets.pop_front().unwrap();
        let request = recv(&mut parties, handle, Technique::InPlace, (DATA, 1000));
        parties.complete(0, fill(&request, early.id, 7));
        let id = parties.drivers[0].wanted.pop().unwrap();
        let buffer = kept(&mut parties);
        match raced {
            // The NIC had filled it already.
            true => {
                let frame = udp(9, PORT, b"the one behind");
                parties.drivers[0].fill(&buffer, &frame, STEERED);
            }
            false => parties.drivers[0].report(id, 0, 0),
        }
        parties.run();
        assert_eq!(parties.answer(0).len, 7);
        assert_eq!(parties.load(0, DATA, 7), b"earlier");
        if raced {
            let behind = parties.servers[0].packets.pop_front().unwrap();
            let next = recv(&mut parties, handle, Technique::CopyIn, (DATA + 100, 100));
            parties.complete(0, fill(&next, behind.id, 14));
            parties.answer(0);
            assert_eq!(parties.load(0, DATA + 100, 14), b"the one behind");
        }
        assert_eq!(parties.count("server.faults"), 0);
        parties.assert_settled();
    }
}

#[test]
fn pieces_wait_until_the_buffer_is_back() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    for bytes in [&b"first"[..], b"second"] {
        parties.drivers[0].receive(&udp(9, PORT, bytes), 0);
    }
    parties.run();
    let packets = [0, 0].map(|_| parties.servers[0].packets.pop_front().unwrap());
    let request = recv(&mut parties, handle, Technique::InPlace, (DATA, 1000));
    let piece = socket_api::Deliver {
        kind: socket_api::kind::DELIVER,
        flags: socket_api::packet_flags::RELEASE,
        packet: packets[0].id,
        token: request.user_data,
        offset: 42,
        len: 5,
        ..socket_api::Deliver::default()
    };
    parties.say(0, piece);
    let mut last = fill(&request, packets[1].id, 11);
    last.arg = 11;
    parties.complete(0, last);
    assert_eq!(parties.answered(0), None);
    let id = parties.drivers[0].wanted.pop().unwrap();
    kept(&mut parties);
    parties.drivers[0].report(id, 0, 0);
    parties.run();
    assert_eq!(parties.answer(0).len, 11);
    assert_eq!(parties.load(0, DATA, 12), b"firstsecond\0");
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

#[test]
fn a_packet_may_be_for_another_receive_than_it_came_in() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let first = recv(&mut parties, handle, Technique::Swap, (DATA, 100));
    let second = recv(&mut parties, handle, Technique::InPlace, (DATA + 8192, 100));
    let one = arrive(&mut parties, b"one");
    let two = arrive(&mut parties, b"two!");
    parties.complete(0, fill(&first, two, 4));
    parties.complete(0, fill(&second, one, 3));
    let lens = [parties.answered(0), parties.answered(0)].map(|c| c.unwrap().len);
    assert_eq!(lens, [4, 3]);
    assert_eq!(parties.load(0, DATA, 4), b"two!");
    assert_eq!(parties.load(0, DATA + 8192, 3), b"one");
    assert_eq!(parties.count("copied.in"), 7);
    assert_eq!(parties.count("copied.apart"), 7);
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

#[test]
fn a_packet_that_is_dropped_leaves_its_receive_waiting() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let request = recv(&mut parties, handle, Technique::Swap, (DATA, 100));
    let packet = arrive(&mut parties, b"not for us");
    let mut release = socket_api::Release {
        kind: socket_api::kind::RELEASE,
        count: 1,
        ..socket_api::Release::default()
    };
    release.packets[0] = packet;
    parties.say(0, release);
    parties.drivers[0].receive(&udp(9, PORT, b"for us"), 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    parties.complete(0, fill(&request, packet.id, 6));
    assert_eq!(parties.answer(0).len, 6);
    assert_eq!(parties.load(0, DATA, 7), b"for us\0");
    parties.assert_settled();
}

#[test]
fn a_spent_packet_has_no_bytes() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let request = recv(&mut parties, handle, Technique::Swap, (DATA, 100));
    let packet = arrive(&mut parties, b"once");
    let mut completion = fill(&request, packet, 4);
    completion.flags = 0;
    parties.complete(0, completion);
    parties.answer(0);
    let next = recv(&mut parties, handle, Technique::CopyIn, (DATA, 100));
    parties.complete(0, fill(&next, packet, 4));
    assert_eq!(parties.answer(0).status, Status::ServerGone as u16);
}

#[test]
fn whoever_dies_the_nic_lets_go_first() {
    for server in [false, true] {
        let mut parties = setup();
        let handle = bound(&mut parties);
        recv(&mut parties, handle, Technique::InPlace, (DATA, 100));
        recv(&mut parties, handle, Technique::Swap, (DATA + 8192, 100));
        let filled = recv(&mut parties, handle, Technique::InPlace, (DATA + 4096, 100));
        assert_eq!(filled.op, Op::Recv as u16);
        arrive(&mut parties, b"came first");
        match server {
            true => parties.manager.server_died(0),
            false => parties.manager.client_died(0),
        }
        parties.run();
        if !server {
            let drop = parties.forwarded(0);
            parties.complete(0, drop.complete(Status::Ok));
            let mut release = socket_api::Release {
                kind: socket_api::kind::RELEASE,
                count: 1,
                ..socket_api::Release::default()
            };
            release.packets[0] = 513;
            parties.say(0, release);
        }
        assert_eq!(parties.manager.books().nics[0].steered_free, 126);
        let wanted = std::mem::take(&mut parties.drivers[0].wanted);
        assert_eq!(wanted.len(), 2);
        for id in wanted {
            parties.drivers[0].report(id, 0, 0);
        }
        parties.run();
        assert_eq!(parties.count("server.faults"), 0);
        parties.assert_settled();
    }
}

#[test]
fn each_lie_about_a_kept_buffer_is_counted() {
    let frame = |change: fn(&mut Vec<u8>)| {
        let mut frame = udp(9, PORT, &[5; 50]);
        change(&mut frame);
        frame
    };
    let cases = [
        // Without having been asked for it.
        (None, 0, 0),
        (None, 41, STEERED),
        (Some(frame(|f| f[23] = 6)), 0, STEERED),
        (Some(frame(|f| f[13] = 6)), 0, STEERED),
        (Some(frame(|_| {})), 0, 0),
        (Some(frame(|_| {})), 1000, STEERED),
    ];
    for (n, (frame, len, flags)) in cases.into_iter().enumerate() {
        let mut parties = setup();
        let handle = bound(&mut parties);
        let request = recv(&mut parties, handle, Technique::Swap, (DATA, 100));
        let buffer = kept(&mut parties);
        if let Some(frame) = &frame {
            parties.physical.write(buffer.entry.header, &frame[..42]);
        }
        let len = match (&frame, len) {
            (Some(frame), 0) => frame.len() as u32,
            (_, len) => len,
        };
        let claimed = if len == 1000 {
            let mut total = [0; 2];
            total.copy_from_slice(&986u16.to_be_bytes());
            parties.physical.write(buffer.entry.header + 16, &total);
            1000
        } else {
            len
        };
        parties.drivers[0].report(buffer.entry.id, claimed, flags);
        parties.run();
        assert_eq!(parties.count("driver.faults"), 1, "case {n}");
        assert!(parties.servers[0].packets.is_empty(), "case {n}");
        // The receive goes on.
        parties.drivers[0].receive(&udp(9, PORT, b"late"), 0);
        parties.run();
        let packet = parties.servers[0].packets.pop_front().unwrap();
        parties.complete(0, fill(&request, packet.id, 4));
        assert_eq!(parties.answer(0).len, 4, "case {n}");
        parties.assert_settled();
    }
}

#[test]
fn a_driver_that_dies_with_buffers_holds_nobody_up() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    let cancelled = recv(&mut parties, handle, Technique::InPlace, (DATA, 100));
    let waiting = recv(&mut parties, handle, Technique::Swap, (DATA + 8192, 100));
    parties.complete(0, cancelled.complete(Status::Cancelled));
    assert_eq!(parties.answered(0), None);
    parties.manager.driver_died(0);
    parties.run();
    assert_eq!(parties.answer(0).status, Status::Cancelled as u16);
    parties.complete(0, waiting.complete(Status::Cancelled));
    assert_eq!(parties.answer(0).status, Status::Cancelled as u16);
}

#[test]
fn what_others_may_send_is_not_received_in_place() {
    let mut parties = setup();
    let handle = bound(&mut parties);
    parties.carry(
        0,
        Request {
            address: std::net::SocketAddr::from(([10, 0, 2, 2], 9)).into(),
            ..Request::new(Op::Connect, handle, 1)
        },
    );
    let request = Request {
        flags: flags::BLOCKED,
        ..Request::new(Op::Recv, handle, 2)
    };
    parties.pass(0, request, (DATA, 100));
    assert_eq!(parties.count("input.in-place"), 0);
}
