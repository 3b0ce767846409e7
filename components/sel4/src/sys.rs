//! The `syscall` instruction.
//!
//! Registers (classic kernels, x86_64): rdx the call's number, rdi the
//! capability or badge, rsi the message info, r10 r8 r9 r15 the first four
//! message words. The kernel overwrites rcx and r11 and comes back with a stack
//! pointer of zero, which is kept in rax meanwhile; interrupts between have a
//! stack of their own. Everything else survives.
//!
//! None of these functions is `unsafe`, as in rust-sel4: a message does what the
//! thread holds capabilities for. That a thread can unmap its own stack with
//! them is for whoever hands capabilities out.

use crate::Word;
use core::arch::asm;

/// The first message words, which travel in registers.
pub(crate) type Registers = [Word; 4];

/// What comes back from a receiving call.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    /// The sender's badge.
    pub(crate) badge: Word,
    /// The message info.
    pub(crate) info: Word,
    /// The first message words.
    pub(crate) words: Registers,
}

/// Sends without words, as a signal does.
#[inline(always)]
pub(crate) fn send_null(number: i64, dest: Word, info: Word) {
    // SAFETY: registers are declared as the kernel treats them; the stack
    // pointer is restored.
    unsafe {
        asm!(
            "mov rax, rsp",
            "syscall",
            "mov rsp, rax",
            in("rdx") number,
            in("rdi") dest,
            in("rsi") info,
            lateout("rcx") _,
            lateout("r11") _,
            out("rax") _,
            options(nostack),
        );
    }
}

/// Sends with four words.
#[inline(always)]
pub(crate) fn send(number: i64, dest: Word, info: Word, words: Registers) {
    // SAFETY: as in `send_null`.
    unsafe {
        asm!(
            "mov rax, rsp",
            "syscall",
            "mov rsp, rax",
            in("rdx") number,
            in("rdi") dest,
            in("rsi") info,
            in("r10") words[0],
            in("r8") words[1],
            in("r9") words[2],
            in("r15") words[3],
            lateout("rcx") _,
            lateout("r11") _,
            out("rax") _,
            options(nostack),
        );
    }
}

/// Receives a message.
///
/// The info is passed in as zero, since a signal that is received leaves the
/// register as it was.
#[inline(always)]
pub(crate) fn recv(number: i64, source: Word) -> Received {
    let (badge, info, w0, w1, w2, w3);
    // SAFETY: as in `send_null`.
    unsafe {
        asm!(
            "mov rax, rsp",
            "syscall",
            "mov rsp, rax",
            in("rdx") number,
            inlateout("rdi") source => badge,
            inlateout("rsi") 0_u64 => info,
            lateout("r10") w0,
            lateout("r8") w1,
            lateout("r9") w2,
            lateout("r15") w3,
            lateout("rcx") _,
            lateout("r11") _,
            out("rax") _,
            options(nostack),
        );
    }
    Received {
        badge,
        info,
        words: [w0, w1, w2, w3],
    }
}

/// Receives a signal: no message words are expected.
#[inline(always)]
pub(crate) fn wait(number: i64, source: Word) -> (Word, Word) {
    let (badge, info);
    // SAFETY: as in `send_null`; the message registers are given up, since a
    // message may come if the capability is an endpoint's.
    unsafe {
        asm!(
            "mov rax, rsp",
            "syscall",
            "mov rsp, rax",
            in("rdx") number,
            inlateout("rdi") source => badge,
            inlateout("rsi") 0_u64 => info,
            lateout("r10") _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r15") _,
            lateout("rcx") _,
            lateout("r11") _,
            out("rax") _,
            options(nostack),
        );
    }
    (badge, info)
}

/// Sends, then receives.
#[inline(always)]
pub(crate) fn send_recv(number: i64, dest: Word, info: Word, words: Registers) -> Received {
    let (badge, info_out, w0, w1, w2, w3);
    // SAFETY: as in `send_null`.
    unsafe {
        asm!(
            "mov rax, rsp",
            "syscall",
            "mov rsp, rax",
            in("rdx") number,
            inlateout("rdi") dest => badge,
            inlateout("rsi") info => info_out,
            inlateout("r10") words[0] => w0,
            inlateout("r8") words[1] => w1,
            inlateout("r9") words[2] => w2,
            inlateout("r15") words[3] => w3,
            lateout("rcx") _,
            lateout("r11") _,
            out("rax") _,
            options(nostack),
        );
    }
    Received {
        badge,
        info: info_out,
        words: [w0, w1, w2, w3],
    }
}
