//! Data-passing semantics and techniques, numbered.
//!
//! The semantics are those of the published taxonomy (Brustoloni and
//! Steenkiste, OSDI 1996): who allocates the buffer, and whether the other
//! side can ever see it half changed. A caller names a semantics; which
//! technique carries it out is the I/O manager's choice, unless a test forces
//! one. `docs/data-passing.md` has the tables.

use crate::op::numbered;

numbered! {
    /// What a caller may rely on.
    Semantics {
        /// Application-allocated, strong integrity: copied in and out.
        Copy = 1 "copy",
        /// Application-allocated, strong: looks like `Copy`, avoids the copy
        /// where that is cheaper. The default.
        EmulatedCopy = 2 "emulated copy",
        /// Application-allocated, weak: in place; the other side sees changes
        /// made while the operation is on its way.
        Share = 3 "share",
        /// As `Share`; nothing pages here, so there is no wiring to leave out.
        EmulatedShare = 4 "emulated share",
        /// System-allocated, strong: the buffer leaves the sender's address
        /// space, and a receiver gets a new one.
        Move = 5 "move",
        /// System-allocated, strong: as `Move`, but the region is hidden and
        /// kept for the next operation instead of being destroyed.
        EmulatedMove = 6 "emulated move",
        /// System-allocated, weak: the region stays mapped and is only marked
        /// as moved.
        WeakMove = 7 "weak move",
        /// As `WeakMove`; nothing pages here, so there is no wiring to leave out.
        EmulatedWeakMove = 8 "emulated weak move",
    }
}

impl Semantics {
    /// Whether the other side can never see the buffer half changed.
    #[must_use]
    pub const fn is_strong(self) -> bool {
        matches!(
            self,
            Self::Copy | Self::EmulatedCopy | Self::Move | Self::EmulatedMove
        )
    }

    /// Whether the buffer is part of a region that the system allocated.
    #[must_use]
    pub const fn is_system_allocated(self) -> bool {
        self as u16 >= Self::Move as u16
    }
}

numbered! {
    /// How bytes get from one side to the other.
    Technique {
        /// Output: the frames are named as they are; nothing protects them.
        Reference = 1 "by reference",
        /// Output: as `Reference`, with the pages made read-only; a write gives
        /// the writer a copy (transient output copy-on-write).
        Tcow = 2 "copy on write",
        /// Output: copied into frames of the system.
        CopyOut = 3 "copy out",
        /// Output: the pages are unmapped and kept with the region.
        Hide = 4 "hide",
        /// Output: the pages are unmapped and their frames taken away.
        Remove = 5 "remove",
        /// Input: the device writes into the receiver's frames.
        InPlace = 6 "in place",
        /// Input: whole pages change places with the receiver's; partial ones
        /// are copied or completed (reverse copyout).
        Swap = 7 "swap pages",
        /// Input: copied into the receiver's frames.
        CopyIn = 8 "copy in",
        /// Input: a hidden region is filled and mapped again.
        Reinstate = 9 "reinstate",
        /// Input: new frames are filled and mapped.
        Create = 10 "create",
    }
}

/// How one request passes its data: the word [`Request::passing`].
///
/// [`Request::passing`]: crate::Request::passing
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// What the caller relies on.
    pub semantics: Semantics,
    /// The technique to use whatever it costs; for tests. A technique that is
    /// not legal for the request is refused with `BadRequest`.
    pub forced: Option<Technique>,
}

impl Passing {
    /// What a request without any wish gets.
    pub const DEFAULT: Self = Self::new(Semantics::EmulatedCopy);

    /// With the technique left to the manager.
    #[must_use]
    pub const fn new(semantics: Semantics) -> Self {
        Self {
            semantics,
            forced: None,
        }
    }

    /// The word that travels: semantics in bits 0 to 7, technique in bits 8 to
    /// 15, 0 for none.
    #[must_use]
    pub const fn word(self) -> u32 {
        let forced = match self.forced {
            Some(technique) => technique as u32,
            None => 0,
        };
        self.semantics as u32 | forced << 8
    }

    /// The meaning of a word; 0 stands for [`Passing::DEFAULT`]. `None` if it
    /// has none.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        if word == 0 {
            return Some(Self::DEFAULT);
        }
        let (semantics, technique) = (word as u8 as u16, (word >> 8) as u8 as u16);
        let Some(semantics) = Semantics::from_number(semantics) else {
            return None;
        };
        if word >> 16 != 0 {
            return None;
        }
        let forced = match technique {
            0 => None,
            number => match Technique::from_number(number) {
                None => return None,
                technique => technique,
            },
        };
        Some(Self { semantics, forced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_they_were_made_from() {
        assert_eq!(Passing::from_word(0), Some(Passing::DEFAULT));
        for &semantics in Semantics::ALL {
            let techniques = Technique::ALL.iter().map(|&t| Some(t));
            for forced in techniques.chain([None]) {
                let passing = Passing { semantics, forced };
                assert_eq!(Passing::from_word(passing.word()), Some(passing));
            }
        }
        for word in [9, 0x100, 0xb01, 0x1_0001, u32::MAX] {
            assert_eq!(Passing::from_word(word), None, "{word:#x}");
        }
    }
}
