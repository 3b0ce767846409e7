//! What all sockets share, behind one lock.
//!
//! Invariant: requests outstanding plus answers not yet taken from the ring
//! never exceed the quota, so the manager always has room to answer; every
//! request record is free, on its way, or holds an answer in exactly one
//! queue.

use shared_ring::{Consumer, Producer};
use socket_api::{CLIENT_RING, COMPLETIONS_OFFSET, Completion, Op, REQUESTS_OFFSET, Request};
use zerocopy::FromZeros;

use crate::buffers::{Buffers, NO_UNIT};
use crate::counters::Counters;
use crate::error::SetupError;
use crate::platform::{Platform, Quota};
use crate::poll::{MAX_POLLS, ReadyList};
use crate::queue::{DoneList, MAX_QUEUES};
use crate::records::{
    NONE, RequestRecord, SocketRecord, Tables, flag, kind, owner, progress, state,
};
use crate::settings::Settings;
use crate::waiters::Waiters;

/// Requests kept for closing and other control while data takes the rest.
pub(crate) const RESERVE: u16 = 8;
/// Entries pushed after which the manager is shown them at the latest.
const UNSHOWN: u64 = 16;

/// The state behind the lock.
pub(crate) struct Core {
    requests: Producer<Request>,
    completions: Consumer<Completion>,
    pub platform: &'static dyn Platform,
    pub sockets: &'static mut [SocketRecord],
    pub records: &'static mut [RequestRecord],
    pub buffers: Buffers,
    pub settings: Settings,
    pub quota: Quota,
    pub waiters: Waiters,
    pub polls: [ReadyList; MAX_POLLS],
    pub queues: [DoneList; MAX_QUEUES],
    pub counters: Counters,
    /// Operations of queues that are on their way.
    pub asynchronous: u32,
    free_sockets: u16,
    /// Sockets in use, and those that outstanding `Accept`s may yet make.
    pub sockets_used: u16,
    free_records: u16,
    pub free_record_count: u16,
    /// Head and tail of the sockets that wait for slots or buffers.
    pub attention: (u16, u16),
    /// The first of the sockets that owe `Recv`s.
    pub owing: u16,
    /// Bytes in sends on their way.
    pub queued_bytes: u32,
    /// Bytes in sends that are told of only when something was received in
    /// their place.
    pub reposted_bytes: u32,
    /// Requests that the manager was shown, of all.
    shown: u64,
    /// The manager moved its index to an impossible place.
    pub broken: bool,
    /// Something has completed since waiting threads were last told.
    pub progressed: bool,
    /// Somebody waits for what sends hold, whose success is otherwise told
    /// quietly.
    pub starved: bool,
    /// Sockets that are closing.
    pub closing: u16,
    /// Sockets that a poll watches for room to send, of which there is none.
    pub parked: u16,
}

impl Core {
    /// Attaches to the rings and empties the tables.
    pub fn new(
        platform: &'static dyn Platform,
        memory: &'static mut [u8],
        settings: Settings,
    ) -> Result<Self, SetupError> {
        let mut quota = platform.quota();
        quota.requests = quota.requests.min(CLIENT_RING.capacity as u16);
        let (sockets, requests) = (usize::from(quota.sockets), usize::from(quota.requests));
        let Tables {
            sockets,
            requests,
            units,
            marks,
        } = Tables::cut(memory, sockets, requests)?;
        let control = platform.control();
        let ring = |offset| control.slice(offset, CLIENT_RING.bytes());
        let out_of_range = |_| SetupError::Ring(shared_ring::AttachError::OutOfRange);
        let region = platform.region();
        if region.is_none() && !platform.is_simulated() {
            return Err(SetupError::NoRegion);
        }
        let mut this = Self {
            requests: Producer::attach(ring(REQUESTS_OFFSET).map_err(out_of_range)?, CLIENT_RING)?,
            completions: Consumer::attach(
                ring(COMPLETIONS_OFFSET).map_err(out_of_range)?,
                CLIENT_RING,
            )?,
            sockets,
            records: requests,
            platform,
            buffers: Buffers::new(platform, region, units, marks),
            settings,
            quota,
            waiters: Waiters::NOBODY,
            polls: [ReadyList::EMPTY; MAX_POLLS],
            queues: [DoneList::EMPTY; MAX_QUEUES],
            counters: Counters::ZERO,
            asynchronous: 0,
            free_sockets: NONE,
            sockets_used: 0,
            free_records: NONE,
            free_record_count: 0,
            attention: (NONE, NONE),
            owing: NONE,
            queued_bytes: 0,
            reposted_bytes: 0,
            shown: 0,
            broken: false,
            progressed: false,
            starved: false,
            closing: 0,
            parked: 0,
        };
        for index in (0..this.sockets.len() as u16).rev() {
            this.sockets[usize::from(index)].next = this.free_sockets;
            this.free_sockets = index;
        }
        for index in (0..this.records.len() as u16).rev() {
            this.records[usize::from(index)].unit = NO_UNIT;
            this.free_record(index);
        }
        Ok(this)
    }

