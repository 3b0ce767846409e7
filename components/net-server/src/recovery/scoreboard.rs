//! What is on its way, and what of it has arrived (RFC 2018, RFC 6675).
//!
//! Problem: a peer says which bytes it has in blocks of its own choosing, and
//! what is not among them may be lost or only late. Invariant: the ranges are
//! in order, without gaps, and cover the bytes from the first one that is not
//! acknowledged to the last one that was sent. There are at most [`MOST`]: what
//! would need more is not told apart, and is sent again rather than forgotten.
//! No bytes are here, only their numbers, which wrap around; those that are
//! compared are closer than a send buffer is long.

use alloc::vec::Vec;

use crate::outflow::distance;

/// Ranges at most. A send buffer of 64 KiB is 45 segments of 1460 bytes.
const MOST: usize = 64;

/// Bytes of heap of one connection's.
pub(crate) const HEAP_BYTES: usize = MOST * size_of::<Range>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not heard of since it was sent.
    Sent,
    /// The peer has it (RFC 2018).
    Sacked,
    /// To be sent again.
    Lost,
}

/// Bytes that were sent together and have fared alike.
#[derive(Clone, Copy, Debug)]
struct Range {
    seq: u32,
    end: u32,
    state: State,
    /// Sent more than once.
    again: bool,
    /// When it was sent last, in microseconds.
    at: u64,
}

impl Range {
    /// Whether this and what follows it need not be told apart.
    fn is_like(&self, next: &Self) -> bool {
        self.state == next.state
            && match self.state {
                State::Sent => self.at == next.at && self.again == next.again,
                State::Sacked | State::Lost => true,
            }
    }

    /// Whether it was sent before something else (RFC 8985, 6.1).
    fn is_before(&self, (at, end): (u64, u32)) -> bool {
        self.at < at || (self.at == at && distance(end, self.end) > 0)
    }
}

/// Some bytes, by their first number and the one behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub seq: u32,
    pub end: u32,
}

/// What an acknowledgement tells of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// Bytes of the stream, in order.
    pub bytes: u32,
    /// Of what was sent last: when, the number behind it, and whether it had
    /// been sent before.
    pub last: Option<(u64, u32, bool)>,
    /// When the last of what was sent once was sent.
    pub once: Option<u64>,
    /// Something that was sent once came after what was sent later.
    pub reordered: bool,
}

/// The ranges of one connection.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    ranges: Vec<Range>,
    /// The first byte that is not acknowledged, and the one behind the last
    /// that was sent.
    pub una: u32,
    pub next: u32,
    /// The number behind the furthest that has arrived.
    furthest: u32,
    /// A range is not just [`State::Sent`].
    marked: bool,
}

impl Scoreboard {
    /// Takes its memory.
    pub fn new() -> Self {
        Self {
            ranges: Vec::with_capacity(MOST),
            una: 0,
            next: 0,
            furthest: 0,
            marked: false,
        }
    }

    /// Nothing is on its way; the next byte has this number.
    pub fn begin(&mut self, next: u32) {
        self.ranges.clear();
        (self.una, self.next, self.furthest) = (next, next, next);
        self.marked = false;
    }

    /// Whether nothing is on its way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes that were sent and are not acknowledged.
    #[inline]
    pub fn flight(&self) -> u32 {
        self.next.wrapping_sub(self.una)
    }

    /// Bytes of them that may still be on the line (RFC 6675, 4).
    #[inline]
    pub fn pipe(&self) -> u32 {
        if !self.marked {
            return self.flight();
        }
        let sent = self.ranges.iter().filter(|r| r.state == State::Sent);
        sent.map(|r| r.end.wrapping_sub(r.seq)).sum()
    }

    /// Bytes of them that the peer is not known to have.
    #[inline]
    pub fn missing(&self) -> u32 {
        if !self.marked {
            return self.flight();
        }
        let missing = self.ranges.iter().filter(|r| r.state != State::Sacked);
        missing.map(|r| r.end.wrapping_sub(r.seq)).sum()
    }

