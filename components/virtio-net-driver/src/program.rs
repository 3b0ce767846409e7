//! The virtio-net driver as the runtime knows it, wherever it runs.
//!
//! A turn is a pass. The interrupt is let through again only before a sleep, so
//! one wake-up serves a whole batch.

use core::fmt;
use core::mem;

use component_runtime::server::Server;
use component_runtime::{Component, Irq, Link, Protocol, Role};
use nic_api::NicInfo;
use virtio_queue::{DmaSpan, PciError, PciTransport};

use crate::{Memory, Nic, NicError, Setup, StopReason};

/// Why the driver cannot run.
#[derive(Debug)]
pub enum Failure {
    /// It did not get this: system.toml does not say so, or the machine has no such
    /// thing.
    Lacks(&'static str),
    /// The PCI structures of the device of this name are not usable.
    Pci(&'static str, PciError),
    /// The device of this name could not be started.
    Nic(&'static str, NicError),
    /// Something went wrong beyond repair.
    Stopped(StopReason),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "the driver was given no {what}"),
            Self::Pci(device, e) => write!(f, "{device} cannot be driven: {e}"),
            Self::Nic(device, e) => write!(f, "{device} cannot be driven: {e}"),
            Self::Stopped(reason) => write!(f, "stopped: {reason}"),
        }
    }
}

impl core::error::Error for Failure {}

/// A running driver.
pub struct Driver {
    nic: Nic<PciTransport>,
    manager: Link,
    irq: Irq,
    /// The kernel keeps the line masked from an interrupt to its being let
    /// through, and from the start.
    masked: bool,
}

impl Server for Driver {
    type Failure = Failure;

    fn new(component: &'static Component) -> Result<Self, Failure> {
        let device = component.devices().next().ok_or(Failure::Lacks("device"))?;
        let irq = device.irq.ok_or(Failure::Lacks("interrupt"))?;
        let manager = component.link(Protocol::Frames, Role::Server);
        let manager = manager.ok_or(Failure::Lacks("I/O manager"))?;
        let (private, paddr) = component.dma("dma").ok_or(Failure::Lacks("dma memory"))?;
        let window = |bar| device.bar(bar).and_then(|w| w.memory());
        let transport = PciTransport::new(device.config_space, window);
        let transport = transport.map_err(|e| Failure::Pci(device.name, e))?;
        let private = DmaSpan {
            memory: private,
            paddr,
        };
        let control = manager.control.ok_or(Failure::Lacks("rings"))?;
        let [mtu, short, ..] = manager.params;
        let setup = Setup {
            memory: Memory { private, control },
            mtu,
            long: short == 0,
            near: manager.near,
            counters: component_runtime::counters(component),
        };
        let nic = Nic::new(transport, setup).map_err(|e| Failure::Nic(device.name, e))?;
        announce(&nic.info());
        manager.signal();
        Ok(Self {
            nic,
            manager,
            irq,
            masked: true,
        })
    }

    #[inline]
    fn turn(&mut self, signals: u64) -> Result<bool, Failure> {
        if signals & self.irq.badge != 0 {
            self.masked = true;
            self.nic.interrupt().map_err(Failure::Stopped)?;
        }
        let outcome = self.nic.poll().map_err(Failure::Stopped)?;
        if outcome.signal {
            self.manager.signal();
        }
        Ok(!outcome.idle)
    }

    #[inline]
    fn arm(&mut self) -> bool {
        // A pass has asked everybody. Only who is in the same thread may have
        // done something since without a signal.
        !self.manager.near || !self.nic.hears_manager()
    }

    #[inline]
    fn settle(&mut self) {
        if mem::take(&mut self.masked) {
            self.irq.ack();
        }
    }
}

fn announce(info: &NicInfo) {
    let [a, b, c, d, e, f] = info.mac;
    log::info!(
        "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, mtu {}, features {:#x}",
        info.mtu,
        info.features
    );
}
