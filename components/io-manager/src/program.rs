//! Stands between clients, servers and drivers: what the program does.
//!
//! Finds the parties and the memory that it holds in the start-up page, gives
//! turns to the [`Manager`] and to its guests, resolves the clients' faults, and
//! tells the manager of deaths. It sleeps only when everybody has been asked for
//! a signal and nothing was left to do.

mod calibrate;
mod sel4;
mod settings;

use alloc::vec::Vec;

use calibrate::calibrate;
use component_runtime::server::{self, Start};
use component_runtime::{
    Component, Event, Fault, Link, Protocol, Role, counters, heap, message, quota,
};
use data_passing::{FrameId, HoldingConfig, Memory, Mutations};
use sel4::{Held, Sel4};
use service_api::lifecycle::{self, State};
use settings::Settings;
use shared_ring::SharedMemory;
use socket_api::MessageSizes;

use crate::hosting::{Domain, Guest, Host, Next, Resident};
use crate::{Bells, ClientConfig, Manager, MessageConfig, NicConfig, Quota, Region, ServerConfig};

/// The links to all parties, by number.
struct Parties {
    clients: Vec<Link>,
    servers: Vec<Link>,
    drivers: Vec<Link>,
    states: Option<SharedMemory>,
    states_badge: u64,
    /// A guest was to be woken, which no signal does.
    rang_here: bool,
}

impl Bells for Parties {
    fn client(&mut self, index: usize) {
        self.rang_here |= signal(&self.clients, index);
    }

    fn server(&mut self, index: usize) {
        self.rang_here |= signal(&self.servers, index);
    }

    fn driver(&mut self, index: usize) {
        self.rang_here |= signal(&self.drivers, index);
    }
}

/// Wakes a party; true if it is a guest.
fn signal(links: &[Link], index: usize) -> bool {
    links.get(index).is_some_and(|link| {
        link.signal();
        link.near
    })
}

/// The manager with what it needs for a turn.
struct Lead {
    manager: Manager<Sel4>,
    parties: Parties,
}

impl Resident for Lead {
    #[inline]
    fn turn(&mut self, _: u64) -> bool {
        self.manager.turn(&mut self.parties)
    }

    #[inline]
    fn arm(&mut self) -> bool {
        self.manager.arm(&mut self.parties)
    }
}

impl Host for Lead {
    #[inline]
    fn hears_guests(&self) -> bool {
        self.manager.hears_near()
    }

    #[inline]
    fn wakes_guests(&mut self) -> bool {
        core::mem::take(&mut self.parties.rang_here)
    }
}

/// A server or driver in this thread.
struct Lodger {
    guest: server::Guest,
    /// Its number among the system's components.
    number: u16,
    hears: u64,
}

impl Resident for Lodger {
    #[inline]
    fn turn(&mut self, signals: u64) -> bool {
        self.guest.turn(signals)
    }

    #[inline]
    fn arm(&mut self) -> bool {
        self.guest.arm()
    }
}

impl Guest for Lodger {
    #[inline]
    fn hears(&self) -> u64 {
        self.hears
    }

    #[inline]
    fn settle(&mut self) {
        self.guest.settle();
    }

    #[inline]
    fn has_ended(&self) -> bool {
        self.guest.has_ended()
    }
}

/// The program of an I/O manager: `guests` makes those that run in its thread,
/// in the order in which the system description has them.
pub fn run(component: &'static Component, guests: &[Start]) -> ! {
    match start(component, guests) {
        Ok((lead, domain)) => serve(component, lead, domain),
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

fn start(
    component: &'static Component,
    guests: &[Start],
) -> Result<(Lead, Domain<Lodger>), &'static str> {
    heap::init(component).map_err(|_| "no memory called \"heap\"")?;
    if component.guests().count() != guests.len() {
        return Err("the program was not made for these guests");
    }
    let lead = lead(component)?;
    let lodger = |(component, start): (&'static Component, &Start)| Lodger {
        hears: component.hears(),
        number: component.index(),
        guest: start(component),
    };
    let guests = component.guests().zip(guests).map(lodger).collect();
    Ok((lead, Domain::new(guests)))
}

fn lead(component: &'static Component) -> Result<Lead, &'static str> {
    let lifecycle = component.link(Protocol::Lifecycle, Role::Client);
    let parties = Parties {
        clients: by_number(component, Protocol::Sockets, Role::Server),
        servers: by_number(component, Protocol::Server, Role::Client),
        drivers: by_number(component, Protocol::Frames, Role::Client),
        states: lifecycle.and_then(|link| link.control),
        states_badge: lifecycle.map_or(0, |link| link.badge),
        rang_here: false,
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
    Ok(Lead { manager, parties })
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
            near: server.near,
            nic: NicConfig {
                control: driver.control?,
                payload: region_of(driver, driver.data?, *payload.get(n)?),
                mtu: driver.params[0],
                near: driver.near,
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

fn serve(component: &'static Component, mut lead: Lead, mut domain: Domain<Lodger>) -> ! {
    bury(&mut lead, &domain);
    loop {
        let event = match domain.step(&mut lead) {
            Next::Work => continue,
            Next::Sleep => Some(component.recv()),
            Next::Look => {
                bury(&mut lead, &domain);
                component.try_recv()
            }
        };
        match event {
            Some(Event::Signals(badge)) => {
                if badge & lead.parties.states_badge != 0 {
                    bury(&mut lead, &domain);
                }
                domain.signalled(badge);
            }
            Some(Event::Fault(fault)) => {
                resolve(component, &mut lead.manager, &fault);
                domain.told();
            }
            // Nobody has a capability to call.
            Some(Event::Call { .. }) => component.reply_with_label(u64::MAX, [0; 4]),
            None => {}
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

/// Tells the manager who is dead, or has given up in this thread.
fn bury(lead: &mut Lead, domain: &Domain<Lodger>) {
    let Lead { manager, parties } = lead;
    let states = parties.states.as_ref();
    let dead = |link: &Link| {
        let is_peer = |guest: &Lodger| guest.number == link.peer_index;
        let mut ended = domain.guests().filter(|guest| guest.has_ended());
        ended.any(is_peer)
            || states.is_some_and(|s| lifecycle::read(s, link.peer_index) == Ok(State::Dead))
    };
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
