//! The PCI transport (virtio 1.2, section 4.1), over a copy of the device's
//! configuration space and its mapped windows.
//!
//! Problem: a driver component holds a device's windows but not the
//! configuration ports, so capabilities are read from the copy that the root
//! task took after enumeration. Invariant: every offset in a capability is
//! checked against the window it names before it is used, once, at
//! [`PciTransport::new`], and of doorbells when their queues are enabled; a
//! doorbell is one store.
//!
//! Without MSI-X the device uses its INTx line; reading the status register
//! lets the line drop (4.1.4.5).

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

use shared_ring::{OutOfRange, SharedMemory};

use crate::memory::QueueAddresses;
use crate::mmio::Register;
use crate::transport::{InitError, Transport};

/// Queues that a device driven here may have.
const QUEUES: usize = 8;
/// Status register: a capability list is there; and where it starts.
const STATUS: usize = 6;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const CAPABILITIES: usize = 0x34;
/// Vendor-specific capability, and the structures it may describe.
const VENDOR: u8 = 9;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
const COMMON_BYTES: usize = 56;

/// Why a device cannot be driven through this transport; the device, or who
/// handed out its windows, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciError {
    /// The configuration space has no capability list.
    NoCapabilities,
    /// No capability describes this structure: 1 common, 2 notify, 3 ISR.
    Missing(u8),
    /// A structure lies in a window that was not handed out.
    Window(u8),
    /// A structure leaves its window, or a register in it is misaligned.
    OutOfRange,
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapabilities => write!(f, "the device has no PCI capabilities"),
            Self::Missing(kind) => write!(f, "the device lacks virtio structure {kind}"),
            Self::Window(bar) => write!(f, "virtio structure in window {bar}, not mapped"),
            Self::OutOfRange => write!(f, "a virtio structure leaves its window"),
        }
    }
}

impl core::error::Error for PciError {}

impl From<OutOfRange> for PciError {
    fn from(_: OutOfRange) -> Self {
        Self::OutOfRange
    }
}

/// A virtio device on PCI.
#[derive(Debug)]
pub struct PciTransport {
    common: Common,
    isr: Register<AtomicU8>,
    device: Option<SharedMemory>,
    notify: SharedMemory,
    multiplier: u32,
    doorbells: [Option<Register<AtomicU16>>; QUEUES],
}

/// The registers of the common structure (4.1.4.3) in use here.
#[derive(Debug)]
struct Common {
    device_feature_select: Register<AtomicU32>,
    device_feature: Register<AtomicU32>,
    driver_feature_select: Register<AtomicU32>,
    driver_feature: Register<AtomicU32>,
    status: Register<AtomicU8>,
    queue_select: Register<AtomicU16>,
    queue_size: Register<AtomicU16>,
    queue_enable: Register<AtomicU16>,
    queue_notify_off: Register<AtomicU16>,
    /// Low and high halves of descriptor table, driver area, device area.
    queue_address: [Register<AtomicU32>; 6],
}

impl Common {
    fn at(window: &SharedMemory) -> Result<Self, OutOfRange> {
        let word = |offset| Register::<AtomicU32>::at(window, offset);
        let half = |offset| Register::<AtomicU16>::at(window, offset);
        Ok(Self {
            device_feature_select: word(0)?,
            device_feature: word(4)?,
            driver_feature_select: word(8)?,
            driver_feature: word(12)?,
            status: Register::at(window, 20)?,
            queue_select: half(22)?,
            queue_size: half(24)?,
            queue_enable: half(28)?,
            queue_notify_off: half(30)?,
            queue_address: [
                word(32)?,
                word(36)?,
                word(40)?,
                word(44)?,
                word(48)?,
                word(52)?,
            ],
        })
    }
}

/// A virtio structure's place, from its capability (4.1.4).
#[derive(Clone, Copy, Debug)]
struct Place {
    bar: u8,
    offset: usize,
    len: usize,
    multiplier: u32,
}

/// The first capability of each kind (1 to 4) that can be used, by kind: whose
/// window was handed out (4.1.4.1). If none can, the first.
fn places(config: &[u8], mapped: impl Fn(u8) -> bool) -> Result<[Option<Place>; 5], PciError> {
    let status = u16::from_le_bytes(bytes(config, STATUS)?);
    if status & STATUS_CAPABILITIES == 0 {
        return Err(PciError::NoCapabilities);
    }
    let mut places: [Option<Place>; 5] = [None; 5];
    let [mut at] = bytes(config, CAPABILITIES)?;
    // A list longer than the space has room for runs in a circle.
    for _ in 0..config.len() / 4 {
        if at == 0 {
            break;
        }
        let [id, next, len, kind] = bytes(config, at as usize)?;
        if id == VENDOR && len >= 16 && (COMMON..=DEVICE).contains(&kind) {
            let slot = &mut places[kind as usize];
            let place = place(config, at as usize, kind == NOTIFY && len >= 20)?;
            let first = slot.is_none_or(|first| !mapped(first.bar) && mapped(place.bar));
            if first {
                *slot = Some(place);
            }
        }
        at = next;
    }
    Ok(places)
}

