//! Clients that send nonsense: refused with the field's name, or cut off, and
//! nobody else notices.
//!
//! With the feature `mutation-no-validation` these tests must fail: that is
//! what shows that they test something.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use std::mem::offset_of;

use parties::{DATA, DATA_BYTES, Parties, QUOTA, Setup, TEXT, TEXT_BYTES};
use proptest::prelude::*;
use shared_ring::RingLayout;
use socket_api::{
    Account, CLIENT_RING, COMPLETIONS_OFFSET, Extent, Op, Passing, REQUESTS_OFFSET, Request,
    Semantics, SocketKind, Status, Technique, WireAddress, flags,
};
use zerocopy::FromBytes;

fn address(port: u16) -> WireAddress {
    std::net::SocketAddr::from(([10, 0, 2, 2], port)).into()
}

/// One good request of every operation that clients may ask for.
fn good(socket: u32) -> Vec<Request> {
    let new = |op| Request::new(op, socket, 0xabcd);
    let bare = |op| Request::new(op, 0, 0xabcd);
    let extent = Extent {
        address: DATA + 4096,
        len: 100,
    };
    vec![
        Request {
            arg: SocketKind::Udp as u64,
            ..bare(Op::Open)
        },
        Request {
            address: address(7),
            ..new(Op::Bind)
        },
        Request {
            address: address(7),
            ..new(Op::Connect)
        },
        Request {
            arg: 5,
            ..new(Op::Listen)
        },
        new(Op::Accept),
        Request {
            extent,
            address: address(9),
            ..new(Op::Send)
        },
        Request {
            extent,
            ..new(Op::Recv)
        },
        Request {
            arg: 3,
            ..new(Op::Shutdown)
        },
        Request {
            extent,
            arg: 1000,
            ..bare(Op::Resolve)
        },
        bare(Op::AwaitAddress),
        new(Op::Close),
    ]
}

/// The account is answered by the manager itself.
fn account() -> Request {
    Request {
        extent: Extent {
            address: DATA + 256,
            len: size_of::<Account>() as u32,
        },
        ..Request::new(Op::Account, 0, 0xabcd)
    }
}

const ADDRESS: usize = offset_of!(Request, address);
const ARG: usize = offset_of!(Request, arg);
const EXTENT: usize = offset_of!(Request, extent);

fn forced(semantics: Semantics, technique: Technique) -> u32 {
    Passing {
        semantics,
        forced: Some(technique),
    }
    .word()
}

/// An exchange of two pages.
fn exchange() -> Request {
    let mut request = Request::new(Op::Exchange, 0, 0xabcd);
    request.extent = Extent {
        address: DATA,
        len: 4096,
    };
    request.arg = u64::from(DATA + 8192);
    request
}

