//! Who has which buffer, and which frames are on their way.
//!
//! Invariant: nothing comes over to the driver's side that is there already
//! or has no such number; so what it gives back was the manager's to give.

use nic_api::{IDS, SENDS};

/// For each receive buffer, whether the driver (or its device) has it; else
/// the manager has.
#[derive(Debug)]
pub(crate) struct Buffers {
    ours: [bool; IDS as usize],
}

impl Buffers {
    /// All buffers with the manager.
    pub(crate) const fn new() -> Self {
        Self {
            ours: [false; IDS as usize],
        }
    }

    /// Takes buffer `id` from the manager; false if it does not have it.
    #[inline]
    pub(crate) fn take(&mut self, id: u32) -> bool {
        match self.ours.get_mut(id as usize) {
            Some(ours) if !*ours => {
                *ours = true;
                true
            }
            _ => false,
        }
    }

    /// Gives buffer `id` to the manager.
    #[inline]
    pub(crate) fn give(&mut self, id: u32) {
        if let Some(ours) = self.ours.get_mut(id as usize) {
            *ours = false;
        }
    }
}

/// Where a frame to send is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    /// There is none of this number.
    Free,
    /// With the device.
    Flying,
    /// With the device, and somebody waits for it.
    WaitedFor,
}

/// The frames that the device has.
#[derive(Debug)]
pub(crate) struct Sends {
    states: [Send; SENDS as usize],
    waited_for: u32,
}

impl Sends {
    /// No frame with the device.
    pub(crate) const fn new() -> Self {
        Self {
            states: [Send::Free; SENDS as usize],
            waited_for: 0,
        }
    }

    /// Frames with the device that somebody waits for.
    #[inline]
    pub(crate) const fn waited_for(&self) -> u32 {
        self.waited_for
    }

    /// Whether `id` may be the number of a new frame.
    pub(crate) fn is_free(&self, id: u32) -> bool {
        self.states.get(id as usize) == Some(&Send::Free)
    }

    /// Books frame `id` as being with the device; false if it is not free.
    #[inline]
    pub(crate) fn begin(&mut self, id: u32) -> bool {
        let Some(state @ Send::Free) = self.states.get_mut(id as usize) else {
            return false;
        };
        *state = Send::Flying;
        true
    }

    /// Somebody waits for frame `id`, if the device has it.
    #[inline]
    pub(crate) fn wait_for(&mut self, id: u32) {
        if let Some(state @ Send::Flying) = self.states.get_mut(id as usize) {
            *state = Send::WaitedFor;
            self.waited_for += 1;
        }
    }

    /// Frees frame `id`; whether somebody waited for it.
    #[inline]
    pub(crate) fn end(&mut self, id: u32) -> bool {
        let Some(state) = self.states.get_mut(id as usize) else {
            return false;
        };
        let waited_for = core::mem::replace(state, Send::Free) == Send::WaitedFor;
        if waited_for {
            self.waited_for -= 1;
        }
        waited_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_on_one_side() {
        let mut books = Buffers::new();
        assert!(books.take(7) && !books.take(7));
        books.give(7);
        books.give(8);
        assert!(books.take(7) && books.take(8) && books.take(IDS - 1));
        books.give(IDS);
        assert!(!books.take(IDS) && !books.take(u32::MAX));
    }

    #[test]
    fn a_frame_is_sent_once_at_a_time() {
        let mut books = Sends::new();
        assert!(books.is_free(0) && books.is_free(SENDS - 1) && !books.is_free(SENDS));
        assert!(books.begin(3) && !books.begin(3));
        assert!(books.begin(4) && !books.begin(SENDS));
        for id in [3, 3, 5, SENDS] {
            books.wait_for(id);
        }
        assert!(!books.is_free(3) && !books.is_free(4));
        assert_eq!(books.waited_for(), 1);
        assert!(books.end(3) && !books.end(3) && !books.end(4) && !books.end(SENDS));
        assert_eq!(books.waited_for(), 0);
        assert!(books.is_free(3) && books.is_free(4));
    }
}
