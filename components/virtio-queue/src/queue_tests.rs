//! The queue against a device that behaves, and against one that does not.

use super::*;
use crate::fake::DeviceQueue;
use proptest::prelude::*;
use shared_ring::SharedMemory;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

const PADDR: u64 = 0x10_0000;

fn pair(size: u16, event_index: bool) -> (VirtQueue<16>, DeviceQueue) {
    let words = vec![u64::MAX; queue_bytes(size) / 8].into_boxed_slice();
    let memory = SharedMemory::from_static(Box::leak(words));
    let span = DmaSpan {
        memory,
        paddr: PADDR,
    };
    let queue = VirtQueue::new(span, size, event_index).unwrap();
    let device = DeviceQueue::new(span, size, queue.addresses());
    (queue, device)
}

fn buffer(n: u64) -> [Segment; 1] {
    [Segment::to_write(n << 12, 100)]
}

#[test]
fn sizes_and_memory_are_checked() {
    let memory = SharedMemory::from_static(Box::leak(Box::new([0u64; 63])));
    let span = DmaSpan { memory, paddr: 64 };
    let refused = |span, size| VirtQueue::<16>::new(span, size, false).map(|_| ());
    for size in [0, 3, 32] {
        assert_eq!(refused(span, size), Err(SetupError::Size(size)));
    }
    assert_eq!(refused(span, 16), Err(SetupError::Memory), "8 bytes short");
    let odd = DmaSpan { memory, paddr: 72 };
    assert_eq!(refused(odd, 4), Err(SetupError::Memory));
    assert_eq!(refused(span, 4), Ok(()));
}

#[test]
fn the_layout_is_that_of_the_standard() {
    let (queue, _) = pair(16, false);
    let at = queue.addresses();
    assert_eq!(at.descriptors, PADDR);
    assert_eq!(at.driver, PADDR + 256);
    assert_eq!(at.device, PADDR + 320, "256 + 6 + 32 rounded up to a line");
    assert_eq!(queue_bytes(16), 512);
}

#[test]
fn scatter_lists_arrive_in_order() {
    let (mut queue, mut device) = pair(8, false);
    let chain = [
        Segment::to_read(0x1000, 12),
        Segment::to_read(0x2000, 40),
        Segment::to_write(0x3000, 60),
        Segment::to_write(0x4000, 70),
    ];
    queue.add(&chain, 42).unwrap();
    assert!(device.take().is_none(), "not published");
    assert!(queue.publish(), "the device wants to be told");
    let (head, seen) = device.take().unwrap();
    assert_eq!(seen, chain);
    assert_eq!((queue.free(), queue.in_flight()), (4, 1));
    device.complete(head.into(), 130);
    let used = Used {
        token: 42,
        len: 130,
        room: 130,
        head,
    };
    assert_eq!(queue.pop(), Ok(Some(used)));
    assert_eq!(queue.pop(), Ok(None));
    assert_eq!((queue.free(), queue.in_flight()), (8, 0));
}

#[test]
fn bad_chains_are_refused_and_change_nothing() {
    let (mut queue, mut device) = pair(2, false);
    assert_eq!(queue.add(&[], 0), Err(AddError::Empty));
    let wrong = [Segment::to_write(1, 1), Segment::to_read(1, 1)];
    assert_eq!(queue.add(&wrong, 0), Err(AddError::Order));
    let long = [Segment::to_read(1, 1); 3];
    assert_eq!(queue.add(&long, 0), Err(AddError::Full));
    assert!(!queue.publish());
    assert!(device.take().is_none());
    assert_eq!(queue.free(), 2);
}

