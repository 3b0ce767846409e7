//! UDP: bursts of an exact size, or a sliding window.
//!
//! Each datagram starts with its number (32 bits, big-endian); the rest is the
//! pattern of that number. A reply is accepted once, for the number it carries,
//! and only if all its bytes are right.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::outcome::median;
use crate::{LoadError, Outcome, PATIENCE, Pattern};

/// Bytes at the start of a datagram that hold its number.
const NUMBER: usize = 4;

/// Sends `count` datagrams of `size` bytes in bursts of exactly `outstanding`
/// and waits for all replies of a burst before the next; the last burst may be
/// smaller. The median is that of a whole burst.
///
/// # Errors
/// [`LoadError::BadRequest`] if `size < 4` or `outstanding` or `count` is 0;
/// [`LoadError::Io`] if the host's sockets fail. A lost reply is no error.
pub fn udp(
    target: SocketAddr,
    size: usize,
    outstanding: u32,
    count: u32,
) -> Result<Outcome, LoadError> {
    let mut run = Run::new(target, size, outstanding, count)?;
    let mut times = Vec::new();
    while run.sent < count {
        let burst = outstanding.min(count - run.sent);
        let start = Instant::now();
        for _ in 0..burst {
            run.send()?;
        }
        if run.receive(burst)? == burst {
            times.push(start.elapsed());
        }
    }
    let mut outcome = run.finish();
    outcome.median = median(&mut times);
    Ok(outcome)
}

/// Like [`udp`], but sends the next datagram as soon as a reply is back, so
/// that `window` are outstanding most of the time. No median.
///
/// # Errors
/// As for [`udp`].
pub fn udp_sliding(
    target: SocketAddr,
    size: usize,
    window: u32,
    count: u32,
) -> Result<Outcome, LoadError> {
    let mut run = Run::new(target, size, window, count)?;
    let mut outstanding = 0;
    while run.sent < count || outstanding > 0 {
        while outstanding < window && run.sent < count {
            run.send()?;
            outstanding += 1;
        }
        // A timeout means that what is outstanding will not come back.
        outstanding = if run.receive(1)? == 1 {
            outstanding - 1
        } else {
            0
        };
    }
    Ok(run.finish())
}

/// The state of one run: which numbers are out and which came back.
struct Run {
    socket: UdpSocket,
    sent: u32,
    back: Vec<bool>,
    outcome: Outcome,
    start: Instant,
    last: Instant,
    message: Vec<u8>,
    expected: Vec<u8>,
    reply: Vec<u8>,
}

impl Run {
    fn new(target: SocketAddr, size: usize, at_once: u32, count: u32) -> Result<Self, LoadError> {
        if size < NUMBER {
            return Err(LoadError::BadRequest(
                "a datagram needs 4 bytes for its number",
            ));
        }
        if at_once == 0 || count == 0 {
            return Err(LoadError::BadRequest("nothing to send"));
        }
        let now = Instant::now();
        Ok(Self {
            socket: connected(target)?,
            sent: 0,
            back: vec![false; count as usize],
            outcome: Outcome::default(),
            start: now,
            last: now,
            message: vec![0; size],
            expected: vec![0; size],
            reply: vec![0; 1 << 16],
        })
    }

    fn send(&mut self) -> Result<(), LoadError> {
        compose(self.sent, &mut self.message);
        self.socket
            .send(&self.message)
            .map_err(LoadError::io("send a datagram"))?;
        self.sent += 1;
        Ok(())
    }

    /// Takes up to `wanted` replies and returns how many came before the
    /// patience ran out.
    fn receive(&mut self, wanted: u32) -> Result<u32, LoadError> {
        let deadline = Instant::now() + PATIENCE;
        let mut taken = 0;
        while taken < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.receive_one(left)? {
                Some(fresh) => taken += u32::from(fresh),
                None => break,
            }
        }
        Ok(taken)
    }

    /// One reply, and whether it answers something outstanding; none on a
    /// timeout.
    fn receive_one(&mut self, patience: Duration) -> Result<Option<bool>, LoadError> {
        let set = self.socket.set_read_timeout(Some(patience));
        set.map_err(LoadError::io("set a timeout"))?;
        let len = match self.socket.recv(&mut self.reply) {
            Ok(len) => len,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(e) => return Err(LoadError::Io("receive a datagram", e)),
        };
        self.last = Instant::now();
        Ok(Some(self.judge(len)))
    }

    fn judge(&mut self, len: usize) -> bool {
        let number = number_of(&self.reply[..len]).filter(|n| *n < self.sent);
        let Some(number) = number else {
            self.outcome.wrong += 1;
            return false;
        };
        compose(number, &mut self.expected);
        let right = self.reply[..len] == self.expected[..];
        let fresh = !std::mem::replace(&mut self.back[number as usize], true);
        if right && fresh {
            self.outcome.done += 1;
        } else {
            self.outcome.wrong += 1;
        }
        fresh
    }

    fn finish(mut self) -> Outcome {
        self.outcome.lost = self.back.iter().filter(|back| !**back).count() as u64;
        self.outcome.elapsed = self.last - self.start;
        self.outcome
    }
}

fn connected(target: SocketAddr) -> Result<UdpSocket, LoadError> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(LoadError::io("open a UDP socket"))?;
    // Losses in this host's own queue must not look like the service's.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 8 << 20)
        .map_err(|e| LoadError::Io("enlarge the receive buffer", e.into()))?;
    socket
        .connect(target)
        .map_err(LoadError::io("connect a UDP socket"))?;
    Ok(socket)
}

fn compose(number: u32, message: &mut [u8]) {
    let (head, body) = message.split_at_mut(NUMBER);
    head.copy_from_slice(&number.to_be_bytes());
    Pattern::new(number.into()).fill(0, body);
}

fn number_of(reply: &[u8]) -> Option<u32> {
    reply.first_chunk().map(|head| u32::from_be_bytes(*head))
}
