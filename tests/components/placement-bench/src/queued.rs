//! Loads served with asynchronous operations, of named semantics or none, as many
//! on their way as a burst has, in buffers of the library's.
//!
//! Invariant: a buffer that comes back is used for the next operation. With
//! emulated move a region that was sent comes back with what is received; the
//! words that ask for bursts are received so there, and else without any wish.

use core::net::SocketAddr;

use ioipc::net::{TcpStream, UdpSocket};
use ioipc::queue::{Done, Memory, Queue};
use ioipc::{Buffer, ErrorKind, Passing, Pollable, Semantics};

use crate::failure::{Failure, Result};
use crate::order::{Order, Way};
use crate::pattern;

/// Most operations on their way: two for each of a burst.
const MOST: usize = 144;
/// Most receives of a stream on their way.
const STREAM_RECEIVES: usize = 32;

/// What an operation was.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
/// A word that is no payload, received and sent.
const WORD: u64 = 2;
const CONFIRMATION: u64 = 3;

/// A load being served on `socket`.
struct Load<'a, S: Pollable> {
    socket: &'a S,
    order: &'a Order,
    /// None: what the library does unasked.
    passing: Option<Passing>,
    queue: Queue<MOST>,
    /// Payload bytes received, and sent.
    received: u64,
    sent: u64,
}

/// Serves datagrams until the peer ends it: the bytes received.
pub fn datagrams(socket: &UdpSocket, order: &Order, passing: Option<Passing>) -> Result<u64> {
    let mut load = Load::new(socket, order, passing)?;
    load.receive_first(order.count)?;
    while let Some(done) = load.queue.wait(None)? {
        let last = is_word(&done)? == Some(u64::MAX);
        if last || load.take(done, None)? {
            break;
        }
    }
    Ok(load.right())
}

/// Serves a stream until the peer ends it: the bytes received.
pub fn stream(stream: &TcpStream, order: &Order, passing: Option<Passing>) -> Result<u64> {
    let mut load = Load::new(stream, order, passing)?;
    load.receive_first(order.count.min(STREAM_RECEIVES))?;
    let mut word = 0;
    while let Some(done) = load.queue.wait(None)? {
        if load.take(done, Some(&mut word))? {
            break;
        }
    }
    Ok(load.right())
}

/// The word in a datagram that has been received, if it is one.
fn is_word(done: &Done) -> Result<Option<u64>> {
    let bytes = match (&done.memory, done.result?) {
        (Some(Memory::Buffer(buffer)), 8) if done.token == RECEIVE || done.token == WORD => buffer,
        _ => return Ok(None),
    };
    Ok(bytes.first_chunk().map(|word| u64::from_le_bytes(*word)))
}

impl<'a, S: Pollable> Load<'a, S> {
    fn new(socket: &'a S, order: &'a Order, passing: Option<Passing>) -> Result<Self> {
        Ok(Self {
            socket,
            order,
            passing,
            queue: Queue::new()?,
            received: 0,
            sent: 0,
        })
    }

    /// The bytes that were right, either way.
    fn right(&self) -> u64 {
        self.received.max(self.sent)
    }

    /// Has the first operations received: payload, or a word that asks for it.
    fn receive_first(&mut self, count: usize) -> Result<()> {
        match self.order.way {
            Way::Out => self.receive_word(None),
            Way::In | Way::Echo => (0..count).try_for_each(|_| self.receive(None)),
        }
    }

    /// Has an operation's bytes received, into `buffer` if that is one.
    fn receive(&mut self, buffer: Option<Buffer>) -> Result<()> {
        let Some(buffer) = buffer else {
            return self.receive_new(RECEIVE);
        };
        let buffer = self.whole(buffer);
        let submitted = self
            .queue
            .receive(self.socket, buffer, self.passing, RECEIVE);
        Ok(submitted.map(drop)?)
    }

    /// Has a word received: as payload is, where buffers only come back so.
    fn receive_word(&mut self, buffer: Option<Buffer>) -> Result<()> {
        if self.gives_buffers_away() {
            return self.receive_new(WORD);
        }
        let mut buffer = match buffer {
            Some(buffer) => buffer,
            None => Buffer::alloc(8)?,
        };
        buffer.set_len(8);
        let submitted = self.queue.receive(self.socket, buffer, None, WORD);
        Ok(submitted.map(drop)?)
    }

    fn receive_new(&mut self, token: u64) -> Result<()> {
        let bytes = self.order.bytes;
        match self.passing {
            Some(passing) => {
                let submitted = self.queue.receive_new(self.socket, bytes, passing, token);
                Ok(submitted.map(drop)?)
            }
            None => {
                let buffer = Buffer::alloc(bytes)?;
                let submitted = self.queue.receive(self.socket, buffer, None, token);
                Ok(submitted.map(drop)?)
            }
        }
    }

