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

/// The frames of one number.
#[derive(Clone, Copy, Debug)]
struct Send {
    /// How many the device has.
    flying: u16,
    /// More of the same group are to come.
    open: bool,
    /// Somebody waits for them.
    waited_for: bool,
}

/// The frames that the device has.
#[derive(Debug)]
pub(crate) struct Sends {
    sends: [Send; SENDS as usize],
    waited_for: u32,
}

impl Sends {
    /// No frame with the device.
    pub(crate) const fn new() -> Self {
        let none = Send {
            flying: 0,
            open: false,
            waited_for: false,
        };
        Self {
            sends: [none; SENDS as usize],
            waited_for: 0,
        }
    }

    /// Numbers of frames with the device that somebody waits for.
    #[inline]
    pub(crate) const fn waited_for(&self) -> u32 {
        self.waited_for
    }

    /// Books a frame `id` as being with the device, and whether more of its
    /// group follow; false if the number is that of other frames.
    #[inline]
    pub(crate) fn begin(&mut self, id: u32, more: bool) -> bool {
        match self.sends.get_mut(id as usize) {
            Some(send) if send.open || send.flying == 0 => {
                send.flying += 1;
                send.open = more;
                true
            }
            _ => false,
        }
    }

    /// Takes back `begin`, for a frame that has to be given up.
    pub(crate) fn unsent(&mut self, id: u32) {
        if let Some(send) = self.sends.get_mut(id as usize) {
            send.flying = send.flying.saturating_sub(1);
            send.open = true;
        }
    }

    /// A frame `id` is never sent; whether more of its group follow. True if the
    /// number came with it, and is free now.
    pub(crate) fn give_up(&mut self, id: u32, more: bool) -> bool {
        match self.sends.get_mut(id as usize) {
            Some(send) if send.open || send.flying == 0 => {
                send.open = more;
                send.flying == 0 && self.free(id).is_some()
            }
            _ => false,
        }
    }

    /// Frees number `id` unless more of its group follow: whether somebody
    /// waited for it.
    #[inline]
    fn free(&mut self, id: u32) -> Option<bool> {
        let send = self.sends.get_mut(id as usize).filter(|send| !send.open)?;
        let waited_for = core::mem::take(&mut send.waited_for);
        self.waited_for -= u32::from(waited_for);
        Some(waited_for)
    }

    /// Somebody waits for frame `id`, if the device has it.
    #[inline]
    pub(crate) fn wait_for(&mut self, id: u32) {
        if let Some(send) = self.sends.get_mut(id as usize)
            && send.flying != 0
            && !core::mem::replace(&mut send.waited_for, true)
        {
            self.waited_for += 1;
        }
    }

    /// The device has let go of a frame `id`. If it was the last of its number,
    /// that is free now: whether somebody waited for it.
    #[inline]
    pub(crate) fn end(&mut self, id: u32) -> Option<bool> {
        let send = self.sends.get_mut(id as usize)?;
        send.flying = send.flying.saturating_sub(1);
        match send.flying {
            0 => self.free(id),
            _ => None,
        }
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
        assert!(books.begin(3, false) && !books.begin(3, false));
        assert!(books.begin(4, false) && !books.begin(SENDS, false));
        for id in [3, 3, 5, SENDS] {
            books.wait_for(id);
        }
        assert_eq!(books.waited_for(), 1);
        assert!(!books.give_up(3, false) && !books.give_up(SENDS, false));
        assert_eq!((books.end(3), books.end(4)), (Some(true), Some(false)));
        assert_eq!((books.waited_for(), books.end(SENDS)), (0, None));
        assert!(books.begin(3, false) && books.begin(4, false));
        assert!(books.give_up(5, false));
    }

    #[test]
    fn a_group_has_its_number_until_its_last_frame_is_gone() {
        let mut books = Sends::new();
        assert!(books.begin(3, true) && books.begin(3, true));
        books.wait_for(3);
        assert_eq!((books.end(3), books.end(3)), (None, None), "more follow");
        assert!(books.begin(3, false) && !books.begin(3, true));
        assert_eq!(books.end(3), Some(true));
        // Some of it are refused: its last, its only one, its first.
        assert!(books.begin(3, true) && !books.give_up(3, false));
        assert_eq!(books.end(3), Some(false));
        assert!(books.begin(3, true) && books.begin(3, false));
        books.unsent(3);
        assert!(!books.give_up(3, false));
        assert_eq!(books.end(3), Some(false));
        assert!(books.begin(3, true));
        books.wait_for(3);
        assert_eq!(books.end(3), None);
        assert!(books.give_up(3, false));
        assert!(!books.give_up(3, true) && books.give_up(3, false));
        assert!(!books.give_up(3, true) && books.begin(3, false));
        assert_eq!(books.end(3), Some(false));
        assert_eq!(books.waited_for(), 0);
    }
}
