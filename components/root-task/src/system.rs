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
use system_description::{Component as Description, Grant, Record, Span, SystemDescription};

use crate::boot;
use crate::component::{Component, absolute, fault_badge};
use crate::device::{Devices, Granted, issue_ports};
use crate::failure::{Cause, Context, Failure};
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
    /// By number; `None` once dead.
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
    let mut components = Vec::new();
    for description in &plan.components {
        let component = Component::create(&mut kernel, description);
        components.push(component.context(format_args!("component {}", description.name))?);
    }
    let mut site = Site {
        kernel: &mut kernel,
        windows: &mut windows,
        regions: &mut regions,
        devices: &mut devices,
        faults,
    };
    for (index, description) in plan.components.iter().enumerate() {
        let image = payload.image(description.image.into())?;
        site.furnish(&mut components, index, description, image)
            .context(format_args!("component {}", description.name))?;
    }
    let monitor = monitor(&mut site, &mut own, &plan, &components).context("root monitor")?;
    let (states, watchers) = watch(&mut site, &mut own, &plan, &components).context("lifecycle")?;
    Ok(System {
        kernel,
        plan,
        regions: regions.into_iter().map(Some).collect(),
        components: components.into_iter().map(Some).collect(),
        devices,
        faults,
        monitor,
        states,
        watchers,
    })
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
    /// Gives component `index` its program, threads, memory, capabilities,
    /// devices and start-up page.
    fn furnish(
        &mut self,
        components: &mut [Component],
        index: usize,
        description: &Description<&str, &[u8]>,
        image: &[u8],
    ) -> Result<(), Failure> {
        for cap in &description.caps {
            grant(components, index, cap.slot, cap.grant)
                .context(format_args!("capability {:#x}", cap.slot))?;
        }
        let component = &mut components[index];
        let (kernel, windows) = (&mut *self.kernel, &mut *self.windows);
        let entry = component.load(kernel, windows, image).context("image")?;
        for (n, thread) in description.threads.iter().enumerate() {
            let report = (self.faults, fault_badge(index, n));
            component
                .add_thread(kernel, windows, (n, thread), entry, report)
                .context(format_args!("thread {}", thread.name))?;
        }
        for mapping in &description.mappings {
            self.regions[usize::from(mapping.region)]
                .map(kernel, component, mapping)
                .context(format_args!(
                    "region {} at {:#x}",
                    mapping.region, mapping.vaddr
                ))?;
        }
        let mut granted: Vec<Granted> = Vec::new();
        for device in &description.devices {
            let found = self.devices.grant(kernel, component, device);
            granted.push(found.context(format_args!("device {}", device.name))?);
        }
        let located = description.records.iter().map(|r| self.locate(r.clone()));
        let devices = description.devices.iter().zip(&granted);
        let devices = devices.map(|(d, g)| Record::Device(g.record(d.name)));
        let records = located.chain(devices).collect();
        component
            .introduce(self.kernel, self.windows, records)
            .context("start-up page")
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

/// Puts a capability into the CSpace of component `index`.
fn grant(components: &[Component], index: usize, slot: u32, grant: Grant) -> Result<(), Failure> {
    let at = components[index].place(slot)?;
    match grant {
        Grant::Signal { component, badge } => {
            let peer = components[usize::from(component)].notification;
            at.mint(&absolute(peer), CapRights::write_only(), badge)?;
        }
        Grant::Call { component, badge } => {
            let peer = components[usize::from(component)].endpoint;
            let peer = peer.ok_or(Cause::Rule("the peer has no endpoint to be called on"))?;
            // On 5.0.0 only the right to grant lets a call be answered.
            let call = CapRights::new(true, true, false, true);
            at.mint(&absolute(peer), call, badge)?;
        }
        Grant::IoPorts { first, last } => issue_ports(&components[index], slot, first, last)?,
    }
    Ok(())
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
    components: &[Component],
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
        signal: signal(site.kernel, own, &components[console], place.badge)?,
        console,
        free_bytes: page.gauge("untyped_free_bytes"),
        free_slots: page.gauge("slots_free"),
        running: page.gauge("components_running"),
        faults: page.counter("faults"),
    }))
}

type Watch = (Option<SharedMemory>, Vec<(usize, cap::Notification)>);

fn watch(
    site: &mut Site<'_>,
    own: &mut Pool,
    plan: &Plan,
    components: &[Component],
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
        let cap = signal(site.kernel, own, &components[watcher], badge)?;
        watchers.push((watcher, cap));
    }
    Ok((Some(memory), watchers))
}
