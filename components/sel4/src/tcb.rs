//! Threads.
//!
//! Kernel 5.0.0's `seL4_TCB_Configure` carries a priority, newer ones' does not,
//! and a thread that ran between it and its real priority would run at the wrong
//! one. [`tcb_configure`](cap::Tcb::tcb_configure) therefore uses the two
//! invocations that do not touch the priority. A new thread has priority 0 and
//! the right to give no other: set both before it is resumed.

use crate::{
    CNodeCapData, CPtr, Error, Result, Word, cap,
    invoke::{answer_word, invoke},
    user_context::{REGISTERS, UserContext},
};
use sel4_bindings::request;

/// A priority as the kernel takes it.
fn priority_byte(priority: Word) -> Result<u8> {
    u8::try_from(priority).map_err(|_| Error::RangeError)
}

impl cap::Tcb {
    /// Corresponds to `seL4_TCB_Configure`, without the priority.
    ///
    /// `fault_ep` is an address in the *new thread's* CSpace. `ipc_buffer` is a
    /// virtual address aligned to 1024 bytes within the mapping of
    /// `ipc_buffer_frame`; zero for a thread without.
    ///
    /// Two system calls: the address space is set last, so that a thread which
    /// is only half configured after an error has none and cannot run.
    pub fn tcb_configure(
        self,
        fault_ep: CPtr,
        cspace_root: cap::CNode,
        cspace_root_data: CNodeCapData,
        vspace_root: cap::VSpace,
        ipc_buffer: Word,
        ipc_buffer_frame: cap::Granule,
    ) -> Result<()> {
        self.tcb_set_ipc_buffer(ipc_buffer, ipc_buffer_frame)?;
        self.tcb_set_space(fault_ep, cspace_root, cspace_root_data, vspace_root)
    }

    /// Corresponds to `seL4_TCB_SetIPCBuffer`.
    pub fn tcb_set_ipc_buffer(self, buffer: Word, frame: cap::Granule) -> Result<()> {
        invoke(self.cptr(), request::TCB_SetIPCBuffer(buffer, frame.bits())).map(drop)
    }

    /// Corresponds to `seL4_TCB_SetSpace`.
    pub fn tcb_set_space(
        self,
        fault_ep: CPtr,
        cspace_root: cap::CNode,
        cspace_root_data: CNodeCapData,
        vspace_root: cap::VSpace,
    ) -> Result<()> {
        let message = request::TCB_SetSpace(
            fault_ep.bits(),
            cspace_root.bits(),
            cspace_root_data.into_word(),
            vspace_root.bits(),
            0,
        );
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_TCB_SetSchedParams`: the highest priority that the
    /// thread may give, and its own.
    ///
    /// Kernel 5.0.0 takes the calling thread as the authority and ignores
    /// `authority`; it needs two system calls.
    pub fn tcb_set_sched_params(
        self,
        authority: cap::Tcb,
        mcp: Word,
        priority: Word,
    ) -> Result<()> {
        self.tcb_set_mc_priority(authority, mcp)?;
        self.tcb_set_priority(authority, priority)
    }

    /// Corresponds to `seL4_TCB_SetPriority`. `authority` as for
    /// [`Self::tcb_set_sched_params`].
    pub fn tcb_set_priority(self, _authority: cap::Tcb, priority: Word) -> Result<()> {
        let message = request::TCB_SetPriority(priority_byte(priority)?);
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_TCB_SetMCPriority`. `authority` as for
    /// [`Self::tcb_set_sched_params`].
    pub fn tcb_set_mc_priority(self, _authority: cap::Tcb, mcp: Word) -> Result<()> {
        invoke(self.cptr(), request::TCB_SetMCPriority(priority_byte(mcp)?)).map(drop)
    }

    /// Corresponds to `seL4_TCB_WriteRegisters`: the first `count` registers.
    ///
    /// # Errors
    /// [`Error::IllegalOperation`] for the calling thread itself.
    pub fn tcb_write_registers(
        self,
        resume: bool,
        count: Word,
        regs: &mut UserContext,
    ) -> Result<()> {
        let message = request::TCB_WriteRegisters(resume, 0, count, regs.into_words());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_TCB_WriteRegisters` of all registers.
    pub fn tcb_write_all_registers(self, resume: bool, regs: &mut UserContext) -> Result<()> {
        self.tcb_write_registers(resume, REGISTERS as Word, regs)
    }

    /// Corresponds to `seL4_TCB_ReadRegisters`: the first `count` registers, the
    /// others zero.
    ///
    /// Of a thread that is in a system call, 5.0.0 shows a stale stack pointer.
    ///
    /// # Errors
    /// [`Error::IllegalOperation`] for the calling thread itself.
    pub fn tcb_read_registers(self, suspend: bool, count: Word) -> Result<UserContext> {
        let first = invoke(self.cptr(), request::TCB_ReadRegisters(suspend, 0, count))?;
        let mut words = [0; REGISTERS];
        let count = REGISTERS.min(usize::try_from(count).unwrap_or(REGISTERS));
        for (index, word) in words.iter_mut().enumerate().take(count) {
            *word = match first.get(index) {
                Some(&word) => word,
                None => answer_word(index),
            };
        }
        Ok(UserContext::from_words(words))
    }

    /// Corresponds to `seL4_TCB_ReadRegisters` of all registers.
    pub fn tcb_read_all_registers(self, suspend: bool) -> Result<UserContext> {
        self.tcb_read_registers(suspend, REGISTERS as Word)
    }

    /// Corresponds to `seL4_TCB_Resume`.
    pub fn tcb_resume(self) -> Result<()> {
        invoke(self.cptr(), request::TCB_Resume()).map(drop)
    }

    /// Corresponds to `seL4_TCB_Suspend`.
    pub fn tcb_suspend(self) -> Result<()> {
        invoke(self.cptr(), request::TCB_Suspend()).map(drop)
    }

    /// Corresponds to `seL4_TCB_BindNotification`: its signals also end `recv`.
    pub fn tcb_bind_notification(self, notification: cap::Notification) -> Result<()> {
        invoke(
            self.cptr(),
            request::TCB_BindNotification(notification.bits()),
        )
        .map(drop)
    }

    /// Corresponds to `seL4_TCB_UnbindNotification`.
    pub fn tcb_unbind_notification(self) -> Result<()> {
        invoke(self.cptr(), request::TCB_UnbindNotification()).map(drop)
    }

    /// Sets the FS base of a thread that was never resumed.
    ///
    /// Kernel 5.0.0 has no such invocation, so all registers are read and
    /// written. A thread that is in a system call would make it twice.
    ///
    /// # Errors
    /// [`Error::IllegalOperation`] for the calling thread itself.
    pub fn tcb_set_tls_base(self, tls_base: Word) -> Result<()> {
        let mut regs = self.tcb_read_all_registers(false)?;
        *regs.tls_base_mut() = tls_base;
        self.tcb_write_all_registers(false, &mut regs)
    }
}
