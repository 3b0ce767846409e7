//! What a stream sends again, to a peer that says what it has.
//!
//! Invariant: what is missing is sent again, once for each time that it is
//! known to be lost, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};
use socket_api::Op;
use support::segments::{Hand, frame, segment};
use support::*;

const SEGMENT: u32 = 1460;

/// A connection whose peer acknowledges selectively, or not, with the bytes of
/// a region to send, and round trips of 10 ms.
struct Line {
    w: World,
    hand: Hand,
    /// The number of the first byte that the test counts, where it is in the
    /// region, and how many are queued from there.
    start: u32,
    base: u32,
    queued: u32,
    selective: bool,
}

/// A segment that was sent: its place in the stream, length and FIN.
type Sent = (u32, u32, bool);

impl Line {
    fn new(selective: bool) -> Self {
        Self::with(selective, 65535, None)
    }

    /// With a send buffer of so many bytes and a peer that shifts its windows.
    fn with(selective: bool, buffer: usize, shift: Option<u8>) -> Self {
        let mut w = World::new(Config {
            tcp_receive_window: 65535,
            tcp_send_buffer: buffer,
            ..small()
        });
        w.listen(0, 7, 8);
        let hand = Hand::open_offering(&mut w, 40000, 1, 10, (1460, selective, shift));
        let data = pattern(100_000, 1);
        w.region()[..100_000].copy_from_slice(&data);
        let start = hand.theirs;
        Self {
            w,
            hand,
            start,
            base: 0,
            queued: 0,
            selective,
        }
    }

    /// Sends so many bytes; what goes at once.
    fn send(&mut self, len: u32) -> Vec<Sent> {
        let at = self.base + self.queued;
        self.w.submit(World::send(10, at, len));
        self.queued += len;
        self.w.run_server();
        self.sent()
    }

    fn sent(&mut self) -> Vec<Sent> {
        let frames: Vec<_> = self.w.env.from_server.drain(..).collect();
        let seen = |frame: &Vec<u8>| {
            let s = segment(frame)?;
            let at = (s.seq_number.0 as u32).wrapping_sub(self.start);
            let from = self.base.wrapping_add(at) as usize;
            let bytes = &self.w.env.regions[&0][from..][..s.payload.len()];
            assert!(s.payload == bytes, "other bytes at {at}");
            Some((at, s.payload.len() as u32, s.control == TcpControl::Fin))
        };
        let sent = frames.iter().filter_map(seen);
        sent.filter(|(_, len, fin)| *len != 0 || *fin).collect()
    }

    /// The peer has what is before `before`, and a block.
    fn acknowledge(&mut self, before: u32, block: Option<(u32, u32)>) -> Vec<Sent> {
        let number = |at: u32| self.start.wrapping_add(at);
        let block = block.map(|(from, to)| (number(from), number(to)));
        let repr = TcpRepr {
            ack_number: Some(TcpSeqNumber(number(before) as i32)),
            sack_ranges: [block.filter(|_| self.selective), None, None],
            ..self.hand.repr(0, &[])
        };
        self.w.env.to_server.push_back(frame(&repr));
        self.w.run_server();
        self.sent()
    }

    /// The peer has what is before `before`, and sends bytes from a place in its
    /// own stream on.
    fn peer_sends(&mut self, before: u32, (at, bytes): (u32, &[u8])) {
        let ack = self.start.wrapping_add(before);
        let repr = TcpRepr {
            ack_number: Some(TcpSeqNumber(ack as i32)),
            ..self.hand.repr(at, bytes)
        };
        self.w.env.to_server.push_back(frame(&repr));
        self.w.run_server();
    }

    fn wait(&mut self, us: u64) -> Vec<Sent> {
        self.w.step(us);
        self.sent()
    }

    /// A round trip is known.
    fn warm(&mut self) {
        self.send(SEGMENT);
        self.wait(10_000);
        self.acknowledge(SEGMENT, None);
        self.count_from(SEGMENT);
    }

    /// All before this is acknowledged.
    fn count_from(&mut self, at: u32) {
        self.start = self.start.wrapping_add(at);
        self.base += at;
        self.queued -= at;
    }
}

fn segments(numbers: impl IntoIterator<Item = u32>) -> Vec<Sent> {
    let sent = numbers.into_iter().map(|n| (n * SEGMENT, SEGMENT, false));
    sent.collect()
}

