//! Copies between private memory and memory that a peer may be changing.
//!
//! The peer may write while we copy, so the copy must not be one that the
//! compiler reasons about: it is an `asm!` block, which reads each byte once
//! and leaves the result private. Quadwords first, then the tail, because both
//! real processors and instruction counts under emulation favour `rep movsq`.

/// Copies `len` bytes from `src` to `dst`.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, and the two must
/// not overlap. Either may be shared with another protection domain.
#[inline(always)]
pub unsafe fn copy_bytes(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: the caller vouches for both spans; the direction flag is clear
    // by the System V ABI, and the registers are declared as clobbered.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov rcx, {tail}",
            "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rsi") src => _,
            inout("rdi") dst => _,
            options(nostack, preserves_flags),
        );
    }
}
