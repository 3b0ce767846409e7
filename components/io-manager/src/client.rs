//! One client: its rings, what it owns, what it may.

use monitor_api::Counter;
use shared_ring::{AttachError, Consumer, Producer, RingError};
use socket_api::{Account, CLIENT_RING, COMPLETIONS_OFFSET, Completion, REQUESTS_OFFSET, Request};

use crate::config::{ClientConfig, Quota};
use crate::counters::{AccountCounters, Traffic, add_booked, add_traffic};
use crate::sockets::Sockets;
use crate::tokens::Tokens;

/// Whether a client is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Requests are taken.
    Served,
    /// No longer served. Servers still to be told, and servers that were told
    /// and have not confirmed, as bit masks.
    Dropping { untold: u8, unconfirmed: u8 },
    /// No longer served, and no server has anything of it.
    Gone,
}

/// The client number `index`, if it was ever attached to, for whom something is
/// done: that is news.
#[inline]
pub(crate) fn client_at(clients: &mut [Option<Client>], index: usize) -> Option<&mut Client> {
    let client = clients.get_mut(index)?.as_mut()?;
    client.news = true;
    Some(client)
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub name: &'static str,
    pub number: u16,
    pub requests: Consumer<Request>,
    pub completions: Producer<Completion>,
    pub quota: Quota,
    pub queued_bytes: u32,
    pub standing: Standing,
    pub sockets: Sockets,
    pub tokens: Tokens,
    pub traffic: Traffic,
    /// No room for completions: wait until it signals again.
    pub stalled: bool,
    /// Its numbers may have changed since they were shown.
    pub news: bool,
    /// Its account and traffic as they were shown.
    shown: (Account, Traffic),
    /// Sockets in use, outstanding requests.
    gauges: (Counter, Counter),
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
            number: index,
            requests: Consumer::attach(ring(REQUESTS_OFFSET)?, CLIENT_RING)?,
            completions: Producer::attach(ring(COMPLETIONS_OFFSET)?, CLIENT_RING)?,
            quota: config.quota,
            queued_bytes: 0,
            standing: Standing::Served,
            sockets: Sockets::new(config.quota.sockets, base),
            tokens: Tokens::new(index, config.quota.requests, config.quota.sockets, servers),
            traffic: Traffic::default(),
            stalled: false,
            news: true,
            shown: Default::default(),
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
        self.completions
            .has_room(u32::from(self.tokens.unanswered()) + 1)
    }

    /// Tells the client, if it is served; false if there is no room, which
    /// there was when the request was taken.
    #[inline]
    pub fn tell(&mut self, completion: &Completion, quiet: bool) -> bool {
        if self.standing != Standing::Served {
            return true;
        }
        self.traffic.completions += 1;
        if quiet {
            self.completions.push_quietly(completion).is_ok()
        } else {
            self.completions.push(completion).is_ok()
        }
    }

    /// The server has done with the request in a slot.
    #[inline]
    pub fn end_at_server(&mut self, index: u16) {
        if let Some(request) = self.tokens.get(index)
            && !core::mem::replace(&mut request.ended, true)
        {
            let socket = request.socket;
            self.sockets.end(socket);
        }
    }

    /// Notes that the client is told later than the server would have it.
    pub fn delay(&mut self, index: u16) {
        if let Some(request) = self.tokens.get(index)
            && !core::mem::replace(&mut request.delayed, true)
        {
            let (socket, stuck) = (request.socket, request.is_stuck());
            self.sockets.hold_up(socket, stuck);
        }
    }

    /// Shows its gauges, and adds what is new of its traffic, and of its account
    /// if that was `booked` on, to those of all.
    #[inline]
    pub fn show_news(&mut self, counters: &AccountCounters, booked: Option<&Account>) {
        self.news = false;
        add_traffic(counters, &self.traffic, &mut self.shown.1);
        if let Some(account) = booked {
            add_booked(counters, account, &mut self.shown.0);
        }
        self.gauges.0.set(u64::from(self.sockets.used()));
        self.gauges.1.set(u64::from(self.tokens.unanswered()));
    }
}
