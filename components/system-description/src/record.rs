//! Start-up records: what a component is told about itself.

use serde::{Deserialize, Serialize};

/// What a link between two components speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// Socket requests (`socket-api`): client ↔ I/O manager. `control`: the
    /// rings; `data`: the client's data region (the manager gets its size
    /// here, and its memory as a [`Record::Holding`]). `params`: [`quota`].
    Sockets,
    /// Validated socket requests and packets (`socket-api`): I/O manager ↔
    /// server. `control`: the rings; `data`: send slots, both write;
    /// contiguous. `params[0]` = MTU.
    Server,
    /// Frames (`nic-api`): I/O manager ↔ driver. `control`: the rings; `data`:
    /// payload buffers, at the manager only; contiguous. `params[0]` = MTU,
    /// `params[1]` = 1 if no frame is to be longer.
    Frames,
    /// Headers of received packets (`socket-api`): I/O manager writes `data`,
    /// server reads; contiguous. `params[0]` = MTU.
    Headers,
    /// Messages by value (`socket-api`), with `ipc = "conventional"`: I/O
    /// manager ↔ server. `control`: payload buffers, at the server only, which
    /// reads; `data`: messages, both write; contiguous. `params`: [`message`].
    Messages,
    /// Timer: client calls `call` to arm; expiry arrives as `badge`.
    /// `control`: the clock page, read-only for clients.
    Timer,
    /// Entropy: client calls `call`.
    Entropy,
    /// Log ring and counters (`monitor-api`): every component ↔ console.
    Monitor,
    /// States of all components, written by the root task, read-only here.
    Lifecycle,
    /// A channel between two components of the user's own.
    Custom,
}

/// Which end of a link a component has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Uses the service.
    Client,
    /// Provides it.
    Server,
}

/// Meaning of [`LinkRecord::params`] of a `Sockets` link.
pub mod quota {
    /// Sockets the client may have open.
    pub const SOCKETS: usize = 0;
    /// Requests it may have outstanding.
    pub const REQUESTS: usize = 1;
    /// Bytes it may have queued for sending.
    pub const QUEUED_BYTES: usize = 2;
    /// Requests taken from it in one turn (share of the server's budget).
    pub const SHARE: usize = 3;
    /// Received packets whose payload may wait for it in system memory.
    pub const RECEIVE_FRAMES: usize = 4;
    /// Threads of the client: whether it can do anything else while it waits.
    pub const THREADS: usize = 5;
}

/// Meaning of [`LinkRecord::params`] of a `Messages` link.
pub mod message {
    /// Bytes of the half that the manager writes.
    pub const TO_SERVER: usize = 0;
    /// Bytes of the half that the server writes.
    pub const FROM_SERVER: usize = 1;
    /// Requests that all clients together may have outstanding.
    pub const REQUESTS: usize = 2;
}

/// [`Holding::client`] of the manager's reserve, which is no client's.
pub const NO_CLIENT: u16 = u16::MAX;
/// [`Holding::client`] of the payload buffers of a NIC.
pub const PAYLOAD: u16 = u16::MAX - 1;

/// [`LinkRecord::peer_index`] of the root task, which is no component.
pub const NO_COMPONENT: u16 = u16::MAX;

/// A region as one component sees it; `bytes` = 0 means there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Number of the region in the system description.
    pub region: u16,
    /// Where it is mapped; 0 if it is not mapped here.
    pub vaddr: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Physical address if the region is contiguous; filled in by the root
    /// task, 0 before.
    pub paddr: u64,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord<S> {
    /// The link's name, unique in the component.
    pub name: S,
    /// The component at the other end.
    pub peer: S,
    /// Its number in the system, as in the lifecycle region;
    /// [`NO_COMPONENT`] if it is the root task.
    pub peer_index: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Which end this is.
    pub role: Role,
    /// At the serving end: the client's number, counted per protocol from 0.
    pub index: u16,
    /// The control region.
    pub control: Span,
    /// The data region.
    pub data: Span,
    /// Whether the peer runs in the same thread: it needs no signal, and has no
    /// capability to give one.
    pub near: bool,
    /// Slot of a capability that signals the peer; 0 if none.
    pub signal: u32,
    /// Slot of a capability to call the peer; 0 if none.
    pub call: u32,
    /// Badge bit with which the peer signals this component; 0 if never.
    /// Several links may share a bit when there are more links than bits.
    pub badge: u64,
    /// Meaning by protocol.
    pub params: [u32; 6],
}

