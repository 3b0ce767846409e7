//! Finding out what of a stream was lost, and when to send what again.
//!
//! Problem: smoltcp sends again after a second of silence, which it doubles
//! and does not take back, or after three acknowledgements that say the same,
//! one segment; it has no use for what a peer acknowledges selectively, and
//! nothing that keeps a flight from overwhelming the line. Invariant: smoltcp
//! decides what may be sent for the first time, and no more of it than the
//! window that it is shown ([`Recovery::show`]); what is sent again is decided
//! here alone, and what smoltcp would send again does not leave (`wire`). All
//! of it goes by what the peer said of bytes that are on their way: nothing a
//! peer says makes anything be sent that was not sent before.
//!
//! | taken | from |
//! | --- | --- |
//! | waiting time from round trips, doubling, Karn's algorithm | RFC 6298, with a margin of 200 ms for its least time of 1 s |
//! | slow start, congestion avoidance, by bytes, from ten segments | RFC 5681, 3465, 6928, 7661 (a window that is not used does not grow) |
//! | what is on its way, sending again within the window | RFC 6675 |
//! | loss by time after what was sent later has arrived, probe of the tail | RFC 8985, with a reordering window that does not adapt |
//! | peers that do not acknowledge selectively | RFC 6582 |
//! | blocks of what arrived twice, for the probe | RFC 2883 |
//!
//! Left: undoing a reduction that was not called for (RFC 3522, 5682),
//! proportional reduction (RFC 9937), a shorter first waiting time after
//! silence.

mod congestion;
mod rtt;
mod scoreboard;

use congestion::Congestion;
use rtt::Rtt;
use scoreboard::{Arrived, Scoreboard};
pub(crate) use scoreboard::{HEAP_BYTES, Piece};

use crate::outflow::distance;

/// Bytes of a segment where the peer says nothing (RFC 9293, 3.7.1).
const SEGMENT: u32 = 536;
/// The smallest that is believed, as smoltcp does.
const LEAST_SEGMENT: u32 = 48;
/// Acknowledgements that say the same, and segments that overtake, after which
/// something is lost (RFC 5681, 3.2; RFC 8985, 6.2).
const DUPLICATES: u32 = 3;
/// The longest that a peer may wait with an acknowledgement (RFC 8985, 7.2).
const ACK_DELAY_US: u64 = 200_000;
/// The shortest wait before a probe of the tail: a peer may be slower than the
/// line.
const LEAST_PROBE_US: u64 = 20_000;

/// What the peer's SYN says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    /// Bytes of the longest segment that it takes.
    pub segment: Option<u16>,
    /// How far its windows are shifted.
    pub shift: Option<u8>,
    /// It acknowledges selectively.
    pub selective: bool,
}

/// Bytes that have come out of order: the first number, and the one behind.
pub(crate) type Blocks = [Option<(u32, u32)>; 3];

/// What a segment of the peer's acknowledges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// All bytes before this.
    pub before: u32,
    /// And these blocks (RFC 2018).
    pub blocks: Blocks,
    /// It says nothing else: no payload, the same window as before.
    pub bare: bool,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Something of what was sent before this number was.
    Recovery(u32),
    /// Nothing was heard for too long when this was the next number.
    Timeout(u32),
}

/// The sending side of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    board: Scoreboard,
    rtt: Rtt,
    congestion: Congestion,
    phase: Phase,
    /// The most that was on its way at once, in the flight before this one and
    /// in this one, and the number that this one ends with.
    peaks: [u32; 2],
    mark: u32,
    /// Bytes of a segment: at most, and with this peer.
    most: u32,
    segment: u32,
    /// How far the peer's windows are shifted, and those that smoltcp is shown:
    /// less, for segments not to be cut short by what shifting takes off.
    shift: u8,
    shown_shift: u8,
    scaled: bool,
    selective: bool,
    /// Acknowledgements without blocks that said the same.
    duplicates: u32,
    /// Timeouts since something was acknowledged.
    doublings: u32,
    /// When something was last acknowledged, timed out, or sent first.
    since: u64,
    /// When something was last sent.
    sent_at: u64,
    /// Of what has arrived, the last that was sent: when, and the number behind
    /// it.
    last: (u64, u32),
    /// The round trip of that.
    round_trip: u64,
    reordered: bool,
    /// When what is late becomes lost.
    late_at: Option<u64>,
    /// One segment may go beyond the window: the first of a recovery, or a
    /// probe of the tail.
    beyond: bool,
    probing: bool,
    /// The number behind the probe that was sent last.
    probe: Option<u32>,
    /// The number behind our FIN.
    fin: Option<u32>,
}

