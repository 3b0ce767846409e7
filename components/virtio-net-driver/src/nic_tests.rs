//! The driver between a server and a device that both may lie.

use super::*;
use crate::init::{Memory, NicError, QUEUE_MEMORY, Setup};
use nic_api::{CONTROL_BYTES, RING, RX_FILLED_OFFSET, RX_FREE_OFFSET};
use nic_api::{TX_DONE_OFFSET, TX_READY_OFFSET, region_bytes};
use proptest::prelude::*;
use shared_ring::SharedMemory;
use virtio_queue::fake::{DeviceQueue, FakeTransport};
use virtio_queue::feature;

const MTU: u32 = 1500;
const STRIDE: usize = 2048;
const PRIVATE: u64 = 0x10_0000;
const BUFFERS_AT: u64 = 0x80_0000;

fn shared(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0u64; bytes.div_ceil(8)].into_boxed_slice()))
}

/// Device, driver and server of one NIC.
struct Bench {
    transport: FakeTransport,
    rx: DeviceQueue,
    tx: DeviceQueue,
    nic: Nic<FakeTransport>,
    buffers: SharedMemory,
    headers: SharedMemory,
    filled: Consumer<FrameDescriptor>,
    free: Producer<FrameDescriptor>,
    ready: Producer<FrameDescriptor>,
    done: Consumer<FrameDescriptor>,
    control: SharedMemory,
}

fn memory() -> Memory {
    let control = shared(CONTROL_BYTES);
    for offset in [
        RX_FILLED_OFFSET,
        RX_FREE_OFFSET,
        TX_READY_OFFSET,
        TX_DONE_OFFSET,
    ] {
        RING.format(&control.slice(offset, RING.bytes()).unwrap())
            .unwrap();
    }
    let span = |bytes, paddr| DmaSpan {
        memory: shared(bytes),
        paddr,
    };
    Memory {
        private: span(QUEUE_MEMORY, PRIVATE),
        buffers: span(region_bytes(MTU as usize), BUFFERS_AT),
        control,
    }
}

fn device(offered: u64, queue_max: u16) -> FakeTransport {
    let transport = FakeTransport::default();
    let mut state = transport.0.borrow_mut();
    state.offered = offered;
    state.queue_max = queue_max;
    state.config = b"\x52\x54\x00\x12\x34\x56\x01\x00\x01\x00\x78\x05".to_vec();
    drop(state);
    transport
}

const USUAL: u64 = feature::VERSION_1 | feature::EVENT_IDX | 1 << 5 | 1 << 16;
const CHECKSUMS: u64 = 3;

impl Bench {
    fn new(offered: u64, queue_max: u16) -> Self {
        let (transport, memory) = (device(offered, queue_max), memory());
        let setup = Setup {
            memory,
            mtu: MTU,
            counters: None,
        };
        let nic = Nic::new(transport.clone(), setup).unwrap();
        let queues = transport.0.borrow().queues;
        let queue = |n: usize| {
            let (size, at) = queues[n].expect("enabled");
            DeviceQueue::new(memory.private, size, at)
        };
        let ring = |offset| memory.control.slice(offset, RING.bytes()).unwrap();
        Self {
            rx: queue(0),
            tx: queue(1),
            nic,
            buffers: memory.buffers.memory,
            headers: memory.private.memory,
            filled: Consumer::attach(ring(RX_FILLED_OFFSET), RING).unwrap(),
            free: Producer::attach(ring(RX_FREE_OFFSET), RING).unwrap(),
            ready: Producer::attach(ring(TX_READY_OFFSET), RING).unwrap(),
            done: Consumer::attach(ring(TX_DONE_OFFSET), RING).unwrap(),
            control: memory.control,
            transport,
        }
    }

