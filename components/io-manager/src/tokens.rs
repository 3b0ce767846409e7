//! The requests of one client that are on their way.
//!
//! Problem: a server must be able to answer a request, and to name the bytes
//! of a `Send`, without ever having seen what the client called it; and the
//! bytes may be needed longer than either waits. Invariant: a token is good
//! for one answer, and for naming bytes until the server has said that it
//! needs them no more; the generation in it changes when the slot is freed,
//! which it never is while a device has bytes of it. The last slots belong to
//! the manager: one `DropClient` for each server, which never waits for the
//! client's quota.
//!
//! Receives of datagrams wait in order, by socket. The server has one token for
//! all of a socket's: it stands for the oldest.

use alloc::boxed::Box;
use alloc::vec;

use data_passing::{Input, Output};
use socket_api::{Completion, Extent, Op, Request, Status, flags};

use crate::sockets::NO_SOCKET;
use crate::steer::NOT_STEERED;

/// No slot.
const NONE: u16 = u16::MAX;
/// The server of a slot without a request.
const NO_SERVER: u8 = u8::MAX;
/// One generation in a token, which is its upper half, and the first. Tokens of
/// none stand for the oldest receive of a socket.
const GENERATION: u64 = 1 << 32;
const FIRST_GENERATION: u64 = GENERATION;
/// Slots beyond twice the quota, for `Send`s that are answered and whose bytes
/// a device or server still needs.
const SPARE: u16 = 64;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The server has it.
    Waiting,
    /// The server is done; the client is told when no device has the bytes.
    Done,
    /// The server may send the bytes again until it retires them; the client
    /// is told when those that it might change have been copied.
    Holding,
    /// The client was told; the server may send the bytes again.
    Held,
    /// The client was told; a device has bytes.
    Draining,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub status: u16,
    pub len: u32,
    pub arg: u64,
}

impl Answer {
    /// All is well with all of a `Send`.
    #[inline(always)]
    pub fn all_of(request: &Outstanding) -> Self {
        Self {
            status: Status::Ok as u16,
            len: request.len,
            arg: 0,
        }
    }
}

/// The bytes of a request.
#[derive(Debug)]
pub(crate) enum Data {
    /// None.
    None,
    /// Of a `Send`.
    Output(Output),
    /// Room of a `Recv`.
    Input(Input),
}

/// What is remembered of a request.
#[derive(Debug)]
pub(crate) struct Outstanding {
    /// The client's word.
    pub user_data: u64,
    /// The client's handle of the socket, or 0.
    pub handle: u32,
    /// Where the client wants the answer of a `Resolve`.
    pub address: u32,
    /// Bytes of the extent, or of room for the answer.
    pub len: u32,
    /// The socket, or [`NO_SOCKET`].
    pub socket: u16,
    /// The socket reserved for the result, or [`NO_SOCKET`].
    pub new_socket: u16,
    /// Frames with bytes of it that a device has, or will get.
    pub in_flight: u16,
    /// Which buffer of the NIC is its room, or [`NOT_STEERED`].
    pub steered: u16,
    /// Which server has it.
    pub server: u8,
    /// What was asked.
    pub op: Op,
    /// How far it is.
    pub stage: Stage,
    /// The client needs no waking for success.
    pub quiet: bool,
    /// It is of a stream's socket.
    pub of_stream: bool,
    /// The client could change the bytes of the `Send` once it is told.
    pub open: bool,
    /// The server may keep the bytes after its completion.
    pub may_hold: bool,
    /// The NIC has its room.
    pub posted: bool,
    /// The server has done with it.
    pub ended: bool,
    /// The client is told later than the server would have it.
    pub delayed: bool,
    /// Bytes could not be delivered, and what the client is told then.
    pub failed: Option<Status>,
    /// It waits in the order of its socket's receives.
    pub queued: bool,
    /// It is a `Send` that becomes a `Recv` of that order.
    pub repost: bool,
    /// Room of the `Recv` that it becomes.
    pub room: u32,
    /// What a `Cancel` is about, if that is a queued `Recv`, or 0.
    pub target: u64,
    /// With [`Stage::Holding`]: the first byte that is still needed.
    pub hold_from: u32,
    /// Once it is not [`Stage::Waiting`] any more.
    pub answer: Answer,
    /// The bytes.
    pub data: Data,
}

impl Outstanding {
    /// A request without anything.
    #[inline]
    pub fn new(op: Op, server: u8, user_data: u64) -> Self {
        Self {
            user_data,
            handle: 0,
            address: 0,
            len: 0,
            socket: NO_SOCKET,
            new_socket: NO_SOCKET,
            in_flight: 0,
            steered: NOT_STEERED,
            server,
            op,
            stage: Stage::Waiting,
            quiet: false,
            of_stream: false,
            open: false,
            may_hold: false,
            posted: false,
            ended: false,
            delayed: false,
            failed: None,
            queued: false,
            repost: false,
            room: 0,
            target: 0,
            hold_from: 0,
            answer: Answer::default(),
            data: Data::None,
        }
    }

