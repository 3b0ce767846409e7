//! The header before each frame (virtio 1.2, 5.1.6), 12 bytes.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | flags: 1 needs checksum, 2 data valid |
//! | 1 | 1 | segmentation type: always 0 here |
//! | 2 | 4 | header length, segment size: 0 |
//! | 6 | 2 | checksum start |
//! | 8 | 2 | checksum offset from there |
//! | 10 | 2 | number of buffers: unused |

use nic_api::{FrameDescriptor, frame_flags};
use shared_ring::{OutOfRange, SharedMemory};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 12;

const NEEDS_CHECKSUM: u32 = 1;
const DATA_VALID: u32 = 2;
const CHECKSUM_AT: usize = 6;

/// The flags and the checksum field of a received frame whose header stands
/// at `at`. The server can write there too, but only fools itself.
#[inline]
pub(crate) fn received(buffers: &SharedMemory, at: usize) -> Result<(u32, u32), OutOfRange> {
    let flags = buffers.load32(at)?;
    if flags & NEEDS_CHECKSUM != 0 {
        let mut place = [0; 4];
        buffers.read(at + CHECKSUM_AT, &mut place)?;
        return Ok((frame_flags::NEEDS_CHECKSUM, u32::from_le_bytes(place)));
    }
    let valid = flags & DATA_VALID != 0;
    Ok((u32::from(valid) * frame_flags::CHECKSUM_VALID, 0))
}

/// Whether the place of the checksum lies in the frame.
#[inline]
pub(crate) fn checksum_fits(frame: &FrameDescriptor) -> bool {
    let (start, offset) = (frame.checksum & 0xffff, frame.checksum >> 16);
    start + offset + 2 <= frame.len
}

/// Writes the header, at `at`, of a frame whose checksum the device is to
/// complete.
pub(crate) fn write(headers: &SharedMemory, at: usize, checksum: u32) -> Result<(), OutOfRange> {
    let mut header = [0; HEADER_BYTES];
    header[0] = NEEDS_CHECKSUM as u8;
    header[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    headers.write(at, &header)
}
