//! The header before each frame (virtio 1.2, 5.1.6), 12 bytes.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | flags: 1 needs checksum, 2 data valid |
//! | 1 | 1 | segmentation: 0 none, 1 TCP over IPv4 |
//! | 2 | 2 | length of all headers, if segmented |
//! | 4 | 2 | payload of a segment |
//! | 6 | 2 | checksum start |
//! | 8 | 2 | checksum offset from there |
//! | 10 | 2 | number of buffers that a received frame takes, if those are merged |
//!
//! It is read and written as two quadwords.

use core::sync::atomic::{AtomicU64, Ordering};

use nic_api::{SendFrame, frame_flags};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u32 = nic_api::HEADER_ROOM;

const NEEDS_CHECKSUM: u64 = 1;
const DATA_VALID: u64 = 2;
/// `VIRTIO_NET_HDR_GSO_TCPV4`, in its place.
const TCP4: u64 = 1 << 8;

/// What the header of a received frame says about its checksum.
#[inline]
pub(crate) fn received([first, _]: &[AtomicU64; 2]) -> u16 {
    let flags = u64::from_le(first.load(Ordering::Relaxed));
    if flags & NEEDS_CHECKSUM != 0 {
        frame_flags::NEEDS_CHECKSUM
    } else if flags & DATA_VALID != 0 {
        frame_flags::CHECKSUM_VALID
    } else {
        0
    }
}

/// How many buffers the header of a received frame says that it takes.
#[inline]
pub(crate) fn buffers([_, second]: &[AtomicU64; 2]) -> u16 {
    (u64::from_le(second.load(Ordering::Relaxed)) >> 16) as u16
}

/// What the device wrote in place of a header to a buffer that a frame goes on
/// in.
#[inline]
pub(crate) fn start([first, second]: &[AtomicU64; 2]) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    let words = [first, second].map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    for (byte, written) in bytes.iter_mut().zip(words.as_flattened()) {
        *byte = *written;
    }
    bytes
}

/// The header for a frame that was checked.
#[inline]
pub(crate) fn to_send(frame: &SendFrame) -> [u64; 2] {
    if frame.flags & frame_flags::NEEDS_CHECKSUM == 0 {
        return [0; 2];
    }
    let mut first = NEEDS_CHECKSUM | u64::from(frame.checksum_start) << 48;
    if frame.flags & frame_flags::SEGMENT != 0 {
        first |= TCP4;
        first |= u64::from(frame.header_len) << 16;
        first |= u64::from(frame.segment_bytes) << 32;
    }
    [first.to_le(), u64::from(frame.checksum_offset).to_le()]
}