    /// Notes a request of the client's in a free slot, without its bytes; the
    /// rest of the slot is as it was left.
    #[inline(always)]
    pub fn note(
        &mut self,
        op: Op,
        request: &Request,
        (socket, new_socket): (u16, u16),
        of_stream: bool,
    ) {
        self.user_data = request.user_data;
        self.handle = request.socket;
        self.len = request.extent.len;
        (self.socket, self.new_socket) = (socket, new_socket);
        (self.in_flight, self.steered) = (0, NOT_STEERED);
        (self.op, self.stage) = (op, Stage::Waiting);
        self.quiet = request.flags & flags::QUIET != 0;
        self.of_stream = of_stream;
        (self.open, self.may_hold, self.posted) = (false, false, false);
        (self.ended, self.delayed, self.failed) = (false, false, None);
        (self.queued, self.repost, self.target) = (false, false, 0);
    }

    /// Whether the client waits for the device to let go of its bytes. Not for a
    /// `Send` of whose success it does not ask to be told; nor for one that becomes
    /// a `Recv`, of which nobody hears before something arrives, and with that comes
    /// the news; nor for a stream's, which ends with an acknowledgement, that has to
    /// arrive too.
    #[inline(always)]
    pub const fn is_waited_for(&self) -> bool {
        self.open && !self.quiet && !self.repost && !self.of_stream
    }

    /// Whether, since only a device holds it up, the client waits for that after
    /// all: for a stream's `Send` that no acknowledgement ended.
    #[inline(always)]
    pub const fn is_stuck(&self) -> bool {
        self.of_stream && !self.quiet
    }

    /// Whether it is a `Send` that is over, well, and is to become a `Recv`.
    #[inline(always)]
    pub fn becomes_recv(&self) -> bool {
        self.repost
            && self.stage == Stage::Done
            && self.in_flight == 0
            && self.answer.status == Status::Ok as u16
    }

    /// Room of the `Recv` that it becomes.
    #[inline(always)]
    pub const fn room(&self) -> Extent {
        Extent {
            address: self.address,
            len: self.room,
        }
    }

    /// Makes a `Send` that is over the `Recv` that it is to become, without its
    /// bytes.
    #[inline(always)]
    pub fn become_recv(&mut self) {
        (self.op, self.stage, self.len) = (Op::Recv, Stage::Waiting, self.room);
        (self.open, self.ended, self.delayed) = (false, false, false);
        self.repost = false;
    }

    /// Notes its bytes; there were none that own memory.
    #[inline(always)]
    pub fn keep(&mut self, data: Data) {
        // So nothing would have to be dropped.
        core::mem::forget(core::mem::replace(&mut self.data, data));
    }

    /// The completion that tells the client its answer.
    #[inline(always)]
    pub fn completion(&self) -> Completion {
        Completion {
            op: self.op as u16,
            status: self.answer.status,
            socket: self.handle,
            user_data: self.user_data,
            len: self.answer.len,
            arg: self.answer.arg,
            ..Completion::default()
        }
    }

    /// Whether the NIC has its room.
    #[inline]
    pub const fn is_posted(&self) -> bool {
        self.posted
    }

    /// Whether the server may send its bytes.
    #[inline(always)]
    pub const fn is_sendable(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Holding | Stage::Held)
    }
}

/// A slot. A free one has a request of [`NO_SERVER`], without bytes.
#[derive(Debug)]
struct Slot {
    /// What names the request in it, or will name the next.
    token: u64,
    request: Outstanding,
    /// The slot behind it, among the free ones or in its socket's order.
    next: u16,
}

/// A socket's receives that wait, in order.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u16,
    last: u16,
}

/// A client's requests.
#[derive(Debug)]
pub(crate) struct Tokens {
    slots: Box<[Slot]>,
    /// By socket.
    queues: Box<[Queue]>,
    free: u16,
    /// How many the client has not been told of.
    unanswered: u16,
    quota: u16,
    /// The first of the manager's own.
    own: u16,
    /// How many could outlive the answer to the client.
    holdable: u16,
}

/// A slot for one more request; nothing is taken before [`Vacancy::fill`].
pub(crate) struct Vacancy<'a> {
    /// What is to be remembered, as [`Outstanding::note`] has it.
    pub request: &'a mut Outstanding,
    token: u64,
    next: u16,
    free: &'a mut u16,
    unanswered: &'a mut u16,
    holdable: &'a mut u16,
}

