//! The frame channel between a NIC driver and the I/O manager.
//!
//! Problem: the driver owns the device, the manager owns all memory, and the
//! driver needs to see neither headers nor payload. They share a control
//! region with four rings and a page of facts about the NIC; frames are named
//! by physical addresses, which only the manager writes. Invariant: a buffer
//! is on the driver's side from the entry that hands it over until the entry
//! that gives it back, each of which names it by the manager's id; the driver
//! keeps private books of what it has, the manager of what it gave.
//!
//! | ring | from → to | meaning |
//! | --- | --- | --- |
//! | `RX_FREE` | manager → driver | receive into this: [`ReceiveBuffer`] |
//! | `RX_FILLED` | driver → manager | a frame arrived: [`Received`] |
//! | `TX_READY` | manager → driver | send this frame: [`SendFrame`] |
//! | `TX_DONE` | driver → manager | the device has let go of it: [`Sent`] |
//!
//! A received frame is scattered: its first [`HEADER_SPLIT`] bytes go to the
//! header address, the rest to the payload address, which may be the next byte.
//! If it is not, a datagram without IP options has its payload at the start of
//! the payload buffer (42 = Ethernet, IPv4 and UDP headers), page-aligned if the
//! buffer is.
//!
//! With [`nic_features::LONG_RECEIVE`] a frame may be longer than the MTU, and
//! then go on in further buffers, each filled before the next. Its entry says in
//! how many, and their entries follow it ([`Received::following`]). A buffer
//! that a frame goes on in is filled from where the device would otherwise write
//! a header of its own, [`HEADER_ROOM`] bytes that only the driver has: those
//! bytes of the frame come in the entry, the next ones are at the header
//! address, and then those at the payload address.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

use core::sync::atomic::Ordering;

use shared_ring::{OutOfRange, RingLayout, SharedMemory};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Buffers that either side may have per direction, and the least number of
/// ids: ids are below this.
pub const IDS: u32 = 1024;
/// Numbers of frames, or groups of frames ([`frame_flags::GROUP`]), that the
/// manager may have given to be sent at a time.
pub const SENDS: u32 = 256;
/// Bytes of a frame before its payload buffer: Ethernet, IPv4 without options,
/// UDP.
pub const HEADER_SPLIT: u32 = 42;

/// Bytes before a buffer's header address that the device writes to memory of
/// the driver's (virtio 1.2, 5.1.6).
pub const HEADER_ROOM: u32 = 12;
/// Most buffers of one frame.
pub const MOST_BUFFERS: u32 = 64;
/// Most bytes of a frame: an Ethernet header and the longest IPv4 packet.
pub const MOST_FRAME: u32 = 14 + 65535;
/// With [`nic_features::LONG_RECEIVE`], bytes of a payload buffer that are left
/// free in front of a frame, so that what a frame goes on with lies in one
/// piece: [`HEADER_ROOM`] and what aligns it.
pub const JOINED_LEAD: u32 = 16;

/// Layout of `RX_FREE`.
pub const RX_FREE: RingLayout = RingLayout::new(size_of::<ReceiveBuffer>() as u16, IDS);
/// Layout of `RX_FILLED`.
pub const RX_FILLED: RingLayout = RingLayout::new(size_of::<Received>() as u16, IDS);
/// Layout of `TX_READY`; a frame may take several entries.
pub const TX_READY: RingLayout = RingLayout::new(size_of::<SendFrame>() as u16, 4 * SENDS);
/// Layout of `TX_DONE`.
pub const TX_DONE: RingLayout = RingLayout::new(size_of::<Sent>() as u16, SENDS);
/// Offset of [`NicInfo`] in the control region.
pub const INFO_OFFSET: usize = 0;
/// Offset of `RX_FREE`.
pub const RX_FREE_OFFSET: usize = 256;
/// Offset of `RX_FILLED`.
pub const RX_FILLED_OFFSET: usize = RX_FREE_OFFSET + RX_FREE.bytes();
/// Offset of `TX_READY`.
pub const TX_READY_OFFSET: usize = RX_FILLED_OFFSET + RX_FILLED.bytes();
/// Offset of `TX_DONE`.
pub const TX_DONE_OFFSET: usize = TX_READY_OFFSET + TX_READY.bytes();
/// Bytes of the control region.
pub const CONTROL_BYTES: usize = TX_DONE_OFFSET + TX_DONE.bytes();

