//! Waits for faults, reports and reclaims.
//!
//! Invariant: a component that faulted never runs again; its devices are cut
//! off before its memory can serve anybody else, and what an I/O manager held
//! serves nobody else while the driver lives that it gave frames to; the others
//! go on, but not the clients of a dead manager, and who waited for an answer
//! from the dead gets an error instead of waiting for ever.

use core::arch::x86_64::_rdtsc;
use core::fmt;

use alloc::vec::Vec;

use log::Level;
use service_api::lifecycle::{self, State};
use system_description::fault::Fault;
use system_description::{Grant, Keeper, Protocol, Record, Role, Span};

use crate::component::{Reporter, reporter};
use crate::failure::{Cause, Context, Failure};
use crate::kernel::Pool;
use crate::report::{self, Kind, Report};
use crate::serial;
use crate::system::System;

/// Starts all components, then serves faults for ever.
pub fn run(mut system: System) -> ! {
    if let Err(failure) = system.start() {
        serial::halt(format_args!("{failure}"));
    }
    loop {
        let (info, badge) = system.faults.recv(());
        let (component, thread, report) = match reporter(badge) {
            Reporter::Thread(component, thread) => (component, thread, Report::own(info)),
            Reporter::Manager(manager) => {
                match system.passed_on(manager, report::passed_on(info)) {
                    Some(fault) => fault,
                    None => continue,
                }
            }
        };
        if let Err(failure) = system.bury(component, thread, &report) {
            serial::halt(format_args!("reclaiming component {component}: {failure}"));
        }
    }
}

impl System {
    /// Starts all components in order; they run once the root task waits.
    fn start(&mut self) -> Result<(), Failure> {
        let (bytes, slots) = self.kernel.free();
        serial::line(format_args!(
            "root: {}: {} components, {} PCI functions, {} KiB and {slots} slots free",
            self.plan.name,
            self.components.len(),
            self.devices.functions().len(),
            bytes >> 10,
        ));
        for (index, component) in self.components.iter().enumerate() {
            self.set_state(index, State::Running)?;
            if let Some(component) = component {
                component
                    .start()
                    .context(self.plan.components[index].name)?;
            }
        }
        self.tell_watchers();
        self.update_gauges();
        Ok(())
    }

    fn set_state(&self, index: usize, state: State) -> Result<(), Cause> {
        if let Some(states) = &self.states {
            lifecycle::write(states, index as u16, state)?;
        }
        Ok(())
    }

    fn tell_watchers(&self) {
        for (watcher, signal) in &self.watchers {
            if self.alive(*watcher) {
                signal.signal();
            }
        }
    }

    /// Whether the component lives, or its host if it is a guest.
    fn alive(&self, index: usize) -> bool {
        let domain = self.components.get(self.plan.domain(index));
        domain.is_some_and(Option::is_some)
    }

    fn update_gauges(&self) {
        if let Some(monitor) = &self.monitor {
            let (bytes, slots) = self.kernel.free();
            monitor.free_bytes.set(bytes);
            monitor.free_slots.set(slots as u64);
            let running = (0..self.components.len())
                .filter(|n| self.alive(*n))
                .count();
            monitor.running.set(running as u64);
        }
    }

    /// Writes a line to the console, or to the serial port if that is dead.
    fn report(&mut self, line: fmt::Arguments<'_>) {
        let console = self.monitor.as_ref().map(|m| m.console);
        let heard = console.is_some_and(|c| self.alive(c));
        match &mut self.monitor {
            Some(monitor) if heard => {
                // SAFETY: every x86-64 has the instruction.
                let now = unsafe { _rdtsc() };
                if monitor.log.write(Level::Error, now, line) {
                    monitor.signal.signal();
                }
            }
            _ => serial::line(line),
        }
    }

    /// The fault that an I/O manager could not resolve, if it is for that
    /// manager to say.
    fn passed_on(&self, manager: usize, fault: Option<Fault>) -> Option<(usize, usize, Report)> {
        let found = fault.and_then(|fault| {
            let of_client =
                |k: Keeper| usize::from(k.manager) == manager && k.client == fault.client;
            let mut plans = self.plan.components.iter();
            let component = plans.position(|c| c.keeper.is_some_and(of_client))?;
            Some((component, fault.thread.into(), Report::of(&fault)))
        });
        if found.is_none()
            && let Some(monitor) = &self.monitor
        {
            monitor.refused.add(1);
        }
        found
    }

    /// Reports a fault and reclaims the component, with its guests and those
    /// whose memory it holds: they cannot go on without.
    fn bury(&mut self, index: usize, thread: usize, report: &Report) -> Result<(), Failure> {
        // Another thread's report of a component that is dead already.
        let Some(component) = self.components.get(index).and_then(Option::as_ref) else {
            return Ok(());
        };
        component.stop()?;
        let plan = &self.plan.components[index];
        let name = plan.name;
        let thread = plan.threads.get(thread).map_or("?", |t| t.name);
        if let Kind::End = report.kind {
            self.report(format_args!(
                "ENDED component={name} thread={thread} by=itself"
            ));
        } else {
            self.report(format_args!(
                "FAULT component={name} thread={thread} kind={} address={:#x} ip={:#x}",
                report.kind, report.address, report.ip,
            ));
            if let Some(monitor) = &self.monitor {
                monitor.faults.add(1);
            }
        }
        for client in self.clients_of(index) {
            self.end(client, name)?;
        }
        let guests: Vec<usize> = self.plan.guests(index).collect();
        for guest in &guests {
            let guest = self.plan.components[*guest].name;
            self.report(format_args!("ENDED component={guest} with={name}"));
        }
        self.reclaim(index)?;
        for guest in guests {
            self.set_state(guest, State::Dead)?;
        }
        self.update_gauges();
        self.tell_watchers();
        Ok(())
    }

