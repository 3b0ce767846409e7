//! What passing data costs, counted: by the manager, by the library, and by
//! the machine itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::rc::Rc;

use ioipc::net::{TcpStream, UdpSocket};
use ioipc::queue::Queue;
use ioipc::{Account, Passing, Semantics, Technique, UserBuffer};
use model_tests::background::{self, Background};
use model_tests::pairs::{Pair, Reader, address, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use socket_api::Extent;

const MIB: usize = 1 << 20;

/// What the machine of a host has done since `before`: bytes copied, page
/// operations.
fn outside(world: &World, host: usize) -> (u64, u64) {
    let machine = &world.lock().hosts[host].machine;
    let pages = machine.operations();
    let operations = pages.mapped + pages.unmapped + pages.protected;
    (machine.copied(), operations)
}

/// Has the client on host 1 receive a stream in the background.
fn receive_all(pair: Pair, stream: &TcpStream, room: u32) -> (Background, Rc<RefCell<Reader>>) {
    let address = HEAP + 5;
    let reader = Reader::new(pair, 1, stream, Extent { address, len: room });
    let reader = Rc::new(RefCell::new(reader));
    let again = reader.clone();
    let background = background::set(move || again.borrow_mut().poll());
    (background, reader)
}

#[test]
fn a_mebibyte_goes_by_reference_but_for_a_tail_and_comes_with_one_copy() {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 0, direct());
        let [from, to] = pair.connection(80);
        let bytes = pattern(MIB, 1);
        pair.store(0, HEAP, &bytes);
        let (background, reader) = receive_all(pair, &to, 60_000);
        let sent = from.write_memory(UserBuffer::at(HEAP, MIB as u32), None);
        assert_eq!(sent.unwrap(), MIB);
        let account = pair.stacks[0].account().unwrap();
        assert_eq!(account.referenced_out, MIB as u64);
        assert!(account.copied_tail <= 64 << 10, "{account:?}");
        assert_eq!((account.copied_out, account.page_operations()), (0, 0));
        assert_eq!((account.faults_copied, account.faults_restored), (0, 0));
        assert_eq!(pair.stacks[0].counters().copied(), 0);
        assert_eq!(
            outside(world, 0),
            (account.copied_tail, 0),
            "as the machine saw it"
        );
        drop(background);
        reader.borrow_mut().wait_for(MIB);
        assert!(reader.borrow().got == bytes);
        let account = pair.stacks[1].account().unwrap();
        assert_eq!(account.copied_in, MIB as u64);
        assert_eq!(account.copied(), MIB as u64);
        assert_eq!(account.page_operations(), 0);
        assert_eq!(pair.stacks[1].counters().copied(), 0);
        assert_eq!(outside(world, 1), (MIB as u64, 0), "as the machine saw it");
    });
}

#[test]
fn datagrams_of_8_kib_and_more_are_not_copied_to_be_sent() {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 0, direct());
        let [from, to] = pair.datagrams(7);
        let (mut sent, mut received) = (0, 0);
        for len in [8192, 8193, 20_000, 65_507] {
            let bytes = pattern(len, len as u32);
            pair.store(0, HEAP + 1, &bytes);
            let memory = UserBuffer::at(HEAP + 1, len as u32);
            from.send_memory_to(memory, address(1, 7), None).unwrap();
            let room = UserBuffer::at(HEAP, 65_507);
            assert_eq!(to.recv_memory_from(room, None).unwrap().0, len);
            assert!(pair.load(1, HEAP, len) == bytes);
            sent += len as u64;
            received += len as u64;
        }
        let account = pair.stacks[0].account().unwrap();
        assert_eq!((account.copied(), account.page_operations()), (0, 0));
        assert_eq!(account.referenced_out, sent);
        assert_eq!(pair.stacks[0].counters().copied(), 0);
        assert_eq!(outside(world, 0), (0, 0));
        assert_eq!(outside(world, 1), (received, 0), "each byte once");
        let account = pair.stacks[1].account().unwrap();
        assert_eq!((account.copied_in, account.copied()), (received, received));
    });
}

