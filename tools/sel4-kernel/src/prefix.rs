//! A kernel as it lies on the disk.
//!
//! Invariant: possessing a [`Kernel`] proves that its layout was complete and
//! its version supported when it was opened.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, recipe};

/// Kernel versions that the bindings can be generated for.
pub const SUPPORTED_VERSIONS: &[&str] = &["5.0.0"];

/// Files that the bindings' build and the tests read, besides the kernel.
const LAYOUT: [&str; 6] = [
    "libsel4/include/interfaces/sel4.xml",
    "libsel4/arch_include/x86/interfaces/sel4arch.xml",
    "libsel4/sel4_arch_include/x86_64/interfaces/sel4arch.xml",
    "libsel4/autoconf.h",
    "api/syscall.xml",
    "debug",
];

/// A complete kernel of a supported version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    prefix: PathBuf,
    boot: PathBuf,
    version: String,
    debug: bool,
}

impl Kernel {
    /// The install prefix: what `SEL4_PREFIX` is set to for builds against it.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The kernel as ELF64, with symbols.
    #[must_use]
    pub fn elf(&self) -> PathBuf {
        self.prefix.join("bin/kernel.elf")
    }

    /// The kernel as multiboot loaders accept it (QEMU's `-kernel`).
    #[must_use]
    pub fn boot_elf(&self) -> &Path {
        &self.boot
    }

    /// Its version, for example `5.0.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it has the debug system calls, putchar among them.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.debug
    }
}

/// Opens a prefix that has its own `bin/kernel32.elf`.
pub(crate) fn open(prefix: &Path) -> Result<Kernel, Error> {
    let boot = prefix.join("bin/kernel32.elf");
    require(prefix, "bin/kernel32.elf")?;
    validate(prefix, boot)
}

/// Opens a prefix that somebody else installed; what it lacks for booting is
/// made in `products`.
pub(crate) fn installed(prefix: &Path, products: &Path) -> Result<Kernel, Error> {
    let prefix = std::path::absolute(prefix).map_err(Error::io("find", prefix))?;
    let own = prefix.join("bin/kernel32.elf");
    if own.is_file() {
        return validate(&prefix, own);
    }
    let kernel = validate(&prefix, PathBuf::new())?;
    let bytes = fs::read(kernel.elf()).map_err(Error::io("read", &kernel.elf()))?;
    let digest = Sha256::digest(&bytes);
    let name: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::create_dir_all(products).map_err(Error::io("create", products))?;
    let boot = products.join(format!("installed-{name}.elf"));
    if !boot.is_file() {
        let scratch = tempfile::tempdir_in(products).map_err(Error::io("write in", products))?;
        let made = scratch.path().join("kernel32.elf");
        recipe::to_elf32(&kernel.elf(), &made, scratch.path())?;
        fs::rename(&made, &boot).map_err(Error::io("rename to", &boot))?;
    }
    Ok(Kernel { boot, ..kernel })
}

/// Checks everything but the boot file.
fn validate(prefix: &Path, boot: PathBuf) -> Result<Kernel, Error> {
    require(prefix, "bin/kernel.elf")?;
    let version = version(prefix)?;
    if !SUPPORTED_VERSIONS.contains(&version.as_str()) {
        return Err(Error::Unsupported {
            prefix: prefix.to_path_buf(),
            found: format!("seL4 {version}"),
        });
    }
    for file in LAYOUT {
        require(prefix, file)?;
    }
    let flag = prefix.join("debug");
    let debug = fs::read_to_string(&flag).map_err(Error::io("read", &flag))?;
    Ok(Kernel {
        prefix: prefix.to_path_buf(),
        boot,
        version,
        debug: debug.trim() == "1",
    })
}

/// The version a prefix states, or what its files tell about it.
fn version(prefix: &Path) -> Result<String, Error> {
    for name in ["version", "VERSION"] {
        if let Ok(text) = fs::read_to_string(prefix.join(name)) {
            return Ok(text.trim().to_owned());
        }
    }
    // Kernels that are configured with CMake describe themselves in JSON; they
    // began with version 10.
    let newer = [
        "libsel4/include/kernel/gen_config.json",
        "libsel4/include/interfaces/object-api.xml",
    ];
    if newer.iter().any(|file| prefix.join(file).is_file()) {
        return Ok("16 or another version after 5.0.0".to_owned());
    }
    Err(Error::Incomplete {
        prefix: prefix.to_path_buf(),
        missing: PathBuf::from("version"),
    })
}

fn require(prefix: &Path, file: &str) -> Result<(), Error> {
    if prefix.join(file).is_file() {
        return Ok(());
    }
    Err(Error::Incomplete {
        prefix: prefix.to_path_buf(),
        missing: PathBuf::from(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(prefix: &Path, file: &str, text: &str) {
        let path = prefix.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn complete() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in LAYOUT {
            put(root.path(), file, "0");
        }
        put(root.path(), "bin/kernel.elf", "");
        put(root.path(), "bin/kernel32.elf", "");
        put(root.path(), "version", "5.0.0\n");
        root
    }

    #[test]
    fn a_complete_prefix_opens() {
        let root = complete();
        let kernel = installed(root.path(), root.path()).unwrap();
        assert_eq!(kernel.version(), "5.0.0");
        assert!(!kernel.is_debug());
    }

    #[test]
    fn a_missing_file_is_named() {
        let root = complete();
        fs::remove_file(root.path().join("api/syscall.xml")).unwrap();
        let message = installed(root.path(), root.path()).unwrap_err().to_string();
        assert!(message.ends_with("is incomplete: it has no api/syscall.xml"));
    }

    #[test]
    fn a_newer_kernel_is_refused_by_path_and_version() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "bin/kernel.elf", "");
        put(root.path(), "libsel4/include/kernel/gen_config.json", "{}");
        let message = installed(root.path(), root.path()).unwrap_err().to_string();
        assert!(message.contains(&root.path().display().to_string()));
        assert!(message.contains("seL4 16"));
        assert!(message.contains("not supported yet"));
    }

    #[test]
    fn a_stated_version_is_told() {
        let root = complete();
        put(root.path(), "version", "13.0.0");
        let message = installed(root.path(), root.path()).unwrap_err().to_string();
        assert!(message.contains("seL4 13.0.0"));
    }
}
