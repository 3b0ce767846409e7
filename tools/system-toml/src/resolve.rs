//! From the file as written to the model: references, roles, defaults.
//!
//! Invariant: components of the raw file and of the model are in the same
//! order, that of start. What is broken gets a diagnostic and a stand-in, so
//! that everything behind it is still checked.

use system_description::PageSize;
use system_description::map::LARGE_PAGE;

use crate::keys::{self, Table};
use crate::model::{Client, Component, Ipc, Model, ProgramSource, Thread};
use crate::names::Names;
use crate::network;
use crate::placement;
use crate::raw::{RawComponent, RawSystem};
use crate::report::Diagnostic;
use crate::role::Role;
use crate::rule::Rule;
use crate::section::{Log, Section, size_of, text_of, u32_of};
use crate::value::At;
use crate::wiring::{channels, forwards};

/// Most components of a system.
pub(crate) const MAX_COMPONENTS: usize = 64;

/// Makes the model. `raw` comes back with its components in order of start.
pub(crate) fn resolve(log: &mut Log, raw: &mut RawSystem<'_>) -> Model {
    let rank = |c: &RawComponent<'_>| c.role.unwrap_or(Role::Application);
    raw.components.sort_by_key(rank);
    let devices = crate::device::read(log, &raw.devices);
    let names = Names {
        components: &raw.components,
    };
    let empty = Section::empty();
    let system = raw.system.as_ref().unwrap_or(&empty);
    let system_log = text_of(system, &keys::SYSTEM, "log");
    let mut components = raw
        .components
        .iter()
        .map(|c| component(log, &names, &devices, c, &system_log))
        .collect::<Vec<_>>();
    placement::find_hosts(&mut components, &raw.components);
    let programs = placement::programs(&mut components);
    let mut model = Model {
        name: system.text("name").map_or_else(String::new, |n| n.value),
        memory_bytes: size_of(system, &keys::SYSTEM, "memory"),
        forwards: forwards(log, &names, raw),
        channels: channels(log, &names, raw),
        components,
        programs,
        devices,
    };
    for index in 0..model.components.len() {
        if raw.components[index].section.key_span("heap").is_none() {
            let more = model.message_heap(index).next_multiple_of(LARGE_PAGE);
            model.components[index].heap_bytes += more;
        }
    }
    model
}

fn component(
    log: &mut Log,
    names: &Names<'_, '_>,
    devices: &[crate::model::Device],
    raw: &RawComponent<'_>,
    system_log: &str,
) -> Component {
    let section = &raw.section;
    let role = raw.role.unwrap_or(Role::Application);
    if raw.role.is_some() {
        keys_fit_role(log, raw, role);
    }
    let is = |wanted| raw.role == Some(wanted);
    let client = is(Role::Application)
        .then(|| client(log, names, raw))
        .flatten();
    let uses_network = client.is_some() || section.key_span("sockets").is_some();
    let timer = (role.wants_timer() || uses_network, is(Role::NetServer));
    let entropy = (is(Role::NetServer), false);
    Component {
        name: raw.name.value.clone(),
        span: raw.name.span.clone(),
        role,
        source: raw
            .program
            .clone()
            .unwrap_or_else(|| ProgramSource::Package(String::new())),
        program: 0,
        host: None,
        priority: u32_of(section, &keys::COMPONENT, "priority") as u8,
        threads: threads(raw),
        heap_bytes: section
            .size("heap")
            .map_or(role.default_heap(), |s| s.value),
        devices: device_indices(log, devices, raw),
        timer: names.service(log, raw, "timer", Role::TimerDriver, timer),
        entropy: names.service(log, raw, "entropy", Role::EntropyDriver, entropy),
        log: section
            .text("log")
            .map_or_else(|| system_log.to_owned(), |l| l.value),
        config: raw.config.clone(),
        server: is(Role::IoManager)
            .then(|| names.or_only(log, raw, "server", Role::NetServer))
            .flatten(),
        reserve_bytes: if is(Role::IoManager) {
            size_of(section, &keys::COMPONENT, "frames")
        } else {
            0
        },
        ipc: match text_of(section, &keys::COMPONENT, "ipc").as_str() {
            "conventional" if is(Role::IoManager) => Ipc::Conventional,
            _ => Ipc::Io,
        },
        nic: is(Role::NetServer)
            .then(|| names.or_only(log, raw, "nic", Role::NicDriver))
            .flatten(),
        network: is(Role::NetServer).then(|| network::read(log, raw)),
        client,
    }
}

