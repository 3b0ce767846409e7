//! Parses and validates system.toml, and lays the system out.
//!
//! Problem: people write names, sizes, rights and priorities; the root task
//! wants slots, addresses, badges and regions, and a mistake in the file must
//! be found before anything is built. Three steps, each in one direction:
//!
//! 1. sections are read against the one table of keys ([`keys`]), every value
//!    with its place in the file;
//! 2. references, roles and defaults are resolved into a [`Model`], and rules
//!    across components are checked;
//! 3. the model is laid out into a `SystemDescription`.
//!
//! Invariant: [`load`] either gives a system that the root task can carry
//! out, or a [`Report`] with *every* mistake, in order of position.
#![forbid(unsafe_code)]

mod address;
mod check;
mod crossings;
mod device;
pub mod keys;
mod layout;
mod model;
mod names;
mod network;
mod number;
mod placement;
mod raw;
mod report;
mod resolve;
mod role;
mod rule;
mod section;
mod trust;
mod units;
mod value;
pub mod view;
mod wiring;

use std::path::{Path, PathBuf};

use system_description::SystemDescription;
use toml::de::DeTable;

pub use crossings::{Crossings, Way};
pub use layout::show_mac;
pub use model::{
    Channel, Client, Component, Device, Ends, Forward, ForwardProtocol, Model, Network, Program,
    ProgramSource, Thread,
};
pub use report::{Diagnostic, Report, Severity, Span};
pub use role::Role;
pub use rule::Rule;
pub use units::show_size;

/// A system that can be built.
#[derive(Clone, Debug)]
pub struct System {
    /// What the file says.
    pub model: Model,
    /// The programs to build; a program's index here is its image's index in
    /// [`System::describe`].
    pub programs: Vec<Program>,
    /// Ports of the host that lead to components.
    pub forwards: Vec<Forward>,
    /// Memory of the virtual machine, in MiB.
    pub memory_mib: u64,
    /// Warnings; may be empty.
    pub warnings: Report,
    description: SystemDescription<String, Vec<u8>>,
}

/// Reads, checks and lays out the system in the file at `path`.
///
/// # Errors
/// A [`Report`] with every error and warning, in order of position.
pub fn load(path: &Path) -> Result<System, Report> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Report::unreadable(&shown, &e))?;
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    parse(&shown, &directory, &text)
}

/// As [`load`], for a text at hand; `path` is for the report only, and paths
/// in the file are relative to `directory`.
///
/// # Errors
/// A [`Report`] with every error and warning, in order of position.
pub fn parse(path: &str, directory: &Path, text: &str) -> Result<System, Report> {
    let mut log = Vec::new();
    let (root, syntax) = DeTable::parse_recoverable(text);
    log.extend(syntax.iter().map(|e| syntax_error(text, e)));
    let mut raw = raw::read_file(&mut log, directory, &root);
    let model = resolve::resolve(&mut log, &mut raw);
    let description = layout::lay_out(&model);
    check::check(&mut log, &raw, &model, &description);
    let report = Report::new(path, text, log);
    match description {
        Ok(description) if report.errors() == 0 => Ok(System {
            programs: model.programs.clone(),
            forwards: model.forwards.clone(),
            memory_mib: model.memory_bytes >> 20,
            warnings: report,
            model,
            description,
        }),
        _ => Err(report),
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let given = text.get(span.clone()).unwrap_or("");
    if error.message() == "duplicate key" {
        let message = format!("`{given}` is given twice");
        return Diagnostic::error(Rule::DuplicateName, &span, message)
            .label("given before, in the same table");
    }
    let message = format!("not TOML: {}", error.message());
    Diagnostic::error(Rule::Syntax, &span, message).label("here")
}

impl System {
    /// The description for the payload. `image_of` gives the number of the
    /// image of each of [`System::programs`].
    #[must_use]
    pub fn describe(&self, image_of: impl Fn(usize) -> u16) -> SystemDescription<String, Vec<u8>> {
        let mut description = self.description.clone();
        for (made, component) in description
            .components
            .iter_mut()
            .zip(&self.model.components)
        {
            made.image = image_of(component.program);
        }
        description
    }

    /// The NIC drivers' networks, in the order of the NICs: component index
    /// of the driver, and what its server wants.
    #[must_use]
    pub fn networks(&self) -> Vec<(usize, &Network)> {
        let components = &self.model.components;
        let mut list: Vec<_> = components
            .iter()
            .filter_map(|c| Some((c.nic?, c.network.as_ref()?)))
            .collect();
        list.sort_by_key(|(nic, _)| *nic);
        list
    }

    /// Whether some component drives the device of this name (`virtio-net`,
    /// `virtio-rng`, `hpet`, `serial`, `exit`, or one of the file's own).
    #[must_use]
    pub fn uses_device(&self, name: &str) -> bool {
        let model = &self.model;
        let mut used = model.components.iter().flat_map(|c| &c.devices);
        used.any(|d| model.devices[*d].name == name)
    }
}
