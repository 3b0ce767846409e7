//! Sockets over a manager whose network is a loop.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use embedded_io::{ReadReady, WriteReady};
use ioipc::net::{Shutdown, TcpListener, TcpStream, UdpSocket, interface_on, lookup_on};
use ioipc::{ErrorKind, Quota, Settings, Stack};
use world::{Size, World, be_thread, looped};

fn host(port: u16) -> (Ipv4Addr, u16) {
    (looped::HOST.into(), port)
}

fn udp(stack: &'static Stack, port: u16) -> UdpSocket {
    UdpSocket::bind_on(stack, (Ipv4Addr::UNSPECIFIED, port)).unwrap()
}

fn listen(stack: &'static Stack, port: u16) -> TcpListener {
    TcpListener::bind_on(stack, (Ipv4Addr::UNSPECIFIED, port), 8).unwrap()
}

fn pair(stack: &'static Stack) -> (TcpStream, TcpStream) {
    let listener = listen(stack, 80);
    let a = TcpStream::connect_on(stack, host(80), None).unwrap();
    let (b, peer) = listener.accept().unwrap();
    assert_eq!(peer, a.local_addr().unwrap());
    (a, b)
}

#[test]
fn datagrams_arrive_with_their_sender() {
    let world = World::one();
    let (a, b) = (udp(world.stacks[0], 1000), udp(world.stacks[0], 1001));
    assert_eq!(a.send_to(b"one", host(1001)).unwrap(), 3);
    assert_eq!(a.send_to(b"", host(1001)).unwrap(), 0);
    assert_eq!(a.send_to(&[7; 2000], host(1001)).unwrap(), 2000);
    let mut buf = [0; 2048];
    assert_eq!(b.peek_from(&mut buf).unwrap().0, 3);
    let (len, from) = b.recv_from(&mut buf).unwrap();
    assert_eq!((&buf[..len], from.port()), (&b"one"[..], 1000));
    assert_eq!(b.recv_from(&mut buf).unwrap().0, 0);
    // What does not fit is lost; the next datagram is whole.
    assert_eq!(b.recv_from(&mut buf[..10]).unwrap().0, 10);
    a.send_to(b"two", host(1001)).unwrap();
    assert_eq!(b.recv_from(&mut buf).unwrap().0, 3);
    drop((a, b));
    world.settle(0);
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b, c) = (udp(stack, 1000), udp(stack, 1001), udp(stack, 1002));
    assert_eq!(a.send(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
    a.connect(host(1001)).unwrap();
    c.send_to(b"stranger", host(1000)).unwrap();
    b.send_to(b"friend", host(1000)).unwrap();
    let mut buf = [0; 100];
    assert_eq!(a.recv(&mut buf).unwrap(), 6);
    a.send(b"hello").unwrap();
    assert_eq!(b.recv_from(&mut buf).unwrap().0, 5);
}

/// That one host is not there is not the socket's fault, nor anybody's that it is
/// to serve next.
#[test]
fn an_absent_host_is_news_to_a_connected_socket_only() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, b) = (udp(stack, 1000), udp(stack, 1001));
    let mut buf = [0; 100];
    for n in 0..20u8 {
        a.send_to(b"nobody", host(looped::ABSENT)).unwrap();
        assert_eq!(a.send_to(&[n], host(1001)).unwrap(), 1);
        let (len, from) = b.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from.port()), (&[n][..], 1000));
        b.send_to(&[n], host(1000)).unwrap();
        assert_eq!(a.recv_from(&mut buf).unwrap().0, 1);
    }
    assert!(a.take_error().is_none());
    a.connect(host(looped::ABSENT)).unwrap();
    a.send(b"nobody").unwrap();
    let error = a.recv(&mut buf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
}

