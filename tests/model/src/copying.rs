//! What would arrive if everything were copied at once.
//!
//! Problem: data passing must look as if `send` took a copy at once and `recv`
//! put one in place at its end. Invariant: this model does exactly that and
//! nothing else, so whatever it does not allow is an error of the system's.
//! Only weak semantics make it tolerant: a byte that was changed while such a
//! send was on its way may arrive old or new, and a datagram changed that way
//! may not arrive at all, since its checksum may be wrong.

use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes that were sent.
#[derive(Clone, Debug, Default)]
struct Sent {
    bytes: Vec<u8>,
    /// What else may be there, by offset.
    others: Vec<(usize, Vec<u8>)>,
    /// Where anything may be.
    wild: Vec<Range<usize>>,
    /// It may be lost.
    lossy: bool,
    /// It was refused, and must not arrive.
    void: bool,
}

impl Sent {
    /// Whether byte `at` may be this.
    fn allows(&self, at: usize, byte: u8) -> bool {
        let other = |(from, bytes): &(usize, Vec<u8>)| {
            at.checked_sub(*from).and_then(|n| bytes.get(n)) == Some(&byte)
        };
        self.bytes.get(at) == Some(&byte)
            || self.wild.iter().any(|range| range.contains(&at))
            || self.others.iter().any(other)
    }

    /// The first of `got`, which begins at byte `at`, that cannot be.
    fn differs(&self, at: usize, got: &[u8]) -> Option<usize> {
        if self.bytes.get(at..at + got.len()) == Some(got) {
            return None;
        }
        (0..got.len()).find(|n| !self.allows(at + n, got[*n]))
    }

    fn change(&mut self, at: usize, new: Change<'_>) {
        match new {
            Change::To(bytes) => self.others.push((at, bytes.to_vec())),
            Change::Wild(len) => self.wild.push(at..at + len),
        }
    }
}

/// How bytes changed while they were on their way.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// To these.
    To(&'a [u8]),
    /// So many of them, in a way that nobody can say.
    Wild(usize),
}

/// One way from one host to the other.
#[derive(Clone, Debug)]
pub enum Flow {
    /// Datagrams, each whole and in order.
    Datagrams(Datagrams),
    /// A stream.
    Stream(Stream),
}

impl Flow {
    /// For datagrams.
    #[must_use]
    pub fn datagrams() -> Self {
        Self::Datagrams(Datagrams {
            sent: Vec::new(),
            next: BTreeSet::from([0]),
        })
    }

    /// For a stream.
    #[must_use]
    pub fn stream() -> Self {
        Self::Stream(Stream::default())
    }

    /// Something is sent; its number.
    pub fn begin(&mut self, bytes: Vec<u8>) -> usize {
        let sent = Sent {
            bytes,
            ..Sent::default()
        };
        match self {
            Self::Datagrams(d) => d.sent.push(sent),
            Self::Stream(s) => s.sent.push(sent),
        }
        self.all().len() - 1
    }

    fn all(&mut self) -> &mut Vec<Sent> {
        match self {
            Self::Datagrams(d) => &mut d.sent,
            Self::Stream(s) => &mut s.sent,
        }
    }

    /// The bytes of number `id` from `at` on were changed before it was done.
    pub fn change(&mut self, id: usize, at: usize, new: Change<'_>, weak: bool) {
        let sent = &mut self.all()[id];
        sent.change(at, new);
        sent.lossy |= weak;
    }

    /// Sending number `id` is done: so many of its bytes were taken; `None` if
    /// it was refused.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn end(&mut self, id: usize, taken: Option<usize>) -> Result<(), String> {
        let last = id + 1 == self.all().len();
        let sent = &mut self.all()[id];
        let all = sent.bytes.len();
        match (self, taken) {
            (_, Some(taken)) if taken == all => Ok(()),
            (Self::Datagrams(d), None) => {
                d.sent[id].void = true;
                Ok(())
            }
            (Self::Stream(s), None) => s.cut(id, 0),
            (Self::Stream(s), Some(taken)) if last => s.cut(id, taken),
            (_, taken) => Err(format!("{taken:?} of {all} bytes were taken")),
        }
    }

    /// These have come, in room for so many. With `slots`, no more than so many
    /// bytes of a datagram may have come.
    ///
    /// # Errors
    /// Why they cannot have.
    pub fn receive(&mut self, got: &[u8], room: usize, slots: usize) -> Result<(), String> {
        match self {
            Self::Datagrams(d) => d.receive(got, room, slots),
            Self::Stream(s) => s.receive(got),
        }
    }

    /// How many bytes, or datagrams for datagrams, must still come, and how
    /// many bytes may.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        match self {
            Self::Datagrams(d) => d.pending(),
            Self::Stream(s) => {
                let left = s.len().saturating_sub(s.received);
                (left, left)
            }
        }
    }

    /// Nothing more need come.
    pub fn give_up(&mut self) {
        self.all().iter_mut().for_each(|sent| sent.lossy = true);
    }
}

