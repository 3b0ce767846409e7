//! Readiness tells when to try again, and not before.

use std::time::Duration;

use ioipc::net::{TcpListener, TcpStream};
use ioipc::{Buffer, ErrorKind, Event, Interest, Poll, Settings};
use model_tests::{HostConfig, World};

#[test]
fn a_stream_is_ready_once_there_is_room_for_what_did_not_fit() {
    let world = World::new([HostConfig::stock(1), HostConfig::stock(2)]);
    let (a, b) = (
        world.stack(0, 0, Settings::DEFAULT),
        world.stack(1, 0, Settings::DEFAULT),
    );
    let listener = TcpListener::bind_on(b, "10.0.0.2:80", 4).unwrap();
    let stream = TcpStream::connect_on(a, "10.0.0.2:80", None).unwrap();
    let (other, _) = listener.accept().unwrap();
    stream.set_nonblocking(true);
    let poll = Poll::new_on(a).unwrap();
    poll.register(&stream, 7, Interest::WRITABLE).unwrap();
    // Whole buffers, until one does not fit, though some bytes of it would.
    let mut sent = 0;
    let refused = loop {
        let buffer = Buffer::alloc_on(a, 24_000).unwrap();
        match stream.send_buffer(buffer) {
            Ok(()) => sent += 24_000,
            Err(unsent) => break unsent,
        }
        world.settle(10_000);
    };
    assert_eq!(refused.error.kind(), ErrorKind::WouldBlock);
    assert_ne!(sent % (128 << 10), 0, "there is some room");
    let mut events = [Event::default(); 4];
    let soon = Some(Duration::from_millis(50));
    assert_eq!(poll.wait(&mut events, soon).unwrap_or(0), 0);
    // Its peer reads, and acknowledges.
    let mut taken = 0;
    while taken < sent {
        taken += other
            .recv_buffer()
            .unwrap()
            .map_or(0, |buffer| buffer.len());
    }
    world.settle(10_000);
    assert_eq!(poll.wait(&mut events, soon).unwrap(), 1);
    assert!(events[0].writable && events[0].token == 7);
    assert!(stream.send_buffer(refused.item).is_ok());
}
