//! Requests that nobody should make.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use proptest::prelude::*;
use socket_api::{Op, Receives, Request, SERVER_REQUESTS, SocketKind, Status, kind};
use support::*;

#[test]
fn every_field_of_a_request_is_checked() {
    let mut w = udp_world();
    w.listen(1, 8, 4);
    let refused = |w: &mut World, request: Request, status: Status, arg: u64| {
        let got = w.call(request);
        assert_eq!((got.status, got.arg), (status as u16, arg), "{request:?}");
    };
    let bad = Status::BadRequest;
    for op in Op::ALL {
        let base = Request::new(*op, 0, 0);
        refused(
            &mut w,
            Request {
                flags: 0x8000,
                ..base
            },
            bad,
            2,
        );
        refused(&mut w, Request { passing: 1, ..base }, bad, 60);
    }
    refused(
        &mut w,
        Request {
            op: 999,
            ..Request::default()
        },
        bad,
        0,
    );
    refused(
        &mut w,
        Request {
            op: 0,
            ..Request::default()
        },
        bad,
        0,
    );
    let recv = World::recv(0, 0, 10);
    for socket in [1000, u32::MAX, 77] {
        refused(&mut w, Request { socket, ..recv }, Status::BadSocket, 0);
    }
    refused(&mut w, Request { client: 1, ..recv }, Status::BadSocket, 0);
    let open = Request::new(Op::Open, 50, 0);
    for arg in [0, 3, u64::MAX] {
        refused(&mut w, Request { arg, ..open }, bad, 48);
    }
    refused(
        &mut w,
        Request {
            socket: 0,
            arg: 1,
            ..open
        },
        bad,
        4,
    );
    refused(
        &mut w,
        Request {
            socket: 200,
            arg: 1,
            ..open
        },
        Status::NoResources,
        0,
    );
    w.open(2, SocketKind::Tcp);
    let mut bind = Request::new(Op::Bind, 2, 0);
    refused(&mut w, bind, bad, 24 + 18);
    bind.address = address([10, 0, 0, 3].into(), 5);
    refused(&mut w, bind, Status::AddressNotAvailable, 0);
    bind.address.nic = 1;
    refused(&mut w, bind, bad, 24 + 20);
    bind.address = std::net::SocketAddr::from(([0u16; 8], 5)).into();
    refused(&mut w, bind, Status::Unsupported, 0);
    let mut connect = Request::new(Op::Connect, 2, 0);
    connect.address = address(PEER_IP, 0);
    refused(&mut w, connect, bad, 24 + 16);
    for ip in [[0, 0, 0, 0], [224, 0, 0, 1], [255; 4], [127, 0, 0, 1]] {
        connect.address = address(ip.into(), 80);
        refused(&mut w, connect, bad, 24);
    }
    refused(
        &mut w,
        Request::new(Op::Listen, 2, 0),
        Status::InvalidState,
        0,
    );
    refused(&mut w, World::accept(2, 9), Status::InvalidState, 0);
    refused(&mut w, World::accept(1, 0), bad, 48);
    refused(&mut w, World::accept(1, u32::MAX), Status::NoResources, 0);
    refused(&mut w, World::send(2, 0, 1), Status::NotConnected, 0);
    refused(&mut w, Request::new(Op::Shutdown, 2, 0), bad, 48);
    let resolve = Request {
        op: Op::Resolve as u16,
        extent: recv.extent,
        ..Request::default()
    };
    refused(&mut w, Request { arg: 15, ..resolve }, bad, 48);
}

#[test]
fn random_requests_never_break_the_server() {
    let mut w = udp_world();
    w.listen(1, 8, 4);
    let mut lcg = Lcg(77);
    let odd = [
        0u64,
        1,
        2,
        3,
        15,
        16,
        255,
        4096,
        u64::from(u32::MAX),
        u64::MAX,
    ];
    for round in 0..30_000u64 {
        let mut pick = || odd[lcg.below(odd.len() as u64) as usize];
        let mut request = Request {
            op: pick() as u16,
            flags: pick() as u16 & 7,
            socket: pick() as u32 & 0xff,
            user_data: round,
            client: (pick() & 1) as u32,
            arg: pick(),
            ..Request::default()
        };
        request.extent.address = pick() as u32 & 0xfffff;
        request.extent.len = pick() as u32 & 0xffff;
        request.op = 1 + lcg.below(13) as u16;
        request.address = address(
            [10, 0, 0, 1 + lcg.below(3) as u8].into(),
            lcg.below(10) as u16,
        );
        w.env.requests.push_back(request);
        if round % 16 == 0 {
            w.step(5000);
            w.env.completions.clear();
        }
    }
    for client in [0, 1] {
        let mut drop = Request::new(Op::DropClient, 0, 0);
        drop.client = client;
        ok(&w.call(drop));
    }
    w.now_us += 120_000_000;
    for _ in 0..100 {
        w.step(10_000);
    }
    assert_eq!(w.count(Counter::SocketsInUse), 0);
    assert_eq!(w.count(Counter::RequestsPending), 0);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    assert_eq!(w.count(Counter::UdpQueuesFree), 64);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
    assert!(w.env.held.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn arbitrary_bytes_never_panic(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20), verified: bool) {
        let mut w = udp_world();
        w.env.verified = verified;
        for mut frame in frames {
            // Past the first check more often than not.
            if frame.len() > 14 && frame[0] & 1 == 0 {
                frame[..6].copy_from_slice(&SERVER_MAC);
                frame[6] &= 0xfe;
                frame[13] = 6 * (frame[12] & 1);
                frame[12] = 8;
            }
            w.env.to_server.push_back(frame);
        }
        w.step(1000);
    }
}

#[test]
fn receives_of_sockets_that_cannot_have_them_are_the_managers_fault() {
    let mut w = udp_world();
    w.open(1, SocketKind::Tcp);
    let right = Receives {
        kind: kind::RECEIVES,
        token: 1 << 63,
        count: 1,
        ..Receives::default()
    };
    let most = SERVER_REQUESTS;
    let lies = [
        Receives { socket: 1, ..right },
        Receives { socket: 2, ..right },
        Receives {
            socket: u32::MAX,
            ..right
        },
        Receives { client: 1, ..right },
        Receives { count: 0, ..right },
        Receives {
            count: most + 1,
            ..right
        },
        Receives {
            count: u32::MAX,
            ..right
        },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        w.env.raw.push_back(lie.into());
        w.step(1000);
        assert_eq!(w.count(Counter::ManagerFaults), n as u64 + 1);
        assert_eq!(w.count(Counter::RequestsPending), 0);
    }
    // As many as there can be, and no more.
    let all = Receives {
        count: most,
        ..right
    };
    for receives in [all, right] {
        w.env.raw.push_back(receives.into());
    }
    w.step(1000);
    assert_eq!(w.count(Counter::ManagerFaults), 8);
    assert_eq!(w.count(Counter::RequestsPending), u64::from(most));
}
