//! What the asynchronous interface costs in crossings, and that nobody spins.
//!
//! A crossing is a signal or a wait of the client's, or a signal of the
//! manager's to it: each enters the kernel. In the model everybody else looks
//! at every step, so only the client's own are counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ioipc::UserBuffer;
use ioipc::queue::Queue;
use model_tests::pairs::{Pair, address, direct};
use model_tests::{HEAP, HostConfig, World, background};

/// Datagrams of 64 bytes that are echoed.
const ECHOES: u64 = 512;
const BYTES: u32 = 64;

/// Has the client on host 1 send back what comes, without waiting.
fn echo(pair: Pair) -> background::Background {
    let socket = ioipc::net::UdpSocket::bind_on(pair.stacks[1], address(1, 7)).unwrap();
    socket.set_nonblocking(true);
    background::set(move || {
        let mut buf = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            socket.send_to(&buf[..len], from).unwrap();
        }
    })
}

/// Crossings for each echo with so many outstanding, in thousandths.
fn crossings(outstanding: u64) -> u64 {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 0, direct());
        let background = echo(pair);
        let socket = ioipc::net::UdpSocket::bind_on(pair.stacks[0], address(0, 7)).unwrap();
        // Few datagrams wait for a neighbour that is not known yet.
        socket.send_to(b"first", address(1, 7)).unwrap();
        socket.recv_from(&mut [0; 8]).unwrap();
        let mut queue = Queue::<128>::new_on(pair.stacks[0]).unwrap();
        let memory = UserBuffer::at(HEAP, BYTES);
        let crossed = |pair: Pair| {
            let signals = pair.world.lock().hosts[0].signals[0];
            pair.stacks[0].counters().crossings() + signals
        };
        let send = |queue: &mut Queue<128>| {
            queue.receive(&socket, memory, None, 1).unwrap();
            let to = address(1, 7);
            queue.send_to(&socket, memory, to, None, 0).unwrap();
        };
        for _ in 0..outstanding {
            send(&mut queue);
        }
        let (mut done, before) = (0, crossed(pair));
        while done < ECHOES {
            let operation = queue.wait(None).unwrap().unwrap();
            assert_eq!(operation.result, Ok(BYTES as usize));
            if operation.token == 1 {
                done += 1;
                send(&mut queue);
            }
        }
        let crossed = crossed(pair) - before;
        drop(queue);
        drop(background);
        crossed * 1000 / ECHOES
    })
}

#[test]
fn many_outstanding_operations_share_their_crossings() {
    let figures = [1, 4, 16, 64].map(|n| (n, crossings(n)));
    println!("outstanding, crossings for 1000 echoes: {figures:?}");
    // An echo is two operations.
    assert!(figures[3].1 < 1000, "{figures:?}");
    assert!(
        figures[0].1 >= figures[1].1 && figures[1].1 >= figures[3].1,
        "{figures:?}"
    );
    // Alone: a signal there, a wait, a signal back, for each operation.
    assert!(figures[0].1 <= 6000, "{figures:?}");
}

#[test]
fn a_client_that_waits_does_not_spin() {
    World::with([HostConfig::stock(1), HostConfig::stock(2)], |world| {
        let pair = Pair::new(world, 0, direct());
        let [socket, _other] = pair.datagrams(7);
        let mut queue = Queue::<64>::new_on(pair.stacks[0]).unwrap();
        let memory = UserBuffer::at(HEAP, BYTES);
        for n in 0..64 {
            queue.receive(&socket, memory, None, n).unwrap();
        }
        queue.flush();
        let before = pair.stacks[0].counters();
        let steps = Rc::new(Cell::new(0));
        let counted = Rc::new(RefCell::new(steps.clone()));
        let background = background::set(move || {
            let counted = counted.borrow();
            counted.set(counted.get() + 1);
        });
        let nothing = queue.wait(Some(Duration::from_secs(10))).unwrap();
        assert!(nothing.is_none());
        drop(background);
        let after = pair.stacks[0].counters();
        assert!(steps.get() > 10, "the world went on");
        assert!(
            after.waits - before.waits <= 2,
            "{} waits",
            after.waits - before.waits
        );
    });
}
