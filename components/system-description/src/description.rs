//! The whole system, as the root task carries it out.
//!
//! Invariant: numbers in here (`u16` indices of regions, components and
//! images) lie inside their tables; [`SystemDescription::decode`] checks that,
//! so the root task may index without doubt.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::record::{IrqPin, IrqRecord, Record};

/// Everything the root task needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "S: Serialize, B: Serialize",
    deserialize = "S: Deserialize<'de>, B: Deserialize<'de>"
))]
pub struct SystemDescription<S, B> {
    /// The system's name.
    pub name: S,
    /// Components, in order of start.
    pub components: Vec<Component<S, B>>,
    /// Shared and private memory beyond images and stacks.
    pub regions: Vec<Region<S>>,
    /// Who is told when a component dies.
    pub lifecycle: Option<Lifecycle>,
    /// Where the root task logs and publishes its own gauges.
    pub root_monitor: Option<RootMonitor>,
}

/// One component: a protection domain, or a guest in that of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "S: Serialize, B: Serialize",
    deserialize = "S: Deserialize<'de>, B: Deserialize<'de>"
))]
pub struct Component<S, B> {
    /// Its name.
    pub name: S,
    /// Which ELF image of the payload it runs.
    pub image: u16,
    /// The component in whose protection domain and first thread it runs, if it
    /// has none of its own. It then has neither threads, mappings nor
    /// capabilities here: what its records name is the host's.
    pub host: Option<u16>,
    /// log2 of the slots in its CSpace.
    pub cnode_bits: u8,
    /// Whether others may be given the right to call it.
    pub endpoint: bool,
    /// Its threads; the first runs `main`.
    pub threads: Vec<Thread<S>>,
    /// Regions mapped in its VSpace.
    pub mappings: Vec<Mapping>,
    /// Capabilities beyond its own notification and endpoint.
    pub caps: Vec<GrantedCap>,
    /// Devices.
    pub devices: Vec<DeviceGrant<S>>,
    /// Who holds its memory and hears of its faults, if not the root task.
    pub keeper: Option<Keeper>,
    /// Room for what it holds, if it is an I/O manager.
    pub keeps: Option<Keeps>,
    /// Its start-up records, in order; the root task fills in physical
    /// addresses and appends a `Device` record per device, and at an I/O
    /// manager a `Space` record per client and a `Holding` record for each part
    /// of the clients' memory.
    pub records: Vec<Record<S, B>>,
}

impl<S, B> Component<S, B> {
    /// Whether it has nothing that only a protection domain can have.
    fn owns_nothing(&self) -> bool {
        self.threads.is_empty()
            && self.mappings.is_empty()
            && self.caps.is_empty()
            && self.keeper.is_none()
            && self.keeps.is_none()
    }
}

/// The I/O manager that holds a component's memory: program, stacks and the
/// regions whose [`Mapping::held`] is set; start-up page and IPC buffers stay
/// with the root task. The frames are the manager's, so they outlive the
/// component. They are mapped in it with the capabilities that the manager
/// gets, and in the manager with copies. Its faults go to the manager's
/// endpoint first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Which component that is.
    pub manager: u16,
    /// The component's number there.
    pub client: u16,
}

/// Where an I/O manager has room for what it holds of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// First of the free slots, up to the end of the CSpace. The root task
    /// makes that larger if programs are.
    pub slot: u32,
    /// First free address, up to [`REGIONS_END`](crate::map::REGIONS_END).
    pub vaddr: u64,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread<S> {
    /// Its name in fault reports.
    pub name: S,
    /// Its priority, 1 to 254.
    pub priority: u8,
    /// Lowest address of its stack; the page below stays unmapped.
    pub stack: u64,
    /// Bytes of its stack.
    pub stack_bytes: u64,
    /// Address of its IPC buffer page; the pages around it stay unmapped.
    pub ipc_buffer: u64,
}

/// Grain of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageSize {
    /// 4 KiB pages.
    Small,
    /// 2 MiB pages.
    Large,
}

/// Memory that one or more components map. Starts zeroed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region<S> {
    /// For reports.
    pub name: S,
    /// A multiple of the page size.
    pub bytes: u64,
    /// Grain.
    pub page: PageSize,
    /// Physically contiguous, so that a device can use it.
    pub contiguous: bool,
    /// The component with whose death it goes; `None`: it stays.
    pub owner: Option<u16>,
    /// Rings that the root task formats before any component runs.
    pub rings: Vec<RingFormat>,
}

/// A ring to format: [`offset`](Self::offset) and the fields of
/// `shared_ring::RingLayout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingFormat {
    /// Bytes from the start of the region.
    pub offset: u64,
    /// Bytes an entry.
    pub entry_bytes: u16,
    /// Entries.
    pub capacity: u32,
    /// Feature word.
    pub features: u32,
}

/// A region in a VSpace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Which region.
    pub region: u16,
    /// Where.
    pub vaddr: u64,
    /// Writable, or read-only.
    pub writable: bool,
    /// Held by the component's [`Keeper`]; nobody else maps the region then.
    pub held: bool,
}

/// A capability in a CSpace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedCap {
    /// The slot, [`FIRST_ASSIGNED`](crate::map::slot::FIRST_ASSIGNED) or above.
    pub slot: u32,
    /// What it lets the component do.
    pub grant: Grant,
}

