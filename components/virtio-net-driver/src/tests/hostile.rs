//! A device, and a manager, that say what they like.

use std::collections::BTreeMap;

use nic_api::{
    RX_FREE_OFFSET, ReceiveBuffer, SEND_SPANS, SendFrame, Span, TX_READY_OFFSET, frame_flags,
};
use proptest::prelude::*;
use virtio_queue::{DeviceError, interrupt, status};

use super::bench::{
    Bench, CHECKSUMS, DIRECT, LONG, MTU, SEGMENTS, USUAL, buffer, frame, own_counter, span,
};
use crate::StopReason;

#[test]
fn lies_of_the_device_are_counted_and_survived() {
    for offered in [USUAL, DIRECT] {
        let mut bench = Bench::stocked(offered, 256, 256);
        bench.nic.counters.device_errors = own_counter();
        bench.nic.counters.rx_runt = own_counter();
        let first = |n: u32| if offered == USUAL { n } else { 3 * n };
        let most = 12 + 42 + 2048;
        for (id, len) in [
            (256, 60),
            (u32::MAX, 60),
            (first(3), u32::MAX),
            (first(4), most + 1),
            (first(3), 26),
            (first(5), 0),
            (first(6), 25),
        ] {
            bench.rx.complete(id, len);
        }
        bench.send(frame(0, &[span(60)]));
        bench.settle();
        bench.tx.complete(9, 0);
        bench.settle();
        // Two unknown, two too long, one idle on the other queue; buffer 3
        // was posted again under the same descriptor.
        assert_eq!(bench.nic.counters.device_errors.get(), 5);
        assert_eq!(bench.nic.counters.rx_runt.get(), 2);
        let got = std::iter::from_fn(|| bench.got()).map(|f| (f.id, f.len));
        assert_eq!(got.collect::<Vec<_>>(), [(3, 14)]);
        let mut good = 0;
        while bench.arrive(&[7; 60], 0) && good < 50 {
            good += 1;
            bench.settle();
        }
        assert!(good >= 40, "{good}");
    }
}

#[test]
fn a_device_that_claims_to_write_a_frame_lets_go_of_it() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.device_errors = own_counter();
    let waited = SendFrame {
        flags: frame_flags::WAITED_FOR,
        ..frame(8, &[span(60)])
    };
    bench.send(waited);
    bench.settle();
    let left = bench.sent().expect("a frame");
    bench.tx.complete(left.head.into(), 1);
    assert!(bench.settle());
    assert_eq!(bench.done(), [8]);
    assert_eq!(bench.nic.counters.device_errors.get(), 1);
}

#[test]
fn index_jumps_stop_the_driver_and_reset_the_device() {
    let mut bench = Bench::stocked(USUAL, 256, 256);
    bench.rx.set_used_index(300);
    assert!(matches!(bench.nic.poll(), Err(StopReason::Device(_))));
    assert_eq!(bench.transport.0.borrow().status, 0);
    for offset in [TX_READY_OFFSET, RX_FREE_OFFSET] {
        let mut bench = Bench::new(USUAL, 256);
        bench.control.store32(offset + 64, 5000).unwrap();
        assert!(matches!(bench.nic.poll(), Err(StopReason::Manager(_))));
        assert_eq!(bench.transport.0.borrow().status, 0);
    }
    let bench = &mut Bench::new(USUAL, 256);
    bench.transport.0.borrow_mut().status |= status::NEEDS_RESET;
    assert_eq!(
        bench.nic.interrupt(),
        Ok(()),
        "no word of the configuration"
    );
    bench.transport.0.borrow_mut().interrupt = interrupt::CONFIG;
    assert_eq!(bench.nic.interrupt(), Err(StopReason::NeedsReset));
}

/// Receives a header that claims so many buffers and what follows, each with
/// the bytes that the device claims beyond those it wrote; how that ends.
fn torn(buffers: u16, filled: &[(usize, i32)]) -> Result<(), StopReason> {
    let mut bench = Bench::stocked(USUAL | CHECKSUMS | LONG, 256, 256);
    for (n, &(len, claimed)) in filled.iter().enumerate() {
        let mut bytes = vec![7; len];
        if n == 0 {
            bytes[10..12].copy_from_slice(&buffers.to_le_bytes());
        }
        bench.fill_next(&bytes, claimed);
    }
    let outcome = bench.nic.poll().map(|_| ());
    if outcome.is_err() {
        assert_eq!(bench.transport.0.borrow().status, 0, "the device is reset");
        assert_eq!(bench.got(), None, "nothing of it is handed on");
    }
    outcome
}

