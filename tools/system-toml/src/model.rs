//! The validated model of a system: what `system.toml` says, with every
//! reference resolved and every default filled in.
//!
//! Invariant: a [`Model`] that [`load`](crate::load) hands out broke no rule
//! of [`Rule`](crate::Rule) that is an error; indices in it are in range.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use socket_api::MessageSizes;
use system_description::{DeviceKind, PageSize};

use crate::report::Span;
use crate::role::Role;

/// A system.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Memory of the (virtual) machine, in bytes; a multiple of 1 MiB.
    pub memory_bytes: u64,
    /// Components, in order of start.
    pub components: Vec<Component>,
    /// The programs that the components run, each once.
    pub programs: Vec<Program>,
    /// The devices that components drive.
    pub devices: Vec<Device>,
    /// Ports of the host that lead to components.
    pub forwards: Vec<Forward>,
    /// Channels of the user's own.
    pub channels: Vec<Channel>,
}

/// A component.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Where the name stands in the file.
    pub span: Span,
    /// What it is in the system.
    pub role: Role,
    /// Where it comes from.
    pub source: ProgramSource,
    /// Index of its program in [`Model::programs`]; that of its host, if it has
    /// one.
    pub program: usize,
    /// The I/O manager in whose protection domain and thread it runs:
    /// `placement = "kernel"`.
    pub host: Option<usize>,
    /// Priority, 1 to 254.
    pub priority: u8,
    /// Threads; the first runs `main`.
    pub threads: Vec<Thread>,
    /// Private memory for an allocator, in bytes; 0: none.
    pub heap_bytes: u64,
    /// Indices of its devices in [`Model::devices`].
    pub devices: Vec<usize>,
    /// The timer driver that it may ask.
    pub timer: Option<usize>,
    /// The entropy driver that it may ask.
    pub entropy: Option<usize>,
    /// Least severe level that it logs: `off`, `error` … `trace`.
    pub log: String,
    /// Free configuration: keys (tables joined by dots) and values as text.
    pub config: Vec<(String, String)>,
    /// Its right to use sockets.
    pub client: Option<Client>,
    /// An I/O manager's protocol server.
    pub server: Option<usize>,
    /// An I/O manager's reserve of frames for copies, in bytes; else 0.
    pub reserve_bytes: u64,
    /// How an I/O manager and its server pass payload.
    pub ipc: Ipc,
    /// A protocol server's NIC driver.
    pub nic: Option<usize>,
    /// A protocol server's network.
    pub network: Option<Network>,
}

/// How payload gets from an I/O manager's clients to its server and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipc {
    /// By reference: the server never has it.
    #[default]
    Io,
    /// In messages, by value.
    Conventional,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name in fault reports.
    pub name: String,
    /// Priority, 1 to 254.
    pub priority: u8,
    /// Bytes of its stack.
    pub stack_bytes: u64,
}

/// The right to use sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The I/O manager.
    pub manager: usize,
    /// Bytes of the data region.
    pub data_bytes: u64,
    /// Grain of the data region.
    pub grain: PageSize,
    /// Sockets that it may have open.
    pub sockets: u32,
    /// Requests that it may have outstanding.
    pub requests: u32,
    /// Bytes that it may have queued for sending.
    pub queued_bytes: u32,
    /// Requests taken from it in one turn.
    pub share: u32,
    /// Received packets whose payload may wait for it in system memory.
    pub receive_frames: u32,
}

/// A protocol server's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Own address and prefix length; `None`: by DHCP.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Gateway of a static network.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers of a static network.
    pub dns: Vec<Ipv4Addr>,
    /// MAC address; `None`: that of the device.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Bytes of a TCP window, each way.
    pub window_bytes: u64,
    /// TCP connections with windows at one time, those half open included.
    pub connections: u32,
    /// UDP sockets that may be bound.
    pub udp_sockets: u32,
}

/// Something that cargo builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it comes from.
    pub source: ProgramSource,
    /// Where the servers and drivers come from that are linked into it, in
    /// order of start.
    pub guests: Vec<ProgramSource>,
    /// The components that run it, guests included.
    pub components: Vec<usize>,
}

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSource {
    /// A package of the workspace.
    Package(String),
    /// A package at this directory, of this name if given.
    Path {
        /// Directory with a `Cargo.toml`.
        directory: PathBuf,
        /// Name of the package; `None`: the one in that directory.
        package: Option<String>,
    },
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// How it is found.
    pub kind: DeviceKind,
    /// Address space set aside for its windows, in bytes.
    pub window_bytes: u64,
    /// Whether it raises interrupts.
    pub irq: bool,
}

impl Device {
    /// Whether the device reads and writes memory on its own.
    #[must_use]
    pub fn has_dma(&self) -> bool {
        matches!(self.kind, DeviceKind::Pci { .. })
    }

