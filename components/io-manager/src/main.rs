//! The I/O manager as a component.
//!
//! Takes turns until nobody has anything left, then sleeps. A signal of the
//! root task means that a component's state changed: dead clients and servers
//! are given up before the next turn.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use component_runtime::{Component, Link, Protocol, Role, heap, quota};
use io_manager::{Bells, ClientConfig, Manager, Quota, ServerConfig};
use service_api::lifecycle::{self, State};
use shared_ring::{AttachError, SharedMemory};

component_runtime::entry!(main);

/// Why the manager cannot run.
#[derive(Debug)]
enum Failure {
    /// system.toml did not give it this.
    Lacks(&'static str),
    /// A server's rings are not usable.
    Server(AttachError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "system.toml gives the manager no {what}"),
            Self::Server(e) => write!(f, "the server's rings: {e}"),
        }
    }
}

/// The links, by number of the party.
struct Links {
    clients: Vec<Link>,
    servers: Vec<Link>,
}

impl Bells for Links {
    fn client(&mut self, index: usize) {
        if let Some(link) = self.clients.get(index) {
            link.signal();
        }
    }

    fn server(&mut self, index: usize) {
        if let Some(link) = self.servers.get(index) {
            link.signal();
        }
    }
}

fn quota_of(link: &Link) -> Quota {
    let param = |what: usize| link.params[what];
    let small = |what: usize| u16::try_from(param(what)).unwrap_or(u16::MAX);
    Quota {
        sockets: small(quota::SOCKETS),
        requests: small(quota::REQUESTS),
        queued_bytes: param(quota::QUEUED_BYTES),
        share: small(quota::SHARE),
    }
}

fn client_of(link: &Link) -> Result<ClientConfig, Failure> {
    Ok(ClientConfig {
        name: link.peer,
        control: link.control.ok_or(Failure::Lacks("request rings"))?,
        data_bytes: u32::try_from(link.data_bytes).unwrap_or(u32::MAX),
        quota: quota_of(link),
    })
}

fn server_of(link: &Link) -> Result<ServerConfig, Failure> {
    let control = link.control.ok_or(Failure::Lacks("server rings"))?;
    Ok(ServerConfig { control })
}

fn start(component: &Component) -> Result<(Manager, Links), Failure> {
    heap::init(component).map_err(|_| Failure::Lacks("heap"))?;
    let links = |protocol, role| {
        let mut links: Vec<Link> = component.links_of(protocol, role).collect();
        links.sort_by_key(|link| link.index);
        links
    };
    let links = Links {
        clients: links(Protocol::Sockets, Role::Server),
        servers: links(Protocol::Server, Role::Client),
    };
    let clients: Vec<_> = links
        .clients
        .iter()
        .map(client_of)
        .collect::<Result<_, _>>()?;
    let servers: Vec<_> = links
        .servers
        .iter()
        .map(server_of)
        .collect::<Result<_, _>>()?;
    if servers.is_empty() {
        return Err(Failure::Lacks("server"));
    }
    let page = component_runtime::counters(component);
    let manager = Manager::new(&clients, &servers, page).map_err(Failure::Server)?;
    Ok((manager, links))
}

/// Gives up all clients and servers that are dead.
fn bury(manager: &mut Manager, links: &Links, states: &SharedMemory) {
    let dead = |link: &Link| lifecycle::read(states, link.peer_index) == Ok(State::Dead);
    for index in (0..links.clients.len()).filter(|i| dead(&links.clients[*i])) {
        manager.client_died(index);
    }
    for index in (0..links.servers.len()).filter(|i| dead(&links.servers[*i])) {
        manager.server_died(index);
    }
}

fn run(component: &Component, mut manager: Manager, mut links: Links) -> ! {
    let watch = component.link(Protocol::Lifecycle, Role::Client);
    let (badge, states) = watch.map_or((0, None), |link| (link.badge, link.control));
    let mut bits = badge;
    loop {
        if bits & badge != 0
            && let Some(states) = &states
        {
            bury(&mut manager, &links, states);
        }
        while manager.turn(&mut links) {}
        bits = if manager.arm() { component.wait() } else { 0 };
    }
}

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok((manager, links)) => run(component, manager, links),
        Err(failure) => log::error!("{failure}"),
    }
    loop {
        component.wait();
    }
}
