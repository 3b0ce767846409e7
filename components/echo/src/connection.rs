//! One connection and the bytes on their way back.

use ioipc::net::TcpStream;
use ioipc::{ErrorKind, Interest, Poll, Result};

/// Bytes read before they are sent back.
const BUFFER: usize = 8 << 10;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its socket.
    Waits,
    /// Is over: the peer has closed and has all its bytes, or it failed.
    Ended,
}

/// A connection. `buffer[start..end]` was read and not yet sent back.
pub struct Connection {
    stream: TcpStream,
    start: usize,
    end: usize,
    interest: Interest,
    buffer: [u8; BUFFER],
}

impl Connection {
    /// A fresh connection, registered as `token`.
    pub fn new(stream: TcpStream, poll: &Poll, token: u64) -> Result<Self> {
        stream.set_nonblocking(true);
        stream.set_nodelay(true)?;
        poll.register(&stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            start: 0,
            end: 0,
            interest: Interest::READABLE,
            buffer: [0; BUFFER],
        })
    }

    /// Sends back and reads until the socket would have to wait. Errors end
    /// this connection only.
    pub fn serve(&mut self, poll: &Poll, token: u64) -> State {
        match self.pump() {
            Ok(State::Ended) => State::Ended,
            Err(why) if why.kind() != ErrorKind::WouldBlock => State::Ended,
            Ok(State::Waits) | Err(_) => {
                self.wait_for_the_right_thing(poll, token);
                State::Waits
            }
        }
    }

    fn pump(&mut self) -> Result<State> {
        loop {
            while self.start < self.end {
                self.start += self.stream.write(&self.buffer[self.start..self.end])?;
            }
            (self.start, self.end) = (0, 0);
            self.end = self.stream.read(&mut self.buffer)?;
            if self.end == 0 {
                return Ok(State::Ended);
            }
        }
    }

    /// Room to send while bytes wait, else bytes to read.
    fn wait_for_the_right_thing(&mut self, poll: &Poll, token: u64) {
        let interest = match self.start < self.end {
            true => Interest::WRITABLE,
            false => Interest::READABLE,
        };
        if interest != self.interest && poll.register(&self.stream, token, interest).is_ok() {
            self.interest = interest;
        }
    }
}
