//! `placement`: who runs inside an I/O manager, and which programs that makes.
//!
//! Invariant: a component with a host has one that it works for, an I/O
//! manager; and all that run in one protection domain have the same program.

use crate::keys;
use crate::model::{Channel, Component, Model, Program};
use crate::raw::{RawComponent, RawSystem};
use crate::report::Diagnostic;
use crate::role::Role;
use crate::rule::Rule;
use crate::section::Log;

/// Whether the file asks for the component to run inside its I/O manager.
fn is_asked_for(raw: &RawComponent<'_>) -> bool {
    let placement = raw.section.text("placement");
    placement.is_some_and(|p| p.value == "kernel")
        && matches!(raw.role, Some(Role::NetServer | Role::NicDriver))
}

/// Finds the hosts of those that are to have one. A host's first thread runs
/// its guests, so its stack is as long as its own and the longest of theirs.
pub(crate) fn find_hosts(components: &mut [Component], raw: &[RawComponent<'_>]) {
    for manager in 0..components.len() {
        let server = components[manager].server;
        let driver = server.and_then(|s| components[s].nic);
        let mut stack = 0;
        for guest in [server, driver].into_iter().flatten() {
            if is_asked_for(&raw[guest]) && components[guest].host.is_none() {
                components[guest].host = Some(manager);
                let threads = &components[guest].threads;
                stack = stack.max(threads.first().map_or(0, |t| t.stack_bytes));
            }
        }
        if let Some(first) = components[manager].threads.first_mut() {
            first.stack_bytes = (first.stack_bytes + stack).min(keys::STACK_MAX);
        }
    }
}

/// The programs of all components, each once, with those linked into them.
pub(crate) fn programs(components: &mut [Component]) -> Vec<Program> {
    let mut list: Vec<Program> = Vec::new();
    for domain in 0..components.len() {
        if components[domain].host.is_some() {
            continue;
        }
        let guest = |i: &usize| components[*i].host == Some(domain);
        let inside: Vec<usize> = (0..components.len()).filter(guest).collect();
        let source = components[domain].source.clone();
        let guests: Vec<_> = inside
            .iter()
            .map(|i| components[*i].source.clone())
            .collect();
        let same = |p: &Program| p.source == source && p.guests == guests;
        let index = list.iter().position(same).unwrap_or(list.len());
        if index == list.len() {
            list.push(Program {
                source,
                guests,
                components: Vec::new(),
            });
        }
        for component in inside.into_iter().chain([domain]) {
            components[component].program = index;
            list[index].components.push(component);
        }
    }
    list
}

/// Checks that those with `placement = "kernel"` can be where they are to be.
pub(crate) fn check(log: &mut Log, raw: &RawSystem<'_>, model: &Model) {
    for (component, raw) in model.components.iter().zip(&raw.components) {
        if is_asked_for(raw) {
            match component.host {
                None => without_host(log, raw),
                Some(host) => inside(log, raw, component, &model.components[host].name),
            }
        }
    }
    for (channel, raw) in raw.channels.iter().filter_map(|raw| {
        let model = model.channels.iter().find(|c| c.name == raw.name.value)?;
        Some((model, raw))
    }) {
        let span = raw.section.key_span("call");
        if let Some(span) = span.filter(|_| channel.call) {
            called(log, model, channel, &span);
        }
    }
}

fn without_host(log: &mut Log, raw: &RawComponent<'_>) {
    let Some(placement) = raw.section.text("placement") else {
        return;
    };
    let message = format!("there is no I/O manager for `{}` to run in", raw.name.value);
    let behind = match raw.role {
        Some(Role::NicDriver) => "no I/O manager has a server above it",
        _ => "no I/O manager has it as its `server`",
    };
    log.push(Diagnostic::error(Rule::KernelPlacement, &placement.span, message).label(behind));
}

fn inside(log: &mut Log, raw: &RawComponent<'_>, component: &Component, host: &str) {
    let name = &component.name;
    let placement = raw.section.key_span("placement").unwrap_or(0..0);
    let why = format!("it runs in the thread of `{host}`");
    if let Some(span) = raw.section.key_span("threads")
        && component.threads.len() > 1
    {
        let message = format!("`{name}` cannot have threads of its own");
        log.push(
            Diagnostic::error(Rule::KernelPlacement, &span, message)
                .label("asks for several")
                .related(&placement, &why),
        );
    }
    if let Some(span) = raw.section.key_span("priority") {
        let message = format!("the priority of `{name}` has no effect");
        log.push(
            Diagnostic::warning(Rule::NoEffect, &span, message)
                .label(format!("what counts is that of `{host}`"))
                .related(&placement, &why),
        );
    }
}

/// A guest has no endpoint of its own, and its host takes no calls.
fn called(log: &mut Log, model: &Model, channel: &Channel, span: &crate::report::Span) {
    let to = &model.components[channel.to];
    let Some(host) = to.host else {
        return;
    };
    let host = &model.components[host].name;
    let message = format!("`{}` cannot be called", to.name);
    log.push(
        Diagnostic::error(Rule::KernelPlacement, span, message)
            .label(format!(
                "it runs in the thread of `{host}`, which takes no calls"
            ))
            .related(&to.span, "has `placement = \"kernel\"`"),
    );
}