#[test]
fn a_connection_begins_with_ten_segments() {
    let mut line = Line::new(true);
    assert_eq!(line.send(30 * SEGMENT), segments(0..10));
    line.wait(10_000);
    // One more for each that has arrived, and that one.
    assert_eq!(line.acknowledge(2 * SEGMENT, None), segments(10..14));
}

#[test]
fn segments_are_whole_whatever_the_peer_shifts_its_windows_by() {
    for (shift, buffer) in [(10, 65535), (14, 65536), (7, 262_144)] {
        let mut line = Line::with(true, buffer, Some(shift));
        line.hand.window = (1 << 18 >> shift) as u16;
        line.acknowledge(0, None);
        assert_eq!(line.send(60 * SEGMENT), segments(0..10), "{shift}");
        line.wait(10_000);
        let more = line.acknowledge(10 * SEGMENT, None);
        assert_eq!(more, segments(10..30), "{shift}");
        line.wait(10_000);
        // What the send buffer has.
        let most = (60 * SEGMENT).min(30 * SEGMENT + buffer as u32);
        let sent: u32 = line
            .acknowledge(30 * SEGMENT, None)
            .iter()
            .map(|s| s.1)
            .sum();
        assert_eq!(30 * SEGMENT + sent, most, "{shift}");
        // A window that is smaller than what shifting shows is still one.
        line.hand.window = 1;
        let rest = line.acknowledge(60 * SEGMENT, None);
        assert!(rest.is_empty());
        line.count_from(60 * SEGMENT);
        let within: u32 = line.send(20 * SEGMENT).iter().map(|s| s.1).sum();
        assert_eq!(within, (1u32 << shift).min(20 * SEGMENT), "{shift}");
    }
}

#[test]
fn what_others_overtake_is_sent_again_and_nothing_else() {
    let mut line = Line::new(true);
    line.warm();
    assert_eq!(line.send(8 * SEGMENT), segments(0..8));
    line.wait(10_000);
    // 0 and 3 are lost.
    assert!(line.acknowledge(0, Some((SEGMENT, 2 * SEGMENT))).is_empty());
    assert!(line.acknowledge(0, Some((SEGMENT, 3 * SEGMENT))).is_empty());
    let block = Some((4 * SEGMENT, 5 * SEGMENT));
    assert_eq!(line.acknowledge(0, block), segments([0]));
    let block = Some((4 * SEGMENT, 8 * SEGMENT));
    assert_eq!(line.acknowledge(0, block), segments([3]));
    line.wait(10_000);
    assert!(line.acknowledge(3 * SEGMENT, block).is_empty());
    assert!(line.acknowledge(8 * SEGMENT, None).is_empty());
    assert!(line.wait(5_000_000).is_empty());
    assert_eq!(line.w.count(Counter::SentAgain), 2);
}

#[test]
fn what_is_lost_again_is_sent_again_when_what_was_sent_later_arrives() {
    let mut line = Line::new(true);
    line.warm();
    line.send(8 * SEGMENT);
    line.wait(10_000);
    let block = |to: u32| Some((SEGMENT, to * SEGMENT));
    assert_eq!(line.acknowledge(0, block(7)), segments([0]));
    // The retransmission is lost; the last of the first flight is later.
    assert!(line.acknowledge(0, block(8)).is_empty());
    assert_eq!(line.send(2 * SEGMENT), segments(8..10));
    line.wait(10_000);
    assert_eq!(line.acknowledge(0, block(10)), segments([0]));
    assert!(line.acknowledge(10 * SEGMENT, None).is_empty());
    assert!(line.wait(5_000_000).is_empty());
}

#[test]
fn what_is_only_late_is_not_sent_again() {
    let mut line = Line::new(true);
    line.warm();
    line.send(2 * SEGMENT);
    line.wait(10_000);
    assert!(line.acknowledge(0, Some((SEGMENT, 2 * SEGMENT))).is_empty());
    // A quarter of a round trip is not over yet.
    assert!(line.wait(2000).is_empty());
    assert!(line.acknowledge(2 * SEGMENT, None).is_empty());
    assert!(line.wait(5_000_000).is_empty());
    // It is this time.
    line.send(2 * SEGMENT);
    line.wait(10_000);
    let block = Some((3 * SEGMENT, 4 * SEGMENT));
    assert!(line.acknowledge(2 * SEGMENT, block).is_empty());
    assert_eq!(line.wait(4000), segments([2]));
}

