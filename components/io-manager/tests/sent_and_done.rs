//! Frames that say that their server is done with a `Send`: as good as a frame
//! and a completion, and as little to be believed.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use parties::{DATA, Parties, Setup};
use socket_api::{
    Extent, Op, Part, Passing, Request, Semantics, SocketKind, Status, Transmit, flags,
    packet_flags,
};

const GONE: u16 = Status::ServerGone as u16;
const OK: u16 = Status::Ok as u16;
const SHARED: u32 = Passing::new(Semantics::EmulatedShare).word();

/// A `Send` of 100 bytes, passed by reference if `shared`, on its way.
fn sending(parties: &mut Parties, shared: bool, more: u16) -> Request {
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let request = Request {
        extent: Extent {
            address: DATA + 64,
            len: 100,
        },
        flags: more,
        passing: if shared { SHARED } else { 0 },
        ..Request::new(Op::Send, handle, 9)
    };
    parties.submit(0, request);
    parties.forwarded(0)
}

/// A frame with all its bytes, which says so.
fn frame(parties: &mut Parties, request: &Request) -> Transmit {
    let part = Part {
        token: request.user_data,
        offset: 0,
        len: request.extent.len,
    };
    let mut entry = parties.servers[0].transmit(&[3; 42], &[part]);
    entry.flags = packet_flags::DONE;
    entry
}

#[test]
fn a_frame_answers_its_send() {
    for checksum in [0, packet_flags::CHECKSUM] {
        let mut parties = Parties::one();
        let request = sending(&mut parties, false, 0);
        let mut entry = frame(&mut parties, &request);
        entry.flags |= checksum;
        (entry.checksum_start, entry.checksum_offset) = (34, 6);
        parties.say(0, entry);
        // It was copied: nobody has to wait for the device.
        let answer = parties.answer(0);
        assert_eq!((answer.status, answer.len, answer.user_data), (OK, 100, 9));
        assert_eq!(parties.drain().len(), 1);
        parties.assert_settled();
        // Once.
        parties.complete(0, request.complete(Status::Ok));
        assert_eq!(parties.count("server.faults"), 1);
        assert_eq!(parties.answered(0), None);
    }
}

#[test]
fn bytes_by_reference_hold_the_answer_up_until_they_are_sent() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, true, flags::QUIET);
    let entry = frame(&mut parties, &request);
    parties.say(0, entry);
    assert_eq!(parties.answered(0), None);
    // The server has no say in them any more.
    let again = frame(&mut parties, &request);
    parties.say(0, again);
    assert_eq!(parties.count("transmit.part"), 1);
    assert_eq!(parties.drain().len(), 1);
    assert_eq!(parties.answer(0).status, OK);
    parties.servers[0].slots.push_back(again.slot);
    parties.assert_settled();
}

#[test]
fn several_parts_end_with_the_one_that_is_done() {
    let mut parties = Parties::one();
    let [first, last] = [0, 0].map(|_| sending(&mut parties, true, 0));
    let part = |request: &Request, offset, len| Part {
        token: request.user_data,
        offset,
        len,
    };
    let parts = [
        part(&first, 0, 100),
        part(&last, 0, 50),
        part(&last, 50, 50),
    ];
    let mut entry = parties.servers[0].transmit(&[3; 42], &parts);
    entry.flags = packet_flags::DONE;
    parties.say(0, entry);
    assert_eq!(parties.drain()[0].len(), 242);
    assert_eq!(parties.answer(0).socket, 1 << 16 | 1);
    parties.complete(0, first.complete(Status::Ok));
    assert_eq!(parties.answer(0).socket, 1 << 16);
    parties.assert_settled();
}

#[test]
fn without_a_device_the_send_is_over_all_the_same() {
    let mut parties = Parties::with(Setup {
        ready: false,
        ..Setup::ONE
    });
    let request = sending(&mut parties, true, 0);
    let entry = frame(&mut parties, &request);
    parties.say(0, entry);
    assert_eq!(parties.count("transmit.no-nic"), 1);
    assert_eq!(parties.answer(0).status, OK);
}

#[test]
fn a_frame_that_lies_ends_its_send() {
    type Lie = fn(&mut Transmit);
    let lies: [(&str, Lie); 6] = [
        ("slot", |t| t.slot = 256),
        ("header", |t| t.header_len = 13),
        ("header", |t| t.flags |= 1 << 15),
        ("checksum", |t| t.flags |= packet_flags::CHECKSUM),
        ("part", |t| t.parts[0].len = 101),
        ("size", |t| t.parts[0].len = u32::MAX),
    ];
    for (n, (why, lie)) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = sending(&mut parties, true, flags::QUIET);
        let mut entry = frame(&mut parties, &request);
        lie(&mut entry);
        parties.say(0, entry);
        assert_eq!(parties.count(&format!("transmit.{why}")), 1, "lie {n}");
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.answer(0).status, GONE, "lie {n}");
        assert!(parties.drain().is_empty(), "lie {n}");
        parties.assert_settled();
    }
}

#[test]
fn nothing_else_is_ended() {
    type Lie = fn(&mut Transmit);
    let lies: [(&str, Lie); 5] = [
        ("header", |t| t.count = 0),
        ("part", |t| t.count = 4),
        ("part", |t| t.parts[0].token ^= 1 << 32),
        ("part", |t| t.parts[0].token = 0),
        ("part", |t| t.parts[0].token ^= 1),
    ];
    for (n, (why, lie)) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = sending(&mut parties, true, 0);
        let mut entry = frame(&mut parties, &request);
        lie(&mut entry);
        parties.say(0, entry);
        assert_eq!(parties.count(&format!("transmit.{why}")), 1, "lie {n}");
        assert_eq!(parties.answered(0), None, "lie {n}");
        parties.complete(0, request.complete(Status::Ok));
        assert_eq!(parties.answer(0).status, OK, "lie {n}");
        parties.assert_settled();
    }
}

#[test]
fn a_frame_of_several_entries_cannot_say_so() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, true, 0);
    let mut first = frame(&mut parties, &request);
    first.flags |= packet_flags::MORE;
    parties.say(0, first);
    assert_eq!(parties.count("transmit.header"), 1);
    assert_eq!(parties.answer(0).status, GONE);
    let request = sending(&mut parties, true, 0);
    let mut first = frame(&mut parties, &request);
    first.flags = packet_flags::MORE;
    first.parts[0].len = 50;
    parties.say(0, first);
    first.flags = packet_flags::DONE;
    parties.say(0, first);
    assert_eq!(parties.count("transmit.header"), 2);
    assert_eq!(parties.answer(0).status, GONE);
    assert!(parties.drain().is_empty());
    parties.assert_settled();
}
