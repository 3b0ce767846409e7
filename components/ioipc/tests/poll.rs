//! Readiness over many sockets: a single-threaded echo service with many
//! clients, and what a poll must and must not report.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ioipc::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use ioipc::{ErrorKind, Event, Interest, Poll, Stack};
use proptest::prelude::*;
use world::{Size, World, looped};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const MOMENT: Option<Duration> = Some(Duration::from_millis(10));
const LONG: Option<Duration> = Some(Duration::from_secs(10));

fn host(port: u16) -> (Ipv4Addr, u16) {
    (looped::HOST.into(), port)
}

fn tokens(poll: &Poll, limit: Option<Duration>) -> Vec<u64> {
    let mut events = [Event::default(); 64];
    let count = poll.wait(&mut events, limit).unwrap();
    let mut tokens: Vec<u64> = events[..count].iter().map(|e| e.token).collect();
    tokens.sort_unstable();
    tokens
}

#[test]
fn only_the_ready_are_reported_and_until_they_are_served() {
    let world = World::one();
    let stack = world.stacks[0];
    let sockets: Vec<_> = (0..20u16)
        .map(|n| UdpSocket::bind_on(stack, (ANY, 1000 + n)).unwrap())
        .collect();
    let poll = Poll::new_on(stack).unwrap();
    for (n, socket) in sockets.iter().enumerate() {
        poll.register(socket, n as u64, Interest::READABLE).unwrap();
    }
    let none: [u64; 0] = [];
    assert_eq!(tokens(&poll, Some(Duration::ZERO)), none);
    let start = Instant::now();
    assert_eq!(tokens(&poll, MOMENT), none);
    assert!(start.elapsed() >= Duration::from_millis(10));
    for port in [1003, 1003, 1017] {
        sockets[0].send_to(b"x", host(port)).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    while tokens(&poll, LONG) != [3, 17] {
        assert!(Instant::now() < end);
    }
    assert_eq!(tokens(&poll, MOMENT), [3, 17], "still ready");
    sockets[3].recv_from(&mut [0; 8]).unwrap();
    sockets[17].recv_from(&mut [0; 8]).unwrap();
    assert_eq!(tokens(&poll, MOMENT), [3], "one datagram is left");
    poll.deregister(&sockets[3]);
    assert_eq!(tokens(&poll, MOMENT), none);
    poll.register(&sockets[3], 99, Interest::READABLE).unwrap();
    assert_eq!(tokens(&poll, MOMENT), [99]);
}

#[test]
fn few_events_go_round() {
    let world = World::one();
    let stack = world.stacks[0];
    let sockets: Vec<_> = (0..6u16)
        .map(|n| UdpSocket::bind_on(stack, (ANY, 1000 + n)).unwrap())
        .collect();
    let poll = Poll::new_on(stack).unwrap();
    for (n, socket) in sockets.iter().enumerate() {
        poll.register(socket, n as u64, Interest::WRITABLE).unwrap();
    }
    let mut seen: HashMap<u64, u32> = HashMap::new();
    for _ in 0..9 {
        let mut events = [Event::default(); 2];
        assert_eq!(poll.wait(&mut events, LONG).unwrap(), 2);
        for event in events {
            assert!(event.writable && !event.readable);
            *seen.entry(event.token).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.values().all(|n| *n == 3), "{seen:?}");
}

#[test]
fn streams_report_their_end_and_their_room() {
    let world = World::one();
    let stack = world.stacks[0];
    let listener = TcpListener::bind_on(stack, (ANY, 80), 4).unwrap();
    let poll = Poll::new_on(stack).unwrap();
    poll.register(&listener, 1, Interest::READABLE).unwrap();
    let a = TcpStream::connect_on(stack, host(80), None).unwrap();
    assert_eq!(tokens(&poll, LONG), [1]);
    let (b, _) = listener.accept().unwrap();
    poll.register(&a, 2, Interest::WRITABLE).unwrap();
    assert_eq!(tokens(&poll, LONG), [2]);
    a.set_nonblocking(true);
    while a.write(&[3; 9999]).is_ok() {}
    let none: [u64; 0] = [];
    // What the server's window still takes may make room once more.
    while tokens(&poll, MOMENT) == [2] {
        while a.write(&[3; 9999]).is_ok() {}
    }
    assert_eq!(tokens(&poll, MOMENT), none);
    let mut buf = vec![0; 100_000];
    b.set_read_timeout(LONG).unwrap();
    while tokens(&poll, MOMENT) != [2] {
        b.read(&mut buf).expect("bytes, or room to send more");
    }
    poll.deregister(&a);
    poll.register(&b, 3, Interest::READABLE).unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    while tokens(&poll, LONG) == [3] && b.read(&mut buf).unwrap() != 0 {}
    assert_eq!(
        tokens(&poll, MOMENT),
        [3],
        "the end of the stream stays readable"
    );
}

#[test]
fn a_socket_of_another_stack_is_refused_and_polls_run_out() {
    let world = World::new(Size {
        clients: 2,
        ..Size::default()
    });
    let other = UdpSocket::bind_on(world.stacks[1], (ANY, 1)).unwrap();
    let polls: Vec<_> = (0..8)
        .map(|_| Poll::new_on(world.stacks[0]).unwrap())
        .collect();
    let refused = polls[0].register(&other, 1, Interest::BOTH).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let full = Poll::new_on(world.stacks[0]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::QuotaExceeded);
    drop(polls);
    assert!(Poll::new_on(world.stacks[0]).is_ok());
}

/// Serves `clients` connections, each until its peer ends it.
fn serve(stack: &'static Stack, listener: &TcpListener, clients: usize) {
    let poll = Poll::new_on(stack).unwrap();
    listener.set_nonblocking(true);
    poll.register(listener, 0, Interest::READABLE).unwrap();
    let mut connections: HashMap<u64, (TcpStream, Vec<u8>)> = HashMap::new();
    let (mut next, mut ended) = (1, 0);
    let mut events = [Event::default(); 16];
    let mut buf = [0; 3000];
    while ended < clients {
        let count = poll.wait(&mut events, LONG).unwrap();
        assert_ne!(count, 0, "{ended} of {clients} ended");
        for event in &events[..count] {
            if event.token == 0 {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true);
                    poll.register(&stream, next, Interest::READABLE).unwrap();
                    connections.insert(next, (stream, Vec::new()));
                    next += 1;
                }
                continue;
            }
            let (stream, rest) = connections.get_mut(&event.token).unwrap();
            if rest.is_empty() {
                match stream.read(&mut buf) {
                    Ok(0) => {
                        connections.remove(&event.token);
                        ended += 1;
                        continue;
                    }
                    Ok(len) => rest.extend_from_slice(&buf[..len]),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
                }
            }
            if let Ok(len) = stream.write(rest) {
                rest.drain(..len);
            }
            let interest = match rest.is_empty() {
                true => Interest::READABLE,
                false => Interest::WRITABLE,
            };
            poll.register(stream, event.token, interest).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One thread echoes to many connections; every byte comes back.
    #[test]
    fn an_echo_service_returns_every_byte(
        messages in prop::collection::vec(prop::collection::vec(1usize..20_000, 1..6), 1..12),
        requests in 48u16..256,
        orders in 0u16..3,
    ) {
        let mut size = Size { clients: 2, ..Size::default() };
        size.quota.requests = requests;
        size.settings.stream_order = orders;
        let world = World::new(size);
        let (server, client) = (world.stacks[0], world.stacks[1]);
        let listener = TcpListener::bind_on(server, (ANY, 7), 16).unwrap();
        let clients = messages.len();
        let echo = std::thread::spawn(move || serve(server, &listener, clients));
        let streams: Vec<_> = messages
            .iter()
            .map(|_| TcpStream::connect_on(client, host(7), None).unwrap())
            .collect();
        for (n, (stream, lengths)) in streams.iter().zip(&messages).enumerate() {
            stream.set_read_timeout(LONG).unwrap();
            for len in lengths {
                let sent: Vec<u8> = (0..*len).map(|at| (at ^ at >> 8 ^ n) as u8).collect();
                stream.write_all(&sent).unwrap();
                let mut back = vec![0; *len];
                let mut at = 0;
                while at < *len {
                    at += stream.read(&mut back[at..]).unwrap();
                }
                prop_assert!(back == sent);
            }
        }
        drop(streams);
        echo.join().unwrap();
        // Nobody calls the library any more; what was closed is closed.
        world.settle(0);
    }
}
