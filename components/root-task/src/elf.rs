//! Which bytes of an image go to which page, with which rights.
//!
//! Problem: an image that was built with other flags, or damaged, must be
//! refused with a reason instead of running half-loaded. Invariant: segments
//! of an [`Image`] lie below the end given, on pages of their own, and none is
//! both writable and executable.

use alloc::vec::Vec;
use core::fmt;

use object::LittleEndian;
use object::elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A checked program image.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Where threads start.
    pub entry: u64,
    /// What is loaded, in order of address.
    pub segments: Vec<Segment<'a>>,
}

/// Consecutive pages with the same rights.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Address of the first page.
    pub first_page: u64,
    /// Number of pages.
    pub pages: usize,
    /// Writable data; otherwise code or constants, which are read-only.
    pub writable: bool,
    /// Code.
    pub executable: bool,
    /// Bytes from the start of the first page to the first byte of `file`.
    lead: usize,
    file: &'a [u8],
}

/// Why an image was refused; whoever built it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// Not a 64-bit little-endian ELF file, or its tables leave the file.
    Malformed,
    /// Not a statically linked x86-64 executable.
    NotStatic,
    /// A segment leaves the file, the address range for images, or page 0 is
    /// part of it; its address.
    Bounds(u64),
    /// Two segments share the page at this address.
    SharedPage(u64),
    /// The segment at this address is both writable and executable.
    WritableCode(u64),
    /// The entry point is not in code.
    Entry(u64),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "not a well-formed ELF64 file"),
            Self::NotStatic => write!(f, "not a static x86-64 executable"),
            Self::Bounds(at) => write!(f, "the segment at {at:#x} leaves its bounds"),
            Self::SharedPage(at) => write!(f, "two segments share the page at {at:#x}"),
            Self::WritableCode(at) => write!(f, "the segment at {at:#x} is writable code"),
            Self::Entry(at) => write!(f, "the entry point {at:#x} is not in code"),
        }
    }
}

impl core::error::Error for ElfError {}

impl<'a> Image<'a> {
    /// Checks `file`; its segments must lie below `end`.
    ///
    /// # Errors
    /// An [`ElfError`] that says what is wrong.
    pub fn parse(file: &'a [u8], end: u64) -> Result<Self, ElfError> {
        let endian = LittleEndian;
        let header = FileHeader64::<LittleEndian>::parse(file).map_err(|_| ElfError::Malformed)?;
        if !header.is_little_endian() {
            return Err(ElfError::Malformed);
        }
        if header.e_type(endian) != ET_EXEC || header.e_machine(endian) != EM_X86_64 {
            return Err(ElfError::NotStatic);
        }
        let mut segments = Vec::new();
        let headers = header.program_headers(endian, file);
        for program in headers.map_err(|_| ElfError::Malformed)? {
            match program.p_type(endian) {
                PT_DYNAMIC | PT_INTERP => return Err(ElfError::NotStatic),
                PT_LOAD if program.p_memsz(endian) != 0 => {
                    segments.push(segment(program, file, end)?);
                }
                _ => {}
            }
        }
        segments.sort_unstable_by_key(|s| s.first_page);
        for (left, right) in segments.iter().zip(segments.iter().skip(1)) {
            if left.end() > right.first_page {
                return Err(ElfError::SharedPage(right.first_page));
            }
        }
        let entry = header.e_entry(endian);
        let code = |s: &Segment| s.executable && (s.first_page..s.end()).contains(&entry);
        if !segments.iter().any(code) {
            return Err(ElfError::Entry(entry));
        }
        Ok(Self { entry, segments })
    }
}

fn segment<'a>(
    program: &impl ProgramHeader<Endian = LittleEndian, Word = u64>,
    file: &'a [u8],
    end: u64,
) -> Result<Segment<'a>, ElfError> {
    let endian = LittleEndian;
    let (start, bytes) = (program.p_vaddr(endian), program.p_memsz(endian));
    let bounds = ElfError::Bounds(start);
    let stop = start
        .checked_add(bytes)
        .filter(|s| *s <= end)
        .ok_or(bounds)?;
    let data = program.data(endian, file).map_err(|()| bounds)?;
    let first_page = start & !(PAGE as u64 - 1);
    if data.len() as u64 > bytes || first_page == 0 {
        return Err(bounds);
    }
    let flags = program.p_flags(endian);
    let (writable, executable) = (flags.contains(PF_W), flags.contains(PF_X));
    if writable && executable {
        return Err(ElfError::WritableCode(start));
    }
    Ok(Segment {
        first_page,
        pages: (stop - first_page).div_ceil(PAGE as u64) as usize,
        writable,
        executable,
        lead: (start - first_page) as usize,
        file: data,
    })
}

