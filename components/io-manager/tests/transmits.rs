//! Frames to send: which bytes go out, until when they are kept, and what
//! becomes of a frame that lies.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::{frame_flags, nic_features};
use parties::frames::sum;
use parties::sending::{blocked, of, part, pattern, sending};
use parties::{DATA, Parties, QUOTA, RESERVE, Setup, TEXT};
use socket_api::{
    Extent, Op, Part, Passing, Request, Retire, Semantics, SocketKind, Status, Technique, Transmit,
    flags, kind, packet_flags,
};

const GONE: u16 = Status::ServerGone as u16;
const HEADER: [u8; 54] = [0xab; 54];

fn retire(request: &Request) -> Retire {
    Retire {
        kind: kind::RETIRE,
        token: request.user_data,
        ..Retire::default()
    }
}

fn transmit(parties: &mut Parties, parts: &[Part]) {
    let entry = parties.servers[0].transmit(&HEADER, parts);
    parties.say(0, entry);
}

#[test]
fn a_datagram_goes_out_as_it_was_and_the_client_need_not_wait() {
    let mut parties = Parties::one();
    let bytes = pattern(1001);
    parties.store(0, DATA + 3500, &bytes);
    let request = sending(&mut parties, 0, SocketKind::Udp, of(DATA + 3500, 1001));
    assert_eq!(request.flags, flags::SUMMED);
    let told = (request.arg as u16).to_ne_bytes();
    assert_eq!(u16::from_be_bytes(told), sum(&bytes));
    transmit(&mut parties, &[part(&request, 0, 1001)]);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    // It was copied, so the buffer is the client's again.
    parties.store(0, DATA + 3500, &[0; 1001]);
    let frames = parties.drain();
    assert_eq!(frames, [[&HEADER[..], &bytes].concat()]);
    parties.assert_settled();
    assert_eq!(parties.servers[0].slots.len(), 256);
}

#[test]
fn bytes_by_reference_hold_the_client_up_until_they_are_sent() {
    let mut parties = Parties::one();
    let bytes = pattern(20_000);
    parties.store(0, DATA + 96, &bytes);
    let request = sending(&mut parties, 0, SocketKind::Udp, blocked(DATA + 96, 20_000));
    for (n, len) in [(0, 1400), (1400, 1400)] {
        transmit(&mut parties, &[part(&request, n, len)]);
    }
    let waited = parties.drivers[0].frames.iter();
    assert!(waited.clone().count() == 2);
    for frame in waited {
        assert_ne!(frame.first.flags & frame_flags::WAITED_FOR, 0);
    }
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.answered(0), None);
    parties.drivers[0].send();
    parties.run();
    assert_eq!(parties.answered(0), None);
    parties.drivers[0].send();
    parties.run();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    assert_eq!(parties.count("copied.out"), 0);
    assert_eq!(parties.count("referenced.out"), 20_000);
    parties.assert_settled();
}

/// Parties of whom nobody asks for quiet entries: a ring begins with its consumer
/// taken to sleep.
fn awake() -> Parties {
    let mut parties = Parties::one();
    parties.clients[0].completions.disarm();
    parties.servers[0].slots_done.disarm();
    parties.run();
    parties
}

/// The flags of the frame that the driver has.
fn flags_of_frame(parties: &Parties) -> u16 {
    assert_eq!(parties.drivers[0].frames.len(), 1);
    parties.drivers[0].frames[0].first.flags
}

#[test]
fn who_does_not_ask_is_not_told_of_the_device_until_somebody_does() {
    let mut parties = awake();
    parties.store(0, DATA, &pattern(500));
    let quiet = Request {
        flags: flags::QUIET | flags::BLOCKED,
        ..of(DATA, 500)
    };
    let request = sending(&mut parties, 0, SocketKind::Udp, quiet);
    transmit(&mut parties, &[part(&request, 0, 500)]);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(flags_of_frame(&parties) & frame_flags::WAITED_FOR, 0);
    assert!(!parties.drivers[0].done.is_asked_for_anything());
    // Its client needs the buffer now.
    parties.rung.drivers.clear();
    assert!(parties.clients[0].completions.arm_for_anything().unwrap());
    parties.run();
    assert!(parties.drivers[0].done.is_asked_for_anything());
    assert_eq!(parties.rung.drivers, [0]);
    parties.drain();
    parties.run();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    parties.assert_settled();
}

