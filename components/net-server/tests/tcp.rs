//! TCP against another stack: both roles, loss, limits, every way to end.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use smoltcp::socket::tcp::State;
use socket_api::{Op, Request, SocketKind, Status, flags};
use support::segments::{self, Hand};
use support::*;

/// An established connection: the server's socket 10, the peer's handle.
fn pair(w: &mut World) -> smoltcp::iface::SocketHandle {
    w.listen(0, 7, 8);
    let token = w.submit(World::accept(0, 10));
    let peer = w.peer_connect(7, 40000);
    for _ in 0..100 {
        w.step(1000);
        if let Some(accepted) = w.completion(token) {
            ok(&accepted);
            assert_eq!(accepted.socket, 10);
            assert_eq!(accepted.address, address(PEER_IP, 40000));
            return peer;
        }
    }
    panic!("not accepted");
}

fn echo(w: &mut World, socket: u32, peer: smoltcp::iface::SocketHandle, total: usize) {
    let data = pattern(total, 11);
    let (mut sent, mut back) = (0, Vec::new());
    let base = socket * 4096;
    let mut recv = w.submit(World::recv(socket, base, 4096));
    let mut send = None;
    for _ in 0..2_000_000 {
        let s = w.tcp(peer);
        if sent < total && s.can_send() {
            sent += s.send_slice(&data[sent..]).unwrap();
        }
        while let Ok(n @ 1..) = s.recv(|b| {
            back.extend_from_slice(b);
            (b.len(), b.len())
        }) {
            let _ = n;
        }
        if back.len() == total {
            assert!(back == data);
            return;
        }
        w.step(200);
        if let Some(got) = w.completion(recv) {
            ok(&got);
            recv = 0;
            send = Some(w.submit(World::send(socket, base, got.len)));
        }
        if let Some(token) = send
            && let Some(done) = w.completion(token)
        {
            ok(&done);
            send = None;
            recv = w.submit(World::recv(socket, base, 4096));
        }
    }
    panic!("{} of {total} came back", back.len());
}

#[test]
fn echoes_bytes() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    echo(&mut w, 10, peer, 100_000);
}

#[test]
fn the_usual_window_needs_no_scaling() {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{TcpControl, TcpPacket, TcpRepr};
    let mut w = World::new(Config {
        tcp_receive_window: 1 << 16,
        ..small()
    });
    w.log = Some(vec![]);
    pair(&mut w);
    let frames = w.log.take().unwrap();
    let answers = frames.iter().filter_map(|frame| {
        let packet = TcpPacket::new_checked(frame.get(34..)?).ok()?;
        let (src, dst) = (SERVER_IP.into(), PEER_IP.into());
        let caps = ChecksumCapabilities::ignored();
        let answer = TcpRepr::parse(&packet, &src, &dst, &caps).ok()?;
        (answer.control == TcpControl::Syn).then_some((answer.window_len, answer.window_scale))
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(65_535, Some(0))]);
}

#[test]
fn echoes_bytes_when_the_device_completes_checksums() {
    let mut w = World::with_offload(small(), true);
    let peer = pair(&mut w);
    echo(&mut w, 10, peer, 100_000);
    assert!(w.env.completed > 50);
}

#[test]
fn echoes_four_mebibytes_with_loss() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.loss = 50;
    echo(&mut w, 10, peer, 4 << 20);
}

#[test]
fn sixty_four_connections_at_once() {
    let mut w = World::new(small());
    w.listen(0, 7, 64);
    let peers: Vec<_> = (0..64).map(|i| w.peer_connect(7, 41000 + i)).collect();
    for i in 0..64 {
        let accepted = w.call(World::accept(0, 10 + i));
        ok(&accepted);
    }
    for (i, peer) in peers.iter().enumerate() {
        // Whom the server's socket belongs to is told by the bytes.
        w.tcp(*peer).send_slice(&[i as u8; 3000]).unwrap();
    }
    let mut seen = vec![0; 64];
    for s in 10..74 {
        let mut got = 0;
        while got < 3000 {
            let c = w.call(World::recv(s, got, 3000));
            ok(&c);
            got += c.len;
        }
        let who = w.region()[0];
        assert!(w.region()[..3000].iter().all(|b| *b == who));
        seen[who as usize] += 1;
        ok(&w.call(World::send(s, 0, 3000)));
    }
    assert!(seen.iter().all(|n| *n == 1));
    w.step(1000);
    for (i, peer) in peers.iter().enumerate() {
        let mut back = vec![];
        while back.len() < 3000 {
            w.step(1000);
            w.tcp(*peer)
                .recv(|b| {
                    back.extend_from_slice(b);
                    (b.len(), ())
                })
                .unwrap();
        }
        assert!(back.iter().all(|b| *b == i as u8));
    }
}

