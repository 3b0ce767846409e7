//! The counter plugin, from the project's sources.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::BenchError;
use crate::Home;

/// Builds the plugin for the host and returns its file.
pub(super) fn build(home: &Home) -> Result<PathBuf, BenchError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "insn-count"])
        .arg("--manifest-path")
        .arg(home.workspace.root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&home.workspace.target)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| BenchError::Plugin(format!("cannot run cargo: {error}")))?;
    if !status.success() {
        return Err(BenchError::Plugin("cargo did not build it".to_owned()));
    }
    let file = home
        .workspace
        .target
        .join("release")
        .join(insn_count::PLUGIN_FILE);
    match file.exists() {
        true => Ok(file),
        false => Err(BenchError::Plugin(format!("{} is missing", file.display()))),
    }
}
