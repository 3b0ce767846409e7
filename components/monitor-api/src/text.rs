//! Formatting into a fixed buffer, without allocation and without failing.

use core::fmt;

/// Text of at most `N` bytes; what does not fit is cut at a character's
/// boundary and remembered as cut.
#[derive(Clone, Copy, Debug)]
pub struct TextBuffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
    cut: bool,
}

impl<const N: usize> Default for TextBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> TextBuffer<N> {
    /// No text yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            cut: false,
        }
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The text. Whole characters only, since it was written as `str`s.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("?")
    }

    /// Whether something did not fit.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Forgets the text.
    pub const fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }
}

impl<const N: usize> fmt::Write for TextBuffer<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N - self.len;
        let mut take = text.len().min(room);
        if self.cut {
            take = 0;
        }
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.cut |= take < text.len();
        let end = self.len + take;
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.len..end),
            text.as_bytes().get(..take),
        ) {
            to.copy_from_slice(from);
            self.len = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = TextBuffer::<5>::new();
        write!(text, "abc{}", ["äö"][0]).unwrap();
        assert_eq!((text.as_str(), text.is_cut()), ("abcä", true));
        write!(text, "x").unwrap();
        assert_eq!(text.as_str(), "abcä", "nothing follows a cut");
        text.clear();
        write!(text, "12345").unwrap();
        assert_eq!((text.as_str(), text.is_cut()), ("12345", false));
    }
}
