//! Invocations: calls that the kernel itself answers.

use crate::{
    Error, Result, Word,
    context::{assert_not_lent, ipc_buffer_ptr},
    cptr::CPtr,
    message_info::MessageInfo,
    sys::{self, Registers},
};
use core::ptr::addr_of_mut;
use sel4_bindings::{Request, seL4_IPCBuffer, syscall};

/// Message words that travel in registers.
const IN_REGISTERS: usize = 4;

/// An error together with the first word that came with it.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    /// The error.
    pub(crate) error: Error,
    /// Which argument or capability it is about, for errors that say so.
    pub(crate) detail: Word,
    /// The answer's label.
    pub(crate) label: Word,
}

/// Invokes the object at `cptr`; gives the first four words of the answer.
#[inline]
pub(crate) fn invoke<const CAPS: usize, const WORDS: usize>(
    cptr: CPtr,
    request: Request<CAPS, WORDS>,
) -> Result<Registers> {
    invoke_detailed(cptr, request).map_err(|failure| failure.error)
}

/// As [`invoke`], with what the kernel says about an error.
#[inline]
pub(crate) fn invoke_detailed<const CAPS: usize, const WORDS: usize>(
    cptr: CPtr,
    request: Request<CAPS, WORDS>,
) -> core::result::Result<Registers, Failure> {
    const { assert!(CAPS <= 3 && WORDS <= MessageInfo::MAX_LENGTH) };
    let mut registers = [0; IN_REGISTERS];
    let in_registers = WORDS.min(IN_REGISTERS);
    registers[..in_registers].copy_from_slice(&request.words[..in_registers]);
    if CAPS > 0 || WORDS > IN_REGISTERS {
        assert_not_lent();
        store(ipc_buffer_ptr(), &request);
    }
    let info = MessageInfo::new(request.label, 0, CAPS as Word, WORDS);
    let answer = sys::send_recv(syscall::Call, cptr.bits(), info.word(), registers);
    let label = MessageInfo::from_word(answer.info).label();
    match Error::wrap(label) {
        Ok(()) => Ok(answer.words),
        Err(error) => Err(Failure {
            error,
            detail: answer.words[0],
            label,
        }),
    }
}

/// Puts capabilities and the words beyond the fourth into the IPC buffer.
#[inline(always)]
fn store<const CAPS: usize, const WORDS: usize>(
    buffer: *mut seL4_IPCBuffer,
    request: &Request<CAPS, WORDS>,
) {
    for (index, &cap) in request.caps.iter().enumerate() {
        // SAFETY: the thread's own IPC buffer, which is not lent out; `index` is
        // below three.
        unsafe { (*addr_of_mut!((*buffer).caps_or_badges))[index] = cap };
    }
    for (index, &word) in request.words.iter().enumerate().skip(IN_REGISTERS) {
        // SAFETY: as above; `index` is below the message's length.
        unsafe { (*addr_of_mut!((*buffer).msg))[index] = word };
    }
}

/// Word `index` of the last answer, from the fifth on.
#[inline(always)]
pub(crate) fn answer_word(index: usize) -> Word {
    debug_assert!((IN_REGISTERS..MessageInfo::MAX_LENGTH).contains(&index));
    // SAFETY: the thread's own IPC buffer; indexing is checked.
    unsafe { (*addr_of_mut!((*ipc_buffer_ptr()).msg))[index] }
}
