//! From the model to what the root task carries out.
//!
//! Problem: slots, addresses, badges and regions must be given out so that
//! nothing overlaps and both ends of a link agree. Invariant: in each
//! component slots and addresses are unique; a badge bit is shared only by
//! links whose receiver looks at all of them anyway (clients of the I/O
//! manager, logs at the console), and only when there are more than bits.

mod builder;
mod holding;
mod links;
mod space;

use std::fmt;

use system_description::{
    Component, Lifecycle, Record, RootMonitor, SystemDescription, Thread, ThreadRecord, map,
    startup,
};

use crate::model::{self, Model};
use builder::{Bits, Builder};

/// The name under which the root task logs.
pub(crate) const ROOT_NAME: &str = "root";
/// The root task as the other end of a link.
pub(crate) const ROOT: builder::Peer<'static> = (ROOT_NAME, system_description::NO_COMPONENT);

/// Why a model cannot be laid out. The index says for which component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// More links and interrupts than notification bits.
    Bits(usize, u32),
    /// Regions and devices exceed the address space.
    Space(usize),
    /// Start-up records exceed their page(s).
    Records(usize),
    /// More capabilities than a CSpace can have.
    Slots(usize, u32),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(_, n) => write!(f, "{n} links and interrupts need a badge bit each"),
            Self::Space(_) => f.write_str("regions and devices exceed the address space"),
            Self::Records(_) => f.write_str("start-up records exceed their space"),
            Self::Slots(_, n) => write!(f, "{n} capabilities are needed"),
        }
    }
}

impl std::error::Error for LayoutError {}

/// Lays the system out; image numbers are the programs' indices.
pub(crate) fn lay_out(
    model: &Model,
) -> Result<SystemDescription<String, Vec<u8>>, Vec<LayoutError>> {
    // A first pass counts who is signalled by how many, so that the second
    // can tell whether badge bits must be shared.
    let mut counting = Builder::new(model, None);
    links::build(&mut counting);
    let bits = counting.bits();
    let mut errors: Vec<LayoutError> = over_full(&bits);
    let mut builder = Builder::new(model, Some(bits));
    let (lifecycle, root_monitor) = links::build(&mut builder);
    errors.extend(builder.too_large().map(LayoutError::Space));
    errors.extend(too_much_heap(model).map(LayoutError::Space));
    let slots = builder
        .too_many()
        .map(|(index, n)| LayoutError::Slots(index, n));
    errors.extend(slots);
    let description = finish(model, builder, lifecycle, root_monitor);
    errors.extend(too_long(&description));
    if errors.is_empty() {
        Ok(description)
    } else {
        Err(errors)
    }
}

fn over_full(bits: &[Bits]) -> Vec<LayoutError> {
    let over = |(index, bits): (usize, &Bits)| {
        let need = bits.own + u32::from(bits.shared > 0);
        (need > map::NOTIFICATION_BITS).then_some(LayoutError::Bits(index, need))
    };
    bits.iter().enumerate().filter_map(over).collect()
}

/// Components whose heap, with those of their guests, does not fit the range
/// for it.
fn too_much_heap(model: &Model) -> impl Iterator<Item = usize> + '_ {
    let most = map::REGIONS - map::HEAP;
    (0..model.components.len()).filter(move |index| model.heap_bytes(*index) > most)
}

fn too_long(description: &SystemDescription<String, Vec<u8>>) -> impl Iterator<Item = LayoutError> {
    let mut page = vec![0; map::STARTUP_MAX as usize];
    description
        .components
        .iter()
        .enumerate()
        .filter(|(_, component)| component.host.is_none())
        .filter_map(move |(index, component)| {
            // The root task adds a record with the configuration space for
            // each device, and some for each client.
            let index16 = Some(index as u16);
            let clients = description.components.iter();
            let clients = clients.filter(|c| c.keeper.map(|k| k.manager) == index16);
            let parts: usize = clients.map(parts).sum();
            let guests = description.guests(index);
            let all = guests.map(|guest| &description.components[guest]);
            let all: Vec<_> = all.chain([component]).collect();
            let devices: usize = all.iter().map(|c| c.devices.len()).sum();
            let room = page.len() - 512 * devices - 32 * parts;
            let records = all.iter().flat_map(|c| c.records.iter().cloned());
            let written = startup::write(records, &mut page[..room]);
            written.is_err().then_some(LayoutError::Records(index))
        })
}

