//! Puts root task, description and component programs into one bootable file.
//!
//! Problem: the kernel loads exactly one boot module. So the payload is
//! appended to the finished root task as one more loadable segment: its spare
//! program header for the stack's permissions, which nobody reads here, turns
//! into that segment's. Nothing is linked again, so debuggers still match.
//!
//! Invariant: the payload is the last loadable segment of the file, read-only,
//! page-aligned, behind everything else of the root task, and the same input
//! gives the same bytes.

use std::fmt;

use object::elf::{FileHeader64, PF_R, PT_GNU_STACK, PT_LOAD, PT_NOTE, ProgramHeader64, SHN_UNDEF};
use object::endian::{U16, U32, U64};
use object::read::elf::FileHeader;
use object::{LittleEndian, pod};
use system_description::map::{IMAGE_END, PAGE};
use system_description::payload::{
    ALIGN, FORMAT, ImageEntry, MAGIC, Payload, PayloadError, PayloadHeader, VERSION, hash,
};
use zerocopy::IntoBytes;

use crate::elf_check::{self, Problem};

const ENDIAN: LittleEndian = LittleEndian;
const HEADER: usize = size_of::<FileHeader64<LittleEndian>>();

/// Why an image could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The root task cannot be loaded.
    RootTask(Problem),
    /// The root task has no program header to spare.
    NoSpareHeader,
    /// Root task and payload together reach beyond the window for images, to
    /// this address.
    TooLarge(u64),
    /// The payload of an image does not read back.
    Payload(PayloadError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootTask(problem) => write!(f, "the root task cannot be loaded: {problem}"),
            Self::NoSpareHeader => f.write_str("the root task has no program header to spare"),
            Self::TooLarge(end) => write!(
                f,
                "the image is too large: with all components it reaches {end:#x}, \
                 and images end at {IMAGE_END:#x}"
            ),
            Self::Payload(error) => write!(f, "the image's payload is damaged: {error}"),
        }
    }
}

impl core::error::Error for ImageError {}

/// An image's bytes and where its payload lies in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub bytes: Vec<u8>,
    /// Offset of the payload in the file.
    pub payload: usize,
    /// Address of the payload in the root task.
    pub address: u64,
}

/// Makes the image of a root task, an encoded description, and the component
/// programs in the order in which the description numbers them.
///
/// # Errors
/// See [`ImageError`].
pub fn build(
    root_task: &[u8],
    description: &[u8],
    programs: &[Vec<u8>],
) -> Result<Image, ImageError> {
    let root = elf_check::check(root_task).map_err(ImageError::RootTask)?;
    let slot = spare_header(root_task)?;
    let end = root.segments.iter().map(|s| s.address + s.memory).max();
    let address = end.unwrap_or(0).next_multiple_of(PAGE);
    let payload = payload(description, programs, IMAGE_END - address)
        .map_err(|bytes| ImageError::TooLarge(address + bytes))?;
    let mut bytes = root_task.to_vec();
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    let offset = bytes.len();
    bytes.extend_from_slice(&payload);
    let segment = ProgramHeader64::<LittleEndian> {
        p_type: U32::new(ENDIAN, PT_LOAD),
        p_flags: U32::new(ENDIAN, PF_R),
        p_offset: U64::new(ENDIAN, offset as u64),
        p_vaddr: U64::new(ENDIAN, address),
        p_paddr: U64::new(ENDIAN, address),
        p_filesz: U64::new(ENDIAN, payload.len() as u64),
        p_memsz: U64::new(ENDIAN, payload.len() as u64),
        p_align: U64::new(ENDIAN, PAGE),
    };
    let segment = pod::bytes_of(&segment);
    bytes[slot..slot + segment.len()].copy_from_slice(segment);
    let image = Image {
        bytes,
        payload: offset,
        address,
    };
    open(&image)?;
    Ok(image)
}

/// Reads the payload of an image back, checking hash and bounds.
///
/// # Errors
/// [`ImageError::Payload`].
pub fn open(image: &Image) -> Result<Payload<'_>, ImageError> {
    Payload::new(&image.bytes[image.payload..]).map_err(ImageError::Payload)
}

