//! Receives of datagrams that wait at the manager, in order, and `Send`s that
//! become such.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::nic_features;
use parties::frames::udp;
use parties::{DATA, Parties, QUOTA, Setup};
use socket_api::{
    Completion, Deliver, Extent, NO_PACKET, Op, Packet, Part, Passing, Receives, Request,
    Semantics, SocketKind, Status, flags, kind, packet_flags,
};

const OK: u16 = Status::Ok as u16;
const CANCELLED: u16 = Status::Cancelled as u16;
const NOT_FOUND: u16 = Status::NotFound as u16;
const SHARED: u32 = Passing::new(Semantics::EmulatedShare).word();

/// A socket of client `client` for datagrams, bound: handle and number.
fn bound(parties: &mut Parties, client: usize) -> (u32, u32) {
    let (handle, number) = parties.open(client, SocketKind::Udp);
    let address = std::net::SocketAddr::from(([10, 0, 2, 15], 4000)).into();
    let bind = Request {
        address,
        ..Request::new(Op::Bind, handle, 1)
    };
    parties.submit(client, bind);
    let mut completion = parties.forwarded(0).complete(Status::Ok);
    completion.address = address;
    parties.complete(0, completion);
    assert_eq!(parties.answer(client).status, OK);
    (handle, number)
}

/// A receive with `room`, called `name`, of bytes of its own.
fn recv(handle: u32, name: u64, room: u32) -> Request {
    Request {
        extent: Extent {
            address: DATA + name as u32 * 2048,
            len: room,
        },
        ..Request::new(Op::Recv, handle, name)
    }
}

fn told(parties: &mut Parties) -> Receives {
    let receives = &mut parties.servers[0].receives;
    let one = receives.pop_front().expect("receives");
    assert!(receives.is_empty());
    assert!(parties.servers[0].requests.is_empty());
    one
}

/// A datagram that has arrived.
fn arrive(parties: &mut Parties, payload: &[u8]) -> Packet {
    parties.drivers[0].receive(&udp(9, 4000, payload), 0);
    parties.run();
    parties.servers[0].packets.pop_front().expect("a packet")
}

/// The answer of the oldest receive: all of a datagram.
fn answer(receives: &Receives, packet: &Packet, len: u32) -> Completion {
    Completion {
        op: Op::Recv as u16,
        socket: receives.socket,
        user_data: receives.token,
        len,
        arg: len.into(),
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..Completion::default()
    }
}

/// A server that has nothing for a receive need not wake for it; one that has
/// asks for it.
#[test]
fn receives_wake_who_asked_for_anything() {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    for (name, asks) in [(1, false), (2, true)] {
        parties.rung.servers.clear();
        let to = &mut parties.servers[0].to;
        let rests = match asks {
            true => to.arm_for_anything(),
            false => to.arm(),
        };
        assert_eq!(rests, Ok(true));
        parties.submit(0, recv(handle, name, 100));
        assert_eq!(parties.rung.servers.is_empty(), !asks);
        assert_eq!(told(&mut parties).count, 1);
    }
}

#[test]
fn receives_are_told_of_together_and_filled_in_order() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (handle, number) = bound(&mut parties, 1);
    for name in 1..4 {
        let requests = &mut parties.clients[1].requests;
        requests.push(&recv(handle, name, 100)).unwrap();
        let _ = requests.publish();
    }
    parties.run();
    let receives = told(&mut parties);
    let expected = Receives {
        kind: kind::RECEIVES,
        socket: number,
        token: receives.token,
        client: 1,
        count: 3,
        ..Receives::default()
    };
    assert_eq!(receives, expected);
    for name in 1..4 {
        let payload = [name as u8; 20];
        let packet = arrive(&mut parties, &payload);
        parties.complete(0, answer(&receives, &packet, 20));
        let completion = parties.answer(1);
        let seen = (completion.op, completion.status, completion.user_data);
        assert_eq!(seen, (Op::Recv as u16, OK, name));
        assert_eq!((completion.len, completion.flags), (20, 0));
        assert_eq!(parties.load(1, DATA + name as u32 * 2048, 20), payload);
    }
    parties.submit(1, recv(handle, 4, 100));
    assert_eq!(told(&mut parties).token, receives.token, "for good");
    parties.assert_receives_waiting(1, 1);
}

