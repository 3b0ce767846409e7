//! The serial port COM1, until the console component has it, and for last
//! words.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use sel4::init_thread::{self, Slot};
use sel4::{BootInfoPtr, cap_type};

use crate::failure::{Context, Failure};

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const ROOM: u8 = 1 << 5;
const ALL_SENT: u8 = 1 << 6;

/// QEMU's exit device: writing `v` ends it with status `2 v + 1`. Where there
/// is no such device, all bits read 1.
const EXIT: u16 = 0xf4;
const EXIT_FAILED: u8 = 0x11;
const ABSENT: u8 = 0xff;

/// How many of the kernel's empty slots this module takes: the first ones.
pub const SLOTS: usize = 2;

/// The slots of the capabilities to the serial port and to the exit device:
/// the kernel's first empty ones on every boot of one image, and 0 (a null
/// capability) before [`set_up`].
static PORTS: AtomicUsize = AtomicUsize::new(0);
static EXIT_PORT: AtomicUsize = AtomicUsize::new(0);

fn at(slot: &AtomicUsize) -> sel4::cap::IOPort {
    let slot = slot.load(Ordering::Relaxed);
    Slot::<cap_type::IOPort>::from_index(slot).cap()
}

fn ports() -> sel4::cap::IOPort {
    at(&PORTS)
}

/// Takes the ports and sets the line to 115200 baud, 8 bits, no parity.
///
/// # Errors
/// The kernel's.
pub fn set_up(boot_info: &BootInfoPtr) -> Result<(), Failure> {
    let take = |n: usize, ports: core::ops::RangeInclusive<u16>, keep: &AtomicUsize| {
        let slot = boot_info.empty().index(n);
        let place = init_thread::slot::CNODE.cap().absolute_cptr(slot.cptr());
        let (first, last) = ((*ports.start()).into(), (*ports.end()).into());
        let control = init_thread::slot::IO_PORT_CONTROL.cap();
        control.ioport_control_issue(first, last, &place)?;
        keep.store(slot.index(), Ordering::Relaxed);
        Ok::<_, sel4::Error>(())
    };
    take(0, COM1..=COM1 + 7, &PORTS).context("serial port")?;
    take(1, EXIT..=EXIT, &EXIT_PORT).context("exit port")?;
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

/// Last words: the whole system stops, and the emulator with it, if it is one.
pub fn halt(text: fmt::Arguments<'_>) -> ! {
    line(format_args!("ROOT PANIC: {text}"));
    for _ in 0..100_000 {
        match ports().ioport_in8(LINE_STATUS) {
            Ok(status) if status & ALL_SENT == 0 => {}
            _ => break,
        }
    }
    let exit = at(&EXIT_PORT);
    if exit.ioport_in8(EXIT).is_ok_and(|byte| byte != ABSENT) {
        // If it is no exit device after all, what follows ends us.
        exit.ioport_out8(EXIT, EXIT_FAILED).ok();
    }
    init_thread::suspend_self()
}
