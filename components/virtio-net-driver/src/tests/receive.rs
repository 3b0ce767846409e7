//! Frames from the device to the manager, and their buffers back.

use nic_api::{HEADER_SPLIT, IDS, RX_FILLED, ReceiveBuffer, frame_flags};

use super::bench::{Bench, CHECKSUMS, DIRECT, LONG, MTU, USUAL, buffer, own_counter};

#[test]
fn frames_arrive_with_their_marks_and_one_signal() {
    let mut bench = Bench::stocked(USUAL | CHECKSUMS, 256, 256);
    for (n, flags) in [0u8, 1, 2, 3].into_iter().enumerate() {
        assert!(bench.arrive(&[n as u8; 60], flags));
    }
    assert!(bench.settle());
    let marks = [
        0,
        frame_flags::NEEDS_CHECKSUM,
        frame_flags::CHECKSUM_VALID,
        frame_flags::NEEDS_CHECKSUM,
    ];
    for (n, flags) in marks.into_iter().enumerate() {
        let got = bench.got().expect("a frame");
        assert_eq!((got.len, got.flags, got.following), (60, flags.into(), 0));
        let (front, back) = bench.parts(got.id, 42, 18);
        assert_eq!([front, back].concat(), [n as u8; 60]);
    }
    assert_eq!(bench.got(), None);
}

#[test]
fn marks_that_were_not_agreed_on_are_not_read() {
    let mut bench = Bench::stocked(USUAL, 256, 256);
    assert!(bench.arrive(&[0; 60], 3));
    bench.settle();
    assert_eq!(bench.got().map(|f| f.flags), Some(0));
}

#[test]
fn what_is_behind_the_headers_lies_apart() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::stocked(offered, 256, 20);
        let split = HEADER_SPLIT as usize;
        for len in [14, split - 1, split, split + 1, 60, MTU as usize + 14] {
            let frame: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
            assert!(bench.arrive(&frame, 0));
            assert_eq!(bench.rx.was_indirect(), offered == USUAL);
            bench.settle();
            let got = bench.got().expect("a frame");
            assert_eq!(got.len as usize, len);
            let front = len.min(split);
            let (first, rest) = bench.parts(got.id, front, len - front);
            assert_eq!([first, rest].concat(), frame, "{len} bytes");
        }
    }
}

/// The bytes of the next frame that the driver handed on, and its buffers.
fn assembled(bench: &mut Bench) -> (Vec<u8>, Vec<u32>) {
    let first = bench.got().expect("a frame");
    let (front, back) = bench.parts(first.id, 42, 2048);
    let (mut bytes, mut ids) = ([front, back].concat(), vec![first.id]);
    bytes.truncate(first.len as usize);
    let rest: Vec<_> = (0..first.following)
        .map(|_| bench.filled.pop().unwrap().expect("the rest"))
        .collect();
    let mut take = |id, start: &[u8]| {
        let (front, back) = bench.parts(id, 42, 2048);
        let mut all = [start, &front, &back].concat();
        all.truncate(first.len as usize - bytes.len());
        bytes.extend(all);
    };
    for entry in rest {
        take(entry.id, &entry.start());
        ids.push(entry.id);
    }
    (bytes, ids)
}

#[test]
fn long_frames_come_in_as_many_buffers_as_they_take() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::stocked(offered | CHECKSUMS | LONG, 256, 256);
        for (len, buffers) in [
            (60, 1),
            (MTU as usize + 15, 1),
            (42 + 2048, 1),
            (42 + 2048 + 1, 2),
            (42 + 2048 + 12, 2),
            (42 + 2048 + 2102, 2),
            (42 + 2048 + 2103, 3),
            (65549, 32),
        ] {
            let frame: Vec<u8> = (0..len).map(|n| ((n * 7) >> 3) as u8).collect();
            bench.arrive_long(&frame, 1, 0);
            bench.settle();
            let (bytes, ids) = assembled(&mut bench);
            assert!(bytes == frame, "{len} bytes");
            assert_eq!(ids.len(), buffers, "{len} bytes");
            assert_eq!(bench.got(), None);
            for id in ids {
                bench.give(buffer(id));
            }
            bench.settle();
        }
    }
}

#[test]
fn a_long_frame_that_the_manager_has_no_room_for_costs_it_its_buffers() {
    let mut bench = Bench::stocked(USUAL | CHECKSUMS | LONG, 256, 256);
    bench.nic.counters.rx_no_room = own_counter();
    // A manager that says it took nothing, whatever it took.
    for n in 0..RX_FILLED.capacity / 3 + 1 {
        bench.arrive_long(&[0; 5000], 1, 0);
        bench.settle();
        let mut got = 0;
        while let Some(entry) = bench.got() {
            got += 1;
            bench.give(buffer(entry.id));
        }
        assert_eq!(got, if n < RX_FILLED.capacity / 3 { 3 } else { 0 });
        let head = nic_api::RX_FILLED_OFFSET + 128;
        bench.control.store32(head, 0).unwrap();
        bench.settle();
    }
    assert_eq!(bench.nic.counters.rx_no_room.get(), 1);
}

