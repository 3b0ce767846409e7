//! One NIC with everybody around it: the device, the manager, and the memory
//! that only they see.

use nic_api::{
    CONTROL_BYTES, HEADER_SPLIT, IDS, RX_FILLED, RX_FILLED_OFFSET, RX_FREE, RX_FREE_OFFSET,
    ReceiveBuffer, Received, SEND_SPANS, SendFrame, Sent, Span, TX_DONE, TX_DONE_OFFSET, TX_READY,
    TX_READY_OFFSET, frame_flags,
};
use shared_ring::{Consumer, Producer, SharedMemory};
use virtio_queue::fake::{DeviceQueue, FakeTransport};
use virtio_queue::{DmaSpan, Segment, feature};

use crate::{DMA_BYTES, Memory, Nic, NicError, Setup};

pub(super) const MTU: u32 = 1500;
/// Where the driver's memory lies physically, and the manager's.
const PRIVATE: u64 = 0x10_0000;
const MANAGER: u64 = 0x80_0000;
/// The manager's header slots, payload buffers, and what it sends from.
const SLOT: usize = 64;
const BUFFER: usize = 2048;
const PAYLOADS: usize = IDS as usize * SLOT;
const OUTPUT: usize = PAYLOADS + IDS as usize * BUFFER;
const OUTPUT_BYTES: usize = 128 << 10;

/// A device as QEMU's is, without offloads; and what else one may offer.
pub(super) const DIRECT: u64 = feature::VERSION_1 | feature::EVENT_IDX | 1 << 5 | 1 << 16;
pub(super) const USUAL: u64 = DIRECT | feature::INDIRECT_DESC;
pub(super) const CHECKSUMS: u64 = 3;
pub(super) const SEGMENTS: u64 = 1 << 11;
/// What makes received frames long, beside checksums for them.
pub(super) const LONG: u64 = 1 << 7 | 1 << 15;

pub(super) fn shared(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0u64; bytes.div_ceil(8)].into_boxed_slice()))
}

/// Device, driver and manager of one NIC.
pub(super) struct Bench {
    pub(super) transport: FakeTransport,
    pub(super) rx: DeviceQueue,
    pub(super) tx: DeviceQueue,
    pub(super) nic: Nic<FakeTransport>,
    private: SharedMemory,
    memory: SharedMemory,
    output: usize,
    pub(super) filled: Consumer<Received>,
    pub(super) free: Producer<ReceiveBuffer>,
    pub(super) ready: Producer<SendFrame>,
    pub(super) done: Consumer<Sent>,
    pub(super) control: SharedMemory,
}

/// What a device read: head, virtio header, frame, and in how many pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) head: u16,
    pub(super) header: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    pub(super) pieces: usize,
}

pub(super) fn memory() -> Memory {
    let control = shared(CONTROL_BYTES);
    for (offset, layout) in [
        (RX_FILLED_OFFSET, RX_FILLED),
        (RX_FREE_OFFSET, RX_FREE),
        (TX_READY_OFFSET, TX_READY),
        (TX_DONE_OFFSET, TX_DONE),
    ] {
        let ring = control.slice(offset, layout.bytes()).unwrap();
        layout.format(&ring).unwrap();
    }
    let private = DmaSpan {
        memory: shared(DMA_BYTES),
        paddr: PRIVATE,
    };
    Memory { private, control }
}

pub(super) fn device(offered: u64, queue_max: u16) -> FakeTransport {
    let transport = FakeTransport::default();
    let mut state = transport.0.borrow_mut();
    state.offered = offered;
    state.queue_max = queue_max;
    state.config = b"\x52\x54\x00\x12\x34\x56\x01\x00\x01\x00\x78\x05".to_vec();
    drop(state);
    transport
}

pub(super) fn start(
    transport: &FakeTransport,
    memory: Memory,
) -> Result<Nic<FakeTransport>, NicError> {
    start_near(transport, memory, false)
}

fn start_near(
    transport: &FakeTransport,
    memory: Memory,
    near: bool,
) -> Result<Nic<FakeTransport>, NicError> {
    let setup = Setup {
        memory,
        mtu: MTU,
        long: true,
        near,
        counters: None,
    };
    Nic::new(transport.clone(), setup)
}

pub(super) fn own_counter() -> monitor_api::Counter {
    let page = monitor_api::CounterPage::create(shared(4096)).unwrap();
    page.counter("own")
}

