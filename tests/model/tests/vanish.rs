//! Peers that vanish while bytes are on their way.
//!
//! What has arrived is what was sent, what has not is reported as an error, no
//! call hangs, the other client notices nothing, and everything is given back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ioipc::queue::Queue;
use ioipc::{ErrorKind, UserBuffer};
use model_tests::pairs::{Pair, Reader, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use socket_api::Extent;

const MIB: usize = 1 << 20;
const ROOM: Extent = Extent {
    address: HEAP,
    len: 20_000,
};

/// Sends a mebibyte from client 1 on host 0 without waiting; after so many
/// steps something happens, and the sender sees how its send ended, if it is
/// still there, and the receiver what came.
fn interrupted(
    steps: usize,
    happens: impl FnOnce(&World, Pair),
    sender_lives: bool,
) -> (Option<ioipc::Result<usize>>, Vec<u8>, ioipc::Result<()>) {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 1, direct());
        let [from, to] = pair.connection(80);
        pair.store(0, HEAP, &pattern(MIB, 1));
        let mut reader = Reader::new(pair, 1, &to, ROOM);
        let mut queue = Queue::<1>::new_on(pair.stacks[0]).unwrap();
        let memory = UserBuffer::at(HEAP, MIB as u32);
        queue.send(&from, memory, None, 0).unwrap();
        queue.flush();
        world.lock().frames = 4;
        for _ in 0..steps {
            world.step();
            reader.poll();
        }
        happens(world, pair);
        reader.wait_for(MIB);
        let sent = sender_lives.then(|| queue.wait(None).unwrap().unwrap().result);
        others_go_on(world);
        let came = (reader.got.clone(), reader.end);
        // Whoever is gone would wait for ever.
        std::mem::forget((queue, from, to, reader));
        (sent, came.0, came.1.unwrap_or(Ok(())))
    })
}

/// The other clients' stream still works, where both servers do.
fn others_go_on(world: &'static World) {
    let alive = [0, 1]
        .iter()
        .all(|h| world.lock().hosts[*h].count("servers.gone") == 0);
    if !alive {
        return;
    }
    let pair = Pair::new(world, 0, direct());
    let [from, to] = pair.connection(81);
    let bytes = pattern(5000, 3);
    pair.store(0, HEAP, &bytes);
    let memory = UserBuffer::at(HEAP, 5000);
    assert_eq!(from.write_memory(memory, None), Ok(5000));
    let mut reader = Reader::new(pair, 1, &to, ROOM);
    reader.wait_for(5000);
    assert!(reader.got == bytes);
}

fn is_prefix(came: &[u8]) {
    assert!(came.len() < MIB, "all of it came");
    assert!(*came == pattern(MIB, 1)[..came.len()]);
}

#[test]
fn the_sender_dies() {
    for steps in [1, 7, 40, 100] {
        let die = |world: &World, _: Pair| world.lock().hosts[0].manager.client_died(1);
        let (_, came, end) = interrupted(steps, die, false);
        is_prefix(&came);
        assert!(
            end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
            "{end:?}"
        );
    }
}

#[test]
fn the_protocol_server_dies() {
    for steps in [1, 7, 40, 100] {
        let die = |world: &World, _: Pair| {
            let mut inner = world.lock();
            for host in &mut inner.hosts {
                host.manager.server_died(0);
            }
        };
        let (sent, came, end) = interrupted(steps, die, true);
        is_prefix(&came);
        assert!(sent.is_some_and(|sent| sent.is_err()), "{sent:?}");
        assert!(end.is_err());
    }
}

#[test]
fn the_receiver_resets_the_connection() {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 1, direct());
        let [from, to] = pair.connection(80);
        pair.store(0, HEAP, &pattern(MIB, 1));
        let mut queue = Queue::<1>::new_on(pair.stacks[0]).unwrap();
        let memory = UserBuffer::at(HEAP, MIB as u32);
        queue.send(&from, memory, None, 0).unwrap();
        queue.flush();
        world.settle(100);
        to.set_linger(Some(core::time::Duration::ZERO));
        drop(to);
        let sent = queue.wait(None).unwrap().unwrap().result;
        assert!(sent.is_err() || sent.is_ok_and(|len| len < MIB), "{sent:?}");
        drop((queue, from));
        world.settle(100);
        let books = world.lock().hosts[0].manager.books();
        assert_eq!(books.clients[1].slots, 0);
        assert_eq!(books.nics[0].slots_away, 0);
        assert_eq!(books.reserve, model_tests::RESERVE);
        others_go_on(world);
    });
}