/// `request` with one field wrong each, and the field's offset.
fn wrong(request: &Request) -> Vec<(usize, Request)> {
    let op = Op::from_number(request.op).unwrap();
    let r = *request;
    let mut all = vec![
        (
            offset_of!(Request, flags),
            Request {
                flags: 1 << 15,
                ..r
            },
        ),
        (offset_of!(Request, client), Request { client: 1, ..r }),
    ];
    let mut words = vec![9, 0x100, 0xb01, 0x1_0001, u32::MAX];
    if matches!(op, Op::Send) {
        // Techniques of the other direction, or of other semantics.
        let copy_in = Technique::CopyIn;
        words.extend([
            forced(Semantics::EmulatedCopy, copy_in),
            forced(Semantics::Copy, Technique::Hide),
        ]);
    } else if matches!(op, Op::Recv) {
        words.extend([forced(Semantics::EmulatedCopy, Technique::InPlace), 0x301]);
    } else {
        words.push(1);
    }
    let passing = offset_of!(Request, passing);
    all.extend(
        words
            .into_iter()
            .map(|w| (passing, Request { passing: w, ..r })),
    );
    if !matches!(op, Op::Send | Op::Recv) {
        let flags = flags::BLOCKED;
        all.push((offset_of!(Request, flags), Request { flags, ..r }));
    }
    if !matches!(op, Op::Bind) {
        let flags = flags::REUSE_ADDRESS;
        all.push((offset_of!(Request, flags), Request { flags, ..r }));
    }
    for number in [0, 13, 16, 255, 0x100, u16::MAX] {
        all.push((offset_of!(Request, op), Request { op: number, ..r }));
    }
    let end = DATA + DATA_BYTES;
    let mut extents = vec![
        (end, 128),
        (end - 127, 128),
        (DATA - 1, 128),
        (u32::MAX, u32::MAX),
        (u32::MAX - 126, 128),
        (0, 128),
    ];
    match op {
        Op::Recv => extents.extend([(TEXT, 128), (DATA, DATA_BYTES + 1), (end - 4096, u32::MAX)]),
        Op::Send => extents.extend([
            (TEXT, TEXT_BYTES + 1),
            (DATA, DATA_BYTES + 1),
            (TEXT - 1, 2),
        ]),
        Op::Resolve => extents.extend([(DATA, 0), (DATA, 254)]),
        Op::Account => extents.extend([(DATA, 127), (TEXT, 128)]),
        Op::Exchange => extents.extend([(DATA, 0), (DATA + 1, 4096), (TEXT, 4096)]),
        _ => extents.extend([(0, 1), (1, 0)]),
    }
    for (address, len) in extents {
        let extent = Extent { address, len };
        all.push((EXTENT, Request { extent, ..r }));
    }
    let mut addresses = vec![
        WireAddress {
            family: 5,
            ..address(1)
        },
        WireAddress {
            family: 0,
            ..address(1)
        },
        WireAddress {
            nic: 1,
            ..r.address
        },
        WireAddress {
            nic: u32::MAX,
            ..r.address
        },
    ];
    if !matches!(op, Op::Bind | Op::Connect | Op::Send) {
        addresses.push(address(1));
    }
    let mut long = address(1);
    long.octets[15] = 1;
    addresses.push(long);
    all.extend(
        addresses
            .into_iter()
            .map(|address| (ADDRESS, Request { address, ..r })),
    );
    let args: &[u64] = match op {
        Op::Open => &[0, 4, u64::MAX, 1 << 16 | 1, 1 << 18 | 3],
        Op::Listen => &[0, 1025, u64::MAX],
        Op::Shutdown => &[0, 4, u64::MAX],
        Op::Resolve => &[0, 15, 99, u32::MAX as u64, u64::MAX],
        Op::Close => &[],
        Op::Exchange => &[1 << 32, u64::MAX],
        _ => &[1, u64::MAX],
    };
    all.extend(args.iter().map(|arg| (ARG, Request { arg: *arg, ..r })));
    all
}

#[test]
fn each_wrong_field_is_named_and_goes_no_further() {
    let quota = io_manager::Quota {
        queued_bytes: 1 << 20,
        ..QUOTA
    };
    let mut parties = Parties::new(1, 1, quota);
    let (handle, _) = parties.open(0, SocketKind::Tcp);
    let mut cases = 0;
    for request in good(handle).into_iter().chain([account(), exchange()]) {
        for (offset, wrong) in wrong(&request) {
            let completion = parties.refused(0, wrong);
            assert_eq!(completion.status, Status::BadRequest as u16, "{wrong:?}");
            assert_eq!(completion.arg, offset as u64, "{wrong:?}");
            assert!(parties.servers[0].requests.is_empty());
            cases += 1;
        }
    }
    assert!(cases > 300, "{cases}");
    assert_eq!(parties.count("refused.field"), cases);
    // And the good ones do pass, so it was the field.
    let told = parties.refused(0, account());
    assert_eq!((told.status, told.len), (Status::Ok as u16, 128));
    for request in good(handle) {
        let (_, completion) = parties.carry(0, request);
        assert_eq!(completion.status, Status::Ok as u16, "{request:?}");
    }
    parties.assert_settled();
}

#[test]
fn a_client_reads_its_own_account() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let mut send = Request::new(Op::Send, handle, 1);
    send.extent = Extent {
        address: DATA,
        len: 100,
    };
    let (_, sent) = parties.carry(0, send);
    assert_eq!(sent.status, Status::Ok as u16);
    parties.refused(0, account());
    let bytes = parties.load(0, DATA + 256, 128);
    let account = Account::read_from_bytes(&bytes[..]).unwrap();
    assert_eq!((account.copied_out, account.copied_in), (100, 0));
    assert_eq!((account.requests, account.completions), (3, 2));
    assert_ne!(account.signals, 0);
    let others = parties.load(1, DATA + 256, 128);
    assert_eq!(others, [0; 128]);
}