#[test]
fn waiting_ends_when_told() {
    let world = World::one();
    let socket = udp(world.stacks[0], 1000);
    let mut buf = [0; 8];
    socket.set_nonblocking(true);
    assert_eq!(
        socket.recv_from(&mut buf).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    socket.set_nonblocking(false);
    let limit = Duration::from_millis(30);
    socket.set_read_timeout(Some(limit)).unwrap();
    assert_eq!(socket.read_timeout(), Some(limit));
    let start = Instant::now();
    assert_eq!(
        socket.recv_from(&mut buf).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert!(start.elapsed() >= limit);
    let none = socket.set_read_timeout(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    let start = Instant::now();
    ioipc::time::sleep_on(world.stacks[0], limit).unwrap();
    assert!(start.elapsed() >= limit);
}

#[test]
fn a_burst_of_64_costs_few_signals() {
    let world = World::one();
    let (a, b) = (udp(world.stacks[0], 1000), udp(world.stacks[0], 1001));
    let mut buf = [0; 2048];
    for round in 0..20u8 {
        for n in 0..64 {
            a.send_to(&[round, n, 3], host(1001)).unwrap();
        }
        for n in 0..64 {
            let (len, _) = b.recv_from(&mut buf).unwrap();
            assert_eq!(buf[..len], [round, n, 3]);
        }
    }
    let signals = world.hosts[0]
        .signals
        .load(std::sync::atomic::Ordering::Relaxed);
    // Threads on two processors run at once, so the manager often sleeps in
    // between; one signal for each datagram would be 2560.
    assert!(signals < 2000, "{signals} signals");
}

/// A request each for what fills most of a slot of up to 64 KiB; what does not
/// is cut, so that no more than a third of a slot is lost.
#[test]
fn writes_go_in_few_requests() {
    for (bytes, requests) in [
        (1, 1),
        (3 << 10, 1),
        (48 << 10, 1),
        (60 << 10, 1),
        (40 << 10, 2),
    ] {
        let world = World::one();
        let stack = world.stacks[0];
        let (a, b) = pair(stack);
        let before = stack.counters().requests;
        a.write_all(&vec![7; bytes]).unwrap();
        assert_eq!(stack.counters().requests - before, requests, "{bytes}");
        let mut read = 0;
        while read < bytes {
            read += b.read(&mut [0; 10_000]).unwrap();
        }
        drop((a, b));
        world.settle(0);
    }
}

#[test]
fn a_stream_carries_every_byte_both_ways() {
    let world = World::one();
    let (a, b) = pair(world.stacks[0]);
    const TOTAL: usize = 3 << 20;
    let byte = |at: usize| (at ^ at >> 8 ^ at >> 16) as u8;
    let sender = std::thread::spawn(move || {
        be_thread(1);
        let mut at = 0;
        let mut step = 1;
        while at < TOTAL {
            let len = step.min(TOTAL - at);
            let chunk: Vec<u8> = (at..at + len).map(byte).collect();
            a.write_all(&chunk).unwrap();
            at += len;
            step = (step * 7 + 3) % 50_000 + 1;
        }
        a.shutdown(Shutdown::Write).unwrap();
        assert_eq!(a.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut back = Vec::new();
        let mut buf = [0; 1000];
        while let len @ 1.. = a.read(&mut buf).unwrap() {
            back.extend_from_slice(&buf[..len]);
        }
        back
    });
    let mut at = 0;
    let mut buf = vec![0; 30_000];
    while let len @ 1.. = b.read(&mut buf).unwrap() {
        for (n, got) in buf[..len].iter().enumerate() {
            assert_eq!(*got, byte(at + n), "byte {}", at + n);
        }
        at += len;
    }
    assert_eq!(at, TOTAL);
    b.write_all(b"thanks").unwrap();
    drop(b);
    assert_eq!(sender.join().unwrap(), b"thanks");
    world.settle(0);
}

#[test]
fn dropping_a_stream_sends_what_was_written() {
    let world = World::one();
    let (a, b) = pair(world.stacks[0]);
    // More than the server's window: it is queued when the stream is dropped.
    let bytes = vec![5; 100_000];
    a.write_all(&bytes).unwrap();
    drop(a);
    let mut buf = vec![0; 200_000];
    let mut len = 0;
    while let got @ 1.. = b.read(&mut buf[len..]).unwrap() {
        len += got;
    }
    assert_eq!(len, bytes.len());
    drop(b);
    world.settle(0);
}

#[test]
fn no_linger_resets() {
    let world = World::one();
    let (a, b) = pair(world.stacks[0]);
    a.write_all(&vec![5; 150_000]).unwrap_or_default();
    a.set_linger(Some(Duration::ZERO));
    assert_eq!(a.linger(), Some(Duration::ZERO));
    drop(a);
    let mut buf = vec![0; 50_000];
    let end = loop {
        match b.read(&mut buf) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(e) => break Some(e.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    drop(b);
    world.settle(0);
}

#[test]
fn lingering_waits_as_long_as_it_was_told() {
    let world = World::one();
    let (a, b) = pair(world.stacks[0]);
    a.set_nonblocking(true);
    while a.write(&[1; 60_000]).is_ok() {}
    let limit = Duration::from_millis(50);
    a.set_linger(Some(limit));
    let start = Instant::now();
    drop(a);
    assert!(start.elapsed() >= limit, "nobody read");
    drop(b);
    world.settle(0);
}

#[test]
fn refused_and_silent_connects_fail_by_kind() {
    let world = World::one();
    let stack = world.stacks[0];
    let refused = TcpStream::connect_on(stack, host(81), None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let limit = Some(Duration::from_millis(20));
    let silent = TcpStream::connect_on(stack, host(looped::BLACK_HOLE), limit).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
    let taken = listen(stack, 80);
    let again = TcpListener::bind_on(stack, (Ipv4Addr::UNSPECIFIED, 80), 1).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    drop(taken);
    world.settle(0);
}

#[test]
fn a_stream_that_nobody_reads_stops_its_writer() {
    let world = World::one();
    let (mut a, b) = pair(world.stacks[0]);
    a.set_nonblocking(true);
    let mut written = 0;
    let error = loop {
        match a.write(&[9; 10_000]) {
            Ok(len) => written += len,
            Err(e) => {
                // What was on its way may still find room.
                std::thread::sleep(Duration::from_millis(60));
                if !a.write_ready().unwrap() {
                    break e.kind();
                }
            }
        }
    };
    assert_eq!(error, ErrorKind::WouldBlock);
    let mut buf = vec![0; 8192];
    let mut read = 0;
    while read < written {
        read += b.read(&mut buf).unwrap();
    }
    a.set_nonblocking(false);
    assert_eq!(a.write(b"more").unwrap(), 4);
    a.flush().unwrap();
    assert!((&b).read_ready().is_ok());
    assert_eq!(b.read(&mut buf).unwrap(), 4);
}

#[test]
fn shutting_the_reading_side_ends_reading() {
    let world = World::one();
    let (a, b) = pair(world.stacks[0]);
    a.shutdown(Shutdown::Read).unwrap();
    assert_eq!(a.read(&mut [0; 4]).unwrap(), 0);
    a.write_all(b"still").unwrap();
    assert_eq!(b.read(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn names_and_our_own_address() {
    let world = World::one();
    let stack = world.stacks[0];
    let found: Vec<_> = lookup_on(stack, "host.example", None).unwrap().collect();
    assert_eq!(found, [Ipv4Addr::from(looped::HOST)]);
    let itself: Vec<_> = lookup_on(stack, "127.0.0.1", None).unwrap().collect();
    assert_eq!(itself, [Ipv4Addr::LOCALHOST]);
    let missing = lookup_on(stack, "nowhere.example", None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let bad = lookup_on(stack, "", None).unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::InvalidInput);
    let listener = listen(stack, 90);
    let stream = TcpStream::connect_on(stack, "host.example:90", None).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), host(90).into());
    let ours = interface_on(stack, None).unwrap();
    assert_eq!(
        (ours.address, ours.prefix, ours.mtu),
        (host(0).0.into(), 24, 1500)
    );
    drop(listener);
}

#[test]
fn the_socket_quota_is_an_error_and_comes_back() {
    let quota = Quota {
        sockets: 4,
        requests: 64,
        queued_bytes: 64 << 10,
    };
    let world = World::new(Size {
        quota,
        ..Size::default()
    });
    let stack = world.stacks[0];
    for _ in 0..3 {
        let held: Vec<_> = (0..4).map(|n| udp(stack, 1000 + n)).collect();
        let full = UdpSocket::bind_on(stack, host(2000)).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::QuotaExceeded);
        drop(held);
    }
    world.settle(0);
}

#[test]
fn many_connections_come_and_go() {
    let world = World::one();
    let stack = world.stacks[0];
    let listener = listen(stack, 80);
    let before = Instant::now();
    for round in 0..1000 {
        let a = TcpStream::connect_on(stack, host(80), None).unwrap();
        let (b, _) = listener.accept().unwrap();
        a.write_all(b"ping").unwrap();
        let mut buf = [0; 8];
        assert_eq!(b.read(&mut buf).unwrap(), 4, "round {round}");
        match round % 2 {
            0 => drop((a, b)),
            _ => drop((b, a)),
        }
    }
    drop(listener);
    world.settle(0);
    assert!(before.elapsed() < Duration::from_secs(30));
}

#[test]
fn few_slots_and_buffers_serve_many_sockets() {
    // 40 streams and room for 64 requests and 32 buffers: everybody has to
    // take turns, and nobody may be forgotten.
    let world = World::new(Size {
        quota: Quota {
            sockets: 100,
            requests: 64,
            queued_bytes: 32 << 10,
        },
        data_bytes: 256 << 10,
        settings: Settings {
            stream_order: 0,
            ..Settings::DEFAULT
        },
        ..Size::default()
    });
    let stack = world.stacks[0];
    let listener = listen(stack, 80);
    let mut streams = Vec::new();
    for _ in 0..40 {
        let a = TcpStream::connect_on(stack, host(80), None).unwrap();
        streams.push((a, listener.accept().unwrap().0));
    }
    let limit = Some(Duration::from_secs(5));
    for round in 0..5u8 {
        for (n, (a, b)) in streams.iter().enumerate() {
            a.write_all(&[round, n as u8]).unwrap();
            let mut buf = [0; 8];
            b.set_read_timeout(limit).unwrap();
            assert_eq!(b.read(&mut buf).unwrap(), 2, "stream {n}");
            assert_eq!(buf[..2], [round, n as u8]);
        }
    }
    drop(streams);
    drop(listener);
    world.settle(0);
}

#[test]
fn threads_wait_for_different_sockets() {
    let world = World::one();
    let stack = world.stacks[0];
    let echo = std::thread::spawn(move || {
        be_thread(5);
        let socket = udp(stack, 7);
        let mut buf = [0; 100];
        for _ in 0..400 {
            let (len, from) = socket.recv_from(&mut buf).unwrap();
            socket.send_to(&buf[..len], from).unwrap();
        }
    });
    // Datagrams to a port that is not bound yet are lost: wait for it.
    let probe = udp(stack, 99);
    probe
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let pingers: Vec<_> = (1..5u16)
        .map(|thread| {
            std::thread::spawn(move || {
                be_thread(thread as usize);
                let socket = udp(stack, 1000 + thread);
                socket
                    .set_read_timeout(Some(Duration::from_secs(2)))
                    .unwrap();
                let mut buf = [0; 100];
                let mut done = 0u32;
                while done < 100 {
                    socket.send_to(&done.to_le_bytes(), host(7)).unwrap();
                    match socket.recv_from(&mut buf) {
                        Ok((len, _)) => {
                            assert_eq!(buf[..len], done.to_le_bytes());
                            done += 1;
                        }
                        Err(e) => assert_eq!((done, e.kind()), (0, ErrorKind::TimedOut)),
                    }
                }
            })
        })
        .collect();
    for pinger in pingers {
        pinger.join().unwrap();
    }
    echo.join().unwrap();
    drop(probe);
    world.settle(0);
}

#[test]
fn clients_reach_each_other_and_not_their_sockets() {
    let world = World::new(Size {
        clients: 2,
        ..Size::default()
    });
    let a = udp(world.stacks[0], 1000);
    let b = udp(world.stacks[1], 1001);
    a.send_to(b"over", host(1001)).unwrap();
    let mut buf = [0; 10];
    assert_eq!(b.recv_from(&mut buf).unwrap().0, 4);
    assert_eq!(&buf[..4], b"over");
}

#[test]
fn a_dead_server_is_an_error_not_a_hang() {
    let world = World::one();
    let stack = world.stacks[0];
    let (a, _b) = pair(stack);
    let socket = udp(stack, 1000);
    let killed = &world.switches.kill_server;
    killed.store(true, std::sync::atomic::Ordering::Relaxed);
    world.nudge();
    assert_eq!(a.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(
        socket.recv_from(&mut [0; 4]).unwrap_err().kind(),
        ErrorKind::Other
    );
    let again = UdpSocket::bind_on(stack, host(5)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Other);
}
