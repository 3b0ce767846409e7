//! Builds the kernel and lays out its prefix.
//!
//! Problem: the source is of 2017. Its generators name an interpreter that no
//! longer exists, one of its checks misreads today's preprocessor, and its
//! makefile writes beside the source. So a copy is adjusted and built, with a
//! fixed environment and relative paths: the same source, configuration and
//! compiler give the same bytes wherever the workspace lies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host_packages::{PYTHON, find_program};
use crate::{Error, Progress, Variant, step};

/// Name of the finished prefix in the directory that [`build`] works in.
pub(crate) const PREFIX: &str = "prefix";

/// Compiler with what distributions switch on by default switched off, and
/// without the place of the build in its output. Make fills in `CURDIR`.
const CC: &str = "gcc -fno-stack-protector -fcf-protection=none \
                  -ffile-prefix-map=../src=seL4 -ffile-prefix-map=$(CURDIR)=build";

/// Generators that are programs of their own.
const GENERATORS: [&str; 3] = [
    "bitfield_gen.py",
    "invocation_header_gen.py",
    "syscall_header_gen.py",
];

/// What is made: the kernel, and by name the generated headers that the
/// makefile would otherwise remove when it is done with them.
const GOALS: [&str; 4] = [
    "kernel.elf",
    "64/mode/api/shared_types_gen.h",
    "arch/object/structures_gen.h",
    "plat/64/plat_mode/machine/hardware_gen.h",
];

/// Stands in for the check for circular includes: reads and approves.
const NO_CHECK: &str = "import sys\nsys.stdin.buffer.read()\n";

/// A defect of 5.0.0 on x86_64, as file below `include/`, what it says and what
/// it must say. When an interrupt arrives while the kernel leaves for another
/// reason, `restore_user_context` resets its stack by rounding the stack
/// pointer up to the stack's size, which only ends on the stack if that is
/// aligned to its size. With 16 bytes the kernel goes on in the interrupt
/// descriptor table, and the next interrupt is its last.
const STACK_ALIGNMENT: (&str, &str, &str) = (
    "arch/x86/arch/64/mode/kernel/stack.h",
    "#define KERNEL_STACK_ALIGNMENT 16",
    "#define KERNEL_STACK_ALIGNMENT 4096",
);

/// Directories under the kernel's `include/` that are of our platform.
const INCLUDES: [&str; 2] = ["arch/x86", "plat/pc99"];

/// Everything in this file that determines the result, for the cache key.
pub(crate) fn identity(variant: Variant) -> String {
    format!(
        "{:?} {NO_CHECK} {PYTHON} {STACK_ALIGNMENT:?}",
        make_arguments(variant, "")
    )
}

/// Builds the kernel of `source` in `scratch`, an empty directory, and lays
/// out the prefix at `scratch/prefix`.
pub(crate) fn build(
    variant: Variant,
    source: &Path,
    scratch: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<(), Error> {
    progress.step(&format!("building the seL4 kernel ({variant})"));
    let copy = scratch.join("src");
    let objects = scratch.join("objects");
    copy_tree(source, &copy)?;
    adjust(&copy, variant)?;
    create(&objects)?;
    step::run(
        &format!("building the seL4 kernel ({variant})"),
        &mut make(variant, &objects),
        log,
    )?;
    lay_out(variant, &copy, &objects, &scratch.join(PREFIX))
}

/// Makes the old source digestible.
fn adjust(copy: &Path, variant: Variant) -> Result<(), Error> {
    write(
        &copy.join("include/plat/pc99/autoconf.h"),
        &variant.autoconf(),
    )?;
    correct(&copy.join("include"), STACK_ALIGNMENT)?;
    let tools = copy.join("tools");
    for name in GENERATORS {
        let path = tools.join(name);
        let text = read(&path)?;
        let body = text.split_once('\n').map_or("", |(_, body)| body);
        program(&path, body)?;
    }
    program(&tools.join("circular_includes.py"), NO_CHECK)?;
    for name in ["changed.sh", "cpp_gen.sh"] {
        executable(&tools.join(name))?;
    }
    Ok(())
}

/// Corrects a line that must be there.
fn correct(include: &Path, (file, wrong, right): (&str, &str, &str)) -> Result<(), Error> {
    let path = include.join(file);
    let text = read(&path)?;
    if !text.contains(wrong) {
        let path = path.display();
        return Err(Error::Source(format!("{path} lacks the line {wrong:?}")));
    }
    write(&path, &text.replace(wrong, right))
}

/// Writes a Python program that the makefile can run by its path.
fn program(path: &Path, body: &str) -> Result<(), Error> {
    write(path, &format!("#!{PYTHON}\n{body}"))?;
    executable(path)
}

/// One job at a time: the generators share a parser table that each of them
/// writes, and the compiler, which takes most of the time, runs once.
fn make(variant: Variant, objects: &Path) -> Command {
    let xmllint = find_program("xmllint").unwrap_or_else(|| PathBuf::from("xmllint"));
    let mut command = Command::new("make");
    command
        .current_dir(objects)
        .env_clear()
        .env("LC_ALL", "C")
        .env("SOURCE_DATE_EPOCH", "0")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(make_arguments(variant, &xmllint.to_string_lossy()));
    command
}

fn make_arguments(variant: Variant, xmllint: &str) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-f",
        "../src/Makefile",
        "SOURCE_ROOT=../src",
        "ARCH=x86",
        "PLAT=pc99",
        "SEL4_ARCH=x86_64",
        "FASTPATH=1",
        "WARNINGS=no-error",
        "SKIP_PATH_CHECKS=1",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("PYTHON={PYTHON}"));
    arguments.push(format!("XMLLINT_PATH={xmllint}"));
    arguments.push(format!("CC={CC}"));
    if variant == Variant::Debug {
        arguments.push("DEBUG=1".to_owned());
    }
    arguments.extend(GOALS.map(str::to_owned));
    arguments
}

