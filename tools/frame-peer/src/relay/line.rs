//! One direction of a wire: what goes in, when it comes out, and what does not.
//!
//! No thread and no clock: whoever uses it says what time it is, so that a test
//! may have time of its own. Invariants: frames that nothing overtakes come out
//! in the order in which they went in, none before its time; what happens to a
//! frame depends on the seed and on the frames before it alone, except that a
//! frame held back goes on after [`HOLD`](crate::HOLD) if none overtakes it; no
//! more than [`Conditions::room`] bytes are kept.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Conditions;
use crate::faults::Faults;
use crate::rng::Rng;

/// The two directions of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    There,
    /// From the second end to the first.
    Back,
}

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came out.
    pub passed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames lost at random.
    pub lost: u64,
    /// Frames that came out twice.
    pub duplicated: u64,
    /// Frames that were held back for the next one to overtake.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames for which there was no room on the wire.
    pub no_room: u64,
    /// Frames that the other end did not take: it is not there, or slow.
    pub not_taken: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames passed ({} bytes)", self.passed, self.bytes)?;
        let rest = [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.corrupted, "corrupted"),
            (self.no_room, "dropped for room"),
            (self.not_taken, "not taken by the other end"),
        ];
        let mut rest = rest.iter().filter(|(count, _)| *count > 0);
        rest.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// One direction of a wire.
#[derive(Debug)]
pub struct Line {
    faults: Faults,
    /// One way.
    delay: Duration,
    rate: Option<u64>,
    room: usize,
    /// What is on its way, and when it is there.
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued: usize,
    /// When the last frame that has a rate has left.
    free_at: Option<Instant>,
    counts: Counts,
}

impl Line {
    /// A direction of a wire of these conditions. Each has a seed of its own,
    /// made of theirs.
    #[must_use]
    pub fn new(conditions: &Conditions, direction: Direction) -> Self {
        Self {
            faults: faults(conditions, direction),
            delay: conditions.delay / 2,
            rate: conditions.rate,
            room: conditions.room,
            queue: VecDeque::new(),
            queued: 0,
            free_at: None,
            counts: Counts::default(),
        }
    }

    /// Goes on with other conditions, from the beginning of their seed. What is
    /// on its way arrives as it would have; no later frame overtakes it.
    pub fn change(&mut self, conditions: &Conditions, direction: Direction) {
        if let Some(at) = self.faults.deadline()
            && let Some(held) = self.faults.due(at)
        {
            self.put(held, at);
        }
        let mut line = Self::new(conditions, direction);
        std::mem::swap(&mut line.queue, &mut self.queue);
        line.queued = self.queued;
        line.counts = self.counts();
        *self = line;
    }

    /// Puts a frame on the wire.
    pub fn push(&mut self, frame: Vec<u8>, now: Instant) {
        for frame in self.faults.pass(frame, now) {
            self.put(frame, now);
        }
    }

    fn put(&mut self, frame: Vec<u8>, now: Instant) {
        if self.queued + frame.len() > self.room {
            self.counts.no_room += 1;
            return;
        }
        let leaves = self.leaves(frame.len(), now);
        let last = self.queue.back().map_or(leaves, |(due, _)| *due);
        self.queued += frame.len();
        self.queue.push_back((last.max(leaves + self.delay), frame));
    }

    /// When the last bit of a frame that is put on the wire now has left.
    fn leaves(&mut self, len: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else {
            return now;
        };
        let nanos = len as u64 * 8 * 1_000_000_000 / rate;
        let begins = self.free_at.map_or(now, |at| at.max(now));
        let leaves = begins + Duration::from_nanos(nanos);
        self.free_at = Some(leaves);
        leaves
    }

    /// The next frame that has arrived at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        while let Some(frame) = self.faults.due(now) {
            self.put(frame, now);
        }
        let (_, frame) = self.queue.pop_front_if(|(due, _)| *due <= now)?;
        self.queued -= frame.len();
        self.counts.passed += 1;
        self.counts.bytes += frame.len() as u64;
        Some(frame)
    }

    /// When [`Line::pop`] has something to do next, if nothing is pushed.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        let front = self.queue.front().map(|(due, _)| *due);
        front.into_iter().chain(self.faults.deadline()).min()
    }

    /// What became of the frames up to now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (had, now) = (self.counts, self.faults.counts);
        Counts {
            lost: had.lost + now.lost,
            duplicated: had.duplicated + now.duplicated,
            reordered: had.reordered + now.reordered,
            corrupted: had.corrupted + now.corrupted,
            ..had
        }
    }

    /// Notes that the other end did not take a frame that had arrived.
    pub(super) fn not_taken(&mut self, len: usize) {
        self.counts.not_taken += 1;
        self.counts.passed -= 1;
        self.counts.bytes -= len as u64;
    }
}

