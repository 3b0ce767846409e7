//! What a fault message says, in one line.
//!
//! Invariant: a fault reads the same whether its thread reported it or an I/O
//! manager passed it on.

use core::fmt;

use component_runtime::fault;
use sel4::MessageInfo;
use system_description::fault::{END_STACK, Fault, Kind as FaultKind, MESSAGE_WORDS};

/// What a fault message says.
pub struct Report {
    /// What was tried.
    pub kind: Kind,
    /// At which address, or of what.
    pub address: u64,
    /// By which instruction.
    pub ip: u64,
}

/// What was tried.
pub enum Kind {
    /// To read memory.
    Read,
    /// To write memory.
    Write,
    /// To fetch an instruction.
    Fetch,
    /// To use a capability.
    Capability,
    /// To make a system call.
    SystemCall,
    /// Invalid instruction: how a panic ends.
    Instruction,
    /// Nothing: the component ended by itself, and has said why.
    End,
    /// Another exception of the processor.
    Exception(u64),
    /// The component sent something to where its faults are reported.
    Message(u64),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Write => f.write_str("write"),
            Self::Fetch => f.write_str("fetch"),
            Self::Capability => f.write_str("capability"),
            Self::SystemCall => f.write_str("system-call"),
            Self::Instruction => f.write_str("invalid-instruction"),
            Self::End => f.write_str("end"),
            Self::Exception(number) => write!(f, "exception-{number}"),
            Self::Message(label) => write!(f, "message-{label}"),
        }
    }
}

impl Report {
    /// Of the fault in the message just received.
    pub fn own(info: MessageInfo) -> Self {
        let (kind, words) = fault::decode(info);
        Self::new(kind, words)
    }

    /// Of a fault that was passed on.
    pub fn of(fault: &Fault) -> Self {
        Self::new(fault.kind, fault.words)
    }

    fn new(kind: FaultKind, words: [u64; 4]) -> Self {
        let [ip, second, third, fourth] = words;
        let (kind, address) = match kind {
            FaultKind::Memory if third != 0 => (Kind::Fetch, second),
            FaultKind::Memory if fourth & 1 << 1 != 0 => (Kind::Write, second),
            FaultKind::Memory => (Kind::Read, second),
            FaultKind::Capability => (Kind::Capability, second),
            FaultKind::SystemCall => (Kind::SystemCall, fourth),
            FaultKind::Exception if fourth == 6 && second == END_STACK => (Kind::End, ip),
            FaultKind::Exception if fourth == 6 => (Kind::Instruction, ip),
            FaultKind::Exception => (Kind::Exception(fourth), ip),
            FaultKind::Message => (Kind::Message(second), 0),
        };
        Self { kind, address, ip }
    }
}

/// The fault that the message just received passes on.
pub fn passed_on(info: MessageInfo) -> Option<Fault> {
    if info.length() != MESSAGE_WORDS {
        return None;
    }
    sel4::with_ipc_buffer(|buffer| {
        let words = buffer.msg_regs().first_chunk::<MESSAGE_WORDS>()?;
        Fault::from_message(*words)
    })
}
