//! Counts the instructions that a guest executes, user and kernel apart.
//!
//! Two halves of one file format. Built as a shared library this is a plugin
//! for QEMU 7.2's TCG (plugin interface version 1):
//!
//! ```text
//! qemu-system-x86_64 … -plugin libinsn_count.so,counts=insn.bin[,profile=blocks.txt]
//! ```
//!
//! (The argument is not called `file`, which QEMU takes for another plugin's.)
//!
//! Linked into a host program it is the reader of that file: [`Counter`]. The
//! file is mapped by QEMU and may be read while the guest runs. So may the
//! profile, which a [`Profiler`] asks for through a word of the counter file:
//! a thread of the plugin looks at it, and what the guest executes does not.
//!
//! The count is of instructions begun; every iteration of a `rep` counts.
//! Caches, TLB and DMA are not in it. One virtual CPU: with several, additions
//! may get lost.
#![deny(unsafe_code)]

mod counts;
#[allow(
    unsafe_code,
    reason = "QEMU's plugin interface is C, and the counters are mapped"
)]
mod plugin;
mod profile;
mod profiler;

pub use counts::{Counter, Counts, FileError, KERNEL_FLOOR};
pub use profile::{BlockCount, ProfileError, parse_profile};
pub use profiler::{Profiler, SnapshotError};

/// File name of the plugin in Cargo's output directory on Linux.
pub const PLUGIN_FILE: &str = "libinsn_count.so";
