//! From a reset device to one that receives.

use nic_api::{
    NicInfo, RX_FILLED, RX_FILLED_OFFSET, RX_FREE, RX_FREE_OFFSET, TX_DONE, TX_DONE_OFFSET,
    TX_READY, TX_READY_OFFSET, joins, nic_features,
};
use shared_ring::{Consumer, Entry, OutOfRange, Producer, RingLayout, SharedMemory};
use virtio_queue::{Cells, InitError, Transport, VirtQueue, feature, negotiate_with, start};

use crate::check::Limits;
use crate::counters::Counters;
use crate::header::HEADER_BYTES;
use crate::nic::{Nic, RX, TX};
use crate::receive::Receiver;
use crate::setup::{NicError, QUEUE_SIZE, QueueMemory, Setup, divide};
use crate::transmit::Transmitter;

/// Feature bits of virtio-net in use (virtio 1.2, 5.1.3).
pub(crate) const CSUM: u64 = 1 << 0;
pub(crate) const GUEST_CSUM: u64 = 1 << 1;
pub(crate) const MTU: u64 = 1 << 3;
pub(crate) const MAC: u64 = 1 << 5;
pub(crate) const GUEST_TSO4: u64 = 1 << 7;
pub(crate) const HOST_TSO4: u64 = 1 << 11;
pub(crate) const MRG_RXBUF: u64 = 1 << 15;
pub(crate) const STATUS: u64 = 1 << 16;
/// Places in the device configuration (5.1.4).
const CONFIG_STATUS: usize = 6;
const CONFIG_MTU: usize = 10;
/// Smallest MTU worth driving: that of every IPv4 link (RFC 791).
const LEAST_MTU: u32 = 68;
/// Largest: an IPv4 packet has no more bytes.
const MOST_MTU: u32 = 65535;
/// A device without an address of its own gets this locally administered one.
const FALLBACK_MAC: [u8; 6] = *b"\x02ioipc";

/// What makes received frames long: they come with partial checksums only
/// (5.1.3.1), and each in as many buffers as it takes.
const LONG: u64 = GUEST_CSUM | GUEST_TSO4 | MRG_RXBUF;

/// The features to agree on of those `offered`, for buffers that are made for
/// an MTU, or with `long` for longer frames too. Segments are cut only of frames whose checksum the device completes
/// (5.1.3.1).
fn wanted(offered: u64, mtu: u32, long: bool) -> u64 {
    let always = CSUM | GUEST_CSUM | MTU | MAC | STATUS;
    let segments = if offered & CSUM != 0 { HOST_TSO4 } else { 0 };
    let long = if long && offered & LONG == LONG && joins(mtu as usize) {
        LONG
    } else {
        0
    };
    always | segments | long | feature::EVENT_IDX | feature::INDIRECT_DESC
}

/// What the device says about itself, within what the manager's buffers allow.
fn info<T: Transport>(device: &T, features: u64, mtu: u32) -> NicInfo {
    let mut mac = FALLBACK_MAC;
    if features & MAC != 0 {
        for (n, byte) in mac.iter_mut().enumerate() {
            *byte = device.config8(n).unwrap_or(*byte);
        }
    }
    let offered = (features & MTU != 0).then(|| device.config16(CONFIG_MTU));
    let least = |m: u16| u32::from(m).max(LEAST_MTU);
    let mtu = mtu.min(MOST_MTU);
    let agreed = [
        (GUEST_CSUM, nic_features::GUEST_CHECKSUM),
        (CSUM, nic_features::CHECKSUM),
        (HOST_TSO4, nic_features::SEGMENTATION),
        (GUEST_TSO4, nic_features::LONG_RECEIVE),
    ];
    let agreed = agreed.iter().filter(|(theirs, _)| features & theirs != 0);
    NicInfo {
        mac,
        mtu: offered.flatten().map_or(mtu, least).min(mtu),
        features: agreed.fold(0, |all, (_, ours)| all | ours),
    }
}

/// Makes queue `number`, whose chains the device writes or reads, and tells
/// the device of it.
fn make_queue<T: Transport, const CELL: usize>(
    device: &mut T,
    number: u16,
    memory: QueueMemory,
    features: u64,
) -> Result<VirtQueue<QUEUE_SIZE, CELL>, NicError> {
    let most = device.queue_max(number).min(QUEUE_SIZE as u16);
    // The header and the spans of one entry.
    if most < 4 {
        return Err(InitError::Queue(number).into());
    }
    // Sizes are powers of two, but a device may say what it likes.
    let size = 1 << most.ilog2();
    let cells = Cells {
        span: memory.cells,
        header_bytes: HEADER_BYTES,
        writable: number == RX,
        indirect: features & feature::INDIRECT_DESC != 0,
    };
    let event_index = features & feature::EVENT_IDX != 0;
    let queue = VirtQueue::with_cells(memory.queue, size, event_index, cells)?;
    device.enable_queue(number, size, queue.addresses())?;
    Ok(queue)
}

fn ring(
    control: SharedMemory,
    offset: usize,
    layout: RingLayout,
) -> Result<SharedMemory, OutOfRange> {
    control.slice(offset, layout.bytes())
}

fn producer<E: Entry>(
    control: SharedMemory,
    offset: usize,
    layout: RingLayout,
) -> Result<Producer<E>, NicError> {
    Ok(Producer::<E>::attach(
        ring(control, offset, layout)?,
        layout,
    )?)
}

fn consumer<E: Entry>(
    control: SharedMemory,
    offset: usize,
    layout: RingLayout,
) -> Result<Consumer<E>, NicError> {
    Ok(Consumer::<E>::attach(
        ring(control, offset, layout)?,
        layout,
    )?)
}

impl<T: Transport> Nic<T> {
    /// Initialises the device and publishes the NIC's facts; the manager is to
    /// be signalled then. Buffers to receive into are taken by the first pass.
    ///
    /// # Errors
    /// A [`NicError`].
    pub fn new(mut device: T, setup: Setup) -> Result<Self, NicError> {
        let control = setup.memory.control;
        let [rx_memory, tx_memory] = divide(setup.memory.private)?;
        let features = negotiate_with(
            &mut device,
            |offered| wanted(offered, setup.mtu, setup.long),
            feature::VERSION_1,
        )?;
        let info = info(&device, features, setup.mtu);
        let rx = make_queue(&mut device, RX, rx_memory, features)?;
        let tx = make_queue(&mut device, TX, tx_memory, features)?;
        let filled = producer(control, RX_FILLED_OFFSET, RX_FILLED)?;
        let free = consumer(control, RX_FREE_OFFSET, RX_FREE)?.near(setup.near);
        let ready = consumer(control, TX_READY_OFFSET, TX_READY)?.near(setup.near);
        let done = producer(control, TX_DONE_OFFSET, TX_DONE)?;
        let limits = Limits::new(info);
        let mut nic = Self {
            info,
            has_status: features & STATUS != 0,
            near: setup.near,
            device,
            rx: Receiver::new(rx, filled, free, info),
            tx: Transmitter::new(tx, ready, done, limits),
            counters: Counters::new(setup.counters),
        };
        start(&mut nic.device);
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
