//! Asynchronous operations: order, bursts, signals, cancelling, and who has
//! the memory meanwhile.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ioipc::queue::{Done, Memory, Queue};
use ioipc::{Buffer, ErrorKind, Passing, Semantics, UserBuffer};
use socket_api::{Op, flags};
use world::memory::{ARENA, Page};
use world::sockets::{LONG, buffer, host, pair, udp};
use world::{Size, World};

const MOMENT: Option<Duration> = Some(Duration::from_millis(20));

fn next<const N: usize>(queue: &mut Queue<N>) -> Done {
    queue.wait(LONG).unwrap().expect("an operation is done")
}

/// Echoes 2000 datagrams, `outstanding` at a time, with one operation each way;
/// signals and sleeps for each operation.
fn echo(outstanding: usize) -> f64 {
    const ROUNDS: usize = 1000;
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<128>::new_on(stack).unwrap();
    for n in 0..outstanding as u64 {
        let room = Buffer::alloc_on(stack, 64).unwrap();
        queue.receive(&b, room, None, n).unwrap();
        let bytes = buffer(stack, &n.to_le_bytes());
        let to = host(1001).into();
        queue.send_to(&a, bytes, to, None, 1000 + n).unwrap();
    }
    let (mut received, mut sent) = (0, 0);
    while received < ROUNDS || sent < ROUNDS {
        let done = next(&mut queue);
        let memory = done.memory.unwrap();
        assert_eq!(done.result.unwrap(), 8);
        if done.token >= 1000 {
            sent += 1;
            if sent + outstanding <= ROUNDS {
                let to = host(1001).into();
                queue.send_to(&a, memory, to, None, done.token).unwrap();
            }
            continue;
        }
        received += 1;
        assert_eq!(done.peer, Some(host(1000).into()));
        if received + outstanding <= ROUNDS {
            let Memory::Buffer(mut room) = memory else {
                panic!("another memory came back");
            };
            assert_eq!(room.len(), 8);
            room.set_len(64);
            queue.receive(&b, room, None, done.token).unwrap();
        }
    }
    assert_eq!(queue.outstanding(), 0);
    assert!(queue.wait(None).unwrap().is_none());
    let counters = stack.counters();
    assert_eq!(counters.copied(), 0);
    counters.crossings() as f64 / (2 * ROUNDS) as f64
}

#[test]
fn signals_are_fewer_than_operations_in_bursts() {
    for outstanding in [1, 4, 16, 64] {
        let crossings = echo(outstanding);
        println!("{outstanding} outstanding: {crossings:.3} crossings an operation");
        if outstanding == 64 {
            assert!(crossings < 1.0, "{crossings}");
        }
    }
}

#[test]
fn requests_are_shown_in_batches_and_before_sleeping() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let b = udp(stack, 1001);
    let mut queue = Queue::<64>::new_on(stack).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let before = client.asked(Op::Recv).len();
    for n in 0..15 {
        let room = Buffer::alloc_on(stack, 64).unwrap();
        queue.receive(&b, room, None, n).unwrap();
    }
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(client.asked(Op::Recv).len(), before, "a batch is 16");
    let room = Buffer::alloc_on(stack, 64).unwrap();
    queue.receive(&b, room, None, 15).unwrap();
    assert!(queue.wait(MOMENT).unwrap().is_none());
    assert_eq!(client.asked(Op::Recv).len(), before + 16);
    let room = Buffer::alloc_on(stack, 64).unwrap();
    queue.receive(&b, room, None, 16).unwrap();
    queue.flush();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(client.asked(Op::Recv).len(), before + 17);
}