    /// Ends a component whose I/O manager is dead.
    fn end(&mut self, index: usize, manager: &str) -> Result<(), Failure> {
        if let Some(component) = &self.components[index] {
            component.stop()?;
            let name = self.plan.components[index].name;
            self.report(format_args!("ENDED component={name} with={manager}"));
        }
        self.reclaim(index)
    }

    /// The components whose memory component `index` holds.
    fn clients_of(&self, index: usize) -> Vec<usize> {
        let plans = self.plan.components.iter().enumerate();
        let kept = plans.filter(|(_, c)| c.keeper.is_some_and(|k| usize::from(k.manager) == index));
        kept.map(|(n, _)| n).collect()
    }

    /// Gives back what component `index` had, and has it known that it is dead.
    fn reclaim(&mut self, index: usize) -> Result<(), Failure> {
        let Some(component) = self.components.get_mut(index).and_then(Option::take) else {
            return Ok(());
        };
        let name = self.plan.components[index].name;
        self.devices.silence(&component).context("devices")?;
        if let Some(hoard) = component.destroy(&mut self.kernel).context(name)? {
            self.orphans.push((index, hoard.pool));
        }
        self.devices
            .release_pins(&self.plan.components[index].devices);
        for guest in self.plan.guests(index) {
            self.devices
                .release_pins(&self.plan.components[guest].devices);
        }
        self.release_regions()?;
        self.release_orphans()?;
        self.set_state(index, State::Dead)?;
        self.wake_callers(index)
    }

    /// Gives back what dead I/O managers held and no device uses any more.
    fn release_orphans(&mut self) -> Result<(), Failure> {
        let orphans: Vec<(usize, Pool)> = self.orphans.drain(..).collect();
        for (manager, pool) in orphans {
            if self.driver_lives(manager) {
                self.orphans.push((manager, pool));
            } else {
                let released = self.kernel.release(pool);
                released.context(self.plan.components[manager].name)?;
            }
        }
        Ok(())
    }

    /// Gives back the memory of the regions that go with components which are
    /// dead. Those who share it find an empty page in its place. A region that a
    /// device may still write to stays.
    fn release_regions(&mut self) -> Result<(), Failure> {
        for number in 0..self.regions.len() {
            let owner = self.plan.regions[number].owner;
            let goes = owner.is_some_and(|owner| !self.alive(owner.into()));
            if !goes || self.is_known_to_devices(number) {
                continue;
            }
            let Some(region) = self.regions[number].take() else {
                continue;
            };
            let name = self.plan.regions[number].name;
            for component in self.components.iter_mut().flatten() {
                component
                    .bereave(&mut self.kernel, number as u16, region.large)
                    .context(name)?;
            }
            region.release(&mut self.kernel).context(name)?;
        }
        Ok(())
    }

    /// Whether the physical addresses of region `number` may be known to a
    /// device that works: a living component was told, or an I/O manager held
    /// it whose driver lives.
    fn is_known_to_devices(&self, number: usize) -> bool {
        if let Some(owner) = self.plan.regions[number].owner
            && self.is_held(number)
            && self.driver_lives(owner.into())
        {
            return true;
        }
        let region = self.regions.get(number).and_then(Option::as_ref);
        if region.is_none_or(|region| region.paddr == 0) {
            return false;
        }
        let names = |span: &Span| span.bytes != 0 && usize::from(span.region) == number;
        let plans = self.plan.components.iter().enumerate();
        plans
            .filter(|(index, _)| self.alive(*index))
            .any(|(_, plan)| {
                plan.records.iter().any(|record| match record {
                    Record::Link(link) => names(&link.control) || names(&link.data),
                    Record::Memory { span, .. } => names(span),
                    _ => false,
                })
            })
    }

    /// Whether an I/O manager has the capabilities of region `number`.
    fn is_held(&self, number: usize) -> bool {
        self.plan.components.iter().any(|component| {
            let mut mappings = component.mappings.iter();
            let mut caps = component.caps.iter();
            mappings.any(|m| m.held && usize::from(m.region) == number)
                || caps.any(|c| match c.grant {
                    Grant::Frames { region } => usize::from(region) == number,
                    _ => false,
                })
        })
    }

    /// Whether the driver lives to which I/O manager `index` gives frames.
    fn driver_lives(&self, index: usize) -> bool {
        let mut records = self.plan.components[index].records.iter();
        records.any(|record| match record {
            Record::Link(link) => {
                link.protocol == Protocol::Frames
                    && link.role == Role::Client
                    && self.alive(link.peer_index.into())
            }
            _ => false,
        })
    }

    /// A thread that waits for the dead component's answer would wait for
    /// ever: has those who may call it make their system call again, which
    /// then fails. For a thread that waits for something else this changes
    /// nothing, except that a call to another service that is being served
    /// at this moment is made twice.
    fn wake_callers(&self, dead: usize) -> Result<(), Failure> {
        let calls = |grant: Grant| matches!(grant, Grant::Call { component, .. } if usize::from(component) == dead);
        let callers: Vec<usize> = (0..self.components.len())
            .filter(|&n| self.plan.components[n].caps.iter().any(|c| calls(c.grant)))
            .collect();
        for caller in callers {
            if let Some(component) = &self.components[caller] {
                component
                    .start()
                    .context(self.plan.components[caller].name)?;
            }
        }
        Ok(())
    }
}