#[test]
fn what_there_is_no_room_for_is_cut() {
    for room in [0, 1, 30] {
        let mut parties = Parties::one();
        let (handle, _) = bound(&mut parties, 0);
        parties.submit(0, recv(handle, 1, room));
        let receives = told(&mut parties);
        let packet = arrive(&mut parties, &[7; 50]);
        parties.complete(0, answer(&receives, &packet, 50));
        let completion = parties.answer(0);
        assert_eq!((completion.len, completion.arg), (room, 50));
        assert_eq!(completion.flags, flags::TRUNCATED);
        let mut right = [0; 50];
        right[..room as usize].fill(7);
        assert_eq!(parties.load(0, DATA + 2048, 50), right);
        parties.assert_settled();
    }
}

#[test]
fn pieces_are_cut_where_the_room_ends() {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    parties.submit(0, recv(handle, 1, 70));
    let receives = told(&mut parties);
    let pieces = [1, 2, 3].map(|n| arrive(&mut parties, &[n; 50]));
    for piece in &pieces[..2] {
        let entry = Deliver {
            kind: kind::DELIVER,
            flags: packet_flags::RELEASE,
            packet: piece.id,
            token: receives.token,
            offset: 42,
            len: 50,
            ..Deliver::default()
        };
        parties.say(0, entry);
        assert_eq!(parties.answered(0), None);
    }
    parties.complete(0, answer(&receives, &pieces[2], 150));
    let completion = parties.answer(0);
    assert_eq!((completion.len, completion.arg), (70, 150));
    assert_eq!(completion.flags, flags::TRUNCATED);
    let right = [[1; 50], [2; 50]].concat();
    assert_eq!(parties.load(0, DATA + 2048, 70), right[..70]);
    assert_eq!(parties.load(0, DATA + 2048 + 70, 30), [0; 30]);
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

/// The client wants a receive back: what the server is asked.
fn cancel(parties: &mut Parties, handle: u32, name: u64) -> Request {
    let request = Request {
        arg: name,
        ..Request::new(Op::Cancel, handle, 100 + name)
    };
    parties.submit(0, request);
    parties.forwarded(0)
}

/// All completions there are: word and status.
fn all_answers(parties: &mut Parties) -> Vec<(u64, u16)> {
    std::iter::from_fn(|| parties.answered(0))
        .map(|completion| (completion.user_data, completion.status))
        .collect()
}

/// Three receives wait.
fn three() -> (Parties, u32, Receives) {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    for name in 1..4 {
        parties.submit(0, recv(handle, name, 100));
    }
    let told = parties.servers[0].receives.drain(..);
    let counts = told.map(|r| (r.count, r)).collect::<Vec<_>>();
    assert_eq!(counts.iter().map(|c| c.0).sum::<u32>(), 3);
    (parties, handle, counts[0].1)
}

#[test]
fn any_of_them_can_be_cancelled() {
    for name in 1..4 {
        let (mut parties, handle, receives) = three();
        let asked = cancel(&mut parties, handle, name);
        assert_eq!(asked.arg, receives.token);
        parties.complete(0, asked.complete(Status::Ok));
        let right = [(name, CANCELLED), (100 + name, OK)];
        assert_eq!(all_answers(&mut parties), right);
        // The others are filled in order.
        for other in (1..4).filter(|other| *other != name) {
            let packet = arrive(&mut parties, &[1; 8]);
            parties.complete(0, answer(&receives, &packet, 8));
            assert_eq!(parties.answer(0).user_data, other);
        }
        parties.assert_settled();
    }
}

#[test]
fn a_receive_that_was_filled_meanwhile_takes_no_other_with_it() {
    let (mut parties, handle, receives) = three();
    let asked = cancel(&mut parties, handle, 1);
    let packet = arrive(&mut parties, &[1; 8]);
    parties.complete(0, answer(&receives, &packet, 8));
    assert_eq!(parties.answer(0).user_data, 1);
    // One of those that are left, as far as the server knows.
    parties.complete(0, asked.complete(Status::Ok));
    assert_eq!(all_answers(&mut parties), [(101, NOT_FOUND)]);
    assert_eq!(told(&mut parties).count, 1, "which it gets again");
    parties.assert_receives_waiting(0, 2);
}

#[test]
fn who_gets_a_receive_again_after_it_had_none_is_asked_again() {
    for together in [false, true] {
        let (mut parties, handle, receives) = three();
        let asked = [1, 2, 3].map(|name| cancel(&mut parties, handle, name));
        let packet = arrive(&mut parties, &[1; 8]);
        parties.complete(0, answer(&receives, &packet, 8));
        assert_eq!(parties.answer(0).user_data, 1);
        let answers = [Status::Ok, Status::Ok, Status::NotFound];
        for (asked, status) in asked.iter().zip(answers) {
            parties.servers[0].say(asked.complete(status));
            if !together {
                parties.run();
            }
        }
        parties.run();
        let right = [
            (101, NOT_FOUND),
            (2, CANCELLED),
            (102, OK),
            (3, CANCELLED),
            (103, OK),
        ];
        if together {
            assert!(parties.servers[0].receives.is_empty());
        } else {
            // It was told of one more in the meantime.
            assert_eq!(parties.servers[0].receives.pop_front().unwrap().count, 1);
            let again = parties.forwarded(0);
            assert_eq!(again, asked[2]);
            parties.complete(0, again.complete(Status::Ok));
        }
        assert_eq!(all_answers(&mut parties), right);
        parties.assert_settled();
    }
}

#[test]
fn they_end_with_their_socket_server_or_client() {
    let (mut parties, handle, _) = three();
    parties.submit(0, Request::new(Op::Close, handle, 9));
    let close = parties.forwarded(0);
    parties.complete(0, close.complete(Status::Ok));
    let ended = [1, 2, 3].map(|name| (name, CANCELLED));
    assert_eq!(all_answers(&mut parties), [&ended[..], &[(9, OK)]].concat());
    parties.assert_settled();

    let (mut parties, ..) = three();
    parties.manager.server_died(0);
    parties.run();
    let gone = Status::ServerGone as u16;
    let ended = [1, 2, 3].map(|name| (name, gone));
    assert_eq!(all_answers(&mut parties), ended);

    let (mut parties, ..) = three();
    parties.manager.client_died(0);
    parties.run();
    let drop = parties.forwarded(0);
    parties.complete(0, drop.complete(Status::Ok));
    parties.assert_settled();
}

#[test]
fn an_answer_needs_a_receive_that_waits() {
    type Lie = fn(&mut Completion);
    let lies: [Lie; 5] = [
        // A socket without receives, sockets and clients that are not there.
        |c| c.user_data += 1,
        |c| c.user_data |= 0xffff,
        |c| c.user_data ^= 1 << 16,
        |c| c.user_data ^= 0x7fff << 16,
        |c| c.user_data ^= 1 << 63,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let (mut parties, _, receives) = three();
        let packet = arrive(&mut parties, &[1; 8]);
        let mut completion = answer(&receives, &packet, 8);
        lie(&mut completion);
        parties.complete(0, completion);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.answered(0), None, "lie {n}");
        parties.assert_receives_waiting(0, 3);
    }
    // One that is illegal ends the receive that it is about.
    let lies: [Lie; 5] = [
        |c| c.socket ^= 1,
        |c| c.op = Op::Send as u16,
        |c| c.packet = NO_PACKET,
        |c| c.offset = 60,
        |c| c.packet += 1,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let (mut parties, _, receives) = three();
        let packet = arrive(&mut parties, &[1; 8]);
        let mut completion = answer(&receives, &packet, 8);
        lie(&mut completion);
        parties.complete(0, completion);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        let right = [(1, Status::ServerGone as u16)];
        assert_eq!(all_answers(&mut parties), right, "lie {n}");
        parties.assert_receives_waiting(0, 2);
    }
}

