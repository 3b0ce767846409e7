//! From the file as written to the model: references, roles, defaults.
//!
//! Invariant: components of the raw file and of the model are in the same
//! order, that of start. What is broken gets a diagnostic and a stand-in, so
//! that everything behind it is still checked.

use std::collections::HashMap;

use system_description::PageSize;

use crate::keys::{self, Table};
use crate::model::{
    Channel, Client, Component, Ends, Forward, ForwardProtocol, Model, Program, ProgramSource,
    Thread,
};
use crate::network;
use crate::raw::{RawComponent, RawSystem};
use crate::report::{Diagnostic, Span};
use crate::role::Role;
use crate::rule::Rule;
use crate::section::{Log, Section, size_of, text_of, u32_of};
use crate::value::At;

/// Most components of a system.
pub(crate) const MAX_COMPONENTS: usize = 64;

/// Resolves names to indices.
pub(crate) struct Names<'r, 'a> {
    components: &'r [RawComponent<'a>],
}

impl Names<'_, '_> {
    /// The component of this name, which must have this role (if one is
    /// asked for).
    fn named(
        &self,
        log: &mut Log,
        key: &str,
        name: &At<String>,
        role: Option<Role>,
    ) -> Option<usize> {
        let fits = |c: &&RawComponent<'_>| c.role.is_none() || role.is_none() || c.role == role;
        let Some(index) = self
            .components
            .iter()
            .position(|c| c.name.value == name.value)
        else {
            let known = self.components.iter().filter(fits);
            log.push(
                Diagnostic::error(
                    Rule::UnknownComponent,
                    &name.span,
                    format!("there is no component `{}`", name.value),
                )
                .label("unknown component")
                .suggest(&name.value, known.map(|c| c.name.value.as_str())),
            );
            return None;
        };
        let found = &self.components[index];
        if fits(&found) {
            return Some(index);
        }
        let (Some(role), Some(is)) = (role, found.role) else {
            return Some(index);
        };
        let message = format!(
            "`{key}` needs {}, but `{}` is {}",
            role.a(),
            name.value,
            is.a()
        );
        let wanted = self.components.iter().filter(|c| c.role == Some(role));
        let names: Vec<String> = wanted.map(|c| format!("`{}`", c.name.value)).collect();
        let mut diagnostic = Diagnostic::error(Rule::WrongRole, &name.span, message)
            .label(format!("not {}", role.a()))
            .related(&found.name.span, format!("is {}", is.a()));
        if !names.is_empty() {
            diagnostic = diagnostic.help(format!("there is {}", names.join(", ")));
        }
        log.push(diagnostic);
        None
    }

    /// The only component with this role. `needed` says who needs it, and
    /// why, when there must be one.
    fn only(&self, log: &mut Log, key: &str, at: &Span, role: Role, needed: bool) -> Option<usize> {
        let mut found =
            (0..self.components.len()).filter(|i| self.components[*i].role == Some(role));
        let first = found.next();
        if let (Some(a), Some(b)) = (first, found.next()) {
            let (a, b) = (&self.components[a].name, &self.components[b].name);
            let message = format!("there are several components with the role {}", role.word());
            log.push(
                Diagnostic::error(Rule::AmbiguousRole, at, message)
                    .label(format!("which one does this use? give `{key}`"))
                    .related(&a.span, "one")
                    .related(&b.span, "another"),
            );
        }
        // A component whose program is broken may be the one.
        let unclear = self.components.iter().any(|c| c.role.is_none());
        if first.is_none() && needed && !unclear {
            let message = format!("there is no component with the role {}", role.word());
            log.push(
                Diagnostic::error(Rule::MissingRole, at, message)
                    .label(format!("needs {}", role.a())),
            );
        }
        first
    }

    /// A reference that may be left out: then the only one with the role.
    fn or_only(
        &self,
        log: &mut Log,
        raw: &RawComponent<'_>,
        key: &str,
        role: Role,
    ) -> Option<usize> {
        match raw.section.text(key) {
            Some(name) => self.named(log, key, &name, Some(role)),
            None if raw.section.key_span(key).is_some() => None,
            None => self.only(log, key, &raw.name.span, role, true),
        }
    }

    /// `timer` and `entropy`: a name, a wish, or what the role has.
    fn service(
        &self,
        log: &mut Log,
        raw: &RawComponent<'_>,
        key: &str,
        role: Role,
        (by_role, must): (bool, bool),
    ) -> Option<usize> {
        if let Some(name) = raw.section.text(key) {
            return self.named(log, key, &name, Some(role));
        }
        match raw.section.flag(key) {
            Some(At { value: false, .. }) => None,
            Some(At { value: true, span }) => self.only(log, key, &span, role, true),
            None if by_role => self.only(log, key, &raw.name.span, role, must),
            None => None,
        }
    }
}

/// Makes the model. `raw` comes back with its components in order of start.
pub(crate) fn resolve(log: &mut Log, raw: &mut RawSystem<'_>) -> Model {
    let rank = |c: &RawComponent<'_>| c.role.unwrap_or(Role::Application);
    raw.components.sort_by_key(rank);
    let devices = crate::device::read(log, &raw.devices);
    let mut programs = Programs::default();
    let names = Names {
        components: &raw.components,
    };
    let empty = Section::empty();
    let system = raw.system.as_ref().unwrap_or(&empty);
    let system_log = text_of(system, &keys::SYSTEM, "log");
    let components = raw
        .components
        .iter()
        .enumerate()
        .map(|(index, c)| component(log, &names, &devices, &mut programs, index, c, &system_log))
        .collect::<Vec<_>>();
    Model {
        name: system.text("name").map_or_else(String::new, |n| n.value),
        memory_bytes: size_of(system, &keys::SYSTEM, "memory"),
        forwards: forwards(log, &names, raw),
        channels: channels(log, &names, raw),
        components,
        programs: programs.list,
        devices,
    }
}

