//! Every frame that can be passed, and the reserve.
//!
//! Invariant: a frame is in exactly one of three states: mapped in a page of a
//! client (or kept for it), loose (the system's, in use by an operation), or
//! free, in the reserve. It becomes free only when nothing refers to it, so a
//! device that still reads or writes it never sees another owner's bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::machine::FrameId;

/// No frame.
pub(crate) const NO_FRAME: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not known yet.
    Unknown,
    /// In a page of a client.
    Held,
    /// The system's, in use.
    Loose,
    /// In the reserve.
    Free,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Operations that use it.
    references: u16,
    /// Those of them that must not see a change.
    strong: u16,
    /// Those of them in which a device may write to it.
    written: u16,
    state: State,
    /// The next in the reserve.
    next: u32,
}

/// What an operation does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reads it, and must not see a change.
    Strong,
    /// Reads it.
    Weak,
    /// A device may write to it.
    Written,
}

/// All frames, by number.
#[derive(Debug)]
pub(crate) struct Frames {
    frames: Vec<Frame>,
    free: u32,
    free_count: u32,
}

impl Frames {
    pub fn new() -> Self {
        Self {
            frames: Vec::new(),
            free: NO_FRAME,
            free_count: 0,
        }
    }

    fn get(&mut self, id: FrameId) -> &mut Frame {
        let index = id.0 as usize;
        if index >= self.frames.len() {
            let unknown = Frame {
                references: 0,
                strong: 0,
                written: 0,
                state: State::Unknown,
                next: NO_FRAME,
            };
            self.frames.resize(index + 1, unknown);
        }
        &mut self.frames[index]
    }

    /// A frame that a client has from the start.
    pub fn add_held(&mut self, id: FrameId) {
        self.get(id).state = State::Held;
    }

    /// A frame of the reserve.
    pub fn add_free(&mut self, id: FrameId) {
        self.get(id).state = State::Loose;
        self.release_loose(id);
    }

    /// Frames in the reserve.
    pub fn free_count(&self) -> u32 {
        self.free_count
    }

    /// Takes a frame from the reserve; what is in it is anybody's.
    pub fn take(&mut self) -> Option<FrameId> {
        let id = self.free;
        let frame = self.frames.get_mut(id as usize)?;
        self.free = frame.next;
        self.free_count -= 1;
        frame.state = State::Loose;
        Some(FrameId(id))
    }

    /// A loose frame becomes part of a client's page.
    pub fn give(&mut self, id: FrameId) {
        self.get(id).state = State::Held;
    }

    /// A client's page lets go of its frame: it is loose, or free if nothing
    /// refers to it.
    pub fn orphan(&mut self, id: FrameId) {
        self.get(id).state = State::Loose;
        self.release_loose(id);
    }

    #[inline(never)]
    fn release_loose(&mut self, id: FrameId) {
        let next = self.free;
        let frame = self.get(id);
        if frame.references == 0 && frame.state == State::Loose {
            frame.state = State::Free;
            frame.next = next;
            self.free = id.0;
            self.free_count += 1;
        }
    }

    /// An operation uses the frame; false if too many do.
    #[inline(always)]
    pub fn refer(&mut self, id: FrameId, how: Use) -> bool {
        let Some(frame) = self.frames.get_mut(id.0 as usize) else {
            return false;
        };
        if frame.references == u16::MAX {
            return false;
        }
        frame.references += 1;
        frame.strong += u16::from(how == Use::Strong);
        frame.written += u16::from(how == Use::Written);
        true
    }

    /// The operation is over.
    #[inline(always)]
    pub fn release(&mut self, id: FrameId, how: Use) {
        let Some(frame) = self.frames.get_mut(id.0 as usize) else {
            return;
        };
        frame.references -= 1;
        frame.strong -= u16::from(how == Use::Strong);
        frame.written -= u16::from(how == Use::Written);
        if frame.references == 0 && frame.state == State::Loose {
            self.release_loose(id);
        }
    }

    /// The operation is over, and the frame, which was loose, becomes part of a
    /// client's page.
    pub fn release_into_page(&mut self, id: FrameId, how: Use) {
        self.give(id);
        self.release(id, how);
    }

