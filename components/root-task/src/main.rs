//! The root task's program: everything that needs the kernel.
//!
//! Problem: whatever goes wrong here stops the whole system, and nobody else
//! can say why. Invariant: every failure ends in one line `ROOT PANIC: …` on
//! the serial port that names the component, region or device and the
//! kernel's error. No component runs before all of them are ready.
//!
//! * `boot`: first instruction, stack, heap, payload.
//! * `serial`: the serial port, until the console has it.
//! * `failure`: what went wrong, with what.
//! * `kernel`: makes and reclaims kernel objects.
//! * `space`: address spaces, the root task's own windows included.
//! * `region`: memory that components share.
//! * `component`: protection domains and their threads.
//! * `holding`: what an I/O manager holds of its clients' memory.
//! * `device`: what PCI and the description say a driver may touch.
//! * `system`: builds everything in order.
//! * `report`: what a fault message says.
//! * `supervisor`: waits for faults, reports and reclaims.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod component;
mod device;
mod failure;
mod holding;
mod kernel;
mod region;
mod report;
mod serial;
mod space;
mod supervisor;
mod system;

use core::panic::PanicInfo;

use sel4::BootInfoPtr;

/// Called on the stack that `boot` sets up.
fn main(boot_info: BootInfoPtr) -> ! {
    match system::build(boot_info) {
        Ok(system) => supervisor::run(system),
        Err(failure) => serial::halt(format_args!("{failure}")),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    serial::halt(format_args!("{info}"))
}
