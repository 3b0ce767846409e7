//! From a reset device to one that works, or a refusal.

use nic_api::{NicInfo, RX_FREE_OFFSET, nic_features};
use virtio_queue::{InitError, feature, interrupt};

use super::bench::{
    Bench, CHECKSUMS, DIRECT, LONG, MTU, SEGMENTS, USUAL, device, memory, own_counter, start,
};
use crate::setup::QUEUE_SIZE;
use crate::{DMA_BYTES, Memory, Nic, NicError, Setup};

#[test]
fn facts_are_published() {
    let bench = Bench::new(USUAL | CHECKSUMS | SEGMENTS | 1 << 3, 256);
    let info = NicInfo::read(&bench.control).unwrap().expect("ready");
    assert_eq!(info.mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(info.mtu, 0x578, "the device's, below ours");
    let all = nic_features::CHECKSUM | nic_features::GUEST_CHECKSUM | nic_features::SEGMENTATION;
    assert_eq!(info.features, all);
    assert_eq!(bench.transport.0.borrow().status, 15);
    let plain = Bench::new(feature::VERSION_1, 256).nic.info();
    assert_eq!((plain.mtu, plain.features), (MTU, 0));
    assert_eq!(plain.mac[0] & 3, 2, "locally administered, no multicast");
}

#[test]
fn only_what_can_be_used_is_agreed_on() {
    let agreed = |offered| Bench::new(offered, 256).transport.0.borrow().agreed;
    assert_eq!(agreed(USUAL), USUAL);
    assert_eq!(agreed(DIRECT), DIRECT);
    // Segments need checksums, those for us merged buffers too; queues for
    // control are not spoken.
    assert_eq!(agreed(USUAL | SEGMENTS), USUAL);
    assert_eq!(agreed(USUAL | SEGMENTS | 2), USUAL | 2);
    let both = USUAL | SEGMENTS | 1;
    assert_eq!(agreed(both | 1 << 7 | 1 << 15 | 1 << 17), both);
    assert_eq!(agreed(USUAL | 2 | 1 << 7), USUAL | 2);
    assert_eq!(agreed(USUAL | 2 | 1 << 15), USUAL | 2);
    assert_eq!(agreed(USUAL | 2 | LONG), USUAL | 2 | LONG);
}

#[test]
fn long_frames_are_for_buffers_that_are_made_for_them() {
    for (mtu, asked, long) in [(MTU, true, true), (9000, true, false), (MTU, false, false)] {
        let transport = device(USUAL | CHECKSUMS | LONG, 256);
        let setup = Setup {
            memory: memory(),
            mtu,
            long: asked,
            counters: None,
            near: false,
        };
        let nic = Nic::new(transport.clone(), setup).unwrap();
        let told = nic.info().features & nic_features::LONG_RECEIVE != 0;
        assert_eq!(
            (told, transport.0.borrow().agreed & LONG != 0),
            (long, long),
            "{mtu}, {asked}"
        );
    }
}

#[test]
fn the_mtu_lies_within_reason() {
    for (theirs, mtu) in [(576u16, 576), (9000, MTU), (0, 68)] {
        let (transport, memory) = (device(USUAL | 1 << 3, 256), memory());
        transport.0.borrow_mut().config[10..].copy_from_slice(&theirs.to_le_bytes());
        assert_eq!(start(&transport, memory).unwrap().info().mtu, mtu);
    }
}

#[test]
fn unusable_devices_and_memory_are_refused() {
    let with = |offered, queue_max, shrink: fn(&mut Memory)| {
        let mut memory = memory();
        shrink(&mut memory);
        start(&device(offered, queue_max), memory).map(|_| ())
    };
    let device_at_fault = |result| matches!(result, Err(NicError::Device(_)));
    assert!(device_at_fault(with(0, 256, |_| ())), "legacy");
    assert!(device_at_fault(with(USUAL, 2, |_| ())));
    assert_eq!(with(USUAL, 256, |_| ()), Ok(()));
    let short = |m: &mut Memory| m.private = m.private.slice(0, DMA_BYTES - 64).unwrap();
    assert_eq!(with(USUAL, 256, short), Err(NicError::Memory));
    let odd = |m: &mut Memory| m.private.paddr += 8;
    assert!(matches!(with(USUAL, 256, odd), Err(NicError::Queue(_))));
    let short = |m: &mut Memory| m.control = m.control.slice(0, 4096).unwrap();
    assert_eq!(with(USUAL, 256, short), Err(NicError::Memory));
    let unformatted = |m: &mut Memory| m.control.store32(RX_FREE_OFFSET, 0).unwrap();
    assert!(matches!(
        with(USUAL, 256, unformatted),
        Err(NicError::Ring(_))
    ));
}

/// What devices insist on is agreed to if it is known, and otherwise said; none of
/// them is waited for.
#[test]
fn devices_that_want_what_we_have_not_are_refused_with_a_reason() {
    let with = |more: u64, stuck| {
        let transport = device(USUAL | more, 256);
        transport.0.borrow_mut().insists = more;
        transport.0.borrow_mut().stuck = stuck;
        start(&transport, memory()).map(|_| ())
    };
    let platform = feature::ACCESS_PLATFORM | feature::ORDER_PLATFORM;
    assert_eq!(with(platform, false), Ok(()));
    // Packed rings, and notifications with data.
    for unknown in [1 << 34, 1 << 38] {
        let refused = with(unknown, false);
        assert_eq!(refused, Err(NicError::Device(InitError::Refused(USUAL))));
    }
    assert_eq!(with(0, true), Err(NicError::Device(InitError::Reset)));
    let said = NicError::Device(InitError::Refused(USUAL)).to_string();
    assert!(
        said.contains("the device wants more than the features"),
        "{said}"
    );
}

#[test]
fn queues_are_no_larger_than_the_memory_is_for() {
    for (offered, size) in [(1024, QUEUE_SIZE as u16), (100, 64), (4, 4)] {
        let bench = Bench::new(USUAL, offered);
        let queues = bench.transport.0.borrow().queues;
        let sizes = queues.map(|q| q.map(|q| q.0));
        assert_eq!(sizes, [Some(size), Some(size), None, None]);
    }
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
