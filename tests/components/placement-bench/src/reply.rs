//! A line of text of limited length; what does not fit is left out.

use core::fmt::{self, Write};

/// The line.
pub struct Reply {
    bytes: [u8; 128],
    len: usize,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            bytes: [0; 128],
            len: 0,
        }
    }
}

impl Reply {
    /// The line up to now.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Appends.
    pub fn say(&mut self, words: fmt::Arguments<'_>) {
        // Fails only when the line is full.
        let _ = self.write_fmt(words);
    }
}

impl Write for Reply {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let to = self.bytes.get_mut(self.len..self.len + text.len());
        to.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
