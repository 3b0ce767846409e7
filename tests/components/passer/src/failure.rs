//! Why an order was not carried out.

use core::fmt;

use ioipc::Error;
use shared_ring::OutOfRange;

/// Why.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// What a socket says.
    Socket(Error),
    /// The order makes no sense, or there is not so much memory.
    Order,
}

/// What most functions here return.
pub type Result<T> = core::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Socket(error)
    }
}

impl From<OutOfRange> for Failure {
    fn from(_: OutOfRange) -> Self {
        Self::Order
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "{:?}", error.kind()),
            Self::Order => f.write_str("Order"),
        }
    }
}