impl Recovery {
    /// For a connection that has not begun, with a send buffer of so many bytes
    /// and segments of `most` bytes at most; takes its memory.
    pub fn new(buffer: usize, most: u32) -> Self {
        // The smallest that lets all of the buffer be sent at once: a byte that
        // has to wait keeps its send, and with it the next ones.
        let bits = usize::BITS - buffer.leading_zeros();
        Self::fresh(Scoreboard::new(), most, bits.saturating_sub(16) as u8)
    }

    fn fresh(board: Scoreboard, most: u32, shown_shift: u8) -> Self {
        Self {
            board,
            rtt: Rtt::NEW,
            congestion: Congestion::new(SEGMENT),
            phase: Phase::Open,
            peaks: [0; 2],
            mark: 0,
            most,
            segment: SEGMENT,
            shift: 0,
            shown_shift,
            scaled: false,
            selective: false,
            duplicates: 0,
            doublings: 0,
            since: 0,
            sent_at: 0,
            last: (0, 0),
            round_trip: 0,
            reordered: false,
            late_at: None,
            beyond: false,
            probing: false,
            probe: None,
            fin: None,
        }
    }

    /// Forgets everything but its memory, for another connection.
    pub fn reset(&mut self) {
        let mut board = core::mem::take(&mut self.board);
        board.begin(0);
        *self = Self::fresh(board, self.most, self.shown_shift);
    }

    /// Our SYN has gone; the next byte has this number.
    pub fn begin(&mut self, next: u32) {
        self.board.begin(next);
        self.last = (0, next);
        self.mark = next;
    }

    /// The peer's SYN has come.
    pub fn open(&mut self, offer: Offer) {
        let segment = offer.segment.filter(|bytes| *bytes != 0);
        let segment = segment.map_or(SEGMENT, u32::from);
        self.segment = segment.max(LEAST_SEGMENT).min(self.most);
        self.congestion = Congestion::new(self.segment);
        self.shift = offer.shift.unwrap_or(0).min(14);
        self.scaled = offer.shift.is_some();
        self.selective = offer.selective;
    }

