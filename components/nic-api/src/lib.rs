//! The frame channel between a NIC driver and the protocol server.
//!
//! Problem: the driver owns the device, the server owns the protocol, and
//! neither may crash the other. They share two regions: *control*, with four
//! rings and a page of facts about the NIC, and *buffers*, physically
//! contiguous, which the device reads and writes by DMA. Invariant: every
//! buffer is at any time on exactly one side; a side that hands over a buffer
//! it does not own, or one that does not exist, is refused by the other
//! ([`FrameDescriptor::check`] and the receiver's own ownership table).
//!
//! | ring | from → to | meaning |
//! | --- | --- | --- |
//! | `RX_FILLED` | driver → server | a frame arrived |
//! | `RX_FREE` | server → driver | the buffer may be posted again |
//! | `TX_READY` | server → driver | send this frame |
//! | `TX_DONE` | driver → server | the device has let go of the buffer |
//!
//! Buffers `0..rx_buffers` are for receiving and start with the driver,
//! `rx_buffers..rx_buffers+tx_buffers` are for sending and start with the
//! server. The first [`HEADROOM`] bytes of each belong to the driver (virtio
//! header); the frame begins behind them.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

use shared_ring::{OutOfRange, RingLayout, SharedMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Buffers per direction, and entries per ring.
pub const BUFFERS: u32 = 256;
/// Bytes before the frame in each buffer, for the driver's own header
/// (virtio 1.2, 5.1.6: 12 bytes).
pub const HEADROOM: usize = 64;
/// Layout of all four rings.
pub const RING: RingLayout = RingLayout::new(size_of::<FrameDescriptor>() as u16, BUFFERS);
/// Offset of [`NicInfo`] in the control region.
pub const INFO_OFFSET: usize = 0;
/// Offset of the ring of received frames.
pub const RX_FILLED_OFFSET: usize = 256;
/// Offset of the ring of receive buffers given back.
pub const RX_FREE_OFFSET: usize = RX_FILLED_OFFSET + RING.bytes();
/// Offset of the ring of frames to send.
pub const TX_READY_OFFSET: usize = RX_FREE_OFFSET + RING.bytes();
/// Offset of the ring of send buffers given back.
pub const TX_DONE_OFFSET: usize = TX_READY_OFFSET + RING.bytes();
/// Bytes of the control region.
pub const CONTROL_BYTES: usize = TX_DONE_OFFSET + RING.bytes();

/// Bytes of one buffer for an MTU: Ethernet header, payload and headroom,
/// rounded up to a power of two so that buffers do not straddle pages
/// needlessly.
#[must_use]
pub const fn buffer_bytes(mtu: usize) -> usize {
    (mtu + 14 + HEADROOM).next_power_of_two()
}

/// Bytes of the buffer region for an MTU.
#[must_use]
pub const fn region_bytes(mtu: usize) -> usize {
    buffer_bytes(mtu) * 2 * BUFFERS as usize
}

/// One frame in a buffer. 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FrameDescriptor {
    /// Which buffer.
    pub buffer: u32,
    /// Bytes of the frame, Ethernet header included, behind the headroom.
    pub len: u32,
    /// [`frame_flags`].
    pub flags: u32,
    /// Checksum start and offset for `NEEDS_CHECKSUM`: start in the low 16
    /// bits, offset from there in the high 16 (virtio 1.2, 5.1.6.2).
    pub checksum: u32,
}

/// Bits of [`FrameDescriptor::flags`].
pub mod frame_flags {
    /// Received: the device has verified the transport checksum
    /// (`VIRTIO_NET_HDR_F_DATA_VALID`).
    pub const CHECKSUM_VALID: u32 = 1 << 0;
    /// Received: the checksum is partial but the data is known to be good
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). To send: complete the checksum.
    pub const NEEDS_CHECKSUM: u32 = 1 << 1;
}

/// A descriptor that its writer should not have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorError {
    /// The buffer number is not one of this direction.
    Buffer(u32),
    /// The length exceeds the buffer.
    Length(u32),
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffer(b) => write!(f, "frame descriptor names buffer {b}"),
            Self::Length(l) => write!(f, "frame descriptor claims {l} bytes"),
        }
    }
}

impl core::error::Error for DescriptorError {}

impl FrameDescriptor {
    /// Checks buffer number and length against a direction's buffers
    /// (`first..first + BUFFERS`) of `buffer_bytes` each.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self, first: u32, buffer_bytes: usize) -> Result<(), DescriptorError> {
        if self.buffer.wrapping_sub(first) >= BUFFERS {
            return Err(DescriptorError::Buffer(self.buffer));
        }
        if self.len as usize > buffer_bytes - HEADROOM {
            return Err(DescriptorError::Length(self.len));
        }
        Ok(())
    }
}

/// What the driver found out about the NIC, published once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicInfo {
    /// The MAC address.
    pub mac: [u8; 6],
    /// Largest frame payload in bytes that the device takes (its MTU).
    pub mtu: u32,
    /// [`nic_features`] that were negotiated.
    pub features: u32,
}

/// Bits of [`NicInfo::features`].
pub mod nic_features {
    /// Received frames may be marked `CHECKSUM_VALID` or `NEEDS_CHECKSUM`.
    pub const GUEST_CHECKSUM: u32 = 1 << 0;
    /// Frames to send may be marked `NEEDS_CHECKSUM`.
    pub const CHECKSUM: u32 = 1 << 1;
}

const READY: u32 = 1;

impl NicInfo {
    /// Publishes the facts in the control region; the driver signals the
    /// server afterwards.
    ///
    /// # Errors
    /// [`OutOfRange`] if the region is too small.
    pub fn publish(&self, control: &SharedMemory) -> Result<(), OutOfRange> {
        let [a, b, c, d, e, g] = self.mac;
        control.store32(INFO_OFFSET + 4, u32::from_le_bytes([a, b, c, d]))?;
        control.store32(INFO_OFFSET + 8, u32::from_le_bytes([e, g, 0, 0]))?;
        control.store32(INFO_OFFSET + 12, self.mtu)?;
        control.store32(INFO_OFFSET + 16, self.features)?;
        let ready = control.word32(INFO_OFFSET)?;
        ready.store(READY, core::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// The published facts, or `None` before the driver is ready.
    ///
    /// # Errors
    /// [`OutOfRange`] if the region is too small.
    pub fn read(control: &SharedMemory) -> Result<Option<Self>, OutOfRange> {
        let ready = control.word32(INFO_OFFSET)?;
        if ready.load(core::sync::atomic::Ordering::Acquire) != READY {
            return Ok(None);
        }
        let [a, b, c, d] = control.load32(INFO_OFFSET + 4)?.to_le_bytes();
        let [e, g, ..] = control.load32(INFO_OFFSET + 8)?.to_le_bytes();
        Ok(Some(Self {
            mac: [a, b, c, d, e, g],
            mtu: control.load32(INFO_OFFSET + 12)?,
            features: control.load32(INFO_OFFSET + 16)?,
        }))
    }
}
