//! From a reset device to one that receives.

use core::fmt;

use monitor_api::CounterPage;
use nic_api::{
    BUFFERS, FrameDescriptor, HEADROOM, NicInfo, RING, RX_FILLED_OFFSET, RX_FREE_OFFSET,
    TX_DONE_OFFSET, TX_READY_OFFSET, buffer_bytes, nic_features, region_bytes,
};
use shared_ring::{AttachError, Consumer, OutOfRange, Producer, SharedMemory};
use virtio_queue::{
    DmaSpan, InitError, SetupError, Transport, VirtQueue, feature, negotiate, queue_bytes, start,
};

use crate::books::{Books, Spare};
use crate::counters::Counters;
use crate::header::HEADER_BYTES;
use crate::nic::{Nic, RX, TX};

/// Descriptors a queue, at most.
pub(crate) const QUEUE_SIZE: usize = 256;
/// Distance of two transmit headers; the one behind the last is the header of
/// all frames that need none, and stays zero.
pub(crate) const HEADER_STRIDE: usize = 16;
pub(crate) const PLAIN_HEADER: usize = BUFFERS as usize * HEADER_STRIDE;
const HEADERS_BYTES: usize = (PLAIN_HEADER + HEADER_STRIDE).next_multiple_of(64);
const QUEUE_BYTES: usize = queue_bytes(QUEUE_SIZE as u16);

/// Bytes of private DMA memory that the driver needs.
pub const QUEUE_MEMORY: usize = 2 * QUEUE_BYTES + HEADERS_BYTES;

/// Feature bits of virtio-net in use (virtio 1.2, 5.1.3).
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const STATUS: u64 = 1 << 16;
/// Places in the device configuration (5.1.4).
const CONFIG_STATUS: usize = 6;
const CONFIG_MTU: usize = 10;
/// Smallest MTU worth driving: that of every IPv4 link (RFC 791).
const LEAST_MTU: u32 = 68;
/// A device without an address of its own gets this locally administered one.
const FALLBACK_MAC: [u8; 6] = *b"\x02ioipc";

/// The memory a driver works on.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// [`QUEUE_MEMORY`] bytes that no other component maps.
    pub private: DmaSpan,
    /// The frame buffers shared with the server.
    pub buffers: DmaSpan,
    /// The rings shared with the server.
    pub control: SharedMemory,
}

/// What a driver starts from.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The memory.
    pub memory: Memory,
    /// The MTU that the buffers are made for, in bytes.
    pub mtu: u32,
    /// Where to count.
    pub counters: Option<CounterPage>,
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
            Self::Ring(e) => write!(f, "ring shared with the server: {e}"),
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

fn ring(control: SharedMemory, offset: usize) -> Result<SharedMemory, OutOfRange> {
    control.slice(offset, RING.bytes())
}

fn make_queue<T: Transport>(
    device: &mut T,
    number: u16,
    span: DmaSpan,
    features: u64,
) -> Result<VirtQueue<QUEUE_SIZE>, NicError> {
    let most = device.queue_max(number).min(QUEUE_SIZE as u16);
    if most < 4 {
        return Err(InitError::Queue(number).into());
    }
    // Sizes are powers of two, but a device may say what it likes.
    let size = 1 << most.ilog2();
    let queue = VirtQueue::new(span, size, features & feature::EVENT_IDX != 0)?;
    device.enable_queue(number, size, queue.addresses())?;
    Ok(queue)
}

/// What the device says about itself, within what the buffers allow.
fn info<T: Transport>(device: &T, features: u64, mtu: u32) -> NicInfo {
    let mut mac = FALLBACK_MAC;
    if features & MAC != 0 {
        for (n, byte) in mac.iter_mut().enumerate() {
            *byte = device.config8(n).unwrap_or(*byte);
        }
    }
    let offered = (features & MTU != 0).then(|| device.config16(CONFIG_MTU));
    let least = |m: u16| u32::from(m).max(LEAST_MTU);
    let mut agreed = 0;
    if features & GUEST_CSUM != 0 {
        agreed |= nic_features::GUEST_CHECKSUM;
    }
    if features & CSUM != 0 {
        agreed |= nic_features::CHECKSUM;
    }
    NicInfo {
        mac,
        mtu: offered.flatten().map_or(mtu, least).min(mtu),
        features: agreed,
    }
}

impl<T: Transport> Nic<T> {
    /// Initialises the device, posts all receive buffers and publishes the
    /// NIC's facts; the server is to be signalled then.
    ///
    /// # Errors
    /// A [`NicError`].
    pub fn new(mut device: T, setup: Setup) -> Result<Self, NicError> {
        let Memory {
            private,
            buffers,
            control,
        } = setup.memory;
        buffers.slice(0, region_bytes(setup.mtu as usize))?;
        let wanted = CSUM | GUEST_CSUM | MTU | MAC | STATUS | feature::EVENT_IDX;
        let features = negotiate(&mut device, wanted, feature::VERSION_1)?;
        let info = info(&device, features, setup.mtu);
        // Of the MTU that is published: the server computes the same.
        let stride = buffer_bytes(info.mtu as usize);
        let rx_memory = private.slice(0, QUEUE_BYTES)?;
        let tx_memory = private.slice(QUEUE_BYTES, QUEUE_BYTES)?;
        let headers = private.slice(2 * QUEUE_BYTES, HEADERS_BYTES)?;
        headers.memory.write(PLAIN_HEADER, &[0; HEADER_BYTES])?;
        let rx = make_queue(&mut device, RX, rx_memory, features)?;
        let tx = make_queue(&mut device, TX, tx_memory, features)?;
        let mut nic = Self {
            info,
            has_status: features & STATUS != 0,
            checksums: features & GUEST_CSUM != 0,
            device,
            rx,
            tx,
            rx_filled: Producer::<FrameDescriptor>::attach(ring(control, RX_FILLED_OFFSET)?, RING)?,
            rx_free: Consumer::<FrameDescriptor>::attach(ring(control, RX_FREE_OFFSET)?, RING)?,
            tx_ready: Consumer::<FrameDescriptor>::attach(ring(control, TX_READY_OFFSET)?, RING)?,
            tx_done: Producer::<FrameDescriptor>::attach(ring(control, TX_DONE_OFFSET)?, RING)?,
            rx_books: Books::new(true),
            tx_books: Books::new(false),
            spare: Spare::new(),
            tx_armed: false,
            buffers,
            headers,
            stride,
            room: (stride - HEADROOM) as u32,
            counters: Counters::new(setup.counters),
        };
        for buffer in 0..BUFFERS {
            nic.post(buffer);
        }
        nic.tx.quiet();
        // Buffers come back in batches; see `Nic::recycle`.
        nic.rx_free.disarm();
        start(&mut nic.device);
        nic.ring_rx();
        nic.update_link();
        nic.info.publish(&control)?;
        Ok(nic)
    }

    /// Reads whether the link is up.
    pub(crate) fn update_link(&self) {
        let up = !self.has_status
            || self
                .device
                .config16(CONFIG_STATUS)
                .is_some_and(|s| s & 1 != 0);
        self.counters.link_up.set(up.into());
    }
}
