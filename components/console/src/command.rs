//! The commands of the serial monitor.

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Which commands there are.
    Help,
    /// All gauges, by component.
    Resources,
    /// All counters, by component.
    Counters,
    /// The state of each component.
    Components,
    /// End the system.
    Shutdown,
}

impl Command {
    /// Every command and its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("help", Self::Help),
        ("resources", Self::Resources),
        ("counters", Self::Counters),
        ("components", Self::Components),
        ("shutdown", Self::Shutdown),
    ];

    /// The command called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(n, _)| *n == name);
        known.map(|(_, command)| *command)
    }
}