/// Offset in the file of a program header that can be replaced: one that means
/// nothing to the kernel and comes after the loadable segments.
fn spare_header(bytes: &[u8]) -> Result<usize, ImageError> {
    let broken =
        |error: object::read::Error| ImageError::RootTask(Problem::Unreadable(error.to_string()));
    let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(broken)?;
    let table = header.program_headers(ENDIAN, bytes).map_err(broken)?;
    let loads = |p: &ProgramHeader64<LittleEndian>| p.p_type.get(ENDIAN) == PT_LOAD;
    let after = table.iter().rposition(loads).map_or(0, |at| at + 1);
    let spare =
        |p: &ProgramHeader64<LittleEndian>| [PT_GNU_STACK, PT_NOTE].contains(&p.p_type.get(ENDIAN));
    let index = table[after..]
        .iter()
        .position(spare)
        .ok_or(ImageError::NoSpareHeader)?;
    let start = header.e_phoff.get(ENDIAN) as usize;
    Ok(start + (after + index) * size_of::<ProgramHeader64<LittleEndian>>())
}

/// Lays the payload out; an error is its size when that exceeds `room`.
fn payload(description: &[u8], programs: &[Vec<u8>], room: u64) -> Result<Vec<u8>, u64> {
    let entries = size_of::<PayloadHeader>();
    let mut bytes = vec![0; entries + programs.len() * size_of::<ImageEntry>()];
    let description_offset = append(&mut bytes, description);
    for (index, program) in programs.iter().enumerate() {
        let entry = ImageEntry {
            offset: append(&mut bytes, program),
            bytes: program.len() as u64,
        };
        let at = entries + index * size_of::<ImageEntry>();
        bytes[at..at + size_of::<ImageEntry>()].copy_from_slice(entry.as_bytes());
    }
    if bytes.len() as u64 > room {
        return Err(bytes.len() as u64);
    }
    let header = PayloadHeader {
        magic: MAGIC,
        version: VERSION,
        images: programs.len() as u32,
        total_bytes: bytes.len() as u64,
        description_offset,
        description_bytes: description.len() as u64,
        features: 0,
        sha256: hash(&bytes[entries..]),
        format: FORMAT,
    };
    bytes[..entries].copy_from_slice(header.as_bytes());
    Ok(bytes)
}

/// Appends an aligned part and returns its offset.
fn append(bytes: &mut Vec<u8>, part: &[u8]) -> u64 {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    let offset = bytes.len();
    bytes.extend_from_slice(part);
    offset as u64
}