fn keys_fit_role(log: &mut Log, raw: &RawComponent<'_>, role: Role) {
    for (key, span) in raw.section.keys() {
        if key.roles.is_empty() || key.roles.contains(&role) {
            continue;
        }
        let roles: Vec<String> = key.roles.iter().map(|r| r.a()).collect();
        let message = format!("`{}` is only for {}", key.name, roles.join(" or "));
        let diagnostic = Diagnostic::error(Rule::KeyNotForRole, span, message)
            .label("not for this component")
            .related(&raw.name.span, format!("is {}", role.a()));
        log.push(match role {
            Role::Application => diagnostic
                .help("programs that the tool does not know take the role from `role = …`"),
            _ => diagnostic,
        });
    }
}

fn client(log: &mut Log, names: &Names<'_, '_>, raw: &RawComponent<'_>) -> Option<Client> {
    let name = raw.section.text("sockets")?;
    let manager = names.named(log, "sockets", &name, Some(Role::IoManager))?;
    let empty = Section::empty();
    let quota = raw.quota.as_ref().unwrap_or(&empty);
    let number = |key| u32_of(quota, &keys::QUOTA, key);
    Some(Client {
        manager,
        data_bytes: size_of(&raw.section, &keys::COMPONENT, "data"),
        grain: grain(&raw.section, &keys::COMPONENT),
        sockets: number("sockets"),
        requests: number("requests"),
        queued_bytes: size_of(quota, &keys::QUOTA, "queued-bytes") as u32,
        share: number("share"),
        receive_frames: number("receive-frames"),
    })
}

/// Grain of a region: the value of `grain`.
pub(crate) fn grain(section: &Section<'_>, table: &'static Table) -> PageSize {
    match text_of(section, table, "grain").as_str() {
        "2 MiB" => PageSize::Large,
        _ => PageSize::Small,
    }
}

fn threads(raw: &RawComponent<'_>) -> Vec<Thread> {
    let section = &raw.section;
    let priority = u32_of(section, &keys::COMPONENT, "priority") as u8;
    let stack_bytes = size_of(section, &keys::COMPONENT, "stack");
    let plain = |name: String| Thread {
        name,
        priority,
        stack_bytes,
    };
    if let Some(list) = &raw.threads {
        let one = |t: &At<Section<'_>>| Thread {
            name: t.value.text("name").map_or_else(String::new, |n| n.value),
            priority: t
                .value
                .integer("priority")
                .map_or(priority, |p| p.value as u8),
            stack_bytes: t.value.size("stack").map_or(stack_bytes, |s| s.value),
        };
        return list.iter().map(one).collect();
    }
    if let Some(names) = section.texts("threads") {
        return names.value.into_iter().map(|n| plain(n.value)).collect();
    }
    let count = section.integer("threads").map_or(1, |c| c.value);
    let name = |n| {
        if n == 0 {
            "main".to_owned()
        } else {
            format!("worker-{n}")
        }
    };
    (0..count).map(|n| plain(name(n))).collect()
}

fn device_indices(
    log: &mut Log,
    devices: &[crate::model::Device],
    raw: &RawComponent<'_>,
) -> Vec<usize> {
    let mut indices = Vec::new();
    for name in raw
        .section
        .texts("devices")
        .into_iter()
        .flat_map(|d| d.value)
    {
        match devices.iter().position(|d| d.name == name.value) {
            Some(index) => indices.push(index),
            None => log.push(
                Diagnostic::error(
                    Rule::UnknownDevice,
                    &name.span,
                    format!("there is no device `{}`", name.value),
                )
                .label("unknown device")
                .suggest(&name.value, devices.iter().map(|d| d.name.as_str())),
            ),
        }
    }
    indices
}
