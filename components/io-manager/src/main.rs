//! Stands between clients, servers and drivers: the program.
//!
//! Finds the parties and the memory that it holds in the start-up page, lets
//! the [`Manager`] work, resolves the clients' faults, and tells the manager of
//! deaths. It sleeps only when everybody has been asked for a signal and
//! nothing was left to do.
#![no_std]
#![no_main]

extern crate alloc;

mod calibrate;
mod sel4;
mod settings;

use alloc::vec::Vec;

use calibrate::calibrate;
use component_runtime::{
    Component, Event, Fault, Link, Protocol, Role, counters, heap, message, quota,
};
use data_passing::{FrameId, HoldingConfig, Memory, Mutations};
use io_manager::{
    Bells, ClientConfig, Manager, MessageConfig, NicConfig, Quota, Region, ServerConfig,
};
use sel4::{Held, Sel4};
use service_api::lifecycle::{self, State};
use settings::Settings;
use shared_ring::SharedMemory;
use socket_api::MessageSizes;

component_runtime::entry!(main);

/// Turns after which deaths and faults are looked for even when there is no
/// rest: clients that flood the manager must not keep it from burying others,
/// nor others' threads standing still.
const LOOK_TURNS: u32 = 64;

/// The links to all parties, by number.
struct Parties {
    clients: Vec<Link>,
    servers: Vec<Link>,
    drivers: Vec<Link>,
    states: Option<SharedMemory>,
    states_badge: u64,
}

impl Bells for Parties {
    fn client(&mut self, index: usize) {
        signal(&self.clients, index);
    }

    fn server(&mut self, index: usize) {
        signal(&self.servers, index);
    }

    fn driver(&mut self, index: usize) {
        signal(&self.drivers, index);
    }
}

fn signal(links: &[Link], index: usize) {
    if let Some(link) = links.get(index) {
        link.signal();
    }
}

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok((manager, parties)) => serve(component, manager, parties),
        Err(why) => {
            log::error!("cannot start: {why}");
            loop {
                // Whoever faults now has nobody to resolve it.
                if let Event::Fault(fault) = component.recv() {
                    component.forward_fault(&fault);
                }
            }
        }
    }
}

fn start(component: &'static Component) -> Result<(Manager<Sel4>, Parties), &'static str> {
    heap::init(component).map_err(|_| "no memory called \"heap\"")?;
    let lifecycle = component.link(Protocol::Lifecycle, Role::Client);
    let parties = Parties {
        clients: by_number(component, Protocol::Sockets, Role::Server),
        servers: by_number(component, Protocol::Server, Role::Client),
        drivers: by_number(component, Protocol::Frames, Role::Client),
        states: lifecycle.and_then(|link| link.control),
        states_badge: lifecycle.map_or(0, |link| link.badge),
    };
    let mut held = Held::by(component).map_err(|_| "the kernel refuses to show its memory")?;
    let servers = server_configs(component, &parties, &mut held.machine, &held.payload);
    let servers = servers.ok_or("a server or driver without rings or memory")?;
    let clients = client_configs(&parties.clients, &held.clients);
    let clients = clients.ok_or("a client without rings")?;
    let settings = Settings::of(component);
    let (memory, pattern) = memory(held, &settings)?;
    log::info!(
        "{} clients, {} servers, {} KiB in reserve; costs: {}",
        clients.len(),
        servers.len(),
        memory.reserve() * 4,
        memory.costs()
    );
    let mut manager = Manager::new(memory, &clients, &servers, counters(component))
        .map_err(|_| "a ring header of a server or driver is damaged")?;
    if settings.null_frames != 0 {
        log::warn!("null sockets: clients can have work done for nothing, and see old contents");
        manager.allow_null(pattern, settings.null_frames);
    }
    Ok((manager, parties))
}

/// The reserve and the costs; also the first of the frames that were kept for
/// null sockets.
fn memory(held: Held, settings: &Settings) -> Result<(Memory<Sel4>, FrameId), &'static str> {
    let Held {
        mut machine,
        clients,
        reserve: (first, count),
        ..
    } = held;
    machine.burden(settings.burden);
    let kept = settings.null_frames;
    let rest = count.checked_sub(kept).filter(|rest| *rest >= 2);
    let rest = rest.ok_or("\"null-frames\" takes all of \"frames\"")?;
    let costs = match settings.calibrated {
        true => calibrate(&mut machine, settings.costs, first, &clients),
        false => settings.costs,
    };
    let mut memory = Memory::new(machine, costs);
    memory.mutate(Mutations {
        no_protection: cfg!(feature = "mutation-no-protection"),
        ..Mutations::default()
    });
    memory.add_reserve(first, rest);
    Ok((memory, FrameId(first.0 + rest)))
}

