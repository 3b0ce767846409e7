//! Another placement than the one that a description gives.
//!
//! Problem: the two placements are to be held against each other, on one and the
//! same system, by tests and by measurements. Whoever boots it may say where its
//! servers and drivers run; the rest of the description stays as it is.

use std::fmt;
use std::str::FromStr;

use system_toml::{Role, System};
use toml::{Table, Value};

/// Where protocol servers and NIC drivers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Both as components of their own.
    User,
    /// Both inside the I/O manager.
    Kernel,
    /// The server inside the I/O manager, the driver as a component.
    KernelServer,
    /// The driver inside the I/O manager, the server as a component.
    KernelDriver,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::User,
        Self::Kernel,
        Self::KernelServer,
        Self::KernelDriver,
    ];

    /// The word for it on a command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::KernelServer => "kernel-server",
            Self::KernelDriver => "kernel-driver",
        }
    }

    /// What `system.toml` says of a component with this role.
    fn of(self, role: Role) -> Option<&'static str> {
        let inside = match role {
            Role::NetServer => matches!(self, Self::Kernel | Self::KernelServer),
            Role::NicDriver => matches!(self, Self::Kernel | Self::KernelDriver),
            _ => return None,
        };
        Some(if inside { "kernel" } else { "user" })
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.word() == text);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word);
            format!("expected one of {}", words.join(", "))
        })
    }
}

/// Puts the servers and drivers of `system` elsewhere in its `table`.
pub(crate) fn replace(table: &mut Table, system: &System, placement: Placement) {
    for component in &system.model.components {
        let given = table
            .get_mut("component")
            .and_then(|components| components.get_mut(&component.name))
            .and_then(Value::as_table_mut);
        if let (Some(word), Some(given)) = (placement.of(component.role), given) {
            given.insert("placement".to_owned(), Value::String(word.to_owned()));
        }
    }
}