impl Vacancy<'_> {
    /// Remembers the request, which goes to `server`; its token.
    #[inline]
    pub fn fill(self, server: u8) -> u64 {
        self.request.server = server;
        *self.holdable += u16::from(self.request.may_hold);
        *self.unanswered += 1;
        *self.free = self.next;
        self.token
    }
}

/// What stands for the oldest receive of a socket of a client's.
#[inline]
pub(crate) const fn receives_of(client: u16, socket: u16) -> u64 {
    (client as u64) << 16 | socket as u64
}

/// Whether a token stands for the oldest receive of a socket.
#[inline(always)]
pub(crate) const fn is_oldest(token: u64) -> bool {
    token < GENERATION
}

/// The token of the next generation.
#[inline(always)]
const fn following(token: u64) -> u64 {
    match token.wrapping_add(GENERATION) {
        next if is_oldest(next) => next + GENERATION,
        next => next,
    }
}

/// The client number in a token.
#[inline]
pub(crate) fn client_of(token: u64) -> usize {
    (token >> 16) as u16 as usize
}

impl Tokens {
    /// Room for `quota` unanswered requests of client number `client` on so many
    /// `sockets`, and one `DropClient` for each of `servers`.
    pub fn new(client: u16, quota: u16, sockets: u16, servers: u16) -> Self {
        let nothing = Queue {
            first: NONE,
            last: NONE,
        };
        let own = 2 * quota + SPARE;
        let slots = (0..own + servers).map(|n| Slot {
            token: FIRST_GENERATION | u64::from(client) << 16 | u64::from(n),
            request: Outstanding::new(Op::DropClient, NO_SERVER, 0),
            next: if n + 1 < own { n + 1 } else { NONE },
        });
        Self {
            slots: slots.collect(),
            queues: vec![nothing; usize::from(sockets)].into_boxed_slice(),
            free: 0,
            unanswered: 0,
            quota,
            own,
            holdable: 0,
        }
    }

    /// The client's requests that it has not been told of.
    #[inline]
    pub fn unanswered(&self) -> u16 {
        self.unanswered
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        let used = |s: &&Slot| s.request.server != NO_SERVER;
        self.slots.iter().filter(used).count()
    }

    /// Whether the client's quota allows one more.
    #[inline]
    pub fn is_allowed(&self) -> bool {
        self.unanswered < self.quota
    }

    /// Whether there is a slot for one more.
    #[inline]
    pub fn has_slot(&self) -> bool {
        self.free != NONE
    }

    /// Whether the server may keep one more after its completion.
    #[inline]
    pub fn may_hold_more(&self) -> bool {
        self.holdable < self.quota
    }

