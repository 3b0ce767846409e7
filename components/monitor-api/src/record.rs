//! Log lines as fixed-size records in a ring.
//!
//! Problem: lines have any length, ring entries have not, and the writer may
//! be in a panic. Invariant: a line arrives whole, cut at [`MAX_LINE`] bytes
//! with a visible mark, or not at all and counted; pieces of two lines never
//! mix, because all pieces of a line are published at once.

use core::fmt;

use log::Level;
use shared_ring::{AttachError, Consumer, Producer, RingError, SharedMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::text::TextBuffer;
use crate::{LOG_OFFSET, LOG_RING};

/// Bytes of text in one record.
pub const PIECE_BYTES: usize = 112;
/// Most bytes of a line; the rest is cut.
pub const MAX_LINE: usize = 4 * PIECE_BYTES;

const CONTINUES: u8 = 1 << 0;
const CUT: u8 = 1 << 1;

/// One record of the log ring. 128 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LogEntry {
    /// The writer's time-stamp counter.
    pub tsc: u64,
    /// Lines dropped since the writer started, modulo 2^32.
    pub dropped: u32,
    /// 1 (error) to 5 (trace).
    pub level: u8,
    /// Bit 0: the line goes on in the next record. Bit 1: it was cut.
    pub flags: u8,
    /// Bytes of `text` in use.
    pub len: u8,
    /// Zero.
    pub reserved: u8,
    /// UTF-8; a character may be split between two records.
    pub text: [u8; PIECE_BYTES],
}

/// The component's end of its log ring.
#[derive(Debug)]
pub struct LogWriter {
    ring: Producer<LogEntry>,
    dropped: u32,
}

impl LogWriter {
    /// Attaches to the log ring of a monitor region.
    ///
    /// # Errors
    /// As [`shared_ring::RingLayout::verify`].
    pub fn attach(region: SharedMemory) -> Result<Self, AttachError> {
        let at = region.slice(LOG_OFFSET, LOG_RING.bytes())?;
        Ok(Self {
            ring: Producer::attach(at, LOG_RING)?,
            dropped: 0,
        })
    }

    /// Writes one line; true if the console must be signalled. Neither waits
    /// nor panics; without room the line is dropped and counted.
    #[must_use = "the console sleeps until it is signalled"]
    pub fn write(&mut self, level: Level, tsc: u64, line: fmt::Arguments<'_>) -> bool {
        let mut text = TextBuffer::<MAX_LINE>::new();
        // `TextBuffer` never fails; a `Display` that does has its line cut.
        let cut = fmt::write(&mut text, line).is_err() || text.is_cut();
        self.write_text(level, tsc, text.as_bytes(), cut)
    }

    fn write_text(&mut self, level: Level, tsc: u64, text: &[u8], cut: bool) -> bool {
        let pieces = text.len().div_ceil(PIECE_BYTES).max(1);
        if LOG_RING.capacity - self.ring.in_flight() < pieces as u32 {
            self.dropped = self.dropped.wrapping_add(1);
            return false;
        }
        for n in 0..pieces {
            let rest = text.get(n * PIECE_BYTES..).unwrap_or(&[]);
            let (len, last) = (rest.len().min(PIECE_BYTES), n + 1 == pieces);
            let mut entry = LogEntry {
                tsc,
                dropped: self.dropped,
                level: level as u8,
                flags: if last { u8::from(cut) * CUT } else { CONTINUES },
                len: len as u8,
                reserved: 0,
                text: [0; PIECE_BYTES],
            };
            for (to, from) in entry.text.iter_mut().zip(rest) {
                *to = *from;
            }
            if self.ring.push(&entry).is_err() {
                break;
            }
        }
        self.ring.publish()
    }
}

/// One line, as the console got it.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The writer's time-stamp counter when it logged, as it claims.
    pub tsc: u64,
    /// How severe; `Error` too if the writer named no such level.
    pub level: Level,
    /// Lines dropped for want of room since the previous line.
    pub dropped: u32,
    /// Whether the end is missing.
    pub cut: bool,
    text: TextBuffer<MAX_LINE>,
}

impl Line {
    /// The text: no control characters, so that it stays one line and cannot
    /// drive a terminal.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_str()
    }
}

/// The console's end of a log ring. Believes nothing in it.
#[derive(Debug)]
pub struct LogReader {
    ring: Consumer<LogEntry>,
    pieces: [u8; MAX_LINE],
    len: usize,
    dropped: u32,
}

impl LogReader {
    /// Attaches to the log ring of a monitor region.
    ///
    /// # Errors
    /// As [`shared_ring::RingLayout::verify`].
    pub fn attach(region: SharedMemory) -> Result<Self, AttachError> {
        let at = region.slice(LOG_OFFSET, LOG_RING.bytes())?;
        Ok(Self {
            ring: Consumer::attach(at, LOG_RING)?,
            pieces: [0; MAX_LINE],
            len: 0,
            dropped: 0,
        })
    }

    /// The next whole line, or `None` when there is none for now. Takes no
    /// more records than the ring has, however fast its writer adds to it.
    ///
    /// # Errors
    /// [`RingError`] if the writer's index is impossible: stop reading it.
    pub fn next_line(&mut self) -> Result<Option<Line>, RingError> {
        for _ in 0..LOG_RING.capacity {
            let Some(entry) = self.ring.pop()? else {
                break;
            };
            let len = (entry.len as usize).min(PIECE_BYTES);
            let full = self.append(entry.text.get(..len).unwrap_or(&[]));
            if entry.flags & CONTINUES == 0 || full {
                return Ok(Some(self.finish(&entry, full)));
            }
        }
        Ok(None)
    }

