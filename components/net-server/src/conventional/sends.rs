//! What is to be sent, in socket buffers of the server's own.
//!
//! Problem: the bytes of a `Send` come in a message that the manager wants back,
//! and are needed until they are acknowledged. Invariant: they are copied once,
//! when the request comes, and from then on named by a token of our own, which
//! is good until the server has answered the request or, where that was
//! answered because all of it is queued, has retired it. There is room for all
//! requests that the manager may have outstanding, so only one that has more is
//! refused; of what is answered early only so much is held that this stays so.

use alloc::vec::Vec;

use shared_ring::SharedMemory;
use socket_api::{
    Completion, Inbox, MESSAGE_BYTES, MessageSizes, Op, Part, Request, SOCKET_HELD_BLOCKS, Status,
    flags,
};

use super::pool::{Chain, Cursor, Pool};

/// Tokens of ours have this bit, in which the manager's have a client's number.
const OURS: u64 = 1 << 31;

/// A `Send`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// What names it: another with each request.
    token: u64,
    /// The manager's token, and the socket's number.
    theirs: u64,
    socket: u32,
    client: u32,
    in_use: bool,
    /// The blocks that it may hold once it was answered.
    holdable: u32,
    len: u32,
    chain: Chain,
    cursor: Cursor,
}

/// All of them.
pub(super) struct Sends {
    entries: Vec<Entry>,
    free: Vec<u32>,
    pool: Pool,
    /// Blocks that more `Send`s may hold.
    holdable: u32,
}

impl Sends {
    /// With room for what `sizes` let the manager have outstanding.
    pub fn new(sizes: MessageSizes) -> Self {
        let count = sizes.requests + SOCKET_HELD_BLOCKS;
        let entry = |n| Entry {
            token: OURS | u64::from(n),
            theirs: 0,
            socket: 0,
            client: 0,
            in_use: false,
            holdable: 0,
            len: 0,
            chain: Chain::EMPTY,
            cursor: Pool::start(Chain::EMPTY),
        };
        Self {
            entries: (0..count).map(entry).collect(),
            free: (0..count).rev().collect(),
            pool: Pool::new(sizes.socket_blocks()),
            holdable: SOCKET_HELD_BLOCKS,
        }
    }

    /// Blocks that are free.
    pub const fn room(&self) -> u32 {
        self.pool.free()
    }

    /// Copies the message of a `Send`, and has the request name the copy. False
    /// if there is no such message, or no room for it; nothing is changed then.
    #[inline]
    pub fn take(&mut self, request: &mut Request, region: &SharedMemory, inbox: &Inbox) -> bool {
        let (position, len) = (request.extent.address, request.extent.len);
        let Some(from) = inbox.find(position, len) else {
            return false;
        };
        if len > MESSAGE_BYTES || self.free.is_empty() {
            return false;
        }
        let Some(chain) = self.pool.take(len) else {
            return false;
        };
        let mut at = from;
        let copied = self.pool.fill(chain, len as usize, |bytes| {
            let read = region.read(at, bytes).is_ok();
            at += bytes.len();
            read
        });
        let Some(free) = self.free.pop_if(|_| copied) else {
            self.pool.give_back(chain);
            return false;
        };
        let may_hold = request.flags & flags::MAY_HOLD != 0 && chain.blocks() <= self.holdable;
        if !may_hold {
            request.flags &= !flags::MAY_HOLD;
        }
        let entry = &mut self.entries[free as usize];
        entry.holdable = if may_hold { chain.blocks() } else { 0 };
        self.holdable -= entry.holdable;
        (entry.theirs, entry.client) = (request.user_data, request.client);
        entry.socket = request.socket;
        (entry.len, entry.chain, entry.cursor) = (len, chain, Pool::start(chain));
        entry.in_use = true;
        request.user_data = entry.token;
        request.extent.address = 0;
        true
    }

    /// The entry that a token of ours names.
    #[inline]
    fn find(&self, token: u64) -> Option<usize> {
        let index = (token as u32 & !(OURS as u32)) as usize;
        let entry = self.entries.get(index)?;
        (entry.in_use && entry.token == token).then_some(index)
    }

    /// Our token for a `Send` that the manager calls `theirs`.
    pub fn ours(&self, theirs: u64) -> Option<u64> {
        let entry = self.entries.iter().find(|e| e.in_use && e.theirs == theirs);
        entry.map(|e| e.token)
    }

    /// Makes the server's answer to a `Send` the manager's; its bytes are kept
    /// if it was answered early. False if it answers none.
    #[inline]
    pub fn answer(&mut self, completion: &mut Completion) -> bool {
        let Some(index) = self.find(completion.user_data) else {
            return false;
        };
        completion.user_data = self.entries[index].theirs;
        if completion.flags & flags::HELD != 0 {
            completion.flags = 0;
            completion.arg = 0;
            // Of a cancelled one this many are queued.
            self.entries[index].len = completion.len;
        } else {
            self.end(index);
        }
        true
    }

    /// Answers a `Send` all of whose bytes were sent; `None` if there is none.
    #[inline]
    pub fn sent(&mut self, token: u64) -> Option<Completion> {
        let index = self.find(token)?;
        let entry = &self.entries[index];
        let completion = Completion {
            op: Op::Send as u16,
            status: Status::Ok as u16,
            socket: entry.socket,
            user_data: entry.theirs,
            len: entry.len,
            ..Completion::default()
        };
        self.end(index);
        Some(completion)
    }

    /// Nothing of a `Send` is needed any more.
    #[inline]
    pub fn retire(&mut self, token: u64) {
        if let Some(index) = self.find(token) {
            self.end(index);
        }
    }

    /// A client has nothing at the server any more.
    pub fn drop_client(&mut self, client: u32) {
        for index in 0..self.entries.len() {
            if self.entries[index].in_use && self.entries[index].client == client {
                self.end(index);
            }
        }
    }

    #[inline]
    fn end(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.in_use = false;
        // The upper half tells requests apart.
        entry.token = entry.token.wrapping_add(1 << 32);
        self.holdable += core::mem::take(&mut entry.holdable);
        self.pool.give_back(entry.chain);
        self.free.push(index as u32);
    }

    /// Calls `each` with the pieces of a part; false if there are no such bytes.
    #[inline]
    pub fn pieces<'a>(&'a mut self, part: &Part, each: impl FnMut(&'a [u8])) -> bool {
        let Some(index) = self.find(part.token) else {
            return false;
        };
        let entry = &mut self.entries[index];
        if part.offset > entry.len || part.len > entry.len - part.offset {
            return false;
        }
        let (cursor, bytes) = (&mut entry.cursor, (part.offset, part.len));
        self.pool.pieces(entry.chain, cursor, bytes, each)
    }
}
