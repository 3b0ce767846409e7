//! A configuration space made by hand, honest and not.

use super::*;
use crate::transport::{feature, negotiate, start, status};
use std::boxed::Box;
use std::vec::Vec;

const WINDOW: usize = 4096;

fn window() -> SharedMemory {
    SharedMemory::from_static(Box::leak(std::vec![0u64; WINDOW / 8].into_boxed_slice()))
}

/// A configuration space whose capabilities, from 0x40 on, 20 bytes each, are
/// kind, window, offset, length.
fn config(capabilities: &[(u8, u8, u32, u32)]) -> Vec<u8> {
    let mut config = std::vec![0; 256];
    config[STATUS] = STATUS_CAPABILITIES as u8;
    config[CAPABILITIES] = 0x40;
    for (n, &(kind, bar, offset, len)) in capabilities.iter().enumerate() {
        let at = 0x40 + 20 * n;
        let last = n + 1 == capabilities.len();
        let next = if last { 0 } else { at as u8 + 20 };
        config[at..at + 5].copy_from_slice(&[VENDOR, next, 20, kind, bar]);
        config[at + 8..at + 12].copy_from_slice(&offset.to_le_bytes());
        config[at + 12..at + 16].copy_from_slice(&len.to_le_bytes());
        config[at + 16..at + 20].copy_from_slice(&4u32.to_le_bytes());
    }
    config
}

const HONEST: [(u8, u8, u32, u32); 4] = [
    (COMMON, 4, 0, 56),
    (NOTIFY, 4, 1024, 64),
    (ISR, 4, 2048, 1),
    (DEVICE, 4, 3072, 64),
];

fn open(config: &[u8], window: SharedMemory) -> Result<PciTransport, PciError> {
    PciTransport::new(config, |bar| (bar == 4).then_some(window))
}

#[test]
fn registers_are_where_the_capabilities_say() {
    let window = window();
    let mut device = open(&config(&HONEST), window).unwrap();
    window.store32(4, 0x0102_0304).unwrap();
    window.write(2048, &[3]).unwrap();
    window.write(3072, b"\x52\x54\x00\x12\x34\x56").unwrap();
    assert_eq!(device.device_features(), 0x0102_0304_0102_0304);
    assert_eq!(device.interrupt_status(), 3);
    assert_eq!(device.config8(1), Some(0x54));
    assert_eq!(device.config16(4), Some(0x5634));
    assert_eq!((device.config8(64), device.config16(1)), (None, None));
    start(&mut device);
    assert_eq!(device.status(), 15);
}

#[test]
fn queues_get_their_own_doorbells() {
    let window = window();
    let mut device = open(&config(&HONEST), window).unwrap();
    let at = QueueAddresses {
        descriptors: 0x1_2345_0000,
        driver: 0x2000,
        device: 0x3000,
    };
    for (queue, offset) in [(0, 0u16), (1, 3)] {
        window.write(30, &offset.to_le_bytes()).unwrap();
        device.enable_queue(queue, 8, at).unwrap();
    }
    assert_eq!(window.load32(32), Ok(0x2345_0000));
    assert_eq!(window.load32(36), Ok(1));
    assert_eq!(window.load32(28).unwrap() as u16, 1, "enabled");
    device.notify(1);
    device.notify(7);
    assert_eq!(window.load32(1024 + 12), Ok(1));
    // A doorbell outside the structure.
    window.write(30, &16u16.to_le_bytes()).unwrap();
    assert_eq!(device.enable_queue(0, 8, at), Err(InitError::Queue(0)));
    assert_eq!(device.enable_queue(99, 8, at), Err(InitError::Queue(99)));
}

#[test]
fn a_page_for_each_queue_is_used_as_far_as_it_is_mapped() {
    let window = window();
    let mut pages = config(&HONEST);
    // As with 1024 queues of a page each, of which the first 768 bytes are mapped.
    let at = 0x40 + 20;
    pages[at + 8..at + 12].copy_from_slice(&(4096u32 - 768).to_le_bytes());
    pages[at + 12..at + 16].copy_from_slice(&(4u32 << 20).to_le_bytes());
    pages[at + 16..at + 20].copy_from_slice(&512u32.to_le_bytes());
    let mut device = open(&pages, window).unwrap();
    let at = QueueAddresses {
        descriptors: 0x1000,
        driver: 0x2000,
        device: 0x3000,
    };
    for (queue, expected) in [(0u16, Ok(())), (1, Ok(())), (2, Err(InitError::Queue(2)))] {
        window.write(30, &queue.to_le_bytes()).unwrap();
        assert_eq!(device.enable_queue(queue, 8, at), expected);
    }
    device.notify(1);
    assert_eq!(window.load32(4096 - 768 + 512), Ok(1));
}