/// What a capability lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Signal a component's notification with this badge (send right only).
    Signal {
        /// Whose notification.
        component: u16,
        /// One bit, below bit 27.
        badge: u64,
    },
    /// Call a component's endpoint with this badge (send and grant-reply).
    Call {
        /// Whose endpoint.
        component: u16,
        /// `CALL_BADGE` plus the caller's number.
        badge: u64,
    },
    /// Map the frames of a region, where it likes: a capability a frame, in
    /// consecutive slots.
    Frames {
        /// Which region.
        region: u16,
    },
    /// Use I/O ports.
    IoPorts {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

/// A device for one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceGrant<S> {
    /// The name in system.toml.
    pub name: S,
    /// How the root task finds it.
    pub kind: DeviceKind,
    /// Where its windows are mapped, one after the other, each page-aligned.
    pub vaddr: u64,
    /// Address space set aside there, in bytes.
    pub vaddr_bytes: u64,
    /// Slot and badge of its interrupt, if it is to have one.
    pub irq: Option<IrqRecord>,
    /// Slot for its I/O ports, if it has some; 0 if none.
    pub ports: u32,
}

/// How a device is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// The `nth` PCI function with one of these identities; its interrupt is
    /// what the firmware wrote to the interrupt line register (INTx). The
    /// root task enables memory decoding and bus mastering.
    Pci {
        /// Vendor identity.
        vendor: u16,
        /// Device identities that match.
        devices: Vec<u16>,
        /// Which of several, in bus order from 0.
        nth: u8,
    },
    /// A memory-mapped device at a fixed address.
    Mmio {
        /// Physical address, page-aligned.
        paddr: u64,
        /// Bytes, a multiple of the page size.
        bytes: u64,
        /// Its interrupt.
        irq: Option<IrqPin>,
    },
    /// A device behind I/O ports.
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// Its interrupt.
        irq: Option<IrqPin>,
    },
}

/// Who is told about deaths, and where the states stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Region of one little-endian `u32` a component: 0 not started, 1
    /// running, 2 dead.
    pub region: u16,
    /// Component and badge bit to signal on every change.
    pub watchers: Vec<(u16, u64)>,
}

/// Where the root task logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMonitor {
    /// The monitor region.
    pub region: u16,
    /// The console component; once it is dead the root task writes to the
    /// serial port itself.
    pub console: u16,
    /// Badge bit to signal it with.
    pub badge: u64,
}

/// Why a description was refused. The host tool that made it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionError {
    /// Does not decode.
    Malformed,
    /// An index points outside its table; which one.
    Index(&'static str),
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the system description does not decode"),
            Self::Index(what) => write!(f, "the system description names a {what} that it lacks"),
        }
    }
}

impl core::error::Error for DescriptionError {}

impl<S, B> SystemDescription<S, B> {
    /// The component in whose protection domain component `index` runs: itself,
    /// or its host.
    #[must_use]
    pub fn domain(&self, index: usize) -> usize {
        let component = self.components.get(index);
        let host = component.and_then(|component| component.host);
        host.map_or(index, usize::from)
    }

    /// The guests of component `index`, in order.
    pub fn guests(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let of = move |c: &Component<S, B>| c.host.map(usize::from) == Some(index);
        let components = self.components.iter().enumerate();
        components.filter(move |(_, c)| of(c)).map(|(n, _)| n)
    }
}

impl<'a> SystemDescription<&'a str, &'a [u8]> {
    /// Decodes a description for a payload of `images` images, and checks
    /// every index in it.
    ///
    /// # Errors
    /// A [`DescriptionError`] that names what is wrong.
    pub fn decode(bytes: &'a [u8], images: usize) -> Result<Self, DescriptionError> {
        let this: Self = postcard::from_bytes(bytes).map_err(|_| DescriptionError::Malformed)?;
        for component in &this.components {
            known(usize::from(component.image) < images, "image")?;
            this.check_component(component)?;
        }
        this.check()?;
        Ok(this)
    }

    fn check(&self) -> Result<(), DescriptionError> {
        for region in &self.regions {
            self.component(region.owner)?;
        }
        if let Some(lifecycle) = &self.lifecycle {
            self.region(lifecycle.region)?;
            for (watcher, _) in &lifecycle.watchers {
                self.component(Some(*watcher))?;
            }
        }
        if let Some(monitor) = &self.root_monitor {
            self.region(monitor.region)?;
            self.component(Some(monitor.console))?;
        }
        Ok(())
    }

    fn check_component(&self, component: &Component<&str, &[u8]>) -> Result<(), DescriptionError> {
        for mapping in &component.mappings {
            self.region(mapping.region)?;
        }
        for cap in &component.caps {
            match cap.grant {
                Grant::Signal { component, .. } | Grant::Call { component, .. } => {
                    self.component(Some(component))?;
                }
                Grant::Frames { region } => self.region(region)?,
                Grant::IoPorts { .. } => {}
            }
        }
        if let Some(host) = component.host {
            let host = self.components.get(usize::from(host));
            known(host.is_some_and(|h| h.host.is_none()), "host")?;
            known(component.owns_nothing(), "guest with a domain of its own")?;
        }
        let Some(keeper) = component.keeper else {
            return Ok(());
        };
        let manager = self.components.get(usize::from(keeper.manager));
        known(manager.is_some_and(|m| m.keeps.is_some()), "manager")
    }

    fn component(&self, index: Option<u16>) -> Result<(), DescriptionError> {
        let inside = |i| usize::from(i) < self.components.len();
        known(index.is_none_or(inside), "component")
    }

    fn region(&self, index: u16) -> Result<(), DescriptionError> {
        known(usize::from(index) < self.regions.len(), "region")
    }
}

fn known(ok: bool, what: &'static str) -> Result<(), DescriptionError> {
    ok.then_some(()).ok_or(DescriptionError::Index(what))
}

impl<S: Serialize, B: Serialize> SystemDescription<S, B> {
    /// Encodes the description for the payload.
    ///
    /// # Errors
    /// Those of the serialiser; none for well-formed strings.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }
}
