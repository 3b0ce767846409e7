//! Rules across components.
//!
//! Each function checks one rule, or a few that need the same facts. They run
//! whatever else is wrong, so that every mistake is reported at once.

use std::collections::HashMap;

use system_description::SystemDescription;

use crate::keys;
use crate::layout::LayoutError;
use crate::model::{Client, Component, Device, Model, Network};
use crate::placement;
use crate::raw::{RawComponent, RawSystem};
use crate::report::{Diagnostic, Span};
use crate::resolve::MAX_COMPONENTS;
use crate::role::Role;
use crate::rule::Rule;
use crate::section::{Log, Section};
use crate::units::show_size;
use crate::view::{Memory, memory};

type Layout = Result<SystemDescription<String, Vec<u8>>, Vec<LayoutError>>;

/// Checks the model and its layout; `raw` tells where things stand.
pub(crate) fn check(log: &mut Log, raw: &RawSystem<'_>, model: &Model, layout: &Layout) {
    names(log, raw);
    counts(log, raw);
    one_console(log, raw, model);
    devices(log, raw, model);
    served_once(log, raw, model);
    unused(log, raw, model);
    quotas(log, raw, model);
    windows(log, raw, model);
    priorities(log, raw, model);
    placement::check(log, raw, model);
    match layout {
        Ok(description) => total_memory(log, raw, model, &memory(model, description)),
        Err(errors) => layout_errors(log, raw, errors),
    }
}

fn names(log: &mut Log, raw: &RawSystem<'_>) {
    for component in &raw.components {
        if component.name.value == crate::layout::ROOT_NAME {
            let message = "`root` is the name of the root task";
            let diagnostic = Diagnostic::error(Rule::ReservedName, &component.name.span, message);
            log.push(diagnostic.label("choose another name"));
        }
        thread_names(log, component);
    }
}

fn thread_names(log: &mut Log, component: &RawComponent<'_>) {
    let mut names = component
        .section
        .texts("threads")
        .map_or_else(Vec::new, |t| t.value);
    for thread in component.threads.iter().flatten() {
        names.extend(thread.value.text("name"));
    }
    let most = system_description::map::MAX_THREADS as usize;
    if let Some(excess) = names.get(most) {
        let message = format!("component `{}` has too many threads", component.name.value);
        let diagnostic = Diagnostic::error(Rule::TooManyThreads, &excess.span, message);
        log.push(diagnostic.label(format!("there can be {most}")));
    }
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for name in &names {
        if component.threads.is_none()
            && let Err(faults) = crate::value::name(&name.value, &name.span, Rule::BadName)
        {
            log.extend(faults);
        }
        if let Some(first) = seen.insert(&name.value, &name.span) {
            let message = format!("two threads are called `{}`", name.value);
            log.push(
                Diagnostic::error(Rule::DuplicateName, &name.span, message)
                    .label("again here")
                    .related(first, "first here"),
            );
        }
    }
}

fn counts(log: &mut Log, raw: &RawSystem<'_>) {
    if let Some(excess) = raw.components.get(MAX_COMPONENTS) {
        let message = format!("there are {} components", raw.components.len());
        let diagnostic = Diagnostic::error(Rule::TooManyComponents, &excess.name.span, message);
        log.push(diagnostic.label(format!("there can be {MAX_COMPONENTS}")));
    }
}

fn one_console(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    let consoles: Vec<usize> = model.with_role(Role::Console).collect();
    for extra in consoles.iter().skip(1) {
        let message = "there are several consoles";
        log.push(
            Diagnostic::error(Rule::RoleTaken, &raw.components[*extra].name.span, message)
                .label("only one component can show the log")
                .related(&raw.components[consoles[0]].name.span, "is the console"),
        );
    }
    let unclear = raw.components.iter().any(|c| c.role.is_none());
    if consoles.is_empty() && !unclear && !raw.components.is_empty() {
        let at = &raw.components[0].name.span;
        let mut diagnostic = Diagnostic::warning(
            Rule::NoConsole,
            at,
            "there is no component with the role console",
        );
        diagnostic.span = None;
        log.push(
            diagnostic
                .note("nobody shows the log, answers `inspect --live` or shuts the system down"),
        );
    }
}

