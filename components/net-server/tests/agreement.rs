//! The received bytes of a stream against smoltcp itself, with real payload.
//!
//! Problem: the server files payload as it thinks that smoltcp takes it.
//! Invariant: whatever segments come, the bytes that a receive gets are those
//! that a smoltcp socket would have delivered.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use proptest::prelude::*;
use smoltcp::wire::TcpControl;
use socket_api::flags;
use support::reference::Reference;
use support::segments::{Hand, frame};
use support::*;

const WINDOW: usize = 4096;

#[derive(Clone, Debug)]
enum Step {
    /// So far from the next byte in order, or behind the last segment; so
    /// long; with what control; how far the acknowledgement is off; and
    /// whether the next one comes at the same time.
    Segment(Option<i32>, usize, TcpControl, i32, bool),
    Read(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![
        6 => Just(None),
        3 => Just(Some(0i32)),
        3 => (0..600i32).prop_map(Some),
        2 => (-300..5000i32).prop_map(Some),
        1 => (3800..4200i32).prop_map(Some),
    ];
    let control = prop_oneof![
        30 => Just(TcpControl::None),
        10 => Just(TcpControl::Psh),
        1 => Just(TcpControl::Syn),
    ];
    let off =
        prop_oneof![20 => Just(0i32), 1 => Just(-1i32), 1 => Just(1i32), 1 => Just(70_000i32)];
    let len = prop_oneof![4 => 1..300usize, 2 => 300..1460usize, 1 => Just(0usize)];
    prop_oneof![
        8 => (offset, len, control, off, any::<bool>())
            .prop_map(|(o, l, c, a, more)| Step::Segment(o, l, c, a, more)),
        2 => prop_oneof![1..200usize, Just(WINDOW)].prop_map(Step::Read),
        1 => (1000..300_000u64).prop_map(Step::Wait),
    ]
}

/// Reads from both, which must be the same.
fn read(w: &mut World, reference: &mut Reference, most: usize) -> usize {
    let mut recv = World::recv(10, 500_000, most as u32);
    recv.flags = flags::NO_WAIT;
    let token = w.submit(recv);
    w.run_server();
    let got = w.completion(token).unwrap().len as usize;
    let expected = reference.read(most, w.now_us);
    assert_eq!(w.region()[500_000..500_000 + got], expected[..]);
    got
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_server_delivers_what_smoltcp_would(
        steps in proptest::collection::vec(step(), 1..120),
        first in prop_oneof![Just(1u32), Just(u32::MAX - 3000)],
    ) {
        let mut w = World::new(Config { tcp_receive_window: WINDOW, ..small() });
        w.listen(0, 7, 8);
        let mut reference = Reference::new(WINDOW, first, w.now_us);
        let hand = Hand::open(&mut w, 40000, first, 10);
        let (mut delivered, mut behind) = (0, 0u32);
        for (i, step) in steps.iter().enumerate() {
            w.now_us += 10;
            match step {
                Step::Segment(offset, len, control, off, more) => {
                    let bytes = pattern(*len, i as u64);
                    let at = match offset {
                        None => behind,
                        Some(offset) => (delivered as u32).wrapping_add(*offset as u32),
                    };
                    behind = at.wrapping_add(*len as u32);
                    let build = |hand: &Hand| {
                        let mut repr = hand.repr(at, &bytes);
                        repr.control = *control;
                        repr.ack_number = repr.ack_number.map(|a| {
                            smoltcp::wire::TcpSeqNumber(a.0.wrapping_add(*off))
                        });
                        frame(&repr)
                    };
                    w.env.to_server.push_back(build(&hand));
                    reference.wire.received.push_back(build(&reference.hand));
                    if *more {
                        continue;
                    }
                }
                Step::Read(most) => {
                    w.run_server();
                    reference.run(w.now_us);
                    delivered += read(&mut w, &mut reference, *most);
                }
                Step::Wait(us) => w.now_us += us,
            }
            w.run_server();
            reference.run(w.now_us);
            w.env.from_server.clear();
            reference.wire.sent.clear();
            prop_assert_eq!(w.count(Counter::OutOfStep), 0);
        }
        w.run_server();
        reference.run(w.now_us);
        read(&mut w, &mut reference, WINDOW);
    }
}
