//! Streams by reference: which bytes come, in which order, and what is held.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpControl;
use socket_api::{Op, Request, Status, flags};
use support::segments::{Hand, frame, segment};
use support::*;

/// An established connection: the server's socket 10, the peer's handle.
fn pair(w: &mut World) -> SocketHandle {
    w.listen(0, 7, 8);
    let token = w.submit(World::accept(0, 10));
    let peer = w.peer_connect(7, 40000);
    for _ in 0..100 {
        w.step(1000);
        if let Some(accepted) = w.completion(token) {
            ok(&accepted);
            return peer;
        }
    }
    panic!("not accepted");
}

fn hand(w: &mut World, first: u32) -> Hand {
    w.listen(0, 7, 8);
    Hand::open(w, 40000, first, 10)
}

fn blocked(offset: u32, len: u32) -> Request {
    let mut send = World::send(10, offset, len);
    send.flags = flags::BLOCKED;
    send
}

/// Receives `len` bytes, in pieces of up to `most`.
fn receive(w: &mut World, len: usize, most: u32) -> Vec<u8> {
    let mut got = vec![];
    while got.len() < len {
        let c = w.call(World::recv(10, 500_000, most));
        ok(&c);
        assert_ne!(c.len, 0, "the stream ends after {} bytes", got.len());
        got.extend_from_slice(&w.region()[500_000..500_000 + c.len as usize]);
    }
    got
}

/// Bytes both ways at once, over a bad wire.
fn both_ways(w: &mut World, peer: SocketHandle, total: usize, send_len: u32) {
    let (there, back) = (pattern(total, 1), pattern(total, 2));
    w.region()[..total].copy_from_slice(&back);
    let (mut sent, mut got, mut queued, mut read) = (0, vec![], 0u32, vec![]);
    let mut recv = w.submit(World::recv(10, 500_000, 3000));
    let mut sends = vec![];
    for _ in 0..400_000 {
        let s = w.tcp(peer);
        if sent < total && s.can_send() {
            sent += s.send_slice(&there[sent..]).unwrap();
        }
        s.recv(|b| {
            got.extend_from_slice(b);
            (b.len(), ())
        })
        .unwrap();
        while sends.len() < 4 && (queued as usize) < total {
            let len = send_len.min(total as u32 - queued);
            sends.push((w.submit(World::send(10, queued, len)), len));
            queued += len;
        }
        w.step(300);
        sends.retain(|(token, len)| match w.completion(*token) {
            Some(done) => {
                assert_eq!((done.status, done.len), (Status::Ok as u16, *len));
                false
            }
            None => true,
        });
        if let Some(c) = w.completion(recv) {
            ok(&c);
            read.extend_from_slice(&w.region()[500_000..500_000 + c.len as usize]);
            recv = w.submit(World::recv(10, 500_000, 3000));
        }
        if got.len() == total && read.len() == total && sends.is_empty() {
            assert!(got == back && read == there);
            assert_eq!(w.count(Counter::Copied), 0);
            return;
        }
    }
    panic!("{} and {} of {total} bytes came", got.len(), read.len());
}

#[test]
fn every_byte_is_right_whatever_the_wire_does() {
    for seed in 0..12 {
        let mut w = World::new(small());
        let peer = pair(&mut w);
        w.chance = Lcg(seed);
        w.loss = [0, 40, 15][seed as usize % 3];
        w.chaos = [4, 12][seed as usize % 2];
        both_ways(&mut w, peer, 200_000, [7000, 900][seed as usize % 2]);
    }
}

#[test]
fn scratch_is_moved_and_no_payload_is_copied() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    both_ways(&mut w, peer, 100_000, 5000);
    assert_eq!(w.count(Counter::Copied), 0);
    assert_eq!(w.count(Counter::ReferencedIn), 100_000);
    assert_eq!(w.count(Counter::ReferencedOut), 100_000);
    assert_eq!(w.count(Counter::Scratch), 200_000);
}

