//! Rings in memory, with peers that misbehave.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use shared_ring::{
    AttachError, Consumer, OutOfRange, Producer, RingError, RingLayout, SharedMemory,
};

const LAYOUT: RingLayout = RingLayout::new(16, 8);

fn memory(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0; bytes / 8].into_boxed_slice()))
}

fn ring() -> (SharedMemory, Producer<[u64; 2]>, Consumer<[u64; 2]>) {
    let memory = memory(LAYOUT.bytes());
    LAYOUT.format(&memory).unwrap();
    let producer = Producer::attach(memory, LAYOUT).unwrap();
    (memory, producer, Consumer::attach(memory, LAYOUT).unwrap())
}

#[test]
fn every_header_field_is_checked() {
    let (memory, ..) = ring();
    let broken = |offset, value, right: AttachError| {
        let before = memory.load32(offset).unwrap();
        memory.store32(offset, value).unwrap();
        let producer = Producer::<[u64; 2]>::attach(memory, LAYOUT).unwrap_err();
        let consumer = Consumer::<[u64; 2]>::attach(memory, LAYOUT).unwrap_err();
        assert_eq!((producer, consumer), (right, right));
        memory.store32(offset, before).unwrap();
    };
    broken(0, 1, AttachError::Magic(1));
    broken(4, 2 | 16 << 16, AttachError::Version(2));
    broken(4, 1 | 24 << 16, AttachError::EntryBytes(24));
    broken(8, 16, AttachError::Capacity(16));
    broken(12, 1, AttachError::Features(1));
    assert!(Producer::<[u64; 2]>::attach(memory, LAYOUT).is_ok());
}

/// A consumer in the producer's thread is not signalled for what it looks for
/// itself, but the producer still sees what it waits for in particular.
#[test]
fn a_near_consumer_asks_for_nothing() {
    let (_, mut producer, consumer) = ring();
    let mut consumer = consumer.near(true);
    assert_eq!(consumer.arm(), Ok(true));
    producer.push(&[1, 2]).unwrap();
    assert!(!producer.publish(), "nobody is signalled");
    assert!(!consumer.looks_empty());
    assert_eq!(consumer.arm(), Ok(false), "it finds the entry itself");
    assert_eq!(consumer.pop(), Ok(Some([1, 2])));
    assert_eq!(consumer.arm_for_anything(), Ok(true));
    assert!(producer.is_asked_for_anything());
}

#[test]
fn illegal_layouts_and_small_regions_are_refused() {
    let (memory, ..) = ring();
    let wrong_type = Consumer::<u64>::attach(memory, LAYOUT).unwrap_err();
    assert_eq!(wrong_type, AttachError::BadLayout);
    for layout in [
        RingLayout::new(0, 8),
        RingLayout::new(12, 8),
        RingLayout::new(16, 7),
        RingLayout::new(16, 0),
        RingLayout::new(16, 1 << 21),
    ] {
        assert_eq!(layout.format(&memory), Err(AttachError::BadLayout));
    }
    let small = memory.slice(0, LAYOUT.bytes() - 8).unwrap();
    assert_eq!(LAYOUT.format(&small), Err(AttachError::OutOfRange));
}

#[test]
fn a_full_ring_takes_nothing_more() {
    let (_, mut producer, mut consumer) = ring();
    for n in 0..8 {
        assert_eq!(producer.has_room(8 - n as u32), Ok(true));
        assert_eq!(producer.has_room(9 - n as u32), Ok(false));
        producer.push(&[n, n]).unwrap();
    }
    assert!(producer.push(&[9, 9]).is_err());
    assert_eq!(consumer.pop(), Ok(None), "not published");
    assert!(producer.publish(), "the consumer has not looked yet");
    assert!(!producer.publish(), "nothing new");
    assert_eq!(producer.in_flight(), 8);
    for n in 0..8 {
        assert_eq!(consumer.pop(), Ok(Some([n, n])));
    }
    assert_eq!(consumer.arm(), Ok(true));
    assert_eq!(producer.room(), Ok(8));
}

