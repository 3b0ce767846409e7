//! What random programs have found, each by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use data_passing::Costs;
use ioipc::UserBuffer;
use ioipc::queue::Queue;
use model_tests::pairs::{Pair, Reader, address, direct};
use model_tests::{HEAP, HostConfig, World, background, pattern};
use socket_api::Extent;

/// A frame with bytes of more sends than one entry names parts of leaves.
#[test]
fn many_small_sends_go_in_one_frame() {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 0, direct());
        let [from, to] = pair.connection(80);
        let bytes = pattern(70, 1);
        pair.store(0, HEAP, &bytes);
        let before = world.lock().hosts[0].nic.counts.sent;
        let mut queue = Queue::<10>::new_on(pair.stacks[0]).unwrap();
        for n in 0..10 {
            let memory = UserBuffer::at(HEAP + 7 * n, 7);
            queue.send(&from, memory, None, n.into()).unwrap();
        }
        queue.flush();
        let room = Extent {
            address: HEAP,
            len: 100,
        };
        let mut reader = Reader::new(pair, 1, &to, room);
        reader.wait_for(70);
        assert_eq!(reader.got, bytes);
        let host = &world.lock().hosts[0];
        assert_eq!(host.count("server.faults"), 0);
        let sent = host.nic.counts.sent - before;
        assert!(sent < 10, "they are put together");
    });
}

/// A datagram in fragments reaches a `Recv` whose room the NIC has: it is asked
/// back first.
#[test]
fn fragments_reach_a_room_that_the_nic_has() {
    let hosts = [1, 2].map(|number| HostConfig {
        // Pages change places gladly.
        costs: Costs {
            map: 9,
            unmap: 9,
            ..Costs::PINNED
        },
        ..HostConfig::steering(number)
    });
    World::with(hosts, |world| {
        let pair = Pair::new(world, 1, direct());
        let [from, to] = pair.datagrams(7);
        let bytes = pattern(12_288, 1);
        pair.store(0, HEAP, &bytes);
        let mut sent = false;
        let background = background::set(move || {
            if !std::mem::replace(&mut sent, true) {
                let memory = UserBuffer::at(HEAP, 12_288);
                from.send_memory_to(memory, address(1, 7), None).unwrap();
            }
        });
        let room = UserBuffer::at(HEAP, 65_507);
        let got = to.recv_memory_from(room, None).unwrap().0;
        drop(background);
        assert_eq!(got, 12_288);
        assert!(pair.load(1, HEAP, got) == bytes);
        let host = &world.lock().hosts[1];
        assert_eq!(host.count("input.swap"), 1);
        assert_eq!(host.count("server.faults"), 0);
    });
}

/// A client dies while a datagram in fragments is being delivered to it: its
/// packets are given back, and the server is not to blame.
#[test]
fn a_client_dies_as_fragments_arrive() {
    for steps in 0..8 {
        World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
            let pair = Pair::new(world, 1, direct());
            let [from, to] = pair.datagrams(7);
            let mut queue = Queue::<1>::new_on(pair.stacks[1]).unwrap();
            let room = UserBuffer::at(HEAP, 65_507);
            queue.receive(&to, room, None, 0).unwrap();
            queue.flush();
            let memory = UserBuffer::at(HEAP, 2953);
            from.send_memory_to(memory, address(1, 7), None).unwrap();
            for _ in 0..steps {
                world.step();
            }
            world.lock().hosts[1].manager.client_died(1);
            for _ in 0..100 {
                world.settle(50);
                world.lock().now_ns += 500_000_000;
            }
            let host = &world.lock().hosts[1];
            assert_eq!(host.count("server.faults"), 0);
            assert_eq!(host.manager.books().nics[0].with_server, 0);
            // Their library would wait for ever.
            std::mem::forget((queue, to));
        });
    }
}
