//! The application's own buffers, named by address: what travels, what is
//! copied, and that nothing refers to a buffer once its call has returned.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ioipc::{ErrorKind, Passing, Semantics, Settings, Technique, UserBuffer};
use proptest::prelude::*;
use socket_api::{Op, Request, flags};
use world::memory::{ARENA, CONSTANTS, DATA};
use world::sockets::{LONG, host, pair, udp};
use world::{Host, Size, World, be_thread};

const MOMENT: Option<Duration> = Some(Duration::from_millis(20));

/// `len` bytes of the arena from `offset` on, with a pattern.
fn piece(host: &Host, offset: usize, len: usize) -> &'static mut [u8] {
    // SAFETY: each test takes pieces that do not overlap.
    let piece = unsafe { host.memory.piece(offset, len) };
    let pattern = (0..len).map(|n| (n ^ n >> 8 ^ offset >> 12) as u8);
    piece
        .iter_mut()
        .zip(pattern)
        .for_each(|(to, from)| *to = from);
    piece
}

/// The last request of a kind; everything asked before has arrived.
fn last(world: &World, op: Op) -> Request {
    world.stacks[0].account().unwrap();
    *world.hosts[0].asked(op).last().unwrap()
}

#[test]
fn a_large_datagram_is_named_not_copied() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let bytes = piece(client, 0x1003, 20_000);
    assert_eq!(a.send_to(bytes, host(1001)).unwrap(), 20_000);
    let sent = last(&world, Op::Send);
    assert_eq!(
        (sent.extent.address, sent.extent.len),
        (ARENA + 0x1003, 20_000)
    );
    assert_eq!((sent.passing, sent.flags), (0, 0));
    let buf = piece(client, 0x10_0000, 30_000);
    assert_eq!(b.recv_from(buf).unwrap().0, 20_000);
    assert!(buf[..20_000] == bytes[..]);
    let received = last(&world, Op::Recv);
    assert_eq!(received.extent.address, ARENA + 0x10_0000);
    let counters = stack.counters();
    assert_eq!((counters.copied(), counters.refused), (0, 0));
    assert_eq!(counters.sent_by_address, 20_000);
    assert_eq!(counters.received_by_address, 20_000);
    let account = stack.account().unwrap();
    assert_eq!(
        (account.referenced_out, account.copied_in),
        (20_000, 20_000)
    );
}

#[test]
fn short_datagrams_are_copied_unless_semantics_are_named() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let (bytes, buf) = (piece(client, 0, 100), piece(client, 4096, 100));
    a.send_to(bytes, host(1001)).unwrap();
    let sent = last(&world, Op::Send);
    assert!((DATA..ARENA).contains(&sent.extent.address));
    assert_eq!(sent.passing, Passing::new(Semantics::EmulatedShare).word());
    assert_eq!(sent.flags, flags::QUIET);
    let share = Passing::new(Semantics::Share);
    a.set_send_semantics(share);
    a.send_to(bytes, host(1001)).unwrap();
    let sent = last(&world, Op::Send);
    assert_eq!((sent.extent.address, sent.passing), (ARENA, share.word()));
    // For one call on a connected socket, and no longer.
    let copy = Passing::new(Semantics::Copy);
    assert!(a.send_with(bytes, copy).is_err(), "not connected");
    a.connect(host(1001)).unwrap();
    a.send_with(bytes, copy).unwrap();
    assert_eq!(last(&world, Op::Send).passing, copy.word());
    a.send(bytes).unwrap();
    assert_eq!(last(&world, Op::Send).passing, share.word());
    let forced = Passing {
        semantics: Semantics::EmulatedCopy,
        forced: Some(Technique::CopyIn),
    };
    for _ in 0..4 {
        assert_eq!(b.recv_from_with(buf, forced).unwrap().0, 100);
        assert!(buf == bytes);
    }
    let received = last(&world, Op::Recv);
    assert_eq!(received.extent.address, ARENA + 4096);
    assert_eq!(received.passing, forced.word());
    assert_eq!(stack.counters().copied_out, 100);
    assert_eq!(stack.counters().copied_in, 0);
}