/// Datagrams, each whole and in order.
#[derive(Clone, Debug)]
pub struct Datagrams {
    sent: Vec<Sent>,
    /// Which may be the next to come.
    next: BTreeSet<usize>,
}

impl Datagrams {
    fn receive(&mut self, got: &[u8], room: usize, slots: usize) -> Result<(), String> {
        let mut next = BTreeSet::new();
        let mut why = format!("{} bytes came, and nothing was sent", got.len());
        for &first in &self.next {
            for (n, sent) in self.sent.iter().enumerate().skip(first) {
                let most = sent.bytes.len().min(room);
                let fits = got.len() == most || got.len() == most.min(slots);
                match (fits && !sent.void).then(|| sent.differs(0, got)) {
                    Some(None) => drop(next.insert(n + 1)),
                    Some(Some(at)) => why = format!("number {n} differs at byte {at}"),
                    None => why = format!("number {n} has {most} bytes, {} came", got.len()),
                }
                if !sent.lossy && !sent.void {
                    break;
                }
            }
        }
        if next.is_empty() {
            return Err(why);
        }
        self.next = next;
        Ok(())
    }

    fn pending(&self) -> (usize, usize) {
        let certain = |sent: &&Sent| !sent.lossy && !sent.void;
        let counts = self
            .next
            .iter()
            .map(|n| self.sent[*n..].iter().filter(certain).count());
        let first = self.next.first().copied().unwrap_or(0);
        // Each datagram takes a packet, however short it is.
        let bytes = self.sent[first..]
            .iter()
            .map(|s| s.bytes.len() + 1024)
            .sum();
        (counts.min().unwrap_or(0), bytes)
    }
}

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    sent: Vec<Sent>,
    received: usize,
}

impl Stream {
    fn len(&self) -> usize {
        self.sent.iter().map(|s| s.bytes.len()).sum()
    }

    /// Only `taken` bytes of piece number `id` are part of it.
    fn cut(&mut self, id: usize, taken: usize) -> Result<(), String> {
        let before: usize = self.sent[..id].iter().map(|s| s.bytes.len()).sum();
        self.sent[id].bytes.truncate(taken);
        match self.received <= before + taken {
            true => Ok(()),
            false => Err(format!(
                "{} bytes came of {}",
                self.received,
                before + taken
            )),
        }
    }

    fn receive(&mut self, mut got: &[u8]) -> Result<(), String> {
        let mut start = 0;
        for sent in &self.sent {
            let end = start + sent.bytes.len();
            if self.received < end && !got.is_empty() {
                let at = self.received - start;
                let (now, later) = got.split_at(got.len().min(end - self.received));
                if let Some(n) = sent.differs(at, now) {
                    return Err(format!("the stream differs at byte {}", self.received + n));
                }
                self.received += now.len();
                got = later;
            }
            start = end;
        }
        match got.is_empty() {
            true => Ok(()),
            false => Err(format!("{} bytes came that were not sent", got.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_in_order_and_whole() {
        let mut flow = Flow::datagrams();
        flow.begin(vec![1, 2, 3]);
        flow.begin(vec![4]);
        assert!(flow.clone().receive(&[4], 10, 10).is_err());
        assert!(flow.clone().receive(&[1, 2], 10, 10).is_err());
        assert!(flow.clone().receive(&[1, 2], 2, 10).is_ok());
        assert!(flow.receive(&[1, 2, 3], 10, 10).is_ok());
        assert_eq!(flow.pending().0, 1);
    }

    #[test]
    fn what_was_changed_may_be_lost_and_what_was_refused_must_be() {
        let mut flow = Flow::datagrams();
        let first = flow.begin(vec![1, 2, 3]);
        flow.begin(vec![4]);
        flow.change(first, 1, Change::To(&[7]), true);
        assert!(flow.clone().receive(&[4], 10, 10).is_ok());
        assert!(flow.clone().receive(&[1, 7, 3], 10, 10).is_ok());
        assert!(flow.clone().receive(&[7, 2, 3], 10, 10).is_err());
        flow.end(first, None).unwrap();
        assert!(flow.receive(&[1, 2, 3], 10, 10).is_err());
    }

    #[test]
    fn a_stream_is_what_was_taken() {
        let mut flow = Flow::stream();
        flow.begin(vec![1, 2, 3]);
        let last = flow.begin(vec![4, 5]);
        flow.end(last, Some(1)).unwrap();
        assert!(flow.clone().receive(&[1, 2, 3, 4, 5], 9, 9).is_err());
        assert!(flow.clone().receive(&[2], 9, 9).is_err());
        assert!(flow.receive(&[1, 2, 3, 4], 9, 9).is_ok());
        assert_eq!(flow.pending(), (0, 0));
    }
}
