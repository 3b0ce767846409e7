//! The thread that moves frames between the link and the host.
//!
//! Everything shared is one [`Host`] under one lock. The thread sleeps in
//! `poll` on the link and on a wake-up descriptor, never with the lock held,
//! and it never blocks in a write: two peers that write to each other cannot
//! wait for one another. Whoever changes the host wakes it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::framed;
use crate::host::Host;
use crate::link::Deframer;
use crate::wake::{self, Wake};

/// What the thread and the handles share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    wake: Wake,
}

struct State {
    host: Host,
    stop: bool,
}

impl Shared {
    pub fn new(host: Host) -> std::io::Result<Arc<Self>> {
        let wake = Wake::new()?;
        let state = Mutex::new(State { host, stop: false });
        Ok(Arc::new(Self {
            state,
            changed: Condvar::new(),
            wake,
        }))
    }

    /// Works on the host, then wakes the thread.
    pub fn with<R>(&self, work: impl FnOnce(&mut Host) -> R) -> R {
        let result = work(&mut self.lock().host);
        self.wake.wake();
        result
    }

    /// Works on the host each time something happened, until there is a
    /// result; none if `patience` ran out first.
    pub fn wait<R>(
        &self,
        patience: Duration,
        mut work: impl FnMut(&mut Host) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(result) = work(&mut state.host) {
                drop(state);
                self.wake.wake();
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.wake();
    }

    /// Whether the peer was dropped.
    pub fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Whether frames are to wait on the link.
    fn is_stalled(&self) -> bool {
        self.lock().host.stalled
    }

    /// A panic of one handle's thread leaves the host usable for the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own things.
pub(crate) struct Engine {
    pub shared: Arc<Shared>,
    pub listener: Option<UnixListener>,
    pub stream: Option<UnixStream>,
    pub deframer: Deframer,
}

impl Engine {
    /// Runs until stopped, or until the link ends for good.
    pub fn run(mut self) {
        while let Some((wanted, idle)) = self.turn() {
            let (link, listener) = self.sleep(wanted, idle);
            if listener {
                self.accept();
            }
            // It may have been stalled while this slept.
            let readable = link.contains(PollFlags::IN) && !self.shared.is_stalled();
            if readable || link.intersects(PollFlags::HUP | PollFlags::ERR) {
                self.read();
            }
            if link.contains(PollFlags::OUT) {
                self.write();
            }
        }
    }

    /// One turn of the host: what is wanted of the link and how long nothing
    /// else will happen; none to stop.
    fn turn(&mut self) -> Option<(PollFlags, Option<Duration>)> {
        let mut state = self.shared.lock();
        if state.stop || (self.stream.is_none() && self.listener.is_none()) {
            state.host.link_lost();
            state.host.flush_capture();
            self.shared.changed.notify_all();
            return None;
        }
        let now = Instant::now();
        state.host.turn(now);
        self.shared.changed.notify_all();
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, !state.host.stalled);
        wanted.set(PollFlags::OUT, !state.host.take_out().is_empty());
        Some((wanted, state.host.idle_for(now)))
    }

    /// What the link is ready for, and whether somebody connects.
    fn sleep(&self, wanted: PollFlags, idle: Option<Duration>) -> (PollFlags, bool) {
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        if let Some(stream) = &self.stream {
            fds.push(PollFd::new(stream, wanted));
        } else if let Some(listener) = &self.listener {
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        wake::sleep(&mut fds, idle);
        let ready = fds[1].revents();
        self.shared.wake.clear();
        match self.stream {
            Some(_) => (ready, false),
            None => (PollFlags::empty(), !ready.is_empty()),
        }
    }

    fn accept(&mut self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) else {
            return;
        };
        if stream.set_nonblocking(true).is_ok() {
            self.stream = Some(stream);
            self.deframer = Deframer::default();
            self.shared.lock().host.link_up = true;
        }
    }

    fn lose(&mut self) {
        self.stream = None;
        self.shared.lock().host.link_lost();
    }

    fn read(&mut self) {
        let Some(stream) = &self.stream else {
            return;
        };
        if framed::fill(stream, &mut self.deframer).is_err() {
            return self.lose();
        }
        let now = Instant::now();
        let mut state = self.shared.lock();
        loop {
            match self.deframer.next_frame() {
                Ok(Some(frame)) => state.host.ingest(frame, now),
                Ok(None) => return,
                Err(_) => break,
            }
        }
        drop(state);
        self.lose();
    }

    fn write(&mut self) {
        let Some(stream) = &self.stream else {
            return;
        };
        let mut state = self.shared.lock();
        let failed = framed::drain(stream, state.host.take_out()).is_err();
        drop(state);
        if failed {
            self.lose();
        }
    }
}