#[test]
fn connects_to_a_listener_and_is_refused_without_one() {
    let mut w = World::new(small());
    let peer = w.peer_tcp();
    w.tcp(peer).listen(80).unwrap();
    w.open(1, SocketKind::Tcp);
    let mut connect = Request::new(Op::Connect, 1, 0);
    connect.address = address(PEER_IP, 80);
    let done = w.call(connect);
    ok(&done);
    assert!(done.address.port >= 49152);
    echo(&mut w, 1, peer, 50_000);
    w.open(2, SocketKind::Tcp);
    connect.socket = 2;
    connect.address.port = 81;
    assert_eq!(w.call(connect).status, Status::ConnectionRefused as u16);
    // The socket can be used again.
    let other = w.peer_tcp();
    w.tcp(other).listen(82).unwrap();
    connect.address.port = 82;
    ok(&w.call(connect));
    w.open(3, SocketKind::Tcp);
    connect.socket = 3;
    connect.address = address([10, 0, 0, 99].into(), 80);
    assert_eq!(w.call(connect).status, Status::Unreachable as u16);
}

#[test]
fn the_end_of_the_stream_is_zero_bytes() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.tcp(peer).send_slice(b"last words").unwrap();
    w.tcp(peer).close();
    w.step(1000);
    let got = w.call(World::recv(10, 0, 100));
    assert_eq!(&w.region()[..got.len as usize], b"last words");
    let end = w.call(World::recv(10, 0, 100));
    assert_eq!((end.status, end.len), (Status::Ok as u16, 0));
    // Our side is still open.
    ok(&w.call(World::send(10, 0, 4)));
    ok(&w.call(World::close(10, u64::MAX)));
    for _ in 0..20 {
        w.step(1000);
    }
    let mut last = [0; 10];
    assert_eq!(w.tcp(peer).recv_slice(&mut last), Ok(4));
    assert_eq!(w.count(Counter::SocketsInUse), 1);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    assert_eq!(w.count(Counter::TimeWait), 0);
}

#[test]
fn shutting_down_the_writing_side() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let mut shutdown = Request::new(Op::Shutdown, 10, 0);
    shutdown.arg = 2;
    ok(&w.call(shutdown));
    assert_eq!(
        w.call(World::send(10, 0, 4)).status,
        Status::BrokenPipe as u16
    );
    w.step(1000);
    assert_eq!(w.tcp(peer).state(), State::CloseWait);
    w.tcp(peer).send_slice(b"still").unwrap();
    assert_eq!(w.call(World::recv(10, 0, 100)).len, 5);
    w.tcp(peer).close();
    let end = w.call(World::recv(10, 0, 100));
    assert_eq!((end.status, end.len), (Status::Ok as u16, 0));
    for _ in 0..20 {
        w.step(2000);
    }
    // We closed first: TIME-WAIT is ours, but without buffers.
    assert_eq!(w.count(Counter::TimeWait), 1);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    ok(&w.call(World::close(10, 0)));
    w.now_us += 61_000_000;
    w.step(1000);
    w.step(1000);
    assert_eq!(w.count(Counter::TimeWait), 0);
}

