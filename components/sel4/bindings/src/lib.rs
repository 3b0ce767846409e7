//! Numbers, layouts and message formats of the seL4 kernel at hand.
//!
//! Problem: these change with the kernel's version and configuration. They are
//! read at build time from the interface files beside the kernel that the
//! environment variable `SEL4_PREFIX` names; see `build/`.
//!
//! Invariant: nothing here was typed in by hand, so whatever was built against
//! this crate speaks to exactly that kernel. `tests/oracle.rs` holds every
//! value against the kernel's own generators and headers.
//!
//! Names are libsel4's. The crate does nothing: system calls and types that are
//! safe to use are in the crate `sel4`.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("seL4's bindings are written for x86_64");

/// The message of one invocation: `CAPS` capability addresses and `WORDS`
/// message words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<const CAPS: usize, const WORDS: usize> {
    /// What is asked for, one of [`label`].
    pub label: u64,
    /// Capability addresses, for the IPC buffer.
    pub caps: [u64; CAPS],
    /// Message words; the first four travel in registers.
    pub words: [u64; WORDS],
}

mod generated {
    #![allow(
        non_snake_case,
        non_camel_case_types,
        non_upper_case_globals,
        clippy::too_many_arguments,
        clippy::unreadable_literal,
        clippy::identity_op,
        clippy::double_parens,
        reason = "names and shapes are the kernel's own"
    )]
    use super::Request;
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use generated::*;
