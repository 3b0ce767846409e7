//! A load in bursts: so many operations at once, and again when all are done.
//!
//! What the guest's application does in a burst of `count` operations of
//! `bytes` bytes, over UDP (an operation is a datagram) or TCP:
//!
//! | [`Way`] | from here | from there |
//! | --- | --- | --- |
//! | `In` | the operations | the bytes received up to now, 8 bytes |
//! | `Out` | how many operations, 8 bytes | the operations |
//! | `Echo` | the operations | the same bytes |
//!
//! Numbers are little-endian. Each direction is the pattern from its beginning.
//! A flow ends with [`END`] for datagrams and with the end of the stream for TCP.

use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::{Datagrams, Lockstep, Stream, pattern};

/// The datagram that ends a flow.
pub const END: u64 = u64::MAX;

/// Which way payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the guest.
    In,
    /// From the guest.
    Out,
    /// To the guest and back.
    Echo,
}

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP.
    Datagrams,
    /// TCP.
    Stream,
}

#[derive(Debug)]
enum Carrier {
    Datagrams(Datagrams),
    Stream(Stream),
}

/// A load.
#[derive(Debug)]
pub struct Flow {
    carrier: Carrier,
    way: Way,
    count: usize,
    bytes: usize,
    /// Payload bytes of the operations that are done.
    done: u64,
    room: Vec<u8>,
    patience: Duration,
}

impl Flow {
    /// A flow to `to`, from `port` for datagrams; bursts of `count` operations
    /// of `bytes` bytes, each done within `patience`.
    ///
    /// # Errors
    /// As [`Datagrams::open`] and [`Stream::connect`].
    pub fn open(
        peer: &mut Lockstep,
        (kind, way): (Kind, Way),
        (port, to): (u16, SocketAddrV4),
        (count, bytes): (usize, usize),
        patience: Duration,
    ) -> io::Result<Self> {
        let carrier = match kind {
            Kind::Datagrams => Carrier::Datagrams(Datagrams::open(peer, port, to)?),
            Kind::Stream => Carrier::Stream(Stream::connect(peer, to, patience)?),
        };
        Ok(Self {
            carrier,
            way,
            count,
            bytes,
            done: 0,
            room: vec![0; count * bytes],
            patience,
        })
    }

    /// Payload bytes that went each way that they go.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// One burst, there and back.
    ///
    /// # Errors
    /// `InvalidData` if bytes were wrong here or there, `TimedOut` if some did
    /// not come; else as the sockets say.
    pub fn burst(&mut self, peer: &mut Lockstep) -> io::Result<()> {
        match self.way {
            Way::Out => self.send_word(peer, self.count as u64)?,
            Way::In | Way::Echo => self.send_operations(peer)?,
        }
        peer.flush()?;
        let (from, total) = (self.done, self.room.len());
        self.done += total as u64;
        match (self.way, &self.carrier) {
            (Way::In, _) => self.expect_count(peer),
            (_, Carrier::Datagrams(socket)) => {
                socket.expect(peer, from, (self.count, self.bytes), self.patience)
            }
            (_, Carrier::Stream(stream)) => stream.expect(peer, from, total, self.patience),
        }
    }

    fn send_operations(&mut self, peer: &mut Lockstep) -> io::Result<()> {
        pattern::fill(&mut self.room, self.done);
        match &self.carrier {
            Carrier::Stream(stream) => stream.send(peer, &self.room),
            Carrier::Datagrams(socket) => {
                let mut operations = self.room.chunks(self.bytes);
                operations.try_for_each(|datagram| socket.send(peer, datagram))
            }
        }
    }

    fn send_word(&self, peer: &mut Lockstep, word: u64) -> io::Result<()> {
        match &self.carrier {
            Carrier::Datagrams(socket) => socket.send(peer, &word.to_le_bytes()),
            Carrier::Stream(stream) => stream.send(peer, &word.to_le_bytes()),
        }
    }

    /// Has the guest say how much it has received and found right.
    fn expect_count(&self, peer: &mut Lockstep) -> io::Result<()> {
        let mut word = [0; 8];
        match &self.carrier {
            Carrier::Stream(stream) => stream.receive(peer, &mut word, self.patience)?,
            Carrier::Datagrams(socket) => {
                let datagram = socket.receive(peer, self.patience)?;
                let bytes = datagram.try_into();
                word = bytes.map_err(|_| ErrorKind::InvalidData)?;
            }
        }
        let (got, sent) = (u64::from_le_bytes(word), self.done);
        match got == sent {
            true => Ok(()),
            false => Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("the guest has {got} right bytes of {sent}"),
            )),
        }
    }

    /// Ends the flow.
    ///
    /// # Errors
    /// As the sockets say.
    pub fn end(self, peer: &mut Lockstep) -> io::Result<()> {
        match self.carrier {
            Carrier::Stream(stream) => stream.close(peer, self.patience),
            Carrier::Datagrams(socket) => {
                socket.send(peer, &END.to_le_bytes())?;
                peer.flush()?;
                socket.close(peer);
                Ok(())
            }
        }
    }
}
