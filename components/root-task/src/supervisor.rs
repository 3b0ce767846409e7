//! Waits for faults, reports and reclaims.
//!
//! Invariant: a component that faulted never runs again; its devices are cut
//! off before its memory can serve anybody else; the others go on, and who
//! waited for an answer from it gets an error instead of waiting for ever.

use core::arch::x86_64::_rdtsc;
use core::fmt;

use alloc::vec::Vec;

use log::Level;
use sel4::{Fault, MessageInfo};
use service_api::lifecycle::{self, State};
use system_description::{Grant, Record, Span};

use crate::component::faulting;
use crate::failure::{Cause, Context, Failure};
use crate::serial;
use crate::system::System;

/// Starts all components, then serves faults for ever.
pub fn run(mut system: System) -> ! {
    if let Err(failure) = system.start() {
        serial::halt(format_args!("{failure}"));
    }
    loop {
        let (info, badge) = system.faults.recv(());
        let (component, thread) = faulting(badge);
        let report = Report::new(info);
        if let Err(failure) = system.bury(component, thread, &report) {
            serial::halt(format_args!("reclaiming component {component}: {failure}"));
        }
    }
}

/// What a fault message says.
struct Report {
    kind: Kind,
    address: u64,
    ip: u64,
}

enum Kind {
    Read,
    Write,
    Fetch,
    Capability,
    SystemCall,
    /// Invalid instruction: how a panic ends.
    Instruction,
    /// Another exception of the processor.
    Exception(u64),
    /// The component sent something to where its faults are reported.
    Message(u64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Write => f.write_str("write"),
            Self::Fetch => f.write_str("fetch"),
            Self::Capability => f.write_str("capability"),
            Self::SystemCall => f.write_str("system-call"),
            Self::Instruction => f.write_str("invalid-instruction"),
            Self::Exception(number) => write!(f, "exception-{number}"),
            Self::Message(label) => write!(f, "message-{label}"),
        }
    }
}

impl Report {
    fn new(info: MessageInfo) -> Self {
        let fault = sel4::with_ipc_buffer(|buffer| Fault::new(buffer, &info));
        let (kind, address, ip) = match fault {
            Fault::VmFault(fault) => {
                let kind = match (fault.prefetch_fault() != 0, fault.is_write()) {
                    (true, _) => Kind::Fetch,
                    (_, true) => Kind::Write,
                    _ => Kind::Read,
                };
                (kind, fault.addr(), fault.ip())
            }
            Fault::CapFault(fault) => (Kind::Capability, fault.addr(), fault.ip()),
            Fault::UnknownSyscall(fault) => (Kind::SystemCall, fault.syscall(), fault.fault_ip()),
            Fault::UserException(fault) => {
                let ip = fault.fault_ip();
                match fault.number() {
                    6 => (Kind::Instruction, ip, ip),
                    number => (Kind::Exception(number), ip, ip),
                }
            }
            Fault::NullFault(_) => (Kind::Message(info.label()), 0, 0),
        };
        Self { kind, address, ip }
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
            if let Some(component) = component {
                self.set_state(index, State::Running)?;
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

    fn alive(&self, index: usize) -> bool {
        self.components.get(index).is_some_and(Option::is_some)
    }

    fn update_gauges(&self) {
        if let Some(monitor) = &self.monitor {
            let (bytes, slots) = self.kernel.free();
            monitor.free_bytes.set(bytes);
            monitor.free_slots.set(slots as u64);
            let running = self.components.iter().flatten().count();
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

    /// Reports a fault and reclaims the component.
    fn bury(&mut self, index: usize, thread: usize, report: &Report) -> Result<(), Failure> {
        // Another thread's report of a component that is dead already.
        let Some(component) = self.components.get_mut(index).and_then(Option::take) else {
            return Ok(());
        };
        component.stop()?;
        let plan = &self.plan.components[index];
        let name = plan.name;
        let thread = plan.threads.get(thread).map_or("?", |t| t.name);
        self.report(format_args!(
            "FAULT component={name} thread={thread} kind={} address={:#x} ip={:#x}",
            report.kind, report.address, report.ip,
        ));
        self.devices.silence(&component).context("devices")?;
        component.destroy(&mut self.kernel).context(name)?;
        self.devices
            .release_pins(&self.plan.components[index].devices);
        self.release_regions(index)?;
        self.set_state(index, State::Dead)?;
        self.wake_callers(index)?;
        if let Some(monitor) = &self.monitor {
            monitor.faults.add(1);
        }
        self.update_gauges();
        self.tell_watchers();
        Ok(())
    }

    /// Gives back the memory of the regions that go with component `index`.
    /// Those who share it find an empty page in its place. A region whose
    /// physical address others know stays: a device may still write to it.
    fn release_regions(&mut self, index: usize) -> Result<(), Failure> {
        for number in 0..self.regions.len() {
            let plan = &self.plan.regions[number];
            let goes = plan.owner.is_some_and(|owner| usize::from(owner) == index);
            if !goes || self.is_known_to_devices(number) {
                continue;
            }
            let Some(region) = self.regions[number].take() else {
                continue;
            };
            for component in self.components.iter_mut().flatten() {
                component
                    .bereave(&mut self.kernel, number as u16, region.large)
                    .context(plan.name)?;
            }
            region.release(&mut self.kernel).context(plan.name)?;
        }
        Ok(())
    }

    /// Whether a living component was told the physical address of region
    /// `number`.
    fn is_known_to_devices(&self, number: usize) -> bool {
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
