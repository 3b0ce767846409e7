//! Typed interface of the seL4 kernel, with rust-sel4's names.
//!
//! Problem: a system call is four registers and a buffer, and kernel 5.0.0 has
//! traps of its own: message fields that cut values off silently, a packed boot
//! information, invocations that newer kernels name otherwise. Component code
//! should not know any of it.
//!
//! Invariant: no value reaches the kernel in a field that is too narrow for it
//! (an error or, for constants, a panic says so), and all numbers come from
//! `sel4-bindings`, which reads them from the kernel at hand. What depends on
//! the kernel's version is in `context` and `sys` here and in the bindings'
//! build script.
//!
//! Names and signatures follow rust-sel4, so that component code can be compiled
//! against it. Ours in addition: [`thread_block`], the `ioport_in8` family,
//! `frame_remap`. Methods on capabilities never block unless their documentation
//! says so, and never panic unless it has a section about it.
//!
//! Threads find their IPC buffer through the GS base, which kernel 5.0.0 keeps
//! pointing there. No component may change the FS or GS base itself: this
//! kernel would not notice and hand it on to other threads.

#![no_std]

#[cfg(test)]
extern crate std;

mod bootinfo;
mod capability;
mod cnode;
mod context;
mod cptr;
mod debug;
mod error;
mod fault;
pub mod init_thread;
mod invoke;
mod ioport;
mod ipc;
mod ipc_buffer;
mod irq;
mod message_info;
mod notification;
mod object;
mod rights;
mod sys;
mod tcb;
mod untyped;
mod user_context;
mod vspace;

pub use bootinfo::{BootInfo, BootInfoExtra, BootInfoPtr, UntypedDesc};
pub use capability::{Cap, CapType, CapTypeForFrame, cap, cap_type};
pub use cnode::{AbsoluteCPtr, CPtrWithDepth, HasCPtrWithDepth};
pub use context::{
    set_ipc_buffer, set_thread_block, thread_block, with_ipc_buffer, with_ipc_buffer_mut,
};
pub use cptr::{Badge, CPtr, CPtrBits, WORD_SIZE, Word};
pub use debug::{DebugWrite, debug_put_char};
pub use error::{Error, Result};
pub use fault::{CapFault, Fault, NullFault, UnknownSyscall, UserException, VmFault};
pub use init_thread::suspend_self;
pub use ipc::{
    CallWithMRs, ConveysReplyAuthority, FastMessages, IpcCapType, NUM_FAST_MESSAGE_REGISTERS,
    RecvWithMRs, reply, r#yield,
};
pub use ipc_buffer::IpcBuffer;
pub use message_info::{MessageInfo, MessageInfoBuilder};
pub use notification::WaitMessageInfo;
pub use object::{
    CapTypeForObjectOfFixedSize, CapTypeForObjectOfVariableSize, FrameObjectType, ObjectBlueprint,
    ObjectBlueprintArch, ObjectBlueprintSeL4Arch, ObjectBlueprintX64, ObjectBlueprintX86,
};
pub use rights::{CNodeCapData, CapRights};
pub use user_context::UserContext;
pub use vspace::VmAttributes;

/// The numbers and layouts beneath this crate.
pub use sel4_bindings as sys_bindings;

/// Facts about the kernel that this was built for.
pub mod config {
    use crate::Word;

    /// The kernel's version.
    pub const KERNEL_VERSION: &str = sel4_bindings::VERSION;
    /// Whether the kernel is a debug build; otherwise nothing that is printed
    /// with [`debug_println!`](crate::debug_println) appears.
    pub const DEBUG_BUILD: bool = sel4_bindings::DEBUG;
    /// The highest priority of a thread.
    pub const MAX_PRIORITY: Word = sel4_bindings::seL4_MaxPrio;
    /// Capabilities that one [`untyped_retype`](crate::cap::Untyped) can make.
    pub const RETYPE_FAN_OUT_LIMIT: usize = sel4_bindings::CONFIG_RETYPE_FAN_OUT_LIMIT as usize;
    /// What a device that sends MSIs adds to the number of a user interrupt.
    pub const MSI_VECTOR_OFFSET: Word = sel4_bindings::IRQ_OFFSET;
    /// Width of an endpoint's badge in bits, and of every badge as far as this
    /// crate goes.
    pub const BADGE_BITS: u32 = sel4_bindings::seL4_BadgeBits as u32;
}
