//! Private memory that another protection domain works on for a while.
//!
//! Problem: an application's own buffer is passed by address: the I/O manager
//! reads or writes it while the component waits, and nothing in the program
//! says so. The compiler must neither keep the bytes in registers past the
//! point where the address goes out, nor take them for unchanged afterwards.
//! Invariant: an address that left through here is exposed, and each function
//! is a barrier for the bytes it names: an empty `asm!` that gets a pointer to
//! them and may, as far as the compiler knows, read and write all of them.
//! (`core::hint::black_box` promises no such thing.) The borrow that the
//! caller holds meanwhile keeps everybody else in the program away.

use core::arch::asm;

/// Makes `bytes` readable to others: everything written to them before is in
/// memory, and stays true until the borrow ends. Returns their address.
#[inline]
pub fn expose(bytes: &[u8]) -> usize {
    // SAFETY: no instruction is executed.
    unsafe { asm!("/* {0} */", in(reg) bytes.as_ptr(), options(nostack, preserves_flags)) };
    bytes.as_ptr().expose_provenance()
}

/// Lets others write `bytes` until [`reclaim`]. Returns their address.
#[inline]
pub fn expose_mut(bytes: &mut [u8]) -> usize {
    // SAFETY: no instruction is executed.
    unsafe { asm!("/* {0} */", in(reg) bytes.as_mut_ptr(), options(nostack, preserves_flags)) };
    bytes.as_mut_ptr().expose_provenance()
}

/// Takes back what [`expose_mut`] let others write: they are done, and the
/// bytes may be any from here on.
#[inline]
pub fn reclaim(bytes: &mut [u8]) {
    // SAFETY: no instruction is executed.
    unsafe { asm!("/* {0} */", in(reg) bytes.as_mut_ptr(), options(nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_meanwhile_is_read() {
        let mut bytes = [1u8; 4];
        let address = expose_mut(&mut bytes);
        assert_eq!(address, bytes.as_ptr() as usize);
        let address = expose_mut(&mut bytes);
        // SAFETY: the address was exposed just now, and nobody else has it.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write(9) };
        reclaim(&mut bytes);
        assert_eq!(bytes, [9, 1, 1, 1]);
        assert_eq!(expose(&bytes), address);
    }
}
