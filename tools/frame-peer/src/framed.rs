//! Frames over a stream that does not wait, into and out of queues.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use crate::link::Deframer;

/// Bytes that may wait for a stream; frames over that are lost, as in a NIC.
pub(crate) const MAX_OUT: usize = 1 << 20;

/// Reads once, if there is something.
///
/// # Errors
/// `UnexpectedEof` at the end of the stream, and what the host says; either
/// way the stream is of no further use.
pub(crate) fn fill(stream: impl AsFd, deframer: &mut Deframer) -> io::Result<()> {
    let mut buffer = [0; 1 << 16];
    match rustix::io::read(stream, &mut buffer).map_err(io::Error::from) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            deframer.push(&buffer[..n]);
            Ok(())
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes as much of `out` as the stream takes.
///
/// # Errors
/// What the host says; the stream is of no further use.
pub(crate) fn drain(stream: impl AsFd, out: &mut VecDeque<u8>) -> io::Result<()> {
    while !out.is_empty() {
        let (bytes, _) = out.as_slices();
        match rustix::io::write(&stream, bytes).map_err(io::Error::from) {
            Ok(n) => drop(out.drain(..n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
