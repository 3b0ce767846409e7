//! Who has which buffer, and which frames are on their way.
//!
//! Invariant: a number changes sides only through the two functions of its
//! books, and each refuses one that is not on the side it would leave.

use nic_api::{IDS, SENDS};

/// For each receive buffer, whether the driver (or its device) has it; else
/// the manager has.
#[derive(Debug)]
pub(crate) struct Buffers {
    ours: [bool; IDS as usize],
    count: u32,
}

impl Buffers {
    /// All buffers with the manager.
    pub(crate) const fn new() -> Self {
        Self {
            ours: [false; IDS as usize],
            count: 0,
        }
    }

    /// Buffers with the driver.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Takes buffer `id` from the manager; false if it does not have it.
    #[inline]
    pub(crate) fn take(&mut self, id: u32) -> bool {
        match self.ours.get_mut(id as usize) {
            Some(ours) if !*ours => {
                *ours = true;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Gives buffer `id` to the manager; false if the driver does not have it.
    #[inline]
    pub(crate) fn give(&mut self, id: u32) -> bool {
        match self.ours.get_mut(id as usize) {
            Some(ours) if *ours => {
                *ours = false;
                self.count -= 1;
                true
            }
            _ => false,
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
    count: u32,
    waited_for: u32,
}

impl Sends {
    /// No frame with the device.
    pub(crate) const fn new() -> Self {
        Self {
            states: [Send::Free; SENDS as usize],
            count: 0,
            waited_for: 0,
        }
    }

    /// Frames with the device.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Frames among them that somebody waits for.
    #[inline]
    pub(crate) const fn waited_for(&self) -> u32 {
        self.waited_for
    }

    /// Whether `id` may be the number of a new frame.
    #[inline]
    pub(crate) fn is_free(&self, id: u32) -> bool {
        self.states.get(id as usize) == Some(&Send::Free)
    }

    /// Books frame `id`, which is free, as being with the device.
    #[inline]
    pub(crate) fn begin(&mut self, id: u32, waited_for: bool) {
        if let Some(state @ Send::Free) = self.states.get_mut(id as usize) {
            *state = if waited_for {
                Send::WaitedFor
            } else {
                Send::Flying
            };
            self.count += 1;
            self.waited_for += u32::from(waited_for);
        }
    }

    /// Frees frame `id`; whether somebody waited for it.
    #[inline]
    pub(crate) fn end(&mut self, id: u32) -> bool {
        let Some(state @ (Send::Flying | Send::WaitedFor)) = self.states.get_mut(id as usize)
        else {
            return false;
        };
        let waited_for = *state == Send::WaitedFor;
        *state = Send::Free;
        self.count -= 1;
        self.waited_for -= u32::from(waited_for);
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
        assert_eq!(books.count(), 1);
        assert!(books.give(7) && !books.give(7));
        assert!(books.take(IDS - 1));
        assert!(!books.take(IDS) && !books.give(u32::MAX));
        assert_eq!(books.count(), 1);
    }

    #[test]
    fn a_frame_is_sent_once_at_a_time() {
        let mut books = Sends::new();
        assert!(books.is_free(0) && books.is_free(SENDS - 1) && !books.is_free(SENDS));
        books.begin(3, true);
        books.begin(3, false);
        books.begin(4, false);
        books.begin(SENDS, true);
        assert!(!books.is_free(3) && !books.is_free(4));
        assert_eq!((books.count(), books.waited_for()), (2, 1));
        assert!(books.end(3) && !books.end(3) && !books.end(4) && !books.end(SENDS));
        assert_eq!((books.count(), books.waited_for()), (0, 0));
    }
}
