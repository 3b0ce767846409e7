//! Conventional IPC: the channel to the I/O manager with payload by value.
//!
//! Problem: what passing by reference gains can only be said against a server
//! that passes by value, as user-level servers on earlier microkernels do, and
//! is the same otherwise. Invariant: the server above is the very same; it
//! names bytes by packets and tokens that are ours, which stand for socket
//! buffers here. Each byte received is copied out of the frame into a socket
//! buffer and from there into a message, each byte sent out of a message into a
//! socket buffer and from there into a frame, each time that it is sent; so,
//! with the manager's copies between clients and messages, three times each
//! way. Nothing of a client's memory is named to anybody.
//!
//! A `Send` is answered when all of its bytes are in a socket buffer and queued,
//! as by conventional sockets, and not when they are acknowledged.

mod pool;
mod received;
mod sends;

use shared_ring::{OutOfRange, SharedMemory};
use socket_api::{
    Completion, Deliver, Inbox, MESSAGE, MESSAGE_BYTES, Message, MessageEnd, MessageSizes,
    NO_PACKET, Op, Outbox, Packet, Request, Retire, Status, attach_messages, flags, kind,
    packet_flags,
};

use crate::channel::Channel;
use crate::environment::{Environment, ManagerFault, Outgoing};
use received::{Bytes, Came, Received};
use sends::Sends;

const SEND: u16 = Op::Send as u16;
const RECV: u16 = Op::Recv as u16;
const CANCEL: u16 = Op::Cancel as u16;
const DROP_CLIENT: u16 = Op::DropClient as u16;

/// What was copied, in bytes of payload, and what found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Out of received frames into socket buffers.
    pub frame_to_socket: u64,
    /// Out of socket buffers into messages.
    pub socket_to_message: u64,
    /// Out of messages into socket buffers.
    pub message_to_socket: u64,
    /// Out of socket buffers into frames to be sent.
    pub socket_to_frame: u64,
    /// Packets dropped because there was no socket buffer.
    pub dropped: u64,
    /// Requests refused because there was none, or no such message.
    pub refused: u64,
}

impl Copied {
    /// The names of the numbers, in the order of [`Copied::values`].
    pub const NAMES: [&'static str; 6] = [
        "copied_frame_to_socket",
        "copied_socket_to_message",
        "copied_message_to_socket",
        "copied_socket_to_frame",
        "drop_socket_buffer",
        "refused_socket_buffer",
    ];

    /// The numbers.
    #[must_use]
    pub const fn values(&self) -> [u64; 6] {
        [
            self.frame_to_socket,
            self.socket_to_message,
            self.message_to_socket,
            self.socket_to_frame,
            self.dropped,
            self.refused,
        ]
    }
}

/// A message of which more will follow.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The `Recv` that it is for.
    token: u64,
    position: u32,
    len: u32,
}

/// The channel. See the module's documentation.
pub struct Conventional {
    channel: Channel,
    region: SharedMemory,
    outbox: Outbox,
    inbox: Inbox,
    received: Received,
    sends: Sends,
    open: Option<Open>,
    /// The client that is being forgotten, and the request to do so.
    dropping: Option<(u64, u32)>,
    copied: Copied,
}

impl Conventional {
    /// Over `channel`, with messages in `region`, and the payload of received
    /// frames of `mtu` bytes to be read in `payload`. All socket buffers are
    /// taken here: [`MessageSizes::socket_bytes`].
    ///
    /// # Errors
    /// [`OutOfRange`] if a region is too small, or the sizes are not legal.
    pub fn new(
        channel: Channel,
        (region, sizes): (SharedMemory, MessageSizes),
        payload: SharedMemory,
        mtu: usize,
    ) -> Result<Self, OutOfRange> {
        let (outbox, inbox) = attach_messages(&region, sizes, MessageEnd::Server)?;
        Ok(Self {
            region,
            outbox,
            inbox,
            received: Received::new(channel.headers(), payload, mtu),
            sends: Sends::new(sizes),
            open: None,
            dropping: None,
            copied: Copied::default(),
            channel,
        })
    }

