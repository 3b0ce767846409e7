//! Messages by value between I/O manager and server, with
//! `ipc = "conventional"`.
//!
//! Problem: payload is to travel in messages, in memory that both sides may
//! write to at any time. Invariant: each side writes messages to a half of its
//! own, and knows from private numbers alone which of its bytes are free; what
//! the reader says that it has taken counts only if it lies between what it
//! said before and what was written. A reader reads nowhere but in the half of
//! its peer, whatever position it is told.
//!
//! A message is named by a position, which counts the bytes of the half from
//! the first message on, and by its length, both of them in the entry that it
//! belongs to: a `Send` (the position in `extent.address`), or the completion
//! of a `Recv` ([`MESSAGE`] in `packet`, the position in `offset`). Its bytes
//! lie together. Messages are taken in the order of the ring.

use core::sync::atomic::{AtomicU32, Ordering};

use shared_ring::{OutOfRange, SharedMemory};

use crate::layout::{SERVER_PACKETS, SERVER_REQUESTS, whole_slot_bytes};

/// Bytes of the longest message.
pub const MESSAGE_BYTES: u32 = 65536;
/// In [`Completion::packet`](crate::Completion::packet): the bytes are those
/// of a message.
pub const MESSAGE: u32 = 1;
/// Bytes of a block of a server's socket buffers for sending.
pub const SOCKET_BLOCK: u32 = 2048;
/// Blocks that hold bytes of `Send`s that are answered, because they are queued,
/// but not acknowledged. What finds none is answered when it is acknowledged.
pub const SOCKET_HELD_BLOCKS: u32 = 2048;
/// Messages begin at multiples of this.
const ROUND: u32 = 64;
/// Bytes of the two words before the halves, on a cache line each.
const WORDS: usize = 2 * WORD;
const WORD: usize = 64;
/// The largest half: positions tell more than one round apart.
const MOST: u32 = 1 << 30;

/// Sizes of a region of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSizes {
    /// Bytes of the half that the manager writes; a power of two.
    pub to_server: u32,
    /// Bytes of the half that the server writes; a power of two.
    pub from_server: u32,
    /// Requests that all clients may have outstanding.
    pub requests: u32,
}

impl MessageSizes {
    /// Sizes with which no half is ever full for want of the peer's turn, for
    /// clients that together may have `queued_bytes` and `requests` outstanding.
    ///
    /// The manager's messages are those of `Send`s that are not answered. The
    /// server's hold bytes of packets that it had when the manager last took a
    /// message, or has got since: as many twice as there are packets. Each
    /// message may waste less than [`MESSAGE_BYTES`] once, at the end, and less
    /// than 64 bytes behind it.
    #[must_use]
    pub const fn of(queued_bytes: u64, requests: u32, mtu: usize) -> Self {
        let ends = 2 * MESSAGE_BYTES as u64;
        let outgoing = queued_bytes + requests as u64 * ROUND as u64 + ends;
        let packets = 2 * SERVER_PACKETS as u64 * whole_slot_bytes(mtu) as u64;
        let incoming = packets + SERVER_REQUESTS as u64 * ROUND as u64 + ends;
        Self {
            to_server: half(outgoing),
            from_server: half(incoming),
            requests,
        }
    }

    /// Blocks of the server's socket buffers for sending: enough for all `Send`s
    /// that are not answered, and for those that are held.
    #[must_use]
    pub const fn socket_blocks(&self) -> u32 {
        self.to_server / SOCKET_BLOCK + self.requests + SOCKET_HELD_BLOCKS
    }

    /// Bytes of all of the server's socket buffers, and of their tables.
    #[must_use]
    pub const fn socket_bytes(&self, mtu: usize) -> usize {
        const TABLES: usize = 512 << 10;
        let received = SERVER_PACKETS as usize * whole_slot_bytes(mtu);
        let sent = self.socket_blocks() as usize * SOCKET_BLOCK as usize;
        received + sent + TABLES
    }

    /// Bytes of the region.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        WORDS + self.to_server as usize + self.from_server as usize
    }

    fn are_legal(&self) -> bool {
        let legal = |half: u32| half.is_power_of_two() && (MESSAGE_BYTES..=MOST).contains(&half);
        legal(self.to_server) && legal(self.from_server)
    }
}