#[test]
fn who_has_threads_is_not_believed_to_wait() {
    for (threads, technique) in [(1, "output.reference"), (2, "output.copy-out")] {
        let mut parties = Parties::with(Setup {
            threads,
            ..Setup::ONE
        });
        let (handle, _) = parties.open(0, SocketKind::Tcp);
        let mut send = Request::new(Op::Send, handle, 1);
        send.flags = flags::BLOCKED;
        parties.pass(0, send, (DATA, 4096));
        assert_eq!(parties.count(technique), 1);
        // Not even if it insists.
        send.passing = forced(Semantics::EmulatedCopy, Technique::Reference);
        send.extent = Extent {
            address: DATA,
            len: 4096,
        };
        parties.submit(0, send);
        assert_eq!(parties.answered(0).is_some(), threads == 2);
    }
}

#[test]
fn requests_without_a_socket_must_name_none() {
    let mut parties = Parties::one();
    for request in good(0) {
        let op = Op::from_number(request.op).unwrap();
        if matches!(op, Op::Open | Op::Resolve | Op::AwaitAddress) {
            let completion = parties.refused(
                0,
                Request {
                    socket: 5,
                    ..request
                },
            );
            assert_eq!(completion.arg, offset_of!(Request, socket) as u64);
        }
    }
}

#[test]
fn handles_of_others_and_of_the_past_are_refused() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (mine, _) = parties.open(0, SocketKind::Udp);
    let (others, _) = parties.open(1, SocketKind::Udp);
    let (second, _) = parties.open(0, SocketKind::Udp);
    let send = |socket| Request::new(Op::Recv, socket, 1);
    let (_, closed) = parties.carry(0, Request::new(Op::Close, second, 2));
    assert_eq!(closed.status, Status::Ok as u16);
    let bad = |parties: &mut Parties, handle: u32| {
        let completion = parties.refused(0, send(handle));
        assert_eq!(completion.status, Status::BadSocket as u16, "{handle:#x}");
    };
    bad(&mut parties, second);
    bad(&mut parties, 0);
    bad(&mut parties, u32::MAX);
    bad(&mut parties, mine ^ 0x1_0000);
    bad(&mut parties, mine + 2);
    // The slot is used again under another handle; the old one stays void.
    let (third, _) = parties.open(0, SocketKind::Udp);
    assert_ne!(third, second);
    bad(&mut parties, second);
    // Client 1 has the same handles as client 0, each with sockets of its own.
    assert_eq!(mine, others);
    let (first_at_server, _) = parties.carry(0, send(mine));
    let (second_at_server, _) = parties.carry(1, send(others));
    assert_ne!(first_at_server.socket, second_at_server.socket);
    assert_eq!((first_at_server.client, second_at_server.client), (0, 1));
}

#[test]
fn a_closing_socket_takes_nothing_more() {
    let mut parties = Parties::one();
    let (handle, _) = parties.open(0, SocketKind::Udp);
    parties.submit(0, Request::new(Op::Close, handle, 1));
    let close = parties.forwarded(0);
    let refused = parties.refused(0, Request::new(Op::Recv, handle, 2));
    assert_eq!(refused.status, Status::BadSocket as u16);
    parties.complete(0, close.complete(Status::Ok));
    assert_eq!(parties.answer(0).user_data, 1);
    assert_eq!(parties.manager.in_use(0), (0, 0));
}