#[test]
fn lies_about_identities_are_named() {
    let (mut queue, mut device) = pair(8, false);
    let chain = [Segment::to_read(0, 1), Segment::to_write(0, 9)];
    for token in 0..4 {
        queue.add(&chain, token).unwrap();
    }
    let _ = queue.publish();
    let (head, _) = device.take().unwrap();
    for (id, error) in [
        (8, DeviceError::UnknownId(8)),
        (u32::MAX, DeviceError::UnknownId(u32::MAX)),
        // The middle of a chain.
        (u32::from(head) + 1, DeviceError::NotInFlight(head + 1)),
    ] {
        device.complete(id, 0);
        assert_eq!(queue.pop(), Err(error));
    }
    assert_eq!(queue.free(), 0, "nothing was freed");
    device.complete(head.into(), 9);
    assert_eq!(queue.pop().map(|u| u.map(|u| u.len)), Ok(Some(9)));
}

#[test]
fn a_chain_completes_once() {
    let (mut queue, mut device) = pair(4, false);
    queue.add(&buffer(1), 1).unwrap();
    queue.add(&buffer(2), 2).unwrap();
    let _ = queue.publish();
    let (head, _) = device.take().unwrap();
    device.complete(head.into(), 1);
    device.complete(head.into(), 1);
    let used = Used {
        token: 1,
        len: 1,
        room: 100,
        head,
    };
    assert_eq!(queue.pop(), Ok(Some(used)));
    assert_eq!(queue.pop(), Err(DeviceError::NotInFlight(head)));
    assert_eq!(queue.free(), 3);
}

#[test]
fn lengths_beyond_the_chain_are_named_and_the_chain_is_free() {
    let (mut queue, mut device) = pair(4, false);
    queue.add(&buffer(1), 7).unwrap();
    let _ = queue.publish();
    let (head, _) = device.take().unwrap();
    device.complete(head.into(), 101);
    let error = DeviceError::TooLong {
        token: 7,
        len: 101,
        room: 100,
    };
    assert_eq!(queue.pop(), Err(error));
    assert_eq!(queue.free(), 4);
    queue.add(&[Segment::to_read(1, 50)], 8).unwrap();
    let _ = queue.publish();
    let (head, _) = device.take().unwrap();
    device.complete(head.into(), 1);
    assert!(queue.pop().is_err(), "it may not write what it only reads");
}

#[test]
fn index_jumps_stay_errors() {
    for jump in [1, 3, 4, 0x7fff, 0x8000, 0xffff] {
        let (mut queue, mut device) = pair(4, false);
        queue.add(&buffer(1), 1).unwrap();
        queue.add(&buffer(2), 2).unwrap();
        if jump != 1 {
            let _ = queue.publish();
        }
        device.set_used_index(jump);
        let error = DeviceError::IndexJump {
            ours: 0,
            theirs: jump,
        };
        assert_eq!(queue.pop(), Err(error), "more than were published");
        assert_eq!(queue.pop(), Err(error));
        assert_eq!(queue.arm(1), Err(error));
    }
}

#[test]
fn flags_silence_both_sides() {
    let (mut queue, mut device) = pair(4, false);
    device.set_no_notify(true);
    queue.add(&buffer(1), 1).unwrap();
    assert!(!queue.publish(), "the device polls");
    queue.quiet();
    assert!(device.no_interrupt());
    assert_eq!(queue.arm(1), Ok(true));
    assert!(!device.no_interrupt());
    let (head, _) = device.take().unwrap();
    device.complete(head.into(), 0);
    assert_eq!(
        queue.arm(1),
        Ok(false),
        "something arrived before the sleep"
    );
}

