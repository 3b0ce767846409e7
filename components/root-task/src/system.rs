//! Builds everything in order: regions, components, capabilities, devices.
//!
//! Invariant: when [`build`] returns, every component is complete and none
//! has run, so a component may rely on whatever the description gives it from
//! its first instruction on.

use alloc::vec::Vec;

use monitor_api::{Counter, CounterPage, LogWriter};
use sel4::{BootInfoPtr, CapRights, cap};
use service_api::lifecycle::{self, State};
use shared_ring::SharedMemory;
use system_description::map::slot;
use system_description::{
    Component as Description, Grant, GrantedCap, Record, Span, SystemDescription,
};

use crate::boot;
use crate::component::{Component, absolute, fault_badge, forward_badge};
use crate::device::{Devices, Granted, issue_ports};
use crate::failure::{Cause, Context, Failure};
use crate::holding::{Keeping, cnode_bits};
use crate::kernel::{Kernel, Pool, cap_in, place};
use crate::region::Region;
use crate::serial;
use crate::space::Windows;

/// The description as it stands in the payload.
pub type Plan = SystemDescription<&'static str, &'static [u8]>;

/// The whole system.
pub struct System {
    /// Memory and slots.
    pub kernel: Kernel,
    /// What was to be built.
    pub plan: Plan,
    /// By number; `None` once reclaimed.
    pub regions: Vec<Option<Region>>,
    /// By number; `None` once dead, and for guests, whose domain is their host's.
    pub components: Vec<Option<Component>>,
    /// The machine's devices.
    pub devices: Devices,
    /// Where faults arrive.
    pub faults: cap::Endpoint,
    /// The root task's own log and gauges.
    pub monitor: Option<Monitor>,
    /// Where the states of all components stand.
    pub states: Option<SharedMemory>,
    /// Who is told about deaths: component and capability.
    pub watchers: Vec<(usize, cap::Notification)>,
    /// What dead I/O managers held and a device may still use, by component.
    pub orphans: Vec<(usize, Pool)>,
}

/// The root task's own log and gauges.
pub struct Monitor {
    /// Its log ring.
    pub log: LogWriter,
    /// Signals the console.
    pub signal: cap::Notification,
    /// The console's number.
    pub console: usize,
    /// `untyped_free_bytes`.
    pub free_bytes: Counter,
    /// `slots_free`.
    pub free_slots: Counter,
    /// `components_running`.
    pub running: Counter,
    /// `faults`.
    pub faults: Counter,
    /// `faults_refused`: passed on by who does not hold the component's memory.
    pub refused: Counter,
}

/// Builds the system that the payload describes.
///
/// # Errors
/// A [`Failure`] that says with what.
pub fn build(boot_info: BootInfoPtr) -> Result<System, Failure> {
    boot::set_up_heap();
    serial::set_up(&boot_info)?;
    boot::guard_stack(&boot_info)?;
    let payload = boot::payload().context("payload")?;
    let plan = Plan::decode(payload.description()?, payload.images())?;
    let mut kernel = Kernel::new(&boot_info);
    let mut windows = Windows::new();
    let mut own = Pool::default();
    let faults = kernel.endpoint(&mut own).context("fault endpoint")?;
    let mut devices = Devices::new(&mut kernel)?;
    let mut regions = Vec::new();
    for region in &plan.regions {
        regions.push(Region::create(&mut kernel, &mut windows, region)?);
    }
    let images: Result<Vec<&[u8]>, _> = (0..payload.images()).map(|n| payload.image(n)).collect();
    let images = images?;
    let mut components = create(&mut kernel, &plan, &images)?;
    let mut site = Site {
        kernel: &mut kernel,
        windows: &mut windows,
        regions: &mut regions,
        devices: &mut devices,
        faults,
    };
    site.furnish_all(&mut components, &plan, &images)?;
    let monitor = monitor(&mut site, &mut own, &plan, &components).context("root monitor")?;
    let (states, watchers) = watch(&mut site, &mut own, &plan, &components).context("lifecycle")?;
    Ok(System {
        kernel,
        plan,
        regions: regions.into_iter().map(Some).collect(),
        components,
        devices,
        faults,
        monitor,
        states,
        watchers,
        orphans: Vec::new(),
    })
}

fn create(
    kernel: &mut Kernel,
    plan: &Plan,
    images: &[&[u8]],
) -> Result<Vec<Option<Component>>, Failure> {
    let mut components = Vec::new();
    for (index, description) in plan.components.iter().enumerate() {
        if description.host.is_some() {
            components.push(None);
            continue;
        }
        let about = format_args!("component {}", description.name);
        let bits = cnode_bits(plan, index, images).context(about)?;
        let component = Component::create(kernel, description, bits);
        components.push(Some(component.context(about)?));
    }
    Ok(components)
}

/// Component `index`, which has a domain of its own.
fn built(components: &[Option<Component>], index: usize) -> Result<&Component, Cause> {
    let component = components.get(index).and_then(Option::as_ref);
    component.ok_or(Cause::Rule("a guest is named where its host should be"))
}

