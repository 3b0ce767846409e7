//! An end of a wire: a stream in QEMU's framing, or a TAP device.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use tap_device::Tap;

use crate::framed::{self, MAX_OUT};
use crate::link::{Deframer, MAX_FRAME, enframe};

/// Frames read from a device before anything else gets its turn.
const BATCH: usize = 64;

/// What a wire ends in.
#[derive(Debug)]
pub struct End(Kind);

#[derive(Debug)]
enum Kind {
    Tap(Tap),
    Stream(Stream),
}

/// A stream each way; often the same.
#[derive(Debug, Default)]
struct Stream {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    listeners: Listeners,
    deframer: Deframer,
    out: VecDeque<u8>,
}

/// Where streams come from when there are none.
#[derive(Debug, Default)]
enum Listeners {
    /// Nowhere: once lost, the wire has ended.
    #[default]
    None,
    /// One for both ways.
    Both(UnixListener),
    /// One for frames that come, one for frames that go.
    Apart(UnixListener, UnixListener),
}

impl End {
    /// Waits at a Unix socket for one that connects, QEMU with `-netdev
    /// stream,server=off` for example; for the next one when it goes.
    ///
    /// # Errors
    /// If there can be no such socket.
    pub fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self::waiting(Listeners::Both(listener(path)?)))
    }

    /// Waits at two Unix sockets, `input` for a stream of frames that come and
    /// `output` for one of frames that go.
    ///
    /// # Errors
    /// If there can be no such sockets.
    pub fn listen_apart(input: &Path, output: &Path) -> io::Result<Self> {
        let listeners = Listeners::Apart(listener(input)?, listener(output)?);
        Ok(Self::waiting(listeners))
    }

    /// A connected stream of frames, each behind its length.
    ///
    /// # Errors
    /// If the host does not give a second descriptor for it.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::connected(stream.into())
    }

    /// The same over TCP.
    ///
    /// # Errors
    /// As [`End::unix`].
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Frames must not wait for one another.
        stream.set_nodelay(true)?;
        Self::connected(stream.into())
    }

    /// A TAP device.
    #[must_use]
    pub fn tap(tap: Tap) -> Self {
        Self(Kind::Tap(tap))
    }

    fn waiting(listeners: Listeners) -> Self {
        Self(Kind::Stream(Stream {
            listeners,
            ..Stream::default()
        }))
    }

    fn connected(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Kind::Stream(Stream {
            output: Some(fd.try_clone()?),
            input: Some(fd),
            ..Stream::default()
        })))
    }

    /// What the thread sleeps on.
    pub(super) fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        match &self.0 {
            Kind::Tap(tap) => fds.push(PollFd::new(tap, PollFlags::IN)),
            Kind::Stream(stream) => stream.watch(fds),
        }
    }

    /// Whether frames can come or go, or may once somebody connects.
    pub(super) fn is_open(&self) -> bool {
        match &self.0 {
            Kind::Tap(_) => true,
            Kind::Stream(stream) => stream.is_up() || !matches!(stream.listeners, Listeners::None),
        }
    }

    /// Whether frames can come and go.
    pub(super) fn is_up(&self) -> bool {
        match &self.0 {
            Kind::Tap(_) => true,
            Kind::Stream(stream) => stream.is_up(),
        }
    }

    /// Sends a frame, or queues it; whether it was taken.
    pub(super) fn send(&mut self, frame: &[u8]) -> bool {
        match &mut self.0 {
            Kind::Tap(tap) => tap.write_frame(frame).is_ok(),
            Kind::Stream(stream) => stream.send(frame),
        }
    }

    /// Sends what is queued, as far as it goes.
    pub(super) fn flush(&mut self) {
        if let Kind::Stream(stream) = &mut self.0
            && stream.flush().is_err()
        {
            stream.lose();
        }
    }

    /// Accepts who comes, and reads what there is.
    pub(super) fn read(&mut self, buffer: &mut [u8], each: impl FnMut(Vec<u8>)) {
        match &mut self.0 {
            Kind::Tap(tap) => {
                if read_device(tap, buffer, each).is_err() {
                    // The device is gone, and with it this end.
                    self.0 = Kind::Stream(Stream::default());
                }
            }
            Kind::Stream(stream) => {
                stream.accept();
                if stream.read(each).is_err() {
                    stream.lose();
                }
            }
        }
    }
}

fn listener(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads a few frames; more may be there.
fn read_device(tap: &Tap, buffer: &mut [u8], mut each: impl FnMut(Vec<u8>)) -> io::Result<()> {
    for _ in 0..BATCH {
        match tap.read_frame(buffer) {
            Ok(len) => each(buffer[..len].to_vec()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Bytes that the buffer for reading from a device needs.
pub(super) const BUFFER: usize = MAX_FRAME;

impl Stream {
    fn is_up(&self) -> bool {
        self.input.is_some() && self.output.is_some()
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let waiting = match &self.listeners {
            Listeners::None => [None, None],
            Listeners::Both(both) => [Some(both), None],
            Listeners::Apart(input, output) => [Some(input), Some(output)],
        };
        let missing = [self.input.is_none(), self.output.is_none()];
        let waiting = waiting.into_iter().zip(missing);
        let waiting = waiting.filter_map(|(listener, missing)| listener.filter(|_| missing));
        fds.extend(waiting.map(|listener| PollFd::new(listener, PollFlags::IN)));
        fds.extend(self.input.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        // That nobody is there any more is found when something is to be sent.
        let output = self.output.iter().filter(|_| !self.out.is_empty());
        fds.extend(output.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    }

    fn accept(&mut self) {
        let missing = |fd: &Option<OwnedFd>| fd.is_none();
        match &self.listeners {
            Listeners::None => {}
            Listeners::Both(listener) if missing(&self.input) => {
                self.input = accepted(listener);
                let copy = self.input.as_ref().map(OwnedFd::try_clone);
                self.output = copy.and_then(Result::ok);
            }
            Listeners::Both(_) => {}
            Listeners::Apart(input, output) => {
                self.input = self.input.take().or_else(|| accepted(input));
                self.output = self.output.take().or_else(|| accepted(output));
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        let fits = self.is_up() && self.out.len() + frame.len() + 4 <= MAX_OUT;
        if fits {
            enframe(frame, &mut self.out);
        }
        fits
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.output {
            Some(output) => framed::drain(output, &mut self.out),
            None => Ok(()),
        }
    }

    fn read(&mut self, mut each: impl FnMut(Vec<u8>)) -> io::Result<()> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        framed::fill(input.as_fd(), &mut self.deframer)?;
        let broken = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        while let Some(frame) = self.deframer.next_frame().map_err(broken)? {
            each(frame);
        }
        Ok(())
    }

    fn lose(&mut self) {
        *self = Self {
            listeners: std::mem::take(&mut self.listeners),
            ..Self::default()
        };
    }
}

/// The next one that has connected.
fn accepted(listener: &UnixListener) -> Option<OwnedFd> {
    let (stream, _) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream.into())
}
