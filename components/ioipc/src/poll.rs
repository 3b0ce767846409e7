//! Readiness over many sockets.
//!
//! Problem: a component with thousands of mostly idle sockets must find the
//! few that are ready without looking at the rest. Invariant: a registered
//! socket that is ready is in its poll's list; one in the list need not be
//! ready any more, which is found out when the list is walked.

use core::time::Duration;

use crate::core_state::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::records::{NONE, flag, kind};
use crate::stack::{Stack, Wait, stack};

/// Most polls of a stack.
pub(crate) const MAX_POLLS: usize = 8;

/// What to be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u16);

impl Interest {
    /// Data, connections to accept, the end of the stream, or an error.
    pub const READABLE: Self = Self(1);
    /// Room to send, or an error.
    pub const WRITABLE: Self = Self(2);
    /// Either.
    pub const BOTH: Self = Self(3);
}

/// A socket is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What it was registered as.
    pub token: u64,
    /// Reading, or accepting, does not wait.
    pub readable: bool,
    /// Writing does not wait.
    pub writable: bool,
}

/// Sockets that can be registered.
pub trait Pollable {
    /// The stack and the socket's number in it.
    #[doc(hidden)]
    fn place(&self) -> (&'static Stack, u16);
}

/// One poll's sockets that may be ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadyList {
    used: bool,
    first: u16,
    last: u16,
    count: u16,
}

impl ReadyList {
    pub const EMPTY: Self = Self {
        used: false,
        first: NONE,
        last: NONE,
        count: 0,
    };
}

/// A set of sockets, each with a token and an interest. Level-triggered: a
/// socket is reported as long as it is ready.
#[derive(Debug)]
pub struct Poll {
    stack: &'static Stack,
    /// From 1.
    id: u16,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// `QuotaExceeded` when there are 8.
    pub fn new() -> Result<Self> {
        Self::new_on(stack()?)
    }

    /// As [`Poll::new`], on a stack other than the installed one.
    ///
    /// # Errors
    /// As [`Poll::new`].
    pub fn new_on(stack: &'static Stack) -> Result<Self> {
        const FULL: Error = Error::new(ErrorKind::QuotaExceeded, "too many polls");
        let mut core = stack.lock();
        let free = core.polls.iter().position(|p| !p.used).ok_or(FULL)?;
        core.polls[free] = ReadyList {
            used: true,
            ..ReadyList::EMPTY
        };
        Ok(Self {
            stack,
            id: free as u16 + 1,
        })
    }

    /// Adds a socket, or changes its token and interest. A socket is in one
    /// poll at most, and leaves it when it is dropped.
    ///
    /// # Errors
    /// `InvalidInput` if it is of another stack.
    pub fn register(&self, socket: &impl Pollable, token: u64, interest: Interest) -> Result<()> {
        let (stack, index) = socket.place();
        if !core::ptr::eq(stack, self.stack) {
            return Err(Error::OTHER_STACK);
        }
        stack.with(|core| {
            if core.socket(index).poll != self.id {
                core.leave_poll(index);
            }
            let record = core.socket(index);
            record.poll = self.id;
            record.token = token;
            record.interest = interest.0;
            core.start_ahead(index);
            core.note_ready(index);
        });
        Ok(())
    }

    /// Removes a socket.
    pub fn deregister(&self, socket: &impl Pollable) {
        let (stack, index) = socket.place();
        stack.with(|core| {
            if core.socket(index).poll == self.id {
                core.leave_poll(index);
            }
        });
    }

