//! Which links there are: the tool's own, and those that the file asks for.

use socket_api::MessageSizes;
use system_description::{
    Keeper, Lifecycle, PAYLOAD, PageSize, Protocol, Region, RingFormat, Role as Side, RootMonitor,
    map, message, quota,
};

use super::builder::{Builder, End, Hears, Sees, Wire};
use super::{ROOT, ROOT_NAME};
use crate::model::{Channel, Client};
use crate::role::Role;

/// Makes all devices, memory and links, in the same order every time.
pub(crate) fn build(builder: &mut Builder<'_>) -> (Lifecycle, Option<RootMonitor>) {
    let model = builder.model;
    for (index, component) in model.components.iter().enumerate() {
        for device in &component.devices {
            builder.device(index, *device);
        }
        if component
            .devices
            .iter()
            .any(|d| model.devices[*d].has_dma())
        {
            builder.dma(index);
        }
        let heap = model.heap_bytes(index);
        if heap > 0 && component.host.is_none() {
            builder.private(index, "heap", heap, Some(map::HEAP));
        }
        if let Some(client) = &component.client {
            builder.private(index, "sockets", socket_memory(client), None);
        }
        if component.reserve_bytes > 0 {
            builder.reserve(index, component.reserve_bytes);
        }
    }
    let root_monitor = monitors(builder);
    clocks(builder);
    entropy(builder);
    networks(builder);
    clients(builder);
    for channel in &model.channels {
        custom(builder, channel);
    }
    let lifecycle = lifecycle(builder);
    model
        .with_role(Role::IoManager)
        .for_each(|manager| builder.set_aside(manager));
    (lifecycle, root_monitor)
}

/// Bytes of the client library's book-keeping: what it asks for at least, and
/// a record for each 2 KiB of its data region.
fn socket_memory(client: &Client) -> u64 {
    let per_socket = 512 * u64::from(client.sockets);
    let per_request = 256 * u64::from(client.requests);
    let per_unit = 16 * (client.data_bytes / 2048);
    (16 * 1024 + per_socket + per_request + per_unit).next_multiple_of(map::PAGE)
}

fn ring(offset: usize, layout: shared_ring::RingLayout) -> RingFormat {
    RingFormat {
        offset: offset as u64,
        entry_bytes: layout.entry_bytes,
        capacity: layout.capacity,
        features: layout.features,
    }
}

fn end(component: usize, name: impl Into<String>, control: Sees, hears: Hears) -> End {
    End {
        component,
        name: name.into(),
        control,
        data: Sees::Nothing,
        hears,
    }
}

/// Everybody's log ring and counters, shared with the console.
fn monitors(builder: &mut Builder<'_>) -> Option<RootMonitor> {
    let console = builder.model.with_role(Role::Console).next()?;
    let region = |builder: &mut Builder<'_>, name: &str| {
        let rings = vec![ring(monitor_api::LOG_OFFSET, monitor_api::LOG_RING)];
        let bytes = monitor_api::MONITOR_REGION as u64;
        builder.shared(format!("{name}.monitor"), bytes, rings)
    };
    let count = builder.model.components.len();
    for index in 0..count {
        let name = builder.name(index);
        let region = region(builder, &name);
        builder.connect(
            end(index, "monitor", Sees::Writes(region), Hears::Never),
            end(
                console,
                format!("monitor.{name}"),
                Sees::Writes(region),
                Hears::Shared,
            ),
            Wire::new(Protocol::Monitor, index as u16),
        );
    }
    let region = region(builder, ROOT_NAME);
    let name = format!("monitor.{ROOT_NAME}");
    let server = end(console, name, Sees::Writes(region), Hears::Shared);
    let wire = Wire::new(Protocol::Monitor, count as u16);
    let badge = builder.attach(server, ROOT, Side::Server, wire);
    Some(RootMonitor {
        region,
        console: console as u16,
        badge,
    })
}

/// Clock page and alarms, for whoever may ask a timer driver.
fn clocks(builder: &mut Builder<'_>) {
    let model = builder.model;
    for driver in model.with_role(Role::TimerDriver) {
        let name = builder.name(driver);
        let clock = builder.shared(format!("{name}.clock"), map::PAGE, Vec::new());
        for (index, component) in model.components.iter().enumerate() {
            if component.timer != Some(driver) {
                continue;
            }
            let mut wire = Wire::new(Protocol::Timer, 0);
            wire.calls = true;
            let server = format!("timer.{}", component.name);
            builder.connect(
                end(index, "timer", Sees::Reads(clock), Hears::Own),
                end(driver, server, Sees::Writes(clock), Hears::Never),
                wire,
            );
        }
    }
}

