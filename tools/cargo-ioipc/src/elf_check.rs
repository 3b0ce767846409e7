//! Whether a built program can be loaded as a component.
//!
//! Problem: the programs are built for a Linux target with other flags. When a
//! flag goes missing the result still links, against the host's C library for
//! instance, and fails in the target much later. The file itself shows it.
//!
//! Invariant: a [`Program`] has no dynamic linking, no thread-local storage,
//! its addresses lie in the window for images, and no page is both writable
//! and executable.

use std::fmt;

use object::LittleEndian;
use object::elf::{
    EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_TLS,
    ProgramHeader64,
};
use object::read::elf::{FileHeader, ProgramHeader};
use system_description::map::{IMAGE_END, PAGE};

type Header = FileHeader64<LittleEndian>;

/// Permissions that must not meet in one segment.
const WRITABLE_CODE: u32 = PF_W.0 | PF_X.0;

/// What is wrong with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Not an ELF file that can be read.
    Unreadable(String),
    /// Not a statically linked x86-64 program at fixed addresses.
    Kind,
    /// It has a dynamic section or asks for an interpreter: something was
    /// taken from a shared library.
    Dynamic,
    /// It has thread-local storage.
    ThreadLocal,
    /// A segment lies outside the window for images; its first address and the
    /// one behind its last.
    Address(u64, u64),
    /// A segment, by its first address, is writable and executable.
    WritableCode(u64),
    /// The entry point is in no executable segment.
    Entry(u64),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "it is not a readable ELF file: {why}"),
            Self::Kind => f.write_str(
                "it is not an x86-64 program at fixed addresses \
                 (is `relocation-model=static` missing from its flags?)",
            ),
            Self::Dynamic => f.write_str(
                "it is dynamically linked (does it use `std`, or a function \
                 that only the host's C library has?)",
            ),
            Self::ThreadLocal => f.write_str("it has thread-local storage, which is not supported"),
            Self::Address(from, to) => write!(
                f,
                "its segment {from:#x}..{to:#x} is not within {PAGE:#x}..{IMAGE_END:#x}"
            ),
            Self::WritableCode(at) => {
                write!(f, "its segment at {at:#x} is both writable and executable")
            }
            Self::Entry(at) => write!(f, "its entry point {at:#x} is in no executable segment"),
        }
    }
}

impl core::error::Error for Problem {}

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u64,
    /// Bytes in memory.
    pub memory: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file; the rest is zero.
    pub file: u64,
    /// Readable (4), writable (2), executable (1).
    pub flags: u32,
}

/// A program that passed the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its loadable segments, in file order.
    pub segments: Vec<Segment>,
}

/// Checks a component's program.
///
/// # Errors
/// The first [`Problem`] found.
pub fn check(bytes: &[u8]) -> Result<Program, Problem> {
    let header = Header::parse(bytes).map_err(unreadable)?;
    let endian = LittleEndian;
    if header.e_machine.get(endian) != EM_X86_64 || header.e_type.get(endian) != ET_EXEC {
        return Err(Problem::Kind);
    }
    let mut segments = Vec::new();
    for program in header.program_headers(endian, bytes).map_err(unreadable)? {
        match program.p_type.get(endian) {
            PT_DYNAMIC | PT_INTERP => return Err(Problem::Dynamic),
            PT_TLS => return Err(Problem::ThreadLocal),
            PT_LOAD => segments.push(segment(program, bytes)?),
            _ => {}
        }
    }
    let entry = header.e_entry.get(endian);
    let holds_entry =
        |s: &Segment| s.flags & PF_X.0 != 0 && (s.address..s.address + s.memory).contains(&entry);
    if !segments.iter().any(holds_entry) {
        return Err(Problem::Entry(entry));
    }
    Ok(Program { segments })
}

fn segment(program: &ProgramHeader64<LittleEndian>, bytes: &[u8]) -> Result<Segment, Problem> {
    let endian = LittleEndian;
    let segment = Segment {
        address: program.p_vaddr.get(endian),
        memory: program.p_memsz.get(endian),
        offset: program.p_offset.get(endian),
        file: program.p_filesz.get(endian),
        flags: program.p_flags.get(endian).0,
    };
    program
        .data(endian, bytes)
        .map_err(|()| Problem::Unreadable("a segment leaves the file".to_owned()))?;
    let end = segment.address.checked_add(segment.memory);
    if segment.address < PAGE || end.is_none_or(|end| end > IMAGE_END) {
        return Err(Problem::Address(segment.address, end.unwrap_or(u64::MAX)));
    }
    if segment.flags & WRITABLE_CODE == WRITABLE_CODE {
        return Err(Problem::WritableCode(segment.address));
    }
    Ok(segment)
}

fn unreadable(error: object::read::Error) -> Problem {
    Problem::Unreadable(error.to_string())
}