    /// Waits until a socket is ready or `limit` is over; fills `events` from
    /// the front and returns how many. 0: the time is over.
    ///
    /// # Errors
    /// `Other` if the I/O manager broke its ring.
    pub fn wait(&self, events: &mut [Event], limit: Option<Duration>) -> Result<usize> {
        if events.is_empty() {
            return Ok(0);
        }
        let wait = match limit {
            Some(d) if d.is_zero() => Wait::Never,
            limit => Wait::at_most(limit),
        };
        let list = usize::from(self.id) - 1;
        let mut fresh = false;
        let found = self.stack.block(wait, false, |core| {
            // Later on, `block` does it before each attempt.
            if !core::mem::replace(&mut fresh, true) {
                core.process();
            }
            let count = core.collect_ready(list, events);
            (count != 0).then_some(count)
        });
        match found {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            found => found,
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.stack.with(|core| {
            for index in 0..core.sockets.len() as u16 {
                if core.socket(index).poll == self.id {
                    core.leave_poll(index);
                }
            }
            core.polls[usize::from(self.id) - 1] = ReadyList::EMPTY;
        });
    }
}

impl Core {
    /// Whether reading, and whether writing, would not wait.
    #[inline]
    pub fn readiness(&mut self, index: u16) -> (bool, bool) {
        let socket = self.socket(index);
        let error = socket.error != 0;
        let ended = socket.flags & (flag::END | flag::READ_SHUT) != 0 || socket.receive_end != 0;
        let readable = socket.first != NONE || error || ended;
        let failed = socket.send_end != 0 || socket.flags & flag::WRITE_SHUT != 0;
        let sends = socket.kind != kind::LISTENER;
        // Whoever had no room for so many tries with as many again.
        let wanted = socket.wanted.max(1);
        (
            readable,
            sends && (error || failed || self.may_send(index, wanted)),
        )
    }

    /// Puts a registered socket in its poll's list.
    #[inline]
    pub fn note_ready(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.poll != 0 && socket.flags & flag::READY == 0 {
            socket.flags |= flag::READY;
            self.unpark(index);
            self.append_ready(index);
        }
    }

    /// The socket no longer waits for room unseen.
    #[inline]
    fn unpark(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.flags & flag::PARKED != 0 {
            socket.flags &= !flag::PARKED;
            self.parked -= 1;
        }
    }

    fn append_ready(&mut self, index: u16) {
        let list = usize::from(self.socket(index).poll) - 1;
        let last = self.polls[list].last;
        let socket = self.socket(index);
        socket.ready_next = NONE;
        socket.ready_before = last;
        match last {
            NONE => self.polls[list].first = index,
            last => self.socket(last).ready_next = index,
        }
        self.polls[list].last = index;
        self.polls[list].count += 1;
    }

    fn unlink_ready(&mut self, index: u16) {
        let socket = self.socket(index);
        let (next, before) = (socket.ready_next, socket.ready_before);
        let list = usize::from(socket.poll) - 1;
        match before {
            NONE => self.polls[list].first = next,
            before => self.socket(before).ready_next = next,
        }
        match next {
            NONE => self.polls[list].last = before,
            next => self.socket(next).ready_before = before,
        }
        self.polls[list].count -= 1;
    }

    /// Takes a socket out of its poll.
    pub fn leave_poll(&mut self, index: u16) {
        if self.socket(index).poll == 0 {
            return;
        }
        if self.socket(index).flags & flag::READY != 0 {
            self.unlink_ready(index);
        }
        self.unpark(index);
        let socket = self.socket(index);
        socket.flags &= !flag::READY;
        socket.poll = 0;
    }

    /// Reports sockets that are ready, each at most once; they go to the end
    /// of the list, so that with few `events` everybody has a turn.
    fn collect_ready(&mut self, list: usize, events: &mut [Event]) -> usize {
        let mut found = 0;
        for _ in 0..self.polls[list].count {
            let index = self.polls[list].first;
            if index == NONE || found == events.len() {
                break;
            }
            self.unlink_ready(index);
            let (readable, writable) = self.readiness(index);
            let socket = self.socket(index);
            let (token, interest) = (socket.token, socket.interest);
            let readable = readable && interest & Interest::READABLE.0 != 0;
            let wants_room = interest & Interest::WRITABLE.0 != 0;
            let writable = writable && wants_room;
            if readable || writable {
                events[found] = Event {
                    token,
                    readable,
                    writable,
                };
                found += 1;
                self.append_ready(index);
            } else {
                socket.flags &= !flag::READY;
                let waits_for_others = wants_room && socket.sends == 0;
                if wants_room {
                    // From now on the success of sends concerns us.
                    socket.flags |= flag::PARKED;
                    self.parked += 1;
                }
                if waits_for_others {
                    self.need_attention(index);
                }
            }
        }
        found
    }
}