const fn half(bytes: u64) -> u32 {
    match bytes.next_power_of_two() {
        half if half < MOST as u64 => half as u32,
        _ => MOST,
    }
}

/// Which end of the channel somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEnd {
    /// The I/O manager.
    Manager,
    /// The server.
    Server,
}

/// Both halves as one end has them: messages to write, and to read.
///
/// # Errors
/// [`OutOfRange`] if the region is smaller than `sizes` say, or those are not
/// what [`MessageSizes::of`] makes.
pub fn attach_messages(
    region: &SharedMemory,
    sizes: MessageSizes,
    end: MessageEnd,
) -> Result<(Outbox, Inbox), OutOfRange> {
    if !sizes.are_legal() {
        return Err(OutOfRange);
    }
    region.slice(0, sizes.bytes())?;
    let (to, from) = (
        (0, WORDS, sizes.to_server),
        (WORD, WORDS + sizes.to_server as usize, sizes.from_server),
    );
    let (own, peers) = match end {
        MessageEnd::Manager => (to, from),
        MessageEnd::Server => (from, to),
    };
    let outbox = Outbox {
        taken: region.word32(own.0)?,
        base: own.1,
        size: own.2,
        written: 0,
        believed: 0,
    };
    let inbox = Inbox {
        taken: region.word32(peers.0)?,
        base: peers.1,
        size: peers.2,
    };
    Ok((outbox, inbox))
}

/// Bytes that a message of `len` takes; something or other for one that cannot
/// be.
const fn rounded(len: u32) -> u32 {
    len.wrapping_add(ROUND - 1) & !(ROUND - 1)
}

/// The half that this end writes.
#[derive(Debug)]
pub struct Outbox {
    taken: &'static AtomicU32,
    /// Where in the region it begins.
    base: usize,
    size: u32,
    /// Position behind the last message.
    written: u32,
    /// Up to where the peer has taken them, as far as that is believed.
    believed: u32,
}

impl Outbox {
    /// Position of `len` free bytes that lie together; `None` if there are
    /// none, or more than [`MESSAGE_BYTES`] are asked for. They stay free until
    /// [`Outbox::commit`].
    #[inline]
    pub fn reserve(&mut self, len: u32) -> Option<u32> {
        if len > MESSAGE_BYTES {
            return None;
        }
        let to_end = self.size - (self.written & (self.size - 1));
        let skipped = if to_end < len { to_end } else { 0 };
        let position = self.written.wrapping_add(skipped);
        let end = position.wrapping_add(rounded(len));
        if end.wrapping_sub(self.believed) > self.size {
            self.look();
        }
        (end.wrapping_sub(self.believed) <= self.size).then_some(position)
    }

    /// Asks how far the peer is.
    #[cold]
    fn look(&mut self) {
        // Its reads of the messages come before.
        let taken = self.taken.load(Ordering::Acquire);
        let untaken = self.written.wrapping_sub(taken);
        if untaken <= self.written.wrapping_sub(self.believed) {
            self.believed = taken;
        }
    }

    /// The bytes reserved at `position` are a message of `len`.
    #[inline]
    pub fn commit(&mut self, position: u32, len: u32) {
        self.written = position.wrapping_add(rounded(len));
    }

    /// Where in the region the byte at `position` lies.
    #[inline]
    #[must_use]
    pub const fn at(&self, position: u32) -> usize {
        self.base + (position & (self.size - 1)) as usize
    }
}

/// The half that this end reads.
#[derive(Debug)]
pub struct Inbox {
    taken: &'static AtomicU32,
    base: usize,
    size: u32,
}

impl Inbox {
    /// Where in the region the `len` bytes at `position` lie; `None` if they
    /// leave the half.
    #[inline]
    #[must_use]
    pub const fn find(&self, position: u32, len: u32) -> Option<usize> {
        let offset = position & (self.size - 1);
        if len > self.size - offset {
            return None;
        }
        Some(self.base + offset as usize)
    }

