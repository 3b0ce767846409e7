//! Writes captures that Wireshark and tcpdump read.
//!
//! Classic format, microseconds, Ethernet; native byte order, as its magic
//! number tells readers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A capture file being written.
#[derive(Debug)]
pub struct Pcap<W: Write> {
    out: W,
}

impl Pcap<BufWriter<File>> {
    /// Creates (or truncates) a file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> Pcap<W> {
    /// Starts a capture on `out`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&0xa1b2_c3d4u32.to_ne_bytes())?;
        out.write_all(&2u16.to_ne_bytes())?;
        out.write_all(&4u16.to_ne_bytes())?;
        // Time zone, accuracy, longest frame, link type Ethernet.
        for word in [0, 0, 0x4_0000, 1u32] {
            out.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self { out })
    }

    /// Adds a frame seen at `time`.
    ///
    /// # Errors
    /// What the writer says.
    pub fn frame(&mut self, time: SystemTime, frame: &[u8]) -> io::Result<()> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = frame.len() as u32;
        for word in [since.as_secs() as u32, since.subsec_micros(), len, len] {
            self.out.write_all(&word.to_ne_bytes())?;
        }
        self.out.write_all(frame)
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// What the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn header_and_record_are_as_documented() {
        let mut bytes = Vec::new();
        let mut pcap = Pcap::new(&mut bytes).unwrap();
        pcap.frame(UNIX_EPOCH + Duration::from_micros(3_000_007), b"frame")
            .unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 5);
        let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
        assert_eq!([word(0), word(20)], [0xa1b2_c3d4, 1]);
        assert_eq!([word(24), word(28), word(32), word(36)], [3, 7, 5, 5]);
        assert_eq!(&bytes[40..], b"frame");
    }
}