    /// Whether something has arrived out of order, or is lost.
    #[inline]
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// Whether something is to be sent again.
    pub fn has_lost(&self) -> bool {
        self.marked && self.ranges.iter().any(|r| r.state == State::Lost)
    }

    /// The bytes up to `end` were sent.
    #[inline]
    pub fn sent(&mut self, end: u32, now: u64) {
        let new = Range {
            seq: self.next,
            end,
            state: State::Sent,
            again: false,
            at: now,
        };
        self.next = end;
        let full = self.ranges.len() == MOST;
        match self.ranges.last_mut() {
            Some(last) if last.is_like(&new) => last.end = end,
            Some(last) if full => {
                *last = Range {
                    seq: last.seq,
                    ..new
                };
            }
            _ => self.ranges.push(new),
        }
    }

    /// All bytes before `ack` have arrived.
    #[inline]
    pub fn acknowledge(&mut self, ack: u32, arrived: &mut Arrived) {
        arrived.bytes = ack.wrapping_sub(self.una);
        self.una = ack;
        if let [range] = self.ranges[..]
            && range.end == ack
        {
            self.note(range, arrived);
            self.ranges.clear();
            (self.furthest, self.marked) = (ack, false);
            return;
        }
        self.acknowledge_some(ack, arrived);
    }

    fn acknowledge_some(&mut self, ack: u32, arrived: &mut Arrived) {
        let mut whole = 0;
        while let Some(&range) = self.ranges.get(whole) {
            if distance(ack, range.seq) <= 0 {
                break;
            }
            let part = distance(ack, range.end) < 0;
            if range.state != State::Sacked {
                let end = if part { ack } else { range.end };
                self.note(Range { end, ..range }, arrived);
            }
            if part {
                self.ranges[whole].seq = ack;
                break;
            }
            whole += 1;
        }
        self.ranges.drain(..whole);
        if distance(ack, self.next) > 0 {
            self.next = ack;
        }
        if distance(ack, self.furthest) > 0 {
            self.furthest = ack;
        }
        if self.marked {
            self.marked = self.ranges.iter().any(|r| r.state != State::Sent);
        }
    }

    /// The peer has these bytes, perhaps without some before them. What cannot
    /// be, or would need too many ranges, is not believed.
    pub fn sack(&mut self, block: Piece, arrived: &mut Arrived) {
        let inside = distance(block.seq, self.una) > 0
            && distance(block.end, block.seq) > 0
            && distance(self.next, block.end) >= 0;
        if !inside || !self.split(block.seq) || !self.split(block.end) {
            return;
        }
        let (mut at, mut new) = (0, false);
        while let Some(&range) = self.ranges.get(at) {
            let within = distance(range.seq, block.seq) >= 0 && distance(block.end, range.end) >= 0;
            if within && range.state != State::Sacked {
                self.note(range, arrived);
                self.ranges[at].state = State::Sacked;
                new = true;
            }
            at += 1;
        }
        if new {
            self.marked = true;
            self.join();
        }
    }

    /// Notes something that has arrived.
    #[inline]
    fn note(&mut self, range: Range, arrived: &mut Arrived) {
        if arrived
            .last
            .is_none_or(|(at, end, _)| !range.is_before((at, end)))
        {
            arrived.last = Some((range.at, range.end, range.again));
        }
        if range.again {
            return;
        }
        arrived.once = arrived.once.max(Some(range.at));
        if distance(self.furthest, range.end) > 0 {
            arrived.reordered = true;
        } else {
            self.furthest = range.end;
        }
    }

    /// Makes a range begin at `seq`; false if there are too many.
    fn split(&mut self, seq: u32) -> bool {
        let inside = |r: &Range| distance(seq, r.seq) > 0 && distance(r.end, seq) > 0;
        let Some(at) = self.ranges.iter().position(inside) else {
            return true;
        };
        if self.ranges.len() == MOST {
            return false;
        }
        let rest = Range {
            seq,
            ..self.ranges[at]
        };
        self.ranges[at].end = seq;
        self.ranges.insert(at + 1, rest);
        true
    }

