//! The parties, and one turn of work between them.
//!
//! Invariant: a turn takes a bounded number of messages from everybody, in
//! rotation, so nobody waits for another's flood; and it shows everybody what
//! was written for them once, at its end.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use data_passing::{Fault, FrameId, Machine, Memory};
use monitor_api::{Counter, CounterPage};
use shared_ring::AttachError;
use socket_api::{CLIENT_REQUESTS, SERVER_REQUESTS};

use crate::answer::Taken;
use crate::books::Books;
use crate::client::{Client, Standing, client_at};
use crate::config::{ClientConfig, ServerConfig};
use crate::counters::{AccountCounters, Counters};
use crate::null::Pattern;
use crate::progress::Core;
use crate::receive::take_received;
use crate::server::Server;

/// Most servers: one bit each in [`Standing::Dropping`].
const MOST_SERVERS: usize = 8;

/// How the manager wakes the others.
pub trait Bells {
    /// Wakes client number `index`.
    fn client(&mut self, index: usize);
    /// Wakes server number `index`.
    fn server(&mut self, index: usize);
    /// Wakes the driver of the NIC of server number `index`.
    fn driver(&mut self, index: usize);
}

/// The I/O manager. See the crate's documentation.
#[derive(Debug)]
pub struct Manager<M> {
    core: Core<M>,
    servers: Box<[Server]>,
    accounts: AccountCounters,
    /// Who is served first in the next turn.
    first: usize,
}

impl<M: Machine> Manager<M> {
    /// A manager between `clients` and `servers` (at most 8), with a `memory`
    /// that has its reserve but no clients yet. Quotas that together exceed
    /// what a server's ring holds are cut down evenly. A client that damaged
    /// its ring headers is cut off from the start.
    ///
    /// # Errors
    /// [`AttachError`] if a ring header of a server or driver is damaged, or a
    /// region is too small.
    pub fn new(
        memory: Memory<M>,
        clients: &[ClientConfig],
        servers: &[ServerConfig],
        page: Option<CounterPage>,
    ) -> Result<Self, AttachError> {
        if servers.len() > MOST_SERVERS {
            return Err(AttachError::BadLayout);
        }
        let attached = servers.iter().enumerate();
        let attached = attached.map(|(n, s)| Server::attach(n as u8, s));
        let counters = Counters::new(page);
        let mut this = Self {
            accounts: counters.of_accounts(),
            core: Core {
                memory,
                clients: Vec::with_capacity(clients.len()),
                counters,
                alive: ((1u16 << servers.len()) - 1) as u8,
                pattern: Pattern::NONE,
                untold: Vec::new(),
            },
            servers: attached.collect::<Result<_, _>>()?,
            first: 0,
        };
        let most = most_requests(clients, servers.len());
        let mut base = 0;
        for config in clients {
            this.add_client(config, most, base, page)?;
            base += u32::from(config.quota.sockets);
        }
        Ok(this)
    }

    fn add_client(
        &mut self,
        config: &ClientConfig,
        most: u16,
        base: u32,
        page: Option<CounterPage>,
    ) -> Result<(), AttachError> {
        let mut config = config.clone();
        config.quota.requests = config.quota.requests.min(most);
        config.quota.share = config.quota.share.max(1);
        let gauge = |what: &str| {
            let name = format!("{what}.{}", config.name);
            page.map_or_else(Counter::detached, |p| p.gauge(&name))
        };
        let gauges = (gauge("sockets"), gauge("outstanding"));
        let number = self.core.memory.add_client(config.threads);
        if usize::from(number) != self.core.clients.len() {
            return Err(AttachError::BadLayout);
        }
        for holding in &config.holdings {
            self.core.memory.add_holding(number, *holding);
        }
        let servers = self.servers.len() as u16;
        let client = Client::attach(&config, number, base, servers, gauges);
        if let Err(error) = &client {
            log::warn!("client {} is cut off: {error}", config.name);
            self.core.counters.cut_off.add(1);
        }
        self.core.untold.reserve(config.quota.sockets.into());
        self.core.clients.push(client.ok());
        Ok(())
    }

    /// Lets clients open null sockets ([`socket_api::null`]), which receive at
    /// most what `count` frames from `first` on hold; those are nobody else's.
    /// For measurements: a client can then have the manager work for nothing,
    /// and see what was in frames of the reserve.
    pub fn allow_null(&mut self, first: FrameId, count: u32) {
        self.core.allow_null(first, count);
    }

