//! The line being typed.

use heapless::String;

/// Most bytes of a command.
pub(crate) const MAX_COMMAND: usize = 64;

/// What a typed byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Nothing to show.
    Nothing,
    /// Show this byte.
    Show(char),
    /// Take the last character off the screen.
    Erase,
    /// Take the whole line off the screen: so many characters.
    EraseAll(usize),
    /// A complete line.
    Line(String<MAX_COMMAND>),
}

/// Collects typed bytes to a line.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    line: String<MAX_COMMAND>,
    /// The last byte was a carriage return: a line feed belongs to it.
    returned: bool,
}

impl Editor {
    /// What was typed so far.
    pub(crate) fn text(&self) -> &str {
        &self.line
    }

    /// Takes a byte from the line.
    pub(crate) fn byte(&mut self, byte: u8) -> Typed {
        let after_return = core::mem::replace(&mut self.returned, byte == b'\r');
        match byte {
            b'\n' if after_return => Typed::Nothing,
            b'\r' | b'\n' => Typed::Line(core::mem::take(&mut self.line)),
            // Backspace, delete.
            0x08 | 0x7f => match self.line.pop() {
                Some(_) => Typed::Erase,
                None => Typed::Nothing,
            },
            // Control-U, control-C.
            0x15 | 0x03 => {
                let len = self.line.len();
                self.line.clear();
                Typed::EraseAll(len)
            }
            b' '..=b'~' => match self.line.push(byte.into()) {
                Ok(()) => Typed::Show(byte.into()),
                Err(_) => Typed::Nothing,
            },
            _ => Typed::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(typed: &[u8]) -> Vec<std::string::String> {
        let mut editor = Editor::default();
        let step = |byte: &u8| match editor.byte(*byte) {
            Typed::Line(line) => Some(line.as_str().to_owned()),
            _ => None,
        };
        typed.iter().filter_map(step).collect()
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        assert_eq!(lines(b"a\nb\rc\r\nd\n\n"), ["a", "b", "c", "d", ""]);
    }

    #[test]
    fn what_is_typed_can_be_taken_back() {
        assert_eq!(
            lines(b"\x08helo\x08\x7flp\nxx\x15y\n\x1b[Az\n"),
            ["help", "y", "[Az"]
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let long = [b'x'; 200];
        assert_eq!(lines(&[&long[..], b"\n"].concat())[0].len(), MAX_COMMAND);
    }

    proptest! {
        #[test]
        fn the_screen_shows_the_line(typed: Vec<u8>) {
            let (mut editor, mut screen) = (Editor::default(), String::<MAX_COMMAND>::new());
            for byte in typed {
                match editor.byte(byte) {
                    Typed::Nothing => {}
                    Typed::Show(c) => screen.push(c).unwrap(),
                    Typed::Erase => prop_assert!(screen.pop().is_some()),
                    Typed::EraseAll(n) => {
                        prop_assert_eq!(n, screen.len());
                        screen.clear();
                    }
                    Typed::Line(line) => {
                        prop_assert_eq!(&line, &screen);
                        screen.clear();
                    }
                }
                prop_assert_eq!(editor.text(), screen.as_str());
            }
        }
    }
}
