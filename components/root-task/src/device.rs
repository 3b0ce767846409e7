//! What PCI and the description say a driver may touch.
//!
//! Invariant: a driver gets its device's windows, ports and interrupt, never
//! the configuration ports; no two devices share an interrupt pin, since the
//! kernel signals one notification per pin; and a device that cannot be given
//! does nothing, with or without its driver.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use root_task::pci::{self, CONFIG_BYTES, ConfigSpace, Found, Function, cut};
use sel4::{CapRights, cap, init_thread};
use system_description::map::PAGE;
use system_description::{Bar, DeviceGrant, DeviceKind, DeviceRecord, IrqPin, IrqRecord};

use crate::component::{Component, absolute};
use crate::failure::{Cause, Context, Failure};
use crate::kernel::{Kernel, Pool, place};
use crate::space::Access;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// Configuration mechanism 1: an address port and a data port.
#[derive(Debug)]
struct ConfigPorts(cap::IOPort);

impl ConfigSpace for ConfigPorts {
    type Error = Cause;

    fn read(&mut self, at: Function, offset: u8) -> Result<u32, Cause> {
        self.0.ioport_out32(CONFIG_ADDRESS, at.address(offset))?;
        Ok(self.0.ioport_in32(CONFIG_DATA)?)
    }

    fn write(&mut self, at: Function, offset: u8, value: u32) -> Result<(), Cause> {
        self.0.ioport_out32(CONFIG_ADDRESS, at.address(offset))?;
        Ok(self.0.ioport_out32(CONFIG_DATA, value)?)
    }
}

/// The machine's devices.
#[derive(Debug)]
pub struct Devices {
    config: ConfigPorts,
    functions: Vec<Found>,
    /// Who has which interrupt pin.
    pins: BTreeMap<u8, String>,
    taken: Vec<Function>,
}

/// A device found, before its record borrows the snapshot.
#[derive(Debug)]
pub struct Granted {
    bars: [Option<Bar>; 6],
    irq: Option<IrqRecord>,
    ports: u32,
    config_space: Vec<u8>,
}

impl Granted {
    /// The record for the start-up page.
    #[must_use]
    pub fn record<'a>(&'a self, name: &'a str) -> DeviceRecord<&'a str, &'a [u8]> {
        DeviceRecord {
            name,
            bars: self.bars,
            irq: self.irq,
            ports: self.ports,
            config_space: &self.config_space,
        }
    }
}

