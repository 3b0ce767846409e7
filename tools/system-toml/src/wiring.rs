//! What leads to components and between them: forwarded ports and channels.

use std::collections::HashMap;

use crate::keys;
use crate::model::{Channel, Ends, Forward, ForwardProtocol};
use crate::names::Names;
use crate::raw::{RawComponent, RawSystem};
use crate::report::{Diagnostic, Span};
use crate::resolve::grain;
use crate::rule::Rule;
use crate::section::{Log, size_of, text_of};

/// Resolves `[[forward]]`.
pub(crate) fn forwards(log: &mut Log, names: &Names<'_, '_>, raw: &RawSystem<'_>) -> Vec<Forward> {
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
    "frames",
    "server",
    "headers",
    "lifecycle",
];

/// Resolves `[channel.NAME]`.
pub(crate) fn channels(log: &mut Log, names: &Names<'_, '_>, raw: &RawSystem<'_>) -> Vec<Channel> {
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
