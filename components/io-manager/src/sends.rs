//! Who has which send slot, and whose bytes are in flight with it.
//!
//! Invariant: a slot is the server's until it hands it over in a frame that is
//! accepted, and again when the device has let go of that frame; while it is
//! not, the requests whose bytes the frame has are counted here, once each time
//! that their own count says so.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use socket_api::SEND_SLOTS;

/// A request by client and slot, which is not freed while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub client: u16,
    pub index: u16,
}

/// Nobody, in [`References::first`].
const NOBODY: Reference = Reference {
    client: u16::MAX,
    index: u16::MAX,
};

/// Requests with bytes in a frame; two of them without the heap.
#[derive(Debug)]
pub(crate) struct References {
    first: [Reference; 2],
    #[allow(
        clippy::box_collection,
        reason = "rarely there, so small when it is not"
    )]
    rest: Option<Box<Vec<Reference>>>,
}

impl Default for References {
    #[inline]
    fn default() -> Self {
        Self {
            first: [NOBODY; 2],
            rest: None,
        }
    }
}

impl References {
    /// Adds one; false if it was the one before too.
    #[inline(always)]
    pub fn push(&mut self, new: Reference) -> bool {
        let [first, second] = &mut self.first;
        if *first == NOBODY {
            *first = new;
            return true;
        }
        if *second == NOBODY {
            if *first == new {
                return false;
            }
            *second = new;
            return true;
        }
        let last = self.rest.as_ref().and_then(|rest| rest.last());
        if *last.unwrap_or(second) == new {
            return false;
        }
        self.rest.get_or_insert_default().push(new);
        true
    }

    /// The one that was added last.
    #[inline(always)]
    pub fn last(&self) -> Option<Reference> {
        let rest = self.rest.as_ref().and_then(|rest| rest.last());
        let [first, second] = &self.first;
        let last = rest.unwrap_or(if *second == NOBODY { first } else { second });
        (*last != NOBODY).then_some(*last)
    }

    /// Calls `each` with all of them; none are left.
    #[inline(always)]
    pub fn drain(&mut self, mut each: impl FnMut(Reference)) {
        let Self { first, rest } = mem::take(self);
        for reference in first {
            if reference != NOBODY {
                each(reference);
            }
        }
        if let Some(rest) = rest {
            rest.into_iter().for_each(each);
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// A frame with it is with the driver, or waits here for it.
    away: bool,
    /// Frames of a segment that was cut.
    frames: u16,
    references: References,
}

/// The send slots of one server.
#[derive(Debug)]
pub(crate) struct Sends {
    slots: Box<[Slot]>,
    away: u32,
    frames: u32,
}

impl Sends {
    /// All slots are the server's.
    pub fn new() -> Self {
        Self {
            slots: (0..SEND_SLOTS).map(|_| Slot::default()).collect(),
            away: 0,
            frames: 0,
        }
    }

    /// Slots that are not the server's.
    #[inline]
    pub const fn away(&self) -> u32 {
        self.away
    }

    /// Frames in flight of segments that were cut.
    #[inline]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Whether the slot is the server's.
    #[inline(always)]
    pub fn is_servers(&self, slot: u16) -> bool {
        let away = |s: &Slot| s.away && !cfg!(feature = "mutation-no-validation");
        self.slots.get(usize::from(slot)).is_some_and(|s| !away(s))
    }

    /// The slot goes away with bytes of `references`, in so many `frames` if it
    /// is a segment that was cut.
    #[inline(always)]
    pub fn send(&mut self, slot: u16, references: References, frames: u32) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.away = true;
            slot.frames = frames as u16;
            // There were none: nothing would have to be dropped.
            mem::forget(mem::replace(&mut slot.references, references));
            self.away += 1;
            self.frames += frames;
        }
    }

    /// The device has let go of the frame with the slot; `None` if it has none.
    #[inline(always)]
    pub fn done(&mut self, id: u32) -> Option<References> {
        let slot = self.slots.get_mut(id as usize)?;
        if !slot.away {
            return None;
        }
        slot.away = false;
        self.away -= 1;
        self.frames -= u32::from(slot.frames);
        Some(mem::take(&mut slot.references))
    }
}
