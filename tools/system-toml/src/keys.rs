//! Every key of system.toml, with type, range and default.
//!
//! The one source for what the parser accepts, for the range it names in a
//! message, for "did you mean", and for the test that holds the manual
//! (`docs/system-toml.md`) against the parser.

use crate::role::Role;
use crate::units::show_size;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Text that is not empty.
    Text,
    /// A name: `a-z`, `0-9` and `-`, beginning with a letter.
    Name,
    /// `true` or `false`.
    Flag,
    /// A number from the first to the second.
    Integer(i64, i64),
    /// A size in bytes: least, most, step.
    Size(u64, u64, u64),
    /// A size in bytes that is a power of two: least, most.
    Power(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a component.
    Component,
    /// The name of a component, or `true`/`false`.
    ComponentOrFlag,
    /// One name, or a list of names.
    Names,
    /// One text, or a list of texts.
    Texts,
    /// `"dhcp"`, or an IPv4 address with a prefix length.
    Network,
    /// An IPv4 address.
    Ipv4,
    /// A list of up to three IPv4 addresses.
    Ipv4List,
    /// A MAC address.
    Mac,
    /// Two I/O ports: first and last.
    Ports,
    /// A package, or a table with a path.
    Program,
    /// A number of threads, a list of names, or an array of tables.
    Threads,
    /// A table with fixed keys.
    Table,
    /// Tables by name.
    Tables,
    /// An array of tables.
    Array,
    /// A table with free keys.
    Free,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds without it, in words; `None` if it must be given.
    pub default: Option<&'static str>,
    /// For components of which role; empty: of all.
    pub roles: &'static [Role],
}

/// The keys of one kind of table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Heading in the manual.
    pub heading: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

const fn must(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        default: None,
        roles: &[],
    }
}

const fn may(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        roles: &[],
    }
}