#[test]
fn time_wait_answers_a_repeated_fin_and_ignores_resets() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    ok(&w.call(World::close(10, u64::MAX)));
    w.step(1000);
    w.tcp(peer).close();
    // The peer's FIN, to be repeated later.
    let now = smoltcp::time::Instant::from_micros(w.now_us as i64);
    w.peer.poll(now, &mut w.wire, &mut w.sockets);
    let fin = w.wire.sent.back().unwrap().clone();
    for _ in 0..20 {
        w.step(2000);
    }
    assert_eq!(w.count(Counter::TimeWait), 1);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    w.log = Some(vec![]);
    w.env.to_server.push_back(fin.clone());
    w.step(1000);
    let answer = w.log.replace(vec![]).unwrap();
    assert_eq!(answer.len(), 1);
    let ip = smoltcp::wire::Ipv4Packet::new_checked(&answer[0][14..]).unwrap();
    let sent = smoltcp::wire::Ipv4Packet::new_checked(&fin[14..]).unwrap();
    let tcp = smoltcp::wire::TcpPacket::new_checked(ip.payload()).unwrap();
    let of_fin = smoltcp::wire::TcpPacket::new_checked(sent.payload()).unwrap();
    assert!(tcp.verify_checksum(&SERVER_IP.into(), &PEER_IP.into()));
    assert!(tcp.ack() && !tcp.rst() && !tcp.fin());
    assert_eq!(tcp.ack_number(), of_fin.seq_number() + of_fin.segment_len());
    assert_eq!(tcp.seq_number(), of_fin.ack_number());
    // RFC 1337: a reset does not end TIME-WAIT.
    let mut reset = fin;
    let mut tcp = smoltcp::wire::TcpPacket::new_unchecked(&mut reset[34..]);
    tcp.set_fin(false);
    tcp.set_rst(true);
    tcp.fill_checksum(&PEER_IP.into(), &SERVER_IP.into());
    w.env.to_server.push_back(reset);
    w.step(1000);
    assert_eq!(w.count(Counter::TimeWait), 1);
    assert!(w.log.take().unwrap().is_empty());
    // The same ports may be used for a newer connection.
    w.tcp(peer).abort();
    w.step(1000);
    let again = w.peer_connect(7, 40000);
    let syn = |w: &mut World| w.tcp(again).state();
    w.step(1000);
    w.step(1000);
    // The peer's number is random: it is either newer, and opens, or older,
    // and is answered by an acknowledgement, at which the peer resets.
    match syn(&mut w) {
        State::Established => assert_eq!(w.count(Counter::TimeWait), 0),
        _ => assert_eq!(w.count(Counter::TimeWait), 1),
    }
}

#[test]
fn initial_numbers_and_ports_do_not_follow_from_each_other() {
    let mut w = World::new(small());
    w.log = Some(vec![]);
    let mut connect = Request::new(Op::Connect, 1, 0);
    connect.address = address(PEER_IP, 80);
    let mut seen = vec![];
    for s in 1..9 {
        w.open(s, SocketKind::Tcp);
        connect.socket = s;
        w.call(connect);
        for frame in w.log.replace(vec![]).unwrap() {
            if let Ok(ip) = smoltcp::wire::Ipv4Packet::new_checked(&frame[14..])
                && let Ok(tcp) = smoltcp::wire::TcpPacket::new_checked(ip.payload())
                && frame[12..14] == [8, 0]
            {
                seen.push((tcp.src_port(), tcp.seq_number().0 as u32));
            }
        }
    }
    assert_eq!(seen.len(), 8);
    for pair in seen.windows(2) {
        assert!(pair[0].0.abs_diff(pair[1].0) > 1);
        let step = pair[1].1.wrapping_sub(pair[0].1);
        assert!(step.min(step.wrapping_neg()) > 100_000, "{seen:?}");
    }
}

#[test]
fn a_reset_is_reported() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let token = w.submit(World::recv(10, 0, 100));
    w.step(1000);
    w.tcp(peer).abort();
    w.step(1000);
    w.step(1000);
    assert_eq!(
        w.completion(token).unwrap().status,
        Status::ConnectionReset as u16
    );
    assert_eq!(
        w.call(World::send(10, 0, 1)).status,
        Status::ConnectionReset as u16
    );
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    ok(&w.call(World::close(10, 0)));
}

#[test]
fn closing_at_once_resets_when_something_is_unread() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.tcp(peer).send_slice(b"unread").unwrap();
    w.step(1000);
    let waiting = w.submit(World::recv(10, 0, 0));
    w.step(1000);
    ok(&w.completion(waiting).unwrap());
    ok(&w.call(World::close(10, 0)));
    w.step(1000);
    assert_eq!(w.tcp(peer).state(), State::Closed);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
}

#[test]
fn lingering_ends_when_all_is_acknowledged_or_time_is_over() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    ok(&w.call(World::send(10, 0, 1000)));
    ok(&w.call(World::close(10, 5000)));
    assert_eq!(w.tcp(peer).recv_queue(), 1000);
    let mut w = World::new(small());
    pair(&mut w);
    w.loss = 1;
    let mut send = World::send(10, 0, 1000);
    send.flags = flags::BLOCKED;
    let token = w.submit(send);
    w.step(1000);
    ok(&w.completion(token).unwrap());
    let before = w.now_us;
    assert_eq!(
        w.call(World::close(10, 500)).status,
        Status::TimedOut as u16
    );
    assert!((500_000..520_000).contains(&(w.now_us - before)));
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    w.open(10, SocketKind::Udp);
}