/// The manager's entry for buffer `id`.
pub(super) fn buffer(id: u32) -> ReceiveBuffer {
    ReceiveBuffer {
        header: MANAGER + (id as usize * SLOT) as u64,
        payload: MANAGER + (PAYLOADS + id as usize * BUFFER) as u64,
        payload_len: BUFFER as u32,
        id,
        flow: 0,
    }
}

/// The entry for frame `id` of these spans, at most three.
pub(super) fn frame(id: u32, spans: &[Span]) -> SendFrame {
    let mut entry = SendFrame {
        id,
        count: spans.len() as u16,
        ..SendFrame::default()
    };
    entry.spans[..spans.len()].copy_from_slice(spans);
    entry
}

/// A span of `len` bytes of nothing in particular.
pub(super) fn span(len: u32) -> Span {
    Span {
        paddr: MANAGER + OUTPUT as u64,
        len,
        reserved: 0,
    }
}

impl Bench {
    pub(super) fn new(offered: u64, queue_max: u16) -> Self {
        Self::with(offered, queue_max, false)
    }

    /// As [`Bench::new`], with the manager in the same thread.
    pub(super) fn near(offered: u64, queue_max: u16) -> Self {
        Self::with(offered, queue_max, true)
    }

    fn with(offered: u64, queue_max: u16, near: bool) -> Self {
        let (transport, memory) = (device(offered, queue_max), memory());
        let nic = start_near(&transport, memory, near).unwrap();
        let queues = transport.0.borrow().queues;
        let queue = |n: usize| {
            let (size, at) = queues[n].expect("enabled");
            DeviceQueue::new(memory.private, size, at)
        };
        let control = memory.control;
        let ring = |offset| control.slice(offset, control.len() - offset).unwrap();
        Self {
            rx: queue(0),
            tx: queue(1),
            nic,
            private: memory.private.memory,
            memory: shared(OUTPUT + OUTPUT_BYTES),
            output: OUTPUT,
            filled: Consumer::attach(ring(RX_FILLED_OFFSET), RX_FILLED).unwrap(),
            free: Producer::attach(ring(RX_FREE_OFFSET), RX_FREE).unwrap(),
            ready: Producer::attach(ring(TX_READY_OFFSET), TX_READY).unwrap(),
            done: Consumer::attach(ring(TX_DONE_OFFSET), TX_DONE).unwrap(),
            control,
            transport,
        }
    }

    /// As [`Bench::new`], with buffers `0..buffers` given and taken.
    pub(super) fn stocked(offered: u64, queue_max: u16, buffers: u32) -> Self {
        let mut bench = Self::new(offered, queue_max);
        for id in 0..buffers {
            bench.free.push(&buffer(id)).unwrap();
        }
        let _ = bench.free.publish();
        bench.settle();
        bench
    }

    /// Polls until idle; whether a signal was asked for.
    pub(super) fn settle(&mut self) -> bool {
        let mut signal = false;
        for _ in 0..100 {
            let outcome = self.nic.poll().unwrap();
            signal |= outcome.signal;
            if outcome.idle {
                return signal;
            }
        }
        panic!("never idle");
    }

    /// The manager gives buffer `entry`; whether the driver is to be signalled.
    pub(super) fn give(&mut self, entry: ReceiveBuffer) -> bool {
        self.free.push(&entry).unwrap();
        self.free.publish()
    }

    /// The device receives `frame`; false if it has no buffer.
    pub(super) fn arrive(&mut self, frame: &[u8], flags: u8) -> bool {
        let Some((head, chain)) = self.rx.take() else {
            return false;
        };
        let [own, first, rest] = chain[..] else {
            panic!("{chain:?}");
        };
        assert!(chain.iter().all(|s| s.writable));
        assert_eq!((own.len, first.len), (12, HEADER_SPLIT));
        let at = (own.paddr - PRIVATE) as usize;
        let header = [flags, 0, 0, 0, 0, 0, 34, 0, 6, 0, 1, 0];
        self.private.write(at, &header).unwrap();
        let (front, back) = frame.split_at(frame.len().min(HEADER_SPLIT as usize));
        assert!(back.len() <= rest.len as usize);
        for (segment, bytes) in [(first, front), (rest, back)] {
            let at = (segment.paddr - MANAGER) as usize;
            self.memory.write(at, bytes).unwrap();
        }
        self.rx.complete(head.into(), frame.len() as u32 + 12);
        true
    }