#[test]
fn a_receive_has_no_bytes_to_send() {
    let (mut parties, _, receives) = three();
    let part = Part {
        token: receives.token,
        offset: 0,
        len: 8,
    };
    for flags in [0, packet_flags::DONE] {
        let mut entry = parties.servers[0].transmit(&[3; 42], &[part]);
        entry.flags = flags;
        parties.say(0, entry);
        parties.servers[0].slots.push_back(entry.slot);
    }
    assert_eq!(parties.count("transmit.part"), 2);
    assert_eq!(parties.answered(0), None);
    parties.assert_receives_waiting(0, 3);
}

#[test]
fn receives_that_may_not_wait_or_whose_room_a_nic_has_are_asked_for() {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    parties.submit(0, recv(handle, 1, 100));
    let now = Request {
        flags: flags::NO_WAIT,
        ..recv(handle, 2, 100)
    };
    parties.submit(0, now);
    assert_eq!(parties.forwarded(0).flags, flags::NO_WAIT);
    assert_eq!(parties.servers[0].receives.len(), 1);
    let mut parties = Parties::with(Setup {
        features: nic_features::STEERING,
        ..Setup::ONE
    });
    let (handle, _) = bound(&mut parties, 0);
    parties.submit(0, recv(handle, 1, 100));
    assert_eq!(parties.forwarded(0).extent.len, 100);
}

