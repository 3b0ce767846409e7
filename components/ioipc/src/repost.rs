//! Receives that are made up for late, and sends that make up for them.
//!
//! Problem: who answers what it receives, in the buffer that it came in, has a
//! buffer less to receive into until it was sent: another one takes a request to
//! receive into it, and the answer of the send to have it back. Invariant: of a
//! datagram socket that owes receives, a send of such a buffer is also the
//! request to receive into it afterwards ([`flags::REPOST`]); what is owed
//! besides is submitted before anybody waits, and before less than half of what
//! there should be is left for who goes on receiving.
//!
//! Such a send is told of when something was received, so nobody knows before
//! that it is over: its bytes count against half of the quota until then.

use socket_api::{Op, Request, WireAddress, flags};

use crate::buffer::Block;
use crate::core_state::Core;
use crate::error::Result;
use crate::post::SLOT;
use crate::records::{NONE, flag, kind, state};

impl Core {
    /// Socket `index` has fewer receives on their way than it should.
    #[inline]
    pub fn owe(&mut self, index: u16) {
        let next = self.owing;
        let socket = self.socket(index);
        if socket.flags & flag::OWES == 0 {
            socket.flags |= flag::OWES;
            socket.owes_next = next;
            self.owing = index;
        }
    }

    /// Submits what sockets owe.
    #[inline]
    pub fn settle_debts(&mut self) {
        while self.owing != NONE {
            let index = self.owing;
            self.forget_debt(index);
            self.post(index);
        }
    }

    /// Submits what socket `index` owes, if that is more than half.
    #[inline]
    pub fn top_up(&mut self, index: u16) {
        let half = self.settings.datagrams / 2;
        let socket = self.socket(index);
        if socket.flags & flag::OWES != 0 && socket.posted + socket.received < half {
            self.forget_debt(index);
            self.post(index);
        }
    }

    /// Takes a socket out of the list of those that owe receives.
    pub fn forget_debt(&mut self, index: u16) {
        let socket = self.socket(index);
        if socket.flags & flag::OWES == 0 {
            return;
        }
        socket.flags &= !flag::OWES;
        let next = socket.owes_next;
        if self.owing == index {
            self.owing = next;
            return;
        }
        let mut before = self.owing;
        while before != NONE {
            let socket = self.socket(before);
            if socket.owes_next == index {
                socket.owes_next = next;
                return;
            }
            before = socket.owes_next;
        }
    }

    /// Whether a send of `block` may make up for a receive that socket `index`
    /// owes: it is a slot of the socket's.
    #[inline]
    pub fn may_repost(&mut self, index: u16, block: &Block) -> bool {
        let most = self.quota.queued_bytes / 2;
        let room = most.saturating_sub(self.reposted_bytes);
        let whole = self.buffers.bytes(block.order);
        let depth = self.settings.datagrams;
        let socket = self.socket(index);
        socket.flags & (flag::OWES | flag::POSTS) == flag::OWES | flag::POSTS
            && socket.kind == kind::UDP
            && socket.state == state::OPEN
            && socket.order == block.order
            && socket.posted + socket.received < depth
            && (block.start, block.bytes) == (0, whole)
            && block.len <= room
    }

    /// Sends `block` and receives into it then.
    #[inline]
    pub fn send_reposted(
        &mut self,
        index: u16,
        block: Block,
        to: WireAddress,
    ) -> Option<Result<()>> {
        let request = Request {
            flags: flags::REPOST,
            extent: self.buffers.extent(block.unit, 0, block.len),
            address: to,
            arg: block.bytes.into(),
            passing: SLOT,
            ..self.request(Op::Send, index)
        };
        let record = self.submit(request, index, block.unit, block.order)?;
        let record = self.record(record);
        (record.op, record.len, record.sent) = (Op::Recv as u16, block.bytes, block.len);
        self.reposted_bytes += block.len;
        self.socket(index).posted += 1;
        Some(Ok(()))
    }
}
