//! Why a load was not served.

use core::fmt;

use ioipc::{Error, Unsent};

/// Why.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// What a socket says.
    Socket(Error),
    /// The bytes from this one on are not those of the pattern, or the datagram
    /// has another length.
    Wrong(u64),
}

/// What most functions here return.
pub type Result<T> = core::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Socket(error)
    }
}

impl<T> From<Unsent<T>> for Failure {
    fn from(unsent: Unsent<T>) -> Self {
        Self::Socket(unsent.error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::Wrong(at) => write!(f, "bytes are wrong from {at} on"),
        }
    }
}
