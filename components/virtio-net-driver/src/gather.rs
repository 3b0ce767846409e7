//! A frame whose spans come in several entries.
//!
//! Problem: the entries arrive one by one, perhaps over several passes, and
//! may be too many or empty. Invariant: a frame leaves here only whole, after
//! the entry that does not promise more, and at most [`MOST_SPANS`] long; of
//! one that is broken the entries up to that one are taken and nothing else.

use nic_api::{MOST_SPANS, SendFrame, Span, frame_flags};

/// How far the frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Empty = 0,
    /// More entries belong to it.
    Partial,
    /// It is whole.
    Whole,
}

/// The frame being gathered.
#[derive(Debug)]
pub(crate) struct Gather {
    stage: Stage,
    broken: bool,
    first: SendFrame,
    spans: [Span; MOST_SPANS],
    count: usize,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Empty,
            broken: false,
            first: SendFrame::default(),
            spans: [Span::default(); MOST_SPANS],
            count: 0,
        }
    }

    /// Whether `entry` is not a frame by itself.
    #[inline]
    pub(crate) fn concerns(&self, entry: &SendFrame) -> bool {
        entry.flags & frame_flags::MORE | self.stage as u16 != 0
    }

    /// Whether the frame is whole and must be taken away.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.stage == Stage::Whole
    }

    /// Takes the next entry of the frame; there is no whole one.
    pub(crate) fn add(&mut self, entry: &SendFrame) {
        if self.stage == Stage::Empty {
            self.first = *entry;
            self.count = 0;
            self.broken = false;
        }
        let end = self.count + usize::from(entry.count);
        let from = entry.spans.get(..entry.count.into());
        match (from, self.spans.get_mut(self.count..end)) {
            (Some(from @ [_, ..]), Some(into)) => {
                into.copy_from_slice(from);
                self.count = end;
            }
            _ => self.broken = true,
        }
        self.stage = if entry.flags & frame_flags::MORE != 0 {
            Stage::Partial
        } else {
            Stage::Whole
        };
    }

    /// The frame's first entry and its spans, none if they are broken.
    pub(crate) fn frame(&self) -> (&SendFrame, &[Span]) {
        let count = if self.broken { 0 } else { self.count };
        (&self.first, self.spans.get(..count).unwrap_or(&[]))
    }

    /// Forgets the frame.
    pub(crate) fn clear(&mut self) {
        self.stage = Stage::Empty;
    }
}