#[test]
fn every_application_allocated_semantics_travels_and_no_other() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let (bytes, buf) = (piece(client, 0, 64), piece(client, 4096, 64));
    for &semantics in Semantics::ALL {
        let passing = Passing::new(semantics);
        let sent = a.send_to_with(bytes, host(1001), passing);
        if semantics.is_system_allocated() {
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::InvalidInput);
            let got = b.recv_with(buf, passing).unwrap_err();
            assert_eq!(got.kind(), ErrorKind::InvalidInput);
            continue;
        }
        assert_eq!(sent.unwrap(), 64);
        assert_eq!(last(&world, Op::Send).passing, passing.word());
        assert_eq!(b.recv_with(buf, passing).unwrap(), 64);
        assert_eq!(last(&world, Op::Recv).passing, passing.word());
    }
}

#[test]
fn only_the_only_thread_says_that_it_waits() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = pair(stack);
    client.single_threaded.store(true, Relaxed);
    let bytes = piece(client, 0, 10_000);
    a.write_with(bytes, Passing::DEFAULT).unwrap();
    assert_eq!(last(&world, Op::Send).flags, flags::BLOCKED);
    a.set_nodelay(true).unwrap();
    a.write_with(bytes, Passing::DEFAULT).unwrap();
    let both = flags::BLOCKED | flags::NO_DELAY;
    assert_eq!(last(&world, Op::Send).flags, both);
    let buf = piece(client, 0x10_0000, 20_000);
    b.read(buf).unwrap();
    assert_eq!(last(&world, Op::Recv).flags, flags::BLOCKED);
    a.write(b"short").unwrap();
    let sent = last(&world, Op::Send).flags;
    assert_eq!(sent & flags::BLOCKED, 0, "a slot changes hands");
    let shared = UserBuffer::shared(client.memory.arena().slice(0x20_0000, 64).unwrap());
    a.write_memory(shared, None).unwrap();
    let sent = last(&world, Op::Send).flags;
    assert_eq!(sent & flags::BLOCKED, 0, "others may change it");
}

#[test]
fn what_has_no_address_or_is_refused_goes_through_slots() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let share = Passing::new(Semantics::Share);
    // Memory of this program that the manager does not know.
    let (bytes, mut buf) = (vec![7; 1500], vec![0; 2000]);
    a.send_to_with(&bytes, host(1001), share).unwrap();
    assert_eq!(b.recv_with(&mut buf, share).unwrap(), 1500);
    assert_eq!(buf[..1500], bytes);
    let counters = stack.counters();
    assert_eq!((counters.copied_out, counters.copied_in), (1500, 1500));
    assert_eq!(counters.refused, 0);
    // Memory that it refuses.
    world.switches.refuse_arena.store(true, Relaxed);
    let (bytes, buf) = (piece(client, 0, 1500), piece(client, 8192, 2000));
    a.send_to_with(bytes, host(1001), share).unwrap();
    assert_eq!(b.recv_with(buf, share).unwrap(), 1500);
    assert!(buf[..1500] == bytes[..]);
    let counters = stack.counters();
    assert_eq!((counters.copied_out, counters.copied_in), (3000, 3000));
    assert!(
        counters.refused >= 1,
        "the second receive may find it there"
    );
}

#[test]
fn constants_are_sent_by_address() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    a.send_to(&client.memory.constants()[..8192], host(1001))
        .unwrap();
    assert_eq!(last(&world, Op::Send).extent.address, CONSTANTS);
    assert_eq!(b.recv_from(piece(client, 0, 20_000)).unwrap().0, 8192);
    assert_eq!(stack.counters().copied(), 0);
}

