//! The parties, and one turn of work between them.
//!
//! Invariant: a turn takes a bounded number of messages from everybody, in
//! rotation, so nobody waits for another's flood; what a party that broke the
//! protocol or died has left is given back before its numbers are used again.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use monitor_api::{Counter, CounterPage};
use shared_ring::{AttachError, SharedMemory};
use socket_api::{CLIENT_REQUESTS, Op, Request, SERVER_REQUESTS};

use crate::answer::refuse;
use crate::client::{Client, ClientConfig, Standing};
use crate::counters::Counters;
use crate::server::Server;

/// Most servers: one bit each in [`Standing::Dropping`].
const MOST_SERVERS: usize = 8;

/// A server as the system description gives it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The region with its two rings.
    pub control: SharedMemory,
}

/// How the manager wakes the others.
pub trait Bells {
    /// Wakes client number `index`.
    fn client(&mut self, index: usize);
    /// Wakes server number `index`.
    fn server(&mut self, index: usize);
}

/// The I/O manager. See the crate's documentation.
#[derive(Debug)]
pub struct Manager {
    /// By number; `None` if its ring headers were damaged.
    pub(crate) clients: Vec<Option<Client>>,
    pub(crate) servers: Box<[Server]>,
    pub(crate) counters: Counters,
    /// Who is served first in the next turn.
    first: usize,
}

impl Manager {
    /// A manager between `clients` and `servers` (at most 8). Quotas that
    /// together exceed what a server's ring holds are cut down evenly. A
    /// client that damaged its ring headers is cut off from the start.
    ///
    /// # Errors
    /// [`AttachError`] if a server's ring header is damaged.
    pub fn new(
        clients: &[ClientConfig],
        servers: &[ServerConfig],
        page: Option<CounterPage>,
    ) -> Result<Self, AttachError> {
        if servers.len() > MOST_SERVERS {
            return Err(AttachError::BadLayout);
        }
        let counters = Counters::new(page);
        let mut this = Self {
            clients: Vec::with_capacity(clients.len()),
            servers: servers
                .iter()
                .map(|s| Server::attach(s.control))
                .collect::<Result<_, _>>()?,
            counters,
            first: 0,
        };
        let most = most_requests(clients, servers.len());
        let mut base = 0;
        for (index, config) in clients.iter().enumerate() {
            let mut config = config.clone();
            config.quota.requests = config.quota.requests.min(most);
            config.quota.share = config.quota.share.max(1);
            let gauge = |what: &str| {
                let name = format!("{what}.{}", config.name);
                page.map_or_else(Counter::detached, |p| p.gauge(&name))
            };
            let gauges = (gauge("sockets"), gauge("outstanding"));
            let servers = servers.len() as u16;
            let client = Client::attach(&config, index as u16, base, servers, gauges);
            base += u32::from(config.quota.sockets);
            if let Err(error) = &client {
                log::warn!("client {} is cut off: {error}", config.name);
                counters.cut_off.add(1);
            }
            this.clients.push(client.ok());
        }
        Ok(this)
    }

    /// One turn: completions first, since they free what requests need; then
    /// each client's share of requests; then everybody concerned is woken.
    /// True if there may be more to do at once.
    pub fn turn(&mut self, bells: &mut impl Bells) -> bool {
        let mut more = false;
        for server in 0..self.servers.len() {
            more |= self.collect(server);
        }
        let count = self.clients.len();
        for index in (self.first..count).chain(0..self.first) {
            more |= self.serve(index);
            self.tell_dropped(index);
        }
        self.first += 1;
        if self.first >= count {
            self.first = 0;
        }
        self.publish(bells);
        more
    }

    /// Asks everybody for a signal; true if there is nothing to do until one
    /// comes. Counts a wake-up, since the caller sleeps next.
    pub fn arm(&mut self) -> bool {
        let mut idle = true;
        // Servers complete quietly what clients do not wait for.
        let asked = |c: &Client| c.completions.is_asked_for_anything();
        let anything = self.clients.iter().flatten().any(asked);
        for server in self.servers.iter_mut().filter(|s| s.alive) {
            idle &= match anything {
                true => server.completions.arm_for_anything(),
                false => server.completions.arm(),
            }
            .unwrap_or(false);
        }
        for client in self.clients.iter_mut().flatten() {
            client.publish_gauges();
            if client.standing != Standing::Served {
                continue;
            }
            // A client without room is looked at when it signals again.
            idle &= client.requests.arm().unwrap_or(false) || client.stalled;
        }
        if idle {
            self.counters.wakeups.add(1);
        }
        idle
    }

    /// Client number `index` is dead: gives back all it had.
    pub fn client_died(&mut self, index: usize) {
        if let Some(client) = self.client(index)
            && client.standing == Standing::Served
        {
            log::info!("client {} died", client.name);
            self.counters.clients_dead.add(1);
            self.drop_client(index);
        }
    }

    /// Server number `index` is dead: all that waits for it is answered.
    pub fn server_died(&mut self, index: usize) {
        if self.servers.get(index).is_some_and(|s| s.alive) {
            log::warn!("server {index} died");
            self.server_gone(index);
        }
    }