#[test]
fn a_full_backlog_refuses_and_forged_syns_push_each_other_out() {
    let mut w = World::new(small());
    w.listen(0, 7, 2);
    let peers: Vec<_> = (0..3).map(|i| w.peer_connect(7, 42000 + i)).collect();
    for _ in 0..5 {
        w.step(1000);
    }
    let open = peers.iter().filter(|p| {
        w.sockets.get::<smoltcp::socket::tcp::Socket>(**p).state() == State::Established
    });
    assert_eq!(open.count(), 2);
    assert_eq!(w.count(Counter::DropBacklog), 1);
    // The one that was pushed out would try again.
    for peer in peers {
        if w.tcp(peer).state() != State::Established {
            w.tcp(peer).abort();
        }
    }
    for i in 0..2 {
        ok(&w.call(World::accept(0, 20 + i)));
    }
    // Strangers that never answer.
    for i in 0..100 {
        w.env.to_server.push_back(syn(43000 + i, 7));
    }
    w.step(1000);
    assert_eq!(w.count(Counter::HalfOpen), 2);
    let late = w.peer_connect(7, 45000);
    for _ in 0..5 {
        w.step(1000);
    }
    assert_eq!(w.tcp(late).state(), State::Established);
    ok(&w.call(World::accept(0, 22)));
    w.now_us += 21_000_000;
    w.step(1000);
    w.step(1000);
    assert_eq!(w.count(Counter::HalfOpen), 0);
    assert_eq!(w.count(Counter::ConnectionsFree), 77);
}

/// A SYN from a host that does not exist, though its hardware address does.
fn syn(port: u16, to: u16) -> Vec<u8> {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::*;
    let src = Ipv4Address::new(10, 0, 0, 200);
    let tcp = TcpRepr {
        src_port: port,
        dst_port: to,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1000),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let caps = ChecksumCapabilities::default();
    let mut frame = vec![0; 34 + tcp.buffer_len()];
    EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 9]),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: src,
        dst_addr: SERVER_IP,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
    tcp.emit(
        &mut TcpPacket::new_unchecked(&mut frame[34..]),
        &src.into(),
        &SERVER_IP.into(),
        &caps,
    );
    frame
}

#[test]
fn ten_thousand_connections_closed_by_the_peer_leave_nothing() {
    let mut w = World::new(small());
    w.listen(0, 7, 8);
    let peer = w.peer_tcp();
    for i in 0..10_000u32 {
        let local = 10_000 + (i % 50_000) as u16;
        let context = w.peer.context();
        let socket: &mut smoltcp::socket::tcp::Socket = w.sockets.get_mut(peer);
        socket.connect(context, (SERVER_IP, 7), local).unwrap();
        let accept = w.submit(World::accept(0, 10));
        let recv = loop {
            w.step(100);
            if let Some(accepted) = w.completion(accept) {
                ok(&accepted);
                break w.submit(World::recv(10, 0, 10));
            }
        };
        w.tcp(peer).close();
        while w.completion(recv).is_none() {
            w.step(100);
        }
        let close = w.submit(World::close(10, 0));
        while w.completion(close).is_none() {
            w.step(100);
        }
        w.step(100);
        w.tcp(peer).abort();
    }
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    assert_eq!(w.count(Counter::TimeWait), 0);
    assert_eq!(w.count(Counter::SocketsInUse), 1);
    assert_eq!(w.count(Counter::RequestsPending), 0);
}

#[test]
fn ten_thousand_connections_closed_by_us_leave_nothing_after_time_wait() {
    let mut config = small();
    config.time_wait_entries = 500;
    let mut w = World::new(config);
    let peer = w.peer_tcp();
    for _ in 0..10_000 {
        w.tcp(peer).listen(80).unwrap();
        w.open(5, SocketKind::Tcp);
        let mut connect = Request::new(Op::Connect, 5, 0);
        connect.address = address(PEER_IP, 80);
        let connect = w.submit(connect);
        loop {
            w.step(100);
            if let Some(connected) = w.completion(connect) {
                ok(&connected);
                break;
            }
        }
        let close = w.submit(World::close(5, u64::MAX));
        w.step(100);
        ok(&w.completion(close).unwrap());
        w.step(100);
        assert_eq!(w.tcp(peer).state(), State::CloseWait);
        w.tcp(peer).close();
        for _ in 0..200 {
            w.step(200);
            if w.tcp(peer).state() == State::Closed {
                break;
            }
        }
        assert_eq!(w.tcp(peer).state(), State::Closed);
    }
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    assert_eq!(w.count(Counter::TimeWait), 500);
    assert_eq!(w.count(Counter::TimeWaitRecycled), 9_500);
    w.now_us += 61_000_000;
    w.step(100);
    w.step(100);
    assert_eq!(w.count(Counter::TimeWait), 0);
    assert_eq!(w.count(Counter::SocketsInUse), 0);
}

