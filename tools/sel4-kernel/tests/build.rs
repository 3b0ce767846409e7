//! Builds the real kernel, which needs its build tools on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sel4_kernel::{Kernel, Progress, Variant, Workspace, ensure};

fn build(variant: Variant, target: &Path) -> Kernel {
    let workspace = Workspace {
        root: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."),
        target: target.to_path_buf(),
    };
    ensure(variant, &workspace, &Progress::hidden()).unwrap_or_else(|error| panic!("{error}"))
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_same_input_gives_the_same_kernel_in_any_place() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = build(Variant::Debug, one.path());
    let second = build(Variant::Debug, other.path());
    assert_eq!(first.prefix().file_name(), second.prefix().file_name());
    assert!(bytes(&first.elf()) == bytes(&second.elf()));
    assert!(bytes(first.boot_elf()) == bytes(second.boot_elf()));
}

#[test]
fn a_second_request_finds_the_first_kernel() {
    let target = tempfile::tempdir().unwrap();
    let first = build(Variant::Release, target.path());
    let built = fs::metadata(first.elf()).unwrap().modified().unwrap();
    let second = build(Variant::Release, target.path());
    assert_eq!(first, second);
    assert_eq!(
        built,
        fs::metadata(second.elf()).unwrap().modified().unwrap()
    );
    assert!(!first.is_debug());
    assert_eq!(first.version(), "5.0.0");
}

/// The kernel rounds its stack pointer to the stack's size; see `recipe.rs`.
#[test]
fn the_kernel_stack_is_aligned_to_its_size() {
    let target = tempfile::tempdir().unwrap();
    for variant in [Variant::Debug, Variant::Release] {
        let kernel = build(variant, target.path());
        let symbols = Command::new("nm").arg(kernel.elf()).output().unwrap();
        let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
        let stack = symbols
            .lines()
            .find(|line| line.ends_with(" kernel_stack_alloc"))
            .unwrap_or_else(|| panic!("no kernel stack among\n{symbols}"));
        assert!(stack[..16].ends_with("000"), "{stack}");
    }
}
