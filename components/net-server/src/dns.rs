//! DNS messages (RFC 1035, 4): one question out, and what an answer to it says.
//!
//! Problem: an answer may come from anybody, be about something else, or be
//! written so that its reader never ends. Invariant: what is not an answer to
//! the very question, number, name, type and class, says nothing; a name is
//! followed only backwards, through at most 255 bytes, and an alias through at
//! most [`LINKS`] names; a truncated answer has no addresses. Nothing here
//! panics: every byte is asked for.

use smoltcp::wire::Ipv4Address;

/// Bytes of the longest name, with a length before each label and a 0 behind
/// the last (2.3.4).
const LONGEST: usize = 255;
/// Bytes of the longest label (2.3.4).
const LABEL: usize = 63;
/// Bytes of a header, and of the type and class behind a question's name.
const HEADER: usize = 12;
const QUESTION: usize = 4;
/// Bytes of the longest question.
pub(crate) const MOST_QUESTION: usize = HEADER + LONGEST + QUESTION;
/// Addresses that are looked for.
pub(crate) const ADDRESSES: usize = 4;
/// Aliases that are followed in one answer, and records that are looked at.
const LINKS: usize = 16;
const RECORDS: u16 = 512;
const A: u16 = 1;
const CNAME: u16 = 5;
const INTERNET: u16 = 1;

/// A name as it is in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Name {
    /// A name from its text, with or without a dot at the end; `None` if a
    /// label is empty or too long, or the name is.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Self::root();
        for label in text.split('.') {
            if label.is_empty() || !name.push(label.as_bytes()) {
                return None;
            }
        }
        name.end().then_some(name)
    }

    const fn root() -> Self {
        Self {
            bytes: [0; LONGEST],
            len: 0,
        }
    }

    /// Adds a label; false if there is no room.
    fn push(&mut self, label: &[u8]) -> bool {
        let at = usize::from(self.len);
        let end = at + 1 + label.len();
        // One byte is left for the end.
        if label.len() > LABEL || end >= LONGEST {
            return false;
        }
        self.bytes[at] = label.len() as u8;
        self.bytes[at + 1..end].copy_from_slice(label);
        self.len = end as u8;
        true
    }

    fn end(&mut self) -> bool {
        let room = usize::from(self.len) < LONGEST;
        self.len += u8::from(room);
        room
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What an answer says of a name.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack"
)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It has these addresses, one at least.
    Addresses([Ipv4Address; ADDRESSES], usize),
    /// It does not exist, or has no address.
    Nothing,
    /// It is another name's alias, of which the answer says nothing.
    Alias(Name),
    /// There is more than the answer holds: ask again over TCP (RFC 7766, 5).
    Truncated,
    /// The server cannot say, or contradicts itself.
    Failed,
}

/// Writes the question for the addresses of a name; how many bytes.
pub(crate) fn ask(number: u16, name: &Name, into: &mut [u8; MOST_QUESTION]) -> usize {
    let end = HEADER + name.as_bytes().len();
    // Recursion desired; one question.
    let header = [number, 0x0100, 1, 0, 0, 0];
    for (to, field) in into.chunks_exact_mut(2).zip(header) {
        to.copy_from_slice(&field.to_be_bytes());
    }
    into[HEADER..end].copy_from_slice(name.as_bytes());
    into[end..end + QUESTION].copy_from_slice(&[0, A as u8, 0, INTERNET as u8]);
    end + QUESTION
}

/// What a message says to the question `number` for `name`; `None` if it does
/// not answer that.
pub(crate) fn hear(message: &[u8], number: u16, name: &Name) -> Option<Answer> {
    let message = Message(message);
    let (flags, questions) = (message.half(2)?, message.half(4)?);
    // A response to a plain query (4.1.1).
    let fits = message.half(0)? == number && flags & 0xf800 == 0x8000 && questions == 1;
    let behind = message.skip(HEADER)?;
    let kind = (message.half(behind)?, message.half(behind + 2)?);
    if !fits || kind != (A, INTERNET) || !message.is_name(HEADER, &Message(name.as_bytes()), 0) {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    let answer = match flags & 15 {
        0 => message.addresses(behind + QUESTION),
        3 => Some(Answer::Nothing),
        _ => None,
    };
    Some(answer.unwrap_or(Answer::Failed))
}

/// A record of an answer.
struct Record {
    owner: usize,
    kind: (u16, u16),
    data: usize,
    len: usize,
}

/// Bytes of a message.
struct Message<'a>(&'a [u8]);