fn place(config: &[u8], at: usize, multiplied: bool) -> Result<Place, PciError> {
    let [bar] = bytes(config, at + 4)?;
    let word = |offset| Ok::<_, PciError>(u32::from_le_bytes(bytes(config, at + offset)?));
    Ok(Place {
        bar,
        offset: word(8)? as usize,
        len: word(12)? as usize,
        multiplier: if multiplied { word(16)? } else { 0 },
    })
}

/// The notification structure as far as it is mapped. With a page for each
/// queue that a device could have it is larger than all that is needed of it;
/// each doorbell is checked when its queue is enabled.
fn doorbells(
    place: Place,
    window: &impl Fn(u8) -> Option<SharedMemory>,
) -> Result<SharedMemory, PciError> {
    let window = window(place.bar).ok_or(PciError::Window(place.bar))?;
    let mapped = window.len().saturating_sub(place.offset);
    if mapped == 0 {
        return Err(PciError::OutOfRange);
    }
    Ok(window.slice(place.offset, place.len.min(mapped))?)
}

fn bytes<const N: usize>(config: &[u8], at: usize) -> Result<[u8; N], PciError> {
    config
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(PciError::OutOfRange)
}

impl PciTransport {
    /// The device whose configuration space is `config` (256 bytes), with its
    /// windows by base address register.
    ///
    /// # Errors
    /// A [`PciError`].
    pub fn new(
        config: &[u8],
        window: impl Fn(u8) -> Option<SharedMemory>,
    ) -> Result<Self, PciError> {
        let places = places(config, |bar| window(bar).is_some())?;
        let find = |kind: u8| places[kind as usize].ok_or(PciError::Missing(kind));
        let open = |place: Place| {
            let window = window(place.bar).ok_or(PciError::Window(place.bar))?;
            Ok::<_, PciError>(window.slice(place.offset, place.len)?)
        };
        let common = open(find(COMMON)?)?.slice(0, COMMON_BYTES)?;
        Ok(Self {
            common: Common::at(&common)?,
            isr: Register::at(&open(find(ISR)?)?, 0)?,
            device: places[DEVICE as usize].map(open).transpose()?,
            notify: doorbells(find(NOTIFY)?, &window)?,
            multiplier: find(NOTIFY)?.multiplier,
            doorbells: [None; QUEUES],
        })
    }

    fn doorbell(&self) -> Option<Register<AtomicU16>> {
        let index = self.common.queue_notify_off.read() as usize;
        let offset = index.checked_mul(self.multiplier as usize)?;
        Register::at(&self.notify, offset).ok()
    }
}

impl Transport for PciTransport {
    fn device_features(&mut self) -> u64 {
        self.common.device_feature_select.write(0);
        let low = self.common.device_feature.read();
        self.common.device_feature_select.write(1);
        u64::from(low) | u64::from(self.common.device_feature.read()) << 32
    }

    fn set_driver_features(&mut self, features: u64) {
        self.common.driver_feature_select.write(0);
        self.common.driver_feature.write(features as u32);
        self.common.driver_feature_select.write(1);
        self.common.driver_feature.write((features >> 32) as u32);
    }

    fn status(&self) -> u8 {
        self.common.status.read()
    }

    fn set_status(&mut self, status: u8) {
        self.common.status.write(status);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.common.queue_select.write(queue);
        self.common.queue_size.read()
    }

    fn enable_queue(&mut self, queue: u16, size: u16, at: QueueAddresses) -> Result<(), InitError> {
        self.common.queue_select.write(queue);
        self.common.queue_size.write(size);
        let parts = [at.descriptors, at.driver, at.device];
        let halves = parts.iter().flat_map(|a| [*a as u32, (*a >> 32) as u32]);
        for (register, half) in self.common.queue_address.iter().zip(halves) {
            register.write(half);
        }
        let doorbell = self.doorbell().ok_or(InitError::Queue(queue))?;
        let slot = self.doorbells.get_mut(queue as usize);
        *slot.ok_or(InitError::Queue(queue))? = Some(doorbell);
        self.common.queue_enable.write(1);
        Ok(())
    }

    #[inline]
    fn notify(&self, queue: u16) {
        if let Some(Some(doorbell)) = self.doorbells.get(queue as usize) {
            doorbell.write(queue);
        }
    }

    #[inline]
    fn interrupt_status(&self) -> u8 {
        self.isr.read()
    }

    fn config8(&self, offset: usize) -> Option<u8> {
        let device = self.device.as_ref()?;
        Some(Register::<AtomicU8>::at(device, offset).ok()?.read())
    }

    fn config16(&self, offset: usize) -> Option<u16> {
        let device = self.device.as_ref()?;
        Some(Register::<AtomicU16>::at(device, offset).ok()?.read())
    }
}

#[cfg(test)]
#[path = "pci_tests.rs"]
mod tests;
