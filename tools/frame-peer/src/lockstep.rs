//! A peer that puts a load on a guest in lock step, on its caller's thread.
//!
//! Problem: what a guest does for a burst depends on how the burst arrives. A
//! peer with threads of its own hands frames over when the host's scheduler
//! likes, and acknowledges what happens to have come; no two runs are alike.
//! Invariants: all frames of a burst go to the link in one write; answers are
//! shown to the stack when all that were asked for are there (or nothing more
//! came for [`QUIET`]), so a burst is acknowledged at once, with the next one;
//! each byte that comes is compared with [`pattern`].

mod flow;
mod port;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::host::Host;
use crate::link::Deframer;
use crate::options::Options;
use crate::pattern;
use crate::stats::Stats;
use crate::wire::{Located, PROTO_TCP, PROTO_UDP, TCP, UDP};

pub use flow::{Flow, Kind, Way};
pub use port::{Datagrams, Stream};

/// How long nothing may come before what has come is shown to the stack, though
/// more was asked for: the other side may wait for its answer.
pub const QUIET: Duration = Duration::from_millis(5);
/// Bytes read from the link at a time.
const READ: usize = 1 << 18;
/// Bytes that the link holds in our direction: a burst of 240 KiB in frames, and
/// what the host adds for each of its pieces. By default that is 208 KiB.
const WRITE: usize = 1 << 19;

/// How long the link may take nothing that is written to it.
const STUCK: Duration = Duration::from_secs(10);

/// Where a guest's end of the link is expected.
#[derive(Debug)]
pub struct Expected {
    listener: UnixListener,
}

impl Expected {
    /// Waits at a Unix socket for QEMU, as [`Peer::listen`](crate::Peer::listen).
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn at(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The peer, once the guest's end is there.
    ///
    /// # Errors
    /// `TimedOut` if nobody comes within `patience`; as [`Lockstep::over`].
    pub fn accept(&self, options: &Options, patience: Duration) -> io::Result<Lockstep> {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut ready, Some(&timespec(patience)))?;
        match self.listener.accept() {
            Ok((stream, _)) => Lockstep::over(stream, options),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            Err(e) => Err(e),
        }
    }
}

/// The peer.
pub struct Lockstep {
    host: Host,
    stream: UnixStream,
    deframer: Deframer,
    /// Bytes of payload among the frames that were not shown to the stack.
    gathered: usize,
    buffer: Vec<u8>,
}

impl Lockstep {
    /// Uses a connected stream as the link.
    ///
    /// # Errors
    /// If the capture file cannot be made, or the link has no room for a burst.
    pub fn over(stream: UnixStream, options: &Options) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        set_socket_send_buffer_size(&stream, WRITE)?;
        let mut host = Host::new(options)?;
        host.link_up = true;
        Ok(Self {
            host,
            stream,
            deframer: Deframer::default(),
            gathered: 0,
            buffer: vec![0; READ],
        })
    }

    /// Counts of frames up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.host.stats
    }

    /// Puts everything that waits on the link, in one write.
    ///
    /// # Errors
    /// If the link is lost; `TimedOut` if nobody reads from it for ten seconds.
    pub fn flush(&mut self) -> io::Result<()> {
        self.host.egress(Instant::now());
        let mut moved = Instant::now();
        while !self.host.take_out().is_empty() {
            let bytes = self.host.take_out().make_contiguous();
            match self.stream.write(bytes) {
                Ok(n) => {
                    drop(self.host.take_out().drain(..n));
                    moved = Instant::now();
                }
                _ if moved.elapsed() > STUCK => return Err(ErrorKind::TimedOut.into()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait_writable()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits for room on the link, taking what comes meanwhile: two that only
    /// write would wait for one another.
    fn wait_writable(&mut self) -> io::Result<()> {
        let ready = self.poll(PollFlags::IN | PollFlags::OUT, Duration::from_secs(1))?;
        if ready.contains(PollFlags::IN) {
            self.read()?;
        }
        Ok(())
    }

    fn poll(&self, wanted: PollFlags, patience: Duration) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(&self.stream, wanted)];
        let polled = poll(&mut fds, Some(&timespec(patience)));
        let ready = fds[0].revents();
        match polled {
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(ready),
        }
    }

    /// Takes in what the link has.
    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.deframer.push(&self.buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        let now = Instant::now();
        let broken = |e| io::Error::new(ErrorKind::InvalidData, e);
        while let Some(frame) = self.deframer.next_frame().map_err(broken)? {
            self.gathered += payload(&frame);
            self.host.ingest(frame, now);
        }
        Ok(())
    }

    /// Takes frames in until they hold `expected` bytes of payload or none has
    /// come for [`QUIET`], and shows them to the stack.
    fn gather(&mut self, expected: usize) -> io::Result<()> {
        while self.gathered < expected && !self.poll(PollFlags::IN, QUIET)?.is_empty() {
            self.read()?;
        }
        self.gathered = 0;
        self.host.ingress(Instant::now());
        Ok(())
    }

    /// Tries `work` each time something has come, `expected` bytes of payload at
    /// best, until it yields.
    ///
    /// # Errors
    /// `TimedOut` after `patience`; else what `work` says.
    fn until<R>(
        &mut self,
        patience: Duration,
        expected: usize,
        mut work: impl FnMut(&mut Host) -> io::Result<Option<R>>,
    ) -> io::Result<R> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(result) = work(&mut self.host)? {
                return Ok(result);
            }
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            self.flush()?;
            self.gather(expected)?;
        }
    }
}

/// Bytes behind the transport header of a frame.
fn payload(frame: &[u8]) -> usize {
    let Some(found) = Located::find(frame) else {
        return 0;
    };
    let header = match found.protocol {
        _ if found.fragment() & 0x1fff != 0 => 0,
        PROTO_UDP => UDP,
        PROTO_TCP if found.payload.len() >= TCP => usize::from(found.payload[12] >> 4) * 4,
        _ => found.payload.len(),
    };
    found.payload.len().saturating_sub(header)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// The error of bytes that are not those of the pattern.
fn wrong(at: u64) -> io::Error {
    let text = format!("byte {at} is wrong");
    io::Error::new(ErrorKind::InvalidData, text)
}