#[test]
fn a_device_that_makes_segments_gets_long_ones() {
    let mut w = World::with(small(), true, true);
    let peer = pair(&mut w);
    both_ways(&mut w, peer, 200_000, 9000);
    assert!(w.env.segmented > 10, "{}", w.env.segmented);
    let mut w = World::with(small(), true, true);
    let peer = pair(&mut w);
    (w.loss, w.chaos) = (30, 10);
    both_ways(&mut w, peer, 200_000, 9000);
}

#[test]
fn many_small_sends_share_segments_in_bounds() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let data = pattern(4000, 3);
    w.region()[..4000].copy_from_slice(&data);
    // The first goes out at once; the others gather behind it (Nagle).
    let sends: Vec<_> = (0..1000)
        .map(|i| w.submit(World::send(10, i * 4, 4)))
        .collect();
    let mut got = vec![];
    for _ in 0..100 {
        w.step(1000);
        w.tcp(peer)
            .recv(|b| {
                got.extend_from_slice(b);
                (b.len(), ())
            })
            .unwrap();
    }
    assert!(got == data);
    for send in sends {
        assert_eq!(w.completion(send).unwrap().len, 4);
    }
    assert_eq!(w.env.most_parts, 9);
}

#[test]
fn numbers_wrap_around_in_what_comes() {
    for before in [0, 1, 5, 1460, 3000] {
        let mut w = World::new(small());
        let hand = hand(&mut w, 0u32.wrapping_sub(before));
        let data = pattern(9000, 4);
        // Out of order, in pieces, across the wrap.
        for i in [2u32, 0, 1, 5, 4, 3] {
            hand.send(&mut w, i * 1400, &data[i as usize * 1400..][..1400]);
        }
        hand.send(&mut w, 8400, &data[8400..]);
        assert!(receive(&mut w, 9000, 1000) == data);
        assert_eq!(w.count(Counter::PacketsHeld), 0);
    }
}

#[test]
fn numbers_wrap_around_in_what_goes() {
    let mut w = World::new(small());
    let first = hand(&mut w, 100);
    // The same flow later: its number grows by one in 4 microseconds.
    let reset = smoltcp::wire::TcpRepr {
        control: TcpControl::Rst,
        ..first.repr(0, &[])
    };
    w.env.to_server.push_back(frame(&reset));
    w.run_server();
    ok(&w.call(World::close(10, 0)));
    let ahead = 0u32.wrapping_sub(first.theirs).wrapping_sub(4000);
    w.now_us += 4 * u64::from(ahead);
    w.env.from_server.clear();
    let mut hand = Hand::open(&mut w, 40000, 100, 10);
    let start = hand.theirs;
    assert!(start > u32::MAX - 4000, "{start}");
    let data = pattern(12000, 5);
    w.region()[..12000].copy_from_slice(&data);
    let sends: Vec<_> = (0..4)
        .map(|i| w.submit(World::send(10, i * 3000, 3000)))
        .collect();
    let mut got = vec![0; 12000];
    for _ in 0..40 {
        w.now_us += 1000;
        w.run_server();
        hand.fetch(&mut w, start, &mut got);
        hand.send(&mut w, 0, &[]);
    }
    assert!(got == data);
    for send in sends {
        assert_eq!(w.completion(send).unwrap().len, 3000);
    }
    assert!(hand.theirs < 12000);
}