/// Sends a datagram from host 0 as soon as the client on host 1 waits for it,
/// which it does in a blocking call with `passing`.
fn early(pair: Pair, sockets: &[UdpSocket; 2], len: usize, to: u32, passing: [Passing; 2]) {
    let bytes = pattern(len, to);
    pair.store(0, HEAP, &bytes);
    let [from, receiver] = sockets;
    let from = from.try_clone();
    let mut queue = Queue::<1>::new_on(pair.stacks[0]).unwrap();
    let mut sent = false;
    let background = background::set(move || {
        if !std::mem::replace(&mut sent, true) {
            let memory = UserBuffer::at(HEAP, len as u32);
            let to = address(1, 7);
            queue
                .send_to(&from, memory, to, Some(passing[0]), 0)
                .unwrap();
            queue.flush();
        }
    });
    let room = UserBuffer::at(to, len.next_multiple_of(4096) as u32);
    let (got, _) = receiver.recv_memory_from(room, Some(passing[1])).unwrap();
    drop(background);
    assert_eq!(got, len);
    assert!(pair.load(1, to, len) == bytes);
}

/// What the client's account says about bytes and pages, and the machine.
fn costs(pair: Pair, host: usize) -> (Account, (u64, u64)) {
    let account = pair.stacks[host].account().unwrap();
    (account, outside(pair.world, host))
}

/// Hosts whose NICs demultiplex early, with room for two pages in a frame.
fn steering() -> [HostConfig; 2] {
    [1, 2].map(|number| HostConfig {
        mtu: 9000,
        ..HostConfig::steering(number)
    })
}

#[test]
fn shared_buffers_cost_nothing_either_way_once_warm() {
    for client in [0, 1] {
        World::with(steering(), |world| {
            let pair = Pair::new(world, client, direct());
            let sockets = pair.datagrams(7);
            let share = Passing::new(Semantics::Share);
            early(pair, &sockets, 100, HEAP, [share, share]);
            let before = [0, 1].map(|host| costs(pair, host));
            let mut passed = 0;
            for len in [1, 1472, 4096, 8192, 8000] {
                early(pair, &sockets, len, HEAP + 4096, [share, share]);
                passed += len as u64;
            }
            for (host, (before, outside)) in before.into_iter().enumerate() {
                let (after, outside_after) = costs(pair, host);
                assert_eq!(after.copied(), before.copied(), "host {host}");
                assert_eq!(after.page_operations(), before.page_operations());
                assert_eq!(outside_after, outside, "as the machine saw it");
            }
            let in_place = costs(pair, 1).0.referenced_in - before[1].0.referenced_in;
            assert_eq!(in_place, passed);
        });
    }
}

#[test]
fn a_blocked_receiver_is_served_in_place() {
    World::with(steering(), |world| {
        let pair = Pair::new(world, 0, direct());
        let sockets = pair.datagrams(7);
        for (n, len) in [1, 100, 4096, 8001].into_iter().enumerate() {
            early(
                pair,
                &sockets,
                len,
                HEAP + 77 * n as u32,
                [Passing::DEFAULT; 2],
            );
        }
        let (account, outside) = costs(pair, 1);
        assert_eq!((account.copied(), account.page_operations()), (0, 0));
        assert_eq!(account.referenced_in, 1 + 100 + 4096 + 8001);
        assert_eq!(outside, (0, 0));
        assert_eq!(world.lock().hosts[1].count("input.in-place"), 4);
    });
}

#[test]
fn a_receiver_with_threads_gets_pages_for_its_own() {
    World::with(steering(), |world| {
        let pair = Pair::new(world, 1, direct());
        let sockets = pair.datagrams(7);
        let swap = Passing {
            semantics: Semantics::EmulatedCopy,
            forced: Some(Technique::Swap),
        };
        early(pair, &sockets, 8192, HEAP, [Passing::DEFAULT, swap]);
        let (account, outside) = costs(pair, 1);
        assert_eq!((account.mapped, account.unmapped), (2, 2));
        assert_eq!((account.copied(), account.referenced_in), (0, 8192));
        assert_eq!(outside, (0, 4));
        // Half a page and more is completed, then swapped; less is copied.
        for (len, reverse, copied) in [(7000, 1192, 0), (4196, 0, 100)] {
            let (before, _) = costs(pair, 1);
            early(pair, &sockets, len, HEAP, [Passing::DEFAULT, swap]);
            let (account, (bytes, pages)) = costs(pair, 1);
            assert_eq!(account.copied_reverse - before.copied_reverse, reverse);
            assert_eq!(account.copied_in - before.copied_in, copied);
            assert_eq!(
                (account.copied(), account.page_operations()),
                (bytes, pages)
            );
        }
    });
}