    /// Whether nothing is on its way.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.board.is_empty()
    }

    /// Nothing will be sent again.
    pub fn give_up(&mut self) {
        self.board.begin(self.board.next);
    }

    /// smoltcp has sent the bytes up to `end`, and perhaps our FIN behind them.
    #[inline]
    pub fn sent(&mut self, end: u32, fin: bool, now: u64) {
        if self.board.is_empty() {
            self.since = now;
        }
        self.sent_at = now;
        if fin {
            self.fin = Some(end);
        }
        self.board.sent(end, now);
        self.peaks[1] = self.peaks[1].max(self.board.flight());
    }

    /// The first byte that may be sent again.
    #[inline]
    pub fn first(&self) -> u32 {
        self.board.una
    }

    /// smoltcp knows that what is before `una` has arrived.
    #[inline]
    pub fn follow(&mut self, una: u32) {
        if distance(una, self.board.una) > 0 {
            self.board.acknowledge(una, &mut Arrived::default());
        }
    }

    /// How far smoltcp is told that the peer's windows are shifted, if they are.
    pub fn shown_shift(&self) -> u8 {
        self.shown_shift
    }

    /// The window to show smoltcp in place of the peer's: with it nothing is
    /// sent that the line may not have room for, and no part of a segment.
    #[inline]
    pub fn show(&self, window: u16) -> u16 {
        let theirs = u32::from(window) << self.shift;
        // What is lost goes first.
        let room = self.congestion.window.saturating_sub(self.board.missing());
        let most = self.board.flight() + room;
        let window = match theirs <= most {
            true => theirs,
            false => most - room % self.segment,
        };
        let shown = if self.scaled { self.shown_shift } else { 0 };
        (window >> shown).min(u16::MAX.into()) as u16
    }

    /// Whether an acknowledgement says something about what is on its way.
    #[inline]
    pub fn concerns(&self, ack: &Acknowledged) -> bool {
        let ahead = ack.before.wrapping_sub(self.board.una);
        match ahead {
            0 => !self.board.is_empty() && (ack.bare || ack.blocks[0].is_some()),
            _ => ahead <= self.board.flight(),
        }
    }

    /// The peer acknowledges something that [`Recovery::concerns`] us.
    #[inline]
    pub fn acknowledged(&mut self, ack: &Acknowledged, now: u64) {
        let mut arrived = Arrived::default();
        self.board.acknowledge(ack.before, &mut arrived);
        if let Some(at) = arrived.once {
            self.rtt.sample(now - at);
        }
        if arrived.bytes != 0 {
            self.progress(arrived.bytes, now);
        }
        let calm = self.phase == Phase::Open && !self.board.is_marked() && self.probe.is_none();
        if calm && ack.blocks[0].is_none() && arrived.bytes != 0 {
            self.remember(&arrived, now);
            return;
        }
        self.acknowledged_in_disorder(ack, arrived, now);
    }

    /// Bytes are acknowledged in order.
    #[inline]
    fn progress(&mut self, bytes: u32, now: u64) {
        (self.since, self.doublings, self.duplicates) = (now, 0, 0);
        let (una, used) = (self.board.una, self.used());
        match self.phase {
            Phase::Recovery(end) if distance(una, end) >= 0 => self.phase = Phase::Open,
            Phase::Recovery(_) => {}
            Phase::Timeout(end) => {
                self.congestion.acknowledged(bytes, used, self.segment);
                if distance(una, end) >= 0 {
                    self.phase = Phase::Open;
                }
            }
            Phase::Open => self.congestion.acknowledged(bytes, used, self.segment),
        }
        if distance(una, self.mark) >= 0 {
            self.peaks = [self.peaks[1], self.board.flight()];
            self.mark = self.board.next;
        }
    }

    /// Notes what was sent last of what has arrived (RFC 8985, 6.2, step 2).
    #[inline]
    fn remember(&mut self, arrived: &Arrived, now: u64) {
        let Some((at, end, again)) = arrived.last else {
            return;
        };
        // Sooner than can be: it is the first time that has arrived.
        if again && self.rtt.least().is_some_and(|least| now - at < least) {
            return;
        }
        let later = at > self.last.0 || (at == self.last.0 && distance(end, self.last.1) > 0);
        if later {
            (self.last, self.round_trip) = ((at, end), now - at);
        }
    }

    /// Something is missing, or may be.
    #[cold]
    fn acknowledged_in_disorder(&mut self, ack: &Acknowledged, mut arrived: Arrived, now: u64) {
        let una = self.board.una;
        let twice = |(_, end): (u32, u32)| distance(end, una) <= 0;
        let repeated = ack.blocks[0].is_some_and(twice);
        let before = arrived.once;
        for (seq, end) in ack.blocks.into_iter().flatten() {
            self.board.sack(Piece { seq, end }, &mut arrived);
        }
        if arrived.once > before
            && let Some(at) = arrived.once
        {
            self.rtt.sample(now - at);
        }
        self.reordered |= arrived.reordered;
        self.remember(&arrived, now);
        self.end_probe(repeated);
        if !self.selective {
            self.count_duplicates(ack, &arrived);
        }
        self.detect(now);
    }

    /// A probe of the tail that was needed has hidden a loss (RFC 8985, 7.4).
    fn end_probe(&mut self, repeated: bool) {
        let Some(probe) = self.probe else {
            return;
        };
        if distance(self.board.una, probe) < 0 {
            return;
        }
        self.probe = None;
        if !repeated && self.phase == Phase::Open {
            self.congestion.lost(self.used(), self.segment);
        }
    }

    /// Of a peer that does not acknowledge selectively (RFC 6582).
    fn count_duplicates(&mut self, ack: &Acknowledged, arrived: &Arrived) {
        let in_recovery = matches!(self.phase, Phase::Recovery(_));
        if arrived.bytes != 0 {
            if in_recovery {
                self.board.lose_first(self.segment);
            }
            return;
        }
        if ack.bare && !self.board.is_empty() {
            self.duplicates += 1;
            if self.duplicates == DUPLICATES && self.phase == Phase::Open {
                self.board.lose_first(self.segment);
            }
        }
    }

    /// Finds what is lost because what was sent later has arrived, and begins
    /// to recover (RFC 8985, 6.2).
    fn detect(&mut self, now: u64) {
        if self.selective {
            let age = self.round_trip + self.reordering_window();
            let wait = self.board.lose_older(self.last, age, now);
            self.late_at = wait.map(|us| now + us);
        }
        if self.phase == Phase::Open && self.board.has_lost() {
            self.congestion.lost(self.used(), self.segment);
            self.phase = Phase::Recovery(self.board.next);
            self.beyond = true;
        }
    }

    /// How much of the window has been in use of late.
    #[inline]
    fn used(&self) -> u32 {
        self.peaks[0].max(self.peaks[1]).min(self.congestion.window)
    }

    /// How late a segment may be (RFC 8985, 6.2, step 4).
    fn reordering_window(&self) -> u64 {
        let arrived = self.board.flight() - self.board.pipe();
        let many = self.phase != Phase::Open || arrived >= DUPLICATES * self.segment;
        match self.rtt.least() {
            Some(least) if self.reordered || !many => least / 4,
            _ => 0,
        }
    }

    /// When [`Recovery::tick`] has something to do, in microseconds.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        if self.board.is_empty() {
            return None;
        }
        let at = self.times_out_at();
        Some(match (self.late_at, self.probes_at()) {
            (Some(late), _) => at.min(late),
            (None, Some(probe)) => at.min(probe),
            (None, None) => at,
        })
    }

    fn times_out_at(&self) -> u64 {
        self.since + self.rtt.timeout(self.doublings)
    }

    /// When the tail is probed (RFC 8985, 7.2).
    fn probes_at(&self) -> Option<u64> {
        let calm = self.phase == Phase::Open && !self.board.is_marked() && self.doublings == 0;
        if !(self.selective && calm && self.probe.is_none() && !self.probing) {
            return None;
        }
        let one = self.board.flight() <= self.segment;
        let wait =
            (2 * self.rtt.smoothed()?).max(LEAST_PROBE_US) + if one { ACK_DELAY_US } else { 0 };
        Some(self.since.max(self.sent_at) + wait)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        if self.board.is_empty() {
            return;
        }
        if self.times_out_at() <= now {
            self.time_out(now);
        } else if self.late_at.is_some_and(|at| at <= now) {
            self.detect(now);
        } else if self.late_at.is_none() && self.probes_at().is_some_and(|at| at <= now) {
            self.probing = true;
            self.beyond = true;
        }
    }

    /// Nothing was heard for too long (RFC 6298, 5.4 to 5.6).
    fn time_out(&mut self, now: u64) {
        let again = self.doublings != 0;
        self.congestion.timed_out(self.used(), self.segment, again);
        self.board.lose_all();
        self.phase = Phase::Timeout(self.board.next);
        self.doublings += 1;
        self.since = now;
        (self.late_at, self.probe, self.probing) = (None, None, false);
    }

    /// What is to be sent again now.
    pub fn next(&self) -> Option<Piece> {
        if self.probing {
            return self.board.last(self.segment);
        }
        if !self.board.is_marked() {
            return None;
        }
        let piece = self.board.first_lost(self.segment)?;
        let pipe = self.board.pipe() + piece.end.wrapping_sub(piece.seq);
        (self.beyond || pipe <= self.congestion.window).then_some(piece)
    }

    /// Whether our FIN is what such a piece ends with.
    pub fn ends_with_fin(&self, piece: Piece) -> bool {
        self.fin == Some(piece.end)
    }

    /// It was sent again.
    pub fn sent_again(&mut self, piece: Piece, now: u64) {
        if self.probing {
            self.probe = Some(piece.end);
        }
        if piece.seq == self.board.una {
            self.since = now;
        }
        (self.probing, self.beyond, self.sent_at) = (false, false, now);
        self.board.sent_again(piece, now);
    }
}
