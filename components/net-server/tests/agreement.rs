//! The received bytes of a stream against smoltcp itself, with real payload.
//!
//! Problem: the server files payload as it thinks that smoltcp takes it.
//! Invariant: whatever segments come, the bytes that a receive gets are those
//! that a smoltcp socket would have delivered, and the peer is told the same
//! number and window, at the latest when smoltcp would tell it.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use std::collections::VecDeque;

use net_server::{Config, Counter};
use proptest::prelude::*;
use smoltcp::wire::{TcpControl, TcpSeqNumber};
use socket_api::flags;
use support::reference::Reference;
use support::segments::{Hand, frame, segment};
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

/// What a host was told last: the number expected next, and the window.
type Told = Option<(TcpSeqNumber, u16)>;

/// Takes what was sent, and notes what it told.
fn hear(told: &mut Told, sent: &mut VecDeque<Vec<u8>>) {
    for frame in sent.drain(..) {
        if let Some(repr) = segment(&frame) {
            *told = repr.ack_number.map(|ack| (ack, repr.window_len)).or(*told);
        }
    }
}

/// The server and what it is compared with, at the same time.
struct Both {
    w: World,
    hand: Hand,
    reference: Reference,
    told: [Told; 2],
    /// Bytes read, and where the last segment ended.
    delivered: u32,
    behind: u32,
}

impl Both {
    fn new(first: u32) -> Self {
        let mut w = World::new(Config {
            tcp_receive_window: WINDOW,
            ..small()
        });
        w.listen(0, 7, 8);
        let mut reference = Reference::new(WINDOW, first, w.now_us);
        reference.wire.sent.clear();
        let hand = Hand::open(&mut w, 40000, first, 10);
        Self {
            w,
            hand,
            reference,
            told: [None; 2],
            delivered: 0,
            behind: 0,
        }
    }

    /// The same segment to both.
    fn send(&mut self, offset: Option<i32>, bytes: &[u8], control: TcpControl, off: i32) {
        let at = offset.map_or(self.behind, |o| self.delivered.wrapping_add(o as u32));
        self.behind = at.wrapping_add(bytes.len() as u32);
        let build = |hand: &Hand| {
            let mut repr = hand.repr(at, bytes);
            repr.control = control;
            repr.ack_number = repr.ack_number.map(|a| TcpSeqNumber(a.0.wrapping_add(off)));
            frame(&repr)
        };
        self.w.env.to_server.push_back(build(&self.hand));
        let theirs = build(&self.reference.hand);
        self.reference.wire.received.push_back(theirs);
    }

    /// Both do what there is to do, and must have told the same after it. A
    /// receiver may acknowledge earlier than it must, and the server does so
    /// for a train: smoltcp has its delay cut short then, but only then, so
    /// that both windows end at the same number whatever is read next.
    fn settle(&mut self) {
        self.w.run_server();
        self.reference.run(self.w.now_us);
        hear(&mut self.told[0], &mut self.w.env.from_server);
        hear(&mut self.told[1], &mut self.reference.wire.sent);
        if self.told[0] != self.told[1] {
            self.reference.acknowledge(self.w.now_us);
            hear(&mut self.told[1], &mut self.reference.wire.sent);
        }
        assert_eq!(self.told[0], self.told[1], "told by the server, by smoltcp");
        assert_eq!(self.w.count(Counter::OutOfStep), 0);
    }

    /// Reads from both, which must be the same.
    fn read(&mut self, most: usize) {
        let mut recv = World::recv(10, 500_000, most as u32);
        recv.flags = flags::NO_WAIT;
        let token = self.w.submit(recv);
        self.w.run_server();
        let got = self.w.completion(token).unwrap().len as usize;
        let expected = self.reference.read(most, self.w.now_us);
        assert_eq!(self.w.region()[500_000..500_000 + got], expected[..]);
        self.delivered += got as u32;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_server_delivers_what_smoltcp_would(
        steps in proptest::collection::vec(step(), 1..120),
        first in prop_oneof![Just(1u32), Just(u32::MAX - 3000)],
    ) {
        let mut both = Both::new(first);
        for (i, step) in steps.iter().enumerate() {
            both.w.now_us += 10;
            match step {
                Step::Segment(offset, len, control, off, more) => {
                    both.send(*offset, &pattern(*len, i as u64), *control, *off);
                    if *more {
                        continue;
                    }
                }
                Step::Read(most) => {
                    both.settle();
                    both.read(*most);
                }
                Step::Wait(us) => both.w.now_us += us,
            }
            both.settle();
        }
        both.settle();
        both.read(WINDOW);
    }
}