/// What is at hand while components are built.
struct Site<'a> {
    kernel: &'a mut Kernel,
    windows: &'a mut Windows,
    regions: &'a mut Vec<Region>,
    devices: &'a mut Devices,
    faults: cap::Endpoint,
}

impl Site<'_> {
    /// Gives all components what they are to have, then tells them.
    fn furnish_all(
        &mut self,
        components: &mut [Option<Component>],
        plan: &Plan,
        images: &[&[u8]],
    ) -> Result<(), Failure> {
        let mut granted = Vec::new();
        for (index, description) in plan.components.iter().enumerate() {
            let about = format_args!("component {}", description.name);
            if description.host.is_none() {
                let image = images[usize::from(description.image)];
                self.furnish(components, index, description, image)
                    .context(about)?;
            }
            let domain = &mut components[plan.domain(index)];
            let domain = domain
                .as_mut()
                .ok_or(Cause::Rule("its host has no domain"))?;
            let console = plan.root_monitor.map(|place| usize::from(place.console));
            let needed = console == Some(plan.domain(index));
            granted.push(
                self.grant_devices(domain, description, needed)
                    .context(about)?,
            );
        }
        // Last, since a manager is told what it holds of components behind it.
        for (index, component) in components.iter_mut().enumerate() {
            if let Some(component) = component {
                let name = plan.components[index].name;
                self.introduce(component, plan, index, &granted)
                    .context(format_args!("component {name}: start-up page"))?;
            }
        }
        Ok(())
    }

    /// Gives component `index` its program, threads, memory and capabilities.
    fn furnish(
        &mut self,
        components: &mut [Option<Component>],
        index: usize,
        description: &Description<&str, &[u8]>,
        image: &[u8],
    ) -> Result<(), Failure> {
        self.grant_all(components, index, description)?;
        let (component, mut keeping) = Keeping::of(components, index, description.keeper)?;
        if let Some(keeping) = &mut keeping {
            let given = keeping.give_space(component.space.cap());
            given.context("address space")?;
        }
        self.animate(component, index, description, image, keeping.as_mut())?;
        for mapping in &description.mappings {
            self.regions[usize::from(mapping.region)]
                .map(self.kernel, component, mapping, keeping.as_mut())
                .context(format_args!(
                    "region {} at {:#x}",
                    mapping.region, mapping.vaddr
                ))?;
        }
        Ok(())
    }

    /// Gives a component's devices to its domain. One that cannot be given is
    /// reported and is its driver's problem, unless it is `needed`: without the
    /// console nobody would say what is wrong.
    fn grant_devices(
        &mut self,
        domain: &mut Component,
        description: &Description<&str, &[u8]>,
        needed: bool,
    ) -> Result<Vec<Option<Granted>>, Failure> {
        let mut granted = Vec::new();
        for device in &description.devices {
            let found = self.devices.grant(self.kernel, domain, device);
            let found = found.context(format_args!("device {}", device.name));
            granted.push(match found {
                Err(failure) if needed => return Err(failure),
                Err(failure) => {
                    let name = description.name;
                    serial::line(format_args!(
                        "root: component {name} goes without {failure}"
                    ));
                    None
                }
                Ok(found) => Some(found),
            });
        }
        Ok(granted)
    }

    /// Gives component `index` its capabilities.
    fn grant_all(
        &self,
        components: &[Option<Component>],
        index: usize,
        description: &Description<&str, &[u8]>,
    ) -> Result<(), Failure> {
        for cap in &description.caps {
            self.grant(components, index, cap)
                .context(format_args!("capability {:#x}", cap.slot))?;
        }
        if description.keeps.is_some() {
            let at = built(components, index)?.place(slot::FORWARD)?;
            let badge = forward_badge(index);
            at.mint(&absolute(self.faults), CapRights::write_only(), badge)?;
        }
        Ok(())
    }

    /// Loads the program and makes its threads.
    fn animate(
        &mut self,
        component: &mut Component,
        index: usize,
        description: &Description<&str, &[u8]>,
        image: &[u8],
        mut keeping: Option<&mut Keeping<'_>>,
    ) -> Result<(), Failure> {
        let (kernel, windows) = (&mut *self.kernel, &mut *self.windows);
        let entry = component
            .load(kernel, windows, image, keeping.as_deref_mut())
            .context("image")?;
        for (n, thread) in description.threads.iter().enumerate() {
            let faults = match &keeping {
                Some(keeping) => (keeping.endpoint(), keeping.badge(n)),
                None => (self.faults, fault_badge(index, n)),
            };
            let (thread, keeping) = ((n, thread), keeping.as_deref_mut());
            component
                .add_thread(kernel, windows, thread, entry, faults, keeping)
                .context(format_args!("thread {}", thread.1.name))?;
        }
        Ok(())
    }

    /// Tells component `index` about itself, and about its guests. `granted` are
    /// the devices of all.
    fn introduce(
        &mut self,
        component: &mut Component,
        plan: &Plan,
        index: usize,
        granted: &[Vec<Option<Granted>>],
    ) -> Result<(), Cause> {
        let mut records = self.records(&plan.components[index], &granted[index]);
        if let Some(hoard) = &component.hoard {
            records.extend(hoard.records());
        }
        for guest in plan.guests(index) {
            records.extend(self.records(&plan.components[guest], &granted[guest]));
        }
        component.introduce(self.kernel, self.windows, records)
    }

    /// What a component is told about itself.
    fn records<'r>(
        &self,
        description: &'r Description<&'r str, &'r [u8]>,
        granted: &'r [Option<Granted>],
    ) -> Vec<Record<&'r str, &'r [u8]>> {
        let located = description.records.iter().map(|r| self.locate(r.clone()));
        let devices = description.devices.iter().zip(granted);
        let devices = devices.filter_map(|(d, g)| Some(Record::Device(g.as_ref()?.record(d.name))));
        located.chain(devices).collect()
    }

    /// Puts a capability into the CSpace of component `index`.
    fn grant(
        &self,
        components: &[Option<Component>],
        index: usize,
        GrantedCap { slot, grant }: &GrantedCap,
    ) -> Result<(), Failure> {
        let own = built(components, index)?;
        let at = own.place(*slot)?;
        match *grant {
            Grant::Signal { component, badge } => {
                let peer = built(components, component.into())?.notification;
                at.mint(&absolute(peer), CapRights::write_only(), badge)?;
            }
            Grant::Call { component, badge } => {
                let peer = built(components, component.into())?.endpoint;
                let peer = peer.ok_or(Cause::Rule("the peer has no endpoint to be called on"))?;
                // On 5.0.0 only the right to grant lets a call be answered.
                let call = CapRights::new(true, true, false, true);
                at.mint(&absolute(peer), call, badge)?;
            }
            Grant::Frames { region } => {
                let frames = &self.regions[usize::from(region)].frames;
                for (slot, &frame) in (*slot..).zip(frames) {
                    let at = own.place(slot)?;
                    at.copy(&place(frame), CapRights::all())?;
                }
            }
            Grant::IoPorts { first, last } => issue_ports(own, *slot, first, last)?,
        }
        Ok(())
    }

    /// The record with physical addresses filled in.
    fn locate<'r>(&self, mut record: Record<&'r str, &'r [u8]>) -> Record<&'r str, &'r [u8]> {
        let fill = |span: &mut Span| {
            if span.bytes != 0
                && let Some(region) = self.regions.get(usize::from(span.region))
            {
                span.paddr = region.paddr;
            }
        };
        match &mut record {
            Record::Link(link) => {
                fill(&mut link.control);
                fill(&mut link.data);
            }
            Record::Memory { span, .. } => fill(span),
            _ => {}
        }
        record
    }
}

