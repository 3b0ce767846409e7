//! UDP against another stack: echo, limits, errors, slow readers.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use smoltcp::wire::{IpAddress, IpEndpoint};
use socket_api::{Op, Request, SocketKind, Status, flags};
use support::*;

/// Receives wait with the manager, or come as requests of their own.
fn worlds() -> impl Iterator<Item = World> {
    [true, false].into_iter().map(|in_order| {
        let mut world = World::new(small());
        world.env.in_order = in_order;
        world
    })
}

fn server_at(port: u16) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(SERVER_IP), port)
}

#[test]
fn echoes_datagrams_of_all_sizes() {
    for mut w in worlds() {
        w.open(3, SocketKind::Udp);
        ok(&w.bind(3, 7));
        let peer = w.peer_udp(4000);
        for len in [0, 1, 63, 64, 1400, 1472] {
            let data = pattern(len, len as u64);
            w.udp(peer).send_slice(&data, server_at(7)).unwrap();
            let got = w.call(World::recv(3, 100, 2000));
            ok(&got);
            assert_eq!((got.len as usize, got.arg as usize), (len, len));
            assert_eq!(got.address, address(PEER_IP, 4000));
            assert_eq!(&w.region()[100..100 + len], &data[..]);
            let mut send = World::send(3, 100, len as u32);
            send.address = got.address;
            ok(&w.call(send));
            w.step(1000);
            let (back, from) = w.udp(peer).recv().unwrap();
            assert_eq!((back, from.endpoint), (&data[..], server_at(7)));
        }
    }
}

#[test]
fn a_posted_receive_gets_the_datagram_and_is_told_of_truncation() {
    for mut w in worlds() {
        w.open(0, SocketKind::Udp);
        ok(&w.bind(0, 7));
        let token = w.submit(World::recv(0, 0, 10));
        w.step(1000);
        let peer = w.peer_udp(4000);
        w.udp(peer)
            .send_slice(&pattern(50, 1), server_at(7))
            .unwrap();
        w.region()[10] = 0xaa;
        w.step(1000);
        w.step(1000);
        let got = w.completion(token).unwrap();
        assert_eq!((got.len, got.arg, got.flags), (10, 50, flags::TRUNCATED));
        assert_eq!(w.region()[10], 0xaa);
    }
}

#[test]
fn an_ephemeral_port_is_chosen_and_ports_are_exclusive() {
    for mut w in worlds() {
        for s in 0..3 {
            w.open(s, SocketKind::Udp);
        }
        let bound = w.bind(0, 0);
        ok(&bound);
        assert!(bound.address.port >= 49152);
        assert_eq!(
            w.bind(1, bound.address.port).status,
            Status::AddressInUse as u16
        );
        ok(&w.call(World::close(0, 0)));
        ok(&w.bind(1, bound.address.port));
        // Sending binds, connecting fixes the peer.
        let mut connect = Request::new(Op::Connect, 2, 0);
        connect.address = address(PEER_IP, 4000);
        let connected = w.call(connect);
        ok(&connected);
        let (peer, other) = (w.peer_udp(4000), w.peer_udp(4001));
        let to = server_at(connected.address.port);
        w.udp(other).send_slice(b"stranger", to).unwrap();
        w.udp(peer).send_slice(b"friend", to).unwrap();
        let got = w.call(World::recv(2, 0, 100));
        assert_eq!(&w.region()[..got.len as usize], b"friend");
        assert_eq!(w.count(Counter::DropNotPeer), 1);
    }
}

#[test]
fn a_slow_reader_loses_its_own_datagrams_only() {
    for mut w in worlds() {
        for (s, port) in [(0, 7), (1, 8)] {
            w.open(s, SocketKind::Udp);
            ok(&w.bind(s, port));
        }
        let peer = w.peer_udp(4000);
        w.udp(peer).send_slice(b"arp first", server_at(7)).unwrap();
        w.step(1000);
        for _ in 0..20 {
            for _ in 0..30 {
                w.udp(peer).send_slice(&[1; 1000], server_at(7)).unwrap();
            }
            w.step(1000);
        }
        assert!(w.count(Counter::DropReceiveQueue) > 400);
        w.udp(peer).send_slice(b"through", server_at(8)).unwrap();
        let got = w.call(World::recv(1, 0, 100));
        assert_eq!(&w.region()[..got.len as usize], b"through");
    }
}

