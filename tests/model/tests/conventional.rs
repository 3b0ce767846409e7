//! Conventional IPC, from client to client: what arrives is right, and each
//! byte is copied as often as the documentation says, by everybody's account.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::rc::Rc;

use ioipc::{Passing, Semantics, Technique, UserBuffer};
use model_tests::background;
use model_tests::pairs::{Pair, Reader, address, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use net_server::Copied;
use nic_api::nic_features;
use socket_api::Extent;

const MIB: usize = 1 << 20;

fn hosts(features: u32) -> [HostConfig; 2] {
    [1, 2].map(|number| HostConfig {
        features,
        ..HostConfig::conventional(number)
    })
}

fn copied(world: &World, host: usize) -> Copied {
    world.lock().hosts[host].copied()
}

/// What a host's machine has done: bytes copied, page operations.
fn outside(world: &World, host: usize) -> (u64, u64) {
    let machine = &world.lock().hosts[host].machine;
    let pages = machine.operations();
    let operations = pages.mapped + pages.unmapped + pages.protected;
    (machine.copied(), operations)
}

/// Every byte that host 0 sent and host 1 received was copied three times at
/// each, and nothing else was done for it.
fn three_copies_each(world: &World, pair: Pair, bytes: u64) {
    let sender = Copied {
        message_to_socket: bytes,
        socket_to_frame: bytes,
        ..Copied::default()
    };
    let receiver = Copied {
        frame_to_socket: bytes,
        socket_to_message: bytes,
        ..Copied::default()
    };
    assert_eq!([copied(world, 0), copied(world, 1)], [sender, receiver]);
    let accounts = pair.stacks.map(|stack| stack.account().unwrap());
    assert_eq!([accounts[0].copied_out, accounts[1].copied_in], [bytes; 2]);
    for (host, account) in accounts.iter().enumerate() {
        assert_eq!(account.copied(), bytes, "host {host}");
        assert_eq!(account.referenced_out + account.referenced_in, 0);
        assert_eq!(account.page_operations(), 0);
        assert_eq!(outside(world, host), (bytes, 0), "as the machine saw it");
    }
}

#[test]
fn each_byte_of_a_datagram_is_copied_three_times_each_way() {
    for features in [0, nic_features::CHECKSUM, nic_features::STEERING] {
        World::with(hosts(features), |world| {
            let pair = Pair::new(world, 0, direct());
            let [from, to] = pair.datagrams(7);
            let mut sent = 0;
            for len in [
                0, 1, 64, 1472, 1473, 2048, 4096, 8191, 20_000, 61_440, 65_507,
            ] {
                let bytes = pattern(len, len as u32);
                pair.store(0, HEAP + 3, &bytes);
                let memory = UserBuffer::at(HEAP + 3, len as u32);
                from.send_memory_to(memory, address(1, 7), None).unwrap();
                let room = UserBuffer::at(HEAP + 100, 65_507);
                assert_eq!(to.recv_memory_from(room, None).unwrap().0, len);
                assert!(pair.load(1, HEAP + 100, len) == bytes, "{len} bytes");
                sent += len as u64;
            }
            three_copies_each(world, pair, sent);
        });
    }
}

/// Sends `len` bytes from host 0 as a stream; what arrived, and how many writes
/// it took.
fn stream(pair: Pair, len: usize, semantics: Option<Semantics>) -> (Vec<u8>, u32) {
    let [from, to] = pair.connection(80);
    let room = Extent {
        address: HEAP + 5,
        len: 100_000,
    };
    let reader = Rc::new(RefCell::new(Reader::new(pair, 1, &to, room)));
    let again = reader.clone();
    let background = background::set(move || again.borrow_mut().poll());
    let (mut done, mut writes) = (0, 0);
    while done < len {
        let memory = UserBuffer::at(HEAP + done as u32, (len - done) as u32);
        let passing = semantics.map(Passing::new);
        done += from.write_memory(memory, passing).unwrap();
        writes += 1;
    }
    drop(background);
    reader.borrow_mut().wait_for(len);
    let got = std::mem::take(&mut reader.borrow_mut().got);
    (got, writes)
}

#[test]
fn each_byte_of_a_stream_is_copied_three_times_each_way() {
    for features in [0, nic_features::CHECKSUM | nic_features::SEGMENTATION] {
        World::with(hosts(features), |world| {
            let pair = Pair::new(world, 0, direct());
            let bytes = pattern(MIB, 1);
            pair.store(0, HEAP, &bytes);
            let (got, writes) = stream(pair, MIB, None);
            assert!(got == bytes);
            // A message has no room for more.
            assert_eq!(writes, 16);
            three_copies_each(world, pair, MIB as u64);
        });
    }
}

#[test]
fn what_is_lost_is_sent_again_from_the_socket_buffer() {
    World::with(hosts(0), |world| {
        let pair = Pair::new(world, 0, direct());
        let bytes = pattern(MIB, 2);
        pair.store(0, HEAP, &bytes);
        (world.lock().wire.lose, world.lock().wire.swap) = (20, 5);
        let (got, _) = stream(pair, MIB, None);
        assert!(got == bytes);
        let account = pair.stacks[0].account().unwrap();
        assert_eq!(account.copied(), MIB as u64, "once, whatever was lost");
        let sender = copied(world, 0);
        assert_eq!(sender.message_to_socket, MIB as u64);
        assert!(sender.socket_to_frame > MIB as u64, "{sender:?}");
        let receiver = copied(world, 1);
        assert_eq!(receiver.socket_to_message, MIB as u64);
        assert!(receiver.frame_to_socket > MIB as u64, "{receiver:?}");
        assert_eq!(receiver.dropped + sender.refused, 0);
    });
}

/// A send is answered when its bytes are in a socket buffer, and what is written
/// to them afterwards is not sent.
#[test]
fn a_send_is_over_when_it_is_queued() {
    World::with(hosts(0), |world| {
        let pair = Pair::new(world, 1, direct());
        let [from, to] = pair.connection(80);
        let bytes = pattern(40_000, 3);
        pair.store(0, HEAP, &bytes);
        // Nothing leaves the NIC, so nothing can be acknowledged.
        world.lock().frames = 0;
        let memory = UserBuffer::at(HEAP, 40_000);
        let share = Some(Passing::new(Semantics::Share));
        assert_eq!(from.write_memory(memory, share).unwrap(), 40_000);
        pair.store(0, HEAP, &[0; 40_000]);
        world.lock().frames = 64;
        let room = Extent {
            address: HEAP,
            len: 40_000,
        };
        let mut reader = Reader::new(pair, 1, &to, room);
        reader.wait_for(40_000);
        assert!(reader.got == bytes);
    });
}

#[test]
fn a_technique_that_names_bytes_is_refused() {
    World::with(hosts(0), |world| {
        let pair = Pair::new(world, 0, direct());
        let [from, _] = pair.datagrams(7);
        let cases = [
            (Semantics::EmulatedCopy, Technique::Reference),
            (Semantics::EmulatedCopy, Technique::Tcow),
            (Semantics::Share, Technique::Reference),
        ];
        for (semantics, forced) in cases {
            let passing = Passing {
                semantics,
                forced: Some(forced),
            };
            let memory = UserBuffer::at(HEAP, 4096);
            let sent = from.send_memory_to(memory, address(1, 7), Some(passing));
            let error = sent.unwrap_err();
            assert_eq!(error.kind(), ioipc::ErrorKind::InvalidInput, "{forced:?}");
        }
        let copied = world.lock().hosts[0].count("output.copy-out");
        assert_eq!(copied, 0);
    });
}

/// What a client that dies had queued is forgotten, and nobody else notices.
#[test]
fn the_dead_leave_their_socket_buffers() {
    World::with(hosts(0), |world| {
        let [dead, pair] = [0, 1].map(|client| Pair::new(world, client, direct()));
        let free = world.lock().hosts[0].socket_room();
        let [from, _to] = dead.connection(80);
        dead.store(0, HEAP, &pattern(100_000, 4));
        world.lock().frames = 0;
        for _ in 0..2 {
            let memory = UserBuffer::at(HEAP, 30_000);
            assert_eq!(from.write_memory(memory, None).unwrap(), 30_000);
        }
        assert!(world.lock().hosts[0].socket_room() < free);
        world.lock().hosts[0].manager.client_died(0);
        world.settle(1000);
        assert_eq!(world.lock().hosts[0].socket_room(), free);
        world.lock().frames = 64;
        let bytes = pattern(200_000, 5);
        pair.store(0, HEAP, &bytes);
        assert!(stream_of(pair, 200_000) == bytes);
        std::mem::forget(from);
        assert_eq!(world.lock().hosts[0].socket_room(), free);
    });
}

fn stream_of(pair: Pair, len: usize) -> Vec<u8> {
    let (got, _) = stream(pair, len, None);
    pair.world.settle(1000);
    got
}