fn faults(conditions: &Conditions, direction: Direction) -> Faults {
    let mut seeds = Rng::new(conditions.seed);
    let there = seeds.bits();
    let seed = match direction {
        Direction::There => there,
        Direction::Back => seeds.bits(),
    };
    Faults::new(conditions.faults, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(conditions: &str) -> Line {
        Line::new(&conditions.parse().unwrap(), Direction::There)
    }

    fn frame(n: usize, len: usize) -> Vec<u8> {
        vec![n as u8; len]
    }

    /// All that comes out, with its time, of frames that go in a millisecond
    /// apart.
    fn through(line: &mut Line, count: usize) -> Vec<(Duration, u8)> {
        let (start, step) = (Instant::now(), Duration::from_micros(100));
        let mut out = Vec::new();
        for tick in 0..(count as u32 * 10 + 1000) {
            let now = start + step * tick;
            if tick % 10 == 0 && tick / 10 < count as u32 {
                line.push(frame(tick as usize / 10, 100), now);
            }
            while let Some(frame) = line.pop(now) {
                out.push((now - start, frame[0]));
            }
        }
        assert_eq!(line.next_at(), None);
        assert_eq!(line.queued, 0);
        out
    }

    #[test]
    fn a_frame_arrives_half_the_delay_later_and_not_before() {
        let (mut line, now) = (line("delay=10ms"), Instant::now());
        line.push(frame(1, 60), now);
        let due = now + Duration::from_millis(5);
        assert_eq!(line.next_at(), Some(due));
        assert_eq!(line.pop(due - Duration::from_nanos(1)), None);
        assert_eq!(line.pop(due), Some(frame(1, 60)));
        assert_eq!((line.pop(due), line.next_at()), (None, None));
        assert_eq!(line.counts().to_string(), "1 frames passed (60 bytes)");
    }

    #[test]
    fn a_rate_lets_bits_out_one_after_the_other() {
        // 1000 bytes are 8 ms.
        let (mut line, now) = (line("rate=1000kbit,delay=2ms"), Instant::now());
        (0..3).for_each(|n| line.push(frame(n, 1000), now));
        for at in [9, 17, 25].map(Duration::from_millis) {
            assert_eq!(line.next_at(), Some(now + at));
            assert!(line.pop(now + at).is_some());
        }
        // What was not used is not saved up.
        let later = now + Duration::from_millis(100);
        line.push(frame(3, 1000), later);
        assert_eq!(line.next_at(), Some(later + Duration::from_millis(9)));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (mut line, now) = (line("room=250B,delay=2ms"), Instant::now());
        (0..4).for_each(|n| line.push(frame(n, 100), now));
        let later = now + Duration::from_millis(1);
        assert_eq!(line.pop(later), Some(frame(0, 100)));
        assert_eq!(line.pop(later), Some(frame(1, 100)));
        assert_eq!(line.pop(later), None);
        line.push(frame(4, 250), later);
        assert!(line.pop(later + Duration::from_millis(1)).is_some());
        let counts = line.counts();
        assert_eq!((counts.passed, counts.no_room), (3, 2));
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_does_not() {
        let spec = "loss=10%,duplicate=5%,reorder=5%,corrupt=5%,delay=7ms";
        let run = |seed| through(&mut line(&format!("{spec},seed={seed}")), 200);
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let conditions: Conditions = spec.parse().unwrap();
        let back = through(&mut Line::new(&conditions, Direction::Back), 200);
        assert_ne!(back, through(&mut line(spec), 200), "directions are two");
    }

    #[test]
    fn about_as_many_are_lost_as_was_asked_for_and_the_rest_is_in_order() {
        let mut line = line("loss=5%,delay=10ms");
        let out = through(&mut line, 250);
        let lost = line.counts().lost as usize;
        assert!((3..=25).contains(&lost), "{lost} of 250");
        assert_eq!(out.len() + lost, 250);
        assert!(out.is_sorted_by_key(|(at, n)| (*at, *n)));
    }

    #[test]
    fn a_frame_held_back_arrives_though_nothing_overtakes_it() {
        let (mut line, now) = (line("reorder=100%,delay=2ms"), Instant::now());
        line.push(frame(1, 60), now);
        let held = line.next_at().unwrap();
        assert_eq!(line.pop(held), None, "now it begins its way");
        let due = line.next_at().unwrap();
        assert_eq!(due, held + Duration::from_millis(1));
        assert!(line.pop(due).is_some());
    }

    #[test]
    fn changed_conditions_overtake_nothing_and_keep_the_counts() {
        let (mut line, now) = (line("loss=100%"), Instant::now());
        line.push(frame(0, 60), now);
        let slow = "delay=20ms".parse().unwrap();
        line.change(&slow, Direction::There);
        line.push(frame(1, 60), now);
        line.change(&Conditions::default(), Direction::There);
        line.push(frame(2, 60), now);
        assert_eq!(line.pop(now), None);
        let due = now + Duration::from_millis(10);
        assert_eq!(line.pop(due), Some(frame(1, 60)));
        assert_eq!(line.pop(due), Some(frame(2, 60)));
        let counts = line.counts();
        assert_eq!((counts.lost, counts.passed), (1, 2));
    }

    #[test]
    fn a_frame_held_back_outlives_a_change() {
        let (mut line, now) = (line("reorder=100%"), Instant::now());
        line.push(frame(1, 60), now);
        let held = line.next_at().unwrap();
        line.change(&Conditions::default(), Direction::There);
        assert_eq!((line.next_at(), line.pop(now)), (Some(held), None));
        assert_eq!(line.pop(held), Some(frame(1, 60)));
    }
}