#[test]
fn receive_buffers_go_round() {
    // A queue that all buffers fit, and some that they do not.
    for (offered, size, buffers) in [
        (USUAL, 256, 256),
        (USUAL, 256, IDS),
        (USUAL, 4, IDS),
        (DIRECT, 256, 256),
        (DIRECT, 64, 256),
        (DIRECT, 4, 7),
        (USUAL, 256, 1),
    ] {
        let mut bench = Bench::stocked(offered, size, buffers);
        let mut seen = vec![0; buffers as usize];
        for n in 0..3000u32 {
            assert!(
                bench.arrive(&n.to_le_bytes().repeat(16), 0),
                "{n} of {size}"
            );
            bench.settle();
            let got = bench.got().expect("a frame");
            assert_eq!(bench.parts(got.id, 4, 0).0, n.to_le_bytes());
            seen[got.id as usize] += 1;
            if bench.give(buffer(got.id)) {
                bench.settle();
            }
        }
        assert!(seen.iter().all(|n| *n != 0), "each is used");
    }
}

#[test]
fn as_many_are_posted_as_the_queue_takes() {
    for (offered, size, buffers, posted) in [
        (USUAL, 256, 1000, 256),
        (DIRECT, 256, 1000, 85),
        (USUAL, 256, 100, 100),
        (DIRECT, 4, 100, 1),
    ] {
        let mut bench = Bench::stocked(offered, size, buffers);
        let taken = std::iter::from_fn(|| bench.rx.take()).count();
        assert_eq!(taken, posted);
        assert_eq!(bench.nic.rx.posted() as usize, posted);
    }
}

#[test]
fn the_manager_is_asked_for_buffers_when_they_run_short() {
    let mut bench = Bench::new(USUAL, 256);
    bench.settle();
    assert!(bench.give(buffer(0)), "there is none at first");
    for id in 1..256 {
        bench.give(buffer(id));
    }
    bench.settle();
    let mut held = Vec::new();
    while bench.arrive(&[0; 60], 0) {
        bench.settle();
        held.extend(bench.got());
        let asked = bench.control.load32(nic_api::RX_FREE_OFFSET + 132).unwrap() != 0;
        // Half of them, and what the flag was before.
        if held.len() < 128 {
            bench
                .control
                .store32(nic_api::RX_FREE_OFFSET + 132, 0)
                .unwrap();
        }
        assert!(asked || held.len() <= 128, "{}", held.len());
    }
    assert_eq!(held.len(), 256);
    assert!(bench.give(buffer(held[0].id)), "the driver waits for it");
    bench.settle();
    assert!(bench.arrive(&[0; 60], 0));
}

#[test]
fn runts_keep_their_buffers() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::stocked(offered, 4, 1);
        bench.nic.counters.rx_runt = own_counter();
        for len in [0, 11, 12, 25, MTU + 12 + 15, 12 + 42 + 2048] {
            let (head, chain) = bench.rx.take().expect("the buffer");
            let expect = [(buffer(0).header, 42), (buffer(0).payload, 2048)];
            let places = chain[1..].iter().map(|s| (s.paddr, s.len));
            assert!(places.eq(expect), "as it was");
            bench.rx.complete(head.into(), len);
            assert!(!bench.settle());
            assert_eq!(bench.got(), None, "{len}");
        }
        assert_eq!(bench.nic.counters.rx_runt.get(), 6);
        assert!(bench.arrive(&[1; 14], 0));
        bench.settle();
        assert_eq!(bench.got().map(|f| (f.id, f.len)), Some((0, 14)));
    }
}

#[test]
fn buffers_that_the_manager_must_not_give_are_refused() {
    let mut bench = Bench::stocked(USUAL, 256, 100);
    bench.nic.counters.manager_refused = own_counter();
    assert!(bench.arrive(&[0; 60], 0));
    bench.settle();
    let held = bench.got().expect("a frame").id;
    let least = MTU + 14 - HEADER_SPLIT;
    let sized = |id, payload_len| ReceiveBuffer {
        payload_len,
        ..buffer(id)
    };
    for entry in [
        buffer(held),
        buffer(held),
        buffer(50),
        sized(IDS, 2048),
        sized(u32::MAX, 2048),
        sized(200, 0),
        sized(201, least - 1),
        sized(202, least),
        sized(203, u32::MAX),
    ] {
        bench.give(entry);
    }
    bench.settle();
    assert_eq!(bench.nic.counters.manager_refused.get(), 6);
    assert_eq!(bench.nic.rx.posted(), 102);
}

#[test]
fn frames_that_the_manager_has_no_room_for_are_dropped() {
    let mut bench = Bench::stocked(USUAL, 256, 256);
    bench.nic.counters.rx_no_room = own_counter();
    // A manager that says it took nothing, whatever it took.
    for n in 0..RX_FILLED.capacity + 5 {
        assert!(bench.arrive(&[0; 60], 0));
        bench.settle();
        if let Some(got) = bench.got() {
            bench.give(buffer(got.id));
        } else {
            assert!(n >= RX_FILLED.capacity);
        }
        let head = nic_api::RX_FILLED_OFFSET + 128;
        bench.control.store32(head, 0).unwrap();
    }
    assert_eq!(bench.nic.counters.rx_no_room.get(), 5);
    // The last one given back is fetched once more are missing.
    assert_eq!(bench.nic.rx.posted(), 255);
}