/// A capability of the root task's own to signal `component` with `badge`.
fn signal(
    kernel: &mut Kernel,
    own: &mut Pool,
    component: &Component,
    badge: u64,
) -> Result<cap::Notification, Cause> {
    let slot = kernel.slots(own, 1)?;
    place(slot).mint(
        &absolute(component.notification),
        CapRights::write_only(),
        badge,
    )?;
    Ok(cap_in(slot))
}

fn monitor(
    site: &mut Site<'_>,
    own: &mut Pool,
    plan: &Plan,
    components: &[Option<Component>],
) -> Result<Option<Monitor>, Cause> {
    let Some(place) = plan.root_monitor else {
        return Ok(None);
    };
    let region = &site.regions[usize::from(place.region)];
    let memory = site
        .windows
        .keep(site.kernel, &region.frames, region.large)?;
    let page = CounterPage::create(memory)?;
    let console = usize::from(place.console);
    Ok(Some(Monitor {
        log: LogWriter::attach(memory)?,
        signal: signal(site.kernel, own, built(components, console)?, place.badge)?,
        console,
        free_bytes: page.gauge("untyped_free_bytes"),
        free_slots: page.gauge("slots_free"),
        running: page.gauge("components_running"),
        faults: page.counter("faults"),
        refused: page.counter("faults_refused"),
    }))
}

type Watch = (Option<SharedMemory>, Vec<(usize, cap::Notification)>);

fn watch(
    site: &mut Site<'_>,
    own: &mut Pool,
    plan: &Plan,
    components: &[Option<Component>],
) -> Result<Watch, Cause> {
    let Some(lifecycle) = &plan.lifecycle else {
        return Ok((None, Vec::new()));
    };
    let region = &site.regions[usize::from(lifecycle.region)];
    let memory = site
        .windows
        .keep(site.kernel, &region.frames, region.large)?;
    for index in 0..components.len() {
        lifecycle::write(&memory, index as u16, State::NotStarted)?;
    }
    let mut watchers = Vec::new();
    for &(component, badge) in &lifecycle.watchers {
        let watcher = usize::from(component);
        let cap = signal(site.kernel, own, built(components, watcher)?, badge)?;
        watchers.push((watcher, cap));
    }
    Ok((Some(memory), watchers))
}