#[test]
fn when_the_time_is_over_nothing_refers_to_the_buffer() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    b.set_read_timeout(MOMENT).unwrap();
    a.set_write_timeout(MOMENT).unwrap();
    world.switches.hold_sends.store(true, Relaxed);
    let (bytes, buf) = (piece(client, 0, 8192), piece(client, 0x10_0000, 20_000));
    for _ in 0..3 {
        let late = a.send_to(bytes, host(1001)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert_eq!(world.switches.naming_the_arena(), 0);
        let late = b.recv_from(buf).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert_eq!(world.switches.naming_the_arena(), 0);
    }
    assert_eq!(stack.counters().cancelled, 6);
    world.switches.hold_sends.store(false, Relaxed);
    a.send_to(bytes, host(1001)).unwrap();
    b.set_read_timeout(LONG).unwrap();
    assert_eq!(
        b.recv_from(buf).unwrap().0,
        8192,
        "only what was not cancelled"
    );
    drop((a, b));
    world.settle(0);
}

#[test]
fn a_write_that_times_out_says_how_much_was_taken() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = pair(stack);
    a.set_write_timeout(MOMENT).unwrap();
    let bytes = piece(client, 0, 200_000);
    // The receiver's window takes 64 KiB.
    assert_eq!(a.write(bytes).unwrap(), 65_536);
    assert_eq!(world.switches.naming_the_arena(), 0);
    let late = a.write(&bytes[65_536..]).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    let copy = bytes.to_vec();
    bytes.fill(0);
    let buf = piece(client, 0x10_0000, 70_000);
    let mut at = 0;
    while at < 65_536 {
        at += b.read(&mut buf[at..]).unwrap();
    }
    assert!(buf[..65_536] == copy[..65_536]);
    b.set_read_timeout(MOMENT).unwrap();
    assert_eq!(b.read(buf).unwrap_err().kind(), ErrorKind::TimedOut);
    a.write_all(b"goes on").unwrap();
    assert_eq!(b.read(buf).unwrap(), 7);
}

#[test]
fn a_dead_server_ends_operations_by_address() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, _b) = pair(stack);
    let socket = udp(stack, 1000);
    let reader = std::thread::spawn(move || {
        be_thread(1);
        let got = socket.recv_from(piece(client, 0x10_0000, 20_000));
        got.unwrap_err().kind()
    });
    let writer = std::thread::spawn(move || {
        be_thread(2);
        let mut buf = piece(client, 0, 200_000).iter().as_slice();
        loop {
            match a.write(buf) {
                Ok(len) => buf = &buf[len..],
                Err(e) => break e.kind(),
            }
        }
    });
    std::thread::sleep(Duration::from_millis(20));
    world.switches.kill_server.store(true, Relaxed);
    world.nudge();
    assert_eq!(writer.join().unwrap(), ErrorKind::Other);
    assert_eq!(reader.join().unwrap(), ErrorKind::Other);
    assert_eq!(world.switches.naming_the_arena(), 0);
}

