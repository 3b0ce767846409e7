//! Finds the kernel's source among cargo's downloads.
//!
//! Problem: the folder must be found without assuming where cargo keeps
//! registry packages (vendored, mirrored, other `CARGO_HOME`), and a cached
//! kernel should be recognised without asking cargo at all. The lock file
//! answers the second: it holds the package's version and hash.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Error;

/// Registry package that holds the kernel's source in its folder `seL4/`.
const PACKAGE: &str = "sel4-sys";

/// Version and hash of the source package, or `None` when the workspace has no
/// lock file that names it yet.
pub(crate) fn locked(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("Cargo.lock")).ok()?;
    let lock: toml::Table = text.parse().ok()?;
    let package = lock
        .get("package")?
        .as_array()?
        .iter()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some(PACKAGE))?;
    let version = package.get("version")?.as_str()?;
    let checksum = package.get("checksum").and_then(toml::Value::as_str);
    Some(format!(
        "{PACKAGE} {version} {}",
        checksum.unwrap_or("unhashed")
    ))
}

/// The folder of the kernel's source, downloaded by cargo if need be.
pub(crate) fn folder(root: &Path) -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Source(format!("cargo metadata: {error}")))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Source(format!("cargo metadata said:\n{errors}")));
    }
    let manifest = manifest_path(&output.stdout)
        .ok_or_else(|| Error::Source(format!("cargo metadata names no package {PACKAGE}")))?;
    let folder = manifest.with_file_name("seL4");
    if folder.join("VERSION").is_file() {
        Ok(folder)
    } else {
        Err(Error::Source(format!(
            "{} has no folder seL4",
            manifest.display()
        )))
    }
}

fn manifest_path(metadata: &[u8]) -> Option<PathBuf> {
    let metadata: Value = serde_json::from_slice(metadata).ok()?;
    metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["name"] == PACKAGE)
        .and_then(|package| package["manifest_path"].as_str())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_version_and_hash() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(locked(root.path()), None);
        let lock = "version = 4\n[[package]]\nname = \"sel4-sys\"\nversion = \"0.0.28\"\nchecksum = \"ab\"\n";
        std::fs::write(root.path().join("Cargo.lock"), lock).unwrap();
        assert_eq!(locked(root.path()).as_deref(), Some("sel4-sys 0.0.28 ab"));
    }
}
