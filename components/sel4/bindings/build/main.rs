//! Build script: writes the bindings of the kernel that `SEL4_PREFIX` names.
//!
//! Problem: invocation labels, object types and message layouts change with
//! the kernel's version and its configuration, so numbers kept in this
//! repository would rot silently. They are read from the interface files that
//! lie beside the kernel's binary instead.
//!
//! Invariant: either every constant of `bindings.rs` comes from the files of
//! one kernel, or the build fails and says what was looked for and where.

mod bitfield;
mod cexpr;
mod cheader;
mod emit;
mod error;
mod interface;
mod kernel;
mod prefix;
mod syscalls;
mod text;

use error::Error;
use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=SEL4_PREFIX");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the interface files and writes `$OUT_DIR/bindings.rs`.
fn generate() -> Result<(), Error> {
    let prefix = prefix::Prefix::from_env()?;
    let kernel = kernel::read(&prefix)?;
    for path in &kernel.files {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let out_dir = env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?;
    let path = PathBuf::from(out_dir).join("bindings.rs");
    fs::write(&path, emit::bindings(&kernel)?).map_err(|cause| Error::Io { path, cause })
}
