//! What every component links: entry, panic, start-up page, log, counters.
//!
//! Problem: a component starts with nothing but a stack, a read-only page of
//! records and some numbered capabilities. This crate turns these into names:
//! [`Component`] looks up links, devices, memory and configuration by what
//! `system.toml` calls them. Invariant: addresses and slots come from the
//! start-up page alone, which the root task wrote and nobody can change, so
//! the spans handed out here stay mapped as long as the component runs.
//!
//! ```text
//! #![no_std]
//! #![no_main]
//! component_runtime::entry!(main);
//!
//! fn main(component: &'static component_runtime::Component) -> ! {
//!     log::info!("{} runs", component.name());
//!     loop {
//!         component.wait();
//!     }
//! }
//! ```
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bytes;
pub mod clock;
mod component;
mod counters;
mod device;
pub mod entropy;
mod entry;
pub mod fault;
#[cfg(feature = "alloc")]
pub mod heap;
mod holding;
mod link;
mod logging;
pub mod server;
pub mod threads;
mod timer;

pub use component::{Component, Event};
pub use counters::counters;
pub use device::{Device, IoPorts, Irq, Window};
#[doc(hidden)]
pub use entry::{panicked, start};
pub use holding::{ClientSpace, Holding, Owner, PageError};
pub use link::Link;
pub use system_description::fault::{Access, Fault, Kind as FaultKind};
pub use system_description::{Protocol, Role, message, quota};
pub use threads::thread_index;
pub use timer::Timer;

/// Makes `$main`, a `fn(&'static Component) -> !`, the component's program:
/// defines the entry point and the panic handler.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Where the root task starts every thread: the stack pointer at the
        /// end of its stack, its number in `rdi`.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            ::core::arch::naked_asm!(
                "xor ebp, ebp",
                "and rsp, -16",
                "call {start}",
                "ud2",
                start = sym __component_start,
            )
        }

        extern "C" fn __component_start(thread: usize) -> ! {
            $crate::start(thread, $main)
        }

        #[panic_handler]
        fn __component_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::panicked(info)
        }
    };
}
