//! What the manager may ask to be sent.
//!
//! Problem: the device, and behind it whatever runs it, acts on lengths and
//! offsets; not all of them check. Invariant: a frame that passes here has an
//! Ethernet header, fits the MTU (each segment does, if it is to be cut), asks
//! only for what was negotiated, and has its checksum inside its bytes.

use nic_api::{NicInfo, SendFrame, Span, frame_flags, nic_features};

/// Ethernet header: addresses and type.
pub(crate) const ETHERNET: u32 = 14;
/// Ethernet, IPv4 and TCP headers at their shortest.
const LEAST_HEADERS: u16 = 54;
/// An IPv4 packet has no more bytes.
const MOST_PACKET: u64 = 65535;

/// What this NIC takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    mtu: u32,
    checksums: bool,
    segments: bool,
}

impl Limits {
    pub(crate) const fn new(info: NicInfo) -> Self {
        Self {
            mtu: info.mtu,
            checksums: info.features & nic_features::CHECKSUM != 0,
            segments: info.features & nic_features::SEGMENTATION != 0,
        }
    }

    /// Bytes of the frame that `spans` make up, `None` if it must not be sent.
    #[inline]
    pub(crate) fn check(&self, frame: &SendFrame, spans: &[Span]) -> Option<u32> {
        let mut bytes = 0;
        let mut empty = false;
        for span in spans {
            bytes += u64::from(span.len);
            empty |= span.len == 0;
        }
        if empty {
            return None;
        }
        let special = frame_flags::NEEDS_CHECKSUM | frame_flags::SEGMENT;
        let payload = bytes.wrapping_sub(ETHERNET.into());
        let fits = if frame.flags & special == 0 {
            payload <= self.mtu.into()
        } else {
            self.check_special(frame, payload)
        };
        fits.then_some(bytes as u32)
    }

    /// Whether a frame of an Ethernet header and `payload` bytes that asks for
    /// a checksum or to be cut is to be sent.
    fn check_special(&self, frame: &SendFrame, payload: u64) -> bool {
        let place = u64::from(frame.checksum_start) + u64::from(frame.checksum_offset);
        let (within, most) = if frame.flags & frame_flags::SEGMENT != 0 {
            if !self.check_segments(frame, payload) {
                return false;
            }
            (frame.header_len.into(), MOST_PACKET)
        } else {
            (payload.wrapping_add(ETHERNET.into()), self.mtu.into())
        };
        let summed = frame.flags & frame_flags::NEEDS_CHECKSUM != 0;
        self.checksums && summed && payload <= most && place + 2 <= within
    }

    /// Whether the segments would be whole packets with payload.
    fn check_segments(&self, frame: &SendFrame, payload: u64) -> bool {
        let headers = u32::from(frame.header_len);
        let segment = headers + u32::from(frame.segment_bytes);
        self.segments
            && frame.segment_bytes != 0
            && frame.header_len >= LEAST_HEADERS
            && segment <= self.mtu + ETHERNET
            && u64::from(headers) < payload.wrapping_add(ETHERNET.into())
    }
}