fn entropy(builder: &mut Builder<'_>) {
    let model = builder.model;
    for (index, component) in model.components.iter().enumerate() {
        let Some(driver) = component.entropy else {
            continue;
        };
        let mut wire = Wire::new(Protocol::Entropy, 0);
        wire.calls = true;
        let server = format!("entropy.{}", component.name);
        builder.connect(
            end(index, "entropy", Sees::Nothing, Hears::Never),
            end(driver, server, Sees::Nothing, Hears::Never),
            wire,
        );
    }
}

/// Requests and packets between managers and servers, frames between managers
/// and the drivers below the servers.
fn networks(builder: &mut Builder<'_>) {
    let model = builder.model;
    for (index, component) in model.components.iter().enumerate() {
        let Some(server) = component.server else {
            continue;
        };
        let below = &model.components[server];
        let Some(network) = &below.network else {
            continue;
        };
        requests(builder, index, server, network.mtu);
        headers(builder, index, server, network.mtu);
        if let Some(nic) = below.nic {
            let sizes = model.messages_of(server);
            // A socket buffer has room for a frame of the link's.
            let payload = frames(builder, index, nic, (network.mtu, sizes.is_some()));
            if let Some(sizes) = sizes {
                messages(builder, (index, server), payload, sizes);
            }
        }
    }
}

/// Contiguous memory that devices are told of: it stays when components die.
fn for_devices(builder: &mut Builder<'_>, name: String, bytes: usize) -> u16 {
    builder.region(Region {
        name,
        bytes: (bytes as u64).next_multiple_of(map::PAGE),
        page: PageSize::Small,
        contiguous: true,
        owner: None,
        rings: Vec::new(),
    })
}

fn wire_with_mtu(protocol: Protocol, mtu: u32) -> Wire {
    let mut wire = Wire::new(protocol, 0);
    wire.params[0] = mtu;
    wire
}

/// The number of the region of payload buffers. No received frame is longer
/// than the link's if they are `short`.
fn frames(builder: &mut Builder<'_>, manager: usize, nic: usize, (mtu, short): (u32, bool)) -> u16 {
    let rings = vec![
        ring(nic_api::RX_FREE_OFFSET, nic_api::RX_FREE),
        ring(nic_api::RX_FILLED_OFFSET, nic_api::RX_FILLED),
        ring(nic_api::TX_READY_OFFSET, nic_api::TX_READY),
        ring(nic_api::TX_DONE_OFFSET, nic_api::TX_DONE),
    ];
    let (manager_name, nic_name) = (builder.name(manager), builder.name(nic));
    let bytes = nic_api::CONTROL_BYTES as u64;
    let control = builder.shared(format!("{nic_name}.rings"), bytes, rings);
    let payload = socket_api::SERVER_PACKETS as usize * nic_api::payload_bytes(mtu as usize);
    let payload = for_devices(builder, format!("{nic_name}.payload"), payload);
    builder.hold(manager, payload, PAYLOAD);
    let mut client = end(manager, "frames", Sees::Writes(control), Hears::Own);
    client.data = Sees::Writes(payload);
    let at_driver = format!("frames.{manager_name}");
    let server = end(nic, at_driver, Sees::Writes(control), Hears::Own);
    let mut wire = wire_with_mtu(Protocol::Frames, mtu);
    wire.params[1] = short.into();
    builder.connect(client, server, wire);
    payload
}

/// Messages by value, and received payload for the server to read.
fn messages(
    builder: &mut Builder<'_>,
    (manager, server): (usize, usize),
    payload: u16,
    sizes: MessageSizes,
) {
    let name = builder.name(manager);
    let region = for_devices(builder, format!("{name}.messages"), sizes.bytes());
    let side = |component, name: String, control| End {
        data: Sees::Writes(region),
        ..end(component, name, control, Hears::Never)
    };
    let mut wire = Wire::new(Protocol::Messages, 0);
    wire.params[message::TO_SERVER] = sizes.to_server;
    wire.params[message::FROM_SERVER] = sizes.from_server;
    wire.params[message::REQUESTS] = sizes.requests;
    builder.connect(
        side(manager, "messages".to_owned(), Sees::Nothing),
        side(server, format!("messages.{name}"), Sees::Reads(payload)),
        wire,
    );
}

fn requests(builder: &mut Builder<'_>, manager: usize, server: usize, mtu: u32) {
    let rings = vec![
        ring(socket_api::TO_SERVER_OFFSET, socket_api::TO_SERVER),
        ring(socket_api::FROM_SERVER_OFFSET, socket_api::FROM_SERVER),
        ring(socket_api::SLOTS_DONE_OFFSET, socket_api::SLOTS_DONE),
    ];
    let name = builder.name(manager);
    let bytes = socket_api::SERVER_CONTROL_BYTES as u64;
    let control = builder.shared(format!("{name}.requests"), bytes, rings);
    let slots = socket_api::send_slots_bytes(mtu as usize);
    let slots = for_devices(builder, format!("{name}.send-slots"), slots);
    let side = |component, name: String| End {
        data: Sees::Writes(slots),
        ..end(component, name, Sees::Writes(control), Hears::Own)
    };
    builder.connect(
        side(manager, "server".to_owned()),
        side(server, format!("server.{name}")),
        wire_with_mtu(Protocol::Server, mtu),
    );
}

