//! The block profile: how often each translation block ran, by address.
//!
//! One line a block: `start instructions executions first-bytes page`, the
//! first and the fourth hexadecimal. Components may share virtual addresses.
//! The first bytes of the block (at most 16) tell them apart when they are
//! looked up in the components' program files, and the page of memory says
//! which blocks belong together: those of one page are one component's. Pages
//! are numbered as they are first seen. Blocks that were translated again, with
//! the same bytes at the same address in the same page, are added up.

use std::collections::BTreeMap;
use std::fmt;

/// Bytes of code that identify a block, at most.
pub(crate) const CODE: usize = 16;

/// One line of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockCount {
    /// Guest virtual address of the first instruction.
    pub start: u64,
    /// Instructions in the block.
    pub instructions: u64,
    /// Times it was entered.
    pub executions: u64,
    /// Its first bytes of code, at most 16.
    pub code: Vec<u8>,
    /// Number of the page of guest memory that it starts in, where the
    /// emulator knows one.
    pub page: Option<u32>,
}

/// A line that is not one of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// Number of the line, from 1.
    pub line: usize,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not of a block profile", self.line)
    }
}

impl std::error::Error for ProfileError {}

/// Reads what the plugin wrote with `profile=FILE`.
///
/// # Errors
/// [`ProfileError`] naming the first line that does not parse.
pub fn parse_profile(text: &str) -> Result<Vec<BlockCount>, ProfileError> {
    let numbered = text.lines().enumerate();
    numbered
        .map(|(n, line)| parse_line(line).ok_or(ProfileError { line: n + 1 }))
        .collect()
}

fn parse_line(line: &str) -> Option<BlockCount> {
    let mut fields = line.split(' ');
    let start = u64::from_str_radix(fields.next()?, 16).ok()?;
    let instructions = fields.next()?.parse().ok()?;
    let executions = fields.next()?.parse().ok()?;
    let hex = fields.next()?;
    let page = match fields.next()? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    if hex.len() % 2 != 0 || fields.next().is_some() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let code = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    Some(BlockCount {
        start,
        instructions,
        executions,
        code,
        page,
    })
}

/// Adds up blocks that are the same code at the same address, drops those that
/// never ran, and gives the lines, by address.
pub(crate) fn format_profile(blocks: impl IntoIterator<Item = BlockCount>) -> String {
    let mut sums = BTreeMap::new();
    for block in blocks {
        let key = (block.start, block.instructions, block.code, block.page);
        *sums.entry(key).or_insert(0) += block.executions;
    }
    let mut text = String::new();
    for ((start, instructions, code, page), executions) in sums {
        if executions > 0 {
            let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
            let page = page.map_or("-".to_owned(), |page| page.to_string());
            text += &format!("{start:x} {instructions} {executions} {hex} {page}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(start: u64, executions: u64, code: &[u8]) -> BlockCount {
        BlockCount {
            start,
            instructions: 2,
            executions,
            code: code.to_vec(),
            page: Some(3),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = format_profile([
            block(0x40_0000, 3, &[0x0f, 5]),
            block(0x40_0000, 4, &[0x0f, 5]),
            block(0x40_0000, 1, &[0x90]),
            block(0x50_0000, 0, &[0x90]),
            BlockCount {
                page: None,
                ..block(0x60_0000, 5, &[0x90])
            },
        ]);
        let read = parse_profile(&text).unwrap();
        assert_eq!(
            read,
            [
                block(0x40_0000, 7, &[0x0f, 5]),
                block(0x40_0000, 1, &[0x90]),
                BlockCount {
                    page: None,
                    ..block(0x60_0000, 5, &[0x90])
                },
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        for bad in [
            "",
            "x 1 1 90 0",
            "1 1 1",
            "1 1 1 90",
            "1 1 1 9 0",
            "1 1 1 90 1 1",
            "1 1 1 zz 0",
            "1 1 1 90 x",
        ] {
            let text = format!("400000 1 1 90 -\n{bad}\n");
            assert_eq!(
                parse_profile(&text),
                Err(ProfileError { line: 2 }),
                "{bad:?}"
            );
        }
    }
}