    /// Sockets in use and outstanding requests of client number `index`.
    #[must_use]
    pub fn in_use(&self, index: usize) -> (u16, u16) {
        let client = self.client(index);
        client.map_or((0, 0), |c| (c.sockets.used(), c.tokens.used()))
    }

    /// Whether client number `index` is served.
    #[must_use]
    pub fn is_served(&self, index: usize) -> bool {
        let client = self.client(index);
        client.is_some_and(|c| c.standing == Standing::Served)
    }

    fn client(&self, index: usize) -> Option<&Client> {
        self.clients.get(index)?.as_ref()
    }

    /// The numbers kept.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Serves a client no longer because it broke the protocol.
    pub(crate) fn cut_off(&mut self, index: usize, why: &str) {
        if let Some(client) = self.client(index) {
            log::warn!("client {} is cut off: {why}", client.name);
            self.counters.cut_off.add(1);
            self.drop_client(index);
        }
    }

    /// Has every living server forget the client.
    pub(crate) fn drop_client(&mut self, index: usize) {
        let mut untold = 0;
        for (n, server) in self.servers.iter().enumerate() {
            untold |= u8::from(server.alive) << n;
        }
        if let Some(client) = client_at(&mut self.clients, index) {
            client.standing = Standing::Dropping {
                untold,
                unconfirmed: 0,
            };
        }
        self.tell_dropped(index);
    }

    /// Sends the `DropClient`s that are still to be sent.
    fn tell_dropped(&mut self, index: usize) {
        let Some(client) = client_at(&mut self.clients, index) else {
            return;
        };
        let Standing::Dropping {
            mut untold,
            mut unconfirmed,
        } = client.standing
        else {
            return;
        };
        for (n, server) in self.servers.iter_mut().enumerate() {
            if untold & 1 << n == 0 || !matches!(server.requests.room(), Ok(1..)) {
                continue;
            }
            if let Some(token) = client.tokens.insert_drop(n as u8) {
                let mut request = Request::new(Op::DropClient, 0, token);
                request.client = index as u32;
                server.overrun |= server.requests.push(&request).is_err();
                untold &= !(1 << n);
                unconfirmed |= 1 << n;
            }
        }
        client.standing = Standing::Dropping {
            untold,
            unconfirmed,
        };
        finish_drop(client);
    }

    /// Server `server` has forgotten client `index`.
    pub(crate) fn dropped(&mut self, index: usize, server: usize) {
        let Some(client) = client_at(&mut self.clients, index) else {
            return;
        };
        if let Standing::Dropping { unconfirmed, .. } = &mut client.standing {
            *unconfirmed &= !(1 << server);
        }
        let of_server = |r: &crate::tokens::Outstanding| usize::from(r.server) == server;
        while client.tokens.take_matching(of_server).is_some() {}
        finish_drop(client);
    }

    /// Answers everything that waits for server `index`, and asks it nothing
    /// any more.
    pub(crate) fn server_gone(&mut self, index: usize) {
        if let Some(server) = self.servers.get_mut(index) {
            server.alive = false;
        }
        self.counters.servers_gone.add(1);
        for client in self.clients.iter_mut().flatten() {
            if let Standing::Dropping {
                untold,
                unconfirmed,
            } = &mut client.standing
            {
                *untold &= !(1 << index);
                *unconfirmed &= !(1 << index);
            }
            let of_server = |r: &crate::tokens::Outstanding| usize::from(r.server) == index;
            while let Some(request) = client.tokens.take_matching(of_server) {
                self.counters.completions.add(1);
                refuse(client, &request);
            }
            finish_drop(client);
        }
    }

    /// Shows everybody what was written for them, and wakes who asked.
    fn publish(&mut self, bells: &mut impl Bells) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            if server.alive && server.requests.publish() {
                self.counters.signals_server.add(1);
                bells.server(index);
            }
        }
        for (index, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client else {
                continue;
            };
            if client.standing == Standing::Served && client.completions.publish() {
                self.counters.signals_client.add(1);
                bells.client(index);
            }
        }
    }
}

/// The client number `index`, if it was ever attached to.
#[inline]
pub(crate) fn client_at(clients: &mut [Option<Client>], index: usize) -> Option<&mut Client> {
    clients.get_mut(index)?.as_mut()
}

/// Frees what a dropped client had, once no server knows of it any more.
fn finish_drop(client: &mut Client) {
    let done = Standing::Dropping {
        untold: 0,
        unconfirmed: 0,
    };
    if client.standing == done {
        client.standing = Standing::Gone;
        client.sockets.release_all();
        client.queued_bytes = 0;
        client.publish_gauges();
    }
}

/// Requests that each client may have outstanding so that a server's ring
/// holds them all, and a `DropClient` for each.
fn most_requests(clients: &[ClientConfig], servers: usize) -> u16 {
    let asked: u32 = clients.iter().map(|c| u32::from(c.quota.requests)).sum();
    let count = clients.len() as u32;
    let most = if asked + count > SERVER_REQUESTS && servers != 0 {
        (SERVER_REQUESTS / count).saturating_sub(1)
    } else {
        CLIENT_REQUESTS
    };
    most.min(CLIENT_REQUESTS) as u16
}
