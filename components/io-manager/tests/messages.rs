//! Payload by value: what goes into messages and comes out of them, and what a
//! server cannot do by lying about them.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod parties;

use parties::{DATA, DATA_BYTES, MESSAGES, Parties, QUOTA, Setup, TEXT, frames};
use socket_api::{
    Completion, Deliver, Extent, MESSAGE, MESSAGE_BYTES, Op, Packet, Part, Passing, Request,
    Retire, Semantics, SocketKind, Status, Technique, flags, kind, packet_flags,
};

const SETUP: Setup = Setup {
    by_value: true,
    ..Setup::ONE
};
const FROM: u32 = DATA + 4000;

fn socket(kind: SocketKind) -> (Parties, u32) {
    let mut parties = Parties::with(SETUP);
    let (handle, _) = parties.open(0, kind);
    (parties, handle)
}

/// The bytes of the message that a `Send` came with.
fn message(parties: &Parties, request: &Request) -> Vec<u8> {
    let (memory, _, inbox) = parties.servers[0].boxes();
    let Extent { address, len } = request.extent;
    let at = inbox.find(address, len).expect("a message");
    let mut bytes = vec![0; len as usize];
    memory.read(at, &mut bytes).unwrap();
    inbox.taken(address, len);
    bytes
}

#[test]
fn a_send_is_a_copy_of_the_moment() {
    for kind in [SocketKind::Udp, SocketKind::Tcp] {
        let (mut parties, handle) = socket(kind);
        let bytes: Vec<u8> = (0..9000u32).map(|n| (n / 3) as u8).collect();
        parties.store(0, FROM, &bytes);
        let request = Request::new(Op::Send, handle, 5);
        let sent = parties.pass(0, request, (FROM, 9000));
        parties.store(0, FROM, &[0xff; 9000]);
        assert_eq!(message(&parties, &sent), bytes);
        // A stream's may be answered once it is queued; a datagram is summed.
        let stream = kind == SocketKind::Tcp;
        let expected = if stream {
            flags::MAY_HOLD
        } else {
            flags::SUMMED
        };
        assert_eq!(sent.flags, expected);
        let sum = u64::from(u16::from_ne_bytes(frames::sum(&bytes).to_be_bytes()));
        assert_eq!(sent.arg, if stream { 0 } else { sum });
        let done = Completion {
            len: 9000,
            ..sent.complete(Status::Ok)
        };
        parties.complete(0, done);
        let answer = parties.answer(0);
        assert_eq!((answer.status, answer.len), (0, 9000));
        let account = *parties.manager.memory().account(0).unwrap();
        assert_eq!((account.copied_out, account.referenced_out), (9000, 0));
        assert_eq!(account.page_operations(), 0);
        parties.assert_settled();
    }
}

#[test]
fn what_can_only_be_read_is_copied_too() {
    let (mut parties, handle) = socket(SocketKind::Tcp);
    let request = Request::new(Op::Send, handle, 5);
    let sent = parties.pass(0, request, (TEXT, 8192));
    assert_eq!(message(&parties, &sent), vec![0; 8192]);
}

#[test]
fn what_is_longer_than_a_message_is_cut() {
    let quota = io_manager::Quota {
        queued_bytes: 1 << 20,
        ..QUOTA
    };
    let mut parties = Parties::with(Setup { quota, ..SETUP });
    let (handle, _) = parties.open(0, SocketKind::Tcp);
    let request = Request::new(Op::Send, handle, 5);
    // All of the client's memory is as long as a message.
    assert_eq!(DATA_BYTES, MESSAGE_BYTES);
    let sent = parties.pass(0, request, (DATA, DATA_BYTES));
    assert_eq!(sent.extent.len, MESSAGE_BYTES);
    assert_eq!(message(&parties, &sent).len(), DATA_BYTES as usize);
    let done = Completion {
        len: MESSAGE_BYTES,
        ..sent.complete(Status::Ok)
    };
    parties.complete(0, done);
    assert_eq!(parties.answer(0).len, MESSAGE_BYTES);
    // What lies outside is refused, and not cut to what is inside.
    let mut request = Request::new(Op::Send, handle, 6);
    request.extent = Extent {
        address: DATA + 1,
        len: MESSAGE_BYTES,
    };
    let refused = parties.refused(0, request);
    assert_eq!(refused.status, Status::BadRequest as u16);
    parties.assert_settled();
}