/// Bytes of one payload buffer for an MTU: what does not go to the header
/// slot, in whole pages. The fewer buffers a long frame takes, the better.
#[must_use]
pub const fn payload_bytes(mtu: usize) -> usize {
    (mtu + 14 - HEADER_SPLIT as usize).next_multiple_of(4096)
}

/// Whether long frames may be received with the payload buffers for an MTU:
/// those are one page, so that no payload fills a page of its own, which could
/// change places with another; and hold any other frame whole.
#[must_use]
pub const fn joins(mtu: usize) -> bool {
    mtu + 14 + JOINED_LEAD as usize <= 4096
}

/// Memory to receive a frame into. 32 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReceiveBuffer {
    /// Physical address for the first [`HEADER_SPLIT`] bytes.
    pub header: u64,
    /// Physical address for the rest.
    pub payload: u64,
    /// Bytes of room there.
    pub payload_len: u32,
    /// The manager's name for the buffer, below [`IDS`].
    pub id: u32,
    /// For a NIC with [`nic_features::STEERING`]: the word ([`udp_flow`]) of the flow
    /// that alone may fill it, or 0 for any.
    pub flow: u64,
}

/// A frame that arrived. 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Received {
    /// The buffer it is in.
    pub id: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// [`frame_flags`].
    pub flags: u32,
    /// Buffers that it goes on in, whose entries follow; 0 without
    /// [`nic_features::LONG_RECEIVE`].
    pub following: u32,
}

impl Received {
    /// The entry of a buffer that a frame goes on in: the first bytes there
    /// take the place of length, flags and count.
    #[must_use]
    pub fn rest(id: u32, start: [u8; HEADER_ROOM as usize]) -> Self {
        let [len, flags, following] = zerocopy::transmute!(start);
        Self {
            id,
            len,
            flags,
            following,
        }
    }

    /// The first bytes in a buffer that a frame goes on in.
    #[must_use]
    pub const fn start(&self) -> [u8; HEADER_ROOM as usize] {
        zerocopy::transmute!([self.len, self.flags, self.following])
    }
}

/// Physical memory that a frame is made of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Span {
    /// Physical address.
    pub paddr: u64,
    /// Bytes.
    pub len: u32,
    /// 0.
    pub reserved: u32,
}

/// Spans in one [`SendFrame`].
pub const SEND_SPANS: usize = 3;

/// A frame to send, or with `MORE` before it the continuation of one, of which
/// only `flags`, `count` and `spans` count. 64 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SendFrame {
    /// The manager's name for the frame, below [`SENDS`].
    pub id: u32,
    /// [`frame_flags`].
    pub flags: u16,
    /// Spans in this entry.
    pub count: u16,
    /// With `NEEDS_CHECKSUM`: where summing starts (virtio 1.2, 5.1.6.2).
    pub checksum_start: u16,
    /// With `NEEDS_CHECKSUM`: where the sum goes, from there.
    pub checksum_offset: u16,
    /// With `SEGMENT`: most payload bytes of each segment.
    pub segment_bytes: u16,
    /// With `SEGMENT`: bytes of all headers.
    pub header_len: u16,
    /// The first begins with the Ethernet header.
    pub spans: [Span; SEND_SPANS],
}

/// Most spans of one frame, over all its entries.
pub const MOST_SPANS: usize = 36;

/// A frame, or all of a group, that the device has let go of. 8 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Sent {
    /// Which.
    pub id: u32,
    /// 0.
    pub reserved: u32,
}

