//! The calling thread's own data: its IPC buffer and a block for the runtime.
//!
//! There is no thread-local storage. Kernel 5.0.0 loads the GS base with the
//! address of the IPC buffer whenever a thread runs, so the buffer is one
//! instruction away (`rdgsbase`, which the kernel allows), and the buffer's
//! `userData` word, which the kernel does not touch, leads to whatever block the
//! runtime keeps per thread. A kernel whose threads own their GS base (16) will
//! do the same with a base that the creator of the thread sets.
//!
//! Invariant: at most one `&mut IpcBuffer` of the thread exists at a time. It is
//! kept by a counter in the buffer's first word, which no kernel uses.

use crate::{Word, ipc_buffer::IpcBuffer};
use core::{arch::asm, mem::offset_of, ptr};
use sel4_bindings::seL4_IPCBuffer;

/// The counter's value while the buffer is lent out for writing.
const EXCLUSIVE: Word = Word::MAX;

/// The calling thread's IPC buffer.
///
/// It is a null pointer in a thread that was configured without one.
#[inline(always)]
pub(crate) fn ipc_buffer_ptr() -> *mut seL4_IPCBuffer {
    let base: usize;
    // SAFETY: reads a register; the kernel's configuration has the instruction
    // enabled, which `sel4-bindings` checks when it is built.
    unsafe {
        asm!(
            "rdgsbase {}",
            out(reg) base,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    ptr::with_exposed_provenance_mut(base)
}

/// The word that [`set_thread_block`] stored, null before.
///
/// One instruction. The thread must have an IPC buffer.
#[inline(always)]
pub fn thread_block() -> *mut () {
    let block: usize;
    // SAFETY: reads the IPC buffer's `userData` word through the GS base; a
    // thread without IPC buffer faults, which harms nobody else.
    unsafe {
        asm!(
            "mov {}, gs:[{offset}]",
            out(reg) block,
            offset = const offset_of!(seL4_IPCBuffer, userData),
            options(readonly, nostack, preserves_flags),
        );
    }
    ptr::with_exposed_provenance_mut(block)
}

/// Stores the address of the thread's own block, to be had by [`thread_block`].
///
/// Whoever makes a thread may instead write the new thread's IPC buffer before
/// it starts, with [`IpcBuffer::set_user_data`].
#[inline(always)]
pub fn set_thread_block(block: *mut ()) {
    // SAFETY: writes the IPC buffer's `userData` word, which nothing else in
    // this crate uses.
    unsafe {
        asm!(
            "mov gs:[{offset}], {}",
            in(reg) block.expose_provenance(),
            offset = const offset_of!(seL4_IPCBuffer, userData),
            options(nostack, preserves_flags),
        );
    }
}

/// Tells the crate where the thread's IPC buffer is.
///
/// Kernel 5.0.0 says so itself; here it is only checked, in builds with debug
/// assertions.
pub fn set_ipc_buffer(ipc_buffer: &'static mut IpcBuffer) {
    debug_assert!(
        ptr::from_mut(ipc_buffer).cast() == ipc_buffer_ptr(),
        "the thread was configured with another IPC buffer"
    );
}

/// The counter of the thread's IPC buffer.
fn counter() -> *mut Word {
    ipc_buffer_ptr().cast()
}

/// In builds with debug assertions, panics if the IPC buffer is lent out.
///
/// For what is about to overwrite it.
#[inline(always)]
pub(crate) fn assert_not_lent() {
    if cfg!(debug_assertions) {
        // SAFETY: the thread's own IPC buffer starts with the counter.
        let lent = unsafe { counter().read() };
        assert!(lent == 0, "system call while the IPC buffer is lent out");
    }
}

#[cold]
#[inline(never)]
fn already_lent() -> ! {
    panic!("the IPC buffer is already lent out")
}

/// Resets the counter when the loan is over.
struct Loan {
    before: Word,
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: as in `lend`; the references to the buffer are gone.
        unsafe { counter().write(self.before) }
    }
}

/// Counts a loan, or panics.
#[inline]
fn lend(exclusive: bool) -> Loan {
    // SAFETY: the thread's own IPC buffer starts with the counter, and only
    // this thread uses it; no reference is live, or the counter says so.
    let before = unsafe { counter().read() };
    if before == EXCLUSIVE || (exclusive && before != 0) {
        already_lent();
    }
    let after = if exclusive { EXCLUSIVE } else { before + 1 };
    // SAFETY: as above.
    unsafe { counter().write(after) };
    Loan { before }
}

/// Runs `f` on the thread's IPC buffer.
///
/// `f` must make no system call but those that take the buffer as an argument:
/// the kernel would write to it.
///
/// # Panics
/// If called from within [`with_ipc_buffer_mut`].
pub fn with_ipc_buffer<F: FnOnce(&IpcBuffer) -> T, T>(f: F) -> T {
    let _loan = lend(false);
    // SAFETY: the kernel keeps the GS base at the thread's IPC buffer, which
    // stays mapped for the thread's life; the loan excludes `&mut`.
    f(unsafe { &*ipc_buffer_ptr().cast() })
}

/// Runs `f` on the thread's IPC buffer.
///
/// `f` must make no system call but those that take the buffer as an argument.
///
/// # Panics
/// If called from within itself or [`with_ipc_buffer`].
pub fn with_ipc_buffer_mut<F: FnOnce(&mut IpcBuffer) -> T, T>(f: F) -> T {
    let _loan = lend(true);
    // SAFETY: as in `with_ipc_buffer`; the loan excludes any other reference.
    f(unsafe { &mut *ipc_buffer_ptr().cast() })
}