fn headers(builder: &mut Builder<'_>, manager: usize, server: usize, mtu: u32) {
    let name = builder.name(manager);
    let bytes = socket_api::headers_bytes(mtu as usize);
    let region = for_devices(builder, format!("{name}.headers"), bytes);
    let side = |component, name: String, data| End {
        data,
        ..end(component, name, Sees::Nothing, Hears::Never)
    };
    builder.connect(
        side(manager, "headers".to_owned(), Sees::Writes(region)),
        side(server, format!("headers.{name}"), Sees::Reads(region)),
        wire_with_mtu(Protocol::Headers, mtu),
    );
}

/// Socket requests between applications and managers, and the applications'
/// memory at the managers.
fn clients(builder: &mut Builder<'_>) {
    let model = builder.model;
    for manager in model.with_role(Role::IoManager) {
        let of_manager = |c: &Client| c.manager == manager;
        let clients = model
            .components
            .iter()
            .enumerate()
            .filter_map(|(i, c)| Some((i, c.client.as_ref().filter(|c| of_manager(c))?)));
        for (number, (index, client)) in clients.enumerate() {
            let keeper = Keeper {
                manager: manager as u16,
                client: number as u16,
            };
            sockets(builder, index, client, keeper.client);
            builder.keep(keeper, index);
        }
    }
}

fn sockets(builder: &mut Builder<'_>, index: usize, client: &Client, number: u16) {
    let rings = [socket_api::REQUESTS_OFFSET, socket_api::COMPLETIONS_OFFSET];
    let rings = rings
        .into_iter()
        .map(|at| ring(at, socket_api::CLIENT_RING))
        .collect();
    let name = builder.name(index);
    let bytes = socket_api::CLIENT_CONTROL_BYTES as u64;
    let control = builder.shared(format!("{name}.requests"), bytes, rings);
    let data = builder.region(Region {
        name: format!("{name}.data"),
        bytes: client.data_bytes,
        page: client.grain,
        contiguous: false,
        owner: Some(client.manager as u16),
        rings: Vec::new(),
    });
    let mut wire = Wire::new(Protocol::Sockets, number);
    wire.params[quota::SOCKETS] = client.sockets;
    wire.params[quota::REQUESTS] = client.requests;
    wire.params[quota::QUEUED_BYTES] = client.queued_bytes;
    wire.params[quota::SHARE] = client.share;
    wire.params[quota::RECEIVE_FRAMES] = client.receive_frames;
    wire.params[quota::THREADS] = builder.model.components[index].threads.len() as u32;
    let mut application = end(index, "sockets", Sees::Writes(control), Hears::Own);
    application.data = Sees::Has(data);
    let at_manager = format!("sockets.{name}");
    let mut manager = end(
        client.manager,
        at_manager,
        Sees::Writes(control),
        Hears::Shared,
    );
    manager.data = Sees::Size(data);
    builder.connect(application, manager, wire);
}

fn custom(builder: &mut Builder<'_>, channel: &Channel) {
    let data = match channel.memory_bytes {
        0 => None,
        bytes => Some(builder.region(Region {
            name: format!("channel.{}", channel.name),
            bytes,
            page: channel.grain,
            contiguous: false,
            owner: None,
            rings: Vec::new(),
        })),
    };
    let side = |component, writes: bool, is_signalled: bool| End {
        component,
        name: channel.name.clone(),
        control: Sees::Nothing,
        data: match data {
            None => Sees::Nothing,
            Some(region) if writes => Sees::Writes(region),
            Some(region) => Sees::Reads(region),
        },
        hears: if is_signalled {
            Hears::Own
        } else {
            Hears::Never
        },
    };
    let mut wire = Wire::new(Protocol::Custom, 0);
    wire.calls = channel.call;
    builder.connect(
        side(channel.from, channel.write.from, channel.notify.to),
        side(channel.to, channel.write.to, channel.notify.from),
        wire,
    );
}

/// The states of all components, for those that clean up behind others.
fn lifecycle(builder: &mut Builder<'_>) -> Lifecycle {
    let count = builder.model.components.len();
    let bytes = size_of::<u32>() * count;
    let region = builder.shared("lifecycle".to_owned(), bytes as u64, Vec::new());
    let mut watchers = Vec::new();
    for index in 0..count {
        let role = builder.model.components[index].role;
        if matches!(role, Role::Console | Role::IoManager | Role::NetServer) {
            let watcher = end(index, "lifecycle", Sees::Reads(region), Hears::Own);
            let wire = Wire::new(Protocol::Lifecycle, 0);
            let badge = builder.attach(watcher, ROOT, Side::Client, wire);
            watchers.push((builder.domain(index) as u16, badge));
        }
    }
    Lifecycle { region, watchers }
}
