//! Which operations of which queue are done.
//!
//! Invariant: an answered record of a queue is in that queue's list, once,
//! until the queue takes it.

use socket_api::{Completion, Op, Status};

use super::submit::WHOLE;
use super::{Done, MAX_QUEUES, Memory, Queue, State};
use crate::buffers::Standing;
use crate::core_state::Core;
use crate::error::Error;
use crate::records::NONE;

/// Answered requests of one queue, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoneList {
    used: bool,
    first: u16,
    last: u16,
}

impl DoneList {
    pub const EMPTY: Self = Self {
        used: false,
        first: NONE,
        last: NONE,
    };
}

impl Core {
    /// The number of a new queue, if there is one.
    pub(super) fn new_queue(&mut self) -> Option<u16> {
        let free = self.queues.iter().position(|q| !q.used)?;
        self.queues[free] = DoneList {
            used: true,
            ..DoneList::EMPTY
        };
        Some(free as u16)
    }

    /// Frees the number of a queue.
    pub(super) fn end_queue(&mut self, id: u16) {
        self.queues[usize::from(id)] = DoneList::EMPTY;
    }

    /// Record `record` of queue `id` has been answered.
    pub(crate) fn enqueue_done(&mut self, id: u16, record: u16) {
        self.asynchronous = self.asynchronous.saturating_sub(1);
        self.record(record).next = NONE;
        let list = usize::from(id).min(MAX_QUEUES - 1);
        match self.queues[list].last {
            NONE => self.queues[list].first = record,
            last => self.record(last).next = record,
        }
        self.queues[list].last = record;
    }

    /// Takes the oldest answer of queue `id`: its tag, how a block stands after
    /// it, and the answer.
    fn dequeue_done(&mut self, id: u16) -> Option<(u32, Standing, Completion)> {
        let list = usize::from(id);
        let first = self.queues[list].first;
        let record = self.records.get(usize::from(first))?;
        let (next, tag) = (record.next, record.tag);
        let (after, ok) = (record.after, record.status == Status::Ok as u16);
        self.queues[list].first = next;
        if next == NONE {
            self.queues[list].last = NONE;
        }
        let answer = self.take_answer(first);
        // A send moves pages away if it succeeds, a receive brings them back.
        let moved = ok == (answer.op == Op::Send as u16);
        let after = if moved { after } else { 0 };
        Some((tag, Standing::from_number(after), answer))
    }
}

impl<const N: usize> Queue<N> {
    /// Takes an operation that is done.
    pub(super) fn take_done(&mut self, core: &mut Core) -> Option<Done> {
        if self.finished != 0 {
            return self.take_finished();
        }
        let (tag, after, completion) = core.dequeue_done(self.id)?;
        let index = tag as u16;
        let memory = self.slots[usize::from(index)].memory.take();
        let result = match completion.status {
            status if status == Status::Ok as u16 => Ok(completion.len as usize),
            // What a stream took before it was cut short counts.
            _ if completion.op == Op::Send as u16 && completion.len != 0 => {
                Ok(completion.len as usize)
            }
            status => Err(Error::from_status(status)),
        };
        if completion.op == Op::Send as u16 {
            let memory = memory.and_then(|m| as_it_stands(core, m, after));
            return Some(self.report(index, result, memory));
        }
        let slot = &mut self.slots[usize::from(index)];
        slot.peer = completion.address;
        let memory = memory.and_then(|mut memory| {
            memory.reclaim(tag & WHOLE != 0, result.unwrap_or(0));
            as_it_stands(core, memory, after)
        });
        Some(self.report(index, result, memory))
    }

    fn take_finished(&mut self) -> Option<Done> {
        let mut slots = self.slots.iter().zip(0u16..);
        let (index, result) = slots.find_map(|(slot, index)| match slot.state {
            State::Finished(result) => Some((index, result)),
            _ => None,
        })?;
        self.finished -= 1;
        let memory = self.slots[usize::from(index)].memory.take();
        Some(self.report(index, result, memory))
    }
}

/// A block that lost its pages stands aside; everything else comes back.
pub(super) fn as_it_stands(core: &mut Core, memory: Memory, after: Standing) -> Option<Memory> {
    match (memory, after) {
        (memory, Standing::Mapped) => Some(memory),
        (Memory::Buffer(buffer), after) => {
            let block = buffer.disown(core);
            let after = block.standing(&core.buffers, after);
            core.buffers.settle(block.unit, block.order, after);
            None
        }
        (memory, _) => Some(memory),
    }
}