    /// The rings below.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Blocks of socket buffers for sending that are free.
    #[must_use]
    pub const fn socket_room(&self) -> u32 {
        self.sends.room()
    }

    /// What was copied so far.
    #[must_use]
    pub const fn copied(&self) -> &Copied {
        &self.copied
    }

    /// Takes the payload of a packet; false if it is dropped.
    #[inline]
    fn packet_in(&mut self, packet: &mut Packet) -> Result<bool, ManagerFault> {
        let (id, whole) = (packet.id, packet.flags & packet_flags::WHOLE != 0);
        match self.received.take(packet)? {
            Came::Taken(bytes) => {
                self.copied.frame_to_socket += u64::from(bytes);
                if !whole {
                    // The manager sees that when the round is over, in which
                    // the server reads the headers.
                    self.channel.release(id);
                }
                Ok(true)
            }
            Came::NoRoom => {
                self.copied.dropped += 1;
                self.channel.release(id);
                Ok(false)
            }
        }
    }

    /// Takes the message of a `Send`; false if the request was refused.
    #[inline]
    fn send_in(&mut self, request: &mut Request) -> bool {
        let (position, len) = (request.extent.address, request.extent.len);
        let taken = self.sends.take(request, &self.region, &self.inbox);
        if len != 0 {
            self.inbox.taken(position, len);
        }
        if taken {
            self.copied.message_to_socket += u64::from(len);
        } else {
            self.copied.refused += 1;
            let refused = request.complete(Status::NoResources);
            self.channel.tell(&refused.into());
        }
        taken
    }

    /// What is to be changed in a request or packet for the server; false if
    /// it does not get it at all.
    #[inline]
    fn translate_in(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        match message.kind() {
            kind::PACKET => return self.packet_in(message.as_mut()),
            SEND => return Ok(self.send_in(message.as_mut())),
            RECV => {
                let request: &mut Request = message.as_mut();
                request.extent.len = request.extent.len.min(MESSAGE_BYTES);
            }
            CANCEL => {
                let request: &mut Request = message.as_mut();
                request.arg = self.sends.ours(request.arg).unwrap_or(request.arg);
            }
            DROP_CLIENT => {
                let request: &mut Request = message.as_mut();
                self.dropping = Some((request.user_data, request.client));
            }
            _ => {}
        }
        Ok(true)
    }

    /// Adds bytes of a packet to the message for a `Recv`, or to one with `room`
    /// if there is none yet; false if there are no such bytes, or no room.
    #[inline]
    fn append(&mut self, token: u64, packet: u32, (offset, len): (u32, u32), room: u32) -> bool {
        let begun = match self.open {
            Some(open) if open.token == token => Some(open),
            _ => self.outbox.reserve(room).map(|position| Open {
                token,
                position,
                len: 0,
            }),
        };
        let Some(mut open) = begun else {
            return false;
        };
        let Some(bytes) = self.received.bytes(packet, offset, len) else {
            return false;
        };
        let at = self.outbox.at(open.position) + open.len as usize;
        let written = match bytes {
            _ if len > MESSAGE_BYTES - open.len => return false,
            Bytes::Own(bytes) => self.region.write(at, bytes),
            Bytes::Kept(from) => {
                let headers = self.channel.headers();
                headers.copy_to(from, &self.region, at, len as usize)
            }
        };
        open.len += len;
        self.open = Some(open);
        self.copied.socket_to_message += u64::from(len);
        written.is_ok()
    }

    /// Bytes for a `Recv` that more will follow.
    #[inline]
    fn deliver(&mut self, entry: &Deliver) -> bool {
        let mut appended = true;
        for piece in entry.all() {
            let bytes = (piece.offset, piece.len);
            appended &= self.append(entry.token, piece.packet, bytes, MESSAGE_BYTES);
            if piece.flags & packet_flags::RELEASE != 0 {
                self.release(piece.packet);
            }
        }
        appended
    }