const fn only(roles: &'static [Role], key: Key) -> Key {
    Key { roles, ..key }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const PAGE: u64 = system_description::map::PAGE;
pub(crate) const STACK_MAX: u64 = system_description::map::THREAD_STRIDE - 4 * PAGE;
const HEAP_MAX: u64 = system_description::map::REGIONS - system_description::map::HEAP;
const APPLICATION: &[Role] = &[Role::Application];
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
const GRAINS: &[&str] = &["4 KiB", "2 MiB"];
const STACK: Kind = Kind::Size(PAGE, STACK_MAX, PAGE);
const PRIORITY: Kind = Kind::Integer(1, 254);

/// The file itself.
pub(crate) static ROOT: Table = Table {
    heading: "The file",
    keys: &[
        must("system", Kind::Table),
        must("component", Kind::Tables),
        may("forward", Kind::Array, "none"),
        may("channel", Kind::Tables, "none"),
        may("device", Kind::Tables, "the devices below"),
    ],
};

/// `[system]`.
pub(crate) static SYSTEM: Table = Table {
    heading: "[system]",
    keys: &[
        must("name", Kind::Name),
        may("memory", Kind::Size(32 * MIB, 3072 * MIB, MIB), "128 MiB"),
        may("log", Kind::Word(LEVELS), "info"),
    ],
};

/// `[component.NAME]`.
pub(crate) static COMPONENT: Table = Table {
    heading: "[component.NAME]",
    keys: &[
        must("program", Kind::Program),
        may("role", Kind::Word(&Role::WORDS), "by program"),
        may("priority", PRIORITY, "100"),
        may("threads", Kind::Threads, "1"),
        may("stack", STACK, "64 KiB"),
        may("heap", Kind::Size(0, HEAP_MAX, PAGE), "by role"),
        may("devices", Kind::Names, "none"),
        may("timer", Kind::ComponentOrFlag, "by role"),
        may("entropy", Kind::ComponentOrFlag, "by role"),
        may("log", Kind::Word(LEVELS), "that of the system"),
        may("config", Kind::Free, "empty"),
        only(APPLICATION, may("sockets", Kind::Component, "none")),
        only(
            APPLICATION,
            may("data", Kind::Size(64 * KIB, 64 * MIB, PAGE), "2 MiB"),
        ),
        only(APPLICATION, may("grain", Kind::Word(GRAINS), "4 KiB")),
        only(APPLICATION, may("quota", Kind::Table, "the defaults below")),
        only(
            &[Role::IoManager],
            may("server", Kind::Component, "the only net-server"),
        ),
        only(
            &[Role::IoManager],
            may("frames", Kind::Size(64 * KIB, 256 * MIB, PAGE), "2 MiB"),
        ),
        only(
            &[Role::IoManager],
            may("ipc", Kind::Word(&["io", "conventional"]), "io"),
        ),
        only(
            &[Role::NetServer],
            may("nic", Kind::Component, "the only nic-driver"),
        ),
        only(
            &[Role::NetServer, Role::NicDriver],
            may("placement", Kind::Word(&["user", "kernel"]), "user"),
        ),
        only(
            &[Role::NetServer],
            may("network", Kind::Table, "the defaults below"),
        ),
    ],
};

/// `program = { … }`.
pub(crate) static PROGRAM: Table = Table {
    heading: "program = { … }",
    keys: &[
        must("path", Kind::Text),
        may("package", Kind::Text, "the package in that directory"),
    ],
};

/// `[[component.NAME.threads]]`.
pub(crate) static THREAD: Table = Table {
    heading: "[[component.NAME.threads]]",
    keys: &[
        must("name", Kind::Name),
        may("priority", PRIORITY, "that of the component"),
        may("stack", STACK, "that of the component"),
    ],
};

/// `[component.NAME.quota]`.
pub(crate) static QUOTA: Table = Table {
    heading: "[component.NAME.quota]",
    keys: &[
        may("sockets", Kind::Integer(1, 4096), "128"),
        may(
            "requests",
            Kind::Integer(1, socket_api::CLIENT_REQUESTS as i64),
            "256",
        ),
        may(
            "queued-bytes",
            Kind::Size(4 * KIB, 64 * MIB, KIB),
            "256 KiB",
        ),
        may("share", Kind::Integer(1, 256), "32"),
        may("receive-frames", Kind::Integer(1, 4096), "256"),
    ],
};

/// `[component.NAME.network]`.
pub(crate) static NETWORK: Table = Table {
    heading: "[component.NAME.network]",
    keys: &[
        may("address", Kind::Network, "dhcp"),
        may("gateway", Kind::Ipv4, "by DHCP, or none"),
        may("dns", Kind::Ipv4List, "by DHCP, or none"),
        may("mac", Kind::Mac, "that of the device"),
        may("mtu", Kind::Integer(576, 9000), "1500"),
        may("window", Kind::Power(4 * KIB, MIB), "64 KiB"),
        may("connections", Kind::Integer(1, 4096), "256"),
        may("udp-sockets", Kind::Integer(1, 4096), "64"),
    ],
};

/// `[[forward]]`.
pub(crate) static FORWARD: Table = Table {
    heading: "[[forward]]",
    keys: &[
        must("protocol", Kind::Word(&["udp", "tcp"])),
        must("guest-port", Kind::Integer(1, 65535)),
        may("host-port", Kind::Integer(1, 65535), "a free one"),
        must("to", Kind::Component),
    ],
};

/// `[channel.NAME]`.
pub(crate) static CHANNEL: Table = Table {
    heading: "[channel.NAME]",
    keys: &[
        must("from", Kind::Component),
        must("to", Kind::Component),
        may("memory", Kind::Size(0, 256 * MIB, PAGE), "0"),
        may("grain", Kind::Word(GRAINS), "4 KiB"),
        may("write", Kind::Word(ENDS), "both"),
        may("notify", Kind::Word(ENDS), "both"),
        may("call", Kind::Flag, "false"),
    ],
};

const ENDS: &[&str] = &["both", "from", "to", "none"];

/// `[device.NAME]`.
pub(crate) static DEVICE: Table = Table {
    heading: "[device.NAME]",
    keys: &[
        may("pci", Kind::Texts, "none"),
        may("nth", Kind::Integer(0, 31), "0"),
        may("window", Kind::Size(PAGE, 256 * MIB, PAGE), "1 MiB"),
        may("mmio", Kind::Integer(0, 0xf_ffff_ffff_f000), "none"),
        may("size", Kind::Size(PAGE, 256 * MIB, PAGE), "4 KiB"),
        may("ports", Kind::Ports, "none"),
        may("irq", Kind::Table, "none"),
    ],
};

/// `[device.NAME.irq]`.
pub(crate) static IRQ: Table = Table {
    heading: "[device.NAME.irq]",
    keys: &[
        must("pin", Kind::Integer(0, 23)),
        may("trigger", Kind::Word(&["edge", "level"]), "edge"),
        may("polarity", Kind::Word(&["high", "low"]), "high"),
    ],
};

/// All kinds of tables, in the order of the manual.
pub static TABLES: [&Table; 12] = [
    &ROOT, &SYSTEM, &COMPONENT, &PROGRAM, &THREAD, &QUOTA, &NETWORK, &FORWARD, &CHANNEL, &DEVICE,
    &IRQ, &CONFIG,
];

/// `[component.NAME.config]`: free keys.
static CONFIG: Table = Table {
    heading: "[component.NAME.config]",
    keys: &[],
};

impl Kind {
    /// The type in words, as in messages and in the manual.
    #[must_use]
    pub fn words(self) -> String {
        let text = match self {
            Self::Text => "text",
            Self::Name => "name",
            Self::Flag => "`true` or `false`",
            Self::Integer(min, max) => return format!("integer, {min} to {max}"),
            Self::Size(min, max, step) => return size_words(min, max, step),
            Self::Power(min, max) => {
                let (min, max) = (show_size(min), show_size(max));
                return format!("size, {min} to {max}, a power of two");
            }
            Self::Word(words) => return words_of(words),
            Self::Component => "name of a component",
            Self::ComponentOrFlag => "name of a component, `true` or `false`",
            Self::Names => "name or list of names",
            Self::Texts => "text or list of texts",
            Self::Network => "`\"dhcp\"`, or IPv4 address and prefix length",
            Self::Ipv4 => "IPv4 address",
            Self::Ipv4List => "list of up to three IPv4 addresses",
            Self::Mac => "MAC address",
            Self::Ports => "list of first and last port",
            Self::Program => "name of a package, or table with a path",
            Self::Threads => "integer, list of names, or array of tables",
            Self::Table => "table",
            Self::Tables => "tables by name",
            Self::Array => "array of tables",
            Self::Free => "table with free keys",
        };
        text.to_owned()
    }
}

fn size_words(min: u64, max: u64, step: u64) -> String {
    let (min, max, step) = (show_size(min), show_size(max), show_size(step));
    format!("size, {min} to {max}, in steps of {step}")
}

fn words_of(words: &[&str]) -> String {
    let list: Vec<String> = words.iter().map(|w| format!("`\"{w}\"`")).collect();
    list.join(", ")
}
