//! Two peers on one cable: what one sends, the other gets, whatever the MTU
//! and the state of the cable.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use frame_peer::{FaultRates, Options, Peer, Rng, TcpState};

const PATIENCE: Duration = Duration::from_secs(10);
const A: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

fn options(address: Ipv4Addr, mtu: usize) -> Options {
    let mac = [0x52, 0x54, 0, 0, 2, address.octets()[3]];
    Options {
        mac,
        address,
        mtu,
        ..Options::default()
    }
}

fn pair(mtu: usize) -> (Peer, Peer) {
    Peer::pair(&options(A, mtu), &options(B, mtu)).unwrap()
}

#[test]
fn datagrams_of_every_size_and_mtu() {
    for mtu in [576, 1500, 9000] {
        let (a, b) = pair(mtu);
        b.serve_echo(7).unwrap();
        let socket = a.udp_socket(5000).unwrap();
        for len in [0, 1, 64, 1472, 1473, 9000, 30_000, 65_507] {
            let message = Rng::new(len as u64).bytes(len);
            socket.send_to(&message, SocketAddrV4::new(B, 7)).unwrap();
            let (reply, from) = socket.recv_from(PATIENCE).unwrap();
            assert!(
                reply == message && from == SocketAddrV4::new(B, 7),
                "{len} at {mtu}"
            );
        }
        assert!(a.stats().fragments > 0);
    }
}

fn bulk(a: &Peer, len: usize) {
    let message = Rng::new(3).bytes(len);
    let mut stream = a.tcp_connect(SocketAddrV4::new(B, 7), PATIENCE).unwrap();
    stream.set_patience(Duration::from_secs(30));
    let (mut sent, mut back) = (0, Vec::new());
    while back.len() < len {
        let more = message.len().min(sent + 20_000);
        stream.write_all(&message[sent..more]).unwrap();
        let mut part = vec![0; more - sent];
        sent = more;
        stream.read_exact(&mut part).unwrap();
        back.extend(part);
    }
    assert!(back == message);
    stream.close();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn streams_survive_a_bad_cable() {
    let (a, b) = pair(1500);
    b.serve_echo(7).unwrap();
    bulk(&a, 2_000_000);
    let rates = FaultRates {
        loss: 10,
        duplicate: 20,
        reorder: 20,
        corrupt: 5,
    };
    a.set_faults(rates, rates);
    bulk(&a, 200_000);
}

#[test]
fn client_and_server_and_how_connections_end() {
    let (a, b) = pair(1500);
    let mut acceptor = b.tcp_listen(80, 2).unwrap();
    let mut client = a.tcp_connect(SocketAddrV4::new(B, 80), PATIENCE).unwrap();
    let mut server = acceptor.accept(PATIENCE).unwrap();
    server.write_all(b"welcome").unwrap();
    server.flush().unwrap();
    server.close();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "welcome");
    assert_eq!(client.state(), TcpState::CloseWait);

    let client = a.tcp_connect(SocketAddrV4::new(B, 80), PATIENCE).unwrap();
    let mut server = acceptor.accept(PATIENCE).unwrap();
    client.abort();
    assert_eq!(
        server.read(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );

    let refused = a
        .tcp_connect(SocketAddrV4::new(B, 81), PATIENCE)
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let nobody = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 99), 80);
    let absent = a
        .tcp_connect(nobody, Duration::from_millis(300))
        .err()
        .unwrap();
    assert_eq!(absent.kind(), ErrorKind::TimedOut);
}

#[test]
fn more_connections_than_backlog_one_after_the_other() {
    let (a, b) = pair(1500);
    b.serve_echo(7).unwrap();
    for n in 0..100u8 {
        let mut stream = a.tcp_connect(SocketAddrV4::new(B, 7), PATIENCE).unwrap();
        stream.write_all(&[n; 100]).unwrap();
        let mut back = [0; 100];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, [n; 100]);
    }
}

#[test]
fn ping_resolve_tap_capture() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("link.pcap");
    let one = Options {
        pcap: Some(capture.clone()),
        ..options(A, 1500)
    };
    let (a, b) = Peer::pair(&one, &options(B, 1500)).unwrap();
    assert_eq!(a.resolve(B, PATIENCE).unwrap(), b.mac());
    a.ping(B, b"some payload", PATIENCE).unwrap();
    let nobody = Ipv4Addr::new(10, 0, 2, 77);
    assert_eq!(
        a.resolve(nobody, Duration::from_millis(100))
            .unwrap_err()
            .kind(),
        ErrorKind::TimedOut
    );
    b.set_proxy_arp(true);
    assert_eq!(a.resolve(nobody, PATIENCE).unwrap(), b.mac());
    let tap = b.tap();
    a.send_frame(b"whatever this is").unwrap();
    assert_eq!(tap.recv_timeout(PATIENCE).unwrap(), b"whatever this is");
    let stats = a.stats();
    drop(a);
    let bytes = std::fs::read(&capture).unwrap();
    let frames = stats.sent + stats.received;
    assert!(frames >= 8 && bytes.len() as u64 > 24 + 16 * frames);
    assert!(
        bytes
            .windows(16)
            .any(|window| window == b"whatever this is")
    );
}

#[test]
fn the_next_guest_may_come_over_the_same_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("link");
    let a = Peer::listen(&path, &options(A, 1500)).unwrap();
    assert!(!a.wait_linked(Duration::from_millis(50)));
    assert_eq!(
        a.send_frame(b"x").unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    for _ in 0..3 {
        let b = Peer::connect(&path, &options(B, 1500), PATIENCE).unwrap();
        assert!(a.wait_linked(PATIENCE));
        b.ping(A, b"hello", PATIENCE).unwrap();
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for wrong in [
        options(A, 67),
        Options {
            prefix: 33,
            ..options(A, 1500)
        },
    ] {
        let refused = Peer::pair(&wrong, &options(B, 1500)).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_stalled_peer_takes_what_waited_later() {
    let (a, b) = pair(1500);
    let (from, to) = (a.udp_socket(5000).unwrap(), b.udp_socket(5000).unwrap());
    let there = SocketAddrV4::new(B, 5000);
    from.send_to(b"before", there).unwrap();
    assert_eq!(to.recv_from(PATIENCE).unwrap().0, b"before");
    b.set_stalled(true);
    from.send_to(b"meanwhile", there).unwrap();
    let nothing = to.recv_from(Duration::from_millis(300)).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::TimedOut);
    // The other way is open.
    to.send_to(b"back", SocketAddrV4::new(A, 5000)).unwrap();
    assert_eq!(from.recv_from(PATIENCE).unwrap().0, b"back");
    b.set_stalled(false);
    assert_eq!(to.recv_from(PATIENCE).unwrap().0, b"meanwhile");
}
