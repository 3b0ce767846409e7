//! What the server needs from its surroundings.
//!
//! Problem: the same server runs before a manager on the real system, and in
//! host tests against another stack. Invariant: nothing that comes through
//! this trait is trusted: what an entry says is checked again, and a fault is
//! counted and survived. Payload does not come through it at all.

use core::fmt;

use shared_ring::RingError;
use socket_api::{Message, Part, TRANSMIT_PARTS, Transmit, kind, packet_flags};

/// Asks the manager to complete a checksum (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where summing starts, in bytes from the start of the frame.
    pub start: u16,
    /// Where the sum goes, in bytes from `start`.
    pub offset: u16,
}

/// A frame to send: its headers, and where its payload is.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// From the Ethernet header on; all of the frame if it has no parts.
    pub header: &'a [u8],
    /// The payload, in order.
    pub parts: &'a [Part],
    /// A checksum that is the manager's to complete.
    pub checksum: Option<PartialChecksum>,
    /// Segments of so many payload bytes are to be made of it.
    pub segment: Option<u16>,
    /// With that the server is done with the `Send` of the last part, all of
    /// whose bytes it has sent. Of a frame that takes one entry.
    pub done: bool,
    /// Frames that the manager makes of it; 0 if it is one, or the device makes
    /// the segments.
    pub frames: u32,
}

impl Outgoing<'_> {
    /// A frame that is all header.
    #[must_use]
    pub const fn whole(header: &[u8]) -> Outgoing<'_> {
        Outgoing {
            header,
            parts: &[],
            checksum: None,
            segment: None,
            done: false,
            frames: 0,
        }
    }

    /// Entries that it takes on the ring.
    #[must_use]
    pub const fn entries(&self) -> usize {
        let entries = self.parts.len().div_ceil(TRANSMIT_PARTS);
        if entries == 0 { 1 } else { entries }
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.len as usize).sum();
        self.header.len() + parts
    }

    /// Whether there is no byte of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry with the parts from `first` on, its headers in `slot`.
    #[must_use]
    pub fn entry(&self, slot: u16, first: usize) -> Transmit {
        let rest = self.parts.get(first..).unwrap_or(&[]);
        let count = rest.len().min(TRANSMIT_PARTS);
        let mut transmit = Transmit {
            kind: kind::TRANSMIT,
            slot,
            header_len: self.header.len() as u16,
            count: count as u16,
            ..Transmit::default()
        };
        for (part, from) in transmit.parts.iter_mut().zip(rest) {
            *part = *from;
        }
        if rest.len() > count {
            transmit.flags |= packet_flags::MORE;
        }
        if first != 0 {
            // What is asked of the whole frame is in its first entry.
            return transmit;
        }
        if let Some(checksum) = self.checksum {
            transmit.flags |= packet_flags::CHECKSUM;
            transmit.checksum_start = checksum.start;
            transmit.checksum_offset = checksum.offset;
        }
        if self.done {
            transmit.flags |= packet_flags::DONE;
        }
        if let Some(bytes) = self.segment {
            transmit.flags |= packet_flags::SEGMENT;
            transmit.segment_bytes = bytes;
        }
        transmit
    }
}

/// What the I/O manager did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagerFault {
    /// It moved a ring index to an impossible place.
    Ring(RingError),
    /// It gave back a send slot that it did not have.
    NotItsSlot(u32),
    /// It named a packet that cannot be, or that we have already.
    Packet(u32),
    /// It told of receives of a socket that cannot have them.
    Receives(u32),
    /// The packet's first bytes do not lie in the header region, or its
    /// lengths contradict each other.
    Header(u32),
}

impl fmt::Display for ManagerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the I/O manager ")?;
        match self {
            Self::Ring(e) => write!(f, "broke a ring: {e}"),
            Self::NotItsSlot(slot) => write!(f, "gave back send slot {slot}, not having it"),
            Self::Packet(id) => write!(f, "handed over packet {id}, which it did not have"),
            Self::Receives(socket) => write!(f, "has no receives of socket {socket}"),
            Self::Header(id) => write!(f, "stated impossible lengths for packet {id}"),
        }
    }
}

impl core::error::Error for ManagerFault {}

/// The I/O manager, and with it the NIC and the clients.
pub trait Environment {
    /// Takes what the manager says next into `message`; false if it says
    /// nothing.
    ///
    /// # Errors
    /// [`ManagerFault`]; after [`ManagerFault::Ring`] there is nothing more.
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault>;
    /// Copies first bytes of a packet from the header region; false if they
    /// do not lie in it.
    fn read_header(&self, at: u32, into: &mut [u8]) -> bool;
    /// As `read_header`, a number of bytes that the compiler knows.
    fn header<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut header = [0; N];
        self.read_header(at, &mut header).then_some(header)
    }

    /// Whether `frames` frames can be sent now.
    fn has_room(&mut self, frames: usize) -> bool;
    /// How many frames the manager may make now of one segment; 0 if it can
    /// make none.
    fn segment_room(&mut self) -> u32;
    /// Sends a frame; false if there was no room, or the header is longer
    /// than a slot.
    fn transmit(&mut self, frame: &Outgoing<'_>) -> bool;

    /// Tells the manager something; false if it left no room.
    fn tell(&mut self, message: &Message) -> bool;
    /// As `tell`, when nobody needs to be woken for it.
    fn tell_quietly(&mut self, message: &Message) -> bool {
        self.tell(message)
    }
    /// Gives a packet back.
    fn release(&mut self, packet: u32);
}
