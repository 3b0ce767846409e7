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

use alloc::boxed::Box;

use data_passing::{Input, Output};
use socket_api::{Completion, Op, Status};

use crate::sockets::NO_SOCKET;
use crate::steer::NOT_STEERED;

/// No slot.
const NONE: u16 = u16::MAX;
/// Slots beyond twice the quota, for `Send`s that are answered and whose bytes
/// a device or server still needs.
const SPARE: u16 = 64;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    Free,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub len: u32,
    pub arg: u64,
}

impl Answer {
    pub const NONE: Self = Self {
        status: 0,
        len: 0,
        arg: 0,
    };
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
    /// With [`Stage::Holding`]: the first byte that is still needed.
    pub hold_from: u32,
    /// Once it is not [`Stage::Waiting`] any more.
    pub answer: Answer,
    /// The bytes.
    pub data: Data,
}

impl Outstanding {
    /// No request.
    const FREE: Self = Self {
        user_data: 0,
        handle: 0,
        address: 0,
        len: 0,
        socket: NO_SOCKET,
        new_socket: NO_SOCKET,
        in_flight: 0,
        steered: NOT_STEERED,
        server: 0,
        op: Op::DropClient,
        stage: Stage::Free,
        quiet: false,
        open: false,
        may_hold: false,
        posted: false,
        ended: false,
        delayed: false,
        failed: None,
        hold_from: 0,
        answer: Answer::NONE,
        data: Data::None,
    };

    /// Becomes a request that the server has; its data is none, as that of
    /// every free one is.
    #[inline]
    fn begin(&mut self, op: Op, server: u8, user_data: u64) {
        self.user_data = user_data;
        self.handle = 0;
        self.len = 0;
        self.socket = NO_SOCKET;
        self.new_socket = NO_SOCKET;
        self.in_flight = 0;
        self.steered = NOT_STEERED;
        self.server = server;
        self.op = op;
        self.stage = Stage::Waiting;
        self.quiet = false;
        self.open = false;
        self.may_hold = false;
        self.posted = false;
        self.ended = false;
        self.delayed = false;
        self.failed = None;
    }

    /// The completion that tells the client its answer.
    #[inline]
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
    #[inline]
    pub const fn is_sendable(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Holding | Stage::Held)
    }
}

#[derive(Debug)]
struct Slot {
    request: Outstanding,
    generation: u32,
    next_free: u16,
}

/// A client's requests.
#[derive(Debug)]
pub(crate) struct Tokens {
    slots: Box<[Slot]>,
    client: u16,
    free: u16,
    /// How many the client has not been told of.
    unanswered: u16,
    quota: u16,
    /// The first of the manager's own.
    own: u16,
    /// How many could outlive the answer to the client.
    holdable: u16,
}

/// The client number in a token.
#[inline]
pub(crate) fn client_of(token: u64) -> usize {
    (token >> 16) as u16 as usize
}

impl Tokens {
    /// Room for `quota` unanswered requests of client number `client`, and one
    /// `DropClient` for each of `servers`.
    pub fn new(client: u16, quota: u16, servers: u16) -> Self {
        let own = 2 * quota + SPARE;
        let slots = (0..own + servers).map(|n| Slot {
            request: Outstanding::FREE,
            generation: 1,
            next_free: if n + 1 < own { n + 1 } else { NONE },
        });
        Self {
            slots: slots.collect(),
            client,
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
        let used = self.slots.iter().filter(|s| s.request.stage != Stage::Free);
        used.count()
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

    /// Takes a slot for a request that `server` will have: its token. `None`
    /// if there is no slot.
    #[inline]
    pub fn begin(&mut self, op: Op, server: u8, user_data: u64) -> Option<(u64, u16)> {
        let index = self.free;
        let slot = self.slots.get_mut(usize::from(index))?;
        self.free = slot.next_free;
        slot.request.begin(op, server, user_data);
        self.unanswered += 1;
        Some((token(slot.generation, self.client, index), index))
    }

    /// The request in a slot may outlive the answer to the client.
    #[inline]
    pub fn let_hold(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.request.may_hold = true;
            self.holdable += 1;
        }
    }

    /// Remembers the manager's own `DropClient` to `server`.
    pub fn insert_drop(&mut self, server: u8) -> Option<u64> {
        let index = self.own + u16::from(server);
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.request.begin(Op::DropClient, server, 0);
        Some(token(slot.generation, self.client, index))
    }

    /// The slot of a token that `server` was given.
    #[inline]
    pub fn find(&self, token: u64, server: u8) -> Option<u16> {
        let index = token as u16;
        let slot = self.slots.get(usize::from(index))?;
        let right = u64::from(slot.generation) == token >> 32
            && slot.request.stage != Stage::Free
            && slot.request.server == server;
        right.then_some(index)
    }

    /// The request in a slot.
    #[inline]
    pub fn get(&mut self, index: u16) -> Option<&mut Outstanding> {
        let slot = self.slots.get_mut(usize::from(index))?;
        (slot.request.stage != Stage::Free).then_some(&mut slot.request)
    }

    /// The client is told of a request, or never will be.
    #[inline]
    pub fn told(&mut self) {
        self.unanswered -= 1;
    }

    /// Forgets the request in a slot, whose token is void from now on; its
    /// data.
    #[inline]
    pub fn free(&mut self, index: u16) -> Data {
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Data::None;
        };
        if slot.request.stage == Stage::Free {
            return Data::None;
        }
        slot.request.stage = Stage::Free;
        slot.generation = slot.generation.wrapping_add(1);
        if index < self.own {
            slot.next_free = self.free;
            self.free = index;
            self.holdable -= u16::from(slot.request.may_hold);
        }
        core::mem::replace(&mut slot.request.data, Data::None)
    }

    /// Forgets a request that no server has heard of.
    #[inline]
    pub fn cancel(&mut self, index: u16) -> Data {
        self.unanswered -= 1;
        self.free(index)
    }

    /// The first slot from `from` on whose request `which` picks.
    pub fn position(&self, from: u16, which: impl Fn(&Outstanding) -> bool) -> Option<u16> {
        let slots = self.slots.get(usize::from(from)..)?;
        let found = slots
            .iter()
            .position(|s| s.request.stage != Stage::Free && which(&s.request))?;
        Some(from + found as u16)
    }

    /// The token of the request on `socket`, on its way, that the client calls
    /// `user_data`.
    pub fn search(&self, socket: u16, user_data: u64) -> Option<u64> {
        let wanted = |r: &Outstanding| {
            r.socket == socket && r.user_data == user_data && r.stage == Stage::Waiting
        };
        let index = self.position(0, wanted)?;
        let generation = self.slots.get(usize::from(index))?.generation;
        Some(token(generation, self.client, index))
    }
}

#[inline]
fn token(generation: u32, client: u16, index: u16) -> u64 {
    u64::from(generation) << 32 | u64::from(client) << 16 | u64::from(index)
}