    /// Polls until idle; whether a signal was asked for.
    fn settle(&mut self) -> bool {
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

    /// The device receives `frame`; false if it has no buffer.
    fn arrive(&mut self, frame: &[u8], flags: u8) -> bool {
        let Some((head, chain)) = self.rx.take() else {
            return false;
        };
        assert_eq!((chain.len(), chain[0].writable), (1, true));
        let at = (chain[0].paddr - BUFFERS_AT) as usize;
        let mut bytes = vec![flags, 0, 0, 0, 0, 0, 34, 0, 6, 0, 1, 0];
        bytes.extend_from_slice(frame);
        assert!(bytes.len() <= chain[0].len as usize);
        self.buffers.write(at, &bytes).unwrap();
        self.rx.complete(head.into(), bytes.len() as u32);
        true
    }

    fn send(&mut self, frame: FrameDescriptor) {
        self.ready.push(&frame).unwrap();
        let _ = self.ready.publish();
    }

    /// The device's next frame to send: head, header, bytes.
    fn sent(&mut self) -> Option<(u16, Vec<u8>, Vec<u8>)> {
        let (head, chain) = self.tx.take()?;
        let [header, frame] = chain[..] else {
            panic!("{chain:?}");
        };
        assert!(!header.writable && !frame.writable);
        let read = |memory: &SharedMemory, base, part: Segment| {
            let mut bytes = vec![0; part.len as usize];
            memory
                .read((part.paddr - base) as usize, &mut bytes)
                .unwrap();
            bytes
        };
        let header = read(&self.headers, PRIVATE, header);
        Some((head, header, read(&self.buffers, BUFFERS_AT, frame)))
    }
}

fn frame(buffer: u32, len: u32) -> FrameDescriptor {
    FrameDescriptor {
        buffer,
        len,
        ..FrameDescriptor::default()
    }
}

#[test]
fn facts_are_published() {
    let bench = Bench::new(USUAL | CHECKSUMS | 1 << 3, 256);
    let info = NicInfo::read(&bench.control).unwrap().expect("ready");
    assert_eq!(info.mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(info.mtu, 0x578, "the device's, below ours");
    let both = nic_features::CHECKSUM | nic_features::GUEST_CHECKSUM;
    assert_eq!(info.features, both);
    assert_eq!(bench.transport.0.borrow().status, 15);
    let plain = Bench::new(feature::VERSION_1, 256).nic.info();
    assert_eq!((plain.mtu, plain.features), (MTU, 0));
    assert_eq!(plain.mac[0] & 3, 2, "locally administered, no multicast");
}

#[test]
fn buffers_are_as_large_as_the_published_mtu_asks() {
    let (transport, memory) = (device(USUAL | 1 << 3, 256), memory());
    transport.0.borrow_mut().config[10..].copy_from_slice(&576u16.to_le_bytes());
    let setup = Setup {
        memory,
        mtu: MTU,
        counters: None,
    };
    let info = Nic::new(transport.clone(), setup).unwrap().info();
    assert_eq!(info.mtu, 576);
    let (size, at) = transport.0.borrow().queues[0].expect("enabled");
    let mut rx = DeviceQueue::new(memory.private, size, at);
    let mut posted = || rx.take().expect("a buffer").1[0];
    let (first, second) = (posted(), posted());
    // Where the server looks for the second.
    let stride = nic_api::buffer_bytes(info.mtu as usize);
    assert_eq!(second.paddr - first.paddr, stride as u64);
    assert!((first.len as usize) < stride);
}

#[test]
fn unusable_devices_and_memory_are_refused() {
    let with = |offered, queue_max, shrink: fn(&mut Memory)| {
        let mut memory = memory();
        shrink(&mut memory);
        let setup = Setup {
            memory,
            mtu: MTU,
            counters: None,
        };
        Nic::new(device(offered, queue_max), setup)
            .map(|_| ())
            .unwrap_err()
    };
    assert!(
        matches!(with(0, 256, |_| ()), NicError::Device(_)),
        "legacy"
    );
    assert!(matches!(with(USUAL, 2, |_| ()), NicError::Device(_)));
    let short = |m: &mut Memory| m.buffers = m.buffers.slice(0, 4096).unwrap();
    assert_eq!(with(USUAL, 256, short), NicError::Memory);
    let short = |m: &mut Memory| m.private = m.private.slice(0, 8192).unwrap();
    assert_eq!(with(USUAL, 256, short), NicError::Memory);
    let unformatted = |m: &mut Memory| m.control.store32(RX_FREE_OFFSET, 0).unwrap();
    assert!(matches!(with(USUAL, 256, unformatted), NicError::Ring(_)));
}

#[test]
fn frames_arrive_with_their_marks_and_one_signal() {
    let mut bench = Bench::new(USUAL | CHECKSUMS, 256);
    assert!(!bench.settle());
    for (n, flags) in [0u8, 1, 2].into_iter().enumerate() {
        assert!(bench.arrive(&[n as u8; 60], flags));
    }
    assert!(bench.settle());
    let expect = [
        (0, 0),
        (frame_flags::NEEDS_CHECKSUM, 6 << 16 | 34),
        (frame_flags::CHECKSUM_VALID, 0),
    ];
    for (n, (flags, checksum)) in expect.into_iter().enumerate() {
        let got = bench.filled.pop().unwrap().expect("a frame");
        assert_eq!((got.len, got.flags, got.checksum), (60, flags, checksum));
        let mut bytes = [9; 60];
        let at = got.buffer as usize * STRIDE + HEADROOM;
        bench.buffers.read(at, &mut bytes).unwrap();
        assert_eq!(bytes, [n as u8; 60]);
    }
    assert_eq!(bench.filled.pop(), Ok(None));
}

#[test]
fn receive_buffers_go_round() {
    // A queue of 256, and one that not all buffers fit.
    for size in [256, 64] {
        let mut bench = Bench::new(USUAL, size);
        for n in 0..2000u32 {
            assert!(
                bench.arrive(&n.to_le_bytes().repeat(16), 0),
                "{n} of {size}"
            );
            bench.settle();
            let got = bench.filled.pop().unwrap().expect("a frame");
            bench.free.push(&frame(got.buffer, 0)).unwrap();
            let _ = bench.free.publish();
        }
    }
}

#[test]
fn the_server_is_asked_for_buffers_when_they_run_short() {
    let mut bench = Bench::new(USUAL, 256);
    let mut held = Vec::new();
    while bench.arrive(&[0; 60], 0) {
        bench.settle();
        held.extend(bench.filled.pop().unwrap());
    }
    assert_eq!(held.len(), BUFFERS as usize);
    bench.free.push(&held[0]).unwrap();
    assert!(bench.free.publish(), "the driver waits for it");
    bench.settle();
    assert!(bench.arrive(&[0; 60], 0));
}

#[test]
fn frames_leave_and_their_buffers_come_back() {
    let mut bench = Bench::new(USUAL | CHECKSUMS, 256);
    bench.settle();
    bench
        .buffers
        .write(300 * STRIDE + HEADROOM, b"fourteen bytes and more")
        .unwrap();
    bench.send(frame(300, 23));
    bench.settle();
    assert_eq!(bench.transport.0.borrow().notified, [0, 1]);
    let (head, header, bytes) = bench.sent().expect("a frame");
    assert_eq!(
        (header, &bytes[..]),
        (vec![0; 12], &b"fourteen bytes and more"[..])
    );
    bench.send(FrameDescriptor {
        flags: frame_flags::NEEDS_CHECKSUM,
        checksum: 8 << 16 | 13,
        ..frame(301, 23)
    });
    bench.settle();
    let (_, header, _) = bench.sent().expect("a frame");
    assert_eq!(header, [1, 0, 0, 0, 0, 0, 13, 0, 8, 0, 0, 0]);
    bench.tx.complete(head.into(), 0);
    assert!(bench.settle(), "the server asked");
    assert_eq!(bench.done.pop().unwrap().map(|d| d.buffer), Some(300));
    assert_eq!(bench.done.pop(), Ok(None));
}

#[test]
fn what_the_server_must_not_send_is_refused() {
    let mut bench = Bench::new(USUAL | CHECKSUMS, 256);
    let sum = |checksum| FrameDescriptor {
        flags: frame_flags::NEEDS_CHECKSUM,
        checksum,
        ..frame(256, 60)
    };
    bench.nic.counters.server_refused = own_counter();
    for bad in [
        frame(255, 60),
        frame(512, 60),
        frame(u32::MAX, 60),
        frame(256, 13),
        frame(256, 0),
        frame(256, MTU + 15),
        frame(256, u32::MAX),
        sum(59),
        sum(57 << 16 | 2),
        sum(u32::MAX),
    ] {
        bench.send(bad);
        bench.settle();
        assert_eq!(bench.sent(), None, "{bad:?}");
    }
    assert_eq!(bench.nic.counters.server_refused.get(), 10);
    bench.send(frame(256, 60));
    bench.send(frame(256, 60));
    bench.free.push(&frame(7, 0)).unwrap();
    let _ = bench.free.publish();
    bench.settle();
    assert!(
        bench.sent().is_some() && bench.sent().is_none(),
        "twice the same buffer"
    );
    assert_eq!(bench.nic.counters.server_refused.get(), 11);
    let mut plain = Bench::new(USUAL, 256);
    plain.send(sum(0));
    plain.settle();
    assert_eq!(plain.sent(), None, "checksums were not agreed on");
}

#[test]
fn the_link_is_watched() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.link_up = own_counter();
    for (config, up) in [(1, 1), (0, 0), (1, 1)] {
        let mut state = bench.transport.0.borrow_mut();
        state.config[6] = config;
        state.interrupt = interrupt::CONFIG;
        drop(state);
        bench.nic.interrupt().unwrap();
        assert_eq!(bench.nic.counters.link_up.get(), up);
    }
}

fn own_counter() -> monitor_api::Counter {
    let page = monitor_api::CounterPage::create(shared(4096)).unwrap();
    page.counter("own")
}

#[test]
fn receive_buffers_that_the_server_does_not_have_are_refused() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.server_refused = own_counter();
    for _ in 0..RECYCLE_BATCH {
        assert!(bench.arrive(&[0; 60], 0));
    }
    bench.settle();
    let held = bench.filled.pop().unwrap().expect("a frame").buffer;
    for buffer in [held, held, 200, 256, u32::MAX] {
        bench.free.push(&frame(buffer, 0)).unwrap();
    }
    let _ = bench.free.publish();
    bench.settle();
    assert_eq!(bench.nic.counters.server_refused.get(), 4);
}

