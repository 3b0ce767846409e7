//! What `inspect` and `check` show: components, capabilities, memory, trust.
//!
//! Invariant: everything here is read off the model and the description that
//! the root task gets, so what is shown is what will be.

use system_description::{
    Component as Made, DeviceKind, Grant, Keeper, PageSize, Region, SystemDescription,
};

use crate::System;
use crate::crossings::{self, Crossings};
use crate::model::{Component, Model, ProgramSource};
use crate::role::Role;
use crate::trust;
use crate::units::show_size;

/// Memory that the kernel, the root task and their objects take, in bytes.
const KERNEL_BYTES: u64 = 16 << 20;
/// Memory that a component takes beside what is named, in bytes: image,
/// start-up page, page tables, kernel objects.
const COMPONENT_BYTES: u64 = 512 << 10;
/// Memory that a slot of a CSpace takes, in bytes.
const SLOT_BYTES: u64 = 32;

/// Where the memory goes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Kernel and root task; an allowance.
    pub kernel: u64,
    /// Images, page tables and kernel objects of components; an allowance.
    pub components: u64,
    /// Stacks and IPC buffers.
    pub stacks: u64,
    /// Heaps.
    pub heaps: u64,
    /// Data regions and channels.
    pub data: u64,
    /// Rings, logs, buffers of NICs, book-keeping.
    pub other: u64,
}

impl Memory {
    /// The parts, with what they are for.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("kernel and root task (allowance)", self.kernel),
            (
                "images and kernel objects of components (allowance)",
                self.components,
            ),
            ("stacks", self.stacks),
            ("heaps", self.heaps),
            ("data regions and channels", self.data),
            ("rings, logs and buffers", self.other),
        ]
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Where the memory of a laid-out system goes.
pub(crate) fn memory(model: &Model, description: &SystemDescription<String, Vec<u8>>) -> Memory {
    let page = system_description::map::PAGE;
    let threads = description.components.iter().flat_map(|c| &c.threads);
    let heaps = model.components.iter().map(|c| c.heap_bytes).sum();
    let clients = model.components.iter().filter_map(|c| c.client.as_ref());
    let channels: u64 = model.channels.iter().map(|c| c.memory_bytes).sum();
    let data = clients.map(|c| c.data_bytes).sum::<u64>() + channels;
    let regions: u64 = description.regions.iter().map(taken).sum();
    let components = description.components.iter();
    let domains = components.filter(|c| c.host.is_none());
    let slots = domains.clone().map(|c| SLOT_BYTES << c.cnode_bits);
    let domains = domains.count();
    Memory {
        kernel: KERNEL_BYTES,
        components: COMPONENT_BYTES * domains as u64 + slots.sum::<u64>(),
        stacks: threads.map(|t| t.stack_bytes + page).sum(),
        heaps,
        data,
        // A model with mistakes may have less laid out than it names.
        other: regions.saturating_sub(heaps + data),
    }
}

/// Memory that a region takes: contiguous ones come from one piece, whose size
/// is a power of two.
fn taken(region: &Region<String>) -> u64 {
    match region.contiguous {
        true => region.bytes.next_power_of_two(),
        false => region.bytes,
    }
}

/// What `inspect` shows of a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its components, in order of start.
    pub components: Vec<ComponentView>,
    /// Where the memory goes.
    pub memory: Memory,
    /// Memory of the virtual machine, in bytes.
    pub memory_bytes: u64,
    /// Which crossings data takes, by client.
    pub crossings: Vec<Crossings>,
    /// What must be trusted, and why.
    pub trust: Vec<String>,
}

/// What `inspect` shows of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Package or directory of its program.
    pub program: String,
    /// The component inside which it runs, if it has no protection domain of its
    /// own.
    pub host: Option<String>,
    /// Names and priorities of its threads.
    pub threads: Vec<(String, u8)>,
    /// What it may do, one line each.
    pub capabilities: Vec<String>,
    /// What is mapped where, in order of address.
    pub map: Vec<MapLine>,
}

/// A span of a component's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// First address.
    pub vaddr: u64,
    /// Bytes.
    pub bytes: u64,
    /// What is there.
    pub name: String,
    /// Writable, or read-only.
    pub writable: bool,
    /// Grain, in bytes.
    pub page: u64,
}

impl System {
    /// The system as `inspect` shows it.
    #[must_use]
    pub fn view(&self) -> View {
        let components = self
            .model
            .components
            .iter()
            .zip(&self.description.components)
            .map(|(component, made)| self.component_view(component, made))
            .collect();
        View {
            name: self.model.name.clone(),
            components,
            memory: memory(&self.model, &self.description),
            memory_bytes: self.model.memory_bytes,
            crossings: crossings::all(&self.model),
            trust: trust::notes(&self.model),
        }
    }

    fn component_view(&self, component: &Component, made: &Made<String, Vec<u8>>) -> ComponentView {
        let program = match &component.source {
            ProgramSource::Package(package) => package.clone(),
            ProgramSource::Path { directory, package } => {
                let directory = directory.display();
                match package {
                    Some(package) => format!("{package} in {directory}"),
                    None => directory.to_string(),
                }
            }
        };
        let threads = made
            .threads
            .iter()
            .map(|t| (t.name.clone(), t.priority))
            .collect();
        ComponentView {
            name: component.name.clone(),
            role: component.role,
            program,
            host: component
                .host
                .map(|h| self.model.components[h].name.clone()),
            threads,
            capabilities: self.capabilities(made),
            map: self.map(made),
        }
    }

