//! Frames from the manager to the device, and their numbers back.

use nic_api::{SENDS, SendFrame, frame_flags};

use super::bench::{Bench, CHECKSUMS, DIRECT, MTU, SEGMENTS, USUAL, frame, own_counter, span};

#[test]
fn frames_leave_and_their_numbers_come_back() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::new(offered | CHECKSUMS, 256);
        bench.settle();
        let spans = [&b"fourteen bytes"[..], b" and ", b"more"].map(|b| bench.place(b));
        bench.send(frame(255, &spans));
        bench.settle();
        assert_eq!(bench.transport.0.borrow().notified, [1]);
        let left = bench.sent().expect("a frame");
        assert_eq!(bench.tx.was_indirect(), offered == USUAL);
        assert_eq!((left.header, left.pieces), (vec![0; 12], 3));
        assert_eq!(left.bytes, b"fourteen bytes and more");
        bench.send(SendFrame {
            flags: frame_flags::NEEDS_CHECKSUM,
            checksum_start: 13,
            checksum_offset: 8,
            // Nothing to the device without `SEGMENT`.
            segment_bytes: 77,
            header_len: 88,
            ..frame(1, &spans)
        });
        bench.settle();
        let second = bench.sent().expect("a frame");
        assert_eq!(second.header, [1, 0, 0, 0, 0, 0, 13, 0, 8, 0, 0, 0]);
        bench.tx.complete(left.head.into(), 0);
        assert!(!bench.settle(), "nobody waits");
        assert_eq!(bench.done(), [255]);
        // The header that stood there is not that of the next frame.
        bench.tx.complete(second.head.into(), 0);
        bench.settle();
        for id in [3, 4] {
            bench.send(frame(id, &spans));
        }
        bench.settle();
        for _ in 0..2 {
            assert_eq!(bench.sent().expect("a frame").header, [0; 12]);
        }
    }
}

#[test]
fn what_must_not_be_sent_is_refused_and_comes_back() {
    let mut bench = Bench::new(USUAL | CHECKSUMS, 256);
    bench.nic.counters.manager_refused = own_counter();
    bench.settle();
    let counted = |count| SendFrame {
        count,
        ..frame(7, &[span(60); 3])
    };
    let flagged = |flags| SendFrame {
        flags,
        checksum_start: 34,
        ..frame(7, &[span(60)])
    };
    let bad = [
        counted(0),
        counted(4),
        counted(u16::MAX),
        frame(7, &[span(13)]),
        frame(7, &[span(0)]),
        frame(7, &[span(60), span(0)]),
        frame(7, &[span(MTU), span(15)]),
        frame(7, &[span(u32::MAX); 3]),
        flagged(frame_flags::SEGMENT | frame_flags::NEEDS_CHECKSUM),
        SendFrame {
            checksum_start: 59,
            ..flagged(frame_flags::NEEDS_CHECKSUM)
        },
    ];
    for entry in bad {
        bench.send(entry);
        assert!(bench.settle(), "the manager hears of it");
        assert_eq!(bench.done(), [7], "{entry:?}");
        assert_eq!(bench.sent(), None, "{entry:?}");
    }
    assert_eq!(bench.nic.counters.manager_refused.get(), 10);
    // There are no such numbers.
    for id in [SENDS, u32::MAX] {
        bench.send(frame(id, &[span(60)]));
    }
    bench.settle();
    assert_eq!((bench.sent(), bench.done()), (None, vec![]));
    assert_eq!(bench.nic.counters.manager_refused.get(), 12);
    bench.send(frame(7, &[span(60)]));
    bench.settle();
    assert!(bench.sent().is_some());
}

#[test]
fn a_number_in_flight_is_refused_and_does_not_come_back() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.manager_refused = own_counter();
    for len in [60, 60, 0] {
        bench.send(frame(9, &[span(len)]));
    }
    bench.settle();
    assert_eq!(bench.nic.counters.manager_refused.get(), 2);
    assert_eq!(bench.done(), []);
    assert_eq!(bench.complete_sends(), 1, "one of them was good");
    bench.settle();
    assert_eq!(bench.done(), [9]);
}

