//! The file as it was written: sections read against their keys, references
//! still names, each value with its place.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys;
use crate::model::ProgramSource;
use crate::report::{Diagnostic, Span};
use crate::role::Role;
use crate::rule::Rule;
use crate::section::{Log, Section, read};
use crate::value::{At, free_text, name};

/// The whole file.
pub(crate) struct RawSystem<'a> {
    pub(crate) system: Option<Section<'a>>,
    pub(crate) components: Vec<RawComponent<'a>>,
    pub(crate) forwards: Vec<At<Section<'a>>>,
    pub(crate) channels: Vec<Named<'a>>,
    pub(crate) devices: Vec<Named<'a>>,
}

/// A table with a name of the user's choice.
pub(crate) struct Named<'a> {
    pub(crate) name: At<String>,
    pub(crate) section: Section<'a>,
    /// The table below it that matters for its kind (`irq`).
    pub(crate) below: Option<Section<'a>>,
}

/// A component.
pub(crate) struct RawComponent<'a> {
    pub(crate) name: At<String>,
    /// `None` when the file does not tell.
    pub(crate) role: Option<Role>,
    pub(crate) program: Option<ProgramSource>,
    pub(crate) section: Section<'a>,
    pub(crate) threads: Option<Vec<At<Section<'a>>>>,
    pub(crate) quota: Option<Section<'a>>,
    pub(crate) network: Option<At<Section<'a>>>,
    pub(crate) config: Vec<(String, String)>,
}

/// Reads the file's top table; paths are relative to `directory`.
pub(crate) fn read_file<'a>(
    log: &mut Log,
    directory: &Path,
    root: &'a Spanned<DeTable<'a>>,
) -> RawSystem<'a> {
    let top = read(log, &keys::ROOT, "the file", &(0..0), root.get_ref());
    let system = top
        .table("system")
        .map(|t| read(log, &keys::SYSTEM, "`[system]`", &t.span, t.value));
    let components = tables(log, &top, "component")
        .into_iter()
        .map(|(name, table)| read_component(log, directory, name, table))
        .collect();
    let forwards = top
        .tables("forward")
        .unwrap_or_default()
        .into_iter()
        .map(|t| {
            let section = read(log, &keys::FORWARD, "`[[forward]]`", &t.span, t.value);
            At::new(section, t.span)
        })
        .collect();
    RawSystem {
        system,
        components,
        forwards,
        channels: named(log, &top, "channel", &keys::CHANNEL),
        devices: named(log, &top, "device", &keys::DEVICE),
    }
}

/// The tables under `key`, each with its name.
fn tables<'a>(log: &mut Log, top: &Section<'a>, key: &str) -> Vec<(At<String>, &'a DeTable<'a>)> {
    let mut found = Vec::new();
    for (name_text, value) in top.table(key).into_iter().flat_map(|t| t.value.iter()) {
        let at = At::new(name_text.get_ref().to_string(), name_text.span());
        if let Err(faults) = name(&at.value, &at.span, Rule::BadName) {
            log.extend(faults);
        }
        match value.get_ref() {
            DeValue::Table(table) => found.push((at, table)),
            _ => {
                let message = format!("`{key}.{}` must be a table", at.value);
                let label = format!("write `[{key}.{}]` on a line of its own", at.value);
                log.push(Diagnostic::error(Rule::WrongType, &at.span, message).label(label));
            }
        }
    }
    found
}

fn named<'a>(
    log: &mut Log,
    top: &Section<'a>,
    key: &str,
    keys: &'static keys::Table,
) -> Vec<Named<'a>> {
    tables(log, top, key)
        .into_iter()
        .map(|(name, table)| {
            let what = format!("{key} `{}`", name.value);
            let section = read(log, keys, &what, &name.span, table);
            let below = section.table("irq").map(|t| {
                read(
                    log,
                    &keys::IRQ,
                    &format!("the interrupt of {what}"),
                    &t.span,
                    t.value,
                )
            });
            Named {
                name,
                section,
                below,
            }
        })
        .collect()
}