impl Devices {
    /// Enumerates PCI.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(kernel: &mut Kernel) -> Result<Self, Failure> {
        let slot = kernel.slots(&mut Pool::default(), 1)?;
        init_thread::slot::IO_PORT_CONTROL
            .cap()
            .ioport_control_issue(
                CONFIG_ADDRESS.into(),
                (CONFIG_DATA + 3).into(),
                &place(slot),
            )
            .context("PCI configuration ports")?;
        let mut config = ConfigPorts(crate::kernel::cap_in(slot));
        let functions = pci::enumerate(&mut config).context("enumerating PCI")?;
        Ok(Self {
            config,
            functions,
            pins: BTreeMap::new(),
            taken: Vec::new(),
        })
    }

    /// The functions found.
    #[must_use]
    pub fn functions(&self) -> &[Found] {
        &self.functions
    }

    /// Gives a device to `component`.
    ///
    /// # Errors
    /// If it is not there or was given away, and as [`Kernel::object`].
    pub fn grant(
        &mut self,
        kernel: &mut Kernel,
        component: &mut Component,
        grant: &DeviceGrant<&str>,
    ) -> Result<Granted, Failure> {
        match &grant.kind {
            DeviceKind::Pci {
                vendor,
                devices,
                nth,
            } => {
                let at = self.find(*vendor, devices, *nth).context("PCI")?;
                let granted = self.grant_pci(kernel, component, grant, at);
                if granted.is_err() {
                    // The firmware may have left it switched on.
                    pci::disable(&mut self.config, at)?;
                }
                granted.context(format_args!("PCI function {at}"))
            }
            DeviceKind::Mmio { paddr, bytes, irq } => {
                let mut room = Room::of(grant);
                let window = (0, *paddr, *bytes);
                let bar = room.map(kernel, component, window)?;
                let mut bars = [None; 6];
                bars[0] = bar;
                Ok(Granted {
                    bars,
                    irq: self.interrupt(kernel, component, grant, *irq)?,
                    ports: 0,
                    config_space: Vec::new(),
                })
            }
            DeviceKind::Ports { first, last, irq } => {
                issue_ports(component, grant.ports, *first, *last)?;
                Ok(Granted {
                    bars: [None; 6],
                    irq: self.interrupt(kernel, component, grant, *irq)?,
                    ports: grant.ports,
                    config_space: Vec::new(),
                })
            }
        }
    }

    fn find(&mut self, vendor: u16, devices: &[u16], nth: u8) -> Result<Function, Cause> {
        let matches = |f: &&Found| f.vendor == vendor && devices.contains(&f.device);
        let found = self.functions.iter().filter(matches).nth(nth.into());
        let at = found
            .ok_or(Cause::Rule("the machine has no such device"))?
            .at;
        if self.taken.contains(&at) {
            return Err(Cause::Rule("another component has it"));
        }
        self.taken.push(at);
        Ok(at)
    }

    fn grant_pci(
        &mut self,
        kernel: &mut Kernel,
        component: &mut Component,
        grant: &DeviceGrant<&str>,
        at: Function,
    ) -> Result<Granted, Failure> {
        let (mut bars, mut ports) = ([None; 6], 0);
        let mut room = Room::of(grant);
        let found = pci::bars(&mut self.config, at)?;
        for (index, (found, bar)) in (0u8..).zip(found.into_iter().zip(&mut bars)) {
            *bar = match found {
                Some(pci::Bar::Memory { paddr, bytes }) => {
                    let mapped = room.map(kernel, component, (index, paddr, bytes));
                    mapped.context(format_args!("window {index} at {paddr:#x}"))?
                }
                Some(pci::Bar::Ports { first, count }) => {
                    if grant.ports != 0 && ports == 0 {
                        issue_ports(component, grant.ports, first, first + (count - 1))?;
                        ports = grant.ports;
                    }
                    Some(Bar {
                        index,
                        vaddr: 0,
                        paddr: first.into(),
                        bytes: count.into(),
                    })
                }
                None => None,
            };
        }
        let line = pci::interrupt_line(&mut self.config, at)?;
        // Level and active high: what PC firmware sets up for lines that come
        // through the interrupt router of the chip set.
        let (level, low) = (true, false);
        let pin = line.map(|pin| IrqPin { pin, level, low });
        let irq = self.interrupt(kernel, component, grant, pin)?;
        pci::enable(&mut self.config, at)?;
        component.functions.push(at);
        let config_space: [u8; CONFIG_BYTES] = pci::snapshot(&mut self.config, at)?;
        Ok(Granted {
            bars,
            irq,
            ports,
            config_space: config_space.to_vec(),
        })
    }

    /// Has the interrupt arrive on the component's notification.
    fn interrupt(
        &mut self,
        kernel: &mut Kernel,
        component: &mut Component,
        grant: &DeviceGrant<&str>,
        pin: Option<IrqPin>,
    ) -> Result<Option<IrqRecord>, Failure> {
        let Some(record) = grant.irq else {
            return Ok(None);
        };
        let pin = pin.ok_or(Cause::Rule("it has no interrupt line"))?;
        if let Some(other) = self.pins.get(&pin.pin) {
            let shared = Cause::Rule("interrupt pins cannot be shared: use another PCI slot");
            return Err(shared).context(format_args!("pin {} of {other} too", pin.pin));
        }
        self.pins.insert(pin.pin, grant.name.to_string());
        let number = u64::from(pin.pin);
        let handler = kernel.slots(&mut component.pool, 1)?;
        let control = init_thread::slot::IRQ_CONTROL.cap();
        control
            .irq_control_get_ioapic(
                0,
                number,
                pin.level.into(),
                pin.low.into(),
                number,
                &place(handler),
            )
            .context(format_args!("IO-APIC pin {number}"))?;
        let badged = kernel.slots(&mut component.pool, 1)?;
        let notification = absolute(component.notification);
        place(badged).mint(&notification, CapRights::write_only(), record.badge)?;
        let cap: cap::IrqHandler = crate::kernel::cap_in(handler);
        cap.irq_handler_set_notification(crate::kernel::cap_in(badged))?;
        component.place(record.slot)?.move_(&place(handler))?;
        Ok(Some(record))
    }

    /// Cuts the component's devices off, so that they neither access memory
    /// nor raise interrupts any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn silence(&mut self, component: &Component) -> Result<(), Cause> {
        for &at in &component.functions {
            pci::disable(&mut self.config, at)?;
            self.taken.retain(|taken| *taken != at);
        }
        Ok(())
    }

    /// The pins of a dead component's devices can be given away again.
    pub fn release_pins(&mut self, devices: &[DeviceGrant<&str>]) {
        self.pins
            .retain(|_, name| devices.iter().all(|d| d.name != name));
    }
}

/// Puts the right to use ports into the component's CSpace.
///
/// # Errors
/// The kernel's.
pub fn issue_ports(component: &Component, slot: u32, first: u16, last: u16) -> Result<(), Failure> {
    init_thread::slot::IO_PORT_CONTROL
        .cap()
        .ioport_control_issue(first.into(), last.into(), &component.place(slot)?)
        .context(format_args!("I/O ports {first:#x} to {last:#x}"))
}

/// Address space set aside for a device's windows.
struct Room {
    next: u64,
    end: u64,
}

impl Room {
    fn of(grant: &DeviceGrant<&str>) -> Self {
        Self {
            next: grant.vaddr,
            end: grant.vaddr.saturating_add(grant.vaddr_bytes),
        }
    }

    /// Maps a window as far as there is room; `None` if there is none. Drivers
    /// check that what they need is in there.
    fn map(
        &mut self,
        kernel: &mut Kernel,
        component: &mut Component,
        (index, paddr, bytes): (u8, u64, u64),
    ) -> Result<Option<Bar>, Cause> {
        let first = self.next;
        let Some(bytes) = cut(paddr, bytes, self.end.saturating_sub(first)) else {
            return Ok(None);
        };
        for frame in kernel.device_frames(&mut component.pool, paddr, bytes)? {
            let page = (frame, false);
            component
                .space
                .map(kernel, &mut component.pool, page, self.next, Access::Device)?;
            self.next += PAGE;
        }
        Ok(Some(Bar {
            index,
            vaddr: first + paddr % PAGE,
            paddr,
            bytes,
        }))
    }
}
