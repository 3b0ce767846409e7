//! How the server is connected to its I/O manager.
//!
//! Invariant: which of the two it is, is said once, when the server starts; all
//! else is the same for both. By reference costs a comparison more for each call
//! than if there were nothing else.

use socket_api::Message;

use crate::channel::Channel;
use crate::conventional::{Conventional, Copied};
use crate::environment::{Environment, ManagerFault, Outgoing};

/// The channel to the I/O manager, with payload by reference or by value.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, and it is looked into for every entry"
)]
pub enum Connection {
    /// By reference.
    Reference(Channel),
    /// By value (`ipc = "conventional"`).
    Value(Conventional),
}

macro_rules! either {
    ($self:ident, $inner:ident => $do:expr) => {
        match $self {
            Connection::Reference($inner) => $do,
            Connection::Value($inner) => $do,
        }
    };
}

impl Connection {
    fn channel(&mut self) -> &mut Channel {
        match self {
            Self::Reference(channel) => channel,
            Self::Value(conventional) => conventional.channel(),
        }
    }

    /// As [`Channel::publish`].
    #[must_use = "the manager sleeps until it is signalled"]
    pub fn publish(&mut self) -> bool {
        self.channel().publish()
    }

    /// As [`Channel::arm`].
    ///
    /// # Errors
    /// As there.
    pub fn arm(&mut self, blocked: bool, hungry: bool) -> Result<bool, ManagerFault> {
        self.channel().arm(blocked, hungry)
    }

    /// As [`Channel::disarm`].
    pub fn disarm(&mut self) {
        self.channel().disarm();
    }

    /// Blocks of socket buffers for sending that are free, if payload is passed
    /// by value.
    #[must_use]
    pub const fn socket_room(&self) -> u32 {
        match self {
            Self::Reference(_) => 0,
            Self::Value(conventional) => conventional.socket_room(),
        }
    }

    /// What was copied so far, if payload is passed by value.
    #[must_use]
    pub const fn copied(&self) -> Option<&Copied> {
        match self {
            Self::Reference(_) => None,
            Self::Value(conventional) => Some(conventional.copied()),
        }
    }
}

impl Environment for Connection {
    #[inline(always)]
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        either!(self, inner => inner.next(message))
    }

    #[inline(always)]
    fn read_header(&self, at: u32, into: &mut [u8]) -> bool {
        either!(self, inner => inner.read_header(at, into))
    }

    #[inline(always)]
    fn header<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        either!(self, inner => inner.header(at))
    }

    #[inline(always)]
    fn has_room(&mut self, frames: usize) -> bool {
        either!(self, inner => inner.has_room(frames))
    }

    #[inline(always)]
    fn segment_room(&mut self) -> u32 {
        either!(self, inner => inner.segment_room())
    }

    #[inline(always)]
    fn transmit(&mut self, frame: &Outgoing<'_>) -> bool {
        either!(self, inner => inner.transmit(frame))
    }

    #[inline(always)]
    fn tell(&mut self, message: &Message) -> bool {
        either!(self, inner => inner.tell(message))
    }

    #[inline(always)]
    fn tell_quietly(&mut self, message: &Message) -> bool {
        either!(self, inner => inner.tell_quietly(message))
    }

    #[inline(always)]
    fn release(&mut self, packet: u32) {
        either!(self, inner => inner.release(packet));
    }
}