    /// Makes one of ranges that follow each other and are alike.
    fn join(&mut self) {
        self.ranges.dedup_by(|next, range| {
            let like = range.is_like(next);
            if like {
                range.end = next.end;
            }
            like
        });
    }

    /// What was sent before `last`, and that long ago, is lost (RFC 8985, 6.2,
    /// step 5): after how many microseconds the rest of what was sent before
    /// will be.
    pub fn lose_older(&mut self, last: (u64, u32), age: u64, now: u64) -> Option<u64> {
        let (mut lost, mut wait) = (false, None);
        for range in &mut self.ranges {
            if range.state != State::Sent || !range.is_before(last) {
                continue;
            }
            let due = range.at + age;
            if due <= now {
                range.state = State::Lost;
                lost = true;
            } else {
                wait = wait.max(Some(due - now));
            }
        }
        if lost {
            self.marked = true;
            self.join();
        }
        wait
    }

    /// The first bytes, so many, are lost; false if they are being sent again
    /// already.
    pub fn lose_first(&mut self, bytes: u32) -> bool {
        let most = self.una.wrapping_add(bytes);
        self.split(most);
        match self.ranges.first_mut() {
            Some(range) if range.state == State::Sent => {
                range.state = State::Lost;
                self.marked = true;
                true
            }
            _ => false,
        }
    }

    /// Nothing is known to be on the line any more (RFC 6298, 5.4). A peer that
    /// said that it has the first byte has thrown it away (RFC 2018, 8).
    pub fn lose_all(&mut self) {
        let renounced = self
            .ranges
            .first()
            .is_some_and(|r| r.state == State::Sacked);
        for range in &mut self.ranges {
            if renounced || range.state == State::Sent {
                range.state = State::Lost;
            }
        }
        self.marked = !self.ranges.is_empty();
        self.join();
    }

    /// The first of what is lost, of so many bytes at most.
    pub fn first_lost(&self, bytes: u32) -> Option<Piece> {
        let range = self.ranges.iter().find(|r| r.state == State::Lost)?;
        let len = range.end.wrapping_sub(range.seq).min(bytes);
        Some(Piece {
            seq: range.seq,
            end: range.seq.wrapping_add(len),
        })
    }

    /// The last that was sent, of so many bytes at most.
    pub fn last(&self, bytes: u32) -> Option<Piece> {
        let range = self.ranges.last()?;
        let len = range.end.wrapping_sub(range.seq).min(bytes);
        Some(Piece {
            seq: range.end.wrapping_sub(len),
            end: range.end,
        })
    }

    /// Bytes of one range were sent again. Where they cannot be told apart, all
    /// of the range counts as sent: what was not is found to be lost later.
    pub fn sent_again(&mut self, piece: Piece, now: u64) {
        self.split(piece.seq);
        self.split(piece.end);
        let holds =
            |r: &&mut Range| distance(piece.seq, r.seq) >= 0 && distance(r.end, piece.seq) > 0;
        if let Some(range) = self.ranges.iter_mut().find(holds) {
            range.state = State::Sent;
            range.again = true;
            range.at = now;
        }
        self.join();
        self.marked = self.ranges.iter().any(|r| r.state != State::Sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[derive(Clone, Debug)]
    enum Step {
        Send(u32),
        Acknowledge(u32),
        Block(u32, u32),
        Late,
        Again(u32),
        Silence,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..3000u32).prop_map(Step::Send),
            2 => (0..4000u32).prop_map(Step::Acknowledge),
            6 => (0..12_000u32, 1..3000u32).prop_map(|(at, len)| Step::Block(at, len)),
            2 => Just(Step::Late),
            4 => (1..1500u32).prop_map(Step::Again),
            1 => Just(Step::Silence),
        ]
    }

    /// What is known of each byte, in a map of all of them.
    struct Model {
        first: u32,
        una: usize,
        bytes: Vec<State>,
    }

    impl Model {
        fn at(&self, number: u32) -> usize {
            number.wrapping_sub(self.first) as usize
        }

        fn flight(&mut self) -> &mut [State] {
            &mut self.bytes[self.una..]
        }
    }

