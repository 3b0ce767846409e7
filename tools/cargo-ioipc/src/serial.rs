//! The serial port of a running system, as lines.
//!
//! Problem: several parties read the same port: a person at the terminal, the
//! wait for a sentinel, a test that asks the monitor, an error report that
//! shows the end. One thread reads; everybody else follows a bounded history
//! at their own pace.
//!
//! Invariant: memory is bounded by [`HISTORY`] lines of at most [`LINE_MAX`]
//! bytes; a follower that falls behind skips lines, it never blocks the
//! reader.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::ChildStdin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// Lines kept.
const HISTORY: usize = 20_000;
/// Longer lines are cut into pieces of this many bytes.
const LINE_MAX: usize = 64 << 10;

/// The lines that came from a serial port so far.
#[derive(Clone, Debug)]
pub struct Serial {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// Lines that were dropped from the front of `lines`.
    dropped: u64,
    ended: bool,
}

/// What a [`Follower`] met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next line, without its end.
    Line(String),
    /// No line in time.
    Timeout,
    /// The port was closed: the emulator has ended.
    End,
}

/// A reader of the lines from some point on.
#[derive(Clone, Debug)]
pub struct Follower {
    serial: Serial,
    next: u64,
}

impl Serial {
    /// Reads `port` in a thread of its own until it ends; `echo` copies every
    /// byte to standard output as well.
    #[must_use]
    pub fn follow(port: impl Read + Send + 'static, echo: bool) -> Self {
        let serial = Self {
            shared: Arc::default(),
        };
        let writer = serial.clone();
        thread::spawn(move || {
            writer.read(port, echo);
            writer.state().ended = true;
            writer.shared.changed.notify_all();
        });
        serial
    }

    /// Reads from the first line that is kept.
    #[must_use]
    pub fn from_start(&self) -> Follower {
        Follower {
            serial: self.clone(),
            next: 0,
        }
    }

    /// The last `count` lines, joined.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let state = self.state();
        let skip = state.lines.len().saturating_sub(count);
        let lines: Vec<&str> = state.lines.iter().skip(skip).map(String::as_str).collect();
        lines.join("\n")
    }

    /// Waits until the port was read to its end, or for `most`.
    pub fn drain(&self, most: Duration) {
        let state = self.state();
        // What was not read in time is not in the tail.
        let _ = self
            .shared
            .changed
            .wait_timeout_while(state, most, |state| !state.ended);
    }

    fn read(&self, mut port: impl Read, echo: bool) {
        let mut partial = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = port.read(&mut chunk) {
            let bytes = &chunk[..count];
            if echo {
                // A closed standard output is no reason to stop reading.
                let mut output = std::io::stdout().lock();
                let _ = output.write_all(bytes).and_then(|()| output.flush());
            }
            for &byte in bytes {
                if byte == b'\n' || partial.len() == LINE_MAX {
                    self.push(&partial);
                    partial.clear();
                }
                if byte != b'\n' {
                    partial.push(byte);
                }
            }
        }
        if !partial.is_empty() {
            self.push(&partial);
        }
    }

    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let mut state = self.state();
        state.lines.push_back(text.trim_matches('\r').to_owned());
        if state.lines.len() > HISTORY {
            state.lines.pop_front();
            state.dropped += 1;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let locked = self.shared.state.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// The next line, waiting for it until `deadline`.
    pub fn next_until(&mut self, deadline: Instant) -> Event {
        let mut state = self.serial.state();
        loop {
            self.next = self.next.max(state.dropped);
            if let Some(line) = state.lines.get((self.next - state.dropped) as usize) {
                self.next += 1;
                return Event::Line(line.clone());
            }
            if state.ended {
                return Event::End;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Timeout;
            }
            let waited = self.serial.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next line, waiting at most `timeout` for it.
    pub fn next(&mut self, timeout: Duration) -> Event {
        self.next_until(Instant::now() + timeout)
    }

    /// The next line that `wanted` accepts, skipping others.
    pub fn find(&mut self, deadline: Instant, mut wanted: impl FnMut(&str) -> bool) -> Event {
        loop {
            match self.next_until(deadline) {
                Event::Line(line) if !wanted(&line) => {}
                event => return event,
            }
        }
    }

    /// Skips what has been said so far.
    pub fn skip_to_now(&mut self) {
        let state = self.serial.state();
        self.next = state.dropped + state.lines.len() as u64;
    }
}

/// The other direction: what is typed at the serial port. Clones type at the
/// same port, each write as a whole.
#[derive(Clone, Debug)]
pub struct Input {
    port: Arc<Mutex<Option<ChildStdin>>>,
}

impl Input {
    pub(crate) fn new(port: Option<ChildStdin>) -> Self {
        Self {
            port: Arc::new(Mutex::new(port)),
        }
    }

    /// Types `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`] if the emulator has ended.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match port.as_mut() {
            Some(port) => port.write_all(bytes).and_then(|()| port.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(Error::io("write to", "the serial port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn lines_come_in_order_and_the_end_last() {
        let serial = Serial::follow(&b"one\r\ntwo\n\nrest"[..], false);
        let mut follower = serial.from_start();
        for expected in ["one", "two", "", "rest"] {
            assert_eq!(follower.next(LONG), Event::Line(expected.to_owned()));
        }
        assert_eq!(follower.next(LONG), Event::End);
        assert_eq!(serial.tail(2), "\nrest");
    }

    #[test]
    fn a_follower_that_is_too_slow_skips_lines() {
        let text = "x\n".repeat(HISTORY) + "last\n";
        let serial = Serial::follow(std::io::Cursor::new(text), false);
        let mut first = serial.from_start();
        let deadline = Instant::now() + LONG;
        assert_eq!(
            first.find(deadline, |line| line == "last"),
            Event::Line("last".to_owned())
        );
        let state = serial.state();
        assert_eq!((state.lines.len(), state.dropped), (HISTORY, 1));
    }

    #[test]
    fn endless_lines_are_cut() {
        let serial = Serial::follow(std::io::Cursor::new(vec![b'a'; LINE_MAX + 1]), false);
        let mut follower = serial.from_start();
        assert_eq!(follower.next(LONG), Event::Line("a".repeat(LINE_MAX)));
        assert_eq!(follower.next(LONG), Event::Line("a".to_owned()));
    }
}
