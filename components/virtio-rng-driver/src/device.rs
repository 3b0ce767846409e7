//! The virtio entropy device (virtio 1.2, section 5.4): one queue, into whose
//! buffers the device writes random bytes.
//!
//! Invariant: the buffer lies in memory that no other component maps, and its
//! bytes are wiped once they are taken, so no answer can be read there.

use core::fmt;

use shared_ring::OutOfRange;
use virtio_queue::{
    AddError, DeviceError, DmaSpan, InitError, Segment, SetupError, Transport, VirtQueue, feature,
    negotiate, queue_bytes, start,
};

/// Bytes asked for at a time.
pub const REQUEST_BYTES: usize = 64;
/// Bytes of private DMA memory that the driver needs.
pub const DEVICE_MEMORY: usize = BUFFER + REQUEST_BYTES;

const QUEUE: u16 = 0;
const SIZE: u16 = 4;
const BUFFER: usize = queue_bytes(SIZE);

/// Why the device cannot be used (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RngError {
    /// It cannot be initialised; the device is at fault.
    Init(InitError),
    /// The memory is too small or misaligned; the description is at fault.
    Memory(SetupError),
    /// Its completion contradicts what was asked; the device is at fault.
    Device(DeviceError),
    /// A request could not be posted; never after honest completions.
    Post(AddError),
}

impl fmt::Display for RngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init(e) => write!(f, "entropy device: {e}"),
            Self::Memory(e) => write!(f, "entropy device: {e}"),
            Self::Device(e) => write!(f, "entropy device: {e}"),
            Self::Post(e) => write!(f, "entropy device: {e}"),
        }
    }
}

impl core::error::Error for RngError {}

impl From<InitError> for RngError {
    fn from(e: InitError) -> Self {
        Self::Init(e)
    }
}

impl From<SetupError> for RngError {
    fn from(e: SetupError) -> Self {
        Self::Memory(e)
    }
}

impl From<OutOfRange> for RngError {
    fn from(_: OutOfRange) -> Self {
        Self::Memory(SetupError::Memory)
    }
}

impl From<DeviceError> for RngError {
    fn from(e: DeviceError) -> Self {
        Self::Device(e)
    }
}

impl From<AddError> for RngError {
    fn from(e: AddError) -> Self {
        Self::Post(e)
    }
}

/// The device, with one request always under way.
#[derive(Debug)]
pub struct Rng<T> {
    device: T,
    queue: VirtQueue<{ SIZE as usize }>,
    buffer: DmaSpan,
}

impl<T: Transport> Rng<T> {
    /// Initialises the device and asks for the first bytes.
    ///
    /// # Errors
    /// An [`RngError`].
    pub fn new(mut device: T, memory: DmaSpan) -> Result<Self, RngError> {
        let buffer = memory.slice(BUFFER, REQUEST_BYTES)?;
        negotiate(&mut device, 0, feature::VERSION_1)?;
        let most = device.queue_max(QUEUE);
        if most == 0 {
            return Err(InitError::Queue(QUEUE).into());
        }
        let size = SIZE.min(1 << most.ilog2());
        let mut queue = VirtQueue::new(memory, size, false)?;
        // Answers are taken when somebody asks; nobody waits for them.
        queue.quiet();
        device.enable_queue(QUEUE, size, queue.addresses())?;
        start(&mut device);
        let mut this = Self {
            device,
            queue,
            buffer,
        };
        this.ask()?;
        Ok(this)
    }

    /// The bytes that the device has written since the last time, if any:
    /// how many of `into` hold some. Asks for more at once.
    ///
    /// # Errors
    /// [`RngError::Device`]; the device is reset and must not be used again.
    pub fn take(&mut self, into: &mut [u8; REQUEST_BYTES]) -> Result<usize, RngError> {
        let taken = self.try_take(into);
        if taken.is_err() {
            self.device.set_status(0);
        }
        taken
    }

    fn try_take(&mut self, into: &mut [u8; REQUEST_BYTES]) -> Result<usize, RngError> {
        let Some(used) = self.queue.pop()? else {
            return Ok(0);
        };
        self.buffer.memory.read(0, into)?;
        self.buffer.memory.write(0, &[0; REQUEST_BYTES])?;
        self.ask()?;
        // `pop` checked that it is no more than was asked for.
        Ok(used.len as usize)
    }