    proptest! {
        #[test]
        fn each_byte_is_known_as_in_a_map_of_all(
            first in prop_oneof![Just(7u32), Just(u32::MAX - 9000)],
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let mut board = Scoreboard::new();
            board.begin(first);
            let mut model = Model { first, una: 0, bytes: Vec::new() };
            for (now, step) in steps.into_iter().enumerate() {
                let now = now as u64 / 3;
                let flight = board.flight();
                let mut arrived = Arrived::default();
                match step {
                    Step::Send(bytes) => {
                        board.sent(board.next.wrapping_add(bytes), now);
                        model.bytes.extend(std::iter::repeat_n(State::Sent, bytes as usize));
                    }
                    Step::Acknowledge(bytes) => {
                        let bytes = bytes.min(flight);
                        board.acknowledge(board.una.wrapping_add(bytes), &mut arrived);
                        model.una += bytes as usize;
                        prop_assert_eq!(arrived.bytes, bytes);
                    }
                    Step::Block(at, len) => {
                        let seq = board.una.wrapping_add(at);
                        let block = Piece { seq, end: seq.wrapping_add(len) };
                        let room = board.ranges.len() + 2 <= MOST;
                        board.sack(block, &mut arrived);
                        if room && at != 0 && at + len <= flight {
                            model.flight()[at as usize..(at + len) as usize].fill(State::Sacked);
                        }
                    }
                    Step::Late => {
                        board.lose_older((now, board.next), 0, now);
                        for byte in model.flight().iter_mut().filter(|b| **b == State::Sent) {
                            *byte = State::Lost;
                        }
                        // What was sent just now, to the very end, is not before itself.
                        if let Some(range) = board.ranges.last().filter(|r| r.state == State::Sent) {
                            let at = model.at(range.seq);
                            model.bytes[at..].fill(State::Sent);
                        }
                    }
                    Step::Again(most) => {
                        if let Some(piece) = board.first_lost(most) {
                            let (from, to) = (model.at(piece.seq), model.at(piece.end));
                            prop_assert!(model.bytes[..from].iter().skip(model.una).all(|b| *b != State::Lost));
                            prop_assert!(to - from <= most as usize);
                            let before = board.ranges.len();
                            board.sent_again(piece, now);
                            if before < MOST {
                                model.bytes[from..to].fill(State::Sent);
                            }
                        }
                    }
                    Step::Silence => {
                        let renounced = model.flight().first() == Some(&State::Sacked);
                        board.lose_all();
                        for byte in model.flight() {
                            if renounced || *byte == State::Sent {
                                *byte = State::Lost;
                            }
                        }
                    }
                }
                let mut next = board.una;
                for range in &board.ranges {
                    prop_assert_eq!(range.seq, next);
                    prop_assert!(distance(range.end, range.seq) > 0);
                    let (from, to) = (model.at(range.seq), model.at(range.end));
                    prop_assert!(model.bytes[from..to].iter().all(|b| *b == range.state));
                    next = range.end;
                }
                prop_assert_eq!(next, board.next);
                prop_assert_eq!(model.at(next), model.bytes.len());
                prop_assert!(board.ranges.len() <= MOST);
                let sent = model.flight().iter().filter(|b| **b == State::Sent).count();
                prop_assert_eq!(board.pipe() as usize, sent);
                prop_assert_eq!(board.has_lost(), model.flight().contains(&State::Lost));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_sent_again_rather_than_forgotten() {
        let mut board = Scoreboard::new();
        board.begin(0);
        for n in 1..=200 {
            board.sent(n * 100, u64::from(n));
        }
        assert_eq!((board.ranges.len(), board.flight()), (MOST, 20_000));
        // There is no room to tell this apart.
        let block = Piece { seq: 50, end: 60 };
        board.sack(block, &mut Arrived::default());
        assert_eq!(board.pipe(), 20_000);
        board.lose_all();
        let mut again = 0;
        while let Some(piece) = board.first_lost(1000) {
            again += piece.end - piece.seq;
            board.sent_again(piece, 300);
        }
        assert_eq!(again, 20_000);
        board.acknowledge(20_000, &mut Arrived::default());
        assert!(board.is_empty() && !board.is_marked());
    }
}