/// The driver has told of one frame and may sleep before the manager asks for the
/// other.
#[test]
fn what_is_waited_for_on_is_asked_for_again() {
    let mut parties = awake();
    parties.store(0, DATA, &pattern(2000));
    let quiet = Request {
        flags: flags::QUIET | flags::BLOCKED,
        ..of(DATA, 2000)
    };
    let request = sending(&mut parties, 0, SocketKind::Udp, quiet);
    for at in [0, 1000] {
        transmit(&mut parties, &[part(&request, at, 1000)]);
    }
    parties.complete(0, request.complete(Status::Ok));
    assert!(parties.clients[0].completions.arm_for_anything().unwrap());
    for _ in 0..2 {
        assert_eq!(parties.answered(0), None);
        parties.rung.drivers.clear();
        parties.run();
        assert!(parties.drivers[0].done.is_asked_for_anything());
        assert_eq!(parties.rung.drivers, [0]);
        parties.run();
        assert_eq!(parties.rung.drivers, [0], "it knows");
        parties.drivers[0].send();
        assert!(!parties.drivers[0].done.is_asked_for_anything());
    }
    parties.run();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    parties.assert_settled();
}

#[test]
fn a_streams_send_waits_for_the_device_only_if_nothing_acknowledged_it() {
    for status in [Status::Ok, Status::ConnectionReset] {
        let mut parties = awake();
        parties.store(0, DATA, &pattern(20_000));
        let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 20_000));
        transmit(&mut parties, &[part(&request, 0, 1400)]);
        assert_eq!(flags_of_frame(&parties) & frame_flags::WAITED_FOR, 0);
        if status == Status::Ok {
            // What acknowledges it comes after the news.
            parties.drain();
        }
        assert!(!parties.drivers[0].done.is_asked_for_anything());
        parties.rung.drivers.clear();
        parties.complete(0, request.complete(status));
        if status == Status::ConnectionReset {
            assert_eq!(parties.answered(0), None, "the device reads on");
            assert!(parties.drivers[0].done.is_asked_for_anything());
            assert_eq!(parties.rung.drivers, [0]);
            parties.drain();
            parties.run();
        }
        assert_eq!(parties.answer(0).status, status as u16);
        // Nobody waits any more.
        parties.run();
        assert!(!parties.drivers[0].done.is_asked_for_anything());
        parties.assert_settled();
    }
}

#[test]
fn neighbours_in_memory_are_one_piece() {
    let mut parties = Parties::one();
    let bytes = pattern(4096);
    parties.store(0, DATA + 2048, &bytes);
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA + 2048, 4096));
    let parts = [(0, 700), (700, 701), (1401, 20)].map(|(at, len)| part(&request, at, len));
    transmit(&mut parties, &parts);
    // Client pages follow each other in this machine.
    assert_eq!(parties.drivers[0].frames[0].spans.len(), 2);
    let frames = parties.drain();
    assert_eq!(frames, [[&HEADER[..], &bytes[..1421]].concat()]);
    parties.complete(0, request.complete(Status::Ok));
    parties.assert_settled();
}

#[test]
fn a_frame_of_many_pieces_is_completed_in_the_slot() {
    let mut parties = Parties::one();
    let bytes = pattern(60_000);
    parties.store(0, DATA, &bytes[..40_000]);
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 40_000));
    // Every second byte of the first pages, backwards, so that nothing adjoins.
    let offsets: Vec<u32> = (0..300).map(|n| 39_000 - n * 3).collect();
    let mut entries = offsets.chunks(3).peekable();
    let mut first = true;
    while let Some(chunk) = entries.next() {
        let parts: Vec<_> = chunk.iter().map(|at| part(&request, *at, 2)).collect();
        let mut entry = match first {
            true => parties.servers[0].transmit(&HEADER, &parts),
            false => {
                let mut entry = Transmit {
                    kind: kind::TRANSMIT,
                    count: parts.len() as u16,
                    ..Transmit::default()
                };
                entry.parts[..parts.len()].copy_from_slice(&parts);
                entry
            }
        };
        first = false;
        if entries.peek().is_some() {
            entry.flags = packet_flags::MORE;
        }
        parties.servers[0].say(entry);
    }
    parties.run();
    assert_eq!(
        parties.drivers[0].frames[0].spans.len(),
        nic_api::MOST_SPANS
    );
    let payload = offsets
        .iter()
        .flat_map(|at| bytes[*at as usize..][..2].to_vec());
    let expected: Vec<u8> = HEADER.into_iter().chain(payload).collect();
    assert_eq!(parties.drain(), [expected]);
    let copied = parties.count("copied.out");
    assert!((1..600).contains(&copied), "{copied}");
    assert_eq!(parties.count("server.faults"), 0);
    parties.complete(0, request.complete(Status::Ok));
    parties.assert_settled();
}