#[test]
fn a_full_queue_keeps_frames_and_asks_to_be_woken() {
    let mut bench = Bench::new(USUAL, 64);
    for n in 0..100 {
        bench.ready.push(&frame(256 + n, 60)).unwrap();
    }
    let _ = bench.ready.publish();
    bench.settle();
    let heads: Vec<_> = std::iter::from_fn(|| bench.sent()).map(|s| s.0).collect();
    assert_eq!(heads.len(), 32, "two descriptors a frame");
    assert_eq!(bench.tx.interrupt_at(), 15, "half of them");
    for head in heads {
        bench.tx.complete(head.into(), 0);
    }
    bench.nic.interrupt().unwrap();
    bench.settle();
    assert_eq!(std::iter::from_fn(|| bench.sent()).count(), 32);
}

#[test]
fn lies_of_the_device_are_counted_and_survived() {
    let mut bench = Bench::new(USUAL, 256);
    bench.nic.counters.device_errors = own_counter();
    bench.nic.counters.rx_runt = own_counter();
    for (id, len) in [
        (256, 60),
        (u32::MAX, 60),
        (3, u32::MAX),
        (4, 2048),
        (3, 26),
        (5, 0),
        (6, 25),
    ] {
        bench.rx.complete(id, len);
    }
    bench.send(frame(256, 60));
    bench.settle();
    bench.tx.complete(9, 0);
    bench.settle();
    // Two unknown, two too long, one idle on the other queue; buffer 3 was
    // posted again under the same descriptor.
    assert_eq!(bench.nic.counters.device_errors.get(), 5);
    assert_eq!(bench.nic.counters.rx_runt.get(), 2);
    let mut good = 0;
    while bench.arrive(&[7; 60], 0) && good < 50 {
        good += 1;
        bench.settle();
    }
    assert!(good >= 40, "{good}");
}

