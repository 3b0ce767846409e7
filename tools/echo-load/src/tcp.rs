//! TCP: one message at a time, a bulk stream, many connections.
//!
//! Streams carry the pattern by offset, so that lost, doubled or exchanged
//! bytes show. Counts are messages for [`tcp_lockstep`] and [`tcp_parallel`],
//! bytes for [`tcp_bulk`].

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::outcome::median;
use crate::{LoadError, Outcome, Pattern, TCP_PATIENCE};

/// Most bytes written or read at once in a bulk stream.
const CHUNK: usize = 1 << 16;

/// One connection: `count` messages of `size` bytes, each sent when the one
/// before is back.
///
/// # Errors
/// [`LoadError::BadRequest`] for an empty load, [`LoadError::Io`] if the
/// service does not accept or stands still, [`LoadError::ClosedEarly`].
pub fn tcp_lockstep(target: SocketAddr, size: usize, count: u32) -> Result<Outcome, LoadError> {
    if size == 0 || count == 0 {
        return Err(LoadError::BadRequest("nothing to send"));
    }
    let mut stream = open(target)?;
    let (mut message, mut reply) = (vec![0; size], vec![0; size]);
    let (mut outcome, mut times) = (Outcome::default(), Vec::new());
    let start = Instant::now();
    for number in 0..count {
        Pattern::new(number.into()).fill(0, &mut message);
        let sent = Instant::now();
        exchange(&mut stream, &message, &mut reply)?;
        times.push(sent.elapsed());
        tally(&mut outcome, message == reply);
    }
    outcome.elapsed = start.elapsed();
    outcome.median = median(&mut times);
    Ok(outcome)
}

/// `connections` connections open at once; in each of `rounds` rounds every
/// one sends a message of `size` bytes of its own before the first reply is
/// read.
///
/// # Errors
/// As for [`tcp_lockstep`].
pub fn tcp_parallel(
    target: SocketAddr,
    connections: usize,
    size: usize,
    rounds: u32,
) -> Result<Outcome, LoadError> {
    if connections == 0 || size == 0 || rounds == 0 {
        return Err(LoadError::BadRequest("nothing to send"));
    }
    let mut held = Held::open(target, connections)?;
    let (mut outcome, mut times) = (Outcome::default(), Vec::new());
    let start = Instant::now();
    for round in 0..rounds {
        let begun = Instant::now();
        held.round(u64::from(round), size, &mut outcome)?;
        times.push(begun.elapsed());
    }
    outcome.elapsed = start.elapsed();
    outcome.median = median(&mut times);
    Ok(outcome)
}

/// Open connections that stay idle until asked; dropped, they close.
pub struct Held {
    streams: Vec<TcpStream>,
}

impl Held {
    /// Opens `count` connections, one after the other, each once a byte has
    /// come back over the one before: forwarded ports of QEMU have room for one
    /// connection that waits, and cost the others seconds.
    ///
    /// # Errors
    /// As for [`tcp_lockstep`].
    pub fn open(target: SocketAddr, count: usize) -> Result<Self, LoadError> {
        let open_one = |_| {
            let mut stream = open(target)?;
            exchange(&mut stream, &[0], &mut [0])?;
            Ok(stream)
        };
        let streams = (0..count).map(open_one).collect::<Result<_, _>>()?;
        Ok(Self { streams })
    }

    /// Exchanges one message of `size` bytes on each; proves that all are open.
    ///
    /// # Errors
    /// As for [`tcp_lockstep`].
    pub fn check(&mut self, size: usize) -> Result<Outcome, LoadError> {
        let mut outcome = Outcome::default();
        let start = Instant::now();
        self.round(0, size, &mut outcome)?;
        outcome.elapsed = start.elapsed();
        Ok(outcome)
    }

    fn round(&mut self, round: u64, size: usize, outcome: &mut Outcome) -> Result<(), LoadError> {
        let pattern = |index: usize| Pattern::new(round << 32 | index as u64);
        let (mut message, mut reply) = (vec![0; size], vec![0; size]);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            pattern(index).fill(0, &mut message);
            stream
                .write_all(&message)
                .map_err(LoadError::io("send on a connection"))?;
        }
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.read_exact(&mut reply).map_err(reading)?;
            tally(outcome, pattern(index).differences(0, &reply) == 0);
        }
        Ok(())
    }
}

