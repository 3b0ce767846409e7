//! The kernel configuration of both variants.
//!
//! Problem: the package ships a configuration of a test suite. Ours must agree
//! in every place that includes it (kernel, libsel4, bindings), so it is text
//! that is written once and copied into the prefix. Changing it changes the
//! cache key.

use std::fmt;

/// Which kernel: with debug system calls, assertions and printing, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Checks its own invariants, prints faults, has the putchar system call.
    Debug,
    /// What is measured and shipped.
    Release,
}

impl Variant {
    /// Name of the variant in paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    /// The `autoconf.h` of this variant.
    pub(crate) fn autoconf(self) -> String {
        let debug: &[(&str, u32)] = match self {
            Self::Debug => DEBUG_ONLY,
            Self::Release => &[],
        };
        let mut text = String::from("#pragma once\n#define AUTOCONF_INCLUDED\n");
        for (name, value) in COMMON.iter().chain(debug) {
            text.push_str(&format!("#define CONFIG_{name} {value}\n"));
        }
        text
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Options that both variants set; what is not named here is off, among it
/// IOMMU, PCID, huge pages, VT-x and hardware breakpoints.
const COMMON: &[(&str, u32)] = &[
    // Machine.
    ("ARCH_X86", 1),
    ("ARCH_X86_64", 1),
    ("PLAT_PC99", 1),
    ("WORD_SIZE", 64),
    ("CACHE_LN_SZ", 64),
    ("MAX_NUM_NODES", 1),
    ("SYSCALL", 1),
    ("FSGSBASE_INST", 1),
    // Floating point: 512 bytes of FXSAVE, switched lazily.
    ("HAVE_FPU", 1),
    ("FXSAVE", 1),
    ("XSAVE_SIZE", 512),
    ("FPU_MAX_RESTORES_SINCE_SWITCH", 64),
    // Interrupts.
    ("XAPIC", 1),
    ("IRQ_IOAPIC", 1),
    ("MAX_NUM_IOAPIC", 1),
    // Boot.
    ("MULTIBOOT_GRAPHICS_MODE_NONE", 1),
    ("MAX_RMRR_ENTRIES", 32),
    ("MAX_NUM_BOOTINFO_UNTYPED_CAPS", 230),
    ("ROOT_CNODE_SIZE_BITS", 16),
    // Kernel proper.
    ("FASTPATH", 1),
    ("KERNEL_STACK_BITS", 12),
    ("NUM_DOMAINS", 1),
    ("NUM_PRIORITIES", 256),
    ("TIMER_TICK_MS", 2),
    ("TIME_SLICE", 5),
    ("RETYPE_FAN_OUT_LIMIT", 256),
    ("MAX_NUM_WORK_UNITS_PER_PREEMPTION", 100),
];

/// Options of the debug variant alone.
const DEBUG_ONLY: &[(&str, u32)] = &[
    ("DEBUG_BUILD", 1),
    ("PRINTING", 1),
    ("USER_STACK_TRACE_LENGTH", 16),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_debug_variant_prints() {
        let debug = Variant::Debug.autoconf();
        let release = Variant::Release.autoconf();
        assert!(debug.contains("#define CONFIG_PRINTING 1\n"));
        assert!(!release.contains("PRINTING"));
        assert!(!release.contains("DEBUG_BUILD"));
    }

    #[test]
    fn no_option_is_named_twice() {
        let mut names: Vec<_> = COMMON.iter().chain(DEBUG_ONLY).map(|o| o.0).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(before, names.len());
    }
}
