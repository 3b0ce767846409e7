//! The kernel's bit field language (`*.bf`).
//!
//! A block lists its fields from the most significant bit down; words are of
//! the `base` size, the first block word being the *last* in the list of bits.

use crate::error::Error;
use std::path::Path;

/// One named field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its lowest bit, counted from bit 0 of word 0.
    pub shift: u32,
    /// Its width in bits.
    pub width: u32,
}

/// A block of fields.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Its size in bits.
    pub bits: u32,
    /// Its fields, most significant first.
    pub fields: Vec<Field>,
}

/// A union told apart by a tag.
#[derive(Debug, Clone)]
pub struct Union {
    /// Its name.
    pub name: String,
    /// The tags with their values.
    pub tags: Vec<(String, u64)>,
}

/// The contents of one or more files.
#[derive(Debug, Default)]
pub struct Bitfields {
    /// All blocks.
    pub blocks: Vec<Block>,
    /// All unions.
    pub unions: Vec<Union>,
}

impl Bitfields {
    /// Adds what preprocessed `source` (from `path`) defines.
    pub fn parse(&mut self, path: &Path, source: &str) -> Result<(), Error> {
        let plain: String = source
            .lines()
            .map(|line| line.split("--").next().unwrap_or(""))
            .collect::<Vec<_>>()
            .join("\n")
            .replace('{', " { ")
            .replace('}', " } ")
            .replace(['(', ')', ','], " ");
        let mut words = plain.split_whitespace();
        while let Some(word) = words.next() {
            let done = match word {
                // Definitions of a 32-bit kernel are none of ours.
                "base" if words.clone().next() != Some("64") => return Ok(()),
                // How wide addresses are stored may follow the word's size.
                "base" => {
                    while words.clone().next().is_some_and(is_number) {
                        words.next();
                    }
                    Some(())
                }
                "block" => parse_block(&mut words).map(|block| self.blocks.push(block)),
                "tagged_union" => parse_union(&mut words).map(|union| self.unions.push(union)),
                _ => None,
            };
            done.ok_or_else(|| Error::Malformed {
                path: path.to_owned(),
                what: format!("cannot read the bit field definition at `{word}`"),
            })?;
        }
        Ok(())
    }

    /// The block called `name`.
    pub fn block(&self, name: &str) -> Result<&Block, Error> {
        self.blocks
            .iter()
            .find(|block| block.name == name)
            .ok_or_else(|| Error::Missing {
                what: format!("block {name}"),
            })
    }

    /// The union called `name`.
    pub fn union(&self, name: &str) -> Result<&Union, Error> {
        self.unions
            .iter()
            .find(|union| union.name == name)
            .ok_or_else(|| Error::Missing {
                what: format!("tagged_union {name}"),
            })
    }
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_block<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Block> {
    let name = words.next()?.to_owned();
    // Names between the block's own and the brace only order its constructor.
    words.find(|&word| word == "{")?;
    let mut parts: Vec<(Option<String>, u32)> = Vec::new();
    loop {
        match words.next()? {
            "}" => break,
            "padding" => parts.push((None, words.next()?.parse().ok()?)),
            "field" | "field_high" => {
                let field = words.next()?.to_owned();
                parts.push((Some(field), words.next()?.parse().ok()?));
            }
            _ => return None,
        }
    }
    let bits = parts.iter().map(|part| part.1).sum();
    let mut left: u32 = bits;
    let mut fields = Vec::new();
    for (name, width) in parts {
        left -= width;
        fields.extend(name.map(|name| Field {
            name,
            shift: left,
            width,
        }));
    }
    Some(Block { name, bits, fields })
}

fn parse_union<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Union> {
    let name = words.next()?.to_owned();
    words.find(|&word| word == "{")?;
    let mut tags = Vec::new();
    loop {
        match words.next()? {
            "}" => return Some(Union { name, tags }),
            "tag" => tags.push((words.next()?.to_owned(), words.next()?.parse().ok()?)),
            _ => return None,
        }
    }
}