/// A memory-mapped window of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// Which base address register (0 to 5); 0 for a fixed device.
    pub index: u8,
    /// Where it is mapped here; 0 for an I/O window.
    pub vaddr: u64,
    /// Physical address, or first I/O port.
    pub paddr: u64,
    /// Size in bytes, or in ports.
    pub bytes: u64,
}

/// An IO-APIC input and how it is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IrqPin {
    /// IO-APIC pin.
    pub pin: u8,
    /// Level triggered (else edge).
    pub level: bool,
    /// Active low (else high).
    pub low: bool,
}

/// An interrupt that arrives on the component's notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IrqRecord {
    /// Slot of the IRQ handler capability.
    pub slot: u32,
    /// Badge bit.
    pub badge: u64,
}

/// A device that the component drives. Made by the root task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord<S, B> {
    /// The name in system.toml.
    pub name: S,
    /// Windows; at most six.
    pub bars: [Option<Bar>; 6],
    /// Interrupt, if it has one.
    pub irq: Option<IrqRecord>,
    /// Slot of the I/O port capability, 0 if none.
    pub ports: u32,
    /// The device's PCI configuration space (256 bytes) as found after
    /// enumeration, or empty. The component cannot change it.
    pub config_space: B,
}

/// A thread of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRecord<S> {
    /// Its name in fault reports.
    pub name: S,
    /// Its number; 0 runs `main`.
    pub index: u8,
    /// Address of its IPC buffer.
    pub ipc_buffer: u64,
    /// Lowest address of its stack; a guard page lies below.
    pub stack: u64,
    /// Bytes of its stack.
    pub stack_bytes: u64,
}

/// Memory whose frames an I/O manager holds: a capability for each frame, in
/// consecutive slots of its CSpace, and a window onto all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Whose memory it is: number of the client, as [`LinkRecord::index`] of
    /// its `Sockets` link; [`NO_CLIENT`] or [`PAYLOAD`].
    pub client: u16,
    /// Where the client has it mapped; 0 if it is no client's.
    pub vaddr: u64,
    /// Its size in bytes, a multiple of the frames' size.
    pub bytes: u64,
    /// Frames of 2 MiB instead of 4 KiB.
    pub large: bool,
    /// Whether the client may write to it; if not, the window is read-only
    /// too.
    pub writable: bool,
    /// Where the manager has it mapped.
    pub own_vaddr: u64,
    /// Slot of the first frame. A client's frame is mapped there with this
    /// very capability; one of the reserve, or of the payload buffers, is not
    /// mapped with it.
    pub slot: u32,
}

/// One record of the start-up page. `B` is the type of byte strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "S: Serialize, B: Serialize",
    deserialize = "S: Deserialize<'de>, B: Deserialize<'de>"
))]
pub enum Record<S, B> {
    /// Comes first: who this is. A further one begins the records of a guest,
    /// which runs in the same protection domain.
    Component {
        /// Its name.
        name: S,
        /// The system's name.
        system: S,
        /// Its number in the system.
        index: u16,
    },
    /// One of its threads.
    Thread(ThreadRecord<S>),
    /// Private memory named `name` (`"heap"`, or `"sockets"` for the client
    /// library's book-keeping).
    Memory {
        /// What it is for.
        name: S,
        /// Where and how large.
        span: Span,
    },
    /// One end of a link.
    Link(LinkRecord<S>),
    /// A device.
    Device(DeviceRecord<S, B>),
    /// A configuration value from system.toml, as text.
    Config {
        /// Key; nested tables joined by dots.
        key: S,
        /// Value.
        value: S,
    },
    /// Memory that this component, an I/O manager, holds. Made by the root
    /// task where it is a client's.
    Holding(Holding),
    /// The address space of a client of this I/O manager.
    Space {
        /// Number of the client.
        client: u16,
        /// Slot of the capability.
        slot: u32,
    },
}