/// A frame whose checksum is to be completed over odd pieces.
fn checksummed(features: u32) -> (Parties, Vec<u8>, Vec<u8>) {
    let mut parties = Parties::with(Setup {
        features,
        ..Setup::ONE
    });
    let bytes = pattern(333);
    parties.store(0, DATA + 4000, &bytes);
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA + 4000, 333));
    let parts = [(0, 33), (33, 1), (34, 299)].map(|(at, len)| part(&request, at, len));
    let mut header = HEADER.to_vec();
    header[50..52].copy_from_slice(&0x1234u16.to_be_bytes());
    let mut entry = parties.servers[0].transmit(&header, &parts);
    entry.flags = packet_flags::CHECKSUM;
    (entry.checksum_start, entry.checksum_offset) = (34, 16);
    parties.say(0, entry);
    let frame = parties.drivers[0].frames.front().unwrap();
    let flag = frame.first.flags & frame_flags::NEEDS_CHECKSUM != 0;
    let fields = (frame.first.checksum_start, frame.first.checksum_offset);
    assert_eq!((flag, fields == (34, 16)), (features != 0, features != 0));
    let frame = parties.drain().remove(0);
    (parties, frame, [header, bytes].concat())
}

#[test]
fn a_checksum_is_completed_here_if_the_nic_cannot() {
    let (_, frame, mut expected) = checksummed(0);
    let right = !sum(&expected[34..]);
    expected[50..52].copy_from_slice(&right.to_be_bytes());
    assert_eq!(frame, expected);
    let (_, frame, expected) = checksummed(nic_features::CHECKSUM);
    assert_eq!(frame, expected);
}

#[test]
fn sums_are_for_datagrams_that_no_device_completes() {
    let cases = [
        (SocketKind::Udp, 0, 100, true),
        (SocketKind::Udp, nic_features::CHECKSUM, 100, false),
        (SocketKind::Udp, nic_features::CHECKSUM, 1472, false),
        (SocketKind::Udp, nic_features::CHECKSUM, 1473, true),
        (SocketKind::Tcp, 0, 100, false),
    ];
    for (what, features, len, summed) in cases {
        let mut parties = Parties::with(Setup {
            features,
            ..Setup::ONE
        });
        let request = sending(&mut parties, 0, what, of(DATA, len));
        assert_eq!(request.flags & flags::SUMMED != 0, summed, "{what} {len}");
    }
}

/// A `Send` that may be held, with a frame of its bytes at the device.
fn holding() -> (Parties, Request) {
    let mut parties = Parties::one();
    parties.store(0, DATA, &pattern(20_000));
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 20_000));
    assert_eq!(request.flags, flags::MAY_HOLD);
    transmit(&mut parties, &[part(&request, 18_000, 1400)]);
    let mut held = request.complete(Status::Ok);
    (held.flags, held.len, held.arg) = (flags::HELD, 20_000, 15_000);
    parties.complete(0, held);
    (parties, request)
}

#[test]
fn a_held_send_answers_the_client_and_can_be_sent_again() {
    let (mut parties, request) = holding();
    assert_eq!(parties.answered(0), None, "the device has bytes of it");
    parties.drain();
    let answer = parties.answer(0);
    let seen = (answer.status, answer.len, answer.arg, answer.flags);
    assert_eq!(seen, (0, 20_000, 0, 0));
    assert_eq!(parties.count("copied.tail"), 5000);
    // What the client writes now is not sent.
    parties.store(0, DATA, &[0xff; 20_000]);
    transmit(&mut parties, &[part(&request, 18_000, 1400)]);
    let frames = parties.drain();
    assert_eq!(frames[0][54..], pattern(20_000)[18_000..19_400]);
    // What is acknowledged is not kept.
    transmit(&mut parties, &[part(&request, 14_999, 2)]);
    assert_eq!(parties.count("transmit.part"), 1);
    parties.say(0, retire(&request));
    parties.assert_settled();
    // Twice is a lie.
    parties.say(0, retire(&request));
    transmit(&mut parties, &[part(&request, 18_000, 1)]);
    assert_eq!(parties.count("server.faults"), 3);
}