#[test]
fn quotas_hold_and_come_back() {
    let mut parties = Parties::one();
    let handles: Vec<_> = (0..4).map(|_| parties.open(0, SocketKind::Tcp).0).collect();
    let mut open = Request::new(Op::Open, 0, 9);
    open.arg = 1;
    let full = parties.refused(0, open);
    assert_eq!((full.status, full.arg), (Status::QuotaExceeded as u16, 0));
    // An accept would make a socket too.
    let full = parties.refused(0, Request::new(Op::Accept, handles[0], 9));
    assert_eq!((full.status, full.arg), (Status::QuotaExceeded as u16, 0));
    let mut send = Request::new(Op::Send, handles[0], 5);
    send.extent = Extent {
        address: DATA,
        len: QUOTA.queued_bytes,
    };
    parties.submit(0, send);
    let first = parties.forwarded(0);
    send.extent.len = 1;
    let full = parties.refused(0, send);
    assert_eq!((full.status, full.arg), (Status::QuotaExceeded as u16, 2));
    parties.complete(0, first.complete(Status::Ok));
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    for n in 0..16 {
        parties.submit(0, Request::new(Op::Recv, handles[1], n));
    }
    let full = parties.refused(0, Request::new(Op::Recv, handles[1], 99));
    assert_eq!((full.status, full.arg), (Status::QuotaExceeded as u16, 1));
    assert_eq!(parties.manager.in_use(0), (4, 16));
    assert_eq!(parties.count("outstanding.client"), 16);
    assert_eq!(parties.count("refused.quota"), 4);
}

/// Client 1 still gets its requests through.
fn others_go_on(parties: &mut Parties) {
    let mut open = Request::new(Op::Open, 0, 5);
    open.arg = 2;
    let (_, completion) = parties.carry(1, open);
    assert_eq!(completion.status, Status::Ok as u16);
}

/// The server is told to forget client 0, which is never served again.
fn is_cut_off(parties: &mut Parties) {
    parties.run();
    let drop = parties.forwarded(0);
    assert_eq!((drop.op, drop.client), (Op::DropClient as u16, 0));
    assert!(!parties.manager.is_served(0));
    parties.complete(0, drop.complete(Status::Ok));
    assert_eq!(parties.manager.in_use(0), (0, 0));
    assert_eq!(parties.count("clients.cut-off"), 1);
    others_go_on(parties);
}

#[test]
fn a_request_index_that_jumps_cuts_off() {
    for jump in [513, 1 << 31, u32::MAX] {
        let mut parties = Parties::new(2, 1, QUOTA);
        parties.open(0, SocketKind::Udp);
        let control = parties.clients[0].control;
        let tail = control.word32(REQUESTS_OFFSET + 64).unwrap();
        tail.fetch_add(jump, std::sync::atomic::Ordering::SeqCst);
        is_cut_off(&mut parties);
    }
}

#[test]
fn a_completion_index_that_jumps_cuts_off() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let control = parties.clients[0].control;
    control
        .store32(COMPLETIONS_OFFSET + 128, 0x8000_0000)
        .unwrap();
    // The manager looks at that index when it believes the ring full.
    let mut rounds = 0;
    while parties.manager.is_served(0) {
        let client = &mut parties.clients[0];
        client
            .requests
            .push(&Request::new(Op::Listen, handle, 1))
            .unwrap();
        let _ = client.requests.publish();
        parties.run();
        rounds += 1;
        assert!(rounds <= CLIENT_RING.capacity);
    }
    is_cut_off(&mut parties);
}

#[test]
fn a_client_that_takes_no_completions_stalls_itself_only() {
    let mut parties = Parties::new(2, 1, QUOTA);
    for _ in 0..CLIENT_RING.capacity + 100 {
        let client = &mut parties.clients[0];
        let _ = client.requests.push(&Request::default());
        let _ = client.requests.publish();
        parties.run();
    }
    others_go_on(&mut parties);
    let mut taken = 0;
    while parties.answered(0).is_some() {
        taken += 1;
    }
    assert_eq!(taken, CLIENT_RING.capacity);
    // Having taken them, it is served again when it signals.
    parties.submit(0, Request::default());
    assert!(parties.answered(0).is_some());
}

#[test]
fn a_damaged_header_cuts_off_from_the_start() {
    for (offset, value) in [
        (0, 7),
        (4, 2 | 64 << 16),
        (4, 1 | 72 << 16),
        (8, 1024),
        (12, 1),
    ] {
        for ring in [REQUESTS_OFFSET, COMPLETIONS_OFFSET] {
            let setup = Setup {
                clients: 2,
                ..Setup::ONE
            };
            let mut parties = Parties::damaged(setup, |index, control| {
                if index == 0 {
                    control.store32(ring + offset, value).unwrap();
                }
            });
            parties.run();
            assert!(!parties.manager.is_served(0));
            assert_eq!(parties.count("clients.cut-off"), 1);
            others_go_on(&mut parties);
        }
    }
}

