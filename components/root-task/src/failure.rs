//! What went wrong, with what.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Display};

use root_task::elf::ElfError;
use shared_ring::{AttachError, OutOfRange};
use system_description::DescriptionError;
use system_description::payload::PayloadError;
use system_description::startup::StartupError;

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused.
    Kernel(sel4::Error),
    /// No free physical memory is left for this.
    Memory,
    /// No free slots are left in the root task's CSpace.
    Slots,
    /// The image cannot be loaded.
    Elf(ElfError),
    /// The payload cannot be used.
    Payload(PayloadError),
    /// The description cannot be used.
    Description(DescriptionError),
    /// The start-up records cannot be written.
    Startup(StartupError),
    /// A ring cannot be formatted.
    Ring(AttachError),
    /// The description contradicts itself or the machine; how.
    Rule(&'static str),
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "seL4: {error}"),
            Self::Memory => f.write_str("not enough physical memory"),
            Self::Slots => f.write_str("no free slots in the root task's CSpace"),
            Self::Elf(error) => error.fmt(f),
            Self::Payload(error) => error.fmt(f),
            Self::Description(error) => error.fmt(f),
            Self::Startup(error) => error.fmt(f),
            Self::Ring(error) => error.fmt(f),
            Self::Rule(what) => f.write_str(what),
        }
    }
}

/// A step that failed, and what it was about.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Outermost first, each followed by `": "`.
    about: String,
    cause: Cause,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.about, self.cause)
    }
}

impl core::error::Error for Failure {}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self {
            about: String::new(),
            cause,
        }
    }
}

macro_rules! causes {
    ($($error:ty => $variant:ident,)*) => {$(
        impl From<$error> for Cause {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }

        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Cause::from(error).into()
            }
        }
    )*};
}

causes! {
    sel4::Error => Kernel,
    ElfError => Elf,
    PayloadError => Payload,
    DescriptionError => Description,
    StartupError => Startup,
    AttachError => Ring,
}

impl From<OutOfRange> for Cause {
    fn from(_: OutOfRange) -> Self {
        Self::Ring(AttachError::OutOfRange)
    }
}

/// Says what a step was about.
pub trait Context<T> {
    /// Prefixes the failure with `about`.
    ///
    /// # Errors
    /// Those of the step.
    fn context(self, about: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Context<T> for Result<T, E> {
    fn context(self, about: impl Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let failure = error.into();
            Failure {
                about: format!("{}: {}", about, failure.about),
                ..failure
            }
        })
    }
}