#[test]
fn event_indices_silence_both_sides() {
    let (mut queue, mut device) = pair(8, true);
    device.set_notify_at(1);
    queue.add(&buffer(1), 1).unwrap();
    assert!(!queue.publish(), "it waits for the second");
    queue.add(&buffer(2), 2).unwrap();
    assert!(queue.publish());
    queue.add(&buffer(3), 3).unwrap();
    assert!(!queue.publish());
    assert_eq!(queue.arm(3), Ok(true));
    assert_eq!(device.interrupt_at(), 2);
    for n in 0..3 {
        let (head, _) = device.take().unwrap();
        assert_eq!(queue.arm(3), Ok(true), "after {n}");
        device.complete(head.into(), 0);
    }
    assert_eq!(queue.arm(3), Ok(false));
    assert!(passed(queue.taken.wrapping_add(2), device.used_index(), 2));
    queue.quiet();
    assert!(!passed(device.interrupt_at(), device.used_index(), 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(usize, u32),
    Publish,
    Complete(usize, u32),
    Lie(u32, u32),
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..5, 0u32..300).prop_map(|(n, len)| Step::Add(n, len)),
        2 => Just(Step::Publish),
        3 => (any::<usize>(), 0u32..900).prop_map(|(n, len)| Step::Complete(n, len)),
        1 => (0u32..40, any::<u32>()).prop_map(|(id, len)| Step::Lie(id, len)),
        3 => Just(Step::Pop),
    ]
}

/// What should be true: chains in flight by token, with room and head.
#[derive(Default)]
struct Model {
    flying: Vec<(u32, u32, usize)>,
    heads: Vec<(u16, u32)>,
    completed: VecDeque<(u32, u32)>,
    tokens: u32,
}

fn run(steps: &[Step], event_index: bool) {
    let (mut queue, mut device) = pair(8, event_index);
    let mut model = Model::default();
    for &step in steps {
        match step {
            Step::Add(n, len) => {
                let chain = vec![Segment::to_write(0x5000, len); n];
                let used: usize = model.flying.iter().map(|f| f.2).sum();
                let added = queue.add(&chain, model.tokens);
                assert_eq!(added.is_ok(), used + n <= 8);
                if added.is_ok() {
                    model.flying.push((model.tokens, len * n as u32, n));
                    model.tokens += 1;
                }
            }
            Step::Publish => {
                let _ = queue.publish();
                while let Some((head, chain)) = device.take() {
                    let token = model.tokens - queue.in_flight() as u32;
                    assert!(chain.len() <= 4 && token <= model.tokens);
                    model.heads.push((head, 0));
                }
            }
            Step::Complete(n, len) if !model.heads.is_empty() => {
                let (head, _) = model.heads.swap_remove(n % model.heads.len());
                device.complete(head.into(), len);
                model.completed.push_back((head.into(), len));
            }
            // A lie takes the place of a chain, or the index would jump.
            Step::Lie(id, len) if !model.heads.is_empty() => {
                model.heads.pop();
                device.complete(id, len);
                model.completed.push_back((id, len));
            }
            Step::Complete(..) | Step::Lie(..) => {}
            Step::Pop => pop(&mut queue, &mut model),
        }
        let used: usize = model.flying.iter().map(|f| f.2).sum();
        assert_eq!(queue.free() as usize, 8 - used);
    }
}

fn pop(queue: &mut VirtQueue<16>, model: &mut Model) {
    let expected = model.completed.pop_front();
    let got = queue.pop();
    let Some((_, len)) = expected else {
        assert_eq!(got, Ok(None));
        return;
    };
    let (token, claimed) = match got {
        Ok(Some(used)) => (used.token, used.len),
        Err(DeviceError::TooLong { token, len, room }) => {
            assert!(len > room);
            (token, len)
        }
        Err(DeviceError::UnknownId(id)) => return assert!(id >= 8),
        Err(DeviceError::NotInFlight(id)) => return assert!(id < 8),
        other => panic!("{other:?}"),
    };
    assert_eq!(claimed, len);
    let at = model.flying.iter().position(|f| f.0 == token);
    let (_, room, _) = model.flying.remove(at.expect("a chain in flight"));
    assert_eq!(got.is_ok(), len <= room);
}

proptest! {
    #[test]
    fn whatever_the_device_says_the_books_balance(
        steps in prop::collection::vec(step(), 1..200),
        event_index: bool,
    ) {
        run(&steps, event_index);
    }
}
