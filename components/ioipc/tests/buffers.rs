//! Buffers of the system's: what is passed on is not copied, pages that were
//! moved away are not used, and all come back.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::atomic::Ordering::Relaxed;

use ioipc::net::UdpSocket;
use ioipc::{Buffer, Datagram, ErrorKind, Interest, Passing, Poll, Quota, Semantics, Stack};
use proptest::prelude::*;
use socket_api::{Op, Request, flags};
use world::memory::{DATA, Page};
use world::sockets::{buffer, host, pair, udp};
use world::{Size, World};

const MOVES: [Semantics; 4] = [
    Semantics::Move,
    Semantics::EmulatedMove,
    Semantics::WeakMove,
    Semantics::EmulatedWeakMove,
];

/// The last request of a kind; everything asked before has arrived.
fn last(world: &World, op: Op) -> Request {
    world.stacks[0].account().unwrap();
    *world.hosts[0].asked(op).last().unwrap()
}

#[test]
fn a_datagram_is_sent_back_in_the_slot_it_came_in() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    a.send_to(b"there and back", host(1001)).unwrap();
    let received = b.recv_buffer().unwrap();
    assert_eq!(received.peer(), Some(host(1000).into()));
    let copied = stack.counters().copied();
    b.send_datagram(received).unwrap();
    let mut datagram = a.recv_buffer().unwrap();
    assert_eq!(&datagram[..], b"there and back");
    assert_eq!(stack.counters().copied(), copied);
    let sent = last(&world, Op::Send);
    let slot = |r: &Request| r.extent.address == sent.extent.address;
    assert!(client.asked(Op::Recv).iter().any(slot));
    assert_eq!(sent.passing, Passing::new(Semantics::EmulatedShare).word());
    // Both ways to reach the bytes reach the same.
    datagram[0] = b'T';
    assert!(datagram.write(1, b"HERE") && !datagram.write(13, b"xx"));
    let mut start = [0; 6];
    assert!(datagram.read(0, &mut start));
    assert_eq!(&start, b"THERE ");
    drop((a, b, datagram));
    world.settle(0);
}

#[test]
fn each_system_allocated_semantics_moves_what_it_says() {
    for semantics in MOVES {
        let world = World::one();
        let (stack, client) = (world.stacks[0], world.hosts[0]);
        let (a, b) = (udp(stack, 1000), udp(stack, 1001));
        let passing = Passing::new(semantics);
        a.set_send_semantics(passing);
        b.set_receive_semantics(passing);
        let bytes: Vec<u8> = (0..10_000).map(|n| (n % 251) as u8).collect();
        for round in 0..10 {
            let to = host(1001).into();
            a.send_buffer_to(buffer(stack, &bytes), to).unwrap();
            let sent = last(&world, Op::Send);
            assert_eq!((sent.passing, sent.extent.len), (passing.word(), 10_000));
            let landed = b.recv_buffer().unwrap();
            // Datagrams are received into blocks of a page.
            assert!(landed[..] == bytes[..4096], "{semantics} in round {round}");
            assert_eq!(last(&world, Op::Recv).passing, passing.word());
        }
        let count = |page| client.memory.count(page);
        let (gone, hidden) = match semantics {
            // Three pages at a time, of blocks of four; none can be sent again.
            Semantics::Move => (30, 0),
            Semantics::EmulatedMove => (0, 30),
            _ => (0, 0),
        };
        assert_eq!((count(Page::Gone), count(Page::Hidden)), (gone, hidden));
        assert_eq!(stack.counters().copied(), 0);
        drop((a, b));
        world.settle(0);
    }
}

#[test]
fn pages_that_left_come_back_with_what_is_received() {
    for semantics in [Semantics::Move, Semantics::EmulatedMove] {
        let world = World::one();
        let (stack, client) = (world.stacks[0], world.hosts[0]);
        let (a, b) = (udp(stack, 1000), udp(stack, 1001));
        let passing = Passing::new(semantics);
        let away = || client.memory.count(Page::Gone) + client.memory.count(Page::Hidden);
        for round in 0..300u16 {
            let sent = buffer(stack, &round.to_le_bytes());
            let to = host(1001).into();
            a.send_buffer_to_with(sent, to, passing).unwrap();
            let landed = b.recv_buffer_with(passing).unwrap();
            assert_eq!(landed[..], round.to_le_bytes());
            assert!(away() <= 2, "{} pages are away", away());
        }
        drop((a, b));
        world.settle(0);
    }
}

#[test]
fn a_slot_smaller_than_a_page_is_copied_rather_than_moved() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    for (semantics, instead) in [
        (Semantics::Move, Semantics::Copy),
        (Semantics::EmulatedMove, Semantics::Copy),
        (Semantics::WeakMove, Semantics::EmulatedShare),
    ] {
        a.send_to(b"x", host(1001)).unwrap();
        let slot = b.recv_buffer().unwrap().into_buffer();
        let passing = Passing::new(semantics);
        b.send_buffer_to_with(slot, host(1000).into(), passing)
            .unwrap();
        let sent = last(&world, Op::Send);
        assert_eq!(sent.passing, Passing::new(instead).word());
        assert_eq!(a.recv(&mut [0; 4]).unwrap(), 1);
    }
    assert_eq!(client.memory.count(Page::There), 512);
}