    /// Whether buffers only come back with what is received.
    fn gives_buffers_away(&self) -> bool {
        let named = self.passing.map(|passing| passing.semantics);
        named.is_some_and(Semantics::is_system_allocated)
    }

    /// All bytes of an operation in a buffer that had one's.
    fn whole(&self, mut buffer: Buffer) -> Buffer {
        buffer.set_len(self.order.bytes);
        buffer
    }

    fn send(&mut self, buffer: Buffer, to: Option<SocketAddr>) -> Result<()> {
        self.sent += buffer.len() as u64;
        self.submit(buffer, to, self.passing, SEND)
    }

    fn submit(
        &mut self,
        buffer: Buffer,
        to: Option<SocketAddr>,
        passing: Option<Passing>,
        token: u64,
    ) -> Result<()> {
        let submitted = match to {
            Some(to) => self.queue.send_to(self.socket, buffer, to, passing, token),
            None => self.queue.send(self.socket, buffer, passing, token),
        };
        Ok(submitted.map(drop)?)
    }

    /// What follows from an operation that is done; whether it was the last.
    /// Words come in pieces on a stream, so `word` counts their bytes.
    fn take(&mut self, done: Done, word: Option<&mut usize>) -> Result<bool> {
        let len = done.result?;
        let buffer = match done.memory {
            Some(Memory::Buffer(buffer)) => Some(buffer),
            _ => None,
        };
        match (done.token, buffer) {
            (SEND, buffer) => self.has_sent(buffer).map(|()| false),
            (WORD, Some(buffer)) => self.was_asked(buffer, len, done.peer, word),
            (RECEIVE, Some(buffer)) => self.has_received(buffer, len, done.peer, word.is_some()),
            // A confirmation was sent.
            _ => Ok(false),
        }
    }

    fn has_sent(&mut self, buffer: Option<Buffer>) -> Result<()> {
        match self.order.way {
            Way::Echo => self.receive(buffer),
            Way::In | Way::Out => Ok(()),
        }
    }

    fn has_received(
        &mut self,
        mut buffer: Buffer,
        len: usize,
        from: Option<SocketAddr>,
        streams: bool,
    ) -> Result<bool> {
        buffer.set_len(len);
        if len == 0 {
            return Ok(true);
        }
        let whole = streams || len == self.order.bytes;
        if !whole || !pattern::is_right(&buffer, self.received) {
            return Err(Failure::Wrong(self.received));
        }
        self.received += len as u64;
        if self.order.way == Way::Echo {
            self.send(buffer, from)?;
            return Ok(false);
        }
        self.receive(Some(buffer))?;
        let burst = (self.order.bytes * self.order.count) as u64;
        if self.received.is_multiple_of(burst) {
            self.confirm(from)?;
        }
        Ok(false)
    }

    /// Says how many bytes were right.
    fn confirm(&mut self, to: Option<SocketAddr>) -> Result<()> {
        let mut buffer = Buffer::alloc(8)?;
        buffer.copy_from_slice(&self.received.to_le_bytes());
        self.submit(buffer, to, None, CONFIRMATION)
    }

    /// Sends a burst.
    fn was_asked(
        &mut self,
        buffer: Buffer,
        len: usize,
        from: Option<SocketAddr>,
        word: Option<&mut usize>,
    ) -> Result<bool> {
        if len == 0 {
            return Ok(true);
        }
        let mut own = None;
        match self.gives_buffers_away() {
            true => own = Some(self.whole(buffer)),
            false => self.receive_word(Some(buffer))?,
        }
        if let Some(had) = word {
            *had += len;
            if *had < 8 {
                return Ok(false);
            }
            *had -= 8;
        }
        if own.is_some() {
            self.receive_word(None)?;
        }
        for _ in 0..self.order.count {
            let mut buffer = match own.take() {
                Some(buffer) => buffer,
                None => self.free_buffer()?,
            };
            pattern::fill(&mut buffer, self.sent);
            self.send(buffer, from)?;
        }
        Ok(false)
    }

    /// A buffer to send; waits for one if all are on their way.
    fn free_buffer(&mut self) -> Result<Buffer> {
        loop {
            match Buffer::alloc(self.order.bytes) {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => {}
                buffer => return Ok(buffer?),
            }
            let done = self.queue.wait(None)?.ok_or(Failure::Wrong(self.sent))?;
            if let (SEND, Some(Memory::Buffer(buffer))) = (done.token, done.memory) {
                return Ok(self.whole(buffer));
            }
        }
    }
}
