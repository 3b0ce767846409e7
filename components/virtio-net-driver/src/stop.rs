//! Why a running driver stops.

use core::fmt;

use shared_ring::RingError;
use virtio_queue::DeviceError;

/// Why the driver stopped; the device is reset, so it touches no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The device's index jumped.
    Device(DeviceError),
    /// The device says that it gave up.
    NeedsReset,
    /// The device gave a frame in several buffers that it did not fill, or did
    /// not give all of: where the next one begins is anybody's guess.
    Torn,
    /// The manager's index jumped.
    Manager(RingError),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(e) => write!(f, "network device: {e}"),
            Self::NeedsReset => write!(f, "network device: it gave up"),
            Self::Torn => write!(f, "network device: a frame in buffers that do not add up"),
            Self::Manager(e) => write!(f, "I/O manager: {e}"),
        }
    }
}

impl core::error::Error for StopReason {}

impl From<DeviceError> for StopReason {
    fn from(e: DeviceError) -> Self {
        Self::Device(e)
    }
}

impl From<RingError> for StopReason {
    fn from(e: RingError) -> Self {
        Self::Manager(e)
    }
}