#[test]
fn memory_of_every_kind_is_named_and_comes_back() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<8>::new_on(stack).unwrap();
    // SAFETY: the two do not overlap, nor with what is shared below.
    let (bytes, room) = unsafe { (client.memory.piece(0, 100), client.memory.piece(4096, 100)) };
    bytes.fill(8);
    let shared = UserBuffer::shared(client.memory.arena().slice(8192, 100).unwrap());
    let (to, passing) = (host(1001).into(), Some(Passing::new(Semantics::Copy)));
    queue.send_to(&a, &mut *bytes, to, passing, 1).unwrap();
    queue.send_to(&a, shared, to, None, 2).unwrap();
    queue
        .send_to(&a, &client.memory.constants()[..100], to, None, 3)
        .unwrap();
    let sends = |n: usize| {
        let sent = client.asked(Op::Send)[n];
        assert_eq!(sent.flags & (flags::QUIET | flags::BLOCKED), 0);
        (sent.extent.address, sent.passing)
    };
    for token in 1..4 {
        let done = next(&mut queue);
        assert_eq!((done.token, done.result), (token, Ok(100)));
        assert!(done.memory.is_some());
    }
    assert_eq!(sends(0), (ARENA, Passing::new(Semantics::Copy).word()));
    assert_eq!(sends(1), (ARENA + 8192, 0));
    queue.receive(&b, &mut *room, None, 4).unwrap();
    let done = next(&mut queue);
    let Some(Memory::Bytes(room)) = done.memory else {
        panic!("not what was given");
    };
    assert_eq!(room[..], [8; 100]);
    queue.receive(&b, shared, None, 5).unwrap();
    assert_eq!(next(&mut queue).result, Ok(100));
    let constant = queue.receive(&b, client.memory.constants(), None, 6);
    assert_eq!(constant.unwrap_err().error.kind(), ErrorKind::InvalidInput);
    // Memory that the manager does not know stays the caller's.
    let unknown: &'static mut [u8] = Box::leak(Box::new([1; 16]));
    let unsent = queue.send_to(&a, unknown, to, None, 7).unwrap_err();
    assert_eq!(unsent.error.kind(), ErrorKind::Unsupported);
    assert_eq!(unsent.item.len(), 16);
    let moved = Some(Passing::new(Semantics::Move));
    let wrong = queue.send_to(&a, unsent.item, to, moved, 8).unwrap_err();
    assert_eq!(wrong.error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn moved_buffers_do_not_come_back_and_receiving_fills_them() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<8>::new_on(stack).unwrap();
    let (to, moved) = (host(1001).into(), Some(Passing::new(Semantics::Move)));
    queue
        .send_to(&a, buffer(stack, &[3; 5000]), to, moved, 1)
        .unwrap();
    let done = next(&mut queue);
    assert!(done.result == Ok(5000) && done.memory.is_none());
    assert_eq!(client.memory.count(Page::Gone), 2);
    let room = Buffer::alloc_on(stack, 100).unwrap();
    queue.receive(&b, room, moved, 2).unwrap();
    let done = next(&mut queue);
    let Some(Memory::Buffer(got)) = done.memory else {
        panic!("no buffer");
    };
    // The region is received into as a whole.
    assert_eq!((done.result, got.len()), (Ok(4096), 4096));
    assert_eq!(got[..], [3; 4096]);
}

#[test]
fn pages_that_a_queue_moved_away_come_back_with_what_it_receives() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<4>::new_on(stack).unwrap();
    let moved = Passing::new(Semantics::EmulatedMove);
    // Far more than the region has room for.
    for n in 0..2000u64 {
        queue.receive_new(&b, 64, moved, n).unwrap();
        let bytes = buffer(stack, &n.to_le_bytes());
        let to = Some(moved);
        queue
            .send_to(&a, bytes, host(1001).into(), to, 9000)
            .unwrap();
        let (mut came, mut went) = (false, false);
        while !(came && went) {
            let done = next(&mut queue);
            assert_eq!(done.result.unwrap(), 8);
            if done.token == 9000 {
                assert!(done.memory.is_none());
                went = true;
                continue;
            }
            let Some(Memory::Buffer(room)) = done.memory else {
                panic!("no buffer came back");
            };
            let mut word = [0; 8];
            assert!(room.read(0, &mut word));
            assert_eq!(word, n.to_le_bytes());
            came = true;
        }
    }
    // One that nothing comes for stands aside again, and is not handed out.
    queue.receive_new(&b, 64, moved, 1).unwrap();
    let operation = queue.receive_new(&b, 64, moved, 2).unwrap();
    assert!(queue.cancel(operation));
    let done = next(&mut queue);
    assert_eq!(done.result.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(done.token == 2);
}

#[test]
fn what_is_cancelled_says_so_and_the_rest_goes_on() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<4>::new_on(stack).unwrap();
    let mut operations = Vec::new();
    for n in 0..4 {
        let room = Buffer::alloc_on(stack, 64).unwrap();
        operations.push(queue.receive(&b, room, None, n).unwrap());
    }
    let room = Buffer::alloc_on(stack, 64).unwrap();
    let full = queue.receive(&b, room, None, 9).unwrap_err();
    assert_eq!(full.error.kind(), ErrorKind::WouldBlock);
    assert!(queue.cancel(operations[1]));
    let done = next(&mut queue);
    assert_eq!(done.token, 1);
    assert_eq!(done.result.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(!queue.cancel(operations[1]), "it was reported");
    a.send_to(b"one", host(1001)).unwrap();
    assert_eq!(next(&mut queue).token, 0);
    // The rest is cancelled with the queue, whose buffers come back.
    drop(queue);
    a.send_to(b"two", host(1001)).unwrap();
    assert_eq!(b.recv(&mut [0; 8]).unwrap(), 3);
    drop((a, b));
    world.settle(0);
}

