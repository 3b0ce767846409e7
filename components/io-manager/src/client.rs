//! One client: its rings, what it owns, what it may.

use monitor_api::Counter;
use shared_ring::{AttachError, Consumer, Producer, RingError, SharedMemory};
use socket_api::{CLIENT_RING, COMPLETIONS_OFFSET, Completion, REQUESTS_OFFSET, Request};

use crate::sockets::Sockets;
use crate::tokens::Tokens;

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sockets open, those reserved by outstanding `Accept`s included.
    pub sockets: u16,
    /// Requests outstanding; at most [`CLIENT_REQUESTS`](socket_api::CLIENT_REQUESTS).
    pub requests: u16,
    /// Bytes in outstanding `Send`s.
    pub queued_bytes: u32,
    /// Requests taken in one turn.
    pub share: u16,
}

/// A client as the system description gives it.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its name, for the log and the gauges.
    pub name: &'static str,
    /// The region with its two rings.
    pub control: SharedMemory,
    /// Size of its data region, which is not mapped here.
    pub data_bytes: u32,
    /// What it may use.
    pub quota: Quota,
}

/// Whether a client is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Requests are taken.
    Served,
    /// No longer served. Servers still to be told, and servers that were told
    /// and have not confirmed, as bit masks.
    Dropping { untold: u8, unconfirmed: u8 },
    /// No longer served, and nothing of it is left.
    Gone,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub name: &'static str,
    pub requests: Consumer<Request>,
    pub completions: Producer<Completion>,
    pub data_bytes: u32,
    pub quota: Quota,
    pub queued_bytes: u32,
    pub standing: Standing,
    pub sockets: Sockets,
    pub tokens: Tokens,
    /// No room for completions: wait until it signals again.
    pub stalled: bool,
    /// Sockets in use, outstanding requests.
    pub gauges: (Counter, Counter),
}

impl Client {
    /// Attaches to the rings of client number `index`, whose sockets are
    /// numbered from `base` at the servers.
    pub fn attach(
        config: &ClientConfig,
        index: u16,
        base: u32,
        servers: u16,
        gauges: (Counter, Counter),
    ) -> Result<Self, AttachError> {
        let ring = |offset| config.control.slice(offset, CLIENT_RING.bytes());
        Ok(Self {
            name: config.name,
            requests: Consumer::attach(ring(REQUESTS_OFFSET)?, CLIENT_RING)?,
            completions: Producer::attach(ring(COMPLETIONS_OFFSET)?, CLIENT_RING)?,
            data_bytes: config.data_bytes,
            quota: config.quota,
            queued_bytes: 0,
            standing: Standing::Served,
            sockets: Sockets::new(config.quota.sockets, base),
            tokens: Tokens::new(index, config.quota.requests, servers),
            stalled: false,
            gauges,
        })
    }

    /// Whether one more request could be answered whatever happens: room for
    /// its completion beside those of all that are on their way.
    ///
    /// # Errors
    /// [`RingError`] if the client moved its index to an impossible place.
    #[inline]
    pub fn can_answer_one_more(&mut self) -> Result<bool, RingError> {
        self.completions.has_room(u32::from(self.tokens.used()) + 1)
    }

    /// Puts a completion into the client's ring; false if there is no room.
    #[inline]
    pub fn answer(&mut self, completion: &Completion, quiet: bool) -> bool {
        if quiet {
            self.completions.push_quietly(completion).is_ok()
        } else {
            self.completions.push(completion).is_ok()
        }
    }

    /// Shows the gauges.
    pub fn publish_gauges(&self) {
        self.gauges.0.set(u64::from(self.sockets.used()));
        self.gauges.1.set(u64::from(self.tokens.used()));
    }
}
