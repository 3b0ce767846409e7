//! The format of QEMU's `-netdev stream`: each frame behind its length.
//!
//! The length is 32 bits, big-endian. Reads come in arbitrary pieces, so a
//! [`Deframer`] keeps what is incomplete; it holds less than one frame and one
//! read at any time. A length that no Ethernet frame can have means that the
//! two sides have lost each other: there is no way to find the next frame.

use std::fmt;

/// Longest frame that is taken or made: 64 KiB of payload and headers.
pub const MAX_FRAME: usize = 65_535 + 64;

/// The stream carries a length that no frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desynchronised {
    /// The length that was read.
    pub length: u32,
}

impl fmt::Display for Desynchronised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the other end announces a frame of {} bytes",
            self.length
        )
    }
}

impl std::error::Error for Desynchronised {}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Deframer {
    pending: Vec<u8>,
    taken: usize,
}

impl Deframer {
    /// Adds bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.taken);
        self.taken = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// [`Desynchronised`]; the stream is of no further use then.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Desynchronised> {
        let rest = &self.pending[self.taken..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head);
        if length as usize > MAX_FRAME {
            return Err(Desynchronised { length });
        }
        let Some(frame) = rest.get(..length as usize) else {
            return Ok(None);
        };
        self.taken += 4 + frame.len();
        Ok(Some(frame.to_vec()))
    }
}

/// Appends a frame, with its length before it.
pub fn enframe(frame: &[u8], out: &mut impl Extend<u8>) {
    out.extend((frame.len() as u32).to_be_bytes());
    out.extend(frame.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_frames() {
        let frames: [&[u8]; 4] = [b"abc", b"", b"0123456789", b"x"];
        let mut stream = Vec::new();
        frames.iter().for_each(|frame| enframe(frame, &mut stream));
        for step in 1..=stream.len() {
            let (mut deframer, mut out) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(step) {
                deframer.push(piece);
                while let Some(frame) = deframer.next_frame().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, frames, "pieces of {step}");
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_an_error() {
        let mut deframer = Deframer::default();
        deframer.push(&[0xff; 4]);
        assert_eq!(
            deframer.next_frame(),
            Err(Desynchronised { length: u32::MAX })
        );
    }
}
