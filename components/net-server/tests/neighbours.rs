//! Neighbours: whom the server believes (ARP, RFC 826 and 5227), and that one
//! that is not there stops nobody else.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Ipv4Address,
};
use socket_api::{Op, Request, SocketKind, Status};
use support::*;

const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 9];
const ALL: [u8; 6] = [0xff; 6];
const NONE: [u8; 6] = [0; 6];
const SECOND: u64 = 1_000_000;
const UDP: u32 = 0;

/// Hosts that are not there.
fn absent(n: u8) -> Ipv4Address {
    Ipv4Address::new(10, 0, 0, 100 + n)
}

/// An ARP packet of `from` to or about `to`, in a frame of `src`.
fn arp(
    operation: ArpOperation,
    from: ([u8; 6], Ipv4Address),
    to: Ipv4Address,
    src: [u8; 6],
) -> Vec<u8> {
    let mut frame = vec![0; 42];
    EthernetRepr {
        src_addr: EthernetAddress(src),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(from.0),
        source_protocol_addr: from.1,
        target_hardware_addr: EthernetAddress(NONE),
        target_protocol_addr: to,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn reply(mac: [u8; 6], host: Ipv4Address) -> Vec<u8> {
    arp(ArpOperation::Reply, (mac, host), SERVER_IP, mac)
}

fn request(mac: [u8; 6], host: Ipv4Address) -> Vec<u8> {
    arp(ArpOperation::Request, (mac, host), SERVER_IP, mac)
}

/// What an ARP frame of the server's says: to whom the frame goes, whether it
/// is an answer, in whose name, and the address that it is about.
fn said(frame: &[u8]) -> Option<([u8; 6], bool, Ipv4Address, Ipv4Address)> {
    if frame[12..14] != [8, 6] {
        return None;
    }
    let address = |at: usize| Ipv4Address::from(*frame[at..].first_chunk::<4>().unwrap());
    let to = *frame.first_chunk().unwrap();
    Some((to, frame[21] == 2, address(28), address(38)))
}

/// The server alone, past the first look after its address.
fn alone() -> World {
    let mut w = World::new(small());
    w.alone = true;
    for _ in 0..10 {
        w.step(SECOND);
    }
    w.env.from_server.clear();
    w
}

/// The same with a datagram socket.
fn with_socket() -> World {
    let mut w = alone();
    w.open(UDP, SocketKind::Udp);
    ok(&w.bind(UDP, 7));
    w
}

/// Sends a datagram; its token.
fn send(w: &mut World, to: Ipv4Address) -> u64 {
    let mut send = World::send(UDP, 0, 4);
    send.address = address(to, 9);
    w.submit(send)
}

/// Runs the server; what it sent.
fn sent(w: &mut World) -> Vec<Vec<u8>> {
    w.step(1000);
    w.env.from_server.drain(..).collect()
}

/// Where a datagram to a host goes, or what is asked instead.
fn way(w: &mut World, to: Ipv4Address) -> Option<[u8; 6]> {
    send(w, to);
    let sent = sent(w);
    let datagram = sent.iter().find(|f| f[12..14] == [8, 0]);
    datagram.map(|f| *f.first_chunk().unwrap())
}

/// Has the server ask for a host, and answers.
fn introduce(w: &mut World, mac: [u8; 6], host: Ipv4Address) {
    send(w, host);
    let asked: Vec<_> = sent(w).iter().filter_map(|f| said(f)).collect();
    assert_eq!(asked, [(ALL, false, SERVER_IP, host)]);
    w.env.to_server.push_back(reply(mac, host));
    let sent = sent(w);
    assert_eq!(sent[0][..6], mac);
}

#[test]
fn who_is_not_there_stops_nobody_else() {
    let mut w = World::new(small());
    w.open(UDP, SocketKind::Udp);
    ok(&w.bind(UDP, 7));
    let peer = w.peer_udp(9);
    let gone: Vec<_> = (0..10).map(|n| send(&mut w, absent(n))).collect();
    w.step(1000);
    for n in 0..100u8 {
        w.region()[..4].copy_from_slice(&[n; 4]);
        let token = send(&mut w, PEER_IP);
        w.step(1000);
        w.step(1000);
        ok(&w.completion(token).expect("sent at once"));
        assert_eq!(w.udp(peer).recv().unwrap().0, [n; 4]);
    }
    assert!(gone.iter().all(|token| w.completion(*token).is_none()));
    for _ in 0..4 {
        w.step(SECOND);
    }
    for token in gone {
        let status = w.completion(token).unwrap().status;
        assert_eq!(status, Status::Unreachable as u16);
    }
    assert_eq!(w.count(Counter::RequestsPending), 0);
}

#[test]
fn datagrams_to_one_host_stay_in_order() {
    let mut w = with_socket();
    for n in 0..5u8 {
        w.region()[usize::from(n)] = n;
        let mut send = World::send(UDP, n.into(), 1);
        send.address = address(PEER_IP, 9);
        w.submit(send);
        send.address = address(absent(n), 9);
        w.submit(send);
    }
    sent(&mut w);
    w.env.to_server.push_back(reply(PEER_MAC, PEER_IP));
    // One more comes with the answer.
    let mut last = World::send(UDP, 5, 1);
    last.address = address(PEER_IP, 9);
    w.region()[5] = 5;
    w.submit(last);
    let sent = sent(&mut w);
    let bytes: Vec<_> = sent.iter().filter(|f| f[12..14] == [8, 0]).collect();
    let bytes: Vec<_> = bytes.iter().map(|f| f[42]).collect();
    assert_eq!(bytes, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn few_wait_for_neighbours_and_none_for_one_that_is_absent() {
    let mut w = with_socket();
    let pending = |w: &World| w.count(Counter::RequestsPending);
    // One host: the oldest give way.
    let tokens: Vec<_> = (0..30).map(|_| send(&mut w, absent(0))).collect();
    w.step(1000);
    assert_eq!((pending(&w), w.count(Counter::DropNoNeighbour)), (16, 14));
    let status = w.completion(tokens[0]).unwrap().status;
    assert_eq!(status, Status::Unreachable as u16);
    assert!(w.completion(tokens[29]).is_none());
    // Many hosts.
    for n in 1..100 {
        send(&mut w, absent(n));
    }
    w.step(1000);
    assert_eq!(pending(&w), 32);
    for _ in 0..4 {
        w.step(SECOND);
    }
    assert_eq!(pending(&w), 0);
    w.env.from_server.clear();
    // It is known now that it is not there: no question, no waiting.
    let token = send(&mut w, absent(99));
    assert_eq!(sent(&mut w), [] as [Vec<u8>; 0]);
    let status = w.completion(token).unwrap().status;
    assert_eq!(status, Status::Unreachable as u16);
    // But not for ever.
    for _ in 0..6 {
        w.step(SECOND);
    }
    introduce(&mut w, PEER_MAC, absent(99));
}

#[test]
fn a_connection_does_not_wait_for_anothers_neighbour() {
    let mut w = World::new(small());
    for s in 0..10 {
        w.open(s, SocketKind::Tcp);
    }
    let peer = w.peer_tcp();
    w.tcp(peer).listen(9).unwrap();
    let connect = |s: u32, to| {
        let mut connect = Request::new(Op::Connect, s, 0);
        connect.address = address(to, 9);
        connect
    };
    for s in 0..9 {
        w.submit(connect(s, absent(s as u8)));
    }
    w.step(1000);
    let token = w.submit(connect(9, PEER_IP));
    for _ in 0..3 {
        w.step(1000);
    }
    ok(&w.completion(token).expect("connected at once"));
}

#[test]
fn a_lookup_does_not_wait_for_a_strangers_neighbour() {
    let mut config = small();
    config.set("dns", "10.0.0.2").unwrap();
    let mut w = World::new(config);
    w.open(UDP, SocketKind::Udp);
    for n in 0..10 {
        send(&mut w, absent(n));
        w.step(1000);
    }
    w.log = Some(vec![]);
    w.region()[..5].copy_from_slice(b"a.org");
    let mut resolve = World::recv(0, 0, 5);
    (resolve.op, resolve.arg) = (Op::Resolve as u16, 256);
    w.submit(resolve);
    w.step(1000);
    w.step(1000);
    let log = w.log.take().unwrap();
    let query = |f: &&Vec<u8>| f[12..14] == [8, 0] && f[36..38] == [0, 53];
    assert_eq!(log.iter().filter(query).count(), 1);
}

#[test]
fn senders_that_cannot_be_are_not_believed() {
    let mut w = with_socket();
    let asked = |w: &mut World| {
        send(w, PEER_IP);
        sent(w);
    };
    asked(&mut w);
    for (mac, src, counter) in [
        (NONE, PEER_MAC, Counter::DropArpSender),
        (ALL, PEER_MAC, Counter::DropBadArp),
        ([1, 0, 0, 0, 0, 1], PEER_MAC, Counter::DropBadArp),
        (OTHER_MAC, PEER_MAC, Counter::DropArpSender),
        (NONE, NONE, Counter::DropArpSender),
    ] {
        let before = w.count(counter);
        let frame = arp(ArpOperation::Reply, (mac, PEER_IP), SERVER_IP, src);
        w.env.to_server.push_back(frame);
        assert_eq!(sent(&mut w), [] as [Vec<u8>; 0], "{mac:?} from {src:?}");
        assert_eq!(w.count(counter), before + 1, "{mac:?} from {src:?}");
    }
    for host in [
        [10, 0, 0, 255],
        [10, 0, 0, 0],
        [10, 0, 1, 1],
        [224, 0, 0, 1],
    ] {
        let before = w.count(Counter::DropArpSender);
        w.env.to_server.push_back(reply(OTHER_MAC, host.into()));
        sent(&mut w);
        assert_eq!(w.count(Counter::DropArpSender), before + 1, "{host:?}");
    }
    w.env.to_server.push_back(reply(PEER_MAC, PEER_IP));
    assert_eq!(sent(&mut w)[0][..6], PEER_MAC);
}

#[test]
fn replies_that_nobody_asked_for_are_not_believed() {
    let mut w = with_socket();
    w.env.to_server.push_back(reply(OTHER_MAC, PEER_IP));
    sent(&mut w);
    assert_eq!(w.count(Counter::DropArpUnasked), 1);
    assert_eq!(way(&mut w, PEER_IP), None);
    // Nor one to somebody else, now that we have asked.
    let frame = arp(
        ArpOperation::Reply,
        (OTHER_MAC, PEER_IP),
        absent(1),
        OTHER_MAC,
    );
    w.env.to_server.push_back(frame);
    assert_eq!(sent(&mut w), [] as [Vec<u8>; 0]);
    // Nor a question: who asks for us is asked itself.
    w.env.to_server.push_back(request(OTHER_MAC, absent(1)));
    let told: Vec<_> = sent(&mut w).iter().filter_map(|f| said(f)).collect();
    let question = (OTHER_MAC, false, SERVER_IP, absent(1));
    assert_eq!(told, [question, (OTHER_MAC, true, SERVER_IP, absent(1))]);
    assert_eq!(way(&mut w, absent(1)), None);
    w.env.to_server.push_back(reply(OTHER_MAC, absent(1)));
    assert_eq!(sent(&mut w)[0][..6], OTHER_MAC);
}

#[test]
fn a_change_is_believed_only_when_the_old_address_is_silent() {
    for (name, claim) in [
        ("reply", reply(OTHER_MAC, PEER_IP)),
        ("request", request(OTHER_MAC, PEER_IP)),
        (
            "announcement",
            arp(
                ArpOperation::Request,
                (OTHER_MAC, PEER_IP),
                PEER_IP,
                OTHER_MAC,
            ),
        ),
    ] {
        let mut w = with_socket();
        introduce(&mut w, PEER_MAC, PEER_IP);
        w.step(2 * SECOND);
        w.env.to_server.push_back(claim.clone());
        let told: Vec<_> = sent(&mut w).iter().filter_map(|f| said(f)).collect();
        let question = (PEER_MAC, false, SERVER_IP, PEER_IP);
        assert!(told.contains(&question), "{name}: {told:?}");
        assert_eq!(w.count(Counter::DropArpOther), 1);
        assert_eq!(way(&mut w, PEER_IP), Some(PEER_MAC), "{name}");
        // It answers.
        w.env.to_server.push_back(reply(PEER_MAC, PEER_IP));
        for _ in 0..10 {
            w.step(SECOND);
            assert_eq!(way(&mut w, PEER_IP), Some(PEER_MAC), "{name}");
        }
        // It is silent: everybody is asked, and who answers has the address.
        w.env.to_server.push_back(claim);
        for _ in 0..2 {
            w.step(SECOND);
            assert_eq!(way(&mut w, PEER_IP), Some(PEER_MAC), "{name}");
        }
        w.step(SECOND);
        assert_eq!(way(&mut w, PEER_IP), None);
        w.env.to_server.push_back(reply(OTHER_MAC, PEER_IP));
        sent(&mut w);
        assert_eq!(way(&mut w, PEER_IP), Some(OTHER_MAC), "{name}");
    }
}

/// What a connection sends goes where datagrams go.
#[test]
fn connections_follow_a_neighbour_that_moves() {
    let mut w = World::new(small());
    w.listen(0, 7, 4);
    w.peer_connect(7, 40_000);
    ok(&w.call(World::accept(0, 10)));
    for _ in 0..10 {
        w.step(SECOND);
    }
    w.alone = true;
    w.env.from_server.clear();
    let to = |w: &mut World| {
        w.submit(World::send(10, 0, 100));
        let sent = sent(w);
        let segment = sent.iter().find(|f| f[12..14] == [8, 0]);
        segment.map(|f| *f.first_chunk::<6>().unwrap())
    };
    assert_eq!(to(&mut w), Some(PEER_MAC));
    w.env.to_server.push_back(request(OTHER_MAC, PEER_IP));
    let mut answered = false;
    let mut last = None;
    for _ in 0..100 {
        w.step(100_000);
        for frame in w.env.from_server.drain(..) {
            if said(&frame) == Some((ALL, false, SERVER_IP, PEER_IP)) {
                answered = true;
                w.env.to_server.push_back(reply(OTHER_MAC, PEER_IP));
            } else if frame[12..14] == [8, 0] {
                last = Some(*frame.first_chunk::<6>().unwrap());
            }
        }
    }
    assert!(answered);
    assert_eq!(last, Some(OTHER_MAC));
}

#[test]
fn a_flood_does_not_push_out_who_is_in_use() {
    let mut w = with_socket();
    introduce(&mut w, PEER_MAC, PEER_IP);
    let far = Ipv4Address::new(192, 0, 2, 1);
    for n in 0..10_000u32 {
        let host = Ipv4Address::new(10, 0, 0, 3 + (n % 250) as u8);
        let mac = [2, 0, 0, 0, (n >> 8) as u8, n as u8];
        w.env.to_server.push_back(request(mac, host));
        w.env.to_server.push_back(reply(mac, host));
        if n % 10 == 0 {
            w.step(10_000);
            w.env.from_server.clear();
        }
        if n % 1000 == 0 {
            // By way of the gateway, and to it.
            assert_eq!(way(&mut w, far), Some(PEER_MAC), "{n}");
            assert_eq!(way(&mut w, PEER_IP), Some(PEER_MAC), "{n}");
        }
    }
}

#[test]
fn an_address_is_used_at_once_and_looked_after() {
    let mut w = World::new(small());
    w.alone = true;
    let waits = w.submit(Request::new(Op::AwaitAddress, 0, 0));
    let question = (ALL, false, Ipv4Address::UNSPECIFIED, SERVER_IP);
    let announcement = (ALL, false, SERVER_IP, SERVER_IP);
    let mut told = vec![];
    for tenth in 0..100 {
        w.step(if tenth == 0 { 0 } else { 100_000 });
        for frame in w.env.from_server.drain(..) {
            told.push((tenth, said(&frame).unwrap()));
        }
        if tenth == 0 {
            ok(&w.completion(waits).expect("at once"));
        }
    }
    let expected = [
        (0, question),
        (10, question),
        (20, question),
        (40, announcement),
        (60, announcement),
    ];
    assert_eq!(told, expected);
    // Who is about to take it is answered.
    let probe = arp(
        ArpOperation::Request,
        (OTHER_MAC, Ipv4Address::UNSPECIFIED),
        SERVER_IP,
        OTHER_MAC,
    );
    w.env.to_server.push_back(probe);
    let told: Vec<_> = sent(&mut w).iter().filter_map(|f| said(f)).collect();
    let answer = (OTHER_MAC, true, SERVER_IP, Ipv4Address::UNSPECIFIED);
    assert_eq!(told, [answer]);
    assert_eq!(w.count(Counter::AddressConflicts), 0);
    // Who has taken it is told, but not all the time.
    for (wait, defences) in [(0, 1), (1, 0), (5, 0), (4, 1), (1, 0)] {
        w.step(wait * SECOND);
        for _ in 0..10 {
            w.env.to_server.push_back(request(OTHER_MAC, SERVER_IP));
        }
        let told: Vec<_> = sent(&mut w).iter().filter_map(|f| said(f)).collect();
        assert_eq!(told, vec![announcement; defences]);
    }
    assert_eq!(w.count(Counter::AddressConflicts), 50);
    assert!(w.server.address().is_some());
}

/// Somebody answers the question for our own address.
#[test]
fn an_address_that_somebody_has_is_found_out_at_the_start() {
    let mut w = World::new(small());
    w.alone = true;
    sent(&mut w);
    w.env.to_server.push_back(reply(OTHER_MAC, SERVER_IP));
    let told: Vec<_> = sent(&mut w).iter().filter_map(|f| said(f)).collect();
    assert_eq!(told, [(ALL, false, SERVER_IP, SERVER_IP)]);
    assert_eq!(w.count(Counter::AddressConflicts), 1);
    assert!(w.server.address().is_some());
}