fn devices(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    let mut owned: Vec<(&Device, Span)> = Vec::new();
    for (index, component) in model.components.iter().enumerate() {
        let section = &raw.components[index].section;
        let given = section.texts("devices").map_or_else(Vec::new, |d| d.value);
        for device in &component.devices {
            let device = &model.devices[*device];
            let at = given.iter().find(|g| g.value == device.name);
            let span = at.map_or_else(|| component.span.clone(), |g| g.span.clone());
            if let Some((_, first)) = owned.iter().find(|(d, _)| d.overlaps(device)) {
                let message = format!("the device `{}` is given out twice", device.name);
                let diagnostic = Diagnostic::error(Rule::DeviceTaken, &span, message);
                log.push(diagnostic.label("again here").related(first, "first here"));
            }
            owned.push((device, span));
        }
        let lacks = component.role.is_driver() && section.key_span("devices").is_none();
        if lacks && raw.components[index].role.is_some() {
            let message = format!("component `{}` has no device to drive", component.name);
            let usual = match component.role {
                Role::Console => "\"serial\", \"exit\"",
                Role::TimerDriver => "\"hpet\"",
                Role::EntropyDriver => "\"virtio-rng\"",
                _ => "\"virtio-net\"",
            };
            log.push(
                Diagnostic::error(Rule::MissingDevice, &component.span, message)
                    .label(format!("is {}", component.role.a()))
                    .help(format!("grant it one: devices = [{usual}]")),
            );
        }
    }
}

/// Servers have one manager, NIC drivers one server.
fn served_once(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    let mut users: HashMap<usize, usize> = HashMap::new();
    for (index, component) in model.components.iter().enumerate() {
        for (key, target) in [("server", component.server), ("nic", component.nic)] {
            let Some(target) = target else { continue };
            let Some(first) = users.insert(target, index) else {
                continue;
            };
            let section = &raw.components[index].section;
            let span = section
                .key_span(key)
                .unwrap_or_else(|| component.span.clone());
            let name = &model.components[target].name;
            let message = format!("`{name}` serves another component already");
            log.push(
                Diagnostic::error(Rule::AlreadyServed, &span, message)
                    .label(format!("uses `{name}` too"))
                    .related(&model.components[first].span, format!("uses `{name}`")),
            );
        }
    }
}

fn unused(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    // With references broken nobody can tell what is used.
    if log.iter().any(|d| d.severity == crate::Severity::Error) {
        return;
    }
    for (index, component) in model.components.iter().enumerate() {
        let used = |c: &Component| {
            let client = c.client.as_ref().map(|c| c.manager);
            [c.timer, c.entropy, c.server, c.nic, client].contains(&Some(index))
        };
        let alone = !matches!(component.role, Role::Console | Role::Application);
        let channel = model
            .channels
            .iter()
            .any(|c| c.from == index || c.to == index);
        if alone && !channel && !model.components.iter().any(used) {
            let message = format!("nobody uses component `{}`", component.name);
            let at = &raw.components[index].name.span;
            let diagnostic = Diagnostic::warning(Rule::Unused, at, message);
            log.push(diagnostic.label(format!("is {}", component.role.a())));
        }
    }
}

fn quotas(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    for (component, raw) in model.components.iter().zip(&raw.components) {
        let Some(client) = &component.client else {
            continue;
        };
        grain(log, &raw.section, "data", client.data_bytes, client.grain);
        readiness(log, raw, component, client);
        if u64::from(client.queued_bytes) <= client.data_bytes {
            continue;
        }
        let quota = raw.quota.as_ref().and_then(|q| q.key_span("queued-bytes"));
        let data = raw.section.key_span("data");
        let span = quota.or(data).unwrap_or_else(|| component.span.clone());
        let (queued, data) = (
            show_size(client.queued_bytes.into()),
            show_size(client.data_bytes),
        );
        let message = format!("component `{}` may queue more than it has", component.name);
        log.push(
            Diagnostic::error(Rule::QuotaExceedsData, &span, message)
                .label(format!("`queued-bytes` is {queued}, `data` is {data}")),
        );
    }
    for (channel, named) in raw.channels.iter().filter_map(|raw| {
        let model = model.channels.iter().find(|c| c.name == raw.name.value)?;
        Some((model, raw))
    }) {
        grain(
            log,
            &named.section,
            "memory",
            channel.memory_bytes,
            channel.grain,
        );
    }
}

