//! Servers that lie: the request concerned fails, the client never sees what
//! it should not, and a server that goes on lying is given up.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use parties::{DATA, Parties, QUOTA};
use socket_api::{
    Completion, Extent, FROM_SERVER_OFFSET, Op, Request, SocketKind, Status, WireAddress,
};

const GONE: u16 = Status::ServerGone as u16;

/// A client with a receive of 100 bytes on its way, and the request as the
/// server got it.
fn receiving() -> (Parties, u32, Request) {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let mut request = Request::new(Op::Recv, handle, 0xfeed);
    request.extent = Extent {
        address: DATA + 64,
        len: 100,
    };
    parties.submit(0, request);
    let forwarded = parties.forwarded(0);
    assert_eq!(
        forwarded.extent,
        Extent {
            address: 0,
            len: 100
        }
    );
    (parties, handle, forwarded)
}

#[test]
fn the_server_sees_none_of_the_clients_words() {
    let (_, handle, forwarded) = receiving();
    assert_ne!(forwarded.user_data, 0xfeed);
    assert_ne!(forwarded.socket, handle);
}

#[test]
fn an_honest_completion_is_translated_back() {
    let (mut parties, handle, forwarded) = receiving();
    let from: WireAddress = std::net::SocketAddr::from(([10, 0, 2, 2], 5)).into();
    let mut frame = parties::frames::udp(5, 6, b"some bytes");
    frame[40] = 1;
    parties.drivers[0].receive(&frame, 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    parties.complete(
        0,
        Completion {
            len: 10,
            arg: 10,
            flags: 2,
            packet: packet.id,
            offset: 42,
            address: from,
            ..forwarded.complete(Status::Ok)
        },
    );
    let completion = parties.answer(0);
    let right = Completion {
        op: Op::Recv as u16,
        socket: handle,
        user_data: 0xfeed,
        len: 10,
        arg: 10,
        address: from,
        ..Completion::default()
    };
    assert_eq!(completion, right);
    assert_eq!(parties.load(0, DATA + 64, 11), b"some bytes\0");
    assert_eq!(parties.rung.clients.last(), Some(&0));
    parties.assert_settled();
}

#[test]
fn each_lie_fails_the_request_alone() {
    let honest = |f: &Request| f.complete(Status::Ok);
    let lies: [fn(&mut Completion); 12] = [
        |c| c.op = Op::Send as u16,
        |c| c.status = 999,
        |c| c.socket ^= 1,
        |c| c.len = 101,
        |c| c.len = 1,
        |c| c.len = u32::MAX,
        |c| c.flags = 2,
        |c| c.flags = 4,
        |c| c.flags = 8,
        |c| c.address.family = 77,
        |c| c.packet = 1,
        |c| c.offset = 1,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let (mut parties, handle, forwarded) = receiving();
        let mut completion = honest(&forwarded);
        lie(&mut completion);
        parties.complete(0, completion);
        let answer = parties.answer(0);
        let seen = (answer.status, answer.len, answer.user_data, answer.socket);
        assert_eq!(seen, (GONE, 0, 0xfeed, handle), "lie {n}");
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        // The next request goes through.
        let (_, next) = parties.carry(0, Request::new(Op::Recv, handle, 1));
        assert_eq!(next.status, Status::Ok as u16);
    }
}

#[test]
fn answers_to_nothing_reach_nobody() {
    let (mut parties, _, forwarded) = receiving();
    let honest = forwarded.complete(Status::Ok);
    let tokens = [
        0,
        u64::MAX,
        honest.user_data ^ 1 << 32,
        honest.user_data ^ 1,
        honest.user_data ^ 1 << 16,
        honest.user_data ^ 7 << 16,
    ];
    for user_data in tokens {
        parties.complete(
            0,
            Completion {
                user_data,
                ..honest
            },
        );
        assert_eq!((parties.answered(0), parties.answered(1)), (None, None));
    }
    parties.complete(0, honest);
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    // Twice is a lie as well.
    parties.complete(0, honest);
    assert_eq!(parties.answered(0), None);
    assert_eq!(parties.count("server.faults"), 7);
}

#[test]
fn an_accept_must_yield_the_socket_that_was_reserved() {
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Tcp);
    parties.submit(0, Request::new(Op::Accept, handle, 1));
    let accept = parties.forwarded(0);
    assert_eq!(parties.manager.in_use(0).0, 2);
    parties.complete(0, accept.complete(Status::Ok));
    assert_eq!(
        parties.answer(0).status,
        GONE,
        "its own number is not the new one"
    );
    assert_eq!(parties.manager.in_use(0).0, 1);
    let (accept, answer) = parties.carry(0, Request::new(Op::Accept, handle, 2));
    assert_eq!(answer.status, Status::Ok as u16);
    assert_ne!(answer.socket, handle);
    let (recv, _) = parties.carry(0, Request::new(Op::Recv, answer.socket, 3));
    assert_eq!(u64::from(recv.socket), accept.arg);
}