#[test]
fn checksums_need_to_be_agreed_on() {
    let mut bench = Bench::new(USUAL, 256);
    bench.send(SendFrame {
        flags: frame_flags::NEEDS_CHECKSUM,
        checksum_start: 34,
        checksum_offset: 6,
        ..frame(0, &[span(60)])
    });
    bench.settle();
    assert_eq!((bench.sent(), bench.done()), (None, vec![0]));
}

#[test]
fn frames_to_be_cut_carry_their_sizes() {
    let mut bench = Bench::new(USUAL | CHECKSUMS | SEGMENTS, 256);
    let mut spans = vec![span(54)];
    spans.resize(10, span(4096));
    let first = SendFrame {
        flags: frame_flags::SEGMENT | frame_flags::NEEDS_CHECKSUM,
        checksum_start: 34,
        checksum_offset: 16,
        segment_bytes: 1460,
        header_len: 54,
        ..frame(0, &[])
    };
    bench.send_chain(first, &spans);
    bench.settle();
    let left = bench.sent().expect("a frame");
    assert_eq!(
        left.header,
        [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
        "virtio 1.2, 5.1.6"
    );
    assert_eq!((left.pieces, left.bytes.len()), (10, 54 + 9 * 4096));
}

#[test]
fn somebody_who_waits_is_woken() {
    let mut bench = Bench::new(USUAL, 256);
    bench.settle();
    let waited = |id| SendFrame {
        flags: frame_flags::WAITED_FOR,
        ..frame(id, &[span(60)])
    };
    bench.send(frame(0, &[span(60)]));
    bench.send(frame(1, &[span(60)]));
    bench.settle();
    assert_eq!(bench.tx.interrupt_at(), u16::MAX, "nobody waits");
    bench.send(waited(2));
    bench.send(frame(3, &[span(60)]));
    bench.settle();
    assert_eq!(bench.tx.interrupt_at(), 2, "with the third");
    let heads: Vec<_> = std::iter::from_fn(|| bench.sent())
        .map(|l| l.head)
        .collect();
    bench.tx.complete(heads[0].into(), 0);
    assert!(!bench.settle(), "not his");
    assert_eq!(bench.tx.interrupt_at(), 2, "still the third");
    bench.tx.complete(heads[1].into(), 0);
    bench.tx.complete(heads[2].into(), 0);
    assert!(bench.settle());
    assert_eq!(bench.done(), [0, 1, 2]);
    assert_eq!(bench.tx.interrupt_at(), 0, "long passed");
    bench.tx.complete(heads[3].into(), 0);
    assert!(!bench.settle());
    // Out of order: whatever comes next may be it.
    bench.send(waited(4));
    bench.send(frame(5, &[span(60)]));
    bench.settle();
    let heads: Vec<_> = std::iter::from_fn(|| bench.sent())
        .map(|l| l.head)
        .collect();
    bench.tx.complete(heads[1].into(), 0);
    assert!(!bench.settle());
    assert_eq!(bench.tx.interrupt_at(), 5);
    bench.tx.complete(heads[0].into(), 0);
    assert!(bench.settle());
}

#[test]
fn a_manager_that_asks_for_anything_is_woken_by_anything() {
    let mut bench = Bench::new(USUAL, 256);
    bench.send(frame(0, &[span(60)]));
    bench.settle();
    assert_eq!(bench.done.arm_for_anything(), Ok(true));
    bench.settle();
    assert_eq!(bench.tx.interrupt_at(), 0, "the device is asked");
    assert_eq!(bench.complete_sends(), 1);
    assert!(bench.settle());
    assert_eq!(bench.done(), [0]);
}

#[test]
fn a_full_queue_keeps_frames_and_asks_to_be_woken() {
    // Two descriptors a frame of one span, or one; a whole entry must fit.
    for (offered, spans, fit) in [(DIRECT, 1, 31), (DIRECT, 3, 16), (USUAL, 3, 64)] {
        let mut bench = Bench::new(offered, 64);
        let entry = |id| frame(id, &[span(20); 3][..spans]);
        for id in 0..100 {
            bench.send(entry(id));
        }
        bench.settle();
        let heads: Vec<_> = std::iter::from_fn(|| bench.sent()).collect();
        assert_eq!(heads.len(), fit);
        assert_eq!(bench.tx.interrupt_at() as usize, fit / 2 - 1, "half");
        for left in &heads {
            bench.tx.complete(left.head.into(), 0);
        }
        bench.nic.interrupt().unwrap();
        bench.settle();
        let rest = std::iter::from_fn(|| bench.sent()).count();
        assert_eq!(rest, fit.min(100 - fit));
        assert!(bench.done().into_iter().eq(0..fit as u32));
    }
}

#[test]
fn every_number_may_be_in_flight() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.tx_no_room = own_counter();
    for round in 0..3 {
        for id in 0..SENDS {
            bench.send(frame(id, &[span(60)]));
        }
        bench.settle();
        assert_eq!(bench.complete_sends(), 256, "{round}");
        bench.settle();
        assert!(bench.done().into_iter().eq(0..SENDS));
    }
    assert_eq!(bench.nic.counters.tx_no_room.get(), 0);
}

