//! One-line JSON without allocation.
//!
//! Invariant: what an [`Object`] writes is one JSON object on one line,
//! whatever strings go into it.

use core::fmt::{self, Write};

/// A string as a JSON string literal, quotes included.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A JSON object being written; [`Object::end`] closes it.
#[derive(Debug)]
pub struct Object<'a, W: Write> {
    out: &'a mut W,
    first: bool,
}

impl<'a, W: Write> Object<'a, W> {
    /// Opens an object.
    ///
    /// # Errors
    /// Those of `out`, as for all methods here.
    pub fn begin(out: &'a mut W) -> Result<Self, fmt::Error> {
        out.write_char('{')?;
        Ok(Self { out, first: true })
    }

    /// Writes `"key":` with the comma that it may need, and hands out the
    /// writer for the value.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn key(&mut self, key: &str) -> Result<&mut W, fmt::Error> {
        if !self.first {
            self.out.write_char(',')?;
        }
        self.first = false;
        write!(self.out, "{}:", Quoted(key))?;
        Ok(self.out)
    }

    /// A number.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn number(&mut self, key: &str, value: u64) -> fmt::Result {
        write!(self.key(key)?, "{value}")
    }

    /// A string.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn string(&mut self, key: &str, value: &str) -> fmt::Result {
        write!(self.key(key)?, "{}", Quoted(value))
    }

    /// Closes the object.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(self) -> fmt::Result {
        self.out.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn objects_are_valid_json_on_one_line() {
        let mut text = String::new();
        let mut outer = Object::begin(&mut text).unwrap();
        outer.number("n", u64::MAX).unwrap();
        outer.string("s\"", "a\\b\n\u{1}ü\u{7f}").unwrap();
        let mut inner = Object::begin(outer.key("o").unwrap()).unwrap();
        inner.number("x", 1).unwrap();
        inner.end().unwrap();
        Object::begin(outer.key("e").unwrap())
            .unwrap()
            .end()
            .unwrap();
        outer.end().unwrap();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["n"], u64::MAX);
        assert_eq!(value["s\""], "a\\b\n\u{1}ü\u{7f}");
        assert_eq!(value["o"]["x"], 1);
        assert!(value["e"].as_object().unwrap().is_empty());
    }
}
