//! Why there is no kernel, and whose fault that is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::host_packages::MissingPackages;

/// Why [`crate::ensure`] has no kernel to offer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Programs that the build needs are not on this machine.
    Host(MissingPackages),
    /// The kernel's source could not be found; the text says where it was
    /// looked for.
    Source(String),
    /// A step of the build ended badly.
    Step {
        /// What was being done.
        what: String,
        /// How it ended.
        outcome: String,
        /// The last lines it wrote.
        tail: String,
        /// File with everything it wrote.
        log: PathBuf,
    },
    /// The installed kernel lacks a file.
    Incomplete {
        /// The install prefix.
        prefix: PathBuf,
        /// What it lacks, relative to the prefix.
        missing: PathBuf,
    },
    /// The installed kernel is of a version without bindings.
    Unsupported {
        /// The install prefix.
        prefix: PathBuf,
        /// The version found there, or what is known of it.
        found: String,
    },
    /// The host's file system refused.
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

impl Error {
    /// Closure for `map_err` that names the operation and the file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(missing) => missing.fmt(f),
            Self::Source(why) => write!(f, "the seL4 source was not found: {why}"),
            Self::Step {
                what,
                outcome,
                tail,
                log,
            } => {
                writeln!(f, "{what} failed ({outcome}); its last lines:")?;
                for line in tail.lines() {
                    writeln!(f, "    {line}")?;
                }
                write!(f, "everything it wrote is in {}", log.display())
            }
            Self::Incomplete { prefix, missing } => write!(
                f,
                "the kernel installed at {} is incomplete: it has no {}",
                prefix.display(),
                missing.display()
            ),
            Self::Unsupported { prefix, found } => write!(
                f,
                "the kernel installed at {} is {found}, which is not supported yet: \
                 the bindings support {}. Unset {} to use the kernel that is built here",
                prefix.display(),
                crate::SUPPORTED_VERSIONS.join(", "),
                crate::PREFIX_VARIABLE
            ),
            Self::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Host(missing) => Some(missing),
            _ => None,
        }
    }
}

impl From<MissingPackages> for Error {
    fn from(missing: MissingPackages) -> Self {
        Self::Host(missing)
    }
}