    /// The record of socket `index`.
    #[inline]
    pub fn socket(&mut self, index: u16) -> &mut SocketRecord {
        &mut self.sockets[usize::from(index)]
    }

    /// The record of request `index`.
    #[inline]
    pub fn record(&mut self, index: u16) -> &mut RequestRecord {
        &mut self.records[usize::from(index)]
    }

    /// A socket record for a new socket of the application; `None` when the
    /// quota is used up.
    pub fn new_socket(&mut self, socket_kind: u16) -> Option<u16> {
        if usize::from(self.sockets_used) >= self.sockets.len() {
            return None;
        }
        self.sockets_used += 1;
        self.take_socket(socket_kind)
    }

    /// As `new_socket`, for one that is counted already.
    pub fn take_socket(&mut self, socket_kind: u16) -> Option<u16> {
        let index = self.free_sockets;
        let linger = self.settings.linger_ms;
        let record = self.sockets.get_mut(usize::from(index))?;
        self.free_sockets = record.next;
        let life = record.life;
        *record = SocketRecord::new_zeroed();
        record.life = life;
        record.kind = socket_kind;
        record.state = state::OPEN;
        record.references = 1;
        (record.first, record.last) = (NONE, NONE);
        (record.ready_next, record.ready_before) = (NONE, NONE);
        record.next = NONE;
        record.linger = if socket_kind == kind::STREAM {
            linger
        } else {
            0
        };
        Some(index)
    }

    /// Frees a socket record that nothing refers to any more.
    pub fn free_socket(&mut self, index: u16) {
        self.leave_poll(index);
        self.remove_attention(index);
        self.forget_debt(index);
        let next = self.free_sockets;
        let record = self.socket(index);
        let closing = record.state == state::CLOSING;
        record.state = state::FREE;
        record.life = record.life.wrapping_add(1);
        record.next = next;
        self.free_sockets = index;
        self.sockets_used -= 1;
        self.closing -= u16::from(closing);
    }

    /// Makes a request record free; it must hold no buffer.
    #[inline]
    pub fn free_record(&mut self, index: u16) {
        let record = &mut self.records[usize::from(index)];
        record.progress = progress::FREE;
        record.next = self.free_records;
        self.free_records = index;
        self.free_record_count += 1;
    }

    /// As [`Core::free_record`], giving its buffer back first.
    #[inline]
    pub fn free_with_buffer(&mut self, index: u16) {
        let record = &mut self.records[usize::from(index)];
        let (unit, order) = (record.unit, record.order);
        record.unit = NO_UNIT;
        record.progress = progress::FREE;
        record.next = self.free_records;
        self.free_records = index;
        self.free_record_count += 1;
        if unit != NO_UNIT {
            self.buffers.free(unit, order);
        }
    }

    /// Submits `request` with a free record, which keeps the buffer `unit`;
    /// `None` when there is no free record.
    #[inline]
    pub fn submit(&mut self, request: Request, socket: u16, unit: u32, order: u16) -> Option<u16> {
        let index = self.free_records;
        let Some(record) = self.records.get_mut(usize::from(index)) else {
            self.starved = true;
            return None;
        };
        self.free_records = record.next;
        self.free_record_count -= 1;
        record.unit = unit;
        record.order = order;
        record.socket = socket;
        record.owner = owner::LIBRARY;
        record.after = 0;
        record.cancelled = 0;
        record.sent = 0;
        let user_data = start(record, index, &request);
        self.push(request, user_data);
        Some(index)
    }

    /// Submits `request` with record `index`, which keeps its buffer.
    #[inline]
    pub fn resubmit(&mut self, index: u16, request: Request) {
        let user_data = start(self.record(index), index, &request);
        self.push(request, user_data);
    }

    #[inline]
    fn push(&mut self, mut request: Request, user_data: u64) {
        request.user_data = user_data;
        // As many records as entries: only a manager that lies leaves no room.
        if self.requests.push(&request).is_err() {
            self.broken = true;
        }
        self.counters.requests += 1;
    }

