//! Stands between clients and servers: the program.
//!
//! Finds the parties in the start-up page, lets the [`Manager`] work, and
//! tells it of deaths. It sleeps only when everybody has been asked for a
//! signal and nothing was left to do.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;

use component_runtime::{Component, Link, Protocol, Role, counters, heap, quota};
use io_manager::{Bells, ClientConfig, Manager, Quota, ServerConfig};
use service_api::lifecycle::{self, State};
use shared_ring::SharedMemory;

component_runtime::entry!(main);

/// Turns after which deaths are looked for even when there is no rest: clients
/// that flood the manager must not keep it from burying others.
const BURY_TURNS: u32 = 256;

/// The links to all parties, by number.
struct Parties {
    clients: Vec<Link>,
    servers: Vec<Link>,
    states: Option<SharedMemory>,
    states_badge: u64,
}

impl Bells for Parties {
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

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok((manager, parties)) => serve(component, manager, parties),
        Err(why) => {
            log::error!("cannot start: {why}");
            loop {
                component.wait();
            }
        }
    }
}

fn start(component: &'static Component) -> Result<(Manager, Parties), &'static str> {
    heap::init(component).map_err(|_| "no memory called \"heap\"")?;
    let lifecycle = component.link(Protocol::Lifecycle, Role::Client);
    let parties = Parties {
        clients: by_number(component, Protocol::Sockets, Role::Server),
        servers: by_number(component, Protocol::Server, Role::Client),
        states: lifecycle.and_then(|link| link.control),
        states_badge: lifecycle.map_or(0, |link| link.badge),
    };
    let clients: Option<Vec<_>> = parties.clients.iter().map(client_config).collect();
    let clients = clients.ok_or("a client without rings")?;
    let control = |link: &Link| {
        Some(ServerConfig {
            control: link.control?,
        })
    };
    let servers: Option<Vec<_>> = parties.servers.iter().map(control).collect();
    let servers = servers.ok_or("a server without rings")?;
    let manager = Manager::new(&clients, &servers, counters(component))
        .map_err(|_| "a server's ring header is damaged")?;
    log::info!("{} clients, {} servers", clients.len(), servers.len());
    Ok((manager, parties))
}

/// The links of a kind, in the order of their numbers, which the data regions
/// at the servers have too.
fn by_number(component: &Component, protocol: Protocol, role: Role) -> Vec<Link> {
    let mut links: Vec<Link> = component.links_of(protocol, role).collect();
    links.sort_unstable_by_key(|link| link.index);
    links
}

fn client_config(link: &Link) -> Option<ClientConfig> {
    let small = |which: usize| link.params[which].min(u32::from(u16::MAX) - 1) as u16;
    Some(ClientConfig {
        name: link.peer,
        control: link.control?,
        data_bytes: u32::try_from(link.data_bytes).ok()?,
        quota: Quota {
            sockets: small(quota::SOCKETS),
            requests: small(quota::REQUESTS),
            queued_bytes: link.params[quota::QUEUED_BYTES],
            share: small(quota::SHARE),
        },
    })
}

fn serve(component: &'static Component, mut manager: Manager, mut parties: Parties) -> ! {
    bury(&mut manager, &parties);
    let mut turns = 0u32;
    loop {
        while manager.turn(&mut parties) {
            turns = turns.wrapping_add(1);
            if turns & (BURY_TURNS - 1) == 0 {
                bury(&mut manager, &parties);
            }
        }
        if manager.arm() {
            let badge = component.wait();
            if badge & parties.states_badge != 0 {
                bury(&mut manager, &parties);
            }
        }
    }
}

/// Tells the manager who is dead.
fn bury(manager: &mut Manager, parties: &Parties) {
    let Some(states) = &parties.states else {
        return;
    };
    let dead = |link: &Link| lifecycle::read(states, link.peer_index) == Ok(State::Dead);
    for (index, link) in parties.clients.iter().enumerate() {
        if dead(link) {
            manager.client_died(index);
        }
    }
    for (index, link) in parties.servers.iter().enumerate() {
        if dead(link) {
            manager.server_died(index);
        }
    }
}
