//! The datagram socket and the datagram that waits to be sent back.

use ioipc::net::{SocketAddr, UdpSocket};
use ioipc::{ErrorKind, Interest, Poll, Result};

/// Datagrams echoed before the other sockets get their turn.
const BATCH: usize = 64;

/// The socket. `waiting` bytes of `buffer` are to go to somebody.
pub struct Datagrams<'a> {
    socket: UdpSocket,
    buffer: &'a mut [u8],
    waiting: Option<(usize, SocketAddr)>,
}

impl<'a> Datagrams<'a> {
    /// A socket bound to `address`, registered as `token`. Datagrams longer
    /// than `buffer` are cut.
    pub fn new(address: SocketAddr, buffer: &'a mut [u8], poll: &Poll, token: u64) -> Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true);
        poll.register(&socket, token, Interest::READABLE)?;
        Ok(Self {
            socket,
            buffer,
            waiting: None,
        })
    }

    /// Sends back what has arrived, up to a batch, until sending or receiving
    /// would have to wait.
    pub fn serve(&mut self, poll: &Poll, token: u64) {
        let waited = self.waiting.is_some();
        for _ in 0..BATCH {
            if !self.step() {
                break;
            }
        }
        if waited == self.waiting.is_some() {
            return;
        }
        let interest = match self.waiting {
            Some(_) => Interest::WRITABLE,
            None => Interest::READABLE,
        };
        if let Err(why) = poll.register(&self.socket, token, interest) {
            log::error!("datagram socket: {why}");
        }
    }

    /// Receives unless a datagram waits, and sends; whether to go on. A
    /// datagram that cannot be sent at all is dropped, as UDP may.
    fn step(&mut self) -> bool {
        let next = match self.waiting.take() {
            Some(waiting) => Ok(waiting),
            None => self.socket.recv_from(self.buffer),
        };
        let Ok((len, from)) = next else {
            return false;
        };
        match self.socket.send_to(&self.buffer[..len], from) {
            Ok(_) => true,
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                self.waiting = Some((len, from));
                false
            }
            Err(why) => {
                log::debug!("datagram to {from}: {why}");
                true
            }
        }
    }
}