#[test]
fn application_allocated_semantics_are_not_for_receiving_buffers() {
    let world = World::one();
    let socket = udp(world.stacks[0], 1000);
    let refused = socket.recv_buffer_with(Passing::DEFAULT).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn streams_carry_buffers_both_ways() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = pair(stack);
    let bytes: Vec<u8> = (0..50_000).map(|n| (n ^ n >> 8) as u8).collect();
    a.send_buffer(buffer(stack, &bytes)).unwrap();
    a.send_buffer(Buffer::alloc_on(stack, 0).unwrap()).unwrap();
    let sent = last(&world, Op::Send);
    assert!(sent.extent.address >= DATA && sent.extent.address.is_multiple_of(4096));
    assert_eq!(sent.extent.len, 50_000, "nothing is no request");
    // A part is read, the rest comes as a buffer.
    let mut start = [0; 100];
    assert_eq!(b.read(&mut start).unwrap(), 100);
    assert_eq!(start[..], bytes[..100]);
    let mut at = 100;
    while at < bytes.len() {
        let got = b.recv_buffer().unwrap().unwrap();
        assert!(got[..] == bytes[at..at + got.len()]);
        at += got.len();
        b.send_buffer(got).unwrap();
    }
    let mut back = vec![0; bytes.len() - 100];
    let mut at = 0;
    while at < back.len() {
        at += a.read(&mut back[at..]).unwrap();
    }
    assert!(back[..] == bytes[100..]);
    assert_eq!(stack.counters().copied_out, 0);
    drop(a);
    assert!(b.recv_buffer().unwrap().is_none());
    let ended = b.recv_buffer_with(Passing::new(Semantics::EmulatedMove));
    assert!(ended.unwrap().is_none());
    drop(b);
    world.settle(0);
}

#[test]
fn what_cannot_be_sent_comes_back() {
    let world = World::new(Size {
        quota: Quota {
            sockets: 8,
            requests: 64,
            queued_bytes: 32 << 10,
        },
        ..Size::default()
    });
    let stack = world.stacks[0];
    let socket = udp(stack, 1000);
    socket.set_nonblocking(true);
    world.switches.hold_sends.store(true, Relaxed);
    let send = |len| {
        let to = host(1001).into();
        socket.send_buffer_to(buffer(stack, &vec![1; len]), to)
    };
    send(20_000).unwrap();
    let unsent = send(20_000).unwrap_err();
    assert_eq!(unsent.error.kind(), ErrorKind::WouldBlock);
    assert_eq!(unsent.item[..], [1; 20_000]);
    let unsent = send(40_000).unwrap_err();
    assert_eq!(unsent.error.kind(), ErrorKind::QuotaExceeded);
    let mut many: Vec<_> = (0..8)
        .map(|n| Some(Datagram::new(buffer(stack, &[n; 3000]), host(1001).into())))
        .collect();
    assert_eq!(socket.send_datagrams(&mut many).unwrap(), 4);
    assert!(many[..4].iter().all(Option::is_none));
    assert!(many[4..].iter().all(Option::is_some));
    let full = socket.send_datagrams(&mut many).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    world.switches.hold_sends.store(false, Relaxed);
    world.nudge();
    socket.set_nonblocking(false);
    assert_eq!(socket.send_datagrams(&mut many).unwrap(), 4);
    assert_eq!(socket.send_datagrams(&mut many).unwrap(), 0);
}

#[test]
fn buffers_leave_sockets_their_share() {
    let world = World::one();
    let stack = world.stacks[0];
    let mut held = Vec::new();
    let full = loop {
        match Buffer::alloc_on(stack, 100_000) {
            Ok(buffer) => held.push(buffer),
            Err(e) => break e.kind(),
        }
    };
    assert_eq!(full, ErrorKind::OutOfMemory);
    assert!(held.iter().all(|b| b.capacity() >= b.len()));
    assert_eq!(held.len(), 12, "of 128 KiB in three quarters of 2 MiB");
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    a.send_to(b"still", host(1001)).unwrap();
    assert_eq!(b.recv(&mut [0; 8]).unwrap(), 5);
    let huge = Buffer::alloc_on(stack, 3 << 20).unwrap_err();
    assert_eq!(huge.kind(), ErrorKind::InvalidInput);
    drop(held);
    let large = Buffer::alloc_on(stack, 1 << 20).unwrap();
    assert_eq!(large.capacity(), 1 << 20);
}