    /// Whether two devices are, at least in part, the same hardware.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        use DeviceKind::{Mmio, Pci, Ports};
        match (&self.kind, &other.kind) {
            (
                Pci {
                    vendor: v,
                    devices: d,
                    nth: n,
                },
                Pci {
                    vendor,
                    devices,
                    nth,
                },
            ) => v == vendor && n == nth && d.iter().any(|id| devices.contains(id)),
            (
                Mmio {
                    paddr: a, bytes: n, ..
                },
                Mmio { paddr, bytes, .. },
            ) => *a < paddr.saturating_add(*bytes) && *paddr < a.saturating_add(*n),
            (
                Ports {
                    first: a, last: b, ..
                },
                Ports { first, last, .. },
            ) => a <= last && first <= b,
            _ => false,
        }
    }
}

/// Transport protocols that can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardProtocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl ForwardProtocol {
    /// The word in system.toml: `udp` or `tcp`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A port of the host that leads to a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Which protocol.
    pub protocol: ForwardProtocol,
    /// Port on the host's 127.0.0.1; `None`: a free one.
    pub host_port: Option<u16>,
    /// Port in the system.
    pub guest_port: u16,
    /// The component that serves it.
    pub component: usize,
}

/// Which ends of a channel may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The component named by `from`.
    pub from: bool,
    /// The component named by `to`.
    pub to: bool,
}

/// A channel of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name; the name of the link at both ends.
    pub name: String,
    /// One end; client of calls.
    pub from: usize,
    /// The other end.
    pub to: usize,
    /// Shared memory in bytes; 0: none.
    pub memory_bytes: u64,
    /// Grain of that memory.
    pub grain: PageSize,
    /// Who may write the memory.
    pub write: Ends,
    /// Who may signal the other.
    pub notify: Ends,
    /// Whether `from` may call `to`.
    pub call: bool,
}

impl Model {
    /// The pairs of components on a client's data path that signal each other,
    /// as far as they are there: client and I/O manager, manager and server,
    /// manager and driver.
    #[must_use]
    pub fn data_path(&self, client: usize) -> Vec<(usize, usize)> {
        let Some(manager) = self.manager_of(client) else {
            return Vec::new();
        };
        let mut pairs = vec![(client, manager)];
        let server = self.components[manager].server;
        let driver = server.and_then(|s| self.components[s].nic);
        pairs.extend(server.map(|s| (manager, s)));
        pairs.extend(driver.map(|d| (manager, d)));
        pairs
    }

    /// The component in whose protection domain component `index` runs: itself,
    /// or its host.
    #[must_use]
    pub fn domain(&self, index: usize) -> usize {
        self.components[index].host.unwrap_or(index)
    }

    /// The components inside component `index`, in order of start.
    pub fn guests(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.components.len()).filter(move |i| self.components[*i].host == Some(index))
    }

    /// Bytes of heap in the protection domain of component `index`, guests
    /// included: there is one allocator.
    #[must_use]
    pub fn heap_bytes(&self, index: usize) -> u64 {
        let guests = self.guests(index).map(|g| self.components[g].heap_bytes);
        self.components[index].heap_bytes + guests.sum::<u64>()
    }

    /// The I/O manager of a component with the right to use sockets.
    #[must_use]
    pub fn manager_of(&self, client: usize) -> Option<usize> {
        let client = self.components[client].client.as_ref();
        client.map(|c| c.manager)
    }

    /// Sizes of the messages between a protocol server and its I/O manager, if
    /// they pass payload by value.
    #[must_use]
    pub fn messages_of(&self, server: usize) -> Option<MessageSizes> {
        let is_its = |c: &Component| c.server == Some(server) && c.ipc == Ipc::Conventional;
        let manager = self.components.iter().position(is_its)?;
        let network = self.components[server].network.as_ref()?;
        let clients = self.components.iter().filter_map(|c| c.client.as_ref());
        let clients = clients.filter(|c| c.manager == manager);
        let (bytes, requests) = clients.fold((0, 0), |(bytes, requests), client| {
            let queued = u64::from(client.queued_bytes);
            (bytes + queued, requests + client.requests)
        });
        let requests = requests.min(socket_api::SERVER_REQUESTS);
        Some(MessageSizes::of(bytes, requests, network.mtu as usize))
    }

    /// Bytes of heap that a protocol server needs to pass payload by value.
    #[must_use]
    pub fn message_heap(&self, server: usize) -> u64 {
        let network = self.components[server].network.as_ref();
        let mtu = network.map_or(0, |n| n.mtu as usize);
        let sizes = self.messages_of(server);
        sizes.map_or(0, |sizes| sizes.socket_bytes(mtu) as u64)
    }

    /// Sockets that all clients behind a protocol server may have open.
    #[must_use]
    pub fn sockets_behind(&self, server: usize) -> u32 {
        let clients = self.components.iter().filter_map(|c| c.client.as_ref());
        let behind = clients.filter(|c| self.components[c.manager].server == Some(server));
        behind.map(|c| c.sockets).sum()
    }

    /// Components with this role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        (0..self.components.len()).filter(move |i| self.components[*i].role == role)
    }
}