    /// The device fills a buffer of which it has the header's place too, with at
    /// most `bytes`, and says that it wrote `claimed` more; how many it took.
    pub(super) fn fill_next(&mut self, bytes: &[u8], claimed: i32) -> usize {
        let (head, chain) = self.rx.take().expect("a buffer");
        let mut done = 0;
        for segment in &chain {
            let part = (bytes.len() - done).min(segment.len as usize);
            let (memory, base) = match segment.paddr < MANAGER {
                true => (&self.private, PRIVATE),
                false => (&self.memory, MANAGER),
            };
            let at = (segment.paddr - base) as usize;
            memory.write(at, &bytes[done..done + part]).unwrap();
            done += part;
        }
        let claimed = (done as i32).wrapping_add(claimed) as u32;
        self.rx.complete(head.into(), claimed);
        done
    }

    /// The device says in its header how many buffers a frame takes.
    pub(super) fn claim(&mut self, own: &Segment, buffers: u16) {
        let at = (own.paddr - PRIVATE) as usize + 10;
        self.private.write(at, &buffers.to_le_bytes()).unwrap();
    }

    /// The device receives `frame` in as many buffers as it takes, `buffers` by
    /// its own account if that is not 0.
    pub(super) fn arrive_long(&mut self, frame: &[u8], flags: u8, buffers: u16) {
        let count = (frame.len() + 12).div_ceil(12 + 42 + BUFFER) as u16;
        let [low, high] = if buffers == 0 { count } else { buffers }.to_le_bytes();
        let header = [flags, 1, 54, 0, 180, 5, 34, 0, 16, 0, low, high];
        let bytes = [&header, frame].concat();
        let mut done = 0;
        while done < bytes.len() {
            done += self.fill_next(&bytes[done..], 0);
        }
    }

    /// The next frame that the driver hands on.
    pub(super) fn got(&mut self) -> Option<Received> {
        self.filled.pop().unwrap()
    }

    /// The bytes of header slot and payload buffer `id`.
    pub(super) fn parts(&self, id: u32, front: usize, back: usize) -> (Vec<u8>, Vec<u8>) {
        let at = |base: usize, len| {
            let mut bytes = vec![0; len];
            self.memory.read(base, &mut bytes).unwrap();
            bytes
        };
        let payload = PAYLOADS + id as usize * BUFFER;
        (at(id as usize * SLOT, front), at(payload, back))
    }

    /// Bytes of the manager's to be sent.
    pub(super) fn place(&mut self, bytes: &[u8]) -> Span {
        self.memory.write(self.output, bytes).unwrap();
        let paddr = MANAGER + self.output as u64;
        self.output += bytes.len().next_multiple_of(64);
        Span {
            paddr,
            len: bytes.len() as u32,
            reserved: 0,
        }
    }

    pub(super) fn send(&mut self, entry: SendFrame) {
        self.ready.push(&entry).unwrap();
        let _ = self.ready.publish();
    }

    /// Sends a frame in as many entries as its spans take.
    pub(super) fn send_chain(&mut self, first: SendFrame, spans: &[Span]) {
        let mut entries = spans.chunks(SEND_SPANS).peekable();
        while let Some(chunk) = entries.next() {
            let entry = frame(first.id, chunk);
            let more = if entries.peek().is_some() {
                frame_flags::MORE
            } else {
                0
            };
            self.send(SendFrame {
                count: entry.count,
                spans: entry.spans,
                flags: first.flags | more,
                ..first
            });
        }
    }

    /// The device's next frame to send.
    pub(super) fn sent(&mut self) -> Option<Left> {
        let (head, chain) = self.tx.take()?;
        assert!(chain.iter().all(|s| !s.writable));
        let (own, pieces) = chain.split_first().expect("a header");
        let read = |memory: &SharedMemory, base, part: &Segment| {
            let mut bytes = vec![0; part.len as usize];
            let at = (part.paddr - base) as usize;
            memory.read(at, &mut bytes).unwrap();
            bytes
        };
        let header = read(&self.private, PRIVATE, own);
        let bytes = pieces.iter().flat_map(|p| read(&self.memory, MANAGER, p));
        Some(Left {
            head,
            header,
            bytes: bytes.collect(),
            pieces: pieces.len(),
        })
    }

    /// All frames that the device can take, sent at once.
    pub(super) fn complete_sends(&mut self) -> usize {
        let mut count = 0;
        while let Some(left) = self.sent() {
            self.tx.complete(left.head.into(), 0);
            count += 1;
        }
        count
    }

    /// The numbers that came back; the manager goes to sleep then.
    pub(super) fn done(&mut self) -> Vec<u32> {
        let ids = std::iter::from_fn(|| self.done.pop().unwrap().map(|d| d.id)).collect();
        assert_eq!(self.done.arm(), Ok(true));
        ids
    }
}