/// Messages that a server does not take keep no more than their half: what
/// finds no room is refused, and the rest goes on.
#[test]
fn a_server_that_takes_no_messages_gets_no_more_than_fit() {
    let (mut parties, handle) = socket(SocketKind::Udp);
    let (memory, _, inbox) = parties.servers[0].boxes();
    let send = |parties: &mut Parties| {
        let mut request = Request::new(Op::Send, handle, 5);
        request.extent = Extent {
            address: DATA,
            len: 8192,
        };
        parties.submit(0, request);
        let sent = parties.servers[0].requests.pop_front();
        // It answers all the same, so that the quota is free again.
        if let Some(sent) = sent {
            let done = Completion {
                len: 8192,
                ..sent.complete(Status::Ok)
            };
            parties.complete(0, done);
        }
        (sent, parties.answer(0).status)
    };
    let mut last = Request::default();
    for _ in 0..MESSAGES.to_server / 8192 {
        let (sent, status) = send(&mut parties);
        assert_eq!(status, 0);
        last = sent.unwrap();
    }
    // What it says it has taken must have been there.
    for lie in [0, MESSAGES.to_server + 64, u32::MAX] {
        memory.store32(0, lie).unwrap();
        let refused = (None, Status::NoResources as u16);
        assert_eq!(send(&mut parties), refused);
    }
    assert_eq!(parties.count("messages.full"), 3);
    let (_, next) = parties.carry(0, Request::new(Op::Recv, handle, 1));
    assert_eq!(next.status, 0);
    inbox.taken(last.extent.address, last.extent.len);
    assert_eq!(send(&mut parties).1, 0);
    parties.assert_settled();
}

/// Semantics decide what the caller sees, not how the bytes travel.
#[test]
fn every_semantics_is_copied_and_moves_still_move() {
    for semantics in Semantics::ALL {
        let (mut parties, handle) = socket(SocketKind::Udp);
        parties.store(0, DATA, &[7; 4096]);
        let mut request = Request::new(Op::Send, handle, 5);
        request.passing = Passing::new(*semantics).word();
        let sent = parties.pass(0, request, (DATA, 4096));
        assert_eq!(message(&parties, &sent), [7; 4096], "{semantics}");
        let moved = matches!(semantics, Semantics::Move | Semantics::EmulatedMove);
        let mut byte = [0];
        let there = parties.machine.load(0, DATA, &mut byte).is_ok();
        assert_eq!(there, !moved, "{semantics}");
        let account = *parties.manager.memory().account(0).unwrap();
        assert_eq!((account.copied_out, account.referenced_out), (4096, 0));
        assert_eq!(account.page_operations(), u64::from(moved));
    }
}

#[test]
fn techniques_that_name_bytes_are_refused() {
    let cases = [
        (Semantics::EmulatedCopy, Technique::Reference),
        (Semantics::EmulatedCopy, Technique::Tcow),
        (Semantics::Share, Technique::Reference),
        (Semantics::Share, Technique::CopyOut),
    ];
    let (mut parties, handle) = socket(SocketKind::Udp);
    for (semantics, forced) in cases {
        let mut request = Request::new(Op::Send, handle, 5);
        let forced = Some(forced);
        request.passing = Passing { semantics, forced }.word();
        request.extent = Extent {
            address: DATA,
            len: 100,
        };
        let refused = parties.refused(0, request);
        assert_eq!(refused.status, Status::BadRequest as u16, "{forced:?}");
    }
    parties.assert_settled();
}

/// A receive of 5000 bytes that waits, and 5000 bytes in a message: where.
fn receiving() -> (Parties, u32, Request, u32) {
    let (mut parties, handle) = socket(SocketKind::Tcp);
    let request = Request::new(Op::Recv, handle, 0xfeed);
    let forwarded = parties.pass(0, request, (DATA + 100, 5000));
    let (memory, mut out, _) = parties.servers[0].boxes();
    let skipped = out.reserve(3000).unwrap();
    out.commit(skipped, 3000);
    let position = out.reserve(5000).unwrap();
    memory.write(out.at(position), &[9; 5000]).unwrap();
    (parties, handle, forwarded, position)
}

fn answer_of(forwarded: &Request, position: u32, len: u32) -> Completion {
    Completion {
        len,
        packet: MESSAGE,
        offset: position,
        ..forwarded.complete(Status::Ok)
    }
}