#[test]
fn an_idle_connection_has_no_timer_and_costs_nothing() {
    let mut w = World::new(small());
    pair(&mut w);
    // The own address is looked after for some seconds at the start.
    for _ in 0..20 {
        w.step(500_000);
    }
    let before = w.count(Counter::SocketsShown);
    w.now_us += 3_600_000_000;
    assert_eq!(w.run_server(), None);
    assert_eq!(w.count(Counter::SocketsShown), before);
    ok(&w.call(World::send(10, 0, 10)));
}

#[test]
fn requests_can_be_cancelled_and_a_client_dropped() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let token = w.submit(World::recv(10, 0, 100));
    let mut cancel = Request::new(Op::Cancel, 10, 0);
    cancel.arg = token;
    ok(&w.call(cancel));
    assert_eq!(
        w.completion(token).unwrap().status,
        Status::Cancelled as u16
    );
    assert_eq!(w.call(cancel).status, Status::NotFound as u16);
    let token = w.submit(World::recv(10, 0, 100));
    w.step(1000);
    ok(&w.call(Request::new(Op::DropClient, 0, 0)));
    assert!(w.completion(token).is_none());
    assert_eq!(w.count(Counter::SocketsInUse), 0);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
    assert_eq!(w.count(Counter::RequestsPending), 0);
    w.step(1000);
    assert_eq!(w.tcp(peer).state(), State::Closed);
}

#[test]
fn a_silent_peer_times_out() {
    let mut w = World::new(small());
    pair(&mut w);
    w.loss = 1;
    let send = w.submit(World::send(10, 0, 10));
    let recv = w.submit(World::recv(10, 0, 10));
    for _ in 0..70 {
        w.step(1_000_000);
    }
    for token in [send, recv] {
        let ended = w.completion(token).unwrap();
        assert_eq!((ended.status, ended.len), (Status::TimedOut as u16, 0));
    }
    assert_eq!(w.count(Counter::ConnectionTimeouts), 1);
}

#[test]
fn no_wait_never_waits() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let mut recv = World::recv(10, 0, 10);
    recv.flags = flags::NO_WAIT;
    assert_eq!(w.call(recv).status, Status::TimedOut as u16);
    let mut accept = World::accept(0, 11);
    accept.flags = flags::NO_WAIT;
    assert_eq!(w.call(accept).status, Status::TimedOut as u16);
    w.loss = 1;
    let mut send = World::send(10, 0, 100_000);
    send.flags = flags::NO_WAIT;
    let taken = w.submit(send);
    w.step(1000);
    assert!(w.completion(taken).is_none());
    assert_eq!(w.call(send).status, Status::TimedOut as u16);
    // What was taken is what is counted, once it is acknowledged.
    w.loss = 0;
    for _ in 0..20_000 {
        w.step(1000);
        w.tcp(peer).recv(|b| (b.len(), ())).ok();
        if let Some(sent) = w.completion(taken) {
            assert_eq!((sent.status, sent.len), (Status::Ok as u16, 16384));
            return;
        }
    }
    panic!("never acknowledged");
}

/// Bytes for a window that is closed are not taken, but what comes with them is
/// heard (RFC 9293, 3.10.7.4).
#[test]
fn an_acknowledgement_into_a_closed_window_counts() {
    let mut w = World::new(small());
    w.listen(0, 7, 4);
    let mut hand = Hand::open(&mut w, 40_000, 1000, 10);
    let bytes = pattern(16_384, 1);
    for (n, part) in bytes.chunks(1024).enumerate() {
        hand.send(&mut w, n as u32 * 1024, part);
    }
    w.step(1_000_000);
    w.env.from_server.clear();
    let token = w.submit(World::send(10, 0, 100));
    w.step(1000);
    let frames: Vec<_> = w.env.from_server.drain(..).collect();
    let sent = frames.iter().filter_map(|f| segments::segment(f));
    let sent = sent.max_by_key(|s| s.payload.len()).expect("a segment");
    assert_eq!((sent.payload.len(), sent.window_len), (100, 0));
    hand.theirs = hand.theirs.wrapping_add(100);
    assert!(w.completion(token).is_none());
    hand.send(&mut w, 16_384, &[1]);
    ok(&w.completion(token).expect("acknowledged"));
    // It is answered, and read on once there is room.
    let answer = w.env.from_server.drain(..).next_back().expect("an answer");
    assert_eq!(segments::segment(&answer).unwrap().window_len, 0);
    let got = w.call(World::recv(10, 1000, 16_384));
    assert_eq!(
        &w.region()[1000..1000 + got.len as usize],
        &bytes[..got.len as usize]
    );
}
