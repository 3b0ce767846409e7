//! A device that this component drives: windows, interrupt, ports.

use core::ptr::NonNull;

use sel4::cap;
use shared_ring::SharedMemory;
use system_description::{DeviceRecord, IrqRecord};

use crate::component::slot;

/// A device, as the root task found and mapped it.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// The name in system.toml.
    pub name: &'static str,
    /// Its windows, at most six.
    pub bars: [Option<Window>; 6],
    /// Its interrupt, if it has one.
    pub irq: Option<Irq>,
    /// Its I/O ports, if it has some.
    pub ports: Option<IoPorts>,
    /// Its PCI configuration space, 256 bytes as found after enumeration;
    /// empty for a device elsewhere.
    pub config_space: &'static [u8],
}

/// A base address register's window.
///
/// Possessing one proves that the whole window is mapped, uncached, for as
/// long as the component runs, unless [`Window::vaddr`] is 0 (I/O ports).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which base address register, 0 to 5; 0 for a fixed device.
    pub index: u8,
    /// Where it is mapped; 0 for a window of I/O ports.
    pub vaddr: u64,
    /// Physical address, or first I/O port.
    pub paddr: u64,
    /// Size in bytes, or in ports.
    pub bytes: u64,
}

impl Window {
    /// The window as memory; `None` for a window of I/O ports.
    #[must_use]
    pub fn memory(&self) -> Option<SharedMemory> {
        // SAFETY: the root task mapped the whole window there for good, and
        // no Rust reference to it is ever made.
        NonNull::new(self.vaddr as *mut u8)
            .map(|base| unsafe { SharedMemory::new(base, self.bytes as usize) })
    }
}

/// A device's interrupt, which arrives as a badge bit of the component's
/// notification and stays masked until it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Irq {
    /// The badge bit it arrives as.
    pub badge: u64,
    slot: u32,
}

impl Irq {
    /// Lets the next interrupt through. False if the kernel refused, which
    /// it never does to the holder of the device.
    pub fn ack(&self) -> bool {
        slot::<sel4::cap_type::IrqHandler>(self.slot)
            .irq_handler_ack()
            .is_ok()
    }
}

/// The right to use a range of I/O ports.
#[derive(Clone, Copy, Debug)]
pub struct IoPorts {
    cap: cap::IOPort,
}

impl IoPorts {
    /// The ports behind the capability in `slot` (of a `Grant::IoPorts`).
    #[must_use]
    pub fn in_slot(number: u32) -> Self {
        Self { cap: slot(number) }
    }

    /// Reads a byte; `None` outside the range.
    #[must_use]
    pub fn in8(&self, port: u16) -> Option<u8> {
        self.cap.ioport_in8(port).ok()
    }

    /// Reads 16 bits; `None` outside the range.
    #[must_use]
    pub fn in16(&self, port: u16) -> Option<u16> {
        self.cap.ioport_in16(port).ok()
    }

    /// Reads 32 bits; `None` outside the range.
    #[must_use]
    pub fn in32(&self, port: u16) -> Option<u32> {
        self.cap.ioport_in32(port).ok()
    }

    /// Writes a byte; false outside the range.
    pub fn out8(&self, port: u16, value: u8) -> bool {
        self.cap.ioport_out8(port, value).is_ok()
    }

    /// Writes 16 bits; false outside the range.
    pub fn out16(&self, port: u16, value: u16) -> bool {
        self.cap.ioport_out16(port, value).is_ok()
    }

    /// Writes 32 bits; false outside the range.
    pub fn out32(&self, port: u16, value: u32) -> bool {
        self.cap.ioport_out32(port, value).is_ok()
    }
}

impl Device {
    pub(crate) fn new(record: &DeviceRecord<&'static str, &'static [u8]>) -> Self {
        Self {
            name: record.name,
            bars: record.bars.map(|bar| {
                bar.map(|bar| Window {
                    index: bar.index,
                    vaddr: bar.vaddr,
                    paddr: bar.paddr,
                    bytes: bar.bytes,
                })
            }),
            irq: record
                .irq
                .map(|IrqRecord { slot, badge }| Irq { badge, slot }),
            ports: (record.ports != 0).then(|| IoPorts::in_slot(record.ports)),
            config_space: record.config_space,
        }
    }

    /// The window of base address register `index` (0 for the only window of
    /// a fixed device).
    #[must_use]
    pub fn bar(&self, index: u8) -> Option<Window> {
        self.bars
            .iter()
            .flatten()
            .find(|bar| bar.index == index)
            .copied()
    }
}