    /// Has all bytes of a `Recv` in the message that its completion names;
    /// false if there is no room for it.
    #[inline]
    fn received(&mut self, completion: &mut Completion) -> bool {
        let (token, packet) = (completion.user_data, completion.packet);
        if packet == NO_PACKET {
            return true;
        }
        let before = self.open.filter(|open| open.token == token);
        let rest = completion
            .len
            .saturating_sub(before.map_or(0, |open| open.len));
        let appended = self.append(token, packet, (completion.offset, rest), rest);
        if completion.flags & flags::RELEASE != 0 {
            self.release(packet);
        }
        completion.flags &= !flags::RELEASE;
        let Some(open) = self.open.take().filter(|_| appended) else {
            return false;
        };
        (completion.packet, completion.offset) = (NO_PACKET, 0);
        if open.len != 0 {
            self.outbox.commit(open.position, open.len);
            (completion.packet, completion.offset) = (MESSAGE, open.position);
        }
        true
    }

    /// Writes a frame, its payload included; false if there was no room.
    #[inline]
    fn write(&mut self, frame: &Outgoing<'_>) -> bool {
        let (sends, copied) = (&mut self.sends, &mut self.copied.socket_to_frame);
        self.channel.transmit_by_value(frame, |slots, mut at| {
            let mut written = true;
            for part in frame.parts {
                written &= sends.pieces(part, |bytes| {
                    written &= slots.write(at, bytes).is_ok();
                    at += bytes.len();
                });
                *copied += u64::from(part.len);
            }
            written
        })
    }

    /// Tells the manager of a `Send` that the server is done with; no frame does
    /// that here.
    #[inline]
    fn sent(&mut self, token: u64) -> bool {
        match self.sends.sent(token) {
            Some(completion) => self.channel.tell_quietly(&completion.into()),
            None => false,
        }
    }

    /// Says something to the manager in its words.
    #[inline]
    fn say(&mut self, message: &Message, quietly: bool) -> bool {
        let mut message = *message;
        let told = match message.kind() {
            kind::DELIVER => return self.deliver(message.as_ref()),
            kind::RETIRE => {
                let retire: &Retire = message.as_ref();
                self.sends.retire(retire.token);
                return true;
            }
            SEND => self.sends.answer(message.as_mut()),
            RECV => self.received(message.as_mut()),
            DROP_CLIENT => {
                let completion: &Completion = message.as_ref();
                let dropping = self.dropping.take_if(|d| d.0 == completion.user_data);
                if let Some((_, client)) = dropping {
                    self.sends.drop_client(client);
                }
                true
            }
            _ => true,
        };
        told && match quietly {
            true => self.channel.tell_quietly(&message),
            false => self.channel.tell(&message),
        }
    }
}

impl Environment for Conventional {
    #[inline]
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        while self.channel.next(message)? {
            if self.translate_in(message)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline]
    fn read_header(&self, at: u32, into: &mut [u8]) -> bool {
        self.channel.read_header(at, into)
    }

    #[inline]
    fn header<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.channel.header(at)
    }

    #[inline]
    fn has_room(&mut self, frames: usize) -> bool {
        self.channel.has_room(frames)
    }

    /// Frames are made one by one: payload is copied into each.
    #[inline(never)]
    fn segment_room(&mut self) -> u32 {
        self.channel.has_room(1).into()
    }

    #[inline(never)]
    fn transmit(&mut self, frame: &Outgoing<'_>) -> bool {
        let done = frame.parts.last().filter(|_| frame.done);
        self.write(frame) && done.is_none_or(|part| self.sent(part.token))
    }

    #[inline(never)]
    fn tell(&mut self, message: &Message) -> bool {
        self.say(message, false)
    }

    #[inline(never)]
    fn tell_quietly(&mut self, message: &Message) -> bool {
        self.say(message, true)
    }

    #[inline(never)]
    fn release(&mut self, packet: u32) {
        if let Some(kept) = self.received.release(packet) {
            self.channel.release(kept);
        }
    }
}
