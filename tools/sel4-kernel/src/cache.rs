//! Kernels built before, found by what went into them.
//!
//! Problem: building takes seconds and three programs ask for a kernel at once
//! (the tool, the tests, the bindings' build). The key is a hash of everything
//! that determines the result: source package, configuration, recipe, layout
//! and compiler.
//!
//! Invariant: a directory under its final name is complete. Two processes that
//! build the same kernel at once both succeed; the first rename wins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::{Error, Kernel, Progress, Variant, Workspace};
use crate::{host_packages, prefix, recipe, source};

/// Changes when the layout of a prefix does.
const LAYOUT: &str = "prefix layout 1";

/// The kernel in the cache, built first if it is not there.
pub(crate) fn built(
    variant: Variant,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<Kernel, Error> {
    let kernels = workspace.products().join("kernel");
    fs::create_dir_all(&kernels).map_err(Error::io("create", &kernels))?;
    if let Some(place) = place(variant, workspace).filter(|place| place.is_dir()) {
        return prefix::open(&place);
    }
    host_packages::ensure(host_packages::KERNEL_BUILD, &kernels, progress)?;
    progress.step("fetching the seL4 source");
    let source = source::folder(&workspace.root)?;
    let place = place(variant, workspace).ok_or_else(|| {
        Error::Source(format!(
            "{} names no kernel source, or gcc does not run",
            workspace.root.join("Cargo.lock").display()
        ))
    })?;
    let scratch = tempfile::Builder::new()
        .prefix(".building-")
        .tempdir_in(&kernels)
        .map_err(Error::io("create a directory in", &kernels))?;
    let log = kernels.join(format!("build-{variant}.log"));
    recipe::build(variant, &source, scratch.path(), &log, progress)?;
    publish(&scratch.path().join(recipe::PREFIX), &place)?;
    prefix::open(&place)
}

/// Whether the kernel needs no building.
pub(crate) fn holds(variant: Variant, workspace: &Workspace) -> bool {
    place(variant, workspace).is_some_and(|place| place.is_dir())
}

/// Where the kernel's prefix is, or is to be.
fn place(variant: Variant, workspace: &Workspace) -> Option<PathBuf> {
    let key = key(variant, workspace)?;
    let kernels = workspace.products().join("kernel");
    Some(kernels.join(format!("{variant}-{key}")))
}

/// Moves a complete prefix to its place, unless another process was first.
fn publish(complete: &Path, place: &Path) -> Result<(), Error> {
    match fs::rename(complete, place) {
        Err(error) if !place.is_dir() => Err(Error::io("rename to", place)(error)),
        _ => Ok(()),
    }
}

/// Hash of what determines the kernel; `None` while the source package is not
/// locked or there is no compiler.
fn key(variant: Variant, workspace: &Workspace) -> Option<String> {
    let source = source::locked(&workspace.root)?;
    let mut hash = Sha256::new();
    let parts = [
        LAYOUT,
        &source,
        &variant.autoconf(),
        &recipe::identity(variant),
        &compiler()?,
    ];
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    Some(
        digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

/// First line of the compiler's account of itself.
fn compiler() -> Option<String> {
    let output = Command::new("gcc")
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}
