//! The IPC buffer: message words beyond the fourth, capabilities, and where
//! received capabilities go.

use crate::{AbsoluteCPtr, CPtrBits, Word};
use core::slice;
use sel4_bindings::seL4_IPCBuffer;

/// Corresponds to `seL4_IPCBuffer`: 1024 bytes, aligned to their size.
///
/// Reached with [`with_ipc_buffer`](crate::with_ipc_buffer).
#[repr(transparent)]
pub struct IpcBuffer(seL4_IPCBuffer);

// The kernel counts in words from the start.
const _: () = {
    assert!(size_of::<IpcBuffer>() == 1024);
    assert!(core::mem::offset_of!(seL4_IPCBuffer, msg) == 8);
    assert!(core::mem::offset_of!(seL4_IPCBuffer, caps_or_badges) == 8 * 122);
};

impl IpcBuffer {
    /// Size and alignment in bytes.
    pub const SIZE: usize = 1024;

    /// The buffer at `ptr`, for instance another thread's that is mapped here.
    ///
    /// # Safety
    /// `ptr` must be aligned to [`Self::SIZE`] and that many bytes there must be
    /// used for nothing else while the reference lives.
    pub unsafe fn from_ptr<'a>(ptr: *mut Self) -> &'a mut Self {
        // SAFETY: the caller's promise; every bit pattern is valid.
        unsafe { &mut *ptr }
    }

    /// All message words. The first four travel in registers: they are here
    /// after `recv` and `call`, and before `send` and `call`.
    #[inline(always)]
    pub fn msg_regs(&self) -> &[Word] {
        &self.0.msg
    }

    /// As [`Self::msg_regs`].
    #[inline(always)]
    pub fn msg_regs_mut(&mut self) -> &mut [Word] {
        &mut self.0.msg
    }

    /// The message words as bytes.
    pub fn msg_bytes(&self) -> &[u8] {
        let words = self.msg_regs();
        // SAFETY: the same memory; bytes have no alignment and no invalid value.
        unsafe { slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
    }

    /// As [`Self::msg_bytes`].
    pub fn msg_bytes_mut(&mut self) -> &mut [u8] {
        let words = self.msg_regs_mut();
        // SAFETY: as in `msg_bytes`; any bytes make valid words.
        unsafe { slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
    }

    /// The word for the user, see [`thread_block`](crate::thread_block).
    pub fn user_data(&self) -> Word {
        self.0.userData
    }

    /// Sets [`Self::user_data`].
    pub fn set_user_data(&mut self, data: Word) {
        self.0.userData = data;
    }

    /// Capabilities to send, or the badges of those received unwrapped.
    pub fn caps_or_badges(&self) -> &[Word] {
        &self.0.caps_or_badges
    }

    /// As [`Self::caps_or_badges`].
    pub fn caps_or_badges_mut(&mut self) -> &mut [Word] {
        &mut self.0.caps_or_badges
    }

    /// Where received capabilities go: CNode, address, depth.
    pub fn recv_slot(&self) -> (CPtrBits, CPtrBits, usize) {
        (
            self.0.receiveCNode,
            self.0.receiveIndex,
            self.0.receiveDepth as usize,
        )
    }

    /// Sets where the next received capability goes.
    pub fn set_recv_slot(&mut self, slot: &AbsoluteCPtr) {
        self.0.receiveCNode = slot.root().bits();
        self.0.receiveIndex = slot.path().bits();
        self.0.receiveDepth = slot.path().depth() as Word;
    }
}