    /// Whether an operation relies on the frame's not changing.
    #[inline(always)]
    pub fn is_strong(&self, id: FrameId) -> bool {
        self.frames
            .get(id.0 as usize)
            .is_some_and(|f| f.strong != 0)
    }

    /// Whether a device may write to the frame.
    #[inline]
    pub fn is_written(&self, id: FrameId) -> bool {
        self.frames
            .get(id.0 as usize)
            .is_some_and(|f| f.written != 0)
    }
}

/// The frames of one operation, in order; two of them without the heap. Places
/// that are not in use, or were left empty, hold [`NO_FRAME`].
#[derive(Debug)]
pub(crate) struct FrameList {
    first: [u32; 2],
    len: u32,
    #[allow(
        clippy::box_collection,
        reason = "lists are moved with every operation, and hardly any has more"
    )]
    rest: Option<Box<Vec<u32>>>,
}

impl Default for FrameList {
    fn default() -> Self {
        Self {
            first: [NO_FRAME; 2],
            len: 0,
            rest: None,
        }
    }
}

impl FrameList {
    /// One frame.
    #[inline(always)]
    pub const fn of(id: FrameId) -> Self {
        Self {
            first: [id.0, NO_FRAME],
            len: 1,
            rest: None,
        }
    }

    /// The frame, if there is one only.
    #[inline(always)]
    pub fn sole(&self) -> Option<FrameId> {
        let id = FrameId(self.first[0]);
        (self.len == 1 && id.0 != NO_FRAME).then_some(id)
    }

    /// Empties it.
    #[inline(always)]
    pub fn clear(&mut self) {
        if self.len > 2 {
            self.rest = None;
        }
        self.len = 0;
    }

    #[inline]
    pub fn push(&mut self, id: FrameId) {
        match self.first.get_mut(self.len as usize) {
            Some(slot) => *slot = id.0,
            None => self.rest.get_or_insert_default().push(id.0),
        }
        self.len += 1;
    }

    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    fn rest(&self) -> &[u32] {
        self.rest.as_ref().map_or(&[], |rest| rest.as_slice())
    }

    #[inline(always)]
    pub fn get(&self, index: u32) -> Option<FrameId> {
        if index >= self.len {
            return None;
        }
        let index = index as usize;
        let found = match &self.rest {
            Some(rest) if index >= 2 => rest.get(index - 2),
            _ => self.first.get(index),
        };
        found.copied().map(FrameId)
    }

    pub fn set(&mut self, index: u32, id: FrameId) {
        let index = index as usize;
        if let Some(slot) = self.first.get_mut(index) {
            *slot = id.0;
        } else if let Some(rest) = &mut self.rest
            && let Some(slot) = rest.get_mut(index - 2)
        {
            *slot = id.0;
        }
    }

    /// Calls `each` with the frames, without places that were left empty.
    #[inline]
    pub fn for_each(&self, mut each: impl FnMut(FrameId)) {
        for &id in self.first.iter().take(self.len as usize) {
            if id != NO_FRAME {
                each(FrameId(id));
            }
        }
        if self.rest.is_some() {
            let rest = self.rest().iter();
            rest.filter(|id| **id != NO_FRAME)
                .for_each(|id| each(FrameId(*id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_in_use_is_not_free() {
        let mut frames = Frames::new();
        frames.add_free(FrameId(3));
        frames.add_held(FrameId(4));
        assert_eq!(frames.free_count(), 1);
        assert!(frames.refer(FrameId(4), Use::Strong));
        frames.orphan(FrameId(4));
        assert_eq!(frames.free_count(), 1, "a device may still read it");
        frames.release(FrameId(4), Use::Strong);
        assert_eq!(frames.free_count(), 2);
        let taken = [frames.take(), frames.take(), frames.take()];
        assert_eq!(taken, [Some(FrameId(4)), Some(FrameId(3)), None]);
    }

    #[test]
    fn lists_keep_their_order() {
        let mut list = FrameList::default();
        for n in 0..9 {
            list.push(FrameId(n));
        }
        list.set(1, FrameId(77));
        list.set(8, FrameId(78));
        let mut all = Vec::new();
        list.for_each(|f| all.push(f.0));
        assert_eq!(all, [0, 77, 2, 3, 4, 5, 6, 7, 78]);
        assert_eq!((list.get(9), list.len()), (None, 9));
    }
}