#[test]
fn who_does_not_read_holds_no_more_than_may_be() {
    let mut w = World::new(small());
    // Two sockets of one client, one of another.
    for (s, port, client) in [(0, 7, 0), (1, 8, 0), (2, 9, 1)] {
        let mut open = Request::new(Op::Open, s, 0);
        (open.arg, open.client) = (SocketKind::Udp as u64, client);
        ok(&w.call(open));
        let mut bind = Request::new(Op::Bind, s, 0);
        bind.client = client;
        bind.address = address([0, 0, 0, 0].into(), port);
        ok(&w.call(bind));
    }
    let peer = w.peer_udp(4000);
    let fill = |w: &mut World, peer, port| {
        for _ in 0..15 {
            for _ in 0..30 {
                w.udp(peer).send_slice(&[1; 10], server_at(port)).unwrap();
            }
            w.step(1000);
        }
        w.count(Counter::PacketsHeld)
    };
    assert_eq!(fill(&mut w, peer, 7), 128);
    assert_eq!(w.count(Counter::DropPinned), 0);
    assert_eq!(fill(&mut w, peer, 8), 256);
    // The other client is not concerned.
    w.udp(peer).send_slice(b"through", server_at(9)).unwrap();
    let mut recv = World::recv(2, 0, 100);
    recv.client = 1;
    let got = w.call(recv);
    ok(&got);
    assert_eq!(&w.env.regions[&1][..got.len as usize], b"through");
    // Nor is the first one's socket that is read.
    let mut config = small();
    config.receive_frames = 100;
    let mut w = World::new(config);
    w.open(0, SocketKind::Udp);
    ok(&w.bind(0, 7));
    let peer = w.peer_udp(4000);
    assert_eq!(fill(&mut w, peer, 7), 100);
    assert!(w.count(Counter::DropPinned) > 300);
    w.open(1, SocketKind::Udp);
    ok(&w.bind(1, 8));
    let token = w.submit(World::recv(1, 0, 100));
    w.step(1000);
    let peer = w.peer_udp(4001);
    w.udp(peer).send_slice(b"posted", server_at(8)).unwrap();
    w.step(1000);
    w.step(1000);
    assert_eq!(w.completion(token).unwrap().len, 6);
    ok(&w.call(World::close(0, 0)));
    ok(&w.call(World::close(1, 0)));
    w.step(1000);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn answers_from_well_known_ports_do_not_use_up_the_whole_slots() {
    let mut w = World::new(small());
    w.open(0, SocketKind::Udp);
    ok(&w.bind(0, 7));
    let peer = w.peer_udp(53);
    for _ in 0..5 {
        for _ in 0..30 {
            w.udp(peer).send_slice(&[1; 10], server_at(7)).unwrap();
        }
        w.step(1000);
    }
    assert_eq!(w.count(Counter::PacketsHeld), 16);
    assert!(w.count(Counter::DropPinned) > 100);
    assert_eq!(w.call(World::recv(0, 0, 100)).len, 10);
}

#[test]
fn no_payload_is_copied() {
    for mut w in worlds() {
        w.open(0, SocketKind::Udp);
        ok(&w.bind(0, 7));
        let peer = w.peer_udp(4000);
        for _ in 0..3 {
            w.udp(peer).send_slice(&[5; 1000], server_at(7)).unwrap();
            let got = w.call(World::recv(0, 0, 2000));
            let mut send = World::send(0, 0, got.len);
            send.address = got.address;
            ok(&w.call(send));
        }
        for (counter, bytes) in [
            (Counter::Copied, 0),
            (Counter::Scratch, 0),
            (Counter::ReferencedIn, 3000),
            (Counter::ReferencedOut, 3000),
        ] {
            assert_eq!(w.count(counter), bytes, "{counter:?}");
        }
    }
}

#[test]
fn errors_are_typed() {
    for mut w in worlds() {
        w.open(0, SocketKind::Udp);
        ok(&w.bind(0, 7));
        let mut recv = World::recv(0, 0, 100);
        recv.flags = flags::NO_WAIT;
        assert_eq!(w.call(recv).status, Status::TimedOut as u16);
        assert_eq!(
            w.call(World::send(0, 0, 1)).status,
            Status::NotConnected as u16
        );
        let mut send = World::send(0, 0, 65508);
        send.address = address(PEER_IP, 1);
        let long = w.call(send);
        assert_eq!(
            (long.status, long.arg),
            (Status::MessageTooLong as u16, 65507)
        );
        // Nobody has this address.
        send.extent.len = 1;
        send.address = address([10, 0, 0, 77].into(), 1);
        assert_eq!(w.call(send).status, Status::Unreachable as u16);
        // A connected socket hears that the port is closed.
        let mut connect = Request::new(Op::Connect, 0, 0);
        connect.address = address(PEER_IP, 9);
        ok(&w.call(connect));
        ok(&w.call(World::send(0, 0, 5)));
        assert_eq!(
            w.call(World::recv(0, 0, 5)).status,
            Status::ConnectionRefused as u16
        );
    }
}

#[test]
fn sends_wait_for_the_driver() {
    let mut w = World::new(small());
    w.open(0, SocketKind::Udp);
    ok(&w.bind(0, 7));
    let peer = w.peer_udp(4000);
    let mut send = World::send(0, 0, 10);
    send.address = address(PEER_IP, 4000);
    ok(&w.call(send));
    w.env.room = 0;
    let token = w.submit(send);
    w.step(1000);
    assert!(w.completion(token).is_none());
    w.env.room = 8;
    w.step(1000);
    ok(&w.completion(token).unwrap());
    assert!(w.udp(peer).recv().is_ok() && w.udp(peer).recv().is_ok());
}

#[test]
fn cost_does_not_depend_on_idle_sockets() {
    let shown = |idle: u32| {
        let mut w = World::new(small());
        w.open(199, SocketKind::Udp);
        ok(&w.bind(199, 7));
        for s in 0..idle {
            w.open(s, SocketKind::Udp);
            ok(&w.bind(s, 1000 + s as u16));
        }
        let peer = w.peer_udp(4000);
        w.udp(peer).send_slice(b"first", server_at(7)).unwrap();
        ok(&w.call(World::recv(199, 0, 100)));
        let before = w.count(Counter::SocketsShown);
        for _ in 0..10 {
            w.udp(peer).send_slice(b"echo", server_at(7)).unwrap();
            let got = w.call(World::recv(199, 0, 100));
            let mut send = World::send(199, 0, got.len);
            send.address = got.address;
            ok(&w.call(send));
        }
        w.count(Counter::SocketsShown) - before
    };
    assert_eq!(shown(0), shown(60));
    // Where datagrams go is not smoltcp's to say.
    assert_eq!(shown(0), 0);
}

#[test]
fn the_server_itself_is_small_enough_for_a_stack() {
    assert!(size_of::<net_server::Server>() < 24 * 1024);
}

#[test]
fn receives_can_be_taken_back() {
    for mut w in worlds() {
        w.open(0, SocketKind::Udp);
        ok(&w.bind(0, 7));
        let peer = w.peer_udp(4000);
        let tokens = [0, 1, 2].map(|n| w.submit(World::recv(0, n * 100, 50)));
        let cancel = |token| Request {
            arg: token,
            ..Request::new(Op::Cancel, 0, 0)
        };
        w.step(1000);
        assert_eq!(w.count(Counter::RequestsPending), 3);
        ok(&w.call(cancel(tokens[1])));
        let ended = w.completion(tokens[1]).unwrap();
        assert_eq!(ended.status, Status::Cancelled as u16);
        for (token, at) in [(tokens[0], 0), (tokens[2], 200)] {
            w.udp(peer).send_slice(b"for one", server_at(7)).unwrap();
            w.step(1000);
            w.step(1000);
            ok(&w.completion(token).unwrap());
            assert_eq!(&w.region()[at..at + 7], b"for one");
            let late = w.call(cancel(token));
            assert_eq!(late.status, Status::NotFound as u16);
        }
        // What nobody waits for waits itself.
        w.udp(peer).send_slice(b"later", server_at(7)).unwrap();
        w.step(1000);
        w.step(1000);
        ok(&w.call(World::recv(0, 0, 50)));
        assert_eq!(&w.region()[..5], b"later");
        assert_eq!(w.count(Counter::RequestsPending), 0);
    }
}

#[test]
fn receives_end_with_their_socket() {
    for mut w in worlds() {
        w.open(0, SocketKind::Udp);
        ok(&w.bind(0, 7));
        let tokens = [0, 1].map(|n| w.submit(World::recv(0, n * 100, 50)));
        w.step(1000);
        ok(&w.call(World::close(0, 0)));
        for token in tokens {
            let ended = w.completion(token).unwrap();
            assert_eq!(ended.status, Status::Cancelled as u16);
        }
        assert_eq!(w.count(Counter::RequestsPending), 0);
        w.open(0, SocketKind::Udp);
        assert_eq!(
            w.call(World::recv(0, 0, 5)).status,
            Status::NotConnected as u16
        );
    }
}
