//! The word that describes a message.

use crate::Word;
use sel4_bindings::seL4_MessageInfo;

/// Corresponds to `seL4_MessageInfo_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MessageInfo(seL4_MessageInfo);

impl MessageInfo {
    /// Width of the label in bits: 20 on kernel 5.0.0.
    pub const LABEL_BITS: u32 = seL4_MessageInfo::WIDTH_OF_label;
    /// The largest number of message words.
    pub const MAX_LENGTH: usize = sel4_bindings::seL4_MsgMaxLength as usize;

    /// Describes a message.
    ///
    /// Labels must fit [`Self::LABEL_BITS`], lengths [`Self::MAX_LENGTH`]; a
    /// build with debug assertions panics otherwise, a release build cuts off,
    /// as the kernel does.
    #[inline(always)]
    pub const fn new(label: Word, caps_unwrapped: Word, extra_caps: Word, length: usize) -> Self {
        debug_assert!(label >> Self::LABEL_BITS == 0, "the label is too wide");
        debug_assert!(length <= Self::MAX_LENGTH, "the message is too long");
        debug_assert!(
            extra_caps <= 3,
            "a message carries three capabilities at most"
        );
        Self(seL4_MessageInfo::new(
            label,
            caps_unwrapped,
            extra_caps,
            length as Word,
        ))
    }

    /// What the message is about.
    #[inline(always)]
    pub const fn label(&self) -> Word {
        self.0.get_label()
    }

    /// Which of the capabilities received were only named by their badge.
    #[inline(always)]
    pub const fn caps_unwrapped(&self) -> Word {
        self.0.get_capsUnwrapped()
    }

    /// How many capabilities travel.
    #[inline(always)]
    pub const fn extra_caps(&self) -> usize {
        self.0.get_extraCaps() as usize
    }

    /// How many words travel, at most 127; a sender may claim more than
    /// [`Self::MAX_LENGTH`], but the kernel never passes that on.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        self.0.get_length() as usize
    }

    /// The kernel's form.
    #[inline(always)]
    pub const fn into_inner(self) -> seL4_MessageInfo {
        self.0
    }

    /// From the kernel's form.
    #[inline(always)]
    pub(crate) const fn from_word(word: Word) -> Self {
        Self(seL4_MessageInfo(word))
    }

    /// The kernel's form as a word.
    #[inline(always)]
    pub(crate) const fn word(self) -> Word {
        self.0.0
    }
}

/// Puts a [`MessageInfo`] together field by field.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageInfoBuilder {
    label: Word,
    caps_unwrapped: Word,
    extra_caps: usize,
    length: usize,
}

impl MessageInfoBuilder {
    /// See [`MessageInfo::label`].
    #[must_use]
    pub const fn label(mut self, label: Word) -> Self {
        self.label = label;
        self
    }

    /// See [`MessageInfo::caps_unwrapped`].
    #[must_use]
    pub const fn caps_unwrapped(mut self, caps_unwrapped: Word) -> Self {
        self.caps_unwrapped = caps_unwrapped;
        self
    }

    /// See [`MessageInfo::extra_caps`].
    #[must_use]
    pub const fn extra_caps(mut self, extra_caps: usize) -> Self {
        self.extra_caps = extra_caps;
        self
    }

    /// See [`MessageInfo::length`].
    #[must_use]
    pub const fn length(mut self, length: usize) -> Self {
        self.length = length;
        self
    }

    /// The message's description.
    #[must_use]
    pub const fn build(self) -> MessageInfo {
        MessageInfo::new(
            self.label,
            self.caps_unwrapped,
            self.extra_caps as Word,
            self.length,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let info = MessageInfo::new(0xf_ffff, 0, 3, 120);
        assert_eq!(
            (info.label(), info.extra_caps(), info.length()),
            (0xf_ffff, 3, 120)
        );
        assert_eq!(info.caps_unwrapped(), 0);
        let same = MessageInfoBuilder::default()
            .label(0xf_ffff)
            .extra_caps(3)
            .length(120);
        assert_eq!(same.build(), info);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "too wide")]
    fn a_label_that_does_not_fit_is_refused() {
        MessageInfo::new(1 << 20, 0, 0, 0);
    }
}
