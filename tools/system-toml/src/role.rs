//! What a component is in the system.

/// Roles, in order of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Owns the serial line, shows everybody's log.
    Console,
    /// Drives a timer for others.
    TimerDriver,
    /// Drives a source of entropy for others.
    EntropyDriver,
    /// Drives a network interface.
    NicDriver,
    /// Speaks the network protocols.
    NetServer,
    /// Stands between applications and servers.
    IoManager,
    /// Everything else.
    Application,
}

impl Role {
    /// All roles, in order of start.
    pub const ALL: [Self; 7] = [
        Self::Console,
        Self::TimerDriver,
        Self::EntropyDriver,
        Self::NicDriver,
        Self::NetServer,
        Self::IoManager,
        Self::Application,
    ];

    /// The words for `role = …`, in the order of [`Role::ALL`].
    pub(crate) const WORDS: [&'static str; 7] = [
        "console",
        "timer-driver",
        "entropy-driver",
        "nic-driver",
        "net-server",
        "io-manager",
        "application",
    ];

    /// The word in system.toml.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.word() == word)
    }

    /// The role of a program of ours that is not given one.
    pub(crate) fn of_package(package: &str) -> Self {
        match package {
            "console" => Self::Console,
            "hpet-driver" => Self::TimerDriver,
            "virtio-rng-driver" => Self::EntropyDriver,
            "virtio-net-driver" => Self::NicDriver,
            "net-server" => Self::NetServer,
            "io-manager" => Self::IoManager,
            _ => Self::Application,
        }
    }

    /// Article and word, for messages.
    pub(crate) fn a(self) -> String {
        let article = match self {
            Self::EntropyDriver | Self::IoManager | Self::Application => "an",
            _ => "a",
        };
        format!("{article} {}", self.word())
    }

    /// Heap of a component that is not given one, in bytes.
    pub(crate) fn default_heap(self) -> u64 {
        match self {
            Self::NetServer => 48 << 20,
            Self::IoManager => 4 << 20,
            _ => 0,
        }
    }

    /// Whether the component gets the clock without asking.
    pub(crate) fn wants_timer(self) -> bool {
        matches!(self, Self::Console | Self::NetServer | Self::IoManager)
    }

    /// Whether the component drives hardware and so must name a device.
    pub(crate) fn is_driver(self) -> bool {
        matches!(
            self,
            Self::Console | Self::TimerDriver | Self::EntropyDriver | Self::NicDriver
        )
    }
}
