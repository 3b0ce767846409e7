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
mod oracle;
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

/// Reads the interface files; writes `bindings.rs` and, for the test that holds
/// them against the kernel's own generators, `oracle.rs` into `$OUT_DIR`.
fn generate() -> Result<(), Error> {
    let prefix = prefix::Prefix::from_env()?;
    let kernel = kernel::read(&prefix)?;
    for path in &kernel.files {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?);
    write(out_dir.join("bindings.rs"), &emit::bindings(&kernel)?)?;
    write(out_dir.join("oracle.rs"), &oracle::questions(&kernel)?)
}

fn write(path: PathBuf, text: &str) -> Result<(), Error> {
    fs::write(&path, text).map_err(|cause| Error::Io { path, cause })
}