#[test]
fn later_bytes_overwrite_earlier_ones_until_they_are_in_order() {
    let mut w = World::new(small());
    let hand = hand(&mut w, 7);
    hand.send(&mut w, 10, b"bbbbbbbbbb");
    hand.send(&mut w, 30, b"dddddddddd");
    hand.send(&mut w, 15, b"cccccccccccccccccccc");
    // In order: nothing changes these any more.
    hand.send(&mut w, 0, b"aaaaaaaaaa");
    hand.send(&mut w, 5, b"xxxxxxxxxx");
    assert_eq!(
        receive(&mut w, 40, 100),
        b"aaaaaaaaaabbbbbccccccccccccccccccccddddd"
    );
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn what_does_not_belong_to_the_window_is_not_kept() {
    let mut w = World::new(Config {
        tcp_receive_window: 4096,
        ..small()
    });
    let hand = hand(&mut w, 7);
    // Before it, beyond it, across its end, and a keep-alive.
    hand.send(&mut w, 4096, &[1; 100]);
    hand.send(&mut w, 0u32.wrapping_sub(1), &[1]);
    hand.send(&mut w, 0u32.wrapping_sub(100), &[1; 100]);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
    hand.send(&mut w, 4000, &[2; 200]);
    assert_eq!(w.count(Counter::PacketsHeld), 1);
    for i in 0..4 {
        hand.send(&mut w, i * 1000, &[3; 1000]);
    }
    let got = receive(&mut w, 4096, 4096);
    assert!(got[..4000].iter().all(|b| *b == 3) && got[4000..].iter().all(|b| *b == 2));
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn data_behind_a_fin_and_with_a_fin_beyond_the_window_is_not_taken() {
    let mut w = World::new(Config {
        tcp_receive_window: 4096,
        ..small()
    });
    let hand = hand(&mut w, 7);
    let fin = |at, payload| smoltcp::wire::TcpRepr {
        control: TcpControl::Fin,
        ..hand.repr(at, payload)
    };
    for i in 0..3 {
        hand.send(&mut w, i * 1400, &[1; 1400]);
    }
    // The end of this one has no place: its FIN must not count either.
    w.env.to_server.push_back(frame(&fin(2800, &[2; 1400])));
    w.run_server();
    assert_eq!(receive(&mut w, 4096, 4096).len(), 4096);
    w.run_server();
    w.env.to_server.push_back(frame(&fin(4096, b"end")));
    w.run_server();
    hand.send(&mut w, 4100, b"what?");
    hand.send(&mut w, 4099, b"what?");
    assert_eq!(receive(&mut w, 3, 100), b"end");
    let end = w.call(World::recv(10, 0, 100));
    assert_eq!((end.status, end.len), (Status::Ok as u16, 0));
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn a_slow_reader_stops_its_peer_and_goes_on() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let data = pattern(60_000, 6);
    let mut sent = 0;
    for _ in 0..200 {
        sent += w.tcp(peer).send_slice(&data[sent..]).unwrap();
        w.step(10_000);
    }
    let held = w.count(Counter::PacketsHeld);
    assert!((10..=16).contains(&held), "{held}");
    let mut got = vec![];
    while got.len() < data.len() {
        if sent < data.len() {
            sent += w.tcp(peer).send_slice(&data[sent..]).unwrap();
        }
        let c = w.call(World::recv(10, 0, 777));
        got.extend_from_slice(&w.region()[..c.len as usize]);
    }
    assert!(got == data);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn what_may_not_be_held_comes_again() {
    let mut w = World::new(Config {
        receive_frames: 16,
        tcp_receive_window: 65535,
        ..small()
    });
    let peer = pair(&mut w);
    w.tcp(peer).set_nagle_enabled(false);
    let data = pattern(3000, 7);
    let mut sent = 0;
    for _ in 0..100 {
        if sent < data.len() {
            // A packet for every 30 bytes.
            sent += w.tcp(peer).send_slice(&data[sent..sent + 30]).unwrap();
        }
        w.step(2000);
    }
    assert_eq!(w.count(Counter::PacketsHeld), 16);
    assert!(w.count(Counter::DropPinned) > 10);
    // What the peer acknowledges still counts.
    ok(&w.call(World::send(10, 0, 500)));
    assert!(receive(&mut w, 3000, 1000) == data);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn a_blocked_sender_is_answered_early_and_the_rest_is_held() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    let data = pattern(40_000, 8);
    w.region()[..40_000].copy_from_slice(&data);
    // It takes the send buffer, and so waits.
    let token = w.submit(blocked(0, 40_000));
    w.run_server();
    assert!(w.completion(token).is_none());
    let (mut got, mut done) = (vec![], None);
    for _ in 0..400 {
        w.step(500);
        w.tcp(peer)
            .recv(|b| {
                got.extend_from_slice(b);
                (b.len(), ())
            })
            .unwrap();
        done = done.or(w.completion(token));
    }
    let done = done.unwrap();
    assert_eq!(
        (done.status, done.len, done.flags),
        (0, 40_000, flags::HELD)
    );
    assert!((40_000 - 16384..40_000).contains(&done.arg), "{}", done.arg);
    assert!(w.env.held.is_empty() && got == data);
}

#[test]
fn held_bytes_are_sent_again_from_where_they_are_held() {
    let mut w = World::new(small());
    let mut hand = hand(&mut w, 1);
    let start = hand.theirs;
    let data = pattern(2000, 8);
    w.region()[..2000].copy_from_slice(&data);
    let token = w.submit(blocked(0, 2000));
    w.run_server();
    ok(&w.completion(token).unwrap());
    // The first segment arrives, the second is lost; the buffer is the
    // client's again.
    w.env.from_server.clear();
    w.region()[..2000].fill(0);
    hand.theirs = start + 1460;
    hand.send(&mut w, 0, &[]);
    assert_eq!(w.env.held.len(), 1);
    let mut got = vec![0; 2000];
    for _ in 0..30 {
        w.step(100_000);
        hand.fetch(&mut w, start, &mut got);
    }
    assert_eq!(got[1460..], data[1460..]);
    hand.send(&mut w, 0, &[]);
    assert!(w.env.held.is_empty());
}

#[test]
fn holding_is_bounded() {
    let mut w = World::new(small());
    pair(&mut w);
    w.loss = 1;
    let sends: Vec<_> = (0..100).map(|_| w.submit(blocked(0, 10))).collect();
    w.step(1000);
    let held = sends.iter().filter(|t| w.completion(**t).is_some()).count();
    assert_eq!((held, w.env.held.len()), (32, 32));
    // The connection ends: none is left.
    for _ in 0..70 {
        w.step(1_000_000);
    }
    assert!(w.env.held.is_empty());
    for token in &sends[32..] {
        assert_eq!(
            w.completion(*token).unwrap().status,
            Status::TimedOut as u16
        );
    }
}

#[test]
fn a_reset_ends_sends_with_what_was_acknowledged() {
    let mut w = World::new(small());
    let mut hand = hand(&mut w, 1);
    let start = hand.theirs;
    let held = w.submit(blocked(0, 100));
    let token = w.submit(World::send(10, 0, 5000));
    let later = w.submit(World::send(10, 0, 50_000));
    w.run_server();
    ok(&w.completion(held).unwrap());
    hand.theirs = start + 1100;
    hand.send(&mut w, 0, &[]);
    assert!(w.env.held.is_empty() && w.completion(token).is_none());
    let reset = smoltcp::wire::TcpRepr {
        control: TcpControl::Rst,
        ..hand.repr(0, &[])
    };
    w.env.to_server.push_back(frame(&reset));
    w.run_server();
    for (token, len) in [(token, 1000), (later, 0)] {
        let c = w.completion(token).unwrap();
        assert_eq!((c.status, c.len), (Status::ConnectionReset as u16, len));
    }
}

#[test]
fn cancelling_a_send_takes_back_what_is_not_queued() {
    let mut w = World::new(small());
    let mut hand = hand(&mut w, 1);
    let tokens: Vec<_> = (0..3)
        .map(|_| w.submit(World::send(10, 0, 10_000)))
        .collect();
    w.run_server();
    for token in &tokens[1..] {
        let mut cancel = Request::new(Op::Cancel, 10, 0);
        cancel.arg = *token;
        let cancel = w.submit(cancel);
        w.run_server();
        ok(&w.completion(cancel).unwrap());
    }
    let last = w.completion(tokens[2]).unwrap();
    assert_eq!((last.status, last.len), (Status::Cancelled as u16, 0));
    // The second is queued in part, and that part is sent.
    assert!(w.completion(tokens[1]).is_none());
    let start = hand.theirs;
    let mut got = vec![0; 20_000];
    for _ in 0..20 {
        w.now_us += 1000;
        w.run_server();
        hand.fetch(&mut w, start, &mut got);
        hand.send(&mut w, 0, &[]);
    }
    assert_eq!(hand.theirs - start, 16384);
    ok(&w.completion(tokens[0]).unwrap());
    let part = w.completion(tokens[1]).unwrap();
    assert_eq!((part.status, part.len), (Status::Cancelled as u16, 6384));
    // The stream goes on.
    let next = w.submit(World::send(10, 0, 10));
    w.run_server();
    hand.fetch(&mut w, start, &mut got);
    hand.send(&mut w, 0, &[]);
    ok(&w.completion(next).unwrap());
}

#[test]
fn closing_with_a_linger_time_lets_sends_finish() {
    for linger in [u64::MAX, 60_000] {
        let mut w = World::new(small());
        let peer = pair(&mut w);
        let data = pattern(50_000, 9);
        w.region()[..50_000].copy_from_slice(&data);
        let send = w.submit(World::send(10, 0, 50_000));
        let recv = w.submit(World::recv(10, 500_000, 10));
        let close = w.submit(World::close(10, linger));
        w.run_server();
        let cancelled = w.completion(recv).unwrap();
        assert_eq!(cancelled.status, Status::Cancelled as u16);
        assert!(w.completion(close).is_none() && w.completion(send).is_none());
        let mut got = vec![];
        for _ in 0..200 {
            w.step(1000);
            w.tcp(peer)
                .recv(|b| {
                    got.extend_from_slice(b);
                    (b.len(), ())
                })
                .ok();
        }
        assert!(got == data);
        assert_eq!(w.completion(send).unwrap().len, 50_000);
        ok(&w.completion(close).unwrap());
        assert_eq!(w.tcp(peer).state(), State::CloseWait);
    }
}

#[test]
fn closing_at_once_resets_when_a_send_is_outstanding() {
    let mut w = World::new(small());
    hand(&mut w, 1);
    let held = w.submit(blocked(0, 10));
    let send = w.submit(World::send(10, 0, 10));
    w.run_server();
    w.env.from_server.clear();
    ok(&w.completion(held).unwrap());
    let close = w.submit(World::close(10, 0));
    w.run_server();
    let cancelled = w.completion(send).unwrap();
    assert_eq!(
        (cancelled.status, cancelled.len),
        (Status::Cancelled as u16, 0)
    );
    ok(&w.completion(close).unwrap());
    let reset = segment(&w.env.from_server.pop_front().unwrap())
        .unwrap()
        .control;
    assert_eq!(reset, TcpControl::Rst);
    assert!(w.env.held.is_empty());
}

#[test]
fn held_bytes_are_sent_in_the_background_after_a_close() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.loss = 1;
    let held = w.submit(blocked(0, 1000));
    let close = w.submit(World::close(10, u64::MAX));
    w.step(1000);
    ok(&w.completion(held).unwrap());
    ok(&w.completion(close).unwrap());
    assert_eq!(w.env.held.len(), 1);
    w.loss = 0;
    for _ in 0..30 {
        w.step(100_000);
    }
    assert_eq!(w.tcp(peer).recv_queue(), 1000);
    assert!(w.env.held.is_empty());
    // Of a client that is gone nothing is sent.
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.loss = 1;
    let held = w.submit(blocked(0, 1000));
    let close = w.submit(World::close(10, u64::MAX));
    w.step(1000);
    ok(&w.completion(held).unwrap());
    ok(&w.completion(close).unwrap());
    w.loss = 0;
    ok(&w.call(Request::new(Op::DropClient, 0, 0)));
    assert!(w.env.held.is_empty());
    w.step(1000);
    assert_eq!(w.tcp(peer).state(), State::Closed);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
}

#[test]
fn a_dropped_client_leaves_no_packet_behind() {
    let mut w = World::new(small());
    let peer = pair(&mut w);
    w.tcp(peer).send_slice(&[1; 5000]).unwrap();
    for _ in 0..5 {
        w.step(1000);
    }
    let send = w.submit(World::send(10, 0, 30_000));
    w.run_server();
    assert!(w.count(Counter::PacketsHeld) != 0);
    ok(&w.call(Request::new(Op::DropClient, 0, 0)));
    w.step(1000);
    assert!(w.completion(send).is_none());
    assert_eq!(w.count(Counter::PacketsHeld), 0);
    assert_eq!(w.count(Counter::RequestsPending), 0);
}