    /// Tells the peer that this message, and all before it, are not needed any
    /// more.
    #[inline]
    pub fn taken(&self, position: u32, len: u32) {
        let end = position.wrapping_add(rounded(len));
        self.taken.store(end, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    fn region(sizes: MessageSizes) -> SharedMemory {
        SharedMemory::from_static(vec![0u64; sizes.bytes().div_ceil(8)].leak())
    }

    fn sizes() -> MessageSizes {
        MessageSizes::of(1 << 20, 64, 576)
    }

    #[test]
    fn messages_arrive_as_they_were_written_and_their_room_comes_back() {
        let (sizes, mut seed) = (sizes(), 1u64);
        let region = region(sizes);
        let (mut out, _) = attach_messages(&region, sizes, MessageEnd::Manager).unwrap();
        let (_, inbox) = attach_messages(&region, sizes, MessageEnd::Server).unwrap();
        let mut waiting: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        let mut refused = 0;
        for round in 0..20_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = ((seed >> 33) as u32 % (MESSAGE_BYTES + 1)) >> (seed >> 60);
            let reserved = out.reserve(len);
            match reserved {
                Some(position) => {
                    let bytes = vec![round as u8; len as usize];
                    region.write(out.at(position), &bytes).unwrap();
                    out.commit(position, len);
                    waiting.push_back((position, bytes));
                }
                None => refused += 1,
            }
            if seed >> 40 & 3 == 0 || reserved.is_none() {
                let Some((position, bytes)) = waiting.pop_front() else {
                    continue;
                };
                let len = bytes.len() as u32;
                let at = inbox.find(position, len).unwrap();
                let mut there = vec![0; bytes.len()];
                region.read(at, &mut there).unwrap();
                assert!(there == bytes, "round {round}");
                inbox.taken(position, len);
            }
        }
        assert!(refused > 0 && refused < 10_000, "{refused}");
    }

    #[test]
    fn what_is_not_outstanding_cannot_be_taken() {
        let sizes = sizes();
        let region = region(sizes);
        let (mut out, _) = attach_messages(&region, sizes, MessageEnd::Manager).unwrap();
        let mut count = 0;
        while let Some(position) = out.reserve(MESSAGE_BYTES) {
            out.commit(position, MESSAGE_BYTES);
            count += 1;
        }
        assert_eq!(count, sizes.to_server / MESSAGE_BYTES);
        for lie in [1, sizes.to_server + 64, u32::MAX, 1 << 31] {
            region.store32(0, lie).unwrap();
            let room = out.reserve(64);
            // One byte taken is no message, but hurts only its reader.
            assert_eq!(room, None, "{lie:#x}");
        }
        region.store32(0, MESSAGE_BYTES).unwrap();
        assert!(out.reserve(MESSAGE_BYTES).is_some());
        assert_eq!(out.reserve(MESSAGE_BYTES + 1), None);
    }

    #[test]
    fn nothing_outside_the_half_is_found() {
        let sizes = sizes();
        let region = region(sizes);
        let (_, inbox) = attach_messages(&region, sizes, MessageEnd::Manager).unwrap();
        let (base, size) = (WORDS + sizes.to_server as usize, sizes.from_server);
        assert_eq!(inbox.find(0, size), Some(base));
        assert_eq!(inbox.find(size, 1), Some(base));
        assert_eq!(inbox.find(u32::MAX, 1), Some(base + size as usize - 1));
        for (position, len) in [(1, size), (u32::MAX, 2), (0, u32::MAX), (64, size - 63)] {
            assert_eq!(inbox.find(position, len), None);
        }
    }

    #[test]
    fn sizes_that_nobody_made_are_refused() {
        let good = sizes();
        let region = region(good);
        let changed = [
            MessageSizes {
                to_server: 0,
                ..good
            },
            MessageSizes {
                to_server: good.to_server + 64,
                ..good
            },
            MessageSizes {
                from_server: good.from_server * 2,
                ..good
            },
            MessageSizes {
                from_server: 4096,
                ..good
            },
        ];
        for bad in changed {
            let attached = attach_messages(&region, bad, MessageEnd::Server);
            assert!(attached.is_err(), "{bad:?}");
        }
    }
}