/// A checked program without its symbols and debugging information: what lies
/// behind the last segment is cut off.
#[must_use]
pub fn stripped(program: &[u8], checked: &elf_check::Program) -> Vec<u8> {
    let end = checked.segments.iter().map(|s| s.offset + s.file).max();
    let end = end.map_or(0, |end| end as usize).max(HEADER);
    let mut bytes = program[..end.min(program.len())].to_vec();
    if let Ok((header, _)) = pod::from_bytes_mut::<FileHeader64<LittleEndian>>(&mut bytes) {
        header.e_shoff = U64::new(ENDIAN, 0);
        header.e_shnum = U16::new(ENDIAN, 0);
        header.e_shstrndx = U16::new(ENDIAN, SHN_UNDEF);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::{ELFMAG, Ident};
    use object::elf::{EM_X86_64, ET_EXEC, PF_X};

    /// A program of one executable segment and the given other header.
    fn program(other: object::elf::ProgramType, flags: object::elf::ProgramFlags) -> Vec<u8> {
        let size = size_of::<ProgramHeader64<LittleEndian>>();
        let header = FileHeader64::<LittleEndian> {
            e_ident: Ident {
                magic: ELFMAG,
                class: object::elf::ELFCLASS64,
                data: object::elf::ELFDATA2LSB,
                version: object::elf::EV_CURRENT,
                os_abi: object::elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: U16::new(ENDIAN, ET_EXEC),
            e_machine: U16::new(ENDIAN, EM_X86_64),
            e_version: U32::new(ENDIAN, 1),
            e_entry: U64::new(ENDIAN, 0x40_0000),
            e_phoff: U64::new(ENDIAN, HEADER as u64),
            e_shoff: U64::new(ENDIAN, 4096),
            e_flags: U32::default(),
            e_ehsize: U16::new(ENDIAN, HEADER as u16),
            e_phentsize: U16::new(ENDIAN, size as u16),
            e_phnum: U16::new(ENDIAN, 2),
            e_shentsize: U16::new(ENDIAN, 64),
            e_shnum: U16::new(ENDIAN, 1),
            e_shstrndx: U16::new(ENDIAN, SHN_UNDEF),
        };
        let length = (HEADER + 2 * size) as u64;
        let load = ProgramHeader64::<LittleEndian> {
            p_type: U32::new(ENDIAN, PT_LOAD),
            p_flags: U32::new(ENDIAN, flags),
            p_offset: U64::new(ENDIAN, 0),
            p_vaddr: U64::new(ENDIAN, 0x40_0000),
            p_paddr: U64::new(ENDIAN, 0x40_0000),
            p_filesz: U64::new(ENDIAN, length),
            p_memsz: U64::new(ENDIAN, length + 10_000),
            p_align: U64::new(ENDIAN, PAGE),
        };
        let spare = ProgramHeader64::<LittleEndian> {
            p_type: U32::new(ENDIAN, other),
            ..load
        };
        let mut bytes = pod::bytes_of(&header).to_vec();
        bytes.extend_from_slice(pod::bytes_of(&load));
        bytes.extend_from_slice(pod::bytes_of(&spare));
        bytes.extend_from_slice(b"symbols");
        bytes
    }

    #[test]
    fn an_image_reads_back_and_is_reproducible() {
        let root = program(PT_GNU_STACK, PF_X);
        let parts = [b"one".to_vec(), b"another".to_vec()];
        let image = build(&root, b"description", &parts).unwrap();
        assert_eq!(image, build(&root, b"description", &parts).unwrap());
        let payload = open(&image).unwrap();
        assert_eq!(payload.description().unwrap(), b"description");
        assert_eq!(payload.image(1).unwrap(), b"another");
        let loaded = elf_check::check(&image.bytes).unwrap().segments;
        assert_eq!(loaded.len(), 2);
        assert_eq!(loaded[1].address, image.address);
        assert_eq!(loaded[1].offset as usize, image.payload);
        assert!(loaded[1].address >= loaded[0].address + loaded[0].memory);
        assert_eq!(loaded[1].flags, PF_R.0);
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let root = program(PT_NOTE, PF_X);
        let mut image = build(&root, b"description", &[]).unwrap();
        *image.bytes.last_mut().unwrap() ^= 1;
        assert_eq!(
            open(&image).err(),
            Some(ImageError::Payload(PayloadError::Hash))
        );
    }

    #[test]
    fn a_payload_of_another_build_is_noticed() {
        let root = program(PT_NOTE, PF_X);
        let mut image = build(&root, b"description", &[]).unwrap();
        let at = image.payload + std::mem::offset_of!(PayloadHeader, format);
        image.bytes[at] ^= 1;
        assert_eq!(
            open(&image).err(),
            Some(ImageError::Payload(PayloadError::Format))
        );
    }

    #[test]
    fn a_payload_too_large_is_refused() {
        let huge = vec![0; IMAGE_END as usize];
        let refused = build(&program(PT_GNU_STACK, PF_X), &[], &[huge]);
        assert!(matches!(refused, Err(ImageError::TooLarge(_))));
    }

    #[test]
    fn programs_that_cannot_run_are_refused() {
        use object::elf::{PF_W, PT_DYNAMIC, PT_TLS};
        let refused = |other, flags| elf_check::check(&program(other, flags)).unwrap_err();
        assert_eq!(refused(PT_DYNAMIC, PF_X), Problem::Dynamic);
        assert_eq!(refused(PT_TLS, PF_X), Problem::ThreadLocal);
        assert_eq!(
            refused(PT_NOTE, PF_X | PF_W),
            Problem::WritableCode(0x40_0000)
        );
        assert_eq!(refused(PT_NOTE, PF_R), Problem::Entry(0x40_0000));
        assert!(matches!(
            elf_check::check(b"#!/bin/sh"),
            Err(Problem::Unreadable(_))
        ));
    }

    #[test]
    fn stripping_keeps_what_is_loaded() {
        let whole = program(PT_NOTE, PF_X);
        let checked = elf_check::check(&whole).unwrap();
        let small = stripped(&whole, &checked);
        assert_eq!(small.len() + b"symbols".len(), whole.len());
        assert_eq!(elf_check::check(&small).unwrap(), checked);
    }
}
