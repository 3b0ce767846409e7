//! Printing through a debug kernel.
//!
//! Release kernels have no such system call; everything here does nothing then,
//! and costs nothing.

use crate::{cap, sys, with_ipc_buffer_mut};
use core::fmt;
use sel4_bindings::syscall;

/// Corresponds to `seL4_DebugPutChar`; nothing happens on a release kernel.
pub fn debug_put_char(c: u8) {
    if let Some(number) = syscall::DEBUG_PUT_CHAR {
        sys::send_recv(number, c.into(), 0, [0; 4]);
    }
}

impl cap::Tcb {
    /// Corresponds to `seL4_DebugNameThread`: the name that the debug kernel's
    /// messages give the thread, cut after 63 bytes.
    ///
    /// The debug kernel stops if this is not the capability of a thread.
    pub fn debug_name(self, name: &[u8]) {
        let Some(number) = syscall::DEBUG_NAME_THREAD else {
            return;
        };
        with_ipc_buffer_mut(|buffer| {
            let bytes = buffer.msg_bytes_mut();
            let length = name.len().min(63);
            bytes[..length].copy_from_slice(&name[..length]);
            bytes[length] = 0;
        });
        sys::send_recv(number, self.bits(), 0, [0; 4]);
    }
}

/// Writes to the debug kernel's console.
#[derive(Debug, Clone, Copy)]
pub struct DebugWrite;

impl fmt::Write for DebugWrite {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.bytes().for_each(debug_put_char);
        Ok(())
    }
}

/// Prints to the debug kernel's console.
#[macro_export]
macro_rules! debug_print {
    ($($arg:tt)*) => {
        if $crate::config::DEBUG_BUILD {
            let _ = ::core::fmt::Write::write_fmt(
                &mut $crate::DebugWrite,
                ::core::format_args!($($arg)*),
            );
        }
    };
}

/// Prints a line to the debug kernel's console.
#[macro_export]
macro_rules! debug_println {
    () => {
        $crate::debug_print!("\n")
    };
    ($($arg:tt)*) => {
        $crate::debug_print!("{}\n", ::core::format_args!($($arg)*))
    };
}