#[test]
fn a_socket_that_received_ahead_keeps_its_order() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    for n in 0..10u8 {
        a.send_to(&[n], host(1001)).unwrap();
    }
    let mut first = [9];
    assert_eq!(b.recv(&mut first).unwrap(), 1);
    assert_eq!(first, [0]);
    let mut queue = Queue::<16>::new_on(stack).unwrap();
    for token in 1..10 {
        let mut room = Buffer::alloc_on(stack, 64).unwrap();
        room.fill(0xff);
        queue.receive(&b, room, None, token).unwrap();
    }
    let mut seen = [false; 10];
    for _ in 1..10 {
        let done = next(&mut queue);
        let Some(Memory::Buffer(got)) = done.memory else {
            panic!("no buffer");
        };
        assert_eq!(got[..], [done.token as u8]);
        seen[usize::from(got[0])] = true;
    }
    assert!(seen[1..].iter().all(|s| *s));
}

#[test]
fn streams_keep_the_order_of_submission() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = pair(stack);
    let mut queue = Queue::<32>::new_on(stack).unwrap();
    for n in 0..20u64 {
        let bytes = buffer(stack, &[n as u8; 3000]);
        queue.send(&a, bytes, None, n).unwrap();
    }
    let mut rest = vec![0; 60_000];
    let mut at = 0;
    while at < rest.len() {
        at += b.read(&mut rest[at..]).unwrap();
    }
    assert!(
        rest.chunks(3000)
            .zip(0..)
            .all(|(c, n)| c == [n as u8; 3000])
    );
    for n in 0..20 {
        assert_eq!(next(&mut queue).token, n);
    }
    let room = Buffer::alloc_on(stack, 64).unwrap();
    queue.receive(&b, room, None, 50).unwrap();
    drop(a);
    let end = next(&mut queue);
    assert_eq!((end.token, end.result), (50, Ok(0)));
    let room = Buffer::alloc_on(stack, 64).unwrap();
    queue.receive(&b, room, None, 51).unwrap();
    assert_eq!(queue.poll().map(|d| d.result), Some(Ok(0)), "still the end");
}

#[test]
fn an_operation_in_flight_forbids_unprotected_sends() {
    let world = World::one();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    client.single_threaded.store(true, Relaxed);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut queue = Queue::<4>::new_on(stack).unwrap();
    let room = Buffer::alloc_on(stack, 64).unwrap();
    queue.receive(&b, room, None, 1).unwrap();
    // SAFETY: nothing else takes a piece here.
    let bytes = unsafe { client.memory.piece(0, 8192) };
    a.send_to(bytes, host(1002)).unwrap();
    assert_eq!(client.asked(Op::Send)[0].flags, 0);
    drop(queue);
    a.send_to(bytes, host(1002)).unwrap();
    assert_eq!(client.asked(Op::Send)[1].flags, flags::BLOCKED);
}

#[test]
fn queues_run_out_and_are_of_one_stack() {
    let world = World::new(Size {
        clients: 2,
        ..Size::default()
    });
    let (stack, other) = (world.stacks[0], world.stacks[1]);
    let mut queues: Vec<_> = (0..8).map(|_| Queue::<2>::new_on(stack).unwrap()).collect();
    let full = Queue::<2>::new_on(stack).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::QuotaExceeded);
    let socket = udp(other, 1000);
    let room = Buffer::alloc_on(other, 64).unwrap();
    let foreign = queues[0].receive(&socket, room, None, 1).unwrap_err();
    assert_eq!(foreign.error.kind(), ErrorKind::InvalidInput);
    let socket = udp(stack, 1001);
    let foreign = queues[0].receive(&socket, foreign.item, None, 1);
    assert_eq!(foreign.unwrap_err().error.kind(), ErrorKind::InvalidInput);
    drop(queues);
    assert!(Queue::<2>::new_on(stack).is_ok());
}

#[test]
fn a_dead_server_ends_what_is_on_its_way() {
    let world = World::one();
    let stack = world.stacks[0];
    let b = udp(stack, 1001);
    let mut queue = Queue::<4>::new_on(stack).unwrap();
    for n in 0..3 {
        let room = Buffer::alloc_on(stack, 64).unwrap();
        queue.receive(&b, room, None, n).unwrap();
    }
    queue.flush();
    world.switches.kill_server.store(true, Relaxed);
    world.nudge();
    for _ in 0..3 {
        let done = next(&mut queue);
        assert_eq!(done.result.unwrap_err().kind(), ErrorKind::Other);
        assert!(done.memory.is_some());
    }
}
