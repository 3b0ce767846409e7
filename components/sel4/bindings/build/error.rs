//! Why bindings could not be generated, in words for the person who builds.

use std::{fmt, io, path::PathBuf};

/// A failure of the generator.
#[derive(Debug)]
pub enum Error {
    /// `SEL4_PREFIX` is not set.
    NoPrefix,
    /// Cargo gave no output directory.
    NoOutDir,
    /// `SEL4_PREFIX` names something that is not a kernel's install prefix.
    NotAPrefix { prefix: PathBuf, missing: PathBuf },
    /// The kernel's version is not in the table of supported ones.
    UnsupportedVersion {
        prefix: PathBuf,
        found: String,
        supported: &'static [&'static str],
    },
    /// The kernel was configured in a way that the bindings do not cover.
    UnsupportedConfig { prefix: PathBuf, what: String },
    /// A file could not be read or written.
    Io { path: PathBuf, cause: io::Error },
    /// A file is not in the form that its kernel version has.
    Malformed { path: PathBuf, what: String },
    /// A constant that the bindings need is in none of the files read.
    Missing { what: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrefix => f.write_str(
                "SEL4_PREFIX is not set: it must name the install prefix of an seL4 kernel \
                 (bin/kernel.elf, libsel4/include); `cargo ioipc` builds one and sets it",
            ),
            Self::NoOutDir => f.write_str("OUT_DIR is not set: run this through cargo"),
            Self::NotAPrefix { prefix, missing } => write!(
                f,
                "SEL4_PREFIX={} is not the install prefix of an seL4 kernel: {} is missing",
                prefix.display(),
                missing.display()
            ),
            Self::UnsupportedVersion {
                prefix,
                found,
                supported,
            } => write!(
                f,
                "SEL4_PREFIX={} holds seL4 {found}, which these bindings do not know; \
                 supported: {}",
                prefix.display(),
                supported.join(", ")
            ),
            Self::UnsupportedConfig { prefix, what } => write!(
                f,
                "the kernel in SEL4_PREFIX={} is configured in an unsupported way: {what}",
                prefix.display()
            ),
            Self::Io { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::Malformed { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Missing { what } => {
                write!(
                    f,
                    "the kernel's interface files do not define `{what}`; \
                     SEL4_PREFIX may mix two kernels"
                )
            }
        }
    }
}

impl std::error::Error for Error {}
