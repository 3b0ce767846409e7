//! Faults of clients, at their I/O manager.
//!
//! Problem: the kernel's message has other words for each kind of fault, some of
//! them beyond those that travel in registers. Invariant: it is taken apart in
//! one place, before any invocation overwrites it.

use sel4::MessageInfo;
use system_description::fault::{Fault, Kind, MESSAGE_WORDS};
use system_description::map;

use crate::Component;
use crate::component::slot;

/// Takes apart the fault message that `info` describes and this thread's IPC
/// buffer holds.
#[must_use]
pub fn decode(info: MessageInfo) -> (Kind, [u64; 4]) {
    let fault = sel4::with_ipc_buffer(|buffer| sel4::Fault::new(buffer, &info));
    match fault {
        sel4::Fault::VmFault(f) => (
            Kind::Memory,
            [f.ip(), f.addr(), f.prefetch_fault(), f.fsr()],
        ),
        sel4::Fault::CapFault(f) => (
            Kind::Capability,
            [f.ip(), f.addr(), f.in_recv_phase(), f.lookup_failure_type()],
        ),
        sel4::Fault::UnknownSyscall(f) => (
            Kind::SystemCall,
            [f.fault_ip(), f.sp(), f.flags(), f.syscall()],
        ),
        sel4::Fault::UserException(f) => (
            Kind::Exception,
            [f.fault_ip(), f.stack(), f.flags(), f.number()],
        ),
        sel4::Fault::NullFault(_) => (Kind::Message, [0, info.label(), 0, 0]),
    }
}

impl Component {
    /// Lets the thread go on whose fault `recv` returned: it makes the access
    /// again. Before the next `recv`; later nothing happens.
    pub fn resume(&self) {
        let info = MessageInfo::new(0, 0, 0, 0);
        sel4::with_ipc_buffer_mut(|buffer| sel4::reply(buffer, info));
    }

    /// Passes a fault that cannot be resolved on to the root task, which reports
    /// it and ends the client.
    pub fn forward_fault(&self, fault: &Fault) {
        let words = fault.to_message();
        sel4::with_ipc_buffer_mut(|buffer| {
            for (register, word) in buffer.msg_regs_mut().iter_mut().zip(words) {
                *register = word;
            }
        });
        let to: sel4::cap::Endpoint = slot(map::slot::FORWARD);
        to.send(MessageInfo::new(0, 0, 0, MESSAGE_WORDS));
    }
}