#[test]
fn of_two_structures_the_one_that_is_mapped_is_used() {
    // As with notifications by I/O port, and by memory for those without.
    let mut list = std::vec![(NOTIFY, 2, 0, 64)];
    list.extend(HONEST);
    assert!(open(&config(&list), window()).is_ok());
    list.retain(|&(kind, bar, ..)| (kind, bar) != (NOTIFY, 4));
    let refused = open(&config(&list), window()).map(|_| ());
    assert_eq!(refused, Err(PciError::Window(2)));
}

#[test]
fn capabilities_that_lie_are_refused() {
    let with = |n: usize, capability| {
        let mut list = HONEST;
        list[n] = capability;
        open(&config(&list), window()).map(|_| ())
    };
    assert_eq!(with(0, (COMMON, 2, 0, 56)), Err(PciError::Window(2)));
    assert_eq!(with(0, (COMMON, 4, 0, 55)), Err(PciError::OutOfRange));
    assert_eq!(with(0, (COMMON, 4, 2, 56)), Err(PciError::OutOfRange));
    assert_eq!(with(1, (NOTIFY, 4, 4096, 1)), Err(PciError::OutOfRange));
    assert_eq!(
        with(1, (NOTIFY, 4, u32::MAX, u32::MAX)),
        Err(PciError::OutOfRange)
    );
    assert_eq!(with(2, (ISR, 4, 0, 0)), Err(PciError::OutOfRange));
    assert_eq!(with(2, (9, 4, 0, 4)), Err(PciError::Missing(ISR)));
    assert_eq!(
        open(&[0; 256], window()).map(|_| ()),
        Err(PciError::NoCapabilities)
    );
    assert_eq!(open(&[], window()).map(|_| ()), Err(PciError::OutOfRange));
}

#[test]
fn a_circle_of_capabilities_ends() {
    let mut config = config(&HONEST[..2]);
    config[0x40 + 20 + 1] = 0x40;
    assert_eq!(
        open(&config, window()).map(|_| ()),
        Err(PciError::Missing(ISR))
    );
    config[0x41] = 0xff;
    assert_eq!(
        open(&config, window()).map(|_| ()),
        Err(PciError::OutOfRange)
    );
}

/// Only status and features; refuses what it is told to.
struct Stub {
    features: u64,
    status: u8,
    stuck: bool,
    refuse: bool,
    agreed: u64,
}

impl Transport for Stub {
    fn device_features(&mut self) -> u64 {
        self.features
    }
    fn set_driver_features(&mut self, features: u64) {
        self.agreed = features;
    }
    fn status(&self) -> u8 {
        if self.stuck { 1 } else { self.status }
    }
    fn set_status(&mut self, status: u8) {
        self.status = status;
        if self.refuse {
            self.status &= !status::FEATURES_OK;
        }
    }
    fn queue_max(&mut self, _: u16) -> u16 {
        0
    }
    fn enable_queue(&mut self, queue: u16, _: u16, _: QueueAddresses) -> Result<(), InitError> {
        Err(InitError::Queue(queue))
    }
    fn notify(&self, _: u16) {}
    fn interrupt_status(&self) -> u8 {
        0
    }
    fn config8(&self, _: usize) -> Option<u8> {
        None
    }
    fn config16(&self, _: usize) -> Option<u16> {
        None
    }
}

#[test]
fn features_are_agreed_on_or_the_device_is_failed() {
    let offers = |features, stuck, refuse| Stub {
        features,
        status: 15,
        stuck,
        refuse,
        agreed: 0,
    };
    let v1 = feature::VERSION_1;
    let mut device = offers(v1 | 0xff, false, false);
    assert_eq!(negotiate(&mut device, 0xf0f, v1), Ok(v1 | 0xf));
    assert_eq!((device.agreed, device.status), (v1 | 0xf, 11));
    // Without these, a device that offers them may refuse to work.
    let platform = feature::ACCESS_PLATFORM | feature::ORDER_PLATFORM;
    let mut device = offers(v1 | platform | 1 << 34, false, false);
    assert_eq!(negotiate(&mut device, 0, v1), Ok(v1 | platform));
    let mut device = offers(0xff, false, false);
    assert_eq!(negotiate(&mut device, 1, v1), Err(InitError::Missing(v1)));
    assert_eq!(device.status, status::FAILED);
    let mut device = offers(v1, false, true);
    assert_eq!(negotiate(&mut device, 0, v1), Err(InitError::Refused(v1)));
    let mut device = offers(v1, true, false);
    assert_eq!(negotiate(&mut device, 0, v1), Err(InitError::Reset));
}
