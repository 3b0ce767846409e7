//! What the kernel answers when it does not do as asked.

use crate::Word;
use core::fmt;

/// The result of an invocation.
pub type Result<T> = core::result::Result<T, Error>;

/// Corresponds to `seL4_Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// An argument has a value that makes no sense.
    InvalidArgument,
    /// A capability given is not of the kind needed, or already in use.
    InvalidCapability,
    /// The object cannot do this.
    IllegalOperation,
    /// An argument is out of range.
    RangeError,
    /// An address is not aligned.
    AlignmentError,
    /// A capability or page table was not found.
    FailedLookup,
    /// The message was too short.
    TruncatedMessage,
    /// Something is in the way and must be deleted first.
    DeleteFirst,
    /// Descendants are in the way and must be revoked first.
    RevokeFirst,
    /// The untyped memory is used up.
    NotEnoughMemory,
}

impl Error {
    /// All errors, in the order of the kernel's numbers from 1 on.
    const ALL: [Self; 10] = [
        Self::InvalidArgument,
        Self::InvalidCapability,
        Self::IllegalOperation,
        Self::RangeError,
        Self::AlignmentError,
        Self::FailedLookup,
        Self::TruncatedMessage,
        Self::DeleteFirst,
        Self::RevokeFirst,
        Self::NotEnoughMemory,
    ];

    /// The meaning of the label of an invocation's reply.
    ///
    /// A label that is no error's came from something that is not the kernel,
    /// so the capability was not what it was taken for.
    pub fn wrap(label: Word) -> Result<()> {
        match usize::try_from(label) {
            Ok(0) => Ok(()),
            Ok(number) => Err(*Self::ALL
                .get(number - 1)
                .unwrap_or(&Self::InvalidCapability)),
            Err(_) => Err(Self::InvalidCapability),
        }
    }
}

// The kernel's numbers follow the order above.
const _: () = {
    assert!(sel4_bindings::seL4_InvalidArgument == 1);
    assert!(sel4_bindings::seL4_InvalidCapability == 2);
    assert!(sel4_bindings::seL4_IllegalOperation == 3);
    assert!(sel4_bindings::seL4_RangeError == 4);
    assert!(sel4_bindings::seL4_AlignmentError == 5);
    assert!(sel4_bindings::seL4_FailedLookup == 6);
    assert!(sel4_bindings::seL4_TruncatedMessage == 7);
    assert!(sel4_bindings::seL4_DeleteFirst == 8);
    assert!(sel4_bindings::seL4_RevokeFirst == 9);
    assert!(sel4_bindings::seL4_NotEnoughMemory == 10);
    assert!(sel4_bindings::seL4_NumErrors == 11);
};

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "the caller passed an argument that makes no sense",
            Self::InvalidCapability => {
                "the caller named a capability of the wrong kind or one already in use"
            }
            Self::IllegalOperation => "the caller asked for what the object cannot do",
            Self::RangeError => "the caller passed an argument out of range",
            Self::AlignmentError => "the caller passed an address that is not aligned",
            Self::FailedLookup => "the caller named a capability or page table that does not exist",
            Self::TruncatedMessage => "the caller's message was too short",
            Self::DeleteFirst => "the destination is occupied",
            Self::RevokeFirst => "the object still has descendants",
            Self::NotEnoughMemory => "the untyped memory is used up",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_map_to_errors_and_strange_ones_do_not_pass() {
        assert_eq!(Error::wrap(0), Ok(()));
        assert_eq!(Error::wrap(10), Err(Error::NotEnoughMemory));
        assert_eq!(Error::wrap(11), Err(Error::InvalidCapability));
        assert_eq!(Error::wrap(u64::MAX), Err(Error::InvalidCapability));
    }
}
