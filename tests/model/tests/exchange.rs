//! Pages of two buffers change places; nothing else does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ioipc::net::UdpSocket;
use ioipc::{Buffer, Passing, Semantics, Settings, UserBuffer};
use model_tests::{HEAP, HostConfig, LARGE, World};

fn world() -> (&'static World, &'static ioipc::Stack) {
    let world = World::new([HostConfig::stock(1), HostConfig::stock(2)]);
    (world, world.stack(0, 0, Settings::DEFAULT))
}

fn store(world: &World, address: u32, bytes: &[u8]) {
    world.lock().hosts[0].store(0, address, bytes).unwrap();
}

fn load(world: &World, address: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    world.lock().hosts[0].load(0, address, &mut bytes).unwrap();
    bytes
}

#[test]
fn two_ranges_change_places_without_a_copy() {
    let (world, stack) = world();
    let (a, b) = (HEAP + 0x3000, HEAP + 0x9000);
    store(world, a, &[1; 8192]);
    store(world, b, &[2; 8192]);
    let before = stack.account().unwrap();
    let both = |x, y| stack.exchange(UserBuffer::at(x, 8192), UserBuffer::at(y, 8192));
    both(a, b).unwrap();
    assert_eq!(
        (load(world, a, 8192), load(world, b, 8192)),
        (vec![2; 8192], vec![1; 8192])
    );
    // Both are ordinary memory again.
    store(world, a + 5, &[3; 10]);
    assert_eq!(
        load(world, a, 16)[4..16],
        [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2]
    );
    let after = stack.account().unwrap();
    assert_eq!(after.copied(), before.copied());
    assert_eq!(after.page_operations() - before.page_operations(), 8);
    for (x, y) in [
        (a + 1, b),
        (a, b + 4),
        (a, a),
        (a, a + 4096),
        (LARGE, a),
        (0, a),
    ] {
        assert!(both(x, y).is_err(), "{x:#x} {y:#x}");
    }
    assert!(
        stack
            .exchange(UserBuffer::at(a, 4096), UserBuffer::at(b, 8192))
            .is_err()
    );
    assert_eq!(
        stack.account().unwrap().page_operations(),
        after.page_operations()
    );
}

#[test]
fn what_is_being_sent_stays_what_it_was() {
    let (world, stack) = world();
    let other = world.stack(1, 0, Settings::DEFAULT);
    let from = UdpSocket::bind_on(stack, "10.0.0.1:4000").unwrap();
    let to = UdpSocket::bind_on(other, "10.0.0.2:5000").unwrap();
    store(world, HEAP, &[7; 4096]);
    store(world, HEAP + 4096, &[8; 4096]);
    let passing = Passing::new(Semantics::EmulatedCopy);
    let sent = from.send_memory_to(UserBuffer::at(HEAP, 1000), "10.0.0.2:5000", Some(passing));
    assert_eq!(sent.unwrap(), 1000);
    let pages = (
        UserBuffer::at(HEAP, 4096),
        UserBuffer::at(HEAP + 4096, 4096),
    );
    stack.exchange(pages.0, pages.1).unwrap();
    let (got, _) = to
        .recv_memory_from(UserBuffer::at(HEAP, 2000), None)
        .unwrap();
    let mut bytes = vec![0; got];
    world.lock().hosts[1].load(0, HEAP, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 1000]);
    assert_eq!(load(world, HEAP, 4), [8; 4]);
}

#[test]
fn buffers_change_places_with_what_they_show() {
    let (_, stack) = world();
    let mut one = Buffer::alloc_on(stack, 5000).unwrap();
    let mut two = Buffer::alloc_on(stack, 8000).unwrap();
    assert!(one.write(0, &[1; 5000]) && two.write(0, &[2; 8000]));
    one.exchange(&mut two).unwrap();
    let show = |buffer: &Buffer| {
        let mut bytes = vec![0; buffer.len()];
        assert!(buffer.read(0, &mut bytes));
        bytes
    };
    assert_eq!((show(&one), show(&two)), (vec![2; 8000], vec![1; 5000]));
    let mut small = Buffer::alloc_on(stack, 100).unwrap();
    assert!(one.exchange(&mut small).is_err());
}
