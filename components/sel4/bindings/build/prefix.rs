//! The install prefix of the kernel: finding it and telling its version.
//!
//! Invariant: a [`Prefix`] names a directory that holds a kernel whose version
//! is one of [`SUPPORTED`].

use crate::error::Error;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Kernel versions that `kernel::read` has a table for.
pub const SUPPORTED: &[&str] = &["5.0.0"];

/// The directory that `SEL4_PREFIX` names, and what is in it.
#[derive(Debug)]
pub struct Prefix {
    /// The directory itself.
    pub root: PathBuf,
    /// The kernel's version, as `VERSION` of its source says it.
    pub version: String,
}

impl Prefix {
    /// Reads the environment and checks the directory.
    pub fn from_env() -> Result<Self, Error> {
        let root = env::var_os("SEL4_PREFIX")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .ok_or(Error::NoPrefix)?;
        for needed in ["bin/kernel.elf", "libsel4/include"] {
            if !root.join(needed).exists() {
                return Err(Error::NotAPrefix {
                    missing: root.join(needed),
                    prefix: root,
                });
            }
        }
        let version = version_of(&root);
        if !SUPPORTED.contains(&version.as_str()) {
            return Err(Error::UnsupportedVersion {
                prefix: root,
                found: version,
                supported: SUPPORTED,
            });
        }
        Ok(Self { root, version })
    }

    /// The first of `candidates` that exists below the prefix.
    pub fn find(&self, candidates: &[&str]) -> Result<PathBuf, Error> {
        candidates
            .iter()
            .map(|candidate| self.root.join(candidate))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::NotAPrefix {
                prefix: self.root.clone(),
                missing: self.root.join(candidates.first().unwrap_or(&"?")),
            })
    }
}

/// The version that the prefix states, or what its files give away.
///
/// Kernels from 10 on install a generated `gen_config.json` or
/// `gen_config.h`, but no version; their users may write a `version` file.
fn version_of(root: &Path) -> String {
    if let Ok(text) = fs::read_to_string(root.join("version")) {
        return text.trim().to_owned();
    }
    let newer = root.join("libsel4/include/kernel/gen_config.json").exists()
        || root.join("libsel4/include/kernel/gen_config.h").exists();
    if newer {
        "newer than 5 (it has a generated configuration and no `version` file)".to_owned()
    } else {
        "of unknown version (there is no `version` file)".to_owned()
    }
}