    /// Asks for a signal at the next line; true if there is none now.
    ///
    /// # Errors
    /// As [`LogReader::next_line`].
    pub fn arm(&mut self) -> Result<bool, RingError> {
        self.ring.arm()
    }

    /// Files a piece; true if the line has no room for another one.
    fn append(&mut self, piece: &[u8]) -> bool {
        for (to, from) in self.pieces.iter_mut().skip(self.len).zip(piece) {
            *to = *from;
        }
        self.len = (self.len + piece.len()).min(MAX_LINE);
        self.len == MAX_LINE
    }

    fn finish(&mut self, last: &LogEntry, full: bool) -> Line {
        let mut text = TextBuffer::new();
        let bytes = self.pieces.get(..self.len).unwrap_or(&[]);
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let c = if c.is_control() { ' ' } else { c };
                fmt::Write::write_char(&mut text, c).ok();
            }
            if !chunk.invalid().is_empty() {
                fmt::Write::write_char(&mut text, '?').ok();
            }
        }
        self.len = 0;
        let dropped = last.dropped.wrapping_sub(self.dropped);
        self.dropped = last.dropped;
        Line {
            tsc: last.tsc,
            level: level_of(last.level),
            dropped,
            cut: last.flags & CUT != 0 || full && last.flags & CONTINUES != 0,
            text,
        }
    }
}

fn level_of(level: u8) -> Level {
    Level::iter()
        .find(|l| *l as u8 == level)
        .unwrap_or(Level::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MONITOR_REGION;
    use std::boxed::Box;
    use std::string::String;
    use std::vec;

    fn ends() -> (SharedMemory, LogWriter, LogReader) {
        let words = vec![0u64; MONITOR_REGION / 8].into_boxed_slice();
        let region = SharedMemory::from_static(Box::leak(words));
        let ring = region.slice(LOG_OFFSET, LOG_RING.bytes()).unwrap();
        LOG_RING.format(&ring).unwrap();
        let writer = LogWriter::attach(region).unwrap();
        (region, writer, LogReader::attach(region).unwrap())
    }

    fn next(reader: &mut LogReader) -> Line {
        reader.next_line().unwrap().expect("a line")
    }

    #[test]
    fn lines_arrive_whole_at_every_length() {
        let (_, mut writer, mut reader) = ends();
        for len in [0, 1, 111, 112, 113, 224, 225, 335, MAX_LINE - 1, MAX_LINE] {
            let text: String = ('a'..='z').cycle().take(len).collect();
            let _ = writer.write(Level::Warn, len as u64, format_args!("{text}"));
            let line = next(&mut reader);
            assert_eq!((line.text(), line.cut), (text.as_str(), false));
            assert_eq!((line.level, line.tsc), (Level::Warn, len as u64));
        }
        assert!(reader.next_line().unwrap().is_none());
    }

    #[test]
    fn long_lines_are_cut_and_say_so() {
        let (_, mut writer, mut reader) = ends();
        let text = "ä".repeat(MAX_LINE);
        assert!(
            writer.write(Level::Info, 0, format_args!("{text}")),
            "asked for a signal"
        );
        let line = next(&mut reader);
        assert!(line.cut);
        assert_eq!(line.text(), &text[..MAX_LINE]);
    }

    #[test]
    fn a_full_ring_drops_whole_lines_and_counts_them() {
        let (_, mut writer, mut reader) = ends();
        let mut written = 0;
        for n in 0..200 {
            let wide = "x".repeat(PIECE_BYTES * 3);
            let _ = writer.write(Level::Info, n, format_args!("{wide}"));
            written += 1;
        }
        let mut seen = 0;
        while reader.next_line().unwrap().is_some() {
            seen += 1;
        }
        assert_eq!(seen, LOG_RING.capacity / 3);
        let _ = writer.write(Level::Info, 0, format_args!("after"));
        assert_eq!(next(&mut reader).dropped, written - seen);
        let _ = writer.write(Level::Info, 0, format_args!("after"));
        assert_eq!(next(&mut reader).dropped, 0);
    }

    #[test]
    fn hostile_records_stay_one_printable_line() {
        let (region, _, mut reader) = ends();
        let at = region.slice(LOG_OFFSET, LOG_RING.bytes()).unwrap();
        let mut ring = Producer::<LogEntry>::attach(at, LOG_RING).unwrap();
        let entry = LogEntry {
            tsc: u64::MAX,
            dropped: u32::MAX,
            level: 77,
            flags: 0xff,
            len: 255,
            reserved: 9,
            text: *b"\x1b[2J\r\n\xff\xfe\0"
                .repeat(13)
                .first_chunk()
                .expect("112 bytes"),
        };
        for _ in 0..LOG_RING.capacity {
            ring.push(&entry).unwrap();
        }
        let _ = ring.publish();
        let mut lines = 0;
        while let Some(line) = reader.next_line().unwrap() {
            lines += 1;
            assert!(!line.text().chars().any(char::is_control));
            assert!(line.cut, "a line that never ends is cut");
            assert_eq!(line.level, Level::Error);
        }
        assert_eq!(lines, LOG_RING.capacity / 4);
    }

    #[test]
    fn a_jumping_index_is_an_error() {
        let (region, _, mut reader) = ends();
        region.store32(LOG_OFFSET + 64, 1 << 20).unwrap();
        assert!(reader.next_line().is_err());
    }
}