#[test]
fn index_jumps_stop_the_driver_and_reset_the_device() {
    let mut bench = Bench::new(USUAL, 256);
    bench.rx.set_used_index(300);
    assert!(matches!(bench.nic.poll(), Err(StopReason::Device(_))));
    assert_eq!(bench.transport.0.borrow().status, 0);
    for offset in [TX_READY_OFFSET, RX_FREE_OFFSET] {
        let mut bench = Bench::new(USUAL, 256);
        for _ in 0..RECYCLE_BATCH {
            assert!(bench.arrive(&[0; 60], 0));
        }
        bench.control.store32(offset + 64, 5000).unwrap();
        assert!(matches!(bench.nic.poll(), Err(StopReason::Server(_))));
        assert_eq!(bench.transport.0.borrow().status, 0);
    }
    let bench = &mut Bench::new(USUAL, 256);
    bench.transport.0.borrow_mut().status |= status::NEEDS_RESET;
    assert_eq!(
        bench.nic.interrupt(),
        Ok(()),
        "no word of the configuration"
    );
    bench.transport.0.borrow_mut().interrupt = interrupt::CONFIG;
    assert_eq!(bench.nic.interrupt(), Err(StopReason::NeedsReset));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever both sides write, a pass ends, nothing panics, and no two
    /// owners have a buffer: the device never holds one twice.
    #[test]
    fn two_liars_at_once(steps in prop::collection::vec((0u8..8, any::<u32>(), any::<u32>()), 1..300)) {
        let mut bench = Bench::new(USUAL | CHECKSUMS, 64);
        let mut posted = std::collections::BTreeMap::new();
        for (what, a, b) in steps {
            match what {
                0 => { bench.rx.complete(a % 80, b % 3000); posted.remove(&((a % 80) as u16)); }
                1 => bench.tx.complete(a % 80, b % 4),
                2 => { let _ = bench.free.push(&frame(a % 300, b)); let _ = bench.free.publish(); }
                3 => {
                    let wild = FrameDescriptor { buffer: a % 600, len: b % 1600, flags: a >> 30, checksum: b };
                    let _ = bench.ready.push(&wild);
                    let _ = bench.ready.publish();
                }
                4 => { while let Some((head, chain)) = bench.rx.take() {
                    let buffer = (chain[0].paddr - BUFFERS_AT) as usize / STRIDE;
                    prop_assert!(buffer < BUFFERS as usize);
                    posted.remove(&head);
                    prop_assert!(posted.values().all(|b| *b != buffer), "{buffer} twice");
                    posted.insert(head, buffer);
                } }
                5 => { while bench.filled.pop().unwrap().is_some() {} }
                6 => { while bench.done.pop().unwrap().is_some() {} }
                _ => match bench.nic.poll() {
                    Ok(_) => {}
                    Err(StopReason::Device(DeviceError::IndexJump { .. })) => return Ok(()),
                    Err(other) => prop_assert!(false, "{other}"),
                },
            }
        }
    }
}
