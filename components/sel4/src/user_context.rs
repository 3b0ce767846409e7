//! A thread's registers.

use crate::Word;
use core::fmt;
use sel4_bindings::seL4_UserContext;

/// Corresponds to `seL4_UserContext`: 19 words on kernel 5.0.0.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct UserContext(seL4_UserContext);

/// Number of registers in a [`UserContext`].
pub(crate) const REGISTERS: usize = size_of::<seL4_UserContext>() / size_of::<Word>();

macro_rules! registers {
    ($($(#[$doc:meta])* $get:ident $get_mut:ident $field:ident;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub const fn $get(&self) -> &Word {
            &self.0.$field
        }

        $(#[$doc])*
        #[inline]
        pub const fn $get_mut(&mut self) -> &mut Word {
            &mut self.0.$field
        }
    )*};
}

impl UserContext {
    registers! {
        /// The instruction pointer, rip.
        pc pc_mut rip;
        /// The stack pointer, rsp.
        ///
        /// At a function's entry it is 8 below a multiple of 16, as after a
        /// call; SSE instructions fault otherwise.
        sp sp_mut rsp;
        /// The flags; the kernel lets only harmless ones be set.
        flags flags_mut rflags;
        /// The FS base. Components keep it zero.
        tls_base tls_base_mut tls_base;
        /// Register rax.
        rax rax_mut rax;
        /// Register rbx.
        rbx rbx_mut rbx;
        /// Register rcx.
        rcx rcx_mut rcx;
        /// Register rdx.
        rdx rdx_mut rdx;
        /// Register rsi.
        rsi rsi_mut rsi;
        /// Register rdi.
        rdi rdi_mut rdi;
        /// Register rbp.
        rbp rbp_mut rbp;
        /// Register r8.
        r8 r8_mut r8;
        /// Register r9.
        r9 r9_mut r9;
        /// Register r10.
        r10 r10_mut r10;
        /// Register r11.
        r11 r11_mut r11;
        /// Register r12.
        r12 r12_mut r12;
        /// Register r13.
        r13 r13_mut r13;
        /// Register r14.
        r14 r14_mut r14;
        /// Register r15.
        r15 r15_mut r15;
    }

    /// Argument `ix` of a C function, from 0 to 5.
    ///
    /// # Panics
    /// If `ix` is above 5: later arguments are on the stack.
    pub const fn c_param(&self, ix: usize) -> &Word {
        match ix {
            0 => self.rdi(),
            1 => self.rsi(),
            2 => self.rdx(),
            3 => self.rcx(),
            4 => self.r8(),
            5 => self.r9(),
            _ => panic!("only six arguments are in registers"),
        }
    }

    /// As [`Self::c_param`].
    ///
    /// # Panics
    /// If `ix` is above 5.
    pub const fn c_param_mut(&mut self, ix: usize) -> &mut Word {
        match ix {
            0 => self.rdi_mut(),
            1 => self.rsi_mut(),
            2 => self.rdx_mut(),
            3 => self.rcx_mut(),
            4 => self.r8_mut(),
            5 => self.r9_mut(),
            _ => panic!("only six arguments are in registers"),
        }
    }

    /// The registers as message words, in the kernel's order.
    pub(crate) fn into_words(self) -> [Word; REGISTERS] {
        // SAFETY: the structure is `repr(C)` and consists of words only.
        unsafe { core::mem::transmute(self.0) }
    }

    /// From message words in the kernel's order.
    pub(crate) fn from_words(words: [Word; REGISTERS]) -> Self {
        // SAFETY: as in `into_words`.
        Self(unsafe { core::mem::transmute::<[Word; REGISTERS], seL4_UserContext>(words) })
    }
}

impl Default for UserContext {
    fn default() -> Self {
        Self::from_words([0; REGISTERS])
    }
}

impl fmt::Debug for UserContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "UserContext {{ pc: {:#x}, sp: {:#x}, .. }}",
            self.pc(),
            self.sp()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_the_kernels_order() {
        let mut context = UserContext::default();
        *context.pc_mut() = 1;
        *context.sp_mut() = 2;
        *context.c_param_mut(0) = 3;
        *context.tls_base_mut() = 4;
        let words = context.into_words();
        assert_eq!(words.len(), 19);
        assert_eq!((words[0], words[1], words[8], words[18]), (1, 2, 3, 4));
        assert_eq!(*UserContext::from_words(words).c_param(0), 3);
    }
}