impl Message<'_> {
    fn half(&self, at: usize) -> Option<u16> {
        let bytes = self.0.get(at..at.checked_add(2)?)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The label at `at`, empty for the end, and where the next one is; in a
    /// pointer's place the label that it points to, which stands before it.
    fn label(&self, mut at: usize) -> Option<(&[u8], usize)> {
        loop {
            let len = *self.0.get(at)?;
            match len >> 6 {
                0 => {
                    let end = at + 1 + usize::from(len);
                    return Some((self.0.get(at + 1..end)?, end));
                }
                3 => {
                    let to = usize::from(self.half(at)? & 0x3fff);
                    at = Some(to).filter(|to| *to < at)?;
                }
                _ => return None,
            }
        }
    }

    /// Calls `each` with the labels of the name at `at`; false if it does so, or
    /// there is no name.
    fn labels(&self, mut at: usize, mut each: impl FnMut(&[u8]) -> bool) -> bool {
        let mut bytes = 0;
        while let Some((label, next)) = self.label(at) {
            bytes += 1 + label.len();
            if bytes > LONGEST || !each(label) {
                return false;
            }
            if label.is_empty() {
                return true;
            }
            at = next;
        }
        false
    }

    /// Where the name at `at` ends.
    fn skip(&self, mut at: usize) -> Option<usize> {
        loop {
            let len = *self.0.get(at)?;
            match len >> 6 {
                0 if len == 0 => return Some(at + 1),
                0 => at += 1 + usize::from(len),
                3 => return Some(at + 2),
                _ => return None,
            }
        }
    }

    /// Whether two names are the same, but for upper and lower case.
    fn is_name(&self, at: usize, other: &Message<'_>, mut other_at: usize) -> bool {
        self.labels(at, |label| match other.label(other_at) {
            Some((same, next)) if same.eq_ignore_ascii_case(label) => {
                other_at = next;
                true
            }
            _ => false,
        })
    }

    /// The record at `at`, and where the next one is.
    fn record(&self, at: usize) -> Option<(Record, usize)> {
        let fixed = self.skip(at)?;
        let (data, len) = (fixed + 10, usize::from(self.half(fixed + 8)?));
        self.0.get(data..data + len)?;
        let record = Record {
            owner: at,
            kind: (self.half(fixed)?, self.half(fixed + 2)?),
            data,
            len,
        };
        Some((record, data + len))
    }

    /// The first of the records from `from` on that `wanted` takes.
    fn records<R>(&self, from: usize, mut wanted: impl FnMut(&Record) -> Option<R>) -> Option<R> {
        let mut at = from;
        for _ in 0..self.half(6)?.min(RECORDS) {
            let (record, next) = self.record(at)?;
            if let Some(found) = wanted(&record) {
                return Some(found);
            }
            at = next;
        }
        None
    }

    /// What the records from `from` on say of the name in the question: in
    /// whatever order, aliases first followed to their end. `None` if they
    /// cannot be read, or go round.
    fn addresses(&self, from: usize) -> Option<Answer> {
        let (mut last, mut at) = (from, HEADER);
        for _ in 0..self.half(6)?.min(RECORDS) {
            last = self.record(last)?.1;
        }
        let mut links = 0;
        let is_of = |record: &Record, kind, name| {
            record.kind == (kind, INTERNET) && self.is_name(record.owner, self, name)
        };
        while let Some(to) = self.records(from, |r| is_of(r, CNAME, at).then_some(r.data)) {
            links += 1;
            at = Some(to).filter(|_| links <= LINKS)?;
        }
        let (mut found, mut count) = ([Ipv4Address::UNSPECIFIED; ADDRESSES], 0);
        let full: Option<()> = self.records(from, |record| {
            if is_of(record, A, at) && record.len == 4 {
                let octets = self.0.get(record.data..)?.first_chunk::<4>()?;
                found[count] = Ipv4Address::from(*octets);
                count += 1;
            }
            (count == ADDRESSES).then_some(())
        });
        Some(match (full, count, links) {
            (None, 0, 0) => Answer::Nothing,
            (None, 0, _) => Answer::Alias(self.name(at)?),
            _ => Answer::Addresses(found, count),
        })
    }

    /// The name at `at`, by itself.
    fn name(&self, at: usize) -> Option<Name> {
        let mut name = Name::root();
        let complete = self.labels(at, |label| match label.is_empty() {
            true => name.end(),
            false => name.push(label),
        });
        complete.then_some(name)
    }
}

#[cfg(test)]
mod tests;
