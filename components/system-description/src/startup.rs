//! The start-up page: a header and a sequence of records.
//!
//! Written once by the root task, mapped read-only into the component.
//! Reading needs no heap: [`Records`] decodes one record after the other. Where
//! a component hosts others, their records follow its own; each component's
//! begin with a `Component` record ([`Records::split`]).

use core::fmt;

use serde::Serialize;

use crate::record::Record;

/// `"ioipcsta"`, the first eight bytes of the page.
pub const MAGIC: [u8; 8] = *b"ioipcsta";
/// Version of header and records.
pub const VERSION: u32 = 3;
/// Bytes of the header: magic, version, bytes of the records that follow.
pub const HEADER_BYTES: usize = 16;

/// Why a start-up page was refused or could not be written. The root task or
/// the host tool that built the image is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupError {
    /// Another magic word.
    Magic,
    /// Another version.
    Version(u32),
    /// The records do not end where the header says, or one does not decode.
    Malformed,
    /// The records do not fit the page.
    TooLong,
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no start-up page"),
            Self::Version(v) => write!(f, "start-up page has version {v}, not {VERSION}"),
            Self::Malformed => f.write_str("malformed start-up page"),
            Self::TooLong => f.write_str("start-up records do not fit"),
        }
    }
}

impl core::error::Error for StartupError {}

/// The records of a start-up page, decoded one by one.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Checks the header of `page` and every record once.
    ///
    /// # Errors
    /// A [`StartupError`] that says what is wrong.
    pub fn new(page: &'a [u8]) -> Result<Self, StartupError> {
        let (header, rest) = page
            .split_at_checked(HEADER_BYTES)
            .ok_or(StartupError::Magic)?;
        let word = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(bytes)
        };
        if header[..8] != MAGIC {
            return Err(StartupError::Magic);
        }
        if word(8) != VERSION {
            return Err(StartupError::Version(word(8)));
        }
        let rest = rest
            .get(..word(12) as usize)
            .ok_or(StartupError::Malformed)?;
        let mut left = rest;
        while !left.is_empty() {
            left = postcard::take_from_bytes::<Record<&str, &[u8]>>(left)
                .map_err(|_| StartupError::Malformed)?
                .1;
        }
        Ok(Self { rest })
    }

    /// The records of the first component, and those of the others.
    #[must_use]
    pub fn split(self) -> (Self, Self) {
        let mut rest = self;
        rest.next();
        while !rest.rest.is_empty() {
            let before = rest;
            if matches!(rest.next(), None | Some(Record::Component { .. })) {
                rest = before;
                break;
            }
        }
        let (first, _) = self.rest.split_at(self.rest.len() - rest.rest.len());
        (Self { rest: first }, rest)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<&'a str, &'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (record, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(record)
    }
}

/// Writes a start-up page into `page`; returns the bytes used.
///
/// # Errors
/// [`StartupError::TooLong`] if the records do not fit.
pub fn write<S: Serialize, B: Serialize>(
    records: impl IntoIterator<Item = Record<S, B>>,
    page: &mut [u8],
) -> Result<usize, StartupError> {
    let mut at = HEADER_BYTES;
    for record in records {
        let room = page.get_mut(at..).ok_or(StartupError::TooLong)?;
        at += postcard::to_slice(&record, room)
            .map_err(|_| StartupError::TooLong)?
            .len();
    }
    let header = page.get_mut(..HEADER_BYTES).ok_or(StartupError::TooLong)?;
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&((at - HEADER_BYTES) as u32).to_le_bytes());
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, index: u16) -> Record<&str, &[u8]> {
        let system = "test";
        Record::Component {
            name,
            system,
            index,
        }
    }

    fn config(key: &str) -> Record<&str, &[u8]> {
        Record::Config { key, value: "1" }
    }

    #[test]
    fn guests_records_are_told_from_the_hosts() {
        let mut page = [0; 512];
        let all = [
            component("host", 2),
            config("a"),
            component("guest", 0),
            component("other", 1),
            config("b"),
            config("c"),
        ];
        let used = write(all.clone(), &mut page).unwrap();
        let records = Records::new(&page[..used]).unwrap();
        let (host, rest) = records.split();
        assert!(host.eq(all[..2].iter().cloned()));
        let (guest, rest) = rest.split();
        assert!(guest.eq(all[2..3].iter().cloned()));
        let (other, rest) = rest.split();
        assert!(other.eq(all[3..].iter().cloned()));
        assert!(rest.is_empty());
        let (nobody, rest) = rest.split();
        assert!(nobody.is_empty() && rest.is_empty());
    }
}
