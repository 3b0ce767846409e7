//! The serial port COM1, until the console component has it, and for last
//! words.

use core::fmt::{self, Write};

use sel4::init_thread::{self, Slot};
use sel4::{BootInfoPtr, cap_type};

use crate::failure::{Context, Failure};

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const ROOM: u8 = 1 << 5;

/// How many of the kernel's empty slots this module takes: the first.
pub const SLOTS: usize = 1;

/// The slot of the ports' capability: the kernel's first empty slot on every
/// boot of one image, and 0 (a null capability) before [`set_up`].
static PORTS: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

fn ports() -> sel4::cap::IOPort {
    let slot = PORTS.load(core::sync::atomic::Ordering::Relaxed);
    Slot::<cap_type::IOPort>::from_index(slot).cap()
}

/// Takes the ports and sets the line to 115200 baud, 8 bits, no parity.
///
/// # Errors
/// The kernel's.
pub fn set_up(boot_info: &BootInfoPtr) -> Result<(), Failure> {
    let slot = boot_info.empty().index(0);
    let place = init_thread::slot::CNODE.cap().absolute_cptr(slot.cptr());
    init_thread::slot::IO_PORT_CONTROL
        .cap()
        .ioport_control_issue(COM1.into(), (COM1 + 7).into(), &place)
        .context("serial port")?;
    PORTS.store(slot.index(), core::sync::atomic::Ordering::Relaxed);
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7)] {
        ports().ioport_out8(COM1 + register, value)?;
    }
    Ok(())
}

/// The port as a sink of text. Waits for room, at most for a while.
struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            for _ in 0..10_000 {
                match ports().ioport_in8(LINE_STATUS) {
                    Ok(status) if status & ROOM == 0 => {}
                    _ => break,
                }
            }
            // Without the port there is nobody to tell.
            ports().ioport_out8(COM1, byte).ok();
        }
        Ok(())
    }
}

/// Writes one line.
pub fn line(text: fmt::Arguments<'_>) {
    writeln!(Port, "{text}\r").ok();
}

/// Last words: the whole system stops.
pub fn halt(text: fmt::Arguments<'_>) -> ! {
    line(format_args!("ROOT PANIC: {text}"));
    init_thread::suspend_self()
}
