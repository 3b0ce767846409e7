//! Frames of several entries.

use nic_api::{MOST_SPANS, SendFrame, frame_flags};

use super::bench::{Bench, CHECKSUMS, DIRECT, USUAL, frame, own_counter, span};

const MORE: u16 = frame_flags::MORE;

fn more(id: u32, count: u16) -> SendFrame {
    SendFrame {
        flags: MORE,
        count,
        ..frame(id, &[span(20); 3])
    }
}

#[test]
fn a_frame_of_several_entries_leaves_whole() {
    for offered in [USUAL, DIRECT] {
        for pieces in [4, 6, 7, 12, MOST_SPANS] {
            let mut bench = Bench::new(offered | CHECKSUMS, 64);
            let parts: Vec<_> = (0..pieces).map(|n| vec![n as u8 + 1; 20 + n]).collect();
            let spans: Vec<_> = parts.iter().map(|p| bench.place(p)).collect();
            let first = SendFrame {
                flags: frame_flags::NEEDS_CHECKSUM,
                checksum_start: 34,
                checksum_offset: 6,
                ..frame(5, &[])
            };
            bench.send_chain(first, &spans);
            bench.send(frame(6, &[span(60)]));
            bench.settle();
            let left = bench.sent().expect("a frame");
            assert_eq!(bench.tx.was_indirect(), offered == USUAL && pieces <= 6);
            assert_eq!((left.pieces, left.bytes), (pieces, parts.concat()));
            assert_eq!(left.header[..10], [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
            let next = bench.sent().expect("the next");
            assert_eq!((next.pieces, next.header[0]), (1, 0));
            bench.tx.complete(left.head.into(), 0);
            bench.settle();
            assert_eq!(bench.done(), [5]);
        }
    }
}

#[test]
fn entries_may_come_late() {
    let mut bench = Bench::new(USUAL, 64);
    for _ in 0..3 {
        bench.send(more(1, 2));
        bench.settle();
        assert_eq!(bench.sent(), None);
    }
    bench.send(frame(99, &[span(60)]));
    bench.settle();
    let left = bench.sent().expect("a frame");
    assert_eq!((left.pieces, left.bytes.len()), (7, 180));
    bench.tx.complete(left.head.into(), 0);
    bench.settle();
    assert_eq!(bench.done(), [1], "the first entry's number counts");
}

#[test]
fn a_broken_chain_is_dropped_whole() {
    let long = |n| vec![more(1, 3); n];
    let last = |id| frame(id, &[span(20)]);
    let broken = [
        [long(12), vec![last(1)]].concat(),
        [long(500), vec![last(1)]].concat(),
        vec![more(1, 0), last(1)],
        vec![more(1, 3), more(1, 0), last(1)],
        vec![more(1, 3), more(1, 4), last(1)],
        vec![more(1, u16::MAX), last(1)],
        vec![
            more(1, 1),
            SendFrame {
                count: 0,
                ..last(1)
            },
        ],
        // Whole, but of no length, too long, or summed without agreement.
        vec![more(1, 1), frame(1, &[span(0)])],
        vec![more(1, 1), frame(1, &[span(1500)])],
        vec![
            SendFrame {
                flags: MORE | frame_flags::NEEDS_CHECKSUM,
                ..more(1, 3)
            },
            last(1),
        ],
    ];
    for entries in broken {
        let mut bench = Bench::new(USUAL, 64);
        bench.nic.counters.manager_refused = own_counter();
        for entry in &entries {
            bench.send(*entry);
        }
        bench.send(frame(2, &[span(33)]));
        assert!(bench.settle());
        assert_eq!(bench.done(), [1], "{entries:?}");
        assert_eq!(bench.nic.counters.manager_refused.get(), 1);
        let left = bench.sent().expect("the next");
        assert_eq!(left.bytes.len(), 33);
        assert_eq!(bench.sent(), None);
        bench.send_chain(frame(1, &[]), &[span(20); 5]);
        bench.settle();
        assert_eq!(bench.sent().map(|l| l.pieces), Some(5), "forgotten");
    }
    // Number 2 is on its way, 256 does not exist.
    for id in [2, 256] {
        let mut bench = Bench::new(USUAL, 64);
        bench.send(frame(2, &[span(60)]));
        for entry in [more(id, 3), last(id)] {
            bench.send(entry);
        }
        bench.settle();
        assert_eq!(bench.done(), []);
        assert_eq!(bench.complete_sends(), 1);
    }
}

#[test]
fn a_long_frame_waits_for_room() {
    let mut bench = Bench::new(USUAL, 64);
    for id in 0..30 {
        bench.send(frame(id, &[span(60)]));
    }
    // 34 descriptors are left, for 37.
    bench.send_chain(frame(40, &[]), &[span(20); MOST_SPANS]);
    bench.send(frame(41, &[span(60)]));
    bench.settle();
    let heads: Vec<_> = std::iter::from_fn(|| bench.sent()).collect();
    assert_eq!(heads.len(), 30, "nothing overtakes it");
    assert_eq!(bench.tx.interrupt_at(), 14);
    for left in &heads[..2] {
        bench.tx.complete(left.head.into(), 0);
        bench.settle();
    }
    assert_eq!(bench.sent(), None);
    bench.tx.complete(heads[2].head.into(), 0);
    bench.settle();
    assert_eq!(bench.sent().map(|l| l.pieces), Some(MOST_SPANS));
    assert_eq!(bench.sent(), None, "no room again");
    for left in &heads[3..] {
        bench.tx.complete(left.head.into(), 0);
    }
    bench.settle();
    assert_eq!(bench.sent().map(|l| l.pieces), Some(1));
}

#[test]
fn a_frame_longer_than_the_queue_is_refused() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::new(offered, 8);
        bench.send(frame(3, &[span(60)]));
        bench.send_chain(frame(1, &[]), &[span(20); 8]);
        bench.send_chain(frame(2, &[]), &[span(20); 5]);
        bench.settle();
        assert_eq!(bench.done(), [1]);
        let pieces: Vec<_> = std::iter::from_fn(|| bench.sent())
            .map(|l| l.pieces)
            .collect();
        assert_eq!(pieces, [1, 5], "seven fit");
    }
}

#[test]
fn somebody_may_wait_for_a_long_frame() {
    let mut bench = Bench::new(USUAL, 64);
    bench.settle();
    let first = SendFrame {
        flags: frame_flags::WAITED_FOR,
        ..frame(1, &[])
    };
    bench.send_chain(first, &[span(20); 10]);
    bench.settle();
    assert_eq!(bench.tx.interrupt_at(), 0);
    assert_eq!(bench.complete_sends(), 1);
    assert!(bench.settle());
}