#[derive(Default)]
struct Programs {
    list: Vec<Program>,
}

impl Programs {
    fn add(&mut self, component: usize, source: &Option<ProgramSource>) -> usize {
        let unknown = || ProgramSource::Package(String::new());
        let source = source.clone().unwrap_or_else(unknown);
        let found = self.list.iter().position(|p| p.source == source);
        let index = found.unwrap_or_else(|| {
            let components = Vec::new();
            self.list.push(Program { source, components });
            self.list.len() - 1
        });
        self.list[index].components.push(component);
        index
    }
}

fn component(
    log: &mut Log,
    names: &Names<'_, '_>,
    devices: &[crate::model::Device],
    programs: &mut Programs,
    index: usize,
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
        program: programs.add(index, &raw.program),
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
    })
}

fn grain(section: &Section<'_>, table: &'static Table) -> PageSize {
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

fn forwards(log: &mut Log, names: &Names<'_, '_>, raw: &RawSystem<'_>) -> Vec<Forward> {
    let mut list = Vec::new();
    let mut taken: HashMap<(String, bool, i64), Span> = HashMap::new();
    for forward in &raw.forwards {
        let section = &forward.value;
        let protocol = section.text("protocol");
        for (key, guest) in [("guest-port", true), ("host-port", false)] {
            let (Some(protocol), Some(port)) = (&protocol, section.integer(key)) else {
                continue;
            };
            let id = (protocol.value.clone(), guest, port.value);
            if let Some(first) = taken.insert(id, port.span.clone()) {
                let message = format!("{} {key} {} is forwarded twice", protocol.value, port.value);
                let diagnostic = Diagnostic::error(Rule::DuplicateForward, &port.span, message);
                log.push(diagnostic.label("again here").related(&first, "first here"));
            }
        }
        let target = section
            .text("to")
            .and_then(|to| Some((names.named(log, "to", &to, None)?, to.span)));
        if let Some((index, span)) = &target {
            check_target(log, &names.components[*index], span);
        }
        let port = |key| {
            section
                .integer(key)
                .and_then(|p| u16::try_from(p.value).ok())
        };
        if let (Some(protocol), Some(guest_port), Some((component, _))) =
            (protocol, port("guest-port"), target)
        {
            list.push(Forward {
                protocol: match protocol.value.as_str() {
                    "udp" => ForwardProtocol::Udp,
                    _ => ForwardProtocol::Tcp,
                },
                host_port: port("host-port"),
                guest_port,
                component,
            });
        }
    }
    list
}

fn check_target(log: &mut Log, target: &RawComponent<'_>, span: &Span) {
    if target.role.is_some() && target.section.key_span("sockets").is_none() {
        let message = format!("`{}` cannot serve a port", target.name.value);
        log.push(
            Diagnostic::error(Rule::ForwardTarget, span, message)
                .label("has no right to use sockets")
                .related(&target.name.span, "lacks `sockets = …`"),
        );
    }
}

/// Names of links that the tool makes.
const LINK_NAMES: [&str; 8] = [
    "monitor",
    "timer",
    "entropy",
    "sockets",
    "client-data",
    "frames",
    "server",
    "lifecycle",
];

fn channels(log: &mut Log, names: &Names<'_, '_>, raw: &RawSystem<'_>) -> Vec<Channel> {
    let mut list = Vec::new();
    for channel in &raw.channels {
        let section = &channel.section;
        let name = &channel.name;
        if LINK_NAMES.contains(&name.value.as_str()) {
            let message = format!("`{}` is the name of a link that the tool makes", name.value);
            let diagnostic = Diagnostic::error(Rule::ReservedName, &name.span, message);
            log.push(diagnostic.label("choose another name"));
        }
        let mut end = |key| {
            let name = section.text(key)?;
            names.named(log, key, &name, None)
        };
        let (Some(from), Some(to)) = (end("from"), end("to")) else {
            continue;
        };
        let resolved = Channel {
            name: name.value.clone(),
            from,
            to,
            memory_bytes: size_of(section, &keys::CHANNEL, "memory"),
            grain: grain(section, &keys::CHANNEL),
            write: ends(&text_of(section, &keys::CHANNEL, "write")),
            notify: ends(&text_of(section, &keys::CHANNEL, "notify")),
            call: section.flag("call").is_some_and(|c| c.value),
        };
        check_channel(log, &resolved, &name.span);
        list.push(resolved);
    }
    list
}

fn ends(word: &str) -> Ends {
    Ends {
        from: matches!(word, "both" | "from"),
        to: matches!(word, "both" | "to"),
    }
}

fn check_channel(log: &mut Log, channel: &Channel, span: &Span) {
    let mut error = |rule, what: &str, label: &str| {
        let message = format!("channel `{}` {what}", channel.name);
        log.push(Diagnostic::error(rule, span, message).label(label));
    };
    if channel.from == channel.to {
        error(
            Rule::SelfChannel,
            "leads from a component to itself",
            "`from` and `to` must differ",
        );
    }
    let silent = !channel.notify.from && !channel.notify.to && !channel.call;
    if silent && channel.memory_bytes == 0 {
        error(
            Rule::EmptyChannel,
            "carries nothing",
            "give it `memory`, `notify` or `call`",
        );
    }
}