#[test]
fn a_device_that_tears_frames_is_stopped() {
    const FULL: (usize, i32) = (12 + 42 + 2048, 0);
    assert_eq!(torn(3, &[FULL, FULL, (1, 0)]), Ok(()));
    let most = [FULL; 64];
    for (n, (buffers, filled)) in [
        (0, &[(60, 0)][..]),
        (65, &[FULL; 65]),
        (u16::MAX, &[FULL]),
        // Fewer than it says.
        (2, &[FULL]),
        (3, &[FULL, FULL]),
        // Not full, empty, or fuller than full.
        (2, &[(60, 0), (60, 0)]),
        (3, &[FULL, (60, 0), (60, 0)]),
        (2, &[FULL, (0, 0)]),
        (2, &[FULL, (60, 2048)]),
        (2, &[FULL, (60, -61)]),
        // Longer than a packet can be.
        (64, &most),
        (32, &most[..32]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(torn(buffers, filled), Err(StopReason::Torn), "lie {n}");
    }
}

#[test]
fn a_device_that_loses_frames_stalls_itself_only() {
    let mut bench = Bench::stocked(USUAL, 4, 4);
    for id in 0..6 {
        bench.send(frame(id, &[span(60)]));
    }
    bench.settle();
    // It completes what there is not, as often as there are chains.
    for _ in 0..4 {
        bench.tx.complete(77, 0);
    }
    bench.settle();
    assert!(bench.arrive(&[1; 60], 0));
    assert!(bench.settle());
    assert_eq!(bench.got().map(|f| f.len), Some(60));
}

/// An entry for which two words decide all that they can.
fn wild(a: u32, b: u32) -> SendFrame {
    let len = |n: u32| {
        if b >> (28 + n) & 1 == 0 {
            b % 1600
        } else {
            a % 60
        }
    };
    let spans: [Span; SEND_SPANS] = [0, 1, 2].map(|n| span(len(n)));
    SendFrame {
        id: a % 300,
        flags: (a >> 24) as u16 & 0x1f,
        count: (b >> 20) as u16 & 3,
        checksum_start: (a >> 8) as u16 % 100,
        checksum_offset: (b >> 8) as u16 % 100,
        segment_bytes: b as u16,
        header_len: a as u16 % 80,
        spans,
    }
}

/// What the device may be told to send, whoever asked for it.
fn assert_sane(left: &super::bench::Left) {
    let len = left.bytes.len();
    assert!(len >= 14 && left.pieces <= nic_api::MOST_SPANS);
    let word = |at: usize| usize::from(left.header[at]) | usize::from(left.header[at + 1]) << 8;
    let limit = if left.header[1] == 0 {
        MTU as usize
    } else {
        65535
    };
    assert!(len - 14 <= limit && left.header[1] <= 1);
    if left.header[0] != 0 {
        assert!(word(6) + word(8) + 2 <= len);
    }
    if left.header[1] != 0 {
        assert!(left.header[0] == 1 && word(2) >= 54 && word(4) >= 1);
        assert!(word(2) + word(4) <= MTU as usize + 14 && word(2) < len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever both sides write, a pass ends, nothing panics, and no two
    /// owners have a buffer: the device never holds one twice, nor a frame.
    #[test]
    fn two_liars_at_once(
        steps in prop::collection::vec((0u8..8, any::<u32>(), any::<u32>()), 1..300),
        indirect: bool,
        long: bool,
    ) {
        let offered = if indirect { USUAL } else { DIRECT } | if long { LONG } else { 0 };
        let mut bench = Bench::new(offered | CHECKSUMS | SEGMENTS, 64);
        let mut posted = BTreeMap::new();
        for (what, a, b) in steps {
            match what {
                0 => { bench.rx.complete(a % 80, b % 3000); posted.remove(&((a % 80) as u16)); }
                1 => bench.tx.complete(a % 80, b % 4),
                2 => {
                    let known = buffer(a % 1100);
                    let entry = ReceiveBuffer { payload_len: 1000 + b % 2000, ..known };
                    let _ = bench.free.push(&entry);
                    let _ = bench.free.publish();
                }
                3 => {
                    let _ = bench.ready.push(&wild(a, b));
                    let _ = bench.ready.publish();
                }
                4 => while let Some((head, chain)) = bench.rx.take() {
                    prop_assert_eq!(chain.len(), 3);
                    // Most often one buffer.
                    let buffers = if b % 8 == 0 { a as u16 % 70 } else { 1 };
                    bench.claim(&chain[0], buffers);
                    let place = (chain[1].paddr, chain[2].paddr);
                    posted.remove(&head);
                    prop_assert!(posted.values().all(|p| *p != place), "{:?} twice", place);
                    posted.insert(head, place);
                },
                5 => {
                    while bench.got().is_some() {}
                    bench.done();
                }
                6 => while let Some(left) = bench.sent() {
                    assert_sane(&left);
                    if b & 1 == 0 {
                        bench.tx.complete(left.head.into(), 0);
                    }
                },
                _ => match bench.nic.poll() {
                    Ok(_) => {}
                    Err(StopReason::Device(DeviceError::IndexJump { .. })) => return Ok(()),
                    Err(StopReason::Torn) if long => return Ok(()),
                    Err(other) => prop_assert!(false, "{other}"),
                },
            }
        }
    }
}