#[test]
fn turning_from_ahead_to_exact_loses_nothing() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let buf = piece(client, 0, 100);
    for n in 0..3u8 {
        a.send_to(&[n], host(1001)).unwrap();
    }
    // From now on 64 receives are on their way ahead of time.
    assert_eq!(b.recv_from(&mut [0; 9]).unwrap().0, 1);
    let exact = Passing::new(Semantics::Copy);
    for n in 1..3 {
        assert_eq!(b.recv_with(buf, exact).unwrap(), 1);
        assert_eq!(buf[0], n);
    }
    for n in 3..200u8 {
        a.send_to(&[n], host(1001)).unwrap();
        assert_eq!(b.recv_with(buf, exact).unwrap(), 1);
        assert_eq!(buf[0], n);
        assert_eq!(last(&world, Op::Recv).extent.address, ARENA);
    }
    // And back.
    b.set_nonblocking(true);
    assert_eq!(b.recv_from(buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    a.send_to(b"last", host(1001)).unwrap();
    b.set_nonblocking(false);
    assert_eq!(b.recv_from(buf).unwrap().0, 4);
    drop((a, b));
    world.settle(0);
}

#[test]
fn without_receiving_ahead_each_byte_is_copied_once() {
    let world = World::new(Size {
        settings: Settings {
            receive_ahead: false,
            ..Settings::DEFAULT
        },
        ..Size::default()
    });
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = pair(stack);
    let (bytes, buf) = (piece(client, 0, 5000), piece(client, 8192, 100));
    a.write_all(bytes).unwrap();
    let mut at = 0;
    while at < 5000 {
        let len = b.read(buf).unwrap();
        assert!(buf[..len] == bytes[at..at + len]);
        at += len;
    }
    assert_eq!(stack.counters().copied_in, 0);
    assert_eq!(stack.account().unwrap().copied_in, 5000);
}

#[test]
fn shared_memory_goes_by_address_however_short() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = pair(stack);
    let arena = client.memory.arena();
    let part = |at, len| UserBuffer::shared(arena.slice(at, len).unwrap());
    arena.write(0, b"hello").unwrap();
    assert_eq!(a.write_memory(part(0, 5), None).unwrap(), 5);
    assert_eq!(b.read_memory(part(4096, 64), None).unwrap(), 5);
    let mut back = [0; 5];
    arena.read(4096, &mut back).unwrap();
    assert_eq!(&back, b"hello");
    assert_eq!(stack.counters().copied(), 0);
    // Through slots, if it must be.
    world.switches.refuse_arena.store(true, Relaxed);
    let (c, d) = (udp(stack, 1000), udp(stack, 1001));
    let memory = part(0, 5).from(1);
    assert_eq!(c.send_memory_to(memory, host(1001), None).unwrap(), 4);
    assert_eq!(d.recv_memory_from(part(8192, 600), None).unwrap().0, 4);
    arena.read(8192, &mut back).unwrap();
    assert_eq!(&back[..4], b"ello");
    let nowhere = UserBuffer::at(ARENA, 100);
    c.set_nonblocking(true);
    assert!(c.send_memory_to(nowhere, host(1001), None).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However pieces of a stream are sent and received, every byte arrives.
    #[test]
    fn streams_carry_every_byte_whatever_the_way(
        writes in prop::collection::vec((1usize..150_000, 0u8..3), 1..8),
        reads in prop::collection::vec((1usize..70_000, 0u8..3), 1..8),
        single in any::<bool>(),
    ) {
        let world = World::one();
        let (stack, client) = (world.stacks[0], world.hosts[0]);
        client.single_threaded.store(single, Relaxed);
        let (a, b) = pair(stack);
        let total: usize = writes.iter().map(|(len, _)| len).sum();
        let bytes: &'static [u8] = piece(client, 0, total);
        let sender = std::thread::spawn(move || {
            be_thread(1);
            let mut at = 0;
            for (len, way) in writes {
                let mut left = &bytes[at..at + len];
                at += len;
                while !left.is_empty() {
                    let done = match way {
                        0 => a.write(left),
                        1 => a.write_with(left, Passing::new(Semantics::Copy)),
                        _ => {
                            // Memory that has no address.
                            let own = left.to_vec();
                            a.write(&own)
                        }
                    };
                    left = &left[done.unwrap()..];
                }
            }
        });
        let buf = piece(client, 2 << 20, 70_000);
        let mut at = 0;
        for (room, way) in reads.iter().cycle() {
            let got = match way {
                0 => b.read(&mut buf[..*room]),
                1 => b.read_with(&mut buf[..*room], Passing::DEFAULT),
                _ => {
                    let mut own = vec![0; *room];
                    b.read(&mut own).inspect(|len| buf[..*len].copy_from_slice(&own[..*len]))
                }
            };
            let len = got.unwrap();
            if len == 0 {
                break;
            }
            prop_assert!(buf[..len] == bytes[at..at + len]);
            at += len;
        }
        prop_assert_eq!(at, total);
        sender.join().unwrap();
        prop_assert_eq!(world.switches.naming_the_arena(), 0);
    }
}