#[test]
fn a_lost_tail_is_probed_and_then_all_of_it_sent_again() {
    let mut line = Line::new(true);
    line.warm();
    assert_eq!(line.send(4 * SEGMENT), segments(0..4));
    line.wait(10_000);
    assert!(line.acknowledge(SEGMENT, None).is_empty());
    // Two round trips of silence: less than the 200 ms of a timeout.
    let probe = line.wait(21_000);
    assert_eq!(probe, segments([3]));
    line.wait(10_000);
    let block = Some((3 * SEGMENT, 4 * SEGMENT));
    assert_eq!(line.acknowledge(SEGMENT, block), segments([1, 2]));
}

#[test]
fn the_waiting_time_is_taken_back_when_something_is_acknowledged() {
    let mut line = Line::new(true);
    line.warm();
    line.send(SEGMENT);
    // 211 ms, a little more for the variation, and twice, four times that.
    for ms in [250, 500, 1000] {
        assert_eq!(line.wait(ms * 1000), segments([0]), "{ms}");
    }
    assert!(line.acknowledge(SEGMENT, None).is_empty());
    line.count_from(SEGMENT);
    line.send(SEGMENT);
    assert_eq!(line.wait(250_000), segments([0]));
}

#[test]
fn three_that_say_the_same_are_enough_where_there_are_no_blocks() {
    let mut line = Line::new(false);
    line.warm();
    line.send(6 * SEGMENT);
    line.wait(10_000);
    for _ in 0..2 {
        assert!(line.acknowledge(0, None).is_empty());
    }
    assert_eq!(line.acknowledge(0, None), segments([0]));
    assert!(line.acknowledge(0, None).is_empty());
    // 3 is lost, too (RFC 6582, 3.2).
    line.wait(10_000);
    assert_eq!(line.acknowledge(3 * SEGMENT, None), segments([3]));
    assert!(line.acknowledge(6 * SEGMENT, None).is_empty());
    assert!(line.wait(5_000_000).is_empty());
}

#[test]
fn a_fin_is_sent_again_with_what_is_before_it() {
    for selective in [true, false] {
        let mut line = Line::new(selective);
        line.warm();
        line.send(100);
        let mut shutdown = socket_api::Request::new(Op::Shutdown, 10, 0);
        shutdown.arg = 2;
        line.w.submit(shutdown);
        line.w.run_server();
        assert_eq!(line.sent(), [(100, 0, true)]);
        let again = line.wait(250_000);
        assert_eq!(again.first(), Some(&(0, 100, true)), "{selective}");
        // The bytes have arrived: the FIN alone.
        line.acknowledge(100, None);
        assert!(line.wait(250_000).contains(&(100, 0, true)));
        assert!(line.acknowledge(101, None).is_empty());
        assert!(line.wait(5_000_000).is_empty());
    }
}

#[test]
fn blocks_that_cannot_be_are_not_believed() {
    let mut line = Line::new(true);
    line.warm();
    line.send(4 * SEGMENT);
    line.wait(10_000);
    let far = 40 * SEGMENT;
    for block in [(far, far + 1), (3, 2), (0, 4 * SEGMENT + 1), (u32::MAX, 5)] {
        assert!(line.acknowledge(0, Some(block)).is_empty(), "{block:?}");
    }
    // What the peer threw away again is sent all the same (RFC 2018, 8).
    line.acknowledge(0, Some((SEGMENT, 4 * SEGMENT)));
    line.wait(10_000);
    line.acknowledge(SEGMENT, None);
    let mut again = vec![];
    for _ in 0..10 {
        again.extend(line.wait(300_000));
    }
    assert!(again.contains(&(SEGMENT, SEGMENT, false)), "{again:?}");
}

/// smoltcp does not hear a segment outside of the window; no more do we.
#[test]
fn what_an_old_segment_acknowledges_is_asked_for_again() {
    let mut line = Line::new(true);
    line.warm();
    line.peer_sends(0, (0, &[1; 100]));
    assert_eq!(line.send(100), [(0, 100, false)]);
    let token = line.w.token;
    // The peer has them, but our acknowledgement was lost: its bytes come again.
    line.peer_sends(100, (0, &[1; 100]));
    assert!(line.sent().is_empty() && line.w.completion(token).is_none());
    assert!(line.wait(250_000).contains(&(0, 100, false)));
    line.peer_sends(100, (100, &[]));
    ok(&line.w.completion(token).expect("acknowledged"));
}
