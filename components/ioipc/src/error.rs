//! Errors, by kind.

use core::fmt;

use shared_ring::AttachError;
use socket_api::Status;

/// Why an operation failed; the names are those of `std::io::ErrorKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address or port is taken.
    AddrInUse,
    /// The address is not one of ours.
    AddrNotAvailable,
    /// The writing side was shut down.
    BrokenPipe,
    /// We, or the protocol server's end, aborted the connection.
    ConnectionAborted,
    /// The peer refused the connection.
    ConnectionRefused,
    /// The peer reset the connection.
    ConnectionReset,
    /// No route, or no answer to ARP.
    HostUnreachable,
    /// The operation was cancelled.
    Interrupted,
    /// An argument is not legal, or does not fit the socket's state.
    InvalidInput,
    /// The link has no address yet.
    NetworkDown,
    /// The socket is not connected.
    NotConnected,
    /// The name does not exist.
    NotFound,
    /// The protocol server, or the data region, has no room.
    OutOfMemory,
    /// A quota of system.toml is used up.
    QuotaExceeded,
    /// The time is over.
    TimedOut,
    /// Not supported yet, such as IPv6.
    Unsupported,
    /// A non-blocking operation would have to wait.
    WouldBlock,
    /// The protocol server is gone, or the I/O manager broke the protocol.
    Other,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    what: &'static str,
}

/// What most operations return.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    pub(crate) const fn new(kind: ErrorKind, what: &'static str) -> Self {
        Self { kind, what }
    }

    pub(crate) const WOULD_BLOCK: Self = Self::new(ErrorKind::WouldBlock, "would block");
    pub(crate) const TIMED_OUT: Self = Self::new(ErrorKind::TimedOut, "timed out");
    pub(crate) const BROKEN: Self = Self::new(ErrorKind::Other, "the I/O manager broke its ring");
    pub(crate) const PIPE: Self =
        Self::new(ErrorKind::BrokenPipe, "the writing side was shut down");

    pub(crate) const NO_BUFFER: Self =
        Self::new(ErrorKind::OutOfMemory, "the data region has no room");

    pub(crate) const TOO_LONG: Self = Self::new(ErrorKind::InvalidInput, "message too long");
    pub(crate) const BEYOND_QUOTA: Self =
        Self::new(ErrorKind::QuotaExceeded, "longer than queued-bytes");
    pub(crate) const NAMELESS: Self = Self::new(
        ErrorKind::Unsupported,
        "the I/O manager does not know the memory",
    );
    pub(crate) const READ_ONLY: Self = Self::new(
        ErrorKind::InvalidInput,
        "constant memory cannot be received into",
    );
    pub(crate) const OTHER_STACK: Self = Self::new(ErrorKind::InvalidInput, "of another stack");
    pub(crate) const SYSTEM_ALLOCATED: Self = Self::new(
        ErrorKind::InvalidInput,
        "the semantics need a system-allocated buffer",
    );
    pub(crate) const APPLICATION_ALLOCATED: Self = Self::new(
        ErrorKind::InvalidInput,
        "the semantics are for application-allocated buffers",
    );

    /// The error's kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the manager or the server answered; a number that does not exist
    /// is their fault.
    pub(crate) fn from_status(status: u16) -> Self {
        use ErrorKind as K;
        use Status as S;
        let Some(status) = Status::from_number(status) else {
            return Self::BROKEN;
        };
        let (kind, what) = match status {
            S::Ok => (K::Other, "answered without result"),
            S::BadRequest => (K::InvalidInput, "request refused by the I/O manager"),
            S::BadSocket => (K::InvalidInput, "no such socket"),
            S::InvalidState => (K::InvalidInput, "not possible in this state"),
            S::QuotaExceeded => (K::QuotaExceeded, "quota exceeded"),
            S::AddressInUse => (K::AddrInUse, "address in use"),
            S::AddressNotAvailable => (K::AddrNotAvailable, "address not available"),
            S::Unreachable => (K::HostUnreachable, "destination unreachable"),
            S::ConnectionRefused => (K::ConnectionRefused, "connection refused"),
            S::ConnectionReset => (K::ConnectionReset, "connection reset by peer"),
            S::ConnectionAborted => (K::ConnectionAborted, "connection aborted"),
            S::NotConnected => (K::NotConnected, "not connected"),
            S::TimedOut => (K::TimedOut, "timed out"),
            S::MessageTooLong => (K::InvalidInput, "message too long"),
            S::Cancelled => (K::Interrupted, "cancelled"),
            S::NoResources => (K::OutOfMemory, "protocol server out of resources"),
            S::Unsupported => (K::Unsupported, "not supported"),
            S::NotFound => (K::NotFound, "not found"),
            S::ServerGone => (K::Other, "the protocol server is gone"),
            S::BrokenPipe => (K::BrokenPipe, "broken pipe"),
            S::NetworkDown => (K::NetworkDown, "network down"),
        };
        Self { kind, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl core::error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> embedded_io::ErrorKind {
        use ErrorKind as K;
        use embedded_io::ErrorKind as E;
        match self.kind {
            K::AddrInUse => E::AddrInUse,
            K::AddrNotAvailable => E::AddrNotAvailable,
            K::BrokenPipe => E::BrokenPipe,
            K::ConnectionAborted => E::ConnectionAborted,
            K::ConnectionRefused => E::ConnectionRefused,
            K::ConnectionReset => E::ConnectionReset,
            K::Interrupted => E::Interrupted,
            K::InvalidInput => E::InvalidInput,
            K::NotConnected => E::NotConnected,
            K::NotFound => E::NotFound,
            K::OutOfMemory => E::OutOfMemory,
            K::TimedOut => E::TimedOut,
            K::Unsupported => E::Unsupported,
            _ => E::Other,
        }
    }
}

/// Why sockets could not be set up; the system description is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The component has no link to an I/O manager: `sockets` in system.toml.
    NoLink,
    /// The component lacks the library's private memory.
    NoMemory,
    /// The component lacks a data region, or somebody took it before.
    NoRegion,
    /// The private memory is smaller than
    /// [`bookkeeping_bytes`](crate::bookkeeping_bytes).
    TooSmall,
    /// A ring's header is damaged.
    Ring(AttachError),
    /// Set up before.
    Twice,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => f.write_str("the component has no link to an I/O manager"),
            Self::NoMemory => f.write_str("the component has no memory called \"sockets\""),
            Self::NoRegion => f.write_str("the component has no data region"),
            Self::TooSmall => f.write_str("the memory called \"sockets\" is too small"),
            Self::Ring(e) => write!(f, "cannot attach to the I/O manager: {e}"),
            Self::Twice => f.write_str("sockets were set up before"),
        }
    }
}

impl core::error::Error for SetupError {}

impl From<AttachError> for SetupError {
    fn from(error: AttachError) -> Self {
        Self::Ring(error)
    }
}