#[test]
fn a_send_retired_early_answers_when_the_device_is_done() {
    let (mut parties, request) = holding();
    parties.say(0, retire(&request));
    assert_eq!(parties.answered(0), None);
    parties.drain();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    assert_eq!(parties.count("copied.tail"), 0);
    parties.assert_settled();
}

#[test]
fn a_send_waits_for_its_end_if_there_are_no_frames_to_keep_it() {
    let (mut parties, request) = holding();
    // Others use up the reserve.
    let mut hog = parties.manager.memory().reserve();
    let mut outputs = Vec::new();
    while hog > 1 {
        let extent = Extent {
            address: DATA,
            len: 4096,
        };
        let copy = Passing::new(Semantics::Copy);
        let memory = parties.manager.memory();
        outputs.push(memory.begin_output(0, extent, copy, false).unwrap());
        hog -= 1;
    }
    parties.drain();
    assert_eq!(parties.answered(0), None);
    assert_eq!(parties.count("tails.refused"), 1);
    parties.say(0, retire(&request));
    assert_eq!(parties.answer(0).len, 20_000);
    for output in outputs {
        parties.manager.memory().end_output(output);
    }
    parties.assert_settled();
}

#[test]
fn only_a_blocked_stream_with_strong_integrity_may_be_held() {
    let share = Passing::new(Semantics::Share).word();
    let cases = [
        (SocketKind::Tcp, blocked(DATA, 100), true),
        (SocketKind::Tcp, of(DATA, 100), false),
        (SocketKind::Udp, blocked(DATA, 100), false),
        (
            SocketKind::Tcp,
            Request {
                passing: share,
                ..blocked(DATA, 100)
            },
            false,
        ),
    ];
    for (what, send, may) in cases {
        let mut parties = Parties::one();
        let request = sending(&mut parties, 0, what, send);
        assert_eq!(request.flags & flags::MAY_HOLD != 0, may);
        let mut held = request.complete(Status::Ok);
        (held.flags, held.len) = (flags::HELD, 100);
        parties.complete(0, held);
        let right = if may { Status::Ok as u16 } else { GONE };
        assert_eq!(parties.answer(0).status, right);
        if may {
            parties.say(0, retire(&request));
        }
        assert_eq!(parties.count("server.faults"), u64::from(!may));
        parties.assert_settled();
    }
}

#[test]
fn each_lie_about_what_is_held_fails_the_request() {
    type Lie = fn(&mut socket_api::Completion);
    let lies: [Lie; 5] = [
        |c| c.arg = 20_001,
        |c| c.arg = u64::MAX,
        |c| c.len = 20_001,
        |c| c.flags |= flags::TRUNCATED,
        |c| c.status = Status::ConnectionReset as u16,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 20_000));
        let mut held = request.complete(Status::Ok);
        (held.flags, held.len, held.arg) = (flags::HELD, 20_000, 15_000);
        lie(&mut held);
        parties.complete(0, held);
        assert_eq!(parties.answer(0).status, GONE, "lie {n}");
        parties.assert_settled();
    }
}

