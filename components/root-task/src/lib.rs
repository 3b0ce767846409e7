//! Creates the components that the system description names.
//!
//! Problem: the kernel starts one program with every capability there is. This
//! one turns the description that the host tool appended to it into isolated
//! components, then waits for their faults. What needs the kernel is in the
//! program beside this library (feature `program`); what only computes is here
//! and runs on the host too:
//!
//! * [`elf`]: which bytes of an image go to which page, with which rights.
//! * [`untyped`]: who owns which piece of physical memory.
//! * [`slots`]: which slots of the root task's CSpace are free.
//! * [`pci`]: finding devices, and reading their base address registers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod elf;
pub mod pci;
pub mod slots;
pub mod untyped;