    fn capabilities(&self, made: &Made<String, Vec<u8>>) -> Vec<String> {
        let name = |index: u16| &self.model.components[index as usize].name;
        if let Some(host) = made.host {
            let mut lines = vec![format!("do all that {} may", name(host))];
            lines.extend(made.devices.iter().map(device_line));
            return lines;
        }
        let mut lines = vec!["wait on its own notification".to_owned()];
        if made.endpoint {
            lines.push("receive calls on its own endpoint".to_owned());
        }
        for cap in &made.caps {
            lines.push(match cap.grant {
                Grant::Signal { component, badge } => {
                    format!(
                        "signal {} (bit {})",
                        name(component),
                        badge.trailing_zeros()
                    )
                }
                Grant::Call { component, badge } => {
                    let number = badge & !system_description::map::CALL_BADGE;
                    format!("call {} (caller {number})", name(component))
                }
                Grant::Frames { region } => {
                    let region = &self.description.regions[region as usize];
                    format!(
                        "map the frames of {} anywhere ({})",
                        region.name,
                        show_size(region.bytes)
                    )
                }
                Grant::IoPorts { first, last } => format!("use I/O ports {first:#x} to {last:#x}"),
            });
        }
        for device in &made.devices {
            lines.push(device_line(device));
        }
        lines.extend(self.kept(made).map(|(_, client)| {
            let bytes = show_size(self.held_bytes(client));
            let name = &client.name;
            format!(
                "map and unmap the memory of {name} ({bytes} and its program), resolve its faults"
            )
        }));
        if made.keeps.is_some() {
            lines.push("pass its clients' faults on to the root task".to_owned());
        }
        lines
    }

    /// The components whose memory `made` holds.
    fn kept<'s>(
        &'s self,
        made: &'s Made<String, Vec<u8>>,
    ) -> impl Iterator<Item = (Keeper, &'s Made<String, Vec<u8>>)> {
        let kept = self.description.components.iter();
        let kept = kept.filter_map(|c| Some((c.keeper?, c)));
        kept.filter(|(keeper, _)| {
            let manager = &self.description.components[usize::from(keeper.manager)];
            manager.name == made.name
        })
    }

    /// Bytes of a component's stacks and regions that its I/O manager holds.
    fn held_bytes(&self, client: &Made<String, Vec<u8>>) -> u64 {
        let stacks: u64 = client.threads.iter().map(|t| t.stack_bytes).sum();
        let held = client.mappings.iter().filter(|m| m.held);
        let regions = held.map(|m| self.description.regions[m.region as usize].bytes);
        stacks + regions.sum::<u64>()
    }

    /// The devices in a component's protection domain.
    fn devices<'s>(
        &'s self,
        made: &'s Made<String, Vec<u8>>,
    ) -> impl Iterator<Item = &'s system_description::DeviceGrant<String>> {
        let all = self.description.components.iter();
        let hosted = |c: &&Made<String, Vec<u8>>| {
            let host = c
                .host
                .map(|h| &self.description.components[usize::from(h)].name);
            host == Some(&made.name)
        };
        let guests = all.filter(hosted).flat_map(|c| &c.devices);
        made.devices.iter().chain(guests)
    }

    fn map(&self, made: &Made<String, Vec<u8>>) -> Vec<MapLine> {
        let page = system_description::map::PAGE;
        if made.host.is_some() {
            return Vec::new();
        }
        let mut lines = vec![MapLine {
            vaddr: system_description::map::STARTUP,
            bytes: page,
            name: "start-up records".to_owned(),
            writable: false,
            page,
        }];
        for thread in &made.threads {
            let mut line = |vaddr, bytes, what| {
                lines.push(MapLine {
                    vaddr,
                    bytes,
                    name: format!("{what} of thread {}", thread.name),
                    writable: true,
                    page,
                });
            };
            line(thread.ipc_buffer, page, "IPC buffer");
            line(thread.stack, thread.stack_bytes, "stack");
        }
        for mapping in &made.mappings {
            let region = &self.description.regions[mapping.region as usize];
            lines.push(MapLine {
                vaddr: mapping.vaddr,
                bytes: region.bytes,
                name: region.name.clone(),
                writable: mapping.writable,
                page: match region.page {
                    PageSize::Small => page,
                    PageSize::Large => system_description::map::LARGE_PAGE,
                },
            });
        }
        for device in self.devices(made).filter(|d| d.vaddr_bytes > 0) {
            lines.push(MapLine {
                vaddr: device.vaddr,
                bytes: device.vaddr_bytes,
                name: format!("windows of device {}", device.name),
                writable: true,
                page,
            });
        }
        if let Some(keeps) = made.keeps {
            let kept = self.kept(made);
            lines.push(MapLine {
                vaddr: keeps.vaddr,
                bytes: kept.map(|(_, client)| self.held_bytes(client)).sum(),
                name: "memory of its clients, and their programs".to_owned(),
                writable: true,
                page,
            });
        }
        lines.sort_by_key(|l| l.vaddr);
        lines
    }
}

fn device_line(device: &system_description::DeviceGrant<String>) -> String {
    let how = match &device.kind {
        DeviceKind::Pci { vendor, nth, .. } => {
            format!("PCI vendor {vendor:04x}, number {nth}, with DMA")
        }
        DeviceKind::Mmio { paddr, bytes, .. } => format!("{bytes} bytes at {paddr:#x}"),
        DeviceKind::Ports { first, last, .. } => format!("I/O ports {first:#x} to {last:#x}"),
    };
    let irq = match &device.irq {
        Some(irq) => format!(", interrupt (bit {})", irq.badge.trailing_zeros()),
        None => String::new(),
    };
    format!("drive device {} ({how}{irq})", device.name)
}