/// A socket that is waited on keeps one request outstanding, and the client
/// library keeps some for control and for sends (docs/signalling.md).
fn readiness(log: &mut Log, raw: &RawComponent<'_>, component: &Component, client: &Client) {
    const KEPT: u32 = 16;
    let ready = client.requests.saturating_sub(KEPT);
    if client.sockets <= ready {
        return;
    }
    let key = |key| raw.quota.as_ref().and_then(|quota| quota.key_span(key));
    let span = key("sockets").or_else(|| key("requests"));
    let span = span.unwrap_or_else(|| component.span.clone());
    let message = format!(
        "component `{}` cannot wait for all its sockets at once",
        component.name
    );
    let (sockets, requests) = (client.sockets, client.requests);
    log.push(
        Diagnostic::warning(Rule::QuotaReadiness, &span, message)
            .label(format!(
                "`sockets` is {sockets}, `requests` is {requests}, which lets {ready} be waited for"
            ))
            .note(format!(
                "each socket that is waited for takes a request; {KEPT} are kept for control and sends"
            )),
    );
}

/// A region of large pages must be a multiple of them.
fn grain(
    log: &mut Log,
    section: &Section<'_>,
    key: &str,
    bytes: u64,
    grain: system_description::PageSize,
) {
    let page = match grain {
        system_description::PageSize::Small => system_description::map::PAGE,
        system_description::PageSize::Large => system_description::map::LARGE_PAGE,
    };
    if bytes.is_multiple_of(page) {
        return;
    }
    let Some(span) = section.key_span(key).or_else(|| section.key_span("grain")) else {
        return;
    };
    let message = format!("`{key}` is not a multiple of `grain`");
    let mut diagnostic = Diagnostic::error(Rule::SizeNotMultiple, &span, message);
    diagnostic = diagnostic.label(format!(
        "{} is the nearest that is",
        show_size(bytes.next_multiple_of(page))
    ));
    if let Some(at) = section.key_span("grain") {
        diagnostic = diagnostic.related(&at, format!("pages of {}", show_size(page)));
    }
    log.push(diagnostic);
}

/// Bytes of heap that a server needs beside its connections: one queue for
/// each UDP socket, reassembly, tables.
fn server_base(network: &Network) -> u64 {
    const UDP_SOCKET: u64 = 132 << 10;
    const TABLES: u64 = 4 << 20;
    u64::from(network.udp_sockets) * UDP_SOCKET + TABLES
}

/// Windows times connections against the server's heap [decision 10].
fn windows(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    const BESIDE: u64 = 2 << 10;
    for (index, server) in model.components.iter().enumerate() {
        let Some(network) = &server.network else {
            continue;
        };
        let connections = u64::from(network.connections);
        let windows = connections * (2 * network.window_bytes + BESIDE);
        let messages = model.message_heap(index);
        let need = windows + server_base(network) + messages;
        if need <= server.heap_bytes {
            continue;
        }
        let section = &raw.components[index].section;
        let span = section
            .key_span("heap")
            .unwrap_or_else(|| server.span.clone());
        let message = format!("the connections of `{}` do not fit its heap", server.name);
        let mib = |bytes: u64| show_size(bytes.next_multiple_of(1 << 20));
        let window = show_size(network.window_bytes);
        let mut diagnostic = Diagnostic::error(Rule::WindowsExceedHeap, &span, message);
        if messages != 0 {
            let by_value = "socket buffers, with `ipc = \"conventional\"`";
            diagnostic = diagnostic.note(format!("{by_value}: {}", mib(messages)));
        }
        log.push(
            diagnostic
                .label(format!("{} of heap, {} needed", show_size(server.heap_bytes), mib(need)))
                .note(format!("{connections} connections × 2 windows of {window}: {}", mib(windows)))
                .note(format!(
                    "{} UDP sockets, reassembly and tables: {}",
                    network.udp_sockets,
                    mib(server_base(network))
                ))
                .help("give the server more `heap`, or its network a smaller `window`, fewer `connections` or `udp-sockets`"),
        );
    }
}