/// Collects the files of the prefix.
fn lay_out(variant: Variant, copy: &Path, objects: &Path, prefix: &Path) -> Result<(), Error> {
    let bin = prefix.join("bin");
    create(&bin)?;
    copy_file(&objects.join("kernel.elf"), &bin.join("kernel.elf"))?;
    to_elf32(&bin.join("kernel.elf"), &bin.join("kernel32.elf"), prefix)?;
    copy_tree(&copy.join("libsel4"), &prefix.join("libsel4"))?;
    write(&prefix.join("libsel4/autoconf.h"), &variant.autoconf())?;
    copy_tree(&copy.join("tools"), &prefix.join("tools-src"))?;
    for name in ["syscall.xml", "syscall.xsd"] {
        create(&prefix.join("api"))?;
        copy_file(
            &copy.join("include/api").join(name),
            &prefix.join("api").join(name),
        )?;
    }
    let include = copy.join("include");
    copy_some(&include, &prefix.join("kernel-include"), &of_platform)?;
    copy_some(&include, &prefix.join("kernel-bitfields"), &|path| {
        of_platform(path) && has_extension(path, &["bf"])
    })?;
    copy_some(objects, &prefix.join("generated"), &|path| {
        has_extension(path, &["h", "pbf"])
    })?;
    write(&prefix.join("version"), read(&copy.join("VERSION"))?.trim())?;
    write(
        &prefix.join("debug"),
        if variant == Variant::Debug { "1" } else { "0" },
    )
}

/// Rewrites an ELF64 kernel as ELF32: its addresses at boot fit, and multiboot
/// loaders accept nothing else.
pub(crate) fn to_elf32(from: &Path, to: &Path, logs: &Path) -> Result<(), Error> {
    let log = logs.join("objcopy.log");
    let mut command = Command::new("objcopy");
    command.args(["-O", "elf32-i386"]).arg(from).arg(to);
    step::run("converting the kernel for multiboot", &mut command, &log)?;
    fs::remove_file(&log).map_err(Error::io("remove", &log))
}

/// Whether a path under the kernel's `include/` concerns our platform.
fn of_platform(path: &Path) -> bool {
    let specific = path.starts_with("arch") || path.starts_with("plat");
    !specific || INCLUDES.iter().any(|ours| path.starts_with(ours))
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| wanted.contains(&extension))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    copy_some(from, to, &|_| true)
}

/// Copies the files below `from` whose path relative to it is `wanted`.
fn copy_some(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), Error> {
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let directory = from.join(&relative);
        let entries = fs::read_dir(&directory).map_err(Error::io("read", &directory))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &directory))?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type().map_err(Error::io("read", &directory))?;
            if kind.is_dir() {
                pending.push(path);
            } else if wanted(&path) {
                create(&to.join(&relative))?;
                copy_file(&from.join(&path), &to.join(&path))?;
            }
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    // Cargo's downloads, and vendored ones more so, may be read-only.
    let mut permissions = fs::metadata(to)
        .map_err(Error::io("read", to))?
        .permissions();
    permissions.set_mode(permissions.mode() | 0o600);
    fs::set_permissions(to, permissions).map_err(Error::io("make writable", to))
}

fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io("write", path))
}

fn executable(path: &Path) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("make executable", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_other_platforms_are_left_out() {
        assert!(of_platform(Path::new("object/structures.h")));
        assert!(of_platform(Path::new("arch/x86/arch/types.h")));
        assert!(!of_platform(Path::new("arch/arm/arch/types.h")));
        assert!(!of_platform(Path::new("plat/tx1/plat/machine.h")));
    }

    #[test]
    fn only_the_debug_kernel_is_made_with_debug() {
        let debug = make_arguments(Variant::Debug, "xmllint");
        let release = make_arguments(Variant::Release, "xmllint");
        assert!(debug.iter().any(|argument| argument == "DEBUG=1"));
        assert!(!release.iter().any(|argument| argument.starts_with("DEBUG")));
    }
}