/// Records that an I/O manager gets for a client: its address space, up to
/// eight segments of its program, its stacks and regions.
fn parts(client: &Component<String, Vec<u8>>) -> usize {
    9 + client.threads.len() + client.mappings.len()
}

fn finish(
    model: &Model,
    builder: Builder<'_>,
    lifecycle: Lifecycle,
    root_monitor: Option<RootMonitor>,
) -> SystemDescription<String, Vec<u8>> {
    let (drafts, regions) = builder.into_parts();
    let components = model
        .components
        .iter()
        .zip(drafts)
        .enumerate()
        .map(|(index, (component, draft))| {
            let threads = match component.host {
                None => threads(component),
                Some(_) => Vec::new(),
            };
            let mut records = vec![Record::Component {
                name: component.name.clone(),
                system: model.name.clone(),
                index: index as u16,
            }];
            records.extend(threads.iter().enumerate().map(thread_record));
            records.extend(draft.memory);
            records.extend(draft.links.into_iter().map(Record::Link));
            records.extend(config(model, index));
            Component {
                name: component.name.clone(),
                image: component.program as u16,
                host: component.host.map(|host| host as u16),
                cnode_bits: draft.slots.cnode_bits(),
                endpoint: draft.callers > 0,
                threads,
                mappings: draft.mappings,
                caps: draft.caps,
                devices: draft.devices,
                keeper: draft.keeper,
                keeps: draft.keeps,
                records,
            }
        })
        .collect();
    SystemDescription {
        name: model.name.clone(),
        components,
        regions,
        lifecycle: Some(lifecycle),
        root_monitor,
    }
}

fn threads(component: &model::Component) -> Vec<Thread<String>> {
    let thread = |(n, thread): (usize, &model::Thread)| {
        let base = map::THREADS + n as u64 * map::THREAD_STRIDE;
        Thread {
            name: thread.name.clone(),
            priority: thread.priority,
            // Guard page, IPC buffer, guard page, stack; the last page of the
            // stride stays unmapped too.
            ipc_buffer: base + map::PAGE,
            stack: base + 3 * map::PAGE,
            stack_bytes: thread.stack_bytes,
        }
    };
    component.threads.iter().enumerate().map(thread).collect()
}

fn thread_record((n, thread): (usize, &Thread<String>)) -> Record<String, Vec<u8>> {
    Record::Thread(ThreadRecord {
        name: thread.name.clone(),
        index: n as u8,
        ipc_buffer: thread.ipc_buffer,
        stack: thread.stack,
        stack_bytes: thread.stack_bytes,
    })
}

/// The component's own configuration, and what the tool adds.
fn config(model: &Model, index: usize) -> Vec<Record<String, Vec<u8>>> {
    let component = &model.components[index];
    let mut list = vec![("log.level".to_owned(), component.log.clone())];
    if let Some(network) = &component.network {
        list.extend(network_config(network, model.sockets_behind(index)));
    }
    list.extend(component.config.iter().cloned());
    let record = |(key, value)| Record::Config { key, value };
    list.into_iter().map(record).collect()
}

/// A protocol server's network in the words of its own configuration.
fn network_config(network: &model::Network, sockets: u32) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut add = |key: &str, value: String| list.push((key.to_owned(), value));
    match network.address {
        None => add("dhcp", true.to_string()),
        Some((address, prefix)) => add("ip", format!("{address}/{prefix}")),
    }
    if let Some(gateway) = network.gateway {
        add("gateway", gateway.to_string());
    }
    if !network.dns.is_empty() {
        let texts: Vec<String> = network.dns.iter().map(ToString::to_string).collect();
        add("dns", texts.join(","));
    }
    if let Some(mac) = network.mac {
        add("mac", show_mac(mac));
    }
    add("tcp-receive-window", network.window_bytes.to_string());
    add("tcp-send-buffer", network.window_bytes.to_string());
    add("max-connections", network.connections.to_string());
    add("max-udp-sockets", network.udp_sockets.to_string());
    // One number more for each socket: the manager names a connection before
    // it is accepted.
    add("max-sockets", (2 * sockets).clamp(1024, 16384).to_string());
    list
}

/// A MAC address as people write it.
pub fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
