//! Copies between private memory and memory that a peer may be changing.
//!
//! The peer may write while we copy, so the copy must not be one that the
//! compiler reasons about: it is an `asm!` block, which reads each byte once
//! and leaves the result private. Quadwords first, then the tail, because both
//! real processors and instruction counts under emulation favour `rep movsq`.
//! Ring entries, whose size the compiler knows, go through vector registers, or
//! through one plain register.

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

/// Fills `len` bytes with zeros.
///
/// # Safety
/// `dst` must be writable for `len` bytes. It may be shared with another
/// protection domain.
#[inline(always)]
pub unsafe fn clear_bytes(dst: *mut u8, len: usize) {
    // SAFETY: the caller vouches for the span; the direction flag is clear by
    // the System V ABI, and the registers are declared as clobbered.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            "mov rcx, {tail}",
            "rep stosb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") dst => _,
            in("rax") 0u64,
            options(nostack, preserves_flags),
        );
    }
}

/// As [`copy_bytes`] for a length that the compiler knows at the call: few and
/// straight moves where there is a form for it.
///
/// # Safety
/// As [`copy_bytes`].
#[inline(always)]
pub unsafe fn copy_entry(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: the caller's promise; unaligned moves, and the registers are
    // declared as clobbered.
    unsafe {
        match len {
            8 => core::arch::asm!(
                "mov {a}, [{src}]",
                "mov [{dst}], {a}",
                a = out(reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                options(nostack, preserves_flags),
            ),
            16 => core::arch::asm!(
                "movups {a}, [{src}]",
                "movups [{dst}], {a}",
                a = out(xmm_reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                options(nostack, preserves_flags),
            ),
            32 => core::arch::asm!(
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups [{dst}], {a}",
                "movups [{dst} + 16], {b}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                options(nostack, preserves_flags),
            ),
            // The last 16 overlap the ones before.
            33..=47 => core::arch::asm!(
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups {c}, [{src_end} - 16]",
                "movups [{dst}], {a}",
                "movups [{dst} + 16], {b}",
                "movups [{dst_end} - 16], {c}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                src_end = in(reg) src.add(len),
                dst_end = in(reg) dst.add(len),
                options(nostack, preserves_flags),
            ),
            49..=63 => core::arch::asm!(
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups {c}, [{src} + 32]",
                "movups {d}, [{src_end} - 16]",
                "movups [{dst}], {a}",
                "movups [{dst} + 16], {b}",
                "movups [{dst} + 32], {c}",
                "movups [{dst_end} - 16], {d}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                src_end = in(reg) src.add(len),
                dst_end = in(reg) dst.add(len),
                options(nostack, preserves_flags),
            ),
            64 => core::arch::asm!(
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups {c}, [{src} + 32]",
                "movups {d}, [{src} + 48]",
                "movups [{dst}], {a}",
                "movups [{dst} + 16], {b}",
                "movups [{dst} + 32], {c}",
                "movups [{dst} + 48], {d}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                src = in(reg) src,
                dst = in(reg) dst,
                options(nostack, preserves_flags),
            ),
            _ => copy_bytes(src, dst, len),
        }
    }
}
