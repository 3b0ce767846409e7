//! What a driver starts from, and what may be wrong with it.
//!
//! Invariant: the parts of the private memory are as large as the largest
//! queue needs, so where they lie depends on nothing that a device says.

use core::fmt;

use monitor_api::CounterPage;
use nic_api::SEND_SPANS;
use shared_ring::{AttachError, OutOfRange, SharedMemory};
use virtio_queue::{DmaSpan, InitError, SetupError, VirtQueue, cell_bytes, queue_bytes};

/// Descriptors a queue, at most.
pub(crate) const QUEUE_SIZE: usize = 256;
/// Units of a receive cell: the virtio header, and descriptors for it, the
/// frame's first bytes and its payload. A cache line.
const RX_CELL: usize = 4;
/// Units of a send cell: the virtio header, and descriptors for it and the
/// spans of two entries; longer frames go direct.
const TX_CELL: usize = 2 + 2 * SEND_SPANS;

/// The queue that receives.
pub(crate) type RxQueue = VirtQueue<QUEUE_SIZE, RX_CELL>;
/// The queue that sends.
pub(crate) type TxQueue = VirtQueue<QUEUE_SIZE, TX_CELL>;

const QUEUE_BYTES: usize = queue_bytes(QUEUE_SIZE as u16);
const RX_CELLS: usize = QUEUE_SIZE * cell_bytes(RX_CELL);
const TX_CELLS: usize = QUEUE_SIZE * cell_bytes(TX_CELL);

/// Bytes of private DMA memory that the driver needs.
pub const DMA_BYTES: usize = 2 * QUEUE_BYTES + RX_CELLS + TX_CELLS;

const _: () = assert!(DMA_BYTES <= 64 << 10);

/// The memory a driver works on.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// [`DMA_BYTES`] that no other component maps.
    pub private: DmaSpan,
    /// The rings shared with the manager.
    pub control: SharedMemory,
}

/// What a driver starts from.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The memory.
    pub memory: Memory,
    /// The MTU that the manager's buffers are made for, in bytes.
    pub mtu: u32,
    /// Whether received frames may be longer than that, which the device makes
    /// of several.
    pub long: bool,
    /// Whether the manager runs in the same thread, and so looks by itself.
    pub near: bool,
    /// Where to count.
    pub counters: Option<CounterPage>,
}

/// A queue's share of the private memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueMemory {
    pub(crate) queue: DmaSpan,
    pub(crate) cells: DmaSpan,
}

/// The shares of the receive and the send queue.
pub(crate) fn divide(private: DmaSpan) -> Result<[QueueMemory; 2], OutOfRange> {
    Ok([
        QueueMemory {
            queue: private.slice(0, QUEUE_BYTES)?,
            cells: private.slice(2 * QUEUE_BYTES, RX_CELLS)?,
        },
        QueueMemory {
            queue: private.slice(QUEUE_BYTES, QUEUE_BYTES)?,
            cells: private.slice(2 * QUEUE_BYTES + RX_CELLS, TX_CELLS)?,
        },
    ])
}

/// Why the driver could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicError {
    /// The device cannot be initialised; it is at fault.
    Device(InitError),
    /// The private memory is too small or misaligned; the system description
    /// is at fault.
    Queue(SetupError),
    /// A ring does not look as agreed; whoever formatted it is at fault.
    Ring(AttachError),
    /// A region is too small; the system description is at fault.
    Memory,
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(e) => write!(f, "network device: {e}"),
            Self::Queue(e) => write!(f, "queue memory: {e}"),
            Self::Ring(e) => write!(f, "ring shared with the I/O manager: {e}"),
            Self::Memory => write!(f, "a region is too small for the driver"),
        }
    }
}

impl core::error::Error for NicError {}

impl From<InitError> for NicError {
    fn from(e: InitError) -> Self {
        Self::Device(e)
    }
}

impl From<SetupError> for NicError {
    fn from(e: SetupError) -> Self {
        Self::Queue(e)
    }
}

impl From<AttachError> for NicError {
    fn from(e: AttachError) -> Self {
        Self::Ring(e)
    }
}

impl From<OutOfRange> for NicError {
    fn from(_: OutOfRange) -> Self {
        Self::Memory
    }
}