fn read_component<'a>(
    log: &mut Log,
    directory: &Path,
    name: At<String>,
    table: &'a DeTable<'a>,
) -> RawComponent<'a> {
    let what = format!("component `{}`", name.value);
    let section = read(log, &keys::COMPONENT, &what, &name.span, table);
    let program = read_program(log, directory, &what, &section);
    let role = match section.text("role") {
        Some(word) => Role::from_word(&word.value),
        None => match &program {
            Some(ProgramSource::Package(package)) => Some(Role::of_package(package)),
            Some(_) => Some(Role::Application),
            None => None,
        },
    };
    let below = |log: &mut Log, key: &str, keys| {
        section.table(key).map(|t| {
            let at = section.key_span(key).unwrap_or(t.span);
            At::new(
                read(log, keys, &format!("`{key}` of {what}"), &at, t.value),
                at,
            )
        })
    };
    let threads = section.tables("threads").map(|list| {
        list.into_iter()
            .map(|t| {
                let what = format!("a thread of {what}");
                At::new(read(log, &keys::THREAD, &what, &t.span, t.value), t.span)
            })
            .collect()
    });
    let quota = below(log, "quota", &keys::QUOTA).map(|at| at.value);
    let network = below(log, "network", &keys::NETWORK);
    let mut config = Vec::new();
    if let Some(free) = section.table("config") {
        let reserved = match role {
            Some(Role::NetServer) => [&RESERVED[..], &RESERVED_OF_SERVER].concat(),
            _ => RESERVED.to_vec(),
        };
        read_config(log, &reserved, "", free.value, &mut config);
    }
    RawComponent {
        name,
        role,
        program,
        section,
        threads,
        quota,
        network,
        config,
    }
}

fn read_program(
    log: &mut Log,
    directory: &Path,
    what: &str,
    section: &Section<'_>,
) -> Option<ProgramSource> {
    if let Some(package) = section.text("program") {
        return Some(ProgramSource::Package(package.value));
    }
    let table = section.table("program")?;
    let what = format!("the program of {what}");
    let program = read(log, &keys::PROGRAM, &what, &table.span, table.value);
    let path = program.text("path")?;
    let full: PathBuf = directory.join(&path.value);
    if !full.join("Cargo.toml").is_file() {
        let message = format!("there is no package at `{}`", path.value);
        log.push(
            Diagnostic::error(Rule::MissingProgram, &path.span, message)
                .label("holds no Cargo.toml")
                .note("paths are relative to the directory of this file"),
        );
    }
    Some(ProgramSource::Path {
        directory: full,
        package: program.text("package").map(|p| p.value),
    })
}

/// Keys that the tool sets itself for every component.
const RESERVED: [&str; 1] = ["log"];
/// Keys that the tool sets itself for a protocol server.
const RESERVED_OF_SERVER: [&str; 10] = [
    "dhcp",
    "ip",
    "gateway",
    "dns",
    "mac",
    "tcp-receive-window",
    "tcp-send-buffer",
    "max-connections",
    "max-udp-sockets",
    "max-sockets",
];

fn read_config<'a>(
    log: &mut Log,
    reserved: &[&str],
    prefix: &str,
    table: &'a DeTable<'a>,
    config: &mut Vec<(String, String)>,
) {
    for (key, value) in table.iter() {
        let full = format!("{prefix}{}", key.get_ref());
        if prefix.is_empty() && reserved.contains(&key.get_ref().as_ref()) {
            let message = format!("the configuration key `{full}` is set by the tool");
            let diagnostic = Diagnostic::error(Rule::ConfigReserved, &key.span(), message);
            log.push(diagnostic.label("choose another name"));
            continue;
        }
        match value.get_ref() {
            DeValue::Table(below) => read_config(log, reserved, &format!("{full}."), below, config),
            scalar => match free_text(scalar) {
                Some(text) => config.push((full, text)),
                None => log.push(bad_config(&full, &value.span())),
            },
        }
    }
}

fn bad_config(key: &str, span: &Span) -> Diagnostic {
    let message = format!("the value of `{key}` cannot be handed to a component");
    Diagnostic::error(Rule::ConfigValue, span, message)
        .label("has no text form")
        .help("give a scalar, a table, or an array of scalars without commas")
}