#[test]
fn bursts_are_received_and_sent_at_once() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let poll = Poll::new_on(stack).unwrap();
    poll.register(&b, 1, Interest::READABLE).unwrap();
    for n in 0..64u8 {
        a.send_to(&[n], host(1001)).unwrap();
    }
    let mut batch = [const { None }; 16];
    let mut next = 0;
    while next < 64 {
        let count = b.recv_datagrams(&mut batch).unwrap();
        for datagram in batch[..count].iter().flatten() {
            assert_eq!(datagram[..], [next]);
            next += 1;
        }
        assert_eq!(b.send_datagrams(&mut batch[..count]).unwrap(), count);
    }
    for n in 0..64u8 {
        let mut buf = [0; 4];
        assert_eq!(a.recv(&mut buf).unwrap(), 1);
        assert_eq!(buf[0], n);
    }
}

/// Sends `count` datagrams to `b` and back, through its slots.
fn echo(stack: &'static Stack, a: &UdpSocket, b: &UdpSocket, poll: &Poll, count: usize) {
    for n in 0..count {
        a.send_to(&[n as u8; 9], host(1001)).unwrap();
    }
    let mut batch = [const { None }; 64];
    let mut back = 0;
    while back < count {
        let mut events = [ioipc::Event::default(); 4];
        poll.wait(&mut events, None).unwrap();
        let received = b.recv_datagrams(&mut batch).unwrap_or(0);
        assert_eq!(b.send_datagrams(&mut batch[..received]).unwrap(), received);
        back += received;
    }
    for n in 0..count {
        let mut buf = [0; 16];
        assert_eq!(a.recv(&mut buf).unwrap(), 9);
        assert_eq!(buf[..9], [n as u8; 9]);
    }
    stack.account().unwrap();
}

#[test]
fn who_answers_in_what_it_received_asks_once_for_both() {
    for reposts in [true, false] {
        let world = World::one();
        world.switches.no_reposts.store(!reposts, Relaxed);
        let stack = world.stacks[0];
        let (a, b) = (udp(stack, 1000), udp(stack, 1001));
        b.set_nonblocking(true);
        let poll = Poll::new_on(stack).unwrap();
        poll.register(&b, 1, Interest::READABLE).unwrap();
        echo(stack, &a, &b, &poll, 64);
        let of_b = last(&world, Op::Send).socket;
        let asked = |op, flag| {
            let of_b = |r: &&Request| r.socket == of_b && r.flags & flag == flag;
            world.hosts[0].asked(op).iter().filter(of_b).count()
        };
        let before = asked(Op::Recv, 0);
        for count in [1, 3, 64, 40] {
            echo(stack, &a, &b, &poll, count);
        }
        assert_eq!(asked(Op::Send, flags::REPOST), 64 + 108);
        // Or the buffers come back, and are asked for anew.
        let more = asked(Op::Recv, 0) - before;
        assert_eq!(more, if reposts { 0 } else { 108 });
        drop((a, b));
        world.settle(0);
    }
}

#[test]
fn who_only_receives_has_half_of_the_receives_at_least() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    b.set_nonblocking(true);
    let poll = Poll::new_on(stack).unwrap();
    poll.register(&b, 1, Interest::READABLE).unwrap();
    let mut kept = Vec::new();
    for n in 0..200u8 {
        a.send_to(&[n], host(1001)).unwrap();
        stack.account().unwrap();
        let mut events = [ioipc::Event::default(); 1];
        assert_eq!(poll.wait(&mut events, None).unwrap(), 1);
        let datagram = b.recv_buffer().unwrap();
        assert_eq!(datagram[..], [n]);
        kept.push(datagram);
        let on_their_way = world.switches.outstanding.lock().unwrap();
        let receives = on_their_way.values().filter(|r| r.op == Op::Recv as u16);
        assert!(receives.count() >= 31, "in round {n}");
    }
    drop(kept);
    drop((a, b));
    world.settle(0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Random sends of random semantics: all arrive, and pages are named only
    /// while they are there (which the manager checks).
    #[test]
    fn all_semantics_mix(
        steps in prop::collection::vec((1usize..12_000, 0usize..9, 0usize..5), 1..60),
    ) {
        let mut size = Size::default();
        size.settings.datagram_order = 3;
        let world = World::new(size);
        let (stack, client) = (world.stacks[0], world.hosts[0]);
        let (a, b) = (udp(stack, 1000), udp(stack, 1001));
        for (n, (len, out, into)) in steps.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + n) as u8).collect();
            let to = host(1001).into();
            let Ok(mut buffer) = Buffer::alloc_on(stack, len) else {
                // Moved away, most of it: only a receive brings pages back.
                prop_assert!(client.memory.count(Page::There) < 400);
                break;
            };
            buffer.copy_from_slice(&bytes);
            match Semantics::ALL.get(out) {
                Some(semantics) => {
                    let passing = Passing::new(*semantics);
                    a.send_buffer_to_with(buffer, to, passing).unwrap();
                }
                None => a.send_buffer_to(buffer, to).unwrap(),
            }
            let got = match MOVES.get(into) {
                Some(semantics) => b.recv_buffer_with(Passing::new(*semantics)),
                None => b.recv_buffer(),
            };
            let got = got.unwrap();
            prop_assert!(got[..] == bytes[..], "step {n}");
        }
        drop((a, b));
        world.settle(0);
    }
}
