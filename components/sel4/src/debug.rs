//! Printing through a debug kernel.
//!
//! Release kernels have no such system call; everything here does nothing then,
//! and costs nothing.

use crate::sys;
use core::fmt;
use sel4_bindings::syscall;

/// Corresponds to `seL4_DebugPutChar`; nothing happens on a release kernel.
pub fn debug_put_char(c: u8) {
    if let Some(number) = syscall::DEBUG_PUT_CHAR {
        sys::send_recv(number, c.into(), 0, [0; 4]);
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