/// One connection, `total` bytes echoed with at most `in_flight` bytes sent
/// and not yet back. Counts are bytes.
///
/// # Errors
/// As for [`tcp_lockstep`]; bytes still missing when the service closes or
/// stands still for [`TCP_PATIENCE`] are `lost`, not an error.
pub fn tcp_bulk(target: SocketAddr, in_flight: u64, total: u64) -> Result<Outcome, LoadError> {
    if in_flight == 0 || total == 0 {
        return Err(LoadError::BadRequest("nothing to send"));
    }
    let stream = open(target)?;
    stream
        .set_nonblocking(true)
        .map_err(LoadError::io("configure a connection"))?;
    let mut bulk = Bulk::new(stream, in_flight, total);
    let start = Instant::now();
    while bulk.received < total && !bulk.ended {
        let ready = bulk.wait()?;
        if ready.contains(PollFlags::OUT) {
            bulk.write()?;
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            bulk.read()?;
        }
        if ready.is_empty() {
            break;
        }
    }
    Ok(Outcome {
        done: bulk.received - bulk.wrong,
        lost: total - bulk.received,
        wrong: bulk.wrong,
        elapsed: start.elapsed(),
        median: None,
    })
}

struct Bulk {
    stream: TcpStream,
    pattern: Pattern,
    in_flight: u64,
    total: u64,
    sent: u64,
    received: u64,
    wrong: u64,
    ended: bool,
    buffer: Vec<u8>,
}

impl Bulk {
    fn new(stream: TcpStream, in_flight: u64, total: u64) -> Self {
        Self {
            stream,
            pattern: Pattern::new(total),
            in_flight,
            total,
            sent: 0,
            received: 0,
            wrong: 0,
            ended: false,
            buffer: vec![0; CHUNK],
        }
    }

    fn may_send(&self) -> u64 {
        (self.total - self.sent).min(self.in_flight - (self.sent - self.received))
    }

    fn wait(&self) -> Result<PollFlags, LoadError> {
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, self.may_send() > 0);
        let patience = Timespec {
            tv_sec: TCP_PATIENCE.as_secs() as i64,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.stream, interest)];
        poll(&mut fds, Some(&patience)).map_err(|e| LoadError::Io("wait", e.into()))?;
        Ok(fds[0].revents())
    }

    fn write(&mut self) -> Result<(), LoadError> {
        let n = self.may_send().min(CHUNK as u64) as usize;
        self.pattern.fill(self.sent, &mut self.buffer[..n]);
        match self.stream.write(&self.buffer[..n]) {
            Ok(n) => self.sent += n as u64,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(LoadError::Io("send on a connection", e)),
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), LoadError> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => self.ended = true,
            Ok(n) if n as u64 > self.sent - self.received => {
                return Err(LoadError::Excess);
            }
            Ok(n) => {
                self.wrong += self.pattern.differences(self.received, &self.buffer[..n]);
                self.received += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(LoadError::Io("receive on a connection", e)),
        }
        Ok(())
    }
}

pub(crate) fn open(target: SocketAddr) -> Result<TcpStream, LoadError> {
    let stream =
        TcpStream::connect_timeout(&target, TCP_PATIENCE).map_err(LoadError::io("connect"))?;
    let configure = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TCP_PATIENCE))?;
        stream.set_write_timeout(Some(TCP_PATIENCE))
    };
    configure().map_err(LoadError::io("configure a connection"))?;
    Ok(stream)
}

pub(crate) fn exchange(
    stream: &mut TcpStream,
    message: &[u8],
    reply: &mut [u8],
) -> Result<(), LoadError> {
    stream
        .write_all(message)
        .map_err(LoadError::io("send on a connection"))?;
    stream.read_exact(reply).map_err(reading)
}

fn reading(error: std::io::Error) -> LoadError {
    match error.kind() {
        ErrorKind::UnexpectedEof => LoadError::ClosedEarly,
        _ => LoadError::Io("receive on a connection", error),
    }
}

fn tally(outcome: &mut Outcome, right: bool) {
    if right {
        outcome.done += 1;
    } else {
        outcome.wrong += 1;
    }
}
