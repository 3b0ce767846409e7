//! Interrupts.

use crate::{AbsoluteCPtr, Result, Word, cap, invoke::invoke};
use sel4_bindings::request;

impl cap::IrqControl {
    /// Corresponds to `seL4_IRQControl_Get`.
    ///
    /// # Errors
    /// [`IllegalOperation`](crate::Error::IllegalOperation) on kernels that use
    /// the I/O APIC, ours among them: see [`Self::irq_control_get_ioapic`].
    pub fn irq_control_get(self, irq: Word, dst: &AbsoluteCPtr) -> Result<()> {
        let irq = u32::try_from(irq).map_err(|_| crate::Error::RangeError)?;
        let message = request::IRQControl_Get(
            irq,
            dst.root().bits(),
            dst.path().bits(),
            dst.path().depth_u8(),
        );
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_IRQControl_GetIOAPIC`: `pin` of I/O APIC `ioapic`
    /// shall raise user interrupt `vector`, 0 to 107 whatever libsel4 says. `level` is 1 for
    /// level-triggered, `polarity` 1 for active low.
    pub fn irq_control_get_ioapic(
        self,
        ioapic: Word,
        pin: Word,
        level: Word,
        polarity: Word,
        vector: Word,
        dst: &AbsoluteCPtr,
    ) -> Result<()> {
        let message = request::IRQControl_GetIOAPIC(
            dst.root().bits(),
            dst.path().bits(),
            dst.path().depth() as Word,
            ioapic,
            pin,
            level,
            polarity,
            vector,
        );
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_IRQControl_GetMSI`: the device shall be programmed
    /// to raise interrupt [`MSI_VECTOR_OFFSET`](crate::config::MSI_VECTOR_OFFSET) + `vector`.
    pub fn irq_control_get_msi(
        self,
        bus: Word,
        dev: Word,
        func: Word,
        handle: Word,
        vector: Word,
        dst: &AbsoluteCPtr,
    ) -> Result<()> {
        let message = request::IRQControl_GetMSI(
            dst.root().bits(),
            dst.path().bits(),
            dst.path().depth() as Word,
            bus,
            dev,
            func,
            handle,
            vector,
        );
        invoke(self.cptr(), message).map(drop)
    }
}

impl cap::IrqHandler {
    /// Corresponds to `seL4_IRQHandler_Ack`: lets the interrupt come again.
    #[inline(always)]
    pub fn irq_handler_ack(self) -> Result<()> {
        invoke(self.cptr(), request::IRQHandler_Ack()).map(drop)
    }

    /// Corresponds to `seL4_IRQHandler_SetNotification`.
    pub fn irq_handler_set_notification(self, notification: cap::Notification) -> Result<()> {
        let message = request::IRQHandler_SetNotification(notification.bits());
        invoke(self.cptr(), message).map(drop)
    }

    /// Corresponds to `seL4_IRQHandler_Clear`.
    pub fn irq_handler_clear(self) -> Result<()> {
        invoke(self.cptr(), request::IRQHandler_Clear()).map(drop)
    }
}
