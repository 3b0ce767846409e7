//! The virtio-net driver as a component.
//!
//! Sleeps until the device interrupts or the I/O manager signals, then works in
//! passes until there is nothing left. The interrupt is let through again
//! only then, so one wake-up serves a whole batch.
#![no_std]
#![no_main]

use component_runtime::{Component, Irq, Link, Protocol, Role};
use virtio_net_driver::{Memory, Nic, NicError, Setup, StopReason};
use virtio_queue::{DmaSpan, PciError, PciTransport};

component_runtime::entry!(main);

/// Why the driver cannot run.
#[derive(Debug)]
enum Failure {
    /// system.toml did not give it this.
    Lacks(&'static str),
    /// The device's PCI structures are not usable.
    Pci(PciError),
    /// It could not be started.
    Nic(NicError),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "system.toml gives the driver no {what}"),
            Self::Pci(e) => write!(f, "{e}"),
            Self::Nic(e) => write!(f, "{e}"),
        }
    }
}

/// All that the running driver needs.
struct Driver {
    nic: Nic<PciTransport>,
    manager: Link,
    irq: Irq,
}

fn start(component: &Component) -> Result<Driver, Failure> {
    let device = component.devices().next().ok_or(Failure::Lacks("device"))?;
    let irq = device.irq.ok_or(Failure::Lacks("interrupt"))?;
    let manager = component.link(Protocol::Frames, Role::Server);
    let manager = manager.ok_or(Failure::Lacks("I/O manager"))?;
    let (private, private_paddr) = component.dma("dma").ok_or(Failure::Lacks("dma memory"))?;
    let window = |bar| device.bar(bar).and_then(|w| w.memory());
    let transport = PciTransport::new(device.config_space, window).map_err(Failure::Pci)?;
    let memory = Memory {
        private: DmaSpan {
            memory: private,
            paddr: private_paddr,
        },
        control: manager.control.ok_or(Failure::Lacks("rings"))?,
    };
    let [mtu, ..] = manager.params;
    let setup = Setup {
        memory,
        mtu,
        counters: component_runtime::counters(component),
    };
    let nic = Nic::new(transport, setup).map_err(Failure::Nic)?;
    Ok(Driver { nic, manager, irq })
}

/// Works until something is wrong beyond repair.
fn serve(component: &Component, driver: &mut Driver) -> StopReason {
    // The kernel keeps the line masked from an interrupt to its being let
    // through, and from the start.
    let mut masked = true;
    loop {
        match driver.nic.poll() {
            Err(reason) => return reason,
            Ok(outcome) => {
                if outcome.signal {
                    driver.manager.signal();
                }
                if !outcome.idle {
                    continue;
                }
            }
        }
        if core::mem::take(&mut masked) {
            driver.irq.ack();
        }
        if component.wait() & driver.irq.badge != 0 {
            masked = true;
            if let Err(reason) = driver.nic.interrupt() {
                return reason;
            }
        }
    }
}

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok(mut driver) => {
            let info = driver.nic.info();
            let [a, b, c, d, e, f] = info.mac;
            log::info!(
                "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, mtu {}, features {:#x}",
                info.mtu,
                info.features
            );
            driver.manager.signal();
            let reason = serve(component, &mut driver);
            log::error!("stopped: {reason}");
        }
        Err(failure) => log::error!("{failure}"),
    }
    loop {
        component.wait();
    }
}
