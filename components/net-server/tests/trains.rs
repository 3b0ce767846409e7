//! Segments that are merged before smoltcp sees them, and cut behind it.
//!
//! Problem: what smoltcp is shown is not what came, and what it builds is not
//! what goes. Invariant: neither end can tell: the same bytes come and are
//! acknowledged as if each segment had been shown, and what goes are segments
//! that smoltcp could have built, each byte once.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use proptest::prelude::*;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};
use socket_api::{Status, flags};
use support::reference::Reference;
use support::segments::{Hand, frame, segment};
use support::*;

const WINDOW: usize = 8192;

fn wide() -> Config {
    Config {
        tcp_receive_window: 65535,
        tcp_send_buffer: 65535,
        ..small()
    }
}

fn hand(w: &mut World, first: u32) -> Hand {
    w.listen(0, 7, 8);
    Hand::open(w, 40000, first, 10)
}

/// Frames that come before the server looks.
fn come(w: &mut World, reprs: &[TcpRepr<'_>]) {
    w.env.to_server.extend(reprs.iter().map(frame));
    w.run_server();
}

/// The segments that the server has sent.
fn went(w: &mut World) -> Vec<(u32, usize, u32, TcpControl)> {
    let frames: Vec<_> = w.env.from_server.drain(..).collect();
    let seen = |frame: &Vec<u8>| {
        let s = segment(frame)?;
        let ack = s.ack_number.unwrap().0 as u32;
        Some((s.seq_number.0 as u32, s.payload.len(), ack, s.control))
    };
    frames.iter().filter_map(seen).collect()
}

fn read(w: &mut World, most: usize) -> Vec<u8> {
    let mut recv = World::recv(10, 500_000, most as u32);
    recv.flags = flags::NO_WAIT;
    let token = w.submit(recv);
    w.run_server();
    let got = w.completion(token).unwrap().len as usize;
    w.region()[500_000..500_000 + got].to_vec()
}

/// One segment of a batch.
#[derive(Clone, Debug)]
enum Piece {
    /// The next bytes.
    Next(usize, bool),
    /// No bytes.
    Empty,
    /// So far from the next byte, so long, and how far the acknowledgement is
    /// off.
    Odd(i32, usize, TcpControl, i32),
    /// A keep-alive, with a byte or without.
    Alive(usize),
    /// The window is closed meanwhile.
    Stop(usize),
}

fn piece() -> impl Strategy<Value = Piece> {
    let control = prop_oneof![
        8 => Just(TcpControl::None),
        2 => Just(TcpControl::Psh),
        1 => Just(TcpControl::Syn),
    ];
    let off = prop_oneof![8 => Just(0i32), 1 => Just(-1i32), 1 => Just(1i32)];
    let odd = (-700..9000i32, 0..900usize, control, off);
    prop_oneof![
        20 => (1..1460usize, any::<bool>()).prop_map(|(len, push)| Piece::Next(len, push)),
        2 => Just(Piece::Empty),
        3 => odd.prop_map(|(o, l, c, a)| Piece::Odd(o, l, c, a)),
        1 => (0..2usize).prop_map(Piece::Alive),
        1 => (0..300usize).prop_map(Piece::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_batch_comes_to_what_its_segments_come_to(
        batches in proptest::collection::vec(
            (proptest::collection::vec(piece(), 1..14), 0..12_000usize), 1..20),
        first in prop_oneof![Just(1u32), Just(u32::MAX - 9000)],
    ) {
        let mut w = World::new(Config { tcp_receive_window: WINDOW, ..small() });
        let hand = hand(&mut w, first);
        let mut reference = Reference::new(WINDOW, first, w.now_us);
        let (mut next, mut got) = (0u32, 0u32);
        for (pieces, most) in &batches {
            w.now_us += 10;
            for piece in pieces {
                let (at, len, control, off, window) = match *piece {
                    Piece::Next(len, true) => (next, len, TcpControl::Psh, 0, 0xffff),
                    Piece::Next(len, false) => (next, len, TcpControl::None, 0, 0xffff),
                    Piece::Empty => (next, 0, TcpControl::None, 0, 0x8000),
                    Piece::Odd(o, len, control, off) => {
                        (next.wrapping_add(o as u32), len, control, off, 0xffff)
                    }
                    Piece::Alive(len) => (next.wrapping_sub(1), len, TcpControl::None, 0, 0xffff),
                    Piece::Stop(len) => (next, len, TcpControl::None, 0, 0),
                };
                let bytes = pattern(len, u64::from(at));
                for server in [true, false] {
                    let hand = if server { &hand } else { &reference.hand };
                    let mut repr = hand.repr(at, &bytes);
                    (repr.control, repr.window_len) = (control, window);
                    repr.ack_number = repr.ack_number.map(|a| TcpSeqNumber(a.0.wrapping_add(off)));
                    if server {
                        w.env.to_server.push_back(frame(&repr));
                    } else {
                        reference.wire.received.push_back(frame(&repr));
                    }
                }
                if matches!(piece, Piece::Next(..) | Piece::Stop(_)) {
                    next = next.wrapping_add(len as u32);
                }
            }
            w.run_server();
            reference.read(0, w.now_us);
            // What is to be acknowledged is.
            w.step(20_000);
            reference.read(0, w.now_us);
            let (ours, theirs) = (read(&mut w, *most), reference.read(*most, w.now_us));
            prop_assert!(ours == theirs, "{} and {} bytes", ours.len(), theirs.len());
            got = got.wrapping_add(ours.len() as u32);
            let rest = read(&mut w, 100_000);
            let also = reference.read(100_000, w.now_us);
            prop_assert!(rest == also, "{} and {} bytes", rest.len(), also.len());
            got = got.wrapping_add(rest.len() as u32);
            w.step(20_000);
            reference.read(0, w.now_us);
            // What was lost comes again.
            next = got;
            let told = went(&mut w).last().map(|s| s.2.wrapping_sub(first));
            let also = reference.wire.sent.iter().rev().find_map(|f| segment(f)?.ack_number);
            if let (Some(told), Some(also)) = (told, also) {
                prop_assert_eq!(told, (also.0 as u32).wrapping_sub(first));
            }
            reference.wire.sent.clear();
        }
    }

    #[test]
    fn acknowledgements_in_a_batch_come_to_what_they_come_to_one_by_one(
        sends in proptest::collection::vec(1..6000u32, 1..12),
        batches in proptest::collection::vec(
            proptest::collection::vec((0..4000u32, 0..4u8), 1..10), 1..12),
    ) {
        let mut worlds = [World::new(wide()), World::new(wide())];
        let mut hands = vec![];
        for w in &mut worlds {
            let mut hand = hand(w, 5);
            hand.widen(w, 10);
            hand.window = 20_000;
            hand.send(w, 0, &[]);
            let data = pattern(72_000, 3);
            w.region()[..72_000].copy_from_slice(&data);
            let mut at = 0;
            for len in &sends {
                let mut send = World::send(10, at, *len);
                send.flags = flags::NO_DELAY;
                w.submit(send);
                at += len;
            }
            w.run_server();
            hands.push(hand);
        }
        let data = pattern(72_000, 3);
        let start = [hands[0].theirs, hands[1].theirs];
        let (mut acked, mut next) = (0u32, 0u32);
        let mut got = [vec![0; 72_000], vec![0; 72_000]];
        for batch in &batches {
            let mut sent = u32::MAX;
            for i in 0..2 {
                hands[i].fetch(&mut worlds[i], start[i], &mut got[i]);
                sent = sent.min(hands[i].theirs.wrapping_sub(start[i]));
            }
            let mut reprs = vec![];
            for (more, what) in batch {
                let len = match what {
                    0 => 100,
                    // The same again.
                    1 => 0,
                    _ => {
                        acked = (acked + more).min(sent);
                        u32::from(*what - 2) * 300
                    }
                };
                reprs.push((acked, next, pattern(len as usize, 1)));
                next += len;
            }
            for i in 0..2 {
                for (acked, at, bytes) in &reprs {
                    let ack = start[i].wrapping_add(*acked);
                    let repr = TcpRepr {
                        ack_number: Some(TcpSeqNumber(ack as i32)),
                        ..hands[i].repr(*at, bytes)
                    };
                    worlds[i].env.to_server.push_back(frame(&repr));
                    if i == 1 {
                        worlds[i].run_server();
                    }
                }
                worlds[i].run_server();
                worlds[i].step(100);
            }
            let done = worlds.each_mut().map(|w| {
                let done = w.env.completions.drain(..).map(|c| (c.user_data, c.status, c.len));
                done.collect::<Vec<_>>()
            });
            prop_assert_eq!(&done[0], &done[1]);
            let all = [read(&mut worlds[0], 60_000), read(&mut worlds[1], 60_000)];
            prop_assert!(all[0] == all[1]);
        }
        for i in 0..2 {
            hands[i].fetch(&mut worlds[i], start[i], &mut got[i]);
            let sent = hands[i].theirs.wrapping_sub(start[i]);
            prop_assert!(got[i][..sent as usize] == data[..sent as usize]);
            prop_assert!(sent <= acked + 20_000);
        }
        // What a loss keeps back for one of them goes once all is acknowledged.
        let total: u32 = sends.iter().sum();
        for (i, hand) in hands.iter_mut().enumerate() {
            for _ in 0..100 {
                hand.send(&mut worlds[i], next, &[]);
                hand.fetch(&mut worlds[i], start[i], &mut got[i]);
            }
            prop_assert_eq!(hand.theirs.wrapping_sub(start[i]), total);
            prop_assert!(got[i][..total as usize] == data[..total as usize]);
        }
    }
}

#[test]
fn smoltcp_sees_a_batch_once() {
    let mut w = World::new(wide());
    let hand = hand(&mut w, 1);
    let data = pattern(40 * 1460, 1);
    let before = w.count(Counter::SocketsShown);
    let parts: Vec<_> = data.chunks(1460).collect();
    let reprs: Vec<_> = (0..40)
        .map(|i| hand.repr(i * 1460, parts[i as usize]))
        .collect();
    w.env.from_server.clear();
    come(&mut w, &reprs);
    // The segments, and the acknowledgement, which does not wait.
    assert_eq!(w.count(Counter::SocketsShown), before + 2);
    let acks = went(&mut w);
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].2, 1 + 40 * 1460);
    assert!(read(&mut w, 60_000) == data);
}

#[test]
fn a_segment_that_the_nic_made_of_several_is_acknowledged_at_once() {
    for (len, at_once) in [(1460, false), (1461, true), (40_000, true), (65_495, true)] {
        let mut w = World::new(wide());
        let hand = hand(&mut w, 1);
        let data = pattern(len, 1);
        w.env.from_server.clear();
        come(&mut w, &[hand.repr(0, &data)]);
        let acks = went(&mut w);
        let all = acks.first().map(|ack| ack.2 as usize - 1);
        assert_eq!(all, at_once.then_some(len), "{len}");
        assert!(read(&mut w, 70_000) == data, "{len}");
    }
}

#[test]
fn long_segments_that_overlap_or_leave_gaps_come_together() {
    let mut w = World::new(wide());
    let hand = hand(&mut w, 1);
    let data = pattern(60_000, 1);
    for (from, to) in [
        (20_000, 40_000),
        (0, 10_000),
        (5000, 21_000),
        (39_999, 60_000),
    ] {
        come(&mut w, &[hand.repr(from as u32, &data[from..to])]);
    }
    assert_eq!(went(&mut w).last().map(|ack| ack.2), Some(60_001));
    assert!(read(&mut w, 60_000) == data);
}

#[test]
fn what_a_reader_leaves_is_held_in_buffers_and_not_in_packets() {
    let mut w = World::new(Config {
        receive_frames: 18,
        ..wide()
    });
    let hand = hand(&mut w, 1);
    let data = pattern(40_000, 1);
    // 15 buffers, and no room for five more.
    come(&mut w, &[hand.repr(0, &data[..30_000])]);
    come(&mut w, &[hand.repr(30_000, &data[30_000..])]);
    assert_eq!(w.count(Counter::DropPinned), 1);
    assert!(read(&mut w, 60_000) == data[..30_000]);
    come(&mut w, &[hand.repr(30_000, &data[30_000..])]);
    assert!(read(&mut w, 60_000) == data[30_000..]);
}

#[test]
fn the_end_of_a_stream_in_the_middle_of_a_batch() {
    for control in [TcpControl::Fin, TcpControl::Rst] {
        let mut w = World::new(wide());
        let hand = hand(&mut w, 1);
        let data = pattern(6000, 1);
        let last = TcpRepr {
            control,
            ..hand.repr(
                3000,
                if control == TcpControl::Fin {
                    &data[3000..4000]
                } else {
                    &[]
                },
            )
        };
        let reprs = [
            hand.repr(0, &data[..1000]),
            hand.repr(1000, &data[1000..3000]),
            last,
            hand.repr(4000, &data[4000..5000]),
            hand.repr(5000, &data[5000..]),
        ];
        come(&mut w, &reprs);
        if control == TcpControl::Fin {
            assert!(read(&mut w, 60_000) == data[..4000]);
            assert!(read(&mut w, 60_000).is_empty());
        } else {
            let recv = World::recv(10, 500_000, 60_000);
            let done = w.call(recv);
            assert_eq!((done.status, done.len), (Status::Ok as u16, 3000));
            assert!(w.region()[500_000..503_000] == data[..3000]);
            assert_eq!(w.call(recv).status, Status::ConnectionReset as u16);
        }
    }
}

#[test]
fn three_duplicates_in_a_batch_bring_the_lost_segment_back() {
    let mut w = World::new(wide());
    let mut hand = hand(&mut w, 1);
    hand.widen(&mut w, 10);
    let start = hand.theirs;
    let data = pattern(20_000, 2);
    w.region()[..20_000].copy_from_slice(&data);
    w.submit(World::send(10, 0, 20_000));
    w.run_server();
    let sent = went(&mut w);
    assert_eq!(sent.iter().map(|s| s.1).sum::<usize>(), 20_000);
    hand.theirs = start.wrapping_add(2920);
    for (duplicates, again) in [(2, 0), (1, 1), (4, 0)] {
        let first = usize::from(duplicates == 2);
        let reprs = vec![hand.repr(0, &[]); duplicates + first];
        come(&mut w, &reprs);
        let resent: Vec<_> = went(&mut w).into_iter().filter(|s| s.1 != 0).collect();
        assert_eq!(resent.len(), again, "{duplicates}");
        assert!(resent.iter().all(|s| (s.0, s.1) == (hand.theirs, 1460)));
    }
}

#[test]
fn what_finds_no_slot_goes_when_there_is_one() {
    for (mss, room) in [(1460, 17), (1460, 20), (536, 40), (700, 16)] {
        let mut w = World::new(wide());
        w.listen(0, 7, 8);
        let mut hand = Hand::open_with(&mut w, 40000, 1, 10, mss);
        hand.widen(&mut w, 10);
        let before = w.count(Counter::ReferencedOut);
        let start = hand.theirs;
        let data = pattern(60_000, 2);
        w.region()[..60_000].copy_from_slice(&data);
        w.env.room = room;
        let token = w.submit(World::send(10, 0, 60_000));
        let (mut next, mut frames) = (start, 0);
        let mut got = vec![0; 60_000];
        while next != start.wrapping_add(60_000) {
            w.run_server();
            assert!(w.env.from_server.len() <= room);
            let log: Vec<_> = w.env.from_server.iter().cloned().collect();
            assert!(!log.is_empty());
            for s in log.iter().filter_map(|f| segment(f)) {
                // In order, each byte once, PSH at the end only.
                assert_eq!(s.seq_number.0 as u32, next);
                assert!(s.payload.len() <= usize::from(mss));
                next = next.wrapping_add(s.payload.len() as u32);
                let last = next == start.wrapping_add(60_000);
                assert_eq!(s.control == TcpControl::Psh, last);
                frames += 1;
            }
            hand.fetch(&mut w, start, &mut got);
        }
        assert!(got == data);
        assert_eq!(frames, 60_000usize.div_ceil(usize::from(mss)));
        assert_eq!(w.count(Counter::ReferencedOut), before + 60_000);
        hand.send(&mut w, 0, &[]);
        ok(&w.completion(token).unwrap());
    }
}

#[test]
fn what_is_owed_is_forgotten_when_it_is_acknowledged_or_given_up() {
    let mut w = World::new(wide());
    let mut hand = hand(&mut w, 1);
    hand.widen(&mut w, 10);
    let start = hand.theirs;
    let data = pattern(60_000, 2);
    w.region()[..60_000].copy_from_slice(&data);
    w.env.room = 20;
    let token = w.submit(World::send(10, 0, 60_000));
    w.run_server();
    let mut got = vec![0; 60_000];
    hand.fetch(&mut w, start, &mut got);
    assert_eq!(hand.theirs, start + 20 * 1460);
    // Its time is over before a slot comes back: all of it goes again.
    w.env.room = 0;
    for _ in 0..5 {
        w.step(1_000_000);
    }
    w.env.room = 20;
    // The peer says that it has more than it was sent.
    hand.theirs += 5000;
    for at in [29_200, 30_000] {
        got[at..at + 4200].copy_from_slice(&data[at..at + 4200]);
    }
    hand.send(&mut w, 0, &[]);
    for _ in 0..20 {
        w.run_server();
        hand.fetch(&mut w, start, &mut got);
    }
    assert!(got == data);
    hand.send(&mut w, 0, &[]);
    ok(&w.completion(token).unwrap());
    // A reset ends it.
    let token = w.submit(World::send(10, 0, 60_000));
    w.run_server();
    assert_eq!(w.env.from_server.len(), 20);
    let reset = TcpRepr {
        control: TcpControl::Rst,
        ..hand.repr(0, &[])
    };
    come(&mut w, &[reset]);
    w.env.from_server.clear();
    w.step(1000);
    let status = w.completion(token).unwrap().status;
    assert_eq!(status, Status::ConnectionReset as u16);
    assert!(went(&mut w).is_empty());
}

#[test]
fn no_segment_goes_beyond_the_window() {
    let mut w = World::new(wide());
    let mut hand = hand(&mut w, 1);
    let start = hand.theirs;
    w.submit(World::send(10, 0, 60_000));
    let mut lcg = Lcg(7);
    let (mut acked, mut edge) = (0, 65_535);
    for _ in 0..300 {
        w.run_server();
        for (seq, len, ..) in went(&mut w) {
            let end = seq.wrapping_sub(start) + len as u32;
            assert!(end <= edge, "{end} {edge}");
            acked = acked.max(end);
        }
        hand.theirs = start + acked;
        hand.window = lcg.below(9000) as u16 + 1;
        edge = edge.max(acked + u32::from(hand.window));
        let repr = hand.repr(0, &[]);
        come(&mut w, &[repr]);
        w.now_us += 1000;
    }
    assert_eq!(acked, 60_000);
}