/// Bits of the `flags` of [`Received`] and [`SendFrame`].
pub mod frame_flags {
    /// Received: the device has verified the transport checksum
    /// (`VIRTIO_NET_HDR_F_DATA_VALID`).
    pub const CHECKSUM_VALID: u16 = 1 << 0;
    /// Received: the checksum is partial but the data is known to be good
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). To send: complete the checksum.
    pub const NEEDS_CHECKSUM: u16 = 1 << 1;
    /// To send: cut the payload into segments (`VIRTIO_NET_HDR_GSO_TCPV4`).
    pub const SEGMENT: u16 = 1 << 2;
    /// To send: the spans of the next entry belong to the same frame.
    pub const MORE: u16 = 1 << 3;
    /// To send: signal the manager when it is done; somebody waits.
    pub const WAITED_FOR: u16 = 1 << 4;
    /// Received, by a NIC with `STEERING`: the buffer is one that was kept for
    /// the frame's flow, and its payload begins at the payload address.
    pub const STEERED: u16 = 1 << 5;
    /// To send: the next frame has the same number, which comes back once the
    /// device has let go of the last one that has it, and of all before.
    pub const GROUP: u16 = 1 << 6;
}

/// In [`ReceiveBuffer::flow`], for a NIC with [`nic_features::STEERING`]: the
/// payload address and length of the next entry belong to the same buffer. An
/// entry for such a buffer with a payload length of 0 asks for it back: it comes
/// as [`Received`] with length 0, unless it has been filled.
pub const MORE_PAYLOAD: u64 = 1 << 63;

/// The word by which a NIC with [`nic_features::STEERING`] is told a flow: UDP
/// datagrams to a local port.
#[must_use]
pub const fn udp_flow(port: u16) -> u64 {
    17 << 16 | port as u64
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
    /// Frames to send may be marked `SEGMENT` (TCP over IPv4).
    pub const SEGMENTATION: u32 = 1 << 2;
    /// Receive buffers may be kept for a flow: the NIC demultiplexes early. It
    /// verifies checksums before it writes to such a buffer.
    pub const STEERING: u32 = 1 << 3;
    /// Received frames of TCP over IPv4 may be longer than the MTU, and lie in
    /// several buffers; only if the buffers allow that
    /// ([`joins`](crate::joins)), and not together with `STEERING`.
    pub const LONG_RECEIVE: u32 = 1 << 4;
}

const READY: u32 = 1;

impl NicInfo {
    /// Publishes the facts in a control region; whoever reads them is signalled
    /// afterwards.
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
        ready.store(READY, Ordering::Release);
        Ok(())
    }

    /// The published facts, or `None` before the driver is ready.
    ///
    /// # Errors
    /// [`OutOfRange`] if the region is too small.
    pub fn read(control: &SharedMemory) -> Result<Option<Self>, OutOfRange> {
        let ready = control.word32(INFO_OFFSET)?;
        if ready.load(Ordering::Acquire) != READY {
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

const _: () = assert!(size_of::<ReceiveBuffer>() == 32 && size_of::<Received>() == 16);
const _: () = assert!(size_of::<SendFrame>() == 64 && size_of::<Sent>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn payload_buffers_hold_what_the_split_leaves() {
        assert_eq!(payload_bytes(576), 4096);
        assert_eq!(payload_bytes(1500), 4096);
        assert_eq!(payload_bytes(9000), 12288);
        for mtu in 576..=9216 {
            assert!(payload_bytes(mtu) >= mtu + 14 - HEADER_SPLIT as usize);
        }
    }

    #[test]
    fn what_a_frame_goes_on_with_comes_in_its_entry() {
        let start = *b"twelve bytes";
        let entry = Received::rest(7, start);
        assert_eq!((entry.id, entry.start()), (7, start));
    }

    #[test]
    fn long_frames_come_in_buffers_that_hold_any_other_whole() {
        for mtu in 68..=9216 {
            let room = payload_bytes(mtu);
            let whole = mtu + 14 + JOINED_LEAD as usize <= room;
            assert_eq!(joins(mtu), whole && room == 4096, "{mtu}");
        }
        assert!(joins(1500) && JOINED_LEAD >= HEADER_ROOM);
    }

    #[test]
    fn facts_are_read_back_once_they_are_complete() {
        let control = SharedMemory::from_static(Box::leak(Box::new([0; 32])));
        assert_eq!(NicInfo::read(&control), Ok(None));
        let info = NicInfo {
            mac: [2, 0, 0, 1, 2, 3],
            mtu: 1500,
            features: nic_features::CHECKSUM,
        };
        info.publish(&control).unwrap();
        assert_eq!(NicInfo::read(&control), Ok(Some(info)));
        let small = control.slice(0, 16).unwrap();
        assert_eq!(info.publish(&small), Err(OutOfRange));
    }
}
