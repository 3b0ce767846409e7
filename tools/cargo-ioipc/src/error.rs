//! Why a command failed, and whose fault that is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sel4_kernel::host_packages::MissingPackages;

use crate::elf_check::Problem;
use crate::image::ImageError;
use crate::passt::PasstError;
use crate::tap::TapError;

/// Why an operation of this crate failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no kernel.
    Kernel(sel4_kernel::Error),
    /// Programs that are needed are not on this machine.
    Host(MissingPackages),
    /// The system description has mistakes; the text shows each of them, and
    /// ends with a line end.
    System(String),
    /// Cargo did not build the components; it has said why already.
    Build(String),
    /// A component was built, but cannot be loaded.
    Program {
        /// The component's program.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The image cannot be put together.
    Image(ImageError),
    /// The emulator ended when it should not have.
    Emulator {
        /// How it ended.
        outcome: String,
        /// What it wrote to its standard error, and the last serial lines.
        tail: String,
    },
    /// Something expected of the running system did not happen in time.
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last serial lines.
        tail: String,
    },
    /// There is no TAP device to use.
    Tap(TapError),
    /// Frames cannot be lost as was asked for.
    Wire(String),
    /// passt is not, or no longer, at the other end of the wire.
    Passt(PasstError),
    /// Two runs cannot be compared.
    Compare(crate::compare::CompareError),
    /// A benchmark has no figures.
    Bench(Box<crate::bench::BenchError>),
    /// The running system said something that cannot be understood.
    Reply(String),
    /// The host's file system or network refused.
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

impl Error {
    /// Closure for `map_err` that names the operation and its object.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::Host(missing) => missing.fmt(f),
            Self::System(report)
            | Self::Build(report)
            | Self::Reply(report)
            | Self::Wire(report) => f.write_str(report),
            Self::Program { path, problem } => {
                write!(f, "{} cannot be loaded: {problem}", path.display())
            }
            Self::Image(error) => error.fmt(f),
            Self::Bench(error) => error.fmt(f),
            Self::Compare(error) => error.fmt(f),
            Self::Tap(error) => error.fmt(f),
            Self::Passt(error) => error.fmt(f),
            Self::Emulator { outcome, tail } => {
                write!(f, "the emulator ended unexpectedly ({outcome})")?;
                indented(f, tail)
            }
            Self::Timeout { what, after, tail } => {
                write!(f, "no {what} within {} s", after.as_secs_f32())?;
                indented(f, tail)
            }
            Self::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
        }
    }
}

fn indented(f: &mut fmt::Formatter<'_>, tail: &str) -> fmt::Result {
    if tail.is_empty() {
        return Ok(());
    }
    f.write_str("; the last it said:")?;
    for line in tail.lines() {
        write!(f, "\n    {line}")?;
    }
    Ok(())
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Kernel(error) => Some(error),
            Self::Host(missing) => Some(missing),
            Self::Image(error) => Some(error),
            Self::Bench(error) => Some(&**error),
            Self::Compare(error) => Some(error),
            Self::Tap(error) => Some(error),
            Self::Passt(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<sel4_kernel::Error> for Error {
    fn from(error: sel4_kernel::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<MissingPackages> for Error {
    fn from(missing: MissingPackages) -> Self {
        Self::Host(missing)
    }
}

impl From<TapError> for Error {
    fn from(error: TapError) -> Self {
        Self::Tap(error)
    }
}

impl From<PasstError> for Error {
    fn from(error: PasstError) -> Self {
        Self::Passt(error)
    }
}

impl From<crate::compare::CompareError> for Error {
    fn from(error: crate::compare::CompareError) -> Self {
        Self::Compare(error)
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}
