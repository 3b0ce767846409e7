//! From the first instruction of a thread to `main`, and the way out of a
//! panic.

use core::panic::PanicInfo;

use crate::{Component, logging, threads};

/// What every thread runs; called by what `entry!` defines. The first thread
/// checks the start-up page, sets up the log and runs `main`; any other waits
/// until it is given something to do.
#[doc(hidden)]
pub fn start(thread: usize, main: fn(&'static Component) -> !) -> ! {
    if thread != 0 {
        threads::serve(thread);
    }
    match Component::from_startup_page() {
        Ok(component) => {
            logging::start(component);
            main(component)
        }
        // Nobody can be told yet: the root task reports the fault.
        Err(_) => stop(),
    }
}

/// Logs the panic, then faults, so that the root task reports and reclaims
/// this component.
#[doc(hidden)]
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => log::error!("panic at {}:{}: {}", at.file(), at.line(), info.message()),
        None => log::error!("panic: {}", info.message()),
    }
    stop()
}

/// Ends this component because of a defect: its peers are told.
pub(crate) fn stop() -> ! {
    // SAFETY: an invalid instruction; the kernel reports it as a fault and
    // never resumes this thread.
    unsafe { core::arch::asm!("ud2", options(noreturn, nomem, nostack)) }
}

/// Ends this component, which has said why: its peers are told, and the root
/// task does not report a fault.
pub(crate) fn end() -> ! {
    // SAFETY: as in `stop`. Nothing uses the stack any more; where it is said to
    // be is what tells the two apart.
    unsafe {
        core::arch::asm!(
            "mov rsp, {marker}",
            "ud2",
            marker = const system_description::fault::END_STACK,
            options(noreturn, nomem)
        )
    }
}
