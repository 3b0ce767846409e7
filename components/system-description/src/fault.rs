//! What a component did that the kernel stopped it for.
//!
//! Problem: three parties speak of faults: the kernel, whose messages differ by
//! kind; an I/O manager, which resolves some; the root task, which reports the
//! rest. Invariant: whichever way a fault comes, it is these four words, of
//! which the first tells where the program was.

/// The kind of a fault, and so what [`Fault::words`] mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It touched memory that it may not: instruction pointer, address,
    /// whether it was a fetch, the processor's error code.
    Memory,
    /// It used a capability that it does not have: instruction pointer,
    /// capability, whether to receive through, why it was not found.
    Capability,
    /// It made a system call that does not exist: instruction pointer, stack
    /// pointer, flags, number of the call.
    SystemCall,
    /// It raised an exception of the processor: instruction pointer, stack
    /// pointer, flags, number of the exception.
    Exception,
    /// No fault: it sent something to where its faults are reported. Zero, the
    /// label.
    Message,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Memory,
        Self::Capability,
        Self::SystemCall,
        Self::Exception,
        Self::Message,
    ];
}

/// The fault of a client's thread, as an I/O manager hears of it.
///
/// A thread can send itself whatever a fault would have said. That hurts nobody
/// else: resolving a fault gives a client what it may have anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the client at its manager.
    pub client: u16,
    /// Number of the thread.
    pub thread: u8,
    /// What kind it is.
    pub kind: Kind,
    /// Meaning by kind.
    pub words: [u64; 4],
}

/// An access to memory that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The address.
    pub address: u64,
    /// Whether it was to be written.
    pub write: bool,
    /// Whether something is mapped there, so that rights were lacking.
    pub present: bool,
}

/// Where the stack is said to be by a thread whose invalid instruction is how its
/// component ends by itself: no address of user level.
pub const END_STACK: u64 = 1 << 62;

/// Words of a fault that is passed on.
pub const MESSAGE_WORDS: usize = 7;

impl Fault {
    /// The access that was made, if it is a fault about memory.
    #[must_use]
    pub const fn access(&self) -> Option<Access> {
        let [_, address, _, code] = self.words;
        match self.kind {
            Kind::Memory => Some(Access {
                address,
                write: code & 1 << 1 != 0,
                present: code & 1 != 0,
            }),
            _ => None,
        }
    }

    /// The words by which the fault is passed on to the root task.
    #[must_use]
    pub const fn to_message(&self) -> [u64; MESSAGE_WORDS] {
        let [a, b, c, d] = self.words;
        let (client, thread) = (self.client as u64, self.thread as u64);
        [client, thread, self.kind as u64, a, b, c, d]
    }

    /// The fault that was passed on; `None` if it is not one.
    #[must_use]
    pub fn from_message(message: [u64; MESSAGE_WORDS]) -> Option<Self> {
        let [client, thread, kind, words @ ..] = message;
        Some(Self {
            client: client.try_into().ok()?,
            thread: thread.try_into().ok()?,
            kind: *Kind::ALL.get(usize::try_from(kind).ok()?)?,
            words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_arrives_as_it_was_passed_on() {
        for kind in Kind::ALL {
            let fault = Fault {
                client: 7,
                thread: 15,
                kind,
                words: [1, 2, 3, u64::MAX],
            };
            assert_eq!(Fault::from_message(fault.to_message()), Some(fault));
        }
        for broken in [[1 << 16, 0, 0], [0, 256, 0], [0, 0, 5], [0, 0, u64::MAX]] {
            let [client, thread, kind] = broken;
            let message = [client, thread, kind, 0, 0, 0, 0];
            assert_eq!(Fault::from_message(message), None, "{broken:?}");
        }
    }

    #[test]
    fn only_faults_about_memory_are_accesses() {
        let mut fault = Fault {
            client: 0,
            thread: 0,
            kind: Kind::Memory,
            words: [0x40_1000, 0x2000_3000, 0, 0b111],
        };
        let access = Access {
            address: 0x2000_3000,
            write: true,
            present: true,
        };
        assert_eq!(fault.access(), Some(access));
        fault.kind = Kind::Exception;
        assert_eq!(fault.access(), None);
    }
}