#[test]
fn a_group_comes_back_once_when_all_of_it_is_gone() {
    let mut bench = Bench::new(USUAL | CHECKSUMS, 256);
    bench.nic.counters.manager_refused = own_counter();
    let of = |flags, len| SendFrame {
        flags,
        ..frame(9, &[span(len)])
    };
    let more = frame_flags::GROUP;
    for flags in [more, more | frame_flags::WAITED_FOR, 0] {
        bench.send(of(flags, 60));
    }
    // Its number is taken until then.
    bench.send(of(0, 60));
    bench.settle();
    assert_eq!(bench.nic.counters.manager_refused.get(), 1);
    let heads: Vec<_> = std::iter::from_fn(|| bench.sent()).collect();
    assert_eq!(heads.len(), 3);
    for left in &heads[..2] {
        bench.tx.complete(left.head.into(), 0);
        assert!(!bench.settle());
        assert_eq!(bench.done(), [0; 0]);
    }
    bench.tx.complete(heads[2].head.into(), 0);
    assert!(bench.settle(), "somebody waits");
    assert_eq!(bench.done(), [9]);
}

#[test]
fn a_group_of_which_some_are_refused_comes_back_once() {
    let more = frame_flags::GROUP;
    // Frames of 60 bytes, and of none, which are refused; in one entry or two.
    for lens in [
        [0, 60, 60],
        [60, 0, 60],
        [60, 60, 0],
        [0, 0, 60],
        [60, 0, 0],
        [0; 3],
    ] {
        for parts in [1, 2] {
            let mut bench = Bench::new(USUAL, 256);
            for (n, len) in lens.into_iter().enumerate() {
                let first = SendFrame {
                    flags: if n < 2 { more } else { 0 },
                    ..frame(9, &[])
                };
                bench.send_chain(first, &[span(len); 4][..3 * parts - 2]);
            }
            bench.settle();
            let sent = bench.complete_sends();
            assert_eq!(sent, lens.iter().filter(|len| **len != 0).count());
            bench.settle();
            assert_eq!(bench.done(), [9], "{lens:?}");
            bench.send(frame(9, &[span(60)]));
            bench.settle();
            assert_eq!(bench.complete_sends(), 1, "{lens:?}");
        }
    }
}

/// A manager in the same thread gives no signals: the driver looks whether it
/// has given frames, between its passes.
#[test]
fn a_near_manager_is_heard_by_looking() {
    let mut bench = Bench::near(USUAL, 256);
    bench.settle();
    assert!(!bench.nic.hears_manager());
    let spans = [bench.place(b"fourteen bytes")];
    bench.ready.push(&frame(3, &spans)).unwrap();
    assert!(!bench.ready.publish(), "the driver asks for no signal");
    assert!(bench.nic.hears_manager());
    bench.settle();
    assert!(!bench.nic.hears_manager());
    assert!(bench.sent().is_some());
}
