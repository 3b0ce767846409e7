//! Asynchronous operations: submitted now, completed later.
//!
//! Problem: one thread keeps many operations on their way, on the same rings
//! and with the same semantics as the blocking calls, and sleeps until one is
//! done. Invariant: what an operation reads or writes belongs to the queue
//! until it is done ([`Memory`]): safe code cannot touch it meanwhile, save
//! shared memory, which is made for that. A queue that is dropped cancels what
//! is on its way and waits for it.
//!
//! Requests are shown to the manager in batches, or before a thread sleeps;
//! the manager signals only a client that sleeps, once for all that is done by
//! then.
//!
//! ```no_run
//! use ioipc::net::UdpSocket;
//! use ioipc::queue::Queue;
//! use ioipc::Buffer;
//!
//! # fn main() -> Result<(), ioipc::Error> {
//! let socket = UdpSocket::bind("0.0.0.0:7")?;
//! let mut queue = Queue::<16>::new()?;
//! for token in 0..16 {
//!     queue.receive(&socket, Buffer::alloc(2048)?, None, token).map_err(|u| u.error)?;
//! }
//! while let Some(done) = queue.wait(None)? {
//!     if let (Ok(len), Some(memory)) = (done.result, done.memory) {
//!         // `memory` holds `len` bytes of `done.peer`.
//!         queue.receive(&socket, memory, None, done.token).map_err(|u| u.error)?;
//!         # let _ = len;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod done;
mod memory;
mod submit;

use core::fmt;
use core::time::Duration;

pub use memory::Memory;

pub(crate) use done::DoneList;

use core::net::SocketAddr;

use socket_api::WireAddress;

use crate::core_state::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::records::NONE;
use crate::stack::{Stack, Wait, stack};

/// Most queues of a stack.
pub(crate) const MAX_QUEUES: usize = 8;

/// An operation on its way, to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    slot: u16,
    life: u32,
}

/// An operation that is done.
#[derive(Debug)]
pub struct Done {
    /// What the application called it.
    pub token: u64,
    /// Bytes sent or received, or why not. `Interrupted`: cancelled.
    pub result: Result<usize>,
    /// Who sent what was received.
    pub peer: Option<SocketAddr>,
    /// What was read or written; `None` for a buffer that was moved away.
    pub memory: Option<Memory>,
}

/// States of a [`Slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Submitted with this record.
    Outstanding(u16),
    /// Done without asking anybody.
    Finished(Result<usize>),
}

/// One operation.
#[derive(Debug)]
struct Slot {
    token: u64,
    memory: Option<Memory>,
    peer: WireAddress,
    state: State,
    life: u32,
    /// Free slots.
    next: u16,
}

/// A queue of at most `N` operations.
pub struct Queue<const N: usize = 64> {
    stack: &'static Stack,
    id: u16,
    slots: [Slot; N],
    free: u16,
    /// Operations not yet reported, and those of them that are finished.
    used: u16,
    finished: u16,
}

impl<const N: usize> fmt::Debug for Queue<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl<const N: usize> Queue<N> {
    /// An empty queue.
    ///
    /// # Errors
    /// `QuotaExceeded` when there are 8.
    pub fn new() -> Result<Self> {
        Self::new_on(stack()?)
    }

    /// As [`Queue::new`], on a stack other than the installed one.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new_on(stack: &'static Stack) -> Result<Self> {
        const FULL: Error = Error::new(ErrorKind::QuotaExceeded, "too many queues");
        const { assert!(N > 0 && N < NONE as usize) };
        let id = stack.lock().new_queue().ok_or(FULL)?;
        Ok(Self {
            stack,
            id,
            slots: core::array::from_fn(|n| Slot {
                token: 0,
                memory: None,
                peer: WireAddress::NONE,
                state: State::Free,
                life: 0,
                next: if n + 1 < N { n as u16 + 1 } else { NONE },
            }),
            free: 0,
            used: 0,
            finished: 0,
        })
    }

    /// Operations submitted and not yet reported.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.used.into()
    }

    /// Shows the manager what was submitted, without waiting for a batch.
    pub fn flush(&self) {
        self.stack.with(|_| ());
    }

    /// An operation that is done, if there is one.
    pub fn poll(&mut self) -> Option<Done> {
        let stack = self.stack;
        let mut core = stack.lock();
        if let Some(done) = self.take_done(&mut core) {
            stack.leave(core, false);
            return Some(done);
        }
        core.process();
        let done = self.take_done(&mut core);
        stack.leave(core, true);
        done
    }

    /// The next operation that is done: waits for one, at most `limit`. `None`:
    /// the time is over, or nothing is on its way.
    ///
    /// # Errors
    /// `Other` if the I/O manager broke its ring.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Option<Done>> {
        if self.used == 0 {
            return Ok(None);
        }
        let stack = self.stack;
        let done = stack.block(Wait::at_most(limit), false, |core| self.take_done(core));
        match done {
            Ok(done) => Ok(Some(done)),
            Err(e) if e == Error::TIMED_OUT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks for an operation to be cancelled; it is reported as any other, with
    /// `Interrupted` unless it was done already. False if it has been reported.
    pub fn cancel(&mut self, operation: Operation) -> bool {
        let Some(slot) = self.slots.get(usize::from(operation.slot)) else {
            return false;
        };
        match slot.state {
            _ if slot.life != operation.life => false,
            State::Free => false,
            State::Finished(_) => true,
            State::Outstanding(record) => {
                let submit = |core: &mut Core| core.submit_cancel(record);
                self.stack.block(Wait::Forever, true, submit).is_ok()
            }
        }
    }

    /// A free slot for an operation, filled in.
    fn fill_slot(&mut self, token: u64, memory: Memory, state: State) -> Operation {
        let index = self.free;
        let slot = &mut self.slots[usize::from(index)];
        self.free = slot.next;
        self.used += 1;
        self.finished += u16::from(matches!(state, State::Finished(_)));
        slot.token = token;
        slot.memory = Some(memory);
        slot.state = state;
        Operation {
            slot: index,
            life: slot.life,
        }
    }

    /// Takes an operation off whose slot is `index`.
    fn report(&mut self, index: u16, result: Result<usize>, memory: Option<Memory>) -> Done {
        let slot = &mut self.slots[usize::from(index)];
        slot.state = State::Free;
        slot.life = slot.life.wrapping_add(1);
        slot.next = self.free;
        self.free = index;
        self.used -= 1;
        Done {
            token: slot.token,
            result,
            peer: core::mem::take(&mut slot.peer).to_socket_addr(),
            memory,
        }
    }
}

impl<const N: usize> Drop for Queue<N> {
    fn drop(&mut self) {
        for slot in &self.slots {
            if let State::Outstanding(record) = slot.state {
                let submit = |core: &mut Core| core.submit_cancel(record);
                // Only a broken ring fails; seen below.
                let _ = self.stack.block(Wait::Forever, true, submit);
            }
        }
        while self.used != 0 {
            if self.wait(None).is_err() {
                // Nobody says what is still being touched: give it up.
                for slot in &mut self.slots {
                    core::mem::forget(slot.memory.take());
                }
                break;
            }
        }
        self.stack.lock().end_queue(self.id);
    }
}