    /// One turn: first what devices and servers have done, since that frees
    /// what requests need; then each client's share of requests; then everybody
    /// concerned is woken. True if there may be more to do at once.
    pub fn turn(&mut self, bells: &mut impl Bells) -> bool {
        let mut more = false;
        for index in 0..self.servers.len() {
            more |= self.take_from_driver(index, bells);
            more |= self.take_from_server(index);
        }
        let count = self.core.clients.len();
        let mut index = self.first;
        for _ in 0..count {
            more |= self.core.serve(&mut self.servers, index);
            index = following(index, count);
        }
        self.first = following(self.first, count);
        self.publish(bells);
        more
    }

    /// Takes what a NIC's driver has done.
    fn take_from_driver(&mut self, index: usize, bells: &mut impl Bells) -> bool {
        let Some(server) = self.servers.get_mut(index).filter(|s| s.nic.alive) else {
            return false;
        };
        if server.nic.info.is_none() {
            if !server.nic.look() {
                return false;
            }
            if let Some(info) = server.nic.info
                && info.publish(&server.control).is_ok()
            {
                let signals = u64::from(!server.near);
                self.core.counters.signals_server.add(signals);
                bells.server(index);
            }
        }
        let sent = match server.nic.done.looks_empty() {
            true => Ok(false),
            false => self.core.take_sent(server),
        };
        let received = match server.nic.filled.looks_empty() {
            true => Ok(false),
            false => {
                self.core.announce(server);
                take_received(&mut self.core, server)
            }
        };
        match (sent, received, server.nic.flush()) {
            (Ok(a), Ok(b), true) if !server.nic.is_hopeless() => a | b,
            (Err(error), ..) | (_, Err(error), _) => {
                log::warn!("the driver of NIC {index} is given up: {error}");
                self.core.driver_gone(server);
                true
            }
            _ => {
                log::warn!("the driver of NIC {index} is given up: it broke the protocol");
                self.core.driver_gone(server);
                true
            }
        }
    }

    /// Takes what a server has to say.
    fn take_from_server(&mut self, index: usize) -> bool {
        let Some(server) = self.servers.get_mut(index).filter(|s| s.alive) else {
            return false;
        };
        if server.from.looks_empty() && !server.overrun {
            return false;
        }
        match self.core.collect(server) {
            Taken::All => false,
            Taken::More => true,
            Taken::Broken(why) => {
                match why {
                    Some(error) => log::warn!("server {index} is given up: {error}"),
                    None if server.overrun => {
                        log::warn!("server {index} is given up: it takes no requests");
                    }
                    None => log::warn!("server {index} is given up: it broke the protocol"),
                }
                self.core.server_gone(server);
                true
            }
        }
    }

    /// Whether a server or driver in this thread has said something.
    #[must_use]
    pub fn hears_near(&self) -> bool {
        self.servers.iter().any(Server::hears_near)
    }

    /// Asks everybody for a signal; true if there is nothing to do until one
    /// comes. Counts a wake-up, since the caller sleeps next.
    pub fn arm(&mut self, bells: &mut impl Bells) -> bool {
        self.show();
        let (mut idle, mut anything, mut stalled) = (true, false, false);
        for client in self.core.clients.iter_mut().flatten() {
            // Servers complete quietly what clients do not wait for.
            anything |= client.completions.is_asked_for_anything();
            stalled |= client.stalled;
            if client.standing == Standing::Served {
                // It may wait for frames of which nobody else is told.
                stalled |= client.sockets.waits_for_device();
                // A client without room is looked at when it signals again.
                idle &= client.requests.arm().unwrap_or(false) || client.stalled;
            }
        }
        for (index, server) in self.servers.iter_mut().enumerate() {
            if server.alive {
                idle &= match anything {
                    true => server.from.arm_for_anything(),
                    false => server.from.arm(),
                }
                .unwrap_or(false);
            }
            let wanted = anything || stalled || server.slots_done.is_asked_for_anything();
            if server.nic.arm(wanted, &mut idle) {
                let signals = u64::from(!server.nic.near);
                self.core.counters.signals_driver.add(signals);
                bells.driver(index);
            }
        }
        if idle {
            self.core.counters.wakeups.add(1);
        }
        idle
    }

