//! Faults, as the message that a fault handler receives.
//!
//! A fault handler gets them with `recv`, so that the message's first words are
//! in the IPC buffer, and continues the thread with an empty reply.

use crate::{IpcBuffer, MessageInfo, Word};
use sel4_bindings as kernel;

/// What a thread did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, or what this crate does not know.
    NullFault(NullFault),
    /// It used a capability that it does not have.
    CapFault(CapFault),
    /// It made a system call that does not exist.
    UnknownSyscall(UnknownSyscall),
    /// It raised an exception of the processor.
    UserException(UserException),
    /// It touched memory that it may not.
    VmFault(VmFault),
}

/// No fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullFault(());

impl Fault {
    /// Decodes the message that `info` describes and `ipc_buffer` holds.
    ///
    /// A handler that also serves requests must tell by the badge which it is.
    pub fn new(ipc_buffer: &IpcBuffer, info: &MessageInfo) -> Self {
        let msg = ipc_buffer.msg_regs();
        match info.label() {
            kernel::seL4_Fault_CapFault => Self::CapFault(CapFault(first(msg))),
            kernel::seL4_Fault_UnknownSyscall => Self::UnknownSyscall(UnknownSyscall(first(msg))),
            kernel::seL4_Fault_UserException => Self::UserException(UserException(first(msg))),
            kernel::seL4_Fault_VMFault => Self::VmFault(VmFault(first(msg))),
            _ => Self::NullFault(NullFault(())),
        }
    }
}

/// The first `N` words of a message.
fn first<const N: usize>(msg: &[Word]) -> [Word; N] {
    let mut words = [0; N];
    words.copy_from_slice(&msg[..N]);
    words
}

macro_rules! fault {
    (
        $(#[$doc:meta])* $name:ident($words:expr);
        $($(#[$field_doc:meta])* $get:ident $index:ident;)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name([Word; $words as usize]);

        impl $name {
            $(
                $(#[$field_doc])*
                #[inline]
                pub const fn $get(&self) -> Word {
                    self.0[kernel::$index as usize]
                }
            )*
        }
    };
}

fault! {
    /// A page fault.
    VmFault(kernel::seL4_VMFault_Length);
    /// Where the instruction is.
    ip seL4_VMFault_IP;
    /// Which address was touched; kernel 5.0.0 gives the lower 32 bits only.
    addr seL4_VMFault_Addr;
    /// Whether it was an instruction fetch.
    prefetch_fault seL4_VMFault_PrefetchFault;
    /// The processor's error code: bit 0 present, bit 1 write, bit 4 fetch.
    fsr seL4_VMFault_FSR;
}

impl VmFault {
    /// Whether the thread wrote.
    pub const fn is_write(&self) -> bool {
        self.fsr() & 1 << 1 != 0
    }

    /// Whether something is mapped there, so that rights were lacking.
    pub const fn is_protection(&self) -> bool {
        self.fsr() & 1 != 0
    }
}

fault! {
    /// A capability that could not be used.
    CapFault(kernel::seL4_CapFault_GuardMismatch_BitsFound + 1);
    /// Where the system call is.
    ip seL4_CapFault_IP;
    /// The capability's address.
    addr seL4_CapFault_Addr;
    /// Whether it was to be received through.
    in_recv_phase seL4_CapFault_InRecvPhase;
    /// Why it was not found: `seL4_LookupFailureType`.
    lookup_failure_type seL4_CapFault_LookupFailureType;
    /// Bits of the address not yet resolved.
    bits_left seL4_CapFault_BitsLeft;
}

fault! {
    /// A system call that does not exist.
    UnknownSyscall(kernel::seL4_UnknownSyscall_Length);
    /// Register rax.
    rax seL4_UnknownSyscall_RAX;
    /// Register rbx.
    rbx seL4_UnknownSyscall_RBX;
    /// Register rcx.
    rcx seL4_UnknownSyscall_RCX;
    /// Register rdx.
    rdx seL4_UnknownSyscall_RDX;
    /// Register rsi.
    rsi seL4_UnknownSyscall_RSI;
    /// Register rdi.
    rdi seL4_UnknownSyscall_RDI;
    /// Where the system call is.
    fault_ip seL4_UnknownSyscall_FaultIP;
    /// The stack pointer.
    sp seL4_UnknownSyscall_SP;
    /// The flags.
    flags seL4_UnknownSyscall_FLAGS;
    /// The call's number.
    syscall seL4_UnknownSyscall_Syscall;
}

fault! {
    /// An exception of the processor.
    UserException(kernel::seL4_UserException_Length);
    /// Where the instruction is.
    fault_ip seL4_UserException_FaultIP;
    /// The stack pointer.
    stack seL4_UserException_SP;
    /// The flags.
    flags seL4_UserException_FLAGS;
    /// The exception's number: 0 division, 6 invalid instruction, 13 general
    /// protection.
    number seL4_UserException_Number;
    /// The exception's error code.
    code seL4_UserException_Code;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fault_decodes() {
        // SAFETY: zeros are a valid IPC buffer.
        let mut buffer: IpcBuffer = unsafe { core::mem::zeroed() };
        buffer.msg_regs_mut()[..4].copy_from_slice(&[0x40_1000, 0x1234_5000, 0, 0b111]);
        let info = MessageInfo::new(kernel::seL4_Fault_VMFault, 0, 0, 4);
        let Fault::VmFault(fault) = Fault::new(&buffer, &info) else {
            panic!("not taken for a page fault");
        };
        assert_eq!((fault.ip(), fault.addr()), (0x40_1000, 0x1234_5000));
        assert!(fault.is_write() && fault.is_protection());
    }

    #[test]
    fn a_label_that_is_no_faults_is_none() {
        // SAFETY: zeros are a valid IPC buffer.
        let buffer: IpcBuffer = unsafe { core::mem::zeroed() };
        let info = MessageInfo::new(0x77, 0, 0, 4);
        assert!(matches!(Fault::new(&buffer, &info), Fault::NullFault(_)));
    }
}