/// Sends entries of `N` words through a ring of two, which both copies of an
/// entry's size must get right and leave the other entry alone.
fn pass_through<const N: usize>() {
    let layout = RingLayout::new(8 * N as u16, 2);
    let words = vec![u64::MAX; layout.bytes() / 8].into_boxed_slice();
    let memory = SharedMemory::from_static(Box::leak(words));
    layout.format(&memory).unwrap();
    let mut producer = Producer::<[u64; N]>::attach(memory, layout).unwrap();
    let mut consumer = Consumer::<[u64; N]>::attach(memory, layout).unwrap();
    let entry = |n: u64| core::array::from_fn(|i| n << 8 | i as u64);
    for n in 0..5 {
        producer.push(&entry(2 * n)).unwrap();
        producer.push(&entry(2 * n + 1)).unwrap();
        let _ = producer.publish();
        assert_eq!(consumer.pop(), Ok(Some(entry(2 * n))));
        let mut into = [7; N];
        assert_eq!(consumer.pop_into(&mut into), Ok(true));
        assert_eq!(into, entry(2 * n + 1));
        assert_eq!(consumer.pop_into(&mut into), Ok(false));
        assert_eq!(into, entry(2 * n + 1), "as it was");
    }
}

#[test]
fn entries_of_every_size_arrive_whole() {
    pass_through::<1>();
    pass_through::<2>();
    pass_through::<3>();
    pass_through::<4>();
    pass_through::<8>();
    pass_through::<9>();
}

#[test]
fn the_flag_is_answered_once() {
    let (_, mut producer, mut consumer) = ring();
    producer.push(&[1, 1]).unwrap();
    assert!(producer.publish());
    producer.push(&[2, 2]).unwrap();
    assert!(!producer.publish(), "a signal is on its way");
    assert_eq!(consumer.arm(), Ok(false), "there is something to take");
    producer.push(&[3, 3]).unwrap();
    assert!(producer.publish(), "it asked again");
    consumer.arm().unwrap();
    consumer.disarm();
    producer.push(&[4, 4]).unwrap();
    assert!(!producer.publish(), "it withdrew");
}

#[test]
fn asking_again_finds_out_what_was_answered() {
    let (_, mut producer, mut consumer) = ring();
    for n in 0..3 {
        assert_eq!(consumer.arm(), Ok(true));
        assert_eq!(consumer.arm(), Ok(true), "that stands");
        producer.push(&[n, n]).unwrap();
        assert!(producer.publish());
        assert_eq!(consumer.arm(), Ok(false), "it was answered");
        assert_eq!(consumer.pop(), Ok(Some([n, n])));
        assert_eq!(consumer.pop(), Ok(None));
    }
    assert_eq!(consumer.arm(), Ok(true));
    assert_eq!(consumer.arm_for_anything(), Ok(true), "more than stands");
    assert!(producer.is_asked_for_anything());
    producer.push_quietly(&[4, 4]).unwrap();
    assert!(producer.publish());
}

#[test]
fn quiet_entries_wake_only_who_asked_for_anything() {
    let (_, mut producer, mut consumer) = ring();
    consumer.arm().unwrap();
    producer.push_quietly(&[1, 1]).unwrap();
    assert!(!producer.publish(), "it did not ask for these");
    assert_eq!(consumer.pop(), Ok(Some([1, 1])), "but it is there");
    assert!(!producer.is_asked_for_anything());
    assert!(!consumer.is_asking_for_anything());
    assert_eq!(consumer.arm_for_anything(), Ok(true));
    assert!(producer.is_asked_for_anything() && consumer.is_asking_for_anything());
    producer.push_quietly(&[2, 2]).unwrap();
    assert!(producer.publish());
    assert!(!consumer.is_asking_for_anything(), "it was answered");
    consumer.arm().unwrap();
    producer.push_quietly(&[3, 3]).unwrap();
    producer.push(&[4, 4]).unwrap();
    producer.push_quietly(&[5, 5]).unwrap();
    assert!(producer.publish(), "one of the three is loud");
}