/// A `Send` of 100 bytes that is to become a receive, on its way.
fn reposting(parties: &mut Parties, handle: u32, name: u64, more: Request) -> Request {
    let send = Request {
        op: Op::Send as u16,
        flags: flags::REPOST | flags::QUIET,
        arg: 2000,
        ..recv(handle, name, 100)
    };
    let request = Request {
        flags: send.flags | more.flags,
        passing: more.passing,
        ..send
    };
    parties.submit(0, request);
    parties.forwarded(0)
}

/// The server sends it.
fn transmit(parties: &mut Parties, request: &Request) {
    let part = Part {
        token: request.user_data,
        offset: 0,
        len: 100,
    };
    let mut entry = parties.servers[0].transmit(&[3; 42], &[part]);
    entry.flags = packet_flags::DONE;
    parties.say(0, entry);
}

#[test]
fn a_send_becomes_a_receive_when_the_device_has_let_go() {
    for passing in [0, SHARED] {
        let mut parties = Parties::one();
        let (handle, _) = bound(&mut parties, 0);
        let more = Request {
            passing,
            ..Request::default()
        };
        parties.store(0, DATA + 2048, &[5; 100]);
        let request = reposting(&mut parties, handle, 1, more);
        assert_eq!(
            (request.flags, request.extent.len),
            (flags::QUIET | flags::SUMMED, 100)
        );
        transmit(&mut parties, &request);
        assert!(parties.servers[0].receives.is_empty(), "not before");
        assert_eq!(parties.drain()[0][42..], [5; 100]);
        let receives = told(&mut parties);
        assert_eq!(receives.count, 1);
        assert_eq!(parties.answered(0), None);
        assert_eq!(parties.count("reposts"), 1);
        // The token of the `Send` names nothing any more.
        parties.complete(0, request.complete(Status::Ok));
        assert_eq!(parties.count("server.faults"), 1);
        let packet = arrive(&mut parties, &[9; 150]);
        parties.complete(0, answer(&receives, &packet, 150));
        let completion = parties.answer(0);
        let seen = (completion.op, completion.status, completion.user_data);
        assert_eq!(seen, (Op::Recv as u16, OK, 1));
        assert_eq!(completion.len, 150);
        assert_eq!(parties.load(0, DATA + 2048, 150), [9; 150]);
        parties.assert_settled();
    }
}