    /// Shows the manager all requests; true if it must be signalled.
    #[inline]
    #[must_use]
    pub fn show(&mut self) -> bool {
        self.shown = self.counters.requests;
        let signal = self.requests.publish();
        self.counters.signals += u64::from(signal);
        signal
    }

    /// As [`Core::show`], if many are waiting to be shown.
    #[inline]
    #[must_use]
    pub fn show_many(&mut self) -> bool {
        self.counters.requests - self.shown >= UNSHOWN && self.show()
    }

    /// Takes all completions that have come.
    pub fn process(&mut self) {
        let mut taken = 0;
        let mut completion = Completion::default();
        loop {
            match self.completions.pop_into(&mut completion) {
                Ok(true) => {
                    if taken == 0 {
                        // Who is still starved finds out when it tries again.
                        self.starved = false;
                    }
                    taken += 1;
                    self.complete(&completion);
                }
                Ok(false) => break,
                Err(_) => {
                    self.broken = true;
                    self.progressed = true;
                    break;
                }
            }
        }
        self.counters.completions += taken;
        self.progressed |= taken != 0;
        if self.attention.0 != NONE {
            self.attend();
        }
    }

    /// Asks the manager for a signal; true if the caller may sleep.
    pub fn arm(&mut self) -> bool {
        match self.needs_anything() {
            true => self.completions.arm_for_anything(),
            false => self.completions.arm(),
        }
        .unwrap_or(false)
    }

    /// Whether somebody waits for the success of sends. The manager must be
    /// signalled after [`Core::arm`] then, since servers tell it quietly too.
    #[inline]
    pub fn needs_anything(&self) -> bool {
        self.starved || self.closing != 0 || self.parked != 0
    }

    /// A request on socket `index`.
    #[inline]
    pub fn request(&mut self, op: Op, index: u16) -> Request {
        Request::new(op, self.socket(index).handle, 0)
    }

    /// Appends record `record` to the queue of socket `index`.
    #[inline]
    pub fn enqueue(&mut self, index: u16, record: u16) {
        self.record(record).next = NONE;
        let last = self.socket(index).last;
        match last {
            NONE => self.socket(index).first = record,
            last => self.record(last).next = record,
        }
        let socket = self.socket(index);
        socket.last = record;
        socket.received += 1;
    }

    /// Removes the oldest record from the queue of socket `index`.
    #[inline]
    pub fn dequeue(&mut self, index: u16) -> Option<u16> {
        let socket = &mut self.sockets[usize::from(index)];
        let first = socket.first;
        let next = self.records.get(usize::from(first))?.next;
        socket.first = next;
        socket.received -= 1;
        if next == NONE {
            socket.last = NONE;
        }
        Some(first)
    }

    /// Puts a socket in the list of those that wait for slots or buffers.
    pub fn need_attention(&mut self, index: u16) {
        self.starved = true;
        let socket = self.socket(index);
        if socket.flags & flag::ATTENTION != 0 {
            return;
        }
        socket.flags |= flag::ATTENTION;
        socket.next = NONE;
        match self.attention.1 {
            NONE => self.attention.0 = index,
            last => self.socket(last).next = index,
        }
        self.attention.1 = index;
    }

    /// Takes the longest-waiting socket off the list.
    pub fn pop_attention(&mut self) -> Option<u16> {
        let index = self.attention.0;
        if index == NONE {
            return None;
        }
        let socket = self.socket(index);
        socket.flags &= !flag::ATTENTION;
        let next = socket.next;
        socket.next = NONE;
        self.attention.0 = next;
        if next == NONE {
            self.attention.1 = NONE;
        }
        Some(index)
    }

    fn remove_attention(&mut self, index: u16) {
        if self.socket(index).flags & flag::ATTENTION == 0 {
            return;
        }
        // Seldom, and the list is short: turn it once.
        for _ in 0..self.sockets.len() {
            match self.pop_attention() {
                Some(popped) if popped == index => return,
                Some(popped) => self.need_attention(popped),
                None => return,
            }
        }
    }
}

/// Books in record `index` that `request` is on its way; its word.
#[inline]
fn start(record: &mut RequestRecord, index: u16, request: &Request) -> u64 {
    record.generation = record.generation.wrapping_add(1);
    record.op = request.op;
    record.len = request.extent.len;
    record.progress = progress::OUTSTANDING;
    u64::from(record.generation) << 32 | u64::from(index)
}
