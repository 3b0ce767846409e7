//! Whether an installed kernel has the defect that the recipe corrects.
//!
//! Problem: 5.0.0 as published resets its stack by rounding up to the stack's
//! size without aligning it to that (see `recipe.rs`), and dies some time after
//! interrupts begin to come. A kernel that was built elsewhere may have it.

use std::path::Path;

use object::{Object, ObjectSymbol};

/// Size of the kernel's stack in bytes, to which it must be aligned.
const STACK_BYTES: u64 = 4096;
/// The stack's symbol.
const STACK: &str = "kernel_stack_alloc";

/// What to tell who boots the kernel at `elf`; `None` if its stack is aligned,
/// or if the file does not say where the stack is.
pub(crate) fn warning(elf: &Path) -> Option<String> {
    let bytes = std::fs::read(elf).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let stack = file.symbols().find(|symbol| symbol.name() == Ok(STACK))?;
    if stack.address().is_multiple_of(STACK_BYTES) {
        return None;
    }
    Some(format!(
        "warning: {} has its stack at {:#x}, which is not aligned to {STACK_BYTES} bytes: this \
         kernel overwrites its interrupt table and will crash (set KERNEL_STACK_ALIGNMENT to \
         {STACK_BYTES}, or unset {})",
        elf.display(),
        stack.address(),
        crate::PREFIX_VARIABLE
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A program that has the stack's symbol at `address`.
    fn program(directory: &Path, address: &str) -> std::path::PathBuf {
        let elf = directory.join(address);
        let status = Command::new("gcc")
            .args(["-nostdlib", "-static", "-x", "c", "/dev/null", "-Wl,-e,0"])
            .arg(format!("-Wl,--defsym={STACK}={address}"))
            .arg("-o")
            .arg(&elf)
            .status()
            .unwrap();
        assert!(status.success());
        elf
    }

    #[test]
    fn a_stack_that_is_not_aligned_to_its_size_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let warning = |address| warning(&program(directory.path(), address));
        assert!(warning("0x807364d0").unwrap().contains("0x807364d0"));
        assert_eq!(warning("0x80736000"), None);
    }
}