#[test]
fn receives_are_told_of_before_packets_that_arrive_with_the_news() {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    let request = reposting(&mut parties, handle, 1, Request::default());
    transmit(&mut parties, &request);
    parties.drivers[0].send();
    parties.drivers[0].receive(&udp(9, 4000, b"next"), 0);
    parties.manager.turn(&mut parties.rung);
    let to = &mut parties.servers[0].to;
    let kinds = std::iter::from_fn(|| to.pop().unwrap()).map(|message| message.kind());
    assert_eq!(kinds.collect::<Vec<_>>(), [kind::RECEIVES, kind::PACKET]);
}

/// The one answer: operation and status.
fn one_answer(parties: &mut Parties) -> (u16, u16) {
    let completion = parties.answer(0);
    (completion.op, completion.status)
}

#[test]
fn a_send_that_fails_or_cannot_become_a_receive_is_answered_as_one() {
    let sent = |status: Status| (Op::Send as u16, status as u16);
    // It failed; the client is woken for it, quiet as it was.
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    let request = reposting(&mut parties, handle, 1, Request::default());
    parties.complete(0, request.complete(Status::Unreachable));
    assert_eq!(one_answer(&mut parties), sent(Status::Unreachable));
    parties.assert_settled();
    // Its socket is not bound, as far as the manager knows.
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let request = reposting(&mut parties, handle, 1, Request::default());
    assert!(parties.clients[0].completions.arm().unwrap());
    parties.rung.clients.clear();
    transmit(&mut parties, &request);
    parties.drain();
    assert_eq!(one_answer(&mut parties), sent(Status::Ok));
    assert_eq!(parties.rung.clients, [0]);
    parties.assert_settled();
    // A NIC keeps buffers for it.
    let mut parties = Parties::with(Setup {
        features: nic_features::STEERING,
        ..Setup::ONE
    });
    let (handle, _) = bound(&mut parties, 0);
    let request = reposting(&mut parties, handle, 1, Request::default());
    transmit(&mut parties, &request);
    parties.drain();
    assert_eq!(one_answer(&mut parties), sent(Status::Ok));
    parties.assert_settled();
    // It is cancelled before it is over, or its socket closed.
    for op in [Op::Cancel, Op::Close] {
        let mut parties = Parties::one();
        let (handle, _) = bound(&mut parties, 0);
        let request = reposting(&mut parties, handle, 1, Request::default());
        let end = Request {
            arg: u64::from(op == Op::Cancel),
            ..Request::new(op, handle, 2)
        };
        parties.submit(0, end);
        let end = parties.forwarded(0);
        transmit(&mut parties, &request);
        let status = match op {
            Op::Cancel => Status::NotFound,
            _ => Status::Ok,
        };
        parties.complete(0, end.complete(status));
        parties.drain();
        let mut answers = all_answers(&mut parties);
        answers.sort_unstable();
        assert_eq!(answers, [(1, OK), (2, status as u16)], "{op:?}");
        assert!(parties.servers[0].receives.is_empty(), "{op:?}");
        parties.assert_settled();
    }
}

#[test]
fn room_that_the_client_does_not_have_is_not_received_into() {
    let mut parties = Parties::one();
    let (handle, _) = bound(&mut parties, 0);
    let send = Request {
        op: Op::Send as u16,
        flags: flags::REPOST,
        arg: 1 << 20,
        ..recv(handle, 1, 100)
    };
    parties.submit(0, send);
    let request = parties.forwarded(0);
    transmit(&mut parties, &request);
    parties.drain();
    assert_eq!(one_answer(&mut parties), (Op::Send as u16, OK));
    assert!(parties.servers[0].receives.is_empty());
    parties.assert_settled();
}

#[test]
fn only_datagrams_are_reposted() {
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Tcp);
    let send = Request {
        op: Op::Send as u16,
        flags: flags::REPOST,
        arg: 100,
        ..recv(handle, 1, 100)
    };
    let refused = parties.refused(0, send);
    assert_eq!(refused.status, Status::BadRequest as u16);
    assert_eq!(refused.arg, core::mem::offset_of!(Request, flags) as u64);
    parties.assert_settled();
}