    /// Shows the numbers that are not kept where others see them, of clients for
    /// whom something was done.
    fn show(&mut self) {
        for (index, client) in self.core.clients.iter_mut().enumerate() {
            if let Some(client) = client
                && client.news
            {
                let booked = self.core.memory.account_with_news(index as u16);
                client.show_news(&self.accounts, booked);
            }
        }
        let counters = &self.core.counters;
        counters.reserve.set(u64::from(self.core.memory.reserve()));
        let held = self.servers.iter().map(|s| s.nic.packets.with_server());
        counters.packets_held.set(u64::from(held.sum::<u32>()));
    }

    /// A thread of client number `client` has faulted at an address: whether
    /// it may go on.
    pub fn fault(&mut self, client: usize, address: u32, write: bool) -> Fault {
        let served = client_at(&mut self.core.clients, client)
            .is_some_and(|c| c.standing == Standing::Served);
        let fault = match served {
            true => self.core.memory.fault(client as u16, address, write),
            false => Fault::NotOurs,
        };
        match fault {
            Fault::Resolved => {}
            Fault::Busy => self.core.counters.faults_busy.add(1),
            Fault::NotOurs => self.core.counters.faults_forwarded.add(1),
        }
        fault
    }

    /// Client number `index` is dead: gives back all it had.
    pub fn client_died(&mut self, index: usize) {
        if let Some(client) = client_at(&mut self.core.clients, index)
            && client.standing == Standing::Served
        {
            log::info!("client {} died", client.name);
            self.core.counters.clients_dead.add(1);
            self.core.drop_client(index);
        }
    }

    /// Server number `index` is dead: all that waits for it is answered.
    pub fn server_died(&mut self, index: usize) {
        if let Some(server) = self.servers.get_mut(index).filter(|s| s.alive) {
            log::warn!("server {index} died");
            self.core.server_gone(server);
        }
    }

    /// The driver of the NIC of server number `index` is dead.
    pub fn driver_died(&mut self, index: usize) {
        if let Some(server) = self.servers.get_mut(index).filter(|s| s.nic.alive) {
            log::warn!("the driver of NIC {index} died");
            self.core.driver_gone(server);
        }
    }

    /// Sockets in use and unanswered requests of client number `index`.
    #[must_use]
    pub fn in_use(&self, index: usize) -> (u16, u16) {
        let client = self.client(index);
        client.map_or((0, 0), |c| (c.sockets.used(), c.tokens.unanswered()))
    }

    /// Whether client number `index` is served.
    #[must_use]
    pub fn is_served(&self, index: usize) -> bool {
        let client = self.client(index);
        client.is_some_and(|c| c.standing == Standing::Served)
    }

    /// Who has what, for tests and the curious; looks at everything.
    #[must_use]
    pub fn books(&self) -> Books {
        let clients = self.core.clients.iter().flatten();
        Books::new(clients, &self.servers, self.core.memory.reserve())
    }

    fn client(&self, index: usize) -> Option<&Client> {
        self.core.clients.get(index)?.as_ref()
    }

    /// The numbers kept.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The memory that is passed.
    pub fn memory(&mut self) -> &mut Memory<M> {
        &mut self.core.memory
    }

    /// Shows everybody what was written for them, and wakes who asked.
    fn publish(&mut self, bells: &mut impl Bells) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            self.core.announce(server);
            let counters = &self.core.counters;
            if server.alive && (server.to.publish() | server.slots_done.publish()) {
                counters.signals_server.add(u64::from(!server.near));
                bells.server(index);
            }
            if server.nic.alive && (server.nic.ready.publish() | server.nic.free.publish()) {
                counters.signals_driver.add(u64::from(!server.nic.near));
                bells.driver(index);
            }
        }
        for (index, client) in self.core.clients.iter_mut().enumerate() {
            let Some(client) = client else {
                continue;
            };
            if client.standing == Standing::Served && client.completions.publish() {
                client.traffic.signals += 1;
                bells.client(index);
            }
        }
    }
}

/// The number behind one, of `count` that are served in turn.
fn following(index: usize, count: usize) -> usize {
    match index + 1 {
        next if next < count => next,
        _ => 0,
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