#[test]
fn a_message_comes_to_the_receive_that_waits() {
    for len in [1, 100, 4096, 5000] {
        let (mut parties, _, forwarded, position) = receiving();
        parties.complete(0, answer_of(&forwarded, position, len));
        let answer = parties.answer(0);
        assert_eq!((answer.status, answer.len), (0, len));
        assert_eq!((answer.packet, answer.offset), (0, 0));
        let mut expected = vec![9; len as usize];
        expected.push(0);
        assert_eq!(parties.load(0, DATA + 100, len as usize + 1), expected);
        let account = *parties.manager.memory().account(0).unwrap();
        assert_eq!(account.copied_in, u64::from(len));
        parties.assert_settled();
    }
}

#[test]
fn each_lie_about_a_message_fails_the_receive_alone() {
    let lies: [fn(&mut Completion); 12] = [
        |c| c.len = 5001,
        |c| c.len = 0,
        |c| c.len = u32::MAX,
        |c| c.packet = 0,
        |c| c.packet = 2,
        |c| c.packet = u32::MAX,
        |c| c.flags = flags::RELEASE,
        |c| c.flags = flags::HELD,
        |c| c.offset = MESSAGES.from_server - 64,
        |c| c.offset = u32::MAX - 63,
        |c| (c.packet, c.len) = (0, 0),
        |c| c.address.family = 77,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let (mut parties, handle, forwarded, position) = receiving();
        let mut completion = answer_of(&forwarded, position, 5000);
        lie(&mut completion);
        parties.complete(0, completion);
        let answer = parties.answer(0);
        let gone = (Status::ServerGone as u16, 0, 0xfeed);
        assert_eq!(
            (answer.status, answer.len, answer.user_data),
            gone,
            "lie {n}"
        );
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.load(0, DATA, 8192), vec![0; 8192], "lie {n}");
        let (_, next) = parties.carry(0, Request::new(Op::Recv, handle, 1));
        assert_eq!(next.status, 0);
        parties.assert_settled();
    }
}

/// A server that has payload by value can name none of it.
#[test]
fn nothing_is_passed_by_name() {
    let (mut parties, _, forwarded, _) = receiving();
    parties.drivers[0].receive(&frames::udp(5, 6, b"some bytes"), 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    let deliver = Deliver {
        kind: kind::DELIVER,
        flags: packet_flags::RELEASE,
        packet: packet.id,
        token: forwarded.user_data,
        offset: 42,
        len: 10,
        ..Deliver::default()
    };
    parties.say(0, deliver);
    let retire = Retire {
        kind: kind::RETIRE,
        token: forwarded.user_data,
        ..Retire::default()
    };
    parties.say(0, retire);
    assert_eq!(parties.answered(0), None);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let request = Request::new(Op::Send, handle, 5);
    let sent = parties.pass(0, request, (DATA, 100));
    let part = Part {
        token: sent.user_data,
        offset: 0,
        len: 100,
    };
    let transmit = parties.servers[0].transmit(&[0; 42], &[part]);
    parties.say(0, transmit);
    let mut held = sent.complete(Status::Ok);
    (held.len, held.flags) = (100, flags::HELD);
    parties.complete(0, held);
    assert_eq!(parties.answer(0).status, Status::ServerGone as u16);
    assert_eq!(parties.count("server.faults"), 4);
    assert_eq!(parties.count("transmit.part"), 1);
    assert!(parties.drain().is_empty());
    assert_eq!(parties.load(0, DATA, 8192), vec![0; 8192]);
}

/// The packet that the server is told of a frame.
fn packet(frame: &[u8]) -> Packet {
    let mut parties = Parties::with(SETUP);
    parties.drivers[0].receive(frame, 0);
    parties.run();
    parties.servers[0].packets.pop_front().unwrap()
}

#[test]
fn the_server_is_told_where_the_payload_is() {
    let mut cut = frames::udp(5, 6, &[1; 100]);
    cut.truncate(60);
    let mut padded = frames::tcp(0, &[]);
    padded.resize(60, 0);
    let mut fragment = frames::udp(5, 6, &[1; 100]);
    fragment[21] = 1;
    let cases = [
        (frames::udp(5, 6, &[1; 100]), (42, 142)),
        (frames::udp(5, 6, &[]), (42, 42)),
        (frames::tcp(0, &[1; 100]), (54, 154)),
        (frames::tcp(12, &[1; 1]), (66, 67)),
        (padded, (54, 54)),
        (cut, (42, 60)),
        (fragment, (34, 142)),
    ];
    for (n, (frame, expected)) in cases.into_iter().enumerate() {
        let packet = packet(&frame);
        assert_eq!((packet.start, packet.end), expected, "case {n}");
    }
}
