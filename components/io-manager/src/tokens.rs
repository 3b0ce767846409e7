//! The requests of one client that are on their way.
//!
//! Problem: a server must be able to answer a request without ever having
//! seen what the client called it. Invariant: a token is good for one answer;
//! the generation in it changes when the slot is freed. The last slots belong
//! to the manager: one `DropClient` for each server, which never waits for
//! the client's quota.

use alloc::boxed::Box;
use alloc::vec;

use socket_api::Op;

use crate::sockets::NO_SOCKET;

/// No slot.
const NONE: u16 = u16::MAX;

/// What is remembered of a request until it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    /// The client's word.
    pub user_data: u64,
    /// Bytes of the extent, or of room for the answer.
    pub len: u32,
    /// The socket, or [`NO_SOCKET`].
    pub socket: u16,
    /// The socket reserved for the result, or [`NO_SOCKET`].
    pub new_socket: u16,
    /// Which server has it.
    pub server: u8,
    /// What was asked.
    pub op: Op,
    /// The client needs no waking for success.
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    request: Option<Outstanding>,
    generation: u32,
    next_free: u16,
}

/// A client's outstanding requests.
#[derive(Debug)]
pub(crate) struct Tokens {
    slots: Box<[Slot]>,
    client: u16,
    free: u16,
    used: u16,
    own: u16,
}

/// The client number in a token.
#[inline]
pub(crate) fn client_of(token: u64) -> usize {
    (token >> 16) as u16 as usize
}

impl Tokens {
    /// Room for `requests` requests of client number `client`, and one
    /// `DropClient` for each of `servers`.
    pub fn new(client: u16, requests: u16, servers: u16) -> Self {
        let blank = Slot {
            request: None,
            generation: 1,
            next_free: NONE,
        };
        let mut this = Self {
            slots: vec![blank; (requests + servers) as usize].into_boxed_slice(),
            client,
            free: NONE,
            used: 0,
            own: requests,
        };
        for index in (0..requests).rev() {
            this.slots[index as usize].next_free = this.free;
            this.free = index;
        }
        this
    }

    /// The client's requests on their way.
    #[inline]
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Whether the client may have one more.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.free != NONE
    }

    /// Remembers a request; its token, or `None` when the quota is used up.
    #[inline]
    pub fn insert(&mut self, request: Outstanding) -> Option<u64> {
        let index = self.free;
        let slot = self.slots.get_mut(index as usize)?;
        self.free = slot.next_free;
        slot.request = Some(request);
        self.used += 1;
        Some(token(slot.generation, self.client, index))
    }

    /// Remembers the manager's own `DropClient` to `server`.
    pub fn insert_drop(&mut self, server: u8) -> Option<u64> {
        let index = self.own + u16::from(server);
        let slot = self.slots.get_mut(index as usize)?;
        slot.request = Some(Outstanding {
            user_data: 0,
            len: 0,
            socket: NO_SOCKET,
            new_socket: NO_SOCKET,
            server,
            op: Op::DropClient,
            quiet: false,
        });
        Some(token(slot.generation, self.client, index))
    }

    /// The request that `token` was made for, which `server` has answered and
    /// which is forgotten; `None` if it is not one that waits there.
    #[inline]
    pub fn answer(&mut self, token: u64, server: usize) -> Option<Outstanding> {
        let index = token as u16;
        let slot = self.slots.get(usize::from(index))?;
        let asked = slot.request.as_ref()?.server;
        if u64::from(slot.generation) != token >> 32 || usize::from(asked) != server {
            return None;
        }
        self.take(index)
    }

    /// Forgets the request in slot `index`.
    #[inline]
    fn take(&mut self, index: u16) -> Option<Outstanding> {
        let slot = self.slots.get_mut(index as usize)?;
        let request = slot.request.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        if index < self.own {
            slot.next_free = self.free;
            self.free = index;
            self.used -= 1;
        }
        Some(request)
    }

    /// Forgets and returns some request that `which` picks.
    pub fn take_matching(&mut self, which: impl Fn(&Outstanding) -> bool) -> Option<Outstanding> {
        let matches = |s: &Slot| s.request.as_ref().is_some_and(&which);
        let index = self.slots.iter().position(matches)?;
        self.take(index as u16)
    }

    /// The token of the request on `socket` that the client calls `user_data`.
    pub fn search(&self, socket: u16, user_data: u64) -> Option<u64> {
        let wanted = |s: &Slot| {
            s.request
                .is_some_and(|r| r.socket == socket && r.user_data == user_data)
        };
        let index = self.slots.iter().position(wanted)?;
        Some(token(
            self.slots[index].generation,
            self.client,
            index as u16,
        ))
    }
}

#[inline]
fn token(generation: u32, client: u16, index: u16) -> u64 {
    u64::from(generation) << 32 | u64::from(client) << 16 | u64::from(index)
}