/// The links of a kind, in the order of their numbers.
fn by_number(component: &Component, protocol: Protocol, role: Role) -> Vec<Link> {
    let mut links: Vec<Link> = component.links_of(protocol, role).collect();
    links.sort_unstable_by_key(|link| link.index);
    links
}

fn server_configs(
    component: &Component,
    parties: &Parties,
    machine: &mut Sel4,
    payload: &[FrameId],
) -> Option<Vec<ServerConfig>> {
    let headers = by_number(component, Protocol::Headers, Role::Client);
    let messages = by_number(component, Protocol::Messages, Role::Client);
    let servers = parties.servers.iter().enumerate();
    let mut region = |link: &Link| {
        let memory = link.data?;
        let first = machine.add_region(memory, link.data_paddr)?;
        Some(region_of(link, memory, first))
    };
    let config = |(n, server): (usize, &Link)| {
        let driver = parties.drivers.get(n)?;
        Some(ServerConfig {
            control: server.control?,
            headers: region(headers.get(n)?)?,
            send_slots: region(server)?,
            messages: match messages.get(n) {
                Some(link) => Some(MessageConfig {
                    region: region(link)?,
                    sizes: sizes_of(link),
                }),
                None => None,
            },
            nic: NicConfig {
                control: driver.control?,
                payload: region_of(driver, driver.data?, *payload.get(n)?),
                mtu: driver.params[0],
            },
        })
    };
    servers.map(config).collect()
}

/// How the messages on a link are divided.
fn sizes_of(link: &Link) -> MessageSizes {
    MessageSizes {
        to_server: link.params[message::TO_SERVER],
        from_server: link.params[message::FROM_SERVER],
        requests: link.params[message::REQUESTS],
    }
}

fn region_of(link: &Link, memory: SharedMemory, first: FrameId) -> Region {
    Region {
        memory,
        paddr: link.data_paddr,
        first,
    }
}

fn client_configs(links: &[Link], holdings: &[Vec<HoldingConfig>]) -> Option<Vec<ClientConfig>> {
    let config = |(n, link): (usize, &Link)| {
        let small = |which: usize| link.params[which].min(u32::from(u16::MAX) - 1) as u16;
        Some(ClientConfig {
            name: link.peer,
            control: link.control?,
            threads: link.params[quota::THREADS],
            holdings: holdings.get(n).cloned().unwrap_or_default(),
            quota: Quota {
                sockets: small(quota::SOCKETS),
                requests: small(quota::REQUESTS),
                queued_bytes: link.params[quota::QUEUED_BYTES],
                share: small(quota::SHARE),
                receive_frames: link.params[quota::RECEIVE_FRAMES],
            },
        })
    };
    links.iter().enumerate().map(config).collect()
}

fn serve(component: &'static Component, mut manager: Manager<Sel4>, mut parties: Parties) -> ! {
    bury(&mut manager, &parties);
    let mut turns = 0u32;
    loop {
        turns = turns.wrapping_add(1);
        let busy = manager.turn(&mut parties) || !manager.arm(&mut parties);
        let event = match busy {
            false => Some(component.recv()),
            true if turns & (LOOK_TURNS - 1) == 0 => {
                bury(&mut manager, &parties);
                component.try_recv()
            }
            true => None,
        };
        match event {
            Some(Event::Signals(badge)) if badge & parties.states_badge != 0 => {
                bury(&mut manager, &parties);
            }
            Some(Event::Fault(fault)) => resolve(component, &mut manager, &fault),
            // Nobody has a capability to call.
            Some(Event::Call { .. }) => component.reply_with_label(u64::MAX, [0; 4]),
            Some(Event::Signals(_)) | None => {}
        }
    }
}

/// Lets a client that faulted go on, or tells the root task.
fn resolve(component: &Component, manager: &mut Manager<Sel4>, fault: &Fault) {
    let resolved = fault.access().map(|access| {
        let client = usize::from(fault.client);
        manager.fault(client, access.address as u32, access.write)
    });
    match resolved {
        None | Some(data_passing::Fault::NotOurs) => component.forward_fault(fault),
        Some(_) => component.resume(),
    }
}

/// Tells the manager who is dead.
fn bury(manager: &mut Manager<Sel4>, parties: &Parties) {
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
    for (index, link) in parties.drivers.iter().enumerate() {
        if dead(link) {
            manager.driver_died(index);
        }
    }
}