#[test]
fn each_lie_about_a_frame_sends_nothing_and_changes_nothing() {
    type Lie = fn(&mut Transmit);
    let lies: [(&str, Lie); 25] = [
        ("slot", |t| t.slot = 256),
        ("slot", |t| t.slot = u16::MAX),
        ("header", |t| t.header_len = 13),
        ("header", |t| t.header_len = 0),
        ("header", |t| t.header_len = 1515),
        ("header", |t| t.header_len = u16::MAX),
        ("header", |t| t.flags = 1 << 15),
        ("header", |t| t.flags = packet_flags::RELEASE),
        ("header", |t| t.flags = packet_flags::SEGMENT),
        ("checksum", |t| {
            t.flags = packet_flags::CHECKSUM;
            t.checksum_start = 13;
        }),
        ("checksum", |t| {
            t.flags = packet_flags::CHECKSUM;
            (t.checksum_start, t.checksum_offset) = (34, 19);
        }),
        ("checksum", |t| {
            t.flags = packet_flags::CHECKSUM;
            (t.checksum_start, t.checksum_offset) = (u16::MAX, u16::MAX);
        }),
        ("part", |t| t.count = 4),
        ("part", |t| t.count = u16::MAX),
        ("part", |t| t.count = 2),
        ("part", |t| t.parts[0].token ^= 1),
        ("part", |t| t.parts[0].token ^= 1 << 17),
        ("part", |t| t.parts[0].token ^= 1 << 32),
        ("part", |t| t.parts[0].token = 0),
        ("part", |t| t.parts[0].offset = 901),
        ("part", |t| t.parts[0].offset = u32::MAX),
        ("part", |t| t.parts[0].len = 0),
        ("part", |t| t.parts[0].len = 1001),
        ("size", |t| t.parts[0].len = u32::MAX),
        ("size", |t| {
            t.count = 3;
            t.parts = [t.parts[0]; 3];
            t.parts[2].len = 1447;
        }),
    ];
    for (n, (why, lie)) in lies.into_iter().enumerate() {
        let mut parties = Parties::new(2, 1, QUOTA);
        let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 1000));
        // Another client, whose bytes nobody named.
        sending(&mut parties, 1, SocketKind::Tcp, blocked(DATA, 1000));
        let honest = parties.servers[0].transmit(&HEADER, &[part(&request, 0, 100)]);
        let mut entry = honest;
        lie(&mut entry);
        parties.say(0, entry);
        let name = format!("transmit.{why}");
        assert_eq!(parties.count(&name), 1, "lie {n}");
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert!(parties.drivers[0].frames.is_empty(), "lie {n}");
        assert_eq!(parties.manager.books().nics[0].slots_away, 0, "lie {n}");
        // The slot is the server's as before.
        parties.say(0, honest);
        assert_eq!(parties.drain().len(), 1, "lie {n}");
        parties.complete(0, request.complete(Status::Ok));
        assert_eq!(parties.answer(0).status, Status::Ok as u16);
    }
}

#[test]
fn a_receive_has_no_bytes_to_send() {
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let request = parties.pass(0, Request::new(Op::Recv, handle, 1), (DATA, 100));
    transmit(&mut parties, &[part(&request, 0, 10)]);
    assert_eq!(parties.count("transmit.part"), 1);
}

#[test]
fn a_slot_that_is_away_is_not_the_servers() {
    let mut parties = Parties::one();
    let entry = parties.servers[0].transmit(&HEADER, &[]);
    parties.say(0, entry);
    parties.say(0, entry);
    assert_eq!(parties.count("transmit.slot"), 1);
    assert_eq!(parties.drain().len(), 1);
    parties.say(0, entry);
    assert_eq!(parties.count("transmit.slot"), 1);
    parties.drain();
    parties.assert_settled();
}

#[test]
fn a_frame_that_never_ends_is_dropped() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 1000));
    let mut entry = parties.servers[0].transmit(&HEADER, &[part(&request, 0, 500)]);
    entry.flags = packet_flags::MORE;
    // Longer than any frame.
    for _ in 0..3 {
        parties.say(0, entry);
    }
    assert_eq!(parties.count("transmit.size"), 1);
    // Entries without parts lead nowhere.
    parties.say(0, entry);
    entry.count = 0;
    parties.say(0, entry);
    assert_eq!(parties.count("transmit.header"), 1);
    // Another entry comes before the rest; it counts all the same.
    entry.count = 1;
    parties.say(0, entry);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.count("transmit.unfinished"), 1);
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    assert!(parties.drain().is_empty());
    assert_eq!(parties.count("server.faults"), 3);
    parties.assert_settled();
}

#[test]
fn frames_wait_here_while_the_drivers_ring_is_full() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 40_000));
    // Frames of five entries each: the ring holds 204 of them.
    for n in 0..250 {
        let mut parts = (0..14).map(|p| part(&request, n + 1000 * p, 7));
        let mut left = 14;
        let mut entry = {
            let first: Vec<_> = parts.by_ref().take(3).collect();
            parties.servers[0].transmit(&HEADER, &first)
        };
        loop {
            left -= usize::from(entry.count);
            if left != 0 {
                entry.flags = packet_flags::MORE;
            }
            parties.servers[0].say(entry);
            if left == 0 {
                break;
            }
            let more: Vec<_> = parts.by_ref().take(3).collect();
            entry = Transmit {
                kind: kind::TRANSMIT,
                count: more.len() as u16,
                ..Transmit::default()
            };
            entry.parts[..more.len()].copy_from_slice(&more);
        }
    }
    while parties.manager.turn(&mut parties.rung) {}
    assert_eq!(parties.manager.books().nics[0].backlog, 46 * 5);
    let mut sent = 0;
    for _ in 0..4 {
        parties.run();
        sent += parties.drain().len();
    }
    assert_eq!(sent, 250);
    parties.complete(0, request.complete(Status::Ok));
    parties.assert_settled();
}

