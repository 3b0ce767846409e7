//! Who has what: the sums that must come out right.

use alloc::vec::Vec;

use crate::client::Client;
use crate::packets::Holder;
use crate::server::Server;

/// What there is of a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientBooks {
    /// Requests that it has not been told of.
    pub unanswered: u16,
    /// Slots for requests in use, for whatever reason.
    pub slots: usize,
    /// Bytes in `Send`s that it has not been told of.
    pub queued_bytes: u32,
    /// Sockets in use.
    pub sockets: u16,
}

/// What there is of a NIC's and its server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicBooks {
    /// Buffers that the driver has.
    pub with_driver: u32,
    /// Packets that the server has.
    pub with_server: u32,
    /// Send slots that are not the server's.
    pub slots_away: u32,
    /// Whole slots that are free.
    pub whole_free: u32,
    /// Buffers for flows that are free.
    pub steered_free: u32,
    /// Frames that wait for room in the driver's ring, in entries.
    pub backlog: usize,
}

/// Who has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    /// Of clients that were attached to, in order.
    pub clients: Vec<ClientBooks>,
    /// Of servers, in order.
    pub nics: Vec<NicBooks>,
    /// Frames in the reserve.
    pub reserve: u32,
}

impl Books {
    pub(crate) fn new<'a>(
        clients: impl Iterator<Item = &'a Client>,
        servers: &[Server],
        reserve: u32,
    ) -> Self {
        let client = |c: &Client| ClientBooks {
            unanswered: c.tokens.unanswered(),
            slots: c.tokens.used(),
            queued_bytes: c.queued_bytes,
            sockets: c.sockets.used(),
        };
        let nic = |s: &Server| NicBooks {
            with_driver: s.nic.packets.count(Holder::Driver),
            with_server: s.nic.packets.with_server(),
            slots_away: s.nic.sends.away(),
            whole_free: s.nic.packets.whole_free(),
            steered_free: s.nic.steering.free(),
            backlog: s.nic.backlog.len(),
        };
        Self {
            clients: clients.map(client).collect(),
            nics: servers.iter().map(nic).collect(),
            reserve,
        }
    }
}
