//! The programs of an image: their text, and whose function is where.
//!
//! Invariant: functions are in the order of their addresses, and none reaches
//! into the next.

use std::path::Path;

use object::elf::PF_X;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSegment, ObjectSymbol, SegmentFlags, SymbolKind};

use super::{KERNEL, linked, names};
use crate::{Error, Home, Prepared};

/// What functions without a symbol are called.
const NAMELESS: &str = "(no symbol)";

/// The kernel and the programs of an image.
#[derive(Debug)]
pub struct Programs {
    pub(super) kernel: Text,
    pub(super) texts: Vec<Text>,
}

/// A program's instructions.
#[derive(Debug)]
pub(super) struct Text {
    /// The component that it is.
    pub component: String,
    /// Executable segments: address and bytes.
    pub segments: Vec<(u64, Vec<u8>)>,
    /// Its functions, in the order of their addresses.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    /// Address of its first instruction.
    pub start: u64,
    /// Address behind its last.
    pub end: u64,
    /// Its name for people.
    pub name: String,
    /// The component that it is of, if not the program's only one.
    pub component: Option<String>,
}

impl Programs {
    /// Reads the programs that an image was built from, with their symbols.
    ///
    /// # Errors
    /// [`Error::Io`] if one is gone, [`Error::Build`] if one is not an ELF
    /// file, or if cargo does not say what is linked into what.
    pub fn of(prepared: &Prepared) -> Result<Self, Error> {
        let kernel = Text::read(KERNEL, &prepared.kernel.elf())?;
        let mut paths = vec![prepared.root_task.path.as_path()];
        paths.extend(prepared.programs.iter().map(|built| built.path.as_path()));
        paths.sort_unstable();
        paths.dedup();
        let named = |path: &&Path| {
            let stem = path.file_stem().unwrap_or_default();
            Text::read(&stem.to_string_lossy(), path)
        };
        let mut texts = paths.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        linked::divide(&mut texts, &Home::find()?)?;
        Ok(Self { kernel, texts })
    }
}

impl Text {
    fn read(component: &str, path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let parsed = Self::parse(component, &bytes);
        parsed.map_err(|why| Error::Build(format!("{}: {why}", path.display())))
    }

    fn parse(component: &str, bytes: &[u8]) -> Result<Self, object::Error> {
        let file = ElfFile64::<LittleEndian>::parse(bytes)?;
        let mut segments = Vec::new();
        for segment in file.segments() {
            let flags = match segment.flags() {
                SegmentFlags::Elf { p_flags, .. } => p_flags.0,
                _ => 0,
            };
            let executable = flags & PF_X.0 != 0;
            if executable {
                segments.push((segment.address(), segment.data()?.to_vec()));
            }
        }
        let mut functions: Vec<Function> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .map(|symbol| Function {
                start: symbol.address(),
                end: symbol.address().saturating_add(symbol.size()),
                name: names::readable(symbol.name().unwrap_or(NAMELESS)),
                component: None,
            })
            .collect();
        functions.sort_by_key(|function| (function.start, function.end));
        // Of several names of one place, the first will do.
        functions.dedup_by_key(|function| function.start);
        Ok(Self {
            component: component.to_owned(),
            segments,
            functions,
        })
    }

    /// Whether these bytes, at least one, are at this address.
    pub fn holds(&self, at: u64, code: &[u8]) -> bool {
        let here = |(base, bytes): &(u64, Vec<u8>)| {
            let from = usize::try_from(at.checked_sub(*base)?).ok()?;
            let there = bytes.get(from..from.checked_add(code.len())?)?;
            (!code.is_empty() && there == code).then_some(())
        };
        self.segments.iter().any(|segment| here(segment).is_some())
    }

    /// Name and component of the function at an address.
    pub fn function(&self, at: u64) -> (&str, &str) {
        let behind = self.functions.partition_point(|f| f.start <= at);
        let found = self.functions[..behind].last().filter(|f| at < f.end);
        match found {
            Some(Function {
                name, component, ..
            }) => (name, component.as_deref().unwrap_or(&self.component)),
            None => (NAMELESS, &self.component),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_read() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let text = Text::parse("tests", &bytes).unwrap();
        let named = |f: &&Function| f.name.ends_with("this_very_program_is_read");
        let own = text.functions.iter().find(named).unwrap();
        let (name, component) = text.function(own.start + 1);
        assert_eq!((name, component), (own.name.as_str(), "tests"));
        let (base, code) = text
            .segments
            .iter()
            .find(|(base, bytes)| (*base..base + bytes.len() as u64).contains(&own.start))
            .unwrap();
        let at = (own.start - base) as usize;
        assert!(text.holds(own.start, &code[at..at + 16]));
        assert!(!text.holds(own.start + 1, &code[at..at + 16]));
        assert_eq!(text.function(0), (NAMELESS, "tests"));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(Text::parse("x", b"#!/bin/sh").is_err());
    }
}
