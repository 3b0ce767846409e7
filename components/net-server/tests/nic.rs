//! The frame channel against a driver that obeys, and one that does not.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

use std::ptr::NonNull;

use net_server::environment::DriverFault;
use net_server::nic::{Nic, NicError};
use nic_api::{
    CONTROL_BYTES, DescriptorError, FrameDescriptor, HEADROOM, NicInfo, RING, RX_FILLED_OFFSET,
    RX_FREE_OFFSET, TX_DONE_OFFSET, TX_READY_OFFSET, buffer_bytes, region_bytes,
};
use shared_ring::{AttachError, Consumer, Producer, SharedMemory};

const MTU: usize = 1500;

/// Memory that lives for the rest of the test process, as regions do.
fn region(bytes: usize) -> SharedMemory {
    let words: &'static mut [u64] = vec![0u64; bytes.div_ceil(8)].leak();
    let base = NonNull::from(words).cast();
    // SAFETY: the words are leaked and aligned, and their only reference was
    // turned into the pointer.
    unsafe { SharedMemory::new(base, bytes) }
}

struct Driver {
    control: SharedMemory,
    buffers: SharedMemory,
    filled: Producer<FrameDescriptor>,
    free: Consumer<FrameDescriptor>,
    ready: Consumer<FrameDescriptor>,
    done: Producer<FrameDescriptor>,
}

fn pair() -> (Driver, Nic) {
    let control = region(CONTROL_BYTES);
    let buffers = region(region_bytes(MTU));
    let ring = |offset| {
        let at = control.slice(offset, RING.bytes()).unwrap();
        RING.format(&at).unwrap();
        at
    };
    let driver = Driver {
        filled: Producer::attach(ring(RX_FILLED_OFFSET), RING).unwrap(),
        free: Consumer::attach(ring(RX_FREE_OFFSET), RING).unwrap(),
        ready: Consumer::attach(ring(TX_READY_OFFSET), RING).unwrap(),
        done: Producer::attach(ring(TX_DONE_OFFSET), RING).unwrap(),
        control,
        buffers,
    };
    let info = NicInfo {
        mac: [2; 6],
        mtu: MTU as u32,
        features: 0,
    };
    let nic = Nic::attach(&control, buffers, &info).unwrap();
    (driver, nic)
}

impl Driver {
    fn deliver(&mut self, buffer: u32, len: u32) {
        let frame = FrameDescriptor {
            buffer,
            len,
            ..FrameDescriptor::default()
        };
        self.filled.push(&frame).unwrap();
        let _ = self.filled.publish();
    }
}

#[test]
fn frames_go_both_ways() {
    let (mut driver, mut nic) = pair();
    let at = 5 * buffer_bytes(MTU) + HEADROOM;
    driver.buffers.write(at, b"a frame").unwrap();
    driver.deliver(5, 7);
    let mut into = [0; 2000];
    let got = nic.receive(&mut into).unwrap().unwrap();
    assert_eq!((&into[..got.len], got.verified), (&b"a frame"[..], false));
    assert!(nic.send(b"an answer", None) && nic.publish());
    assert_eq!(driver.free.pop().unwrap().unwrap().buffer, 5);
    let sent = driver.ready.pop().unwrap().unwrap();
    let mut bytes = vec![0; sent.len as usize];
    let at = sent.buffer as usize * buffer_bytes(MTU) + HEADROOM;
    driver.buffers.read(at, &mut bytes).unwrap();
    assert_eq!(bytes, b"an answer");
}

#[test]
fn all_send_buffers_come_back() {
    let (mut driver, mut nic) = pair();
    for _ in 0..3 {
        let mut sent = Vec::new();
        while nic.send(&[0; 60], None) {
            let _ = nic.publish();
            sent.push(driver.ready.pop().unwrap().unwrap());
        }
        assert_eq!((sent.len(), nic.room()), (256, 0));
        for descriptor in sent {
            driver.done.push(&descriptor).unwrap();
        }
        let _ = driver.done.publish();
        assert_eq!(nic.room(), 256);
    }
}

#[test]
fn a_bad_descriptor_is_the_drivers_fault_and_the_next_one_counts() {
    let (mut driver, mut nic) = pair();
    let mut into = [0; 2000];
    driver.deliver(256, 60);
    driver.deliver(u32::MAX, 60);
    driver.deliver(0, buffer_bytes(MTU) as u32);
    driver.deliver(0, u32::MAX);
    driver.deliver(1, 60);
    for buffer in [256, u32::MAX] {
        let fault = DriverFault::Descriptor(DescriptorError::Buffer(buffer));
        assert_eq!(nic.receive(&mut into), Err(fault));
    }
    for len in [buffer_bytes(MTU) as u32, u32::MAX] {
        let fault = DriverFault::Descriptor(DescriptorError::Length(len));
        assert_eq!(nic.receive(&mut into), Err(fault));
    }
    assert_eq!(nic.receive(&mut into).unwrap().unwrap().len, 60);
    // A frame longer than we take is a fault too, and its buffer goes back.
    driver.deliver(2, 1900);
    assert!(nic.receive(&mut [0; 1514]).is_err());
    let _ = nic.publish();
    let back: Vec<_> = core::iter::from_fn(|| driver.free.pop().unwrap()).collect();
    assert_eq!(back.iter().map(|d| d.buffer).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_buffer_that_the_driver_does_not_have_is_refused() {
    let (mut driver, mut nic) = pair();
    while nic.send(&[0; 60], None) {}
    let _ = nic.publish();
    let first = driver.ready.pop().unwrap().unwrap();
    for descriptor in [first, first, FrameDescriptor::default()] {
        driver.done.push(&descriptor).unwrap();
    }
    let _ = driver.done.publish();
    assert_eq!(nic.room(), 1);
    let fault = nic.receive(&mut [0; 2000]).unwrap_err();
    assert_eq!(fault, DriverFault::NotItsBuffer(0));
    assert_eq!(nic.receive(&mut [0; 2000]), Ok(None));
}

#[test]
fn an_impossible_index_ends_nothing() {
    let (driver, mut nic) = pair();
    driver.control.store32(RX_FILLED_OFFSET + 64, 5000).unwrap();
    driver.control.store32(TX_DONE_OFFSET + 64, 5000).unwrap();
    assert!(matches!(
        nic.receive(&mut [0; 2000]),
        Err(DriverFault::Ring(_))
    ));
    while nic.send(&[0; 60], None) {}
    assert_eq!(nic.room(), 0);
    assert!(matches!(
        nic.receive(&mut [0; 2000]),
        Err(DriverFault::Ring(_))
    ));
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    let control = region(CONTROL_BYTES);
    let info = |mtu| NicInfo {
        mac: [2; 6],
        mtu,
        features: 0,
    };
    for mtu in [9000, 65536, u32::MAX] {
        let refused = Nic::attach(&control, region(region_bytes(MTU)), &info(mtu));
        assert_eq!(refused.err(), Some(NicError::Mtu(mtu)));
    }
    let unformatted = Nic::attach(&control, region(region_bytes(MTU)), &info(1500));
    assert_eq!(
        unformatted.err(),
        Some(NicError::Ring(AttachError::Magic(0)))
    );
    let small = Nic::attach(&region(64), region(region_bytes(MTU)), &info(1500));
    assert_eq!(small.err(), Some(NicError::Region));
}
