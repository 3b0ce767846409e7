//! A platform on which the component's memory is simulated: the library reaches
//! it by address only, and does the same as elsewhere.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::Ipv4Addr;
use std::time::Duration;

use ioipc::net::{TcpListener, TcpStream, UdpSocket};
use ioipc::queue::{Memory, Queue};
use ioipc::{Buffer, Passing, Semantics, Stack, UserBuffer};
use proptest::prelude::*;
use socket_api::{Extent, Op};
use world::memory::ARENA;
use world::{Host, Size, World, be_thread, looped};

fn world() -> World {
    World::new(Size {
        simulated: true,
        ..Size::default()
    })
}

fn host(port: u16) -> (Ipv4Addr, u16) {
    (looped::HOST.into(), port)
}

fn udp(stack: &'static Stack, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind_on(stack, (Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let limit = Some(Duration::from_secs(10));
    socket.set_read_timeout(limit).unwrap();
    socket
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ n >> 8) as u8).collect()
}

fn read(client: &Host, address: u32, len: usize) -> Vec<u8> {
    let len = len as u32;
    client.memory.read(Extent { address, len })
}

#[test]
fn slices_go_through_slots_and_addresses_do_not() {
    let world = world();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let bytes = pattern(10_000);
    // By address if it could; a slice has none here.
    a.send_to(&bytes, host(1001)).unwrap();
    client.memory.write(ARENA + 5, &bytes);
    let (from, into) = (UserBuffer::at(ARENA + 5, 10_000), ARENA + 0x10_0000);
    assert_eq!(a.send_memory_to(from, host(1001), None).unwrap(), 10_000);
    let sent = client.asked(Op::Send);
    assert_eq!(sent.last().unwrap().extent.address, ARENA + 5);
    for _ in 0..2 {
        let room = UserBuffer::at(into, 20_000);
        assert_eq!(b.recv_memory_from(room, None).unwrap().0, 10_000);
        assert!(read(client, into, 10_000) == bytes);
    }
    let counters = stack.counters();
    assert_eq!((counters.copied_out, counters.copied_in), (10_000, 0));
    // Short operations on memory by address, through slots after all.
    a.set_nonblocking(true);
    b.set_nonblocking(true);
    let few = UserBuffer::at(ARENA + 7, 700);
    a.send_memory_to(few, host(1001), None).unwrap();
    let got = loop {
        match b.recv_memory_from(UserBuffer::at(into + 1, 900), None) {
            Ok((len, _)) => break len,
            Err(_) => std::thread::yield_now(),
        }
    };
    assert!(got == 700 && read(client, into + 1, 700) == bytes[2..702]);
}

#[test]
fn buffers_are_read_and_written_by_copying() {
    let world = world();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    for semantics in [Semantics::Move, Semantics::EmulatedWeakMove] {
        let passing = Passing::new(semantics);
        let mut buffer = Buffer::alloc_on(stack, 3000).unwrap();
        assert!(buffer.write(0, &pattern(3000)));
        assert_eq!((buffer.len(), (*buffer).len()), (3000, 0));
        let to = host(1001).into();
        a.send_buffer_to_with(buffer, to, passing).unwrap();
        let got = b.recv_buffer_with(passing).unwrap();
        let mut bytes = vec![0; 3000];
        assert!(got.read(0, &mut bytes) && bytes == pattern(3000));
        assert!(!got.read(1, &mut bytes));
    }
}

#[test]
fn queues_take_addresses() {
    let world = world();
    let (stack, client) = (world.stacks[0], world.hosts[0]);
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    client.memory.write(ARENA, b"in flight");
    let mut queue = Queue::<4>::new_on(stack).unwrap();
    let room = UserBuffer::at(ARENA + 4096, 64);
    queue.receive(&b, room, None, 1).unwrap();
    let bytes = UserBuffer::at(ARENA, 9);
    queue
        .send_to(&a, bytes, host(1001).into(), None, 2)
        .unwrap();
    for _ in 0..2 {
        let done = queue.wait(None).unwrap().unwrap();
        assert_eq!(done.result, Ok(9));
        assert!(matches!(done.memory, Some(Memory::Shared(_))));
    }
    assert_eq!(read(client, ARENA + 4096, 9), b"in flight");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn streams_carry_every_byte(
        writes in prop::collection::vec((1usize..100_000, any::<bool>()), 1..6),
        room in 1u32..70_000,
        by_address in any::<bool>(),
    ) {
        let world = world();
        let (stack, client) = (world.stacks[0], world.hosts[0]);
        let listener = TcpListener::bind_on(stack, (Ipv4Addr::UNSPECIFIED, 80), 8).unwrap();
        let a = TcpStream::connect_on(stack, host(80), None).unwrap();
        let (b, _) = listener.accept().unwrap();
        let total: usize = writes.iter().map(|(len, _)| len).sum();
        let all = pattern(total);
        client.memory.write(ARENA, &all);
        let sent = all.clone();
        let writer = std::thread::spawn(move || {
            be_thread(1);
            let mut at = 0;
            for (len, slice) in writes {
                let end = at + len;
                while at < end {
                    let memory = UserBuffer::at(ARENA + at as u32, (end - at) as u32);
                    at += match slice {
                        true => a.write(&sent[at..end]).unwrap(),
                        false => a.write_memory(memory, None).unwrap(),
                    };
                }
            }
        });
        let (mut at, into) = (0, ARENA + (2 << 20));
        let mut own = vec![0; room as usize];
        while at < total {
            let len = match by_address {
                true => b.read_memory(UserBuffer::at(into, room), None).unwrap(),
                false => b.read(&mut own).unwrap(),
            };
            prop_assert!(len != 0);
            if by_address {
                own[..len].copy_from_slice(&read(client, into, len));
            }
            prop_assert!(own[..len] == all[at..at + len]);
            at += len;
        }
        writer.join().unwrap();
    }
}
