//! A wire between two ends that loses, delays and mixes up frames, by seed.
//!
//! Problem: how a stack behaves under loss shows only on a wire that loses
//! something, and two stacks can be compared only on the same wire. A [`Relay`]
//! joins any two ends ([`End`]): streams in QEMU's framing, TAP devices. What
//! it does to frames is [`Conditions`], and can be changed while it runs.
//!
//! Invariants: the two directions share nothing but the description; what
//! happens to the frames of one is a function of the seed and of these frames
//! ([`Line`], which also works without a thread, in a time of the caller's).
//! Nothing here waits for an end that is slow: what it does not take in time is
//! dropped and counted.

mod conditions;
mod line;
mod port;

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::wake::{self, Wake};
pub use conditions::{BadConditions, Conditions, KEYS, ROOM};
pub use line::{Counts, Direction, Line};
pub use port::End;

/// What became of the frames of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// From the first end to the second.
    pub there: Counts,
    /// From the second end to the first.
    pub back: Counts,
}

/// A wire that works until it is dropped.
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("tally", &self.tally())
            .finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    wake: Wake,
}

struct State {
    there: Line,
    back: Line,
    stop: bool,
    /// Whether both ends are there.
    up: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Joins two ends.
    ///
    /// # Errors
    /// If the host gives no thread or descriptor.
    pub fn start(first: End, second: End, conditions: &Conditions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                there: Line::new(conditions, Direction::There),
                back: Line::new(conditions, Direction::Back),
                stop: false,
                up: false,
                ended: false,
            }),
            changed: Condvar::new(),
            wake: Wake::new()?,
        });
        let mut worker = Worker {
            shared: shared.clone(),
            ends: [first, second],
            buffer: vec![0; port::BUFFER],
        };
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Goes on with other conditions, from the beginning of their seed; see
    /// [`Line::change`].
    pub fn change(&self, conditions: &Conditions) {
        let mut state = self.shared.lock();
        state.there.change(conditions, Direction::There);
        state.back.change(conditions, Direction::Back);
        drop(state);
        self.shared.wake.wake();
    }

    /// What became of the frames up to now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let state = self.shared.lock();
        Tally {
            there: state.there.counts(),
            back: state.back.counts(),
        }
    }

    /// Whether both ends are there; waits for them.
    #[must_use]
    pub fn wait_up(&self, patience: Duration) -> bool {
        let waiting = |state: &mut State| !state.up && !state.ended;
        let woken = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), patience, waiting);
        woken.unwrap_or_else(PoisonError::into_inner).0.up
    }

    /// Whether an end has gone for good, and the wire with it; waits for it.
    #[must_use]
    pub fn wait_ended(&self, patience: Duration) -> bool {
        let going_on = |state: &mut State| !state.ended;
        let woken = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), patience, going_on);
        woken.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The thread's own things.
struct Worker {
    shared: Arc<Shared>,
    ends: [End; 2],
    buffer: Vec<u8>,
}

impl Worker {
    fn run(&mut self) {
        loop {
            self.read();
            let Some(next) = self.deliver() else {
                break;
            };
            self.ends.iter_mut().for_each(End::flush);
            // Nothing would wake it that an end is gone.
            if !self.ends.iter().all(End::is_open) {
                break;
            }
            self.sleep(next);
        }
        let mut state = self.shared.lock();
        (state.up, state.ended) = (false, true);
        self.shared.changed.notify_all();
    }

    /// Puts what has come from the ends on the wire.
    fn read(&mut self) {
        let (buffer, [first, second]) = (&mut self.buffer, &mut self.ends);
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let now = Instant::now();
        first.read(buffer, |frame| state.there.push(frame, now));
        second.read(buffer, |frame| state.back.push(frame, now));
    }

    /// Hands out what has arrived. When something arrives next, if that is
    /// known; none to stop.
    fn deliver(&mut self) -> Option<Option<Instant>> {
        let (now, [first, second]) = (Instant::now(), &mut self.ends);
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        for (line, to) in [(&mut state.there, second), (&mut state.back, first)] {
            while let Some(frame) = line.pop(now) {
                if !to.send(&frame) {
                    line.not_taken(frame.len());
                }
            }
        }
        let up = self.ends.iter().all(End::is_up);
        if up != std::mem::replace(&mut state.up, up) {
            self.shared.changed.notify_all();
        }
        let next = [state.there.next_at(), state.back.next_at()];
        (!state.stop).then(|| next.into_iter().flatten().min())
    }