#[test]
fn requests_left_open_by_a_close_are_answered() {
    let (mut parties, handle, _) = receiving();
    parties.submit(0, Request::new(Op::Close, handle, 2));
    let close = parties.forwarded(0);
    parties.complete(0, close.complete(Status::Ok));
    let (first, second) = (parties.answered(0).unwrap(), parties.answered(0).unwrap());
    assert_eq!((first.user_data, first.status), (0xfeed, GONE));
    assert_eq!((second.user_data, second.status), (2, Status::Ok as u16));
    assert_eq!(parties.manager.in_use(0), (0, 0));
    assert_eq!(parties.count("server.faults"), 1);
}

fn everything_fails(parties: &mut Parties, handle: u32) {
    assert_eq!(parties.count("servers.gone"), 1);
    let mut open = Request::new(Op::Open, 0, 5);
    open.arg = 1;
    assert_eq!(parties.refused(1, open).status, GONE);
    assert_eq!(
        parties.refused(0, Request::new(Op::Recv, handle, 6)).status,
        GONE
    );
    // Closing still gives the client's own number back.
    assert_eq!(
        parties
            .refused(0, Request::new(Op::Close, handle, 7))
            .status,
        GONE
    );
    assert_eq!(parties.manager.in_use(0), (0, 0));
}

#[test]
fn too_many_lies_end_it() {
    let (mut parties, handle, _) = receiving();
    for _ in 0..16 {
        parties.complete(0, Completion::default());
    }
    let answer = parties.answer(0);
    assert_eq!((answer.status, answer.user_data), (GONE, 0xfeed));
    everything_fails(&mut parties, handle);
}

#[test]
fn an_index_that_jumps_ends_it() {
    let (mut parties, handle, _) = receiving();
    let control = parties.servers[0].control;
    control.store32(FROM_SERVER_OFFSET + 64, 1 << 30).unwrap();
    parties.run();
    assert_eq!(parties.answer(0).status, GONE);
    everything_fails(&mut parties, handle);
}

#[test]
fn death_ends_it() {
    let (mut parties, handle, _) = receiving();
    parties.manager.server_died(0);
    parties.run();
    assert_eq!(parties.answer(0).status, GONE);
    everything_fails(&mut parties, handle);
}

#[test]
fn a_socket_lives_at_the_server_of_its_nic() {
    let mut parties = Parties::new(1, 2, QUOTA);
    let mut open = Request::new(Op::Open, 0, 5);
    open.arg = 1;
    open.address.nic = 1;
    parties.submit(0, open);
    let forwarded = parties.forwarded(1);
    parties.complete(1, forwarded.complete(Status::Ok));
    let handle = parties.answer(0).socket;
    parties.submit(0, Request::new(Op::Recv, handle, 1));
    let recv = parties.forwarded(1);
    // The other server cannot answer for it.
    parties.complete(0, recv.complete(Status::Ok));
    assert_eq!(parties.answered(0), None);
    parties.manager.server_died(0);
    parties.complete(1, recv.complete(Status::Ok));
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
}

#[test]
fn cancel_finds_the_callers_request_by_its_word() {
    let (mut parties, handle, recv) = receiving();
    let cancel = |arg| Request {
        arg,
        ..Request::new(Op::Cancel, handle, 3)
    };
    let missing = parties.refused(0, cancel(1));
    assert_eq!(missing.status, Status::NotFound as u16);
    parties.submit(0, cancel(0xfeed));
    let forwarded = parties.forwarded(0);
    assert_eq!(forwarded.arg, recv.user_data);
}
