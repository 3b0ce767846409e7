//! What a driver needs of the bus that its device sits on, and the steps of
//! device initialisation (virtio 1.2, 3.1.1).

use core::fmt;

use crate::memory::QueueAddresses;

/// Bits of the device status (virtio 1.2, 2.1).
pub mod status {
    /// The device was noticed.
    pub const ACKNOWLEDGE: u8 = 1;
    /// We know how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device gave up.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver gave up.
    pub const FAILED: u8 = 128;
}

/// Feature bits that any device may have (virtio 1.2, 6).
pub mod feature {
    /// `VIRTIO_F_INDIRECT_DESC`: chains in tables of their own.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_EVENT_IDX`: notifications by index.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VIRTIO_F_VERSION_1`: not a legacy device.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_ACCESS_PLATFORM`: the device's accesses to memory may be
    /// limited or translated, as those of other devices of the platform are.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// `VIRTIO_F_ORDER_PLATFORM`: memory accesses are ordered as for other
    /// devices of the platform.
    pub const ORDER_PLATFORM: u64 = 1 << 36;
    /// What a driver accepts wherever it is offered, since without it the device
    /// may refuse to work (virtio 1.2, 6.1). Drivers here hand out physical
    /// addresses, which is what devices use where nothing translates; and on
    /// x86-64 the fences that order memory for other processors order it for
    /// devices, too.
    pub const OF_PLATFORM: u64 = ACCESS_PLATFORM | ORDER_PLATFORM;
}

/// Bits of [`Transport::interrupt_status`].
pub mod interrupt {
    /// A queue has something used.
    pub const QUEUE: u8 = 1;
    /// The device's configuration changed.
    pub const CONFIG: u8 = 2;
}

/// Access to one virtio device.
pub trait Transport {
    /// The features the device offers.
    fn device_features(&mut self) -> u64;
    /// Tells the device which features will be used.
    fn set_driver_features(&mut self, features: u64);
    /// The device status.
    fn status(&self) -> u8;
    /// Sets the device status; 0 resets the device.
    fn set_status(&mut self, status: u8);
    /// Most descriptors of queue `queue`; 0 if there is no such queue.
    fn queue_max(&mut self, queue: u16) -> u16;
    /// Tells the device where queue `queue` is, and enables it.
    ///
    /// # Errors
    /// [`InitError::Queue`] if the device gives it no usable doorbell.
    fn enable_queue(&mut self, queue: u16, size: u16, at: QueueAddresses) -> Result<(), InitError>;
    /// Rings the doorbell of queue `queue`.
    fn notify(&self, queue: u16);
    /// Why the device interrupted; reading it lets the line drop.
    fn interrupt_status(&self) -> u8;
    /// A byte of the device's own configuration.
    fn config8(&self, offset: usize) -> Option<u8>;
    /// Two bytes of the device's own configuration.
    fn config16(&self, offset: usize) -> Option<u16>;
}

/// Why a device could not be initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// The device does not come out of reset.
    Reset,
    /// The device lacks these features that the driver needs.
    Missing(u64),
    /// The device refused these features, which it had offered: it insists on
    /// others.
    Refused(u64),
    /// The device has no usable queue of this number.
    Queue(u16),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => write!(f, "the device does not come out of reset"),
            Self::Missing(bits) => write!(f, "the device lacks the features {bits:#x}"),
            Self::Refused(bits) => write!(
                f,
                "the device wants more than the features {bits:#x}, which are all that the driver knows"
            ),
            Self::Queue(n) => write!(f, "the device has no usable queue {n}"),
        }
    }
}

impl core::error::Error for InitError {}

/// How often a device is asked whether it has finished its reset.
const RESET_POLLS: u32 = 1_000_000;

/// Resets the device and agrees on features: those of `wanted` and of
/// [`feature::OF_PLATFORM`] that it offers.
///
/// # Errors
/// An [`InitError`]; the device is left marked as failed where it listens.
pub fn negotiate(
    device: &mut impl Transport,
    wanted: u64,
    required: u64,
) -> Result<u64, InitError> {
    negotiate_with(device, |_| wanted, required)
}

/// As [`negotiate`], for features that are wanted only beside others: `wanted`
/// is told what is offered.
///
/// # Errors
/// As [`negotiate`].
pub fn negotiate_with(
    device: &mut impl Transport,
    wanted: impl FnOnce(u64) -> u64,
    required: u64,
) -> Result<u64, InitError> {
    device.set_status(0);
    if (0..RESET_POLLS).all(|_| device.status() != 0) {
        return Err(InitError::Reset);
    }
    device.set_status(status::ACKNOWLEDGE);
    device.set_status(status::ACKNOWLEDGE | status::DRIVER);
    let offered = device.device_features();
    let missing = required & !offered;
    if missing != 0 {
        device.set_status(status::FAILED);
        return Err(InitError::Missing(missing));
    }
    let features = (wanted(offered) | required | feature::OF_PLATFORM) & offered;
    device.set_driver_features(features);
    device.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    if device.status() & status::FEATURES_OK == 0 {
        device.set_status(status::FAILED);
        return Err(InitError::Refused(features));
    }
    Ok(features)
}

/// Tells the device that the driver is ready; queues are set up by now.
pub fn start(device: &mut impl Transport) {
    let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    device.set_status(ready | status::DRIVER_OK);
}
