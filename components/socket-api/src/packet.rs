//! What travels between the I/O manager and a server besides requests and
//! completions: packets, by reference.
//!
//! Problem: the server decides about every packet and never has its payload.
//! Invariant: payload is named by numbers that only the manager resolves, a
//! received packet by its id and an offset in the frame, bytes to send by the
//! token of their `Send` and an offset in it; the manager checks each name
//! against what it has given out.
//!
//! All entries of both rings have 64 bytes and begin with 16 bits that tell
//! what they are: the number of an [`Op`](crate::Op) for requests and
//! completions, one of [`kind`] for what is defined here.
//!
//! | kind | from → to | |
//! | --- | --- | --- |
//! | `PACKET` | manager → server | a packet arrived: [`Packet`] |
//! | `NAME` | manager → server | bytes of the name that a `Resolve` asks for: [`Name`] |
//! | `DELIVER` | server → manager | bytes of a packet for a `Recv`: [`Deliver`] |
//! | `RELEASE` | server → manager | packets that are not needed any more: [`Release`] |
//! | `TRANSMIT` | server → manager | send a frame: [`Transmit`] |
//! | `RECEIVES` | manager → server | more receives wait: [`Receives`] |
//! | `RETIRE` | server → manager | a `Send` completed early is done: [`Retire`] |

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, transmute, transmute_mut, transmute_ref,
};

use crate::message::{Completion, Request};

/// Numbers of entries that are neither request nor completion.
pub mod kind {
    /// [`Packet`](super::Packet).
    pub const PACKET: u16 = 0x100;
    /// [`Deliver`](super::Deliver).
    pub const DELIVER: u16 = 0x101;
    /// [`Release`](super::Release).
    pub const RELEASE: u16 = 0x102;
    /// [`Transmit`](super::Transmit).
    pub const TRANSMIT: u16 = 0x103;
    /// [`Retire`](super::Retire).
    pub const RETIRE: u16 = 0x104;
    /// [`Name`](super::Name).
    pub const NAME: u16 = 0x105;
    /// [`Receives`](super::Receives).
    pub const RECEIVES: u16 = 0x106;
}

/// Bits of the `flags` of packets.
pub mod packet_flags {
    /// `Packet`: the device has verified the transport checksum, or vouches for
    /// a packet whose sender left it to be completed; `sum` means nothing, but
    /// of a fragment.
    pub const VERIFIED: u16 = 1 << 0;
    /// `Packet`: all bytes of the frame are in the header slot. It holds no
    /// payload buffer, and must be released all the same.
    pub const WHOLE: u16 = 1 << 1;
    /// `Deliver`, and `Completion` with a packet: the packet is not needed any
    /// more.
    pub const RELEASE: u16 = 1 << 2;
    /// `Transmit`: complete the transport checksum over header and payload:
    /// its field holds the sum of the pseudo-header.
    pub const CHECKSUM: u16 = 1 << 3;
    /// `Transmit`: segments of `segment_bytes` are to be made of it, by the device
    /// if it can, or else by the manager: of a TCP segment without options, in
    /// at most [`SEGMENT_PARTS`](super::SEGMENT_PARTS) parts and
    /// [`segments_in_slot`](crate::segments_in_slot) frames, whose headers take
    /// the place of the slot's.
    pub const SEGMENT: u16 = 1 << 4;
    /// `Transmit`: more references of the same frame follow in the next entry,
    /// of which only `flags`, `count` and `parts` count.
    pub const MORE: u16 = 1 << 5;
    /// `Transmit` of one entry, with parts: the server is done with the `Send` of
    /// the last one, as a completion with `Ok` and all its bytes right behind
    /// this entry would say.
    pub const DONE: u16 = 1 << 6;
}

/// No packet, in [`Completion::packet`].
pub const NO_PACKET: u32 = 0;

/// An entry of either ring. The largest meaning decides nothing: any bytes are
/// legal to receive.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Message {
    words: [u64; 8],
}

impl Message {
    /// The first 16 bits: an operation, or one of [`kind`].
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> u16 {
        self.words[0] as u16
    }
}

macro_rules! messages {
    ($($name:ident)*) => { $(
        impl From<$name> for Message {
            #[inline]
            fn from(value: $name) -> Self {
                transmute!(value)
            }
        }

        impl From<Message> for $name {
            #[inline]
            fn from(message: Message) -> Self {
                transmute!(message)
            }
        }

        impl AsRef<Message> for $name {
            #[inline]
            fn as_ref(&self) -> &Message {
                transmute_ref!(self)
            }
        }

        impl AsRef<$name> for Message {
            #[inline]
            fn as_ref(&self) -> &$name {
                transmute_ref!(self)
            }
        }

        impl AsMut<$name> for Message {
            #[inline]
            fn as_mut(&mut self) -> &mut $name {
                transmute_mut!(self)
            }
        }

        const _: () = assert!(size_of::<$name>() == 64 && align_of::<$name>() == 8);
    )* };
}

messages!(Request Completion Packet Deliver Release Transmit Retire Name Receives);

/// A packet that arrived. The server owns it until it releases it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Packet {
    /// [`kind::PACKET`].
    pub kind: u16,
    /// [`packet_flags`].
    pub flags: u16,
    /// Its name: 1 to [`SERVER_PACKETS`](crate::SERVER_PACKETS).
    pub id: u32,
    /// Where in the header region its first bytes are.
    pub header: u32,
    /// How many of them there are: all headers, and perhaps payload.
    pub header_len: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// Ones' complement sum, folded to 16 bits, of the IP payload (from the
    /// end of the IP header to the total length), as two bytes in memory
    /// order; for IPv4 packets that are not `VERIFIED`, and for all fragments.
    pub sum: u32,
    /// Where the bytes behind all headers begin in the frame, and where they
    /// end; 0 for packets that are `WHOLE`.
    pub start: u32,
    /// As `start`.
    pub end: u32,
    /// Receive buffers that it takes beyond the first, fewer than
    /// [`PACKET_BUFFERS`].
    pub following: u32,
    /// With conventional IPC, where in the region of payload the bytes from
    /// `start` on are, but for those that came with the headers; else 0.
    pub place: u32,
    /// 0.
    pub reserved: [u64; 3],
}

