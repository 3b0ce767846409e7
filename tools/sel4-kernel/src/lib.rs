//! The seL4 kernel that images boot.
//!
//! Problem: an image needs a kernel, and the bindings need the interface files
//! of exactly that kernel, yet a newcomer has neither. This crate builds seL4
//! 5.0.0 from the source in its registry package, once per configuration, and
//! lays the result out as an install *prefix*; a kernel that is installed
//! already is used instead when `SEL4_PREFIX` names it.
//!
//! Invariant: a [`Kernel`] is complete. Every file of the layout below exists,
//! belongs to one version and one configuration, and the version is one that
//! the bindings support. A half-built prefix is never visible: it is built
//! beside its place and renamed.
//!
//! | path in the prefix | content |
//! | --- | --- |
//! | `bin/kernel.elf` | the kernel, ELF64, with symbols |
//! | `bin/kernel32.elf` | the same as ELF32, which multiboot loaders (QEMU) accept |
//! | `libsel4/` | the user-level headers and interface XML of the source |
//! | `libsel4/autoconf.h` | the configuration, as C macros |
//! | `api/` | `syscall.xml` and its schema |
//! | `kernel-bitfields/` | the kernel's `.bf` files, by their path under `include/` |
//! | `kernel-include/` | the kernel's headers for this platform |
//! | `generated/` | what the kernel's own generators wrote for this configuration |
//! | `tools-src/` | those generators |
//! | `version`, `debug` | `5.0.0`; `1` where the debug system calls exist, else `0` |

#![forbid(unsafe_code)]

mod cache;
mod config;
mod defect;
mod error;
pub mod host_packages;
mod prefix;
pub mod progress;
mod recipe;
mod source;
mod step;

use std::path::{Path, PathBuf};

pub use config::Variant;
pub use error::Error;
pub use prefix::{Kernel, SUPPORTED_VERSIONS};
pub use progress::Progress;

/// Environment variable that names an installed kernel's prefix.
pub const PREFIX_VARIABLE: &str = "SEL4_PREFIX";

/// Where the project's sources and build products are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Directory of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Directory that everything built goes under; `ioipc/` in it is ours.
    pub target: PathBuf,
}

impl Workspace {
    /// Directory of everything that the project's tools build, except cargo's
    /// own host builds.
    #[must_use]
    pub fn products(&self) -> PathBuf {
        self.target.join("ioipc")
    }
}

/// The kernel to boot: the one that `SEL4_PREFIX` names, or else the cached or
/// freshly built 5.0.0 in `variant`.
///
/// Installs missing Debian packages when it has to build and may (see
/// [`host_packages`]).
///
/// # Errors
/// An installed kernel that is incomplete or of an unsupported version, missing
/// programs on the host, or a failed build, with the end of its log.
pub fn ensure(
    variant: Variant,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<Kernel, Error> {
    match std::env::var_os(PREFIX_VARIABLE) {
        Some(path) if !path.is_empty() => {
            let kernel = installed(Path::new(&path), workspace)?;
            if let Some(warning) = defect::warning(&kernel.elf()) {
                progress.note(&warning);
            }
            Ok(kernel)
        }
        _ => cache::built(variant, workspace, progress),
    }
}

/// The packages that [`ensure`] would need: none when the kernel is there. For
/// asking a person once, together with what else is needed.
#[must_use]
pub fn needs(variant: Variant, workspace: &Workspace) -> &'static [host_packages::Need] {
    let installed = std::env::var_os(PREFIX_VARIABLE).is_some_and(|path| !path.is_empty());
    if installed || cache::holds(variant, workspace) {
        &[]
    } else {
        host_packages::KERNEL_BUILD
    }
}

/// Checks the kernel installed at `prefix` and makes it bootable.
///
/// The prefix is left as it is: when it has no `bin/kernel32.elf`, that file is
/// made under the workspace's products.
///
/// # Errors
/// See [`ensure`].
pub fn installed(prefix: &Path, workspace: &Workspace) -> Result<Kernel, Error> {
    prefix::installed(prefix, &workspace.products().join("kernel"))
}