    /// Sleeps until an end is ready, somebody wants something, or `until`.
    fn sleep(&self, until: Option<Instant>) {
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        self.ends.iter().for_each(|end| end.watch(&mut fds));
        let idle = until.map(|at| at.saturating_duration_since(Instant::now()));
        wake::sleep(&mut fds, idle);
        self.shared.wake.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Peer};
    use std::io::{Read, Write};
    use std::net::SocketAddrV4;
    use std::os::unix::net::UnixStream;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A wire, and its ends outside.
    fn wire(conditions: &str) -> (Relay, UnixStream, UnixStream) {
        let (first, a) = UnixStream::pair().unwrap();
        let (second, b) = UnixStream::pair().unwrap();
        let [a, b] = [a, b].map(|stream| End::unix(stream).unwrap());
        let conditions = conditions.parse().unwrap();
        (Relay::start(a, b, &conditions).unwrap(), first, second)
    }

    fn exchange(conditions: &str, count: usize) -> Tally {
        let (relay, first, second) = wire(conditions);
        let other = Options {
            address: [10, 0, 2, 3].into(),
            mac: [2, 0, 0, 0, 0, 3],
            ..Options::default()
        };
        let one = Peer::over(first, &Options::default()).unwrap();
        let other = Peer::over(second, &other).unwrap();
        other.serve_echo(7).unwrap();
        let to = SocketAddrV4::new(other.address(), 7);
        let mut stream = one.tcp_connect(to, PATIENCE).unwrap();
        stream.set_patience(PATIENCE);
        let bytes = crate::Rng::new(1).bytes(count);
        for piece in bytes.chunks(4000) {
            stream.write_all(piece).unwrap();
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == piece);
        }
        relay.tally()
    }

    #[test]
    fn two_hosts_talk_over_a_perfect_wire() {
        let tally = exchange("delay=1ms", 100_000);
        let faults = |counts: Counts| counts.lost + counts.no_room + counts.not_taken;
        assert_eq!(faults(tally.there) + faults(tally.back), 0);
        assert!(tally.there.passed > 25 && tally.back.passed > 25);
    }

    #[test]
    fn two_hosts_talk_over_a_bad_one() {
        let spec = "loss=3%,duplicate=3%,reorder=3%,corrupt=3%,seed=5";
        let tally = exchange(spec, 24_000);
        assert!(tally.there.lost + tally.back.lost > 0, "{tally:?}");
        assert!(
            tally.there.corrupted + tally.back.corrupted > 0,
            "{tally:?}"
        );
    }

    #[test]
    fn what_goes_in_decides_what_comes_out() {
        let run = || {
            let (relay, mut first, mut second) = wire("loss=30%,seed=9");
            for n in 0..100u8 {
                first.write_all(&[0, 0, 0, 2, n, n]).unwrap();
            }
            second.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut frames = Vec::new();
            while frames.last() != Some(&99) {
                let mut frame = [0; 6];
                second.read_exact(&mut frame).unwrap();
                frames.push(frame[4]);
            }
            assert_eq!(relay.tally().there.passed, frames.len() as u64);
            frames
        };
        let frames = run();
        assert!(frames.len() < 90 && frames.is_sorted());
        assert_eq!(frames, run());
    }

    #[test]
    fn an_end_that_waits_takes_the_next_one_and_the_other_ends_the_wire() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire");
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (first, second) = (End::listen(&path).unwrap(), End::unix(theirs).unwrap());
        let relay = Relay::start(first, second, &Conditions::default()).unwrap();
        assert!(!relay.wait_up(Duration::ZERO));
        for _ in 0..2 {
            let mut guest = UnixStream::connect(&path).unwrap();
            assert!(relay.wait_up(PATIENCE));
            guest.write_all(b"\0\0\0\x01x").unwrap();
            let mut frame = [0; 5];
            ours.read_exact(&mut frame).unwrap();
            assert_eq!(frame, *b"\0\0\0\x01x");
            drop(guest);
            while relay.wait_up(Duration::ZERO) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!(!relay.wait_ended(Duration::ZERO));
        drop(ours);
        assert!(relay.wait_ended(PATIENCE));
    }

    #[test]
    fn ways_may_be_streams_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let first = End::listen_apart(&input, &output).unwrap();
        let second = End::unix(theirs).unwrap();
        let relay = Relay::start(first, second, &Conditions::default()).unwrap();
        let mut input = UnixStream::connect(&input).unwrap();
        let mut output = UnixStream::connect(&output).unwrap();
        assert!(relay.wait_up(PATIENCE));
        let mut frame = [0; 5];
        input.write_all(b"\0\0\0\x01a").unwrap();
        ours.read_exact(&mut frame).unwrap();
        assert_eq!(frame[4], b'a');
        ours.write_all(b"\0\0\0\x01b").unwrap();
        output.read_exact(&mut frame).unwrap();
        assert_eq!(frame[4], b'b');
    }
}
