//! The datagram socket and the datagrams that wait to be sent back.
//!
//! Invariant: what was received is sent on in the buffer that it is in; nobody
//! looks at the bytes, and nobody copies them.

use ioipc::net::{SocketAddr, UdpSocket};
use ioipc::{Datagram, ErrorKind, Interest, Poll, Result};

/// Datagrams echoed before the other sockets get their turn.
pub const BATCH: usize = 64;

/// The socket. The datagrams in `waiting[start..end]` are to go back.
pub struct Datagrams<'a> {
    socket: UdpSocket,
    waiting: &'a mut [Option<Datagram>; BATCH],
    start: usize,
    end: usize,
}

impl<'a> Datagrams<'a> {
    /// A socket bound to `address`, registered as `token`.
    pub fn new(
        address: SocketAddr,
        waiting: &'a mut [Option<Datagram>; BATCH],
        poll: &Poll,
        token: u64,
    ) -> Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true);
        poll.register(&socket, token, Interest::READABLE)?;
        Ok(Self {
            socket,
            waiting,
            start: 0,
            end: 0,
        })
    }

    /// Sends back what waits, or what has arrived, up to a batch.
    pub fn serve(&mut self, poll: &Poll, token: u64) {
        let waited = self.start < self.end;
        if !waited {
            let received = self.socket.recv_datagrams(&mut self.waiting[..]);
            (self.start, self.end) = (0, received.unwrap_or(0));
        }
        self.send();
        let waits = self.start < self.end;
        if waited == waits {
            return;
        }
        let interest = match waits {
            true => Interest::WRITABLE,
            false => Interest::READABLE,
        };
        if let Err(why) = poll.register(&self.socket, token, interest) {
            log::error!("datagram socket: {why}");
        }
    }

    /// Sends until all is sent or would have to wait. A datagram that cannot be
    /// sent at all is dropped, as UDP may.
    fn send(&mut self) {
        while self.start < self.end {
            let waiting = &mut self.waiting[self.start..self.end];
            match self.socket.send_datagrams(waiting) {
                Ok(sent) => self.start += sent,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) => {
                    log::debug!("a datagram: {why}");
                    self.waiting[self.start] = None;
                    self.start += 1;
                }
            }
        }
    }
}