#[test]
fn a_dead_client_leaves_nothing() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    parties.submit(0, Request::new(Op::Recv, handle, 1));
    let recv = parties.forwarded(0);
    parties.manager.client_died(0);
    parties.manager.client_died(0);
    parties.run();
    let drop = parties.forwarded(0);
    assert_eq!((drop.op, drop.client), (Op::DropClient as u16, 0));
    // Too late, but no harm.
    parties.complete(0, recv.complete(Status::Ok));
    assert_eq!(parties.answered(0), None);
    parties.complete(0, drop.complete(Status::Ok));
    assert_eq!(parties.manager.in_use(0), (0, 0));
    assert_eq!(parties.count("server.faults"), 0);
    assert_eq!(parties.count("clients.dead"), 1);
    others_go_on(&mut parties);
}

#[test]
fn a_flood_does_not_hold_up_the_others() {
    let mut parties = Parties::new(2, 1, QUOTA);
    for n in 0..200 {
        let request = Request::new(Op::AwaitAddress, 1, n);
        parties.clients[0].requests.push(&request).unwrap();
    }
    let _ = parties.clients[0].requests.publish();
    let request = Request::new(Op::AwaitAddress, 0, 3);
    parties.clients[1].requests.push(&request).unwrap();
    let _ = parties.clients[1].requests.publish();
    // One turn: a share of the flood, and the other's request.
    parties.manager.turn(&mut parties.rung);
    parties.servers[0].take();
    assert_eq!(parties.forwarded(0).client, 1);
    let mut flood = 0;
    while parties.answered(0).is_some() {
        flood += 1;
    }
    assert_eq!(flood, u32::from(QUOTA.share));
}

#[test]
fn too_much_quota_is_cut_to_what_the_server_ring_holds() {
    let quota = parties::QUOTA;
    let quota = io_manager::Quota {
        requests: 512,
        ..quota
    };
    let mut parties = Parties::new(16, 1, quota);
    for client in 0..16 {
        for n in 0..512 {
            let request = Request::new(Op::AwaitAddress, 0, n);
            parties.clients[client].requests.push(&request).unwrap();
        }
        let _ = parties.clients[client].requests.publish();
    }
    parties.run();
    assert_eq!(parties.servers[0].requests.len(), 16 * 255);
    assert_eq!(parties.count("servers.gone"), 0);
}

#[test]
fn rings_have_the_layout_that_the_tests_break() {
    assert_eq!(CLIENT_RING, RingLayout::new(64, 512));
}

proptest! {
    // No file of failures: with the mutation it fails as it should.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Whatever bytes a client sends: an answer each, and whatever is
    /// forwarded is on its own sockets.
    #[test]
    fn any_bytes_are_answered_or_legal(
        requests in proptest::collection::vec((any::<[u8; 64]>(), any::<u16>()), 1..40),
    ) {
        let mut parties = Parties::new(2, 1, QUOTA);
        let (_, number) = parties.open(0, SocketKind::Tcp);
        for (bytes, mask) in requests {
            let mut request = Request::read_from_bytes(&bytes[..]).unwrap();
            // Mostly plausible: random fields alone never get far.
            request.op = 1 + mask % 16;
            if mask & 16 != 0 { request.flags &= flags::BLOCKED }
            if mask & 32 != 0 { request.socket = 1 << 16 }
            if mask & 64 != 0 { request.extent.address = DATA + request.extent.address % DATA_BYTES }
            if mask & 1024 != 0 { request.extent.len %= 8192 }
            if mask & 2048 != 0 { request.extent = Extent::default() }
            if mask & 128 != 0 { request.address = WireAddress::NONE }
            if mask & 256 != 0 { request.arg %= 4 }
            if mask & 512 != 0 { request.passing = 0 }
            request.client = 0;
            parties.submit(0, request);
            if let Some(forwarded) = parties.servers[0].requests.pop_front() {
                prop_assert_eq!(forwarded.client, 0);
                prop_assert_eq!(forwarded.passing, 0);
                prop_assert!(forwarded.socket < number + 4);
                parties.complete(0, forwarded.complete(Status::TimedOut));
            }
            let completion = parties.answered(0);
            prop_assert_eq!(completion.map(|c| c.user_data), Some(request.user_data));
        }
        parties.assert_settled();
    }
}