#[test]
fn a_close_waits_for_sends_that_a_device_holds_up() {
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let mut send = Request::new(Op::Send, handle, 1);
    send.flags = flags::BLOCKED;
    let request = parties.pass(0, send, (DATA, 100));
    transmit(&mut parties, &[part(&request, 0, 100)]);
    parties.submit(0, Request::new(Op::Close, handle, 2));
    let close = parties.forwarded(0);
    parties.complete(0, request.complete(Status::Ok));
    parties.complete(0, close.complete(Status::Ok));
    assert_eq!(parties.answered(0), None);
    parties.drain();
    let order = [parties.answered(0), parties.answered(0)].map(|c| c.unwrap().user_data);
    assert_eq!(order, [1, 2]);
    assert_eq!(parties.manager.in_use(0), (0, 0));
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

#[test]
fn a_dead_clients_frames_wait_for_the_device() {
    let mut parties = Parties::new(2, 1, QUOTA);
    parties.store(0, DATA, b"last words");
    let request = sending(&mut parties, 0, SocketKind::Udp, of(DATA, 10));
    transmit(&mut parties, &[part(&request, 0, 10)]);
    parties.manager.client_died(0);
    parties.run();
    let drop = parties.forwarded(0);
    // What the server sends before it forgets the client still goes out.
    transmit(&mut parties, &[part(&request, 5, 5)]);
    parties.complete(0, drop.complete(Status::Ok));
    transmit(&mut parties, &[part(&request, 0, 10)]);
    assert_eq!(parties.count("transmit.part"), 1);
    assert_eq!(parties.manager.books().reserve, RESERVE - 1);
    let frames = parties.drain();
    assert_eq!(
        (&frames[0][54..], &frames[1][54..]),
        (&b"last words"[..], &b"words"[..])
    );
    parties.assert_settled();
}

#[test]
fn a_dead_server_holds_nobody_up_but_the_device_does() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Udp, blocked(DATA, 100));
    transmit(&mut parties, &[part(&request, 0, 100)]);
    parties.manager.server_died(0);
    parties.run();
    assert_eq!(parties.answered(0), None, "the bytes may still be sent");
    parties.drain();
    assert_eq!(parties.answer(0).status, GONE);
    parties.assert_settled();
    // And one that holds bytes.
    let (mut parties, _) = holding();
    parties.drain();
    parties.answer(0);
    parties.manager.server_died(0);
    parties.run();
    parties.assert_settled();
}

#[test]
fn what_is_read_only_goes_by_reference_without_waiting() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, of(TEXT + 1, 5000));
    assert_eq!(parties.count("output.reference"), 1);
    transmit(&mut parties, &[part(&request, 0, 1000)]);
    parties.complete(0, request.complete(Status::Ok));
    parties.drain();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    parties.assert_settled();
}

#[test]
fn a_write_to_a_page_that_is_sent_does_not_reach_the_wire() {
    let mut parties = Parties::one();
    let bytes = pattern(8192);
    parties.store(0, DATA, &bytes);
    let tcow = Passing {
        semantics: Semantics::EmulatedCopy,
        forced: Some(Technique::Tcow),
    };
    let send = Request {
        passing: tcow.word(),
        ..of(DATA, 8192)
    };
    let request = sending(&mut parties, 0, SocketKind::Tcp, send);
    transmit(&mut parties, &[part(&request, 4000, 1400)]);
    parties.store(0, DATA + 4090, &[0xee; 100]);
    let frames = parties.drain();
    assert_eq!(frames[0][54..], bytes[4000..5400]);
    assert_eq!(parties.load(0, DATA + 4090, 100), [0xee; 100]);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    assert_eq!(parties.count("faults.copied"), 2);
    assert_eq!(parties.count("copied.tcow"), 8192);
    assert_eq!(parties.count("pages.protected"), 2);
    parties.assert_settled();
}
