//! The segment that the host tool appends to the root task's ELF file.
//!
//! Layout: [`PayloadHeader`], then one [`ImageEntry`] per component image,
//! then the encoded description, then the images, each 16-byte aligned; all
//! offsets count from the start of the header. The hash covers everything
//! behind the header. The root task finds the segment as the last `PT_LOAD`
//! of its own program headers.

use core::fmt;

use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First eight bytes of the segment.
pub const MAGIC: [u8; 8] = *b"ioipcpay";
/// Version of header, description and records together.
pub const VERSION: u32 = 3;
/// Tells apart what the encoding of description and records depends on: a hash
/// (64-bit FNV-1a) over the sources that define it. The encoding does not
/// describe itself, and an installed host tool may be older than the sources
/// that it builds the root task from; raising [`VERSION`] by hand is forgotten.
pub const FORMAT: u64 = format_of(&[
    include_bytes!("description.rs"),
    include_bytes!("fault.rs"),
    include_bytes!("map.rs"),
    include_bytes!("payload.rs"),
    include_bytes!("record.rs"),
    include_bytes!("startup.rs"),
]);
/// Alignment of the description and of every image, in bytes.
pub const ALIGN: usize = 16;

/// Start of the payload. 88 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PayloadHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Number of images.
    pub images: u32,
    /// Bytes in all, header included.
    pub total_bytes: u64,
    /// Where the description starts.
    pub description_offset: u64,
    /// Its size in bytes.
    pub description_bytes: u64,
    /// Feature word; 0.
    pub features: u64,
    /// SHA-256 of all bytes behind the header.
    pub sha256: [u8; 32],
    /// [`FORMAT`].
    pub format: u64,
}

/// Where an image lies.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ImageEntry {
    /// Offset from the start of the header, in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// A payload whose header, hash and offsets were checked.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    header: PayloadHeader,
}

/// Why a payload was refused: the image was not made by a matching host tool,
/// or was damaged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// No payload here.
    Magic,
    /// Another version.
    Version(u32),
    /// Made from other sources than the reader.
    Format,
    /// Unknown features.
    Features(u64),
    /// Sizes or offsets leave the segment.
    Bounds,
    /// The hash differs.
    Hash,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no payload is appended to the root task"),
            Self::Version(v) => write!(f, "payload has version {v}, not {VERSION}"),
            Self::Format => f.write_str(
                "payload was made by another build of the host tool: install it again from these sources",
            ),
            Self::Features(v) => write!(f, "payload has unknown features {v:#x}"),
            Self::Bounds => f.write_str("payload offsets leave the segment"),
            Self::Hash => f.write_str("payload hash differs: the image is damaged"),
        }
    }
}

impl core::error::Error for PayloadError {}

const fn format_of(sources: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut source = 0;
    while source < sources.len() {
        let mut at = 0;
        while at < sources[source].len() {
            hash = (hash ^ sources[source][at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        source += 1;
    }
    hash
}

/// The hash that a header must hold: SHA-256 of `rest`, all bytes behind it.
#[must_use]
pub fn hash(rest: &[u8]) -> [u8; 32] {
    Sha256::digest(rest).into()
}

impl<'a> Payload<'a> {
    /// Checks the payload at the start of `segment`.
    ///
    /// # Errors
    /// A [`PayloadError`] that says what is wrong.
    pub fn new(segment: &'a [u8]) -> Result<Self, PayloadError> {
        let (header, _) =
            PayloadHeader::read_from_prefix(segment).map_err(|_| PayloadError::Magic)?;
        if header.magic != MAGIC {
            return Err(PayloadError::Magic);
        }
        if header.version != VERSION {
            return Err(PayloadError::Version(header.version));
        }
        if header.format != FORMAT {
            return Err(PayloadError::Format);
        }
        if header.features != 0 {
            return Err(PayloadError::Features(header.features));
        }
        let total = usize::try_from(header.total_bytes).map_err(|_| PayloadError::Bounds)?;
        let bytes = segment.get(..total).ok_or(PayloadError::Bounds)?;
        let rest = bytes
            .get(size_of::<PayloadHeader>()..)
            .ok_or(PayloadError::Bounds)?;
        if hash(rest) != header.sha256 {
            return Err(PayloadError::Hash);
        }
        let this = Self { bytes, header };
        this.description()?;
        for index in 0..this.images() {
            this.image(index)?;
        }
        Ok(this)
    }

    /// The encoded description.
    ///
    /// # Errors
    /// `Bounds`; never after [`Payload::new`] accepted the payload.
    pub fn description(&self) -> Result<&'a [u8], PayloadError> {
        self.part(
            self.header.description_offset,
            self.header.description_bytes,
        )
    }

    /// Number of images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.header.images as usize
    }

    /// Image number `index`.
    ///
    /// # Errors
    /// `Bounds` if there is no such image.
    pub fn image(&self, index: usize) -> Result<&'a [u8], PayloadError> {
        if index >= self.images() {
            return Err(PayloadError::Bounds);
        }
        let at = size_of::<PayloadHeader>() + index * size_of::<ImageEntry>();
        let rest = self.bytes.get(at..).ok_or(PayloadError::Bounds)?;
        let (entry, _) = ImageEntry::read_from_prefix(rest).map_err(|_| PayloadError::Bounds)?;
        self.part(entry.offset, entry.bytes)
    }

    fn part(&self, offset: u64, bytes: u64) -> Result<&'a [u8], PayloadError> {
        let end = offset.checked_add(bytes).ok_or(PayloadError::Bounds)?;
        self.bytes
            .get(offset as usize..end as usize)
            .ok_or(PayloadError::Bounds)
    }
}