impl<'a> Segment<'a> {
    /// Address behind the last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first_page + (self.pages * PAGE) as u64
    }

    /// What goes to page number `page`: bytes of the file, and how far from
    /// the start of the page. The rest of the page is zero.
    #[must_use]
    pub fn page(&self, page: usize) -> (usize, &'a [u8]) {
        let at = page * PAGE;
        let from = at.saturating_sub(self.lead).min(self.file.len());
        let to = (at + PAGE).saturating_sub(self.lead).min(self.file.len());
        let offset = self.lead.saturating_sub(at).min(PAGE);
        (offset, self.file.get(from..to).unwrap_or(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::{ET_DYN, FileType, ProgramType};
    use proptest::prelude::*;
    use std::vec;

    const END: u64 = 0x1000_0000;

    struct Part {
        kind: ProgramType,
        flags: u32,
        offset: u64,
        vaddr: u64,
        file: u64,
        memory: u64,
    }

    fn load(flags: u32, vaddr: u64, file: u64, memory: u64) -> Part {
        let (kind, offset) = (PT_LOAD, 0x200 + vaddr % 64);
        Part {
            kind,
            flags,
            offset,
            vaddr,
            file,
            memory,
        }
    }

    fn elf(kind: FileType, entry: u64, parts: &[Part]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[16..18].copy_from_slice(&kind.0.to_le_bytes());
        file[18..20].copy_from_slice(&EM_X86_64.0.to_le_bytes());
        file[20] = 1;
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32] = 64;
        file[52] = 64;
        file[54] = 56;
        file[56] = parts.len() as u8;
        for p in parts {
            file.extend(p.kind.0.to_le_bytes());
            file.extend(p.flags.to_le_bytes());
            for word in [p.offset, p.vaddr, 0, p.file, p.memory, 4096] {
                file.extend(word.to_le_bytes());
            }
        }
        file.extend((file.len()..0x8000).map(|n| (n * 7) as u8 | 1));
        file
    }

    const CODE: u32 = 5;
    const DATA: u32 = 6;

    #[test]
    fn pages_hold_what_the_file_says() {
        let parts = [
            load(DATA, 0x40_3010, 0x1800, 0x3000),
            load(CODE, 0x40_0100, 0x1000, 0x1000),
        ];
        let file = elf(ET_EXEC, 0x40_0104, &parts);
        let image = Image::parse(&file, END).unwrap();
        let [code, data] = &image.segments[..] else {
            panic!("two segments");
        };
        assert_eq!(
            (code.first_page, code.pages, code.writable),
            (0x40_0000, 2, false)
        );
        assert_eq!(
            (data.first_page, data.pages, data.writable),
            (0x40_3000, 4, true)
        );
        assert_eq!(code.page(0), (0x100, &file[0x200..0x1100]));
        assert_eq!(code.page(1), (0, &file[0x1100..0x1200]));
        let start = 0x200 + 0x10;
        assert_eq!(data.page(0), (0x10, &file[start..start + 0xff0]));
        assert_eq!(data.page(1), (0, &file[start + 0xff0..start + 0x1800]));
        assert_eq!(data.page(2).1, &[] as &[u8]);
    }

    #[test]
    fn bad_images_are_refused_with_the_reason() {
        let good = || load(CODE, 0x40_0000, 0x100, 0x100);
        let refused = |file: Vec<u8>| Image::parse(&file, END).unwrap_err();
        assert_eq!(refused(vec![0; 100]), ElfError::Malformed);
        assert_eq!(
            refused(elf(ET_DYN, 0x40_0000, &[good()])),
            ElfError::NotStatic
        );
        for kind in [PT_DYNAMIC, PT_INTERP] {
            let dynamic = Part { kind, ..good() };
            assert_eq!(
                refused(elf(ET_EXEC, 0x40_0000, &[good(), dynamic])),
                ElfError::NotStatic
            );
        }
        let with = |part: Part| refused(elf(ET_EXEC, 0x40_0000, &[good(), part]));
        assert_eq!(
            with(load(DATA, 0x40_0800, 8, 8)),
            ElfError::SharedPage(0x40_0000)
        );
        assert_eq!(with(load(DATA, END - 8, 8, 16)), ElfError::Bounds(END - 8));
        assert_eq!(
            with(load(DATA, u64::MAX - 8, 8, 16)),
            ElfError::Bounds(u64::MAX - 8)
        );
        assert_eq!(
            with(load(DATA, 0x50_0000, 16, 8)),
            ElfError::Bounds(0x50_0000)
        );
        assert_eq!(
            with(load(DATA, 0x50_0000, 0x9000, 0x9000)),
            ElfError::Bounds(0x50_0000)
        );
        assert_eq!(with(load(DATA, 0x800, 8, 8)), ElfError::Bounds(0x800));
        assert_eq!(
            with(load(DATA | 1, 0x50_0000, 8, 8)),
            ElfError::WritableCode(0x50_0000)
        );
        assert_eq!(
            refused(elf(ET_EXEC, 0x60_0000, &[good()])),
            ElfError::Entry(0x60_0000)
        );
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(flips in prop::collection::vec((0usize..400, any::<u8>()), 1..8)) {
            let mut file = elf(ET_EXEC, 0x40_0000, &[load(CODE, 0x40_0000, 0x100, 0x1100), load(DATA, 0x41_0000, 8, 99)]);
            for (at, value) in flips {
                file[at] = value;
            }
            if let Ok(image) = Image::parse(&file, END) {
                for segment in &image.segments {
                    prop_assert!(segment.end() <= END.next_multiple_of(4096));
                    for page in 0..segment.pages {
                        let (offset, bytes) = segment.page(page);
                        prop_assert!(offset + bytes.len() <= PAGE);
                    }
                }
            }
        }
    }
}
