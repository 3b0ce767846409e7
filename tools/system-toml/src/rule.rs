//! The rules that a `system.toml` must keep, by name.
//!
//! Each diagnostic carries the rule it is about, and each rule has a fixture
//! named after it under `tests/fixtures/`; a test holds the two lists
//! together.

macro_rules! rules {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// What a diagnostic is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[$meta])* $variant,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The rule's name, as shown in brackets and as the stem of its
            /// fixture.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

rules! {
    /// The file cannot be read.
    Unreadable = "unreadable",
    /// Not TOML.
    Syntax = "syntax",
    /// A key or a name is given twice.
    DuplicateName = "duplicate-name",
    /// A key that does not exist.
    UnknownKey = "unknown-key",
    /// A key that only exists for components of another role.
    KeyNotForRole = "key-not-for-role",
    /// A key that must be there is missing.
    MissingKey = "missing-key",
    /// A value of another type.
    WrongType = "wrong-type",
    /// A number outside its range.
    OutOfRange = "out-of-range",
    /// A size that is not a number and a unit.
    BadSize = "bad-size",
    /// A size below the least or above the most.
    SizeOutOfRange = "size-out-of-range",
    /// A size that is not a multiple of its step.
    SizeNotMultiple = "size-not-multiple",
    /// A name with other characters than `a-z`, `0-9` and `-`.
    BadName = "bad-name",
    /// A name that means something else already.
    ReservedName = "reserved-name",
    /// A word that is not among those possible.
    UnknownValue = "unknown-value",
    /// No component has this name.
    UnknownComponent = "unknown-component",
    /// The component named has another role than is needed here.
    WrongRole = "wrong-role",
    /// A role is needed, and nobody has it.
    MissingRole = "missing-role",
    /// Several components have the role, and none is named.
    AmbiguousRole = "ambiguous-role",
    /// A role that only one component can have.
    RoleTaken = "role-taken",
    /// A driver or server that only one other component can use.
    AlreadyServed = "already-served",
    /// No device has this name.
    UnknownDevice = "unknown-device",
    /// Two components drive one device.
    DeviceTaken = "device-taken",
    /// A driver without its device.
    MissingDevice = "missing-device",
    /// A device that is not described in exactly one way.
    BadDevice = "bad-device",
    /// The directory of a program holds no `Cargo.toml`.
    MissingProgram = "missing-program",
    /// More components than the tools can number.
    TooManyComponents = "too-many-components",
    /// More threads than fit a component.
    TooManyThreads = "too-many-threads",
    /// More links than notification bits.
    TooManyLinks = "too-many-links",
    /// More pages of clients than an I/O manager can hold.
    TooManyPages = "too-many-pages",
    /// Configuration that does not fit the start-up page.
    ConfigTooLong = "config-too-long",
    /// A configuration value that has no text form.
    ConfigValue = "config-value",
    /// A configuration key that the tool sets itself.
    ConfigReserved = "config-reserved",
    /// Not an IPv4 address, or not one that a host can have.
    BadAddress = "bad-address",
    /// Not a MAC address.
    BadMac = "bad-mac",
    /// A MAC address that names a group.
    MulticastMac = "multicast-mac",
    /// A key for static addresses beside DHCP.
    StaticWithDhcp = "static-with-dhcp",
    /// The gateway is not in the network.
    GatewayOutside = "gateway-outside",
    /// Without a gateway only the own network can be reached.
    NoGateway = "no-gateway",
    /// A component that cannot run inside an I/O manager.
    KernelPlacement = "kernel-placement",
    /// A key that says nothing about a component inside an I/O manager.
    NoEffect = "no-effect",
    /// A forward to a component without the right to use sockets.
    ForwardTarget = "forward-target",
    /// A port forwarded twice.
    DuplicateForward = "duplicate-forward",
    /// A channel from a component to itself.
    SelfChannel = "self-channel",
    /// A channel that carries nothing.
    EmptyChannel = "empty-channel",
    /// More may be queued than the data region holds.
    QuotaExceedsData = "quota-exceeds-data",
    /// Too few requests to wait for every socket at once.
    QuotaReadiness = "quota-readiness",
    /// Windows times connections exceed the server's heap.
    WindowsExceedHeap = "windows-exceed-heap",
    /// The system does not fit the memory.
    MemoryExceeded = "memory-exceeded",
    /// A component does not fit its address space.
    AddressSpaceExceeded = "address-space-exceeded",
    /// Priorities along the data path differ.
    PriorityPath = "priority-path",
    /// Nobody shows the log.
    NoConsole = "no-console",
    /// A driver or server that nobody uses.
    Unused = "unused",
}
