//! Signals through notifications.
//!
//! A notification holds a word; a signal ORs the badge of the capability it came
//! through into it, a wait takes the word when it is not zero. Neither touches
//! the IPC buffer.

use crate::{Badge, cap, message_info::MessageInfo, sys};
use sel4_bindings::syscall;

/// The message info that comes with a signal: always zero.
pub type WaitMessageInfo = MessageInfo;

impl cap::Notification {
    /// Corresponds to `seL4_Signal`. Never blocks.
    #[inline(always)]
    pub fn signal(self) {
        sys::send_null(syscall::Send, self.bits(), 0);
    }

    /// Corresponds to `seL4_Wait`. Blocks until a signal is there.
    #[inline(always)]
    pub fn wait(self) -> (WaitMessageInfo, Badge) {
        let (badge, info) = sys::wait(syscall::Recv, self.bits());
        (MessageInfo::from_word(info), badge)
    }

    /// Corresponds to `seL4_Poll`. The badge is zero if no signal was there.
    #[inline(always)]
    pub fn poll(self) -> (MessageInfo, Badge) {
        let (badge, info) = sys::wait(syscall::NBRecv, self.bits());
        (MessageInfo::from_word(info), badge)
    }
}