/// Equal priorities along the data path [decision 12].
fn priorities(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    for client in (0..model.components.len()).filter(|i| model.components[*i].client.is_some()) {
        let main = |i: usize| {
            model.components[model.domain(i)]
                .threads
                .first()
                .map_or(0, |t| t.priority)
        };
        for (from, to) in model.data_path(client) {
            if main(from) == main(to) {
                continue;
            }
            let span = |i: usize| {
                let section = &raw.components[i].section;
                section
                    .key_span("priority")
                    .unwrap_or_else(|| model.components[i].span.clone())
            };
            let name = |i: usize| &model.components[i].name;
            let message = format!(
                "priorities differ on the data path between `{}` and `{}`",
                name(from),
                name(to)
            );
            log.push(
                Diagnostic::warning(Rule::PriorityPath, &span(from), message)
                    .label(format!("`{}` has priority {}", name(from), main(from)))
                    .related(&span(to), format!("`{}` has priority {}", name(to), main(to)))
                    .note("the cost: each signal to the higher priority switches at once, so batches shrink to single packets: up to two crossings a packet instead of two a batch; a call in the other direction misses the kernel's fast path; and under load the lower priority starves")
                    .help(format!("`priority` is {} unless given; leave it out at both", default_priority())),
            );
        }
    }
}

fn default_priority() -> &'static str {
    let key = keys::COMPONENT.keys.iter().find(|k| k.name == "priority");
    key.and_then(|k| k.default).unwrap_or("")
}

fn total_memory(log: &mut Log, raw: &RawSystem<'_>, model: &Model, memory: &Memory) {
    if memory.total() <= model.memory_bytes {
        return;
    }
    let given = raw.system.as_ref().and_then(|s| s.size("memory"));
    let header = raw.components.first().map(|c| c.name.span.clone());
    let span = given.map(|g| g.span).or(header).unwrap_or(0..0);
    let message = "the system does not fit its memory";
    let mut diagnostic = Diagnostic::error(Rule::MemoryExceeded, &span, message).label(format!(
        "{} of memory, {} needed",
        show_size(model.memory_bytes),
        show_size(memory.total().next_multiple_of(1 << 20))
    ));
    for (what, bytes) in memory.parts() {
        diagnostic = diagnostic.note(format!("{what}: {}", show_size(bytes)));
    }
    log.push(diagnostic);
}

fn layout_errors(log: &mut Log, raw: &RawSystem<'_>, errors: &[LayoutError]) {
    for error in errors {
        let (rule, index, label) = match error {
            LayoutError::Bits(index, _) => (
                Rule::TooManyLinks,
                *index,
                format!("there are {}", system_description::map::NOTIFICATION_BITS),
            ),
            LayoutError::Space(index) => (
                Rule::AddressSpaceExceeded,
                *index,
                "does not fit".to_owned(),
            ),
            LayoutError::Records(index) => (
                Rule::ConfigTooLong,
                *index,
                "too much configuration".to_owned(),
            ),
            LayoutError::Slots(index, _) => (
                Rule::TooManyPages,
                *index,
                format!("there are {}", system_description::map::MOST_SLOTS),
            ),
        };
        let name = &raw.components[index].name;
        let message = format!("component `{}` is too large: {error}", name.value);
        let diagnostic = Diagnostic::error(rule, &name.span, message).label(label);
        log.push(match error {
            LayoutError::Slots(..) => diagnostic
                .note(
                    "an I/O manager has a capability for each page of its clients and of `frames`",
                )
                .help("where regions are large, give their components `grain = \"2 MiB\"`"),
            _ => diagnostic,
        });
    }
}