#[test]
fn impossible_indices_are_the_peers_fault() {
    let (memory, mut producer, mut consumer) = ring();
    for peer in [9, 1 << 31, u32::MAX] {
        memory.store32(64, peer).unwrap();
        let error = RingError::IndexJump { own: 0, peer };
        assert_eq!(consumer.pop(), Err(error));
        assert_eq!(consumer.arm(), Err(error));
    }
    for n in 0..8 {
        producer.push(&[n, n]).unwrap();
    }
    for peer in [9, 1 << 31, u32::MAX] {
        memory.store32(128, peer).unwrap();
        assert_eq!(producer.room(), Err(RingError::IndexJump { own: 8, peer }));
        assert!(producer.push(&[0, 0]).is_err());
    }
}

#[test]
fn accesses_outside_a_span_are_refused() {
    let memory = memory(64);
    let mut buf = [0; 16];
    for (offset, len) in [(64, 1), (49, 16), (usize::MAX, 2), (0, 65)] {
        assert_eq!(memory.slice(offset, len).err(), Some(OutOfRange));
    }
    assert_eq!(memory.read(49, &mut buf), Err(OutOfRange));
    assert_eq!(memory.write(usize::MAX, &buf), Err(OutOfRange));
    assert_eq!(memory.copy_to(0, &memory, 60, 8), Err(OutOfRange));
    assert_eq!(memory.word32(62).err(), Some(OutOfRange));
    assert_eq!(memory.word32(2).err(), Some(OutOfRange));
    assert_eq!(memory.word64(4).err(), Some(OutOfRange));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Publish,
    Pop,
    Arm,
    Scribble(usize, u32),
}

fn honest() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u64>().prop_map(Step::Push),
        Just(Step::Publish),
        Just(Step::Pop),
        Just(Step::Arm),
    ]
}

fn hostile() -> impl Strategy<Value = Step> {
    let anywhere = (0..LAYOUT.bytes() / 4, any::<u32>());
    prop_oneof![
        honest(),
        anywhere.prop_map(|(word, value)| Step::Scribble(word * 4, value))
    ]
}

proptest! {
    #[test]
    fn what_is_published_is_taken_in_order(steps in prop::collection::vec(honest(), 1..200)) {
        let (_, mut producer, mut consumer) = ring();
        let (mut pushed, mut shown) = (Vec::new(), 0);
        let mut taken = 0;
        for step in steps {
            match step {
                Step::Push(n) => {
                    let room = pushed.len() - taken < 8;
                    prop_assert_eq!(producer.push(&[n, !n]).is_ok(), room);
                    if room {
                        pushed.push(n);
                    }
                }
                Step::Publish => {
                    let _ = producer.publish();
                    shown = pushed.len();
                }
                Step::Pop => {
                    let right = (taken < shown).then(|| [pushed[taken], !pushed[taken]]);
                    prop_assert_eq!(consumer.pop(), Ok(right));
                    taken += usize::from(right.is_some());
                }
                _ => prop_assert_eq!(consumer.arm(), Ok(taken == shown)),
            }
        }
    }

    #[test]
    fn a_scribbler_causes_errors_at_most(steps in prop::collection::vec(hostile(), 1..300)) {
        let (memory, mut producer, mut consumer) = ring();
        for step in steps {
            match step {
                Step::Push(n) => {
                    let _ = producer.push(&[n, n]);
                }
                Step::Publish => {
                    let _ = producer.publish();
                }
                Step::Pop => {
                    let _ = consumer.pop();
                }
                Step::Arm => {
                    let _ = consumer.arm();
                }
                Step::Scribble(at, value) => memory.store32(at, value).unwrap(),
            }
            prop_assert!(producer.in_flight() <= 8);
            prop_assert!(producer.room().unwrap_or(0) <= 8);
        }
    }

    #[test]
    fn copies_move_every_byte_and_no_other(
        from in 0usize..64, to in 128usize..192, len in 0usize..64,
    ) {
        let memory = memory(256);
        let bytes: Vec<u8> = (0..len).map(|n| n as u8 + 1).collect();
        memory.write(from, &bytes).unwrap();
        memory.copy_to(from, &memory, to, len).unwrap();
        let mut all = [0; 256];
        memory.read(0, &mut all).unwrap();
        let mut right = [0; 256];
        right[from..from + len].copy_from_slice(&bytes);
        right[to..to + len].copy_from_slice(&bytes);
        prop_assert_eq!(all, right);
    }
}
