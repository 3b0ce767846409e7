//! One connection and the bytes on their way back.
//!
//! Invariant: what was received is sent on in the buffer that it is in, which
//! comes back to the library when the peer has acknowledged it.

use ioipc::net::TcpStream;
use ioipc::{Buffer, ErrorKind, Interest, Poll, Result};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its socket.
    Waits,
    /// Is over: the peer has closed and has all its bytes, or it failed.
    Ended,
}

/// A connection, and what it has received and not yet sent back.
pub struct Connection {
    stream: TcpStream,
    waiting: Option<Buffer>,
    interest: Interest,
}

impl Connection {
    /// A fresh connection, registered as `token`.
    pub fn new(stream: TcpStream, poll: &Poll, token: u64) -> Result<Self> {
        stream.set_nonblocking(true);
        stream.set_nodelay(true)?;
        poll.register(&stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            waiting: None,
            interest: Interest::READABLE,
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
            if let Some(buffer) = self.waiting.take()
                && let Err(unsent) = self.stream.send_buffer(buffer)
            {
                self.waiting = Some(unsent.item);
                return Err(unsent.error);
            }
            self.waiting = self.stream.recv_buffer()?;
            if self.waiting.is_none() {
                return Ok(State::Ended);
            }
        }
    }

    /// Room to send while bytes wait, else bytes to read.
    fn wait_for_the_right_thing(&mut self, poll: &Poll, token: u64) {
        let interest = match self.waiting {
            Some(_) => Interest::WRITABLE,
            None => Interest::READABLE,
        };
        if interest != self.interest && poll.register(&self.stream, token, interest).is_ok() {
            self.interest = interest;
        }
    }
}