    fn ask(&mut self) -> Result<(), RngError> {
        let request = Segment::to_write(self.buffer.paddr, REQUEST_BYTES as u32);
        self.queue.add(&[request], 0)?;
        if self.queue.publish() {
            self.device.notify(QUEUE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_ring::SharedMemory;
    use virtio_queue::fake::{DeviceQueue, FakeTransport};

    const PADDR: u64 = 0x4000;

    fn bench() -> (FakeTransport, DmaSpan, DeviceQueue, Rng<FakeTransport>) {
        let words = vec![0u64; DEVICE_MEMORY / 8].into_boxed_slice();
        let span = DmaSpan {
            memory: SharedMemory::from_static(Box::leak(words)),
            paddr: PADDR,
        };
        let transport = FakeTransport::default();
        transport.0.borrow_mut().offered = feature::VERSION_1;
        transport.0.borrow_mut().queue_max = 8;
        let rng = Rng::new(transport.clone(), span).unwrap();
        let (size, at) = transport.0.borrow().queues[0].expect("enabled");
        (transport, span, DeviceQueue::new(span, size, at), rng)
    }

    #[test]
    fn bytes_are_taken_once_and_wiped() {
        let (transport, span, mut device, mut rng) = bench();
        let mut bytes = [0; REQUEST_BYTES];
        assert_eq!(rng.take(&mut bytes), Ok(0), "nothing yet");
        for round in 1..20u8 {
            let (head, chain) = device.take().expect("a request");
            assert!(chain[0].writable && chain.len() == 1);
            let at = (chain[0].paddr - PADDR) as usize;
            span.memory.write(at, &[round; 48]).unwrap();
            device.complete(head.into(), 48);
            assert_eq!(rng.take(&mut bytes), Ok(48));
            assert_eq!((bytes[0], bytes[47], bytes[48]), (round, round, 0));
            span.memory.read(at, &mut bytes).unwrap();
            assert_eq!(bytes, [0; REQUEST_BYTES], "wiped");
        }
        assert!(device.no_interrupt());
        assert_eq!(transport.0.borrow().notified.len(), 20);
    }

    #[test]
    fn a_lying_device_is_switched_off() {
        let lies: [fn(&mut DeviceQueue); 4] = [
            |d| d.complete(9, 1),
            |d| d.complete(1, 1),
            |d| d.complete(0, 65),
            |d| d.set_used_index(2),
        ];
        for lie in lies {
            let (transport, _, mut device, mut rng) = bench();
            lie(&mut device);
            let refused = rng.take(&mut [0; REQUEST_BYTES]);
            assert!(matches!(refused, Err(RngError::Device(_))), "{refused:?}");
            assert_eq!(transport.0.borrow().status, 0);
        }
    }

    #[test]
    fn useless_devices_are_refused() {
        let words = vec![0u64; DEVICE_MEMORY / 8].into_boxed_slice();
        let memory = SharedMemory::from_static(Box::leak(words));
        let span = DmaSpan {
            memory,
            paddr: PADDR,
        };
        let transport = FakeTransport::default();
        let missing = Rng::new(transport.clone(), span).map(|_| ());
        let version_1 = InitError::Missing(feature::VERSION_1);
        assert_eq!(missing, Err(RngError::Init(version_1)));
        transport.0.borrow_mut().offered = feature::VERSION_1;
        let none = Rng::new(transport.clone(), span).map(|_| ());
        assert_eq!(none, Err(RngError::Init(InitError::Queue(0))));
        let insists = |what: u64, transport: FakeTransport| {
            transport.0.borrow_mut().offered = feature::VERSION_1 | what;
            transport.0.borrow_mut().insists = what;
            transport.0.borrow_mut().queue_max = 8;
            Rng::new(transport, span).map(|_| ())
        };
        assert_eq!(insists(feature::ACCESS_PLATFORM, transport.clone()), Ok(()));
        let refused = InitError::Refused(feature::VERSION_1);
        let packed = insists(1 << 34, transport.clone());
        assert_eq!(packed, Err(RngError::Init(refused)));
        transport.0.borrow_mut().stuck = true;
        let stuck = insists(0, transport.clone());
        assert_eq!(stuck, Err(RngError::Init(InitError::Reset)));
        transport.0.borrow_mut().stuck = false;
        let short = span.slice(0, 64).unwrap();
        let refused = Rng::new(transport, short).map(|_| ());
        assert!(matches!(refused, Err(RngError::Memory(_))));
    }
}