/// Most receive buffers of one [`Packet`].
pub const PACKET_BUFFERS: u32 = 64;

/// Further pieces in one [`Deliver`], at most.
pub const DELIVER_MORE: usize = 5;

/// Bytes of packets that go to a `Recv`, behind those that it got before.
/// More follow; the last ones come with the completion.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Deliver {
    /// [`kind::DELIVER`].
    pub kind: u16,
    /// `RELEASE` or 0.
    pub flags: u16,
    /// The packet.
    pub packet: u32,
    /// The `Recv`'s token.
    pub token: u64,
    /// First byte, counted from the start of the frame.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// Bytes of other packets that go behind, up to the first that names none.
    pub more: [Further; DELIVER_MORE],
}

/// What a [`Deliver`] says of a further packet, if the numbers are not larger.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Further {
    /// The packet, or [`NO_PACKET`].
    pub packet: u16,
    /// First byte.
    pub offset: u16,
    /// Bytes.
    pub len: u16,
    /// `RELEASE` or 0.
    pub flags: u16,
}

/// What a [`Deliver`] says of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The packet.
    pub packet: u32,
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// `RELEASE` or 0.
    pub flags: u16,
}

impl Deliver {
    /// What it says of the first packet.
    #[inline]
    #[must_use]
    pub const fn first(&self) -> Delivery {
        Delivery {
            packet: self.packet,
            offset: self.offset,
            len: self.len,
            flags: self.flags,
        }
    }

    /// What it says of each packet, in order.
    #[inline]
    pub fn all(&self) -> impl Iterator<Item = Delivery> {
        let named = self.more.iter();
        let named = named.take_while(|further| u32::from(further.packet) != NO_PACKET);
        let further = named.map(|further| Delivery {
            packet: further.packet.into(),
            offset: further.offset.into(),
            len: further.len.into(),
            flags: further.flags,
        });
        core::iter::once(self.first()).chain(further)
    }
}

/// Most packets in one [`Release`].
pub const RELEASE_MOST: usize = 14;

/// Packets that the server is done with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Release {
    /// [`kind::RELEASE`].
    pub kind: u16,
    /// How many.
    pub count: u16,
    /// Which.
    pub packets: [u32; RELEASE_MOST],
    /// 0.
    pub reserved: u32,
}

/// Bytes of a `Send`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Part {
    /// The `Send`'s token.
    pub token: u64,
    /// First byte, counted from the start of the `Send`'s extent.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

/// Parts in one [`Transmit`].
pub const TRANSMIT_PARTS: usize = 3;

/// Most parts of a frame that segments are to be made of.
pub const SEGMENT_PARTS: usize = 9;

/// A frame to send: header bytes from a send slot, then payload by reference.
/// The slot is the manager's until it comes back through the ring of done
/// slots.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Transmit {
    /// [`kind::TRANSMIT`].
    pub kind: u16,
    /// [`packet_flags`].
    pub flags: u16,
    /// The send slot.
    pub slot: u16,
    /// Header bytes in it, at least an Ethernet header.
    pub header_len: u16,
    /// With `CHECKSUM`: where summing starts, in bytes of the frame.
    pub checksum_start: u16,
    /// With `CHECKSUM`: where the sum goes, in bytes from there; in the header.
    pub checksum_offset: u16,
    /// With `SEGMENT`: most payload bytes of each segment.
    pub segment_bytes: u16,
    /// Parts that follow.
    pub count: u16,
    /// The payload, in order.
    pub parts: [Part; TRANSMIT_PARTS],
}

/// The rest of a `Send` that was completed early ([`HELD`]) is not needed any
/// more.
///
/// [`HELD`]: crate::flags::HELD
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Retire {
    /// [`kind::RETIRE`].
    pub kind: u16,
    /// 0.
    pub reserved: [u16; 3],
    /// The `Send`'s token.
    pub token: u64,
    /// 0.
    pub reserved2: [u64; 6],
}

/// More receives of a socket for datagrams wait with the manager, behind those
/// that do already. The server answers the oldest by naming all of them; how much
/// room it has is the manager's to know: `len` is the datagram's, and what does
/// not fit is cut.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Receives {
    /// [`kind::RECEIVES`].
    pub kind: u16,
    /// 0.
    pub reserved: u16,
    /// The socket.
    pub socket: u32,
    /// What stands for the oldest of them in completions, [`Deliver`] and
    /// `Cancel`, which takes one back; the same for all of a socket's life.
    pub token: u64,
    /// Whose they are.
    pub client: u32,
    /// How many more.
    pub count: u32,
    /// 0.
    pub reserved2: [u64; 5],
}

/// Bytes in one [`Name`].
pub const NAME_BYTES: usize = 56;

/// The next bytes of the name that the next `Resolve` on the ring asks for;
/// all of them come right before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Name {
    /// [`kind::NAME`].
    pub kind: u16,
    /// How many.
    pub len: u16,
    /// 0.
    pub reserved: u32,
    /// Which.
    pub bytes: [u8; NAME_BYTES],
}

/// A send slot that is the server's again. 8 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SlotDone {
    /// Which.
    pub slot: u32,
    /// 0.
    pub reserved: u32,
}
