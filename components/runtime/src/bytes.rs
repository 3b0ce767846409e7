//! `memcpy` and its kin, which the compiler calls without being asked.
//!
//! Written in assembly so that the compiler cannot recognise a copying loop in
//! them and turn it into a call of the function itself. Quadwords by
//! `rep movsq`, then the tail: every iteration counts as one instruction under
//! emulation, and hardware runs both well.

use core::arch::naked_asm;

/// Copies `n` bytes from `src` to `dst`; returns `dst`.
///
/// # Safety
/// The spans must be readable and writable, and must not overlap.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "and edx, 7",
        "mov ecx, edx",
        "rep movsb",
        "ret",
    )
}

/// Copies `n` bytes from `src` to `dst`, which may overlap; returns `dst`.
///
/// # Safety
/// The spans must be readable and writable.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(dst: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        // Forward unless dst lies in (src, src + n).
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx",
        "jb 2f",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "and edx, 7",
        "mov ecx, edx",
        "rep movsb",
        "ret",
        // Backward: the tail bytes first, then quadwords, from the far end.
        "2:",
        "std",
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "mov ecx, edx",
        "and ecx, 7",
        "rep movsb",
        "sub rdi, 7",
        "sub rsi, 7",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "cld",
        "ret",
    )
}

/// Sets `n` bytes at `dst` to `value`; returns `dst`.
///
/// # Safety
/// The span must be writable.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memset(dst: *mut u8, value: i32, n: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "movzx eax, sil",
        "mov rcx, 0x0101010101010101",
        "imul rax, rcx",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep stosq",
        "and edx, 7",
        "mov ecx, edx",
        "rep stosb",
        "mov rax, r8",
        "ret",
    )
}

/// Compares `n` bytes; negative, 0 or positive as the first that differs.
///
/// # Safety
/// Both spans must be readable.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    naked_asm!(
        // Quadwords while they are equal.
        "2:",
        "cmp rdx, 8",
        "jb 3f",
        "mov rax, [rdi]",
        "mov rcx, [rsi]",
        "cmp rax, rcx",
        "jne 4f",
        "add rdi, 8",
        "add rsi, 8",
        "sub rdx, 8",
        "jmp 2b",
        // The tail, byte by byte.
        "3:",
        "test rdx, rdx",
        "jz 5f",
        "movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "sub eax, ecx",
        "jne 6f",
        "inc rdi",
        "inc rsi",
        "dec rdx",
        "jmp 3b",
        // Which quadword is larger, first byte most significant.
        "4:",
        "bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
        "5:",
        "xor eax, eax",
        "6:",
        "ret",
    )
}

/// Whether `n` bytes differ: 0 if they are equal.
///
/// # Safety
/// Both spans must be readable.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    naked_asm!("jmp {}", sym memcmp)
}

/// Named by the unwinding tables of the prebuilt `core`; never called, since
/// components are built with `panic = "abort"`.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

/// Where the prebuilt `alloc` would go on unwinding; a panic ends before.
#[cfg(not(test))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Resume() -> ! {
    naked_asm!("ud2")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn pattern(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 37 + i / 251) as u8).collect()
    }

    #[test]
    fn copies_every_length() {
        for n in 0..70 {
            let src = pattern(n);
            let mut dst = std::vec![0xee; n + 2];
            // SAFETY: both vectors hold at least n + 1 bytes from there on.
            let end = unsafe { memcpy(dst.as_mut_ptr().add(1), src.as_ptr(), n) };
            assert_eq!(end, dst[1..].as_mut_ptr());
            assert_eq!(&dst[1..=n], &src[..]);
            assert_eq!((dst[0], dst[n + 1]), (0xee, 0xee));
        }
    }

    #[test]
    fn moves_overlapping_spans_both_ways() {
        for n in 0..70 {
            for from in 0..20 {
                for to in 0..20 {
                    let mut ours = pattern(100);
                    let mut expected = ours.clone();
                    expected.copy_within(from..from + n, to);
                    let base = ours.as_mut_ptr();
                    // SAFETY: 20 + 70 bytes lie in the vector.
                    unsafe { memmove(base.add(to), base.add(from), n) };
                    assert_eq!(ours, expected, "{n} bytes from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn sets_every_length() {
        for n in 0..40 {
            let mut ours = pattern(42);
            let mut expected = ours.clone();
            expected[1..=n].fill(0xa5);
            // SAFETY: 1 + 40 bytes lie in the vector; only the low byte counts.
            unsafe { memset(ours.as_mut_ptr().add(1), 0x7fa5, n) };
            assert_eq!(ours, expected);
        }
    }

    #[test]
    fn compares_as_slices_do() {
        for n in 1..40 {
            let a = pattern(n);
            for at in 0..n {
                let mut b = a.clone();
                b[at] = b[at].wrapping_add(0x81);
                // SAFETY: both vectors hold n bytes.
                let (ours, other) = unsafe {
                    (
                        memcmp(a.as_ptr(), b.as_ptr(), n),
                        bcmp(a.as_ptr(), b.as_ptr(), n),
                    )
                };
                assert_eq!(ours.signum(), a.cmp(&b) as i32);
                assert_ne!(other, 0);
            }
            // SAFETY: as above.
            assert_eq!(unsafe { memcmp(a.as_ptr(), a.clone().as_ptr(), n) }, 0);
        }
    }
}