    /// A slot for one more request.
    #[inline]
    pub fn vacancy(&mut self) -> Option<Vacancy<'_>> {
        let slot = self.slots.get_mut(usize::from(self.free))?;
        Some(Vacancy {
            request: &mut slot.request,
            token: slot.token,
            next: slot.next,
            free: &mut self.free,
            unanswered: &mut self.unanswered,
            holdable: &mut self.holdable,
        })
    }

    /// Remembers the manager's own `DropClient` to `server`.
    pub fn insert_drop(&mut self, server: u8) -> Option<u64> {
        let index = self.own + u16::from(server);
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.request = Outstanding::new(Op::DropClient, server, 0);
        Some(slot.token)
    }

    /// The slot that a token means, if there is such.
    #[inline(always)]
    fn place(&self, token: u64) -> u16 {
        match is_oldest(token) {
            true => self.oldest(token as u16).unwrap_or(NONE),
            false => token as u16,
        }
    }

    /// The oldest receive of a socket that waits in order.
    #[inline(always)]
    pub fn oldest(&self, socket: u16) -> Option<u16> {
        let first = self.queues.get(usize::from(socket))?.first;
        (first != NONE).then_some(first)
    }

    /// The slot of a token that `server` was given.
    #[inline]
    pub fn find(&self, token: u64, server: u8) -> Option<u16> {
        let index = self.place(token);
        let slot = self.slots.get(usize::from(index))?;
        let named = slot.token == token || is_oldest(token);
        (named && slot.request.server == server).then_some(index)
    }

    /// Has the receive in a slot wait behind its socket's others.
    #[inline(always)]
    pub fn enqueue(&mut self, index: u16, socket: u16) {
        let last = match self.queues.get_mut(usize::from(socket)) {
            Some(queue) if queue.first != NONE => core::mem::replace(&mut queue.last, index),
            Some(queue) => {
                (queue.first, queue.last) = (index, index);
                NONE
            }
            None => return,
        };
        if let Some(last) = self.slots.get_mut(usize::from(last)) {
            last.next = index;
        }
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.next = NONE;
            slot.request.queued = true;
        }
    }

    /// As [`Tokens::enqueue`], of a request that has become a receive: what its
    /// token named is over.
    #[inline(always)]
    pub fn renew_and_enqueue(&mut self, index: u16, socket: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.token = following(slot.token);
        }
        self.enqueue(index, socket);
    }

    /// Takes the oldest receive that waits out of its socket's order, since the
    /// server is told of it by itself; its token and room.
    pub fn pass_on_oldest(&mut self, socket: u16) -> Option<(u64, u32)> {
        let oldest = self.oldest(socket)?;
        self.dequeue(oldest);
        let slot = self.slots.get(usize::from(oldest))?;
        Some((slot.token, slot.request.len))
    }

    /// Takes the receive in a slot out of its socket's order.
    #[inline(always)]
    fn dequeue(&mut self, index: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return;
        };
        slot.request.queued = false;
        let (next, socket) = (slot.next, usize::from(slot.request.socket));
        match self.queues.get_mut(socket) {
            Some(queue) if queue.first == index => {
                queue.first = next;
                if next == NONE {
                    queue.last = NONE;
                }
            }
            _ => self.dequeue_from_middle(socket, index, next),
        }
    }

    #[cold]
    fn dequeue_from_middle(&mut self, socket: usize, index: u16, next: u16) {
        let Some(queue) = self.queues.get_mut(socket) else {
            return;
        };
        let mut before = queue.first;
        while let Some(slot) = self.slots.get_mut(usize::from(before)) {
            if slot.next == index {
                slot.next = next;
                if queue.last == index {
                    queue.last = before;
                }
                return;
            }
            before = slot.next;
        }
    }

    /// The token of the request in a slot.
    pub fn token(&self, index: u16) -> Option<u64> {
        self.slots.get(usize::from(index)).map(|slot| slot.token)
    }

    /// The request that a token stands for which `server` was given, and its
    /// slot.
    #[inline(always)]
    pub fn named(&mut self, token: u64, server: u8) -> Option<(u16, &mut Outstanding)> {
        let index = self.place(token);
        let slot = self.slots.get_mut(usize::from(index))?;
        let named = slot.token == token || is_oldest(token);
        let found = named && slot.request.server == server;
        found.then_some((index, &mut slot.request))
    }

    /// The request in a slot.
    #[inline(always)]
    pub fn get(&mut self, index: u16) -> Option<&mut Outstanding> {
        let request = &mut self.slots.get_mut(usize::from(index))?.request;
        (request.server != NO_SERVER).then_some(request)
    }

    /// The client is told of a request, or never will be.
    #[inline(always)]
    pub fn told(&mut self) {
        self.unanswered -= 1;
    }

    /// Forgets the request in a slot, whose token is void from now on; what it
    /// had of bytes.
    pub fn free(&mut self, index: u16) -> Data {
        let Some(request) = self.get(index) else {
            return Data::None;
        };
        let data = core::mem::replace(&mut request.data, Data::None);
        self.forget(index);
        data
    }

    /// As [`Tokens::free`], of a request of whose bytes nothing is left to end.
    #[inline(always)]
    pub fn forget(&mut self, index: u16) {
        let Some(slot) = self.slots.get(usize::from(index)) else {
            return;
        };
        if slot.request.queued {
            self.dequeue(index);
        }
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return;
        };
        slot.request.server = NO_SERVER;
        slot.request.keep(Data::None);
        slot.token = following(slot.token);
        if index < self.own {
            slot.next = self.free;
            self.free = index;
            self.holdable -= u16::from(slot.request.may_hold);
        }
    }

    /// The first slot from `from` on whose request `which` picks.
    pub fn position(&self, from: u16, which: impl Fn(&Outstanding) -> bool) -> Option<u16> {
        let slots = self.slots.get(usize::from(from)..)?;
        let picked = |s: &Slot| s.request.server != NO_SERVER && which(&s.request);
        let found = slots.iter().position(picked)?;
        Some(from + found as u16)
    }

    /// The token of the request on `socket`, on its way, that the client calls
    /// `user_data`.
    pub fn search(&self, socket: u16, user_data: u64) -> Option<u64> {
        let wanted = |r: &Outstanding| {
            r.socket == socket && r.user_data == user_data && r.stage == Stage::Waiting
        };
        let index = self.position(0, wanted)?;
        Some(self.slots.get(usize::from(index))?.token)
    }

    /// The `Send` on `socket` that the client calls `user_data` becomes no `Recv`.
    pub fn forgo_repost(&mut self, socket: u16, user_data: u64) {
        let wanted = |r: &Outstanding| r.socket == socket && r.user_data == user_data && r.repost;
        let index = self.position(0, wanted);
        if let Some(request) = index.and_then(|index| self.get(index)) {
            request.repost = false;
        }
    }

    /// Whether a token is that of a receive that waits in order.
    pub fn is_queued(&self, token: u64) -> bool {
        let slot = self.slots.get(usize::from(token as u16));
        slot.is_some_and(|slot| slot.token == token && slot.request.queued)
    }
}
