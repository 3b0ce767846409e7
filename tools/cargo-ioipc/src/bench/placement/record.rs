//! What `bench placement` measured, as its JSON file has it.
//!
//! Invariant: a [`Record`] that was read is of this format; every figure in a
//! row comes from the same boots, and each run of it moved and checked the
//! stated bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format's name and version, the first thing in the file.
pub const FORMAT: &str = "ioipc-placement/1";

/// One invocation's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// Version of the tool.
    pub version: String,
    /// The kernel, by name and version.
    pub kernel: String,
    /// `tcg` or `kvm`.
    pub accel: String,
    /// Whether only the named subset was measured.
    pub quick: bool,
    /// Runs of each row.
    pub runs: u32,
    /// Instructions a second of the idle system, by boot (`user/io`, ...).
    pub idle: BTreeMap<String, f64>,
    /// The rows, in the order measured.
    pub rows: Vec<Row>,
}

/// What a row measured; no two rows of a record have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Where server and driver run.
    pub placement: Placement,
    /// How data passes.
    pub passing: Passing,
    /// Transport.
    pub protocol: Protocol,
    /// What moves.
    pub pattern: Pattern,
    /// Bytes of an operation: of a datagram, or of a buffer sent or received
    /// on a stream.
    pub bytes: u32,
    /// Operations of a burst, outstanding together.
    pub outstanding: u32,
    /// Largest IP packet, in bytes: 1500, or 9000 for jumbo frames.
    pub mtu: u32,
}

/// Where the protocol server and the NIC driver run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Both inside the I/O manager.
    Kernel,
    /// Both components of their own.
    User,
}

/// How data passes between application and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passing {
    /// I/O-oriented, copy semantics by copying.
    Copy,
    /// I/O-oriented, emulated copy: the default.
    EmulatedCopy,
    /// I/O-oriented, share.
    Share,
    /// I/O-oriented, emulated move.
    EmulatedMove,
    /// Messages copied in and out, as user-level servers did before.
    Conventional,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// A stream in bulk.
    Tcp,
}

/// What moves, as the application sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Application to network.
    Out,
    /// Network to application.
    In,
    /// A request of these bytes, and a reply of as many.
    Echo,
}

/// The figures of a case. Instructions are those of user and kernel together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// Operations of one run.
    pub operations: u64,
    /// Payload bytes that the application sent and received in one run.
    pub payload: u64,
    /// Instructions of an operation.
    pub instructions: Figure,
    /// Of them, the kernel's.
    pub kernel: Figure,
    /// Nanoseconds of an operation; on hardware only.
    pub nanoseconds: Option<Figure>,
    /// Crossings of an operation: switches of protection domain.
    pub crossings: f64,
    /// System calls of an operation, as the emulator saw them.
    pub system_calls: f64,
    /// Payload bytes copied by the processor for an operation.
    pub copied: f64,
    /// Page operations of an operation.
    pub page_operations: f64,
    /// Instructions of an operation by component (`kernel`, `io-manager`,
    /// `net-server`, ...), if they were attributed; their sum is
    /// about `instructions`.
    #[serde(default)]
    pub components: BTreeMap<String, f64>,
}

/// A median, and the least and greatest of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Median of the runs.
    pub median: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl Row {
    /// Instructions for each payload byte that an operation moves at the
    /// application, both ways together for an echo.
    #[must_use]
    pub fn per_byte(&self) -> f64 {
        let bytes = self.payload as f64 / self.operations.max(1) as f64;
        self.instructions.median / bytes.max(1.0)
    }
}
