//! Chains with headers, in tables and without, against a device that behaves
//! and one that does not.

use super::*;
use crate::error::DeviceError;
use crate::fake::DeviceQueue;
use crate::memory::queue_bytes;
use proptest::prelude::*;
use shared_ring::SharedMemory;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const PADDR: u64 = 0x10_0000;
const CELL: usize = 5;
const HEADER: u32 = 12;

fn memory(bytes: usize) -> DmaSpan {
    let words = vec![u64::MAX; bytes.div_ceil(8)].into_boxed_slice();
    DmaSpan {
        memory: SharedMemory::from_static(Box::leak(words)),
        paddr: PADDR,
    }
}

/// Queue, device and cells of `size` descriptors.
fn bench(size: u16, writable: bool, indirect: bool) -> (VirtQueue<16, CELL>, DeviceQueue, DmaSpan) {
    let queue_part = queue_bytes(size);
    let all = memory(queue_part + usize::from(size) * cell_bytes(CELL));
    let span = all.slice(queue_part, usize::from(size) * cell_bytes(CELL));
    let cells = Cells {
        span: span.unwrap(),
        header_bytes: HEADER,
        writable,
        indirect,
    };
    let own = all.slice(0, queue_part).unwrap();
    let queue = VirtQueue::with_cells(own, size, true, cells).unwrap();
    let device = DeviceQueue::new(all, size, queue.addresses());
    (queue, device, cells.span)
}

fn pieces(n: u32) -> Vec<Piece> {
    let piece = |i: u32| Piece {
        paddr: u64::from(i + 1) << 12,
        len: 100 + i,
    };
    (0..n).map(piece).collect()
}

#[test]
fn cells_are_checked() {
    let span = memory(3 * 512);
    let good = Cells {
        span: memory(4 * cell_bytes(CELL)),
        header_bytes: HEADER,
        writable: true,
        indirect: true,
    };
    let made = |cells| VirtQueue::<16, CELL>::with_cells(span, 4, false, cells).map(|_| ());
    assert_eq!(made(good), Ok(()));
    let flat = VirtQueue::<16, 2>::with_cells(span, 4, false, good);
    assert_eq!(flat.map(|_| ()), Err(SetupError::Cells));
    for header_bytes in [0, 17] {
        let wrong = Cells {
            header_bytes,
            ..good
        };
        assert_eq!(made(wrong), Err(SetupError::Cells));
    }
    let short = good.span.slice(0, 4 * cell_bytes(CELL) - 8).unwrap();
    let odd = DmaSpan {
        paddr: PADDR + 8,
        ..good.span
    };
    for span in [short, odd] {
        assert_eq!(made(Cells { span, ..good }), Err(SetupError::Memory));
    }
}

#[test]
fn a_table_takes_one_descriptor_and_a_direct_chain_all() {
    for (indirect, left) in [(true, 15), (false, 13)] {
        let (mut queue, mut device, cells) = bench(16, false, indirect);
        let header = [0x0807_0605_0403_0201, 0x0c0b_0a09];
        let parts = pieces(2);
        queue
            .add_to_read(header, parts.iter().copied(), 42)
            .unwrap();
        assert_eq!(queue.free(), left);
        assert!(device.take().is_none(), "not published");
        let _ = queue.publish();
        let (head, chain) = device.take().unwrap();
        assert_eq!(device.was_indirect(), indirect);
        let [own, first, second] = chain[..] else {
            panic!("{chain:?}");
        };
        assert_eq!((own.len, own.writable), (HEADER, false));
        let mut bytes = [0; HEADER as usize];
        let at = (own.paddr - cells.paddr) as usize;
        cells.memory.read(at, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(
            [first, second],
            [Segment::to_read(4096, 100), Segment::to_read(8192, 101)]
        );
        device.complete(head.into(), 0);
        let used = queue.pop().unwrap().unwrap();
        assert_eq!((used.token, used.head, queue.free()), (42, head, 16));
    }
}

#[test]
fn what_no_table_holds_goes_direct() {
    let (mut queue, mut device, _) = bench(16, true, true);
    let table = CELL as u32 - 2;
    for n in [table, table + 1, 15, table] {
        let parts = pieces(n);
        let before = queue.free();
        queue.add_to_write(parts.iter().copied(), n).unwrap();
        let taken = if n <= table { 1 } else { n as u16 + 1 };
        assert_eq!(before - queue.free(), taken);
        assert_eq!(queue.descriptors_for(n as usize), taken.into());
        let _ = queue.publish();
        let (head, chain) = device.take().unwrap();
        assert_eq!(device.was_indirect(), n <= table);
        let seen: Vec<_> = chain[1..].iter().map(|s| (s.paddr, s.len)).collect();
        assert!(
            seen.iter()
                .copied()
                .eq(parts.iter().map(|p| (p.paddr, p.len)))
        );
        assert!(chain.iter().all(|s| s.writable));
        device.complete(head.into(), 13);
        assert_eq!(queue.pop().unwrap().map(|u| u.token), Some(n));
    }
    assert_eq!(queue.free(), 16);
}

#[test]
fn no_chain_is_longer_than_its_queue() {
    // A table of four beside a queue of two (virtio 1.2, 2.7.5.3.1).
    let (mut queue, mut device, _) = bench(2, false, true);
    let mut add = |n| queue.add_to_read([0; 2], pieces(n).into_iter(), 0);
    assert_eq!(add(0), Err(AddError::Empty));
    assert_eq!(add(2), Err(AddError::Full));
    assert_eq!(add(3), Err(AddError::Full));
    assert_eq!((add(1), add(1)), (Ok(()), Ok(())));
    assert_eq!(add(1), Err(AddError::Full));
    let _ = queue.publish();
    assert!(device.take().is_some_and(|(_, chain)| chain.len() == 2));
    let mut plain = VirtQueue::<16>::new(memory(512), 4, false).unwrap();
    let refused = plain.add_to_write(pieces(1).into_iter(), 0);
    assert_eq!(refused, Err(AddError::NoCells));
    let (mut reads, _, _) = bench(4, false, true);
    let refused = reads.add_to_write(pieces(1).into_iter(), 0);
    assert_eq!(refused, Err(AddError::NoCells), "the other direction");
    assert!(plain.header(0).is_none());
    assert_eq!(plain.free(), 4);
}

#[test]
fn headers_are_found_by_the_head_that_came_back() {
    let (mut queue, mut device, cells) = bench(4, true, true);
    for token in 0..4 {
        queue.add_to_write(pieces(2).into_iter(), token).unwrap();
    }
    let _ = queue.publish();
    let taken: Vec<_> = std::iter::from_fn(|| device.take()).collect();
    for (n, (head, chain)) in taken.into_iter().enumerate().rev() {
        let at = (chain[0].paddr - cells.paddr) as usize;
        cells.memory.store32(at, 70 + n as u32).unwrap();
        device.complete(head.into(), 50);
        let used = queue.pop().unwrap().unwrap();
        let [first, _] = queue.header(used.head).unwrap();
        let word = first.load(core::sync::atomic::Ordering::Relaxed);
        assert_eq!((word as u32, used.token), (70 + n as u32, n as u32));
    }
}

#[test]
fn lies_about_tables_are_named() {
    let (mut queue, mut device, cells) = bench(8, true, true);
    for token in 7..10 {
        queue.add_to_write(pieces(2).into_iter(), token).unwrap();
    }
    let _ = queue.publish();
    let (head, _) = device.take().unwrap();
    // Whatever it writes to the tables, the room is as we know it.
    for word in 0..cells.memory.len() / 4 {
        cells.memory.store32(4 * word, u32::MAX).unwrap();
    }
    device.complete(head.into(), 12 + 201 + 1);
    let error = DeviceError::TooLong {
        token: 7,
        len: 214,
        room: 213,
    };
    assert_eq!(queue.pop(), Err(error));
    device.complete(head.into(), 1);
    assert_eq!(queue.pop(), Err(DeviceError::NotInFlight(head)));
    device.complete(u32::from(head) + 1, 213);
    let used = queue.pop().unwrap().unwrap();
    assert_eq!((used.token, used.len), (8, 213));
}

#[test]
fn what_the_device_reads_has_no_room() {
    let (mut queue, mut device, _) = bench(8, false, true);
    queue.add_to_read([0; 2], pieces(2).into_iter(), 9).unwrap();
    let _ = queue.publish();
    device.complete(0, 1);
    let error = DeviceError::TooLong {
        token: 9,
        len: 1,
        room: 0,
    };
    assert_eq!(queue.pop(), Err(error));
}

#[test]
fn room_beyond_32_bits_is_cut_not_wrapped() {
    let (mut queue, mut device, _) = bench(8, true, true);
    let huge = [Piece {
        paddr: 0,
        len: u32::MAX,
    }; 2];
    queue.add_to_write(huge.into_iter(), 1).unwrap();
    let _ = queue.publish();
    device.complete(0, u32::MAX);
    assert!(queue.pop().is_ok());
}

#[test]
fn the_chain_taken_last_can_be_added_again() {
    for indirect in [true, false] {
        let (mut queue, mut device, _) = bench(8, true, indirect);
        assert_eq!(queue.add_again(), Err(AddError::Empty));
        queue.add_to_write(pieces(2).into_iter(), 3).unwrap();
        queue.add_to_write(pieces(1).into_iter(), 4).unwrap();
        let _ = queue.publish();
        let (_, second) = (device.take().unwrap(), device.take().unwrap());
        let free = queue.free();
        // Once after a completion, once after one that lies about its length.
        for len in [9, 5000] {
            device.complete(second.0.into(), len);
            assert_eq!(queue.pop().is_ok(), len == 9);
            queue.add_again().unwrap();
            assert_eq!(queue.add_again(), Err(AddError::Empty), "once only");
            let _ = queue.publish();
            assert_eq!(device.take().as_ref(), Some(&second));
            assert_eq!(queue.free(), free);
        }
        device.complete(second.0.into(), 10);
        assert_eq!(
            queue.pop().unwrap().map(|u| (u.token, u.len)),
            Some((4, 10))
        );
        queue.add_to_write(pieces(1).into_iter(), 5).unwrap();
        assert_eq!(queue.add_again(), Err(AddError::Empty), "its cell is taken");
    }
}

/// What a device that keeps no promise does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u32),
    Complete(u32, u32),
    Scribble(u32, u32),
    Pop(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u32..7).prop_map(Step::Add),
        4 => (0u32..20, 0u32..800).prop_map(|(id, len)| Step::Complete(id, len)),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(at, word)| Step::Scribble(at, word)),
        4 => any::<bool>().prop_map(Step::Pop),
    ]
}

fn run(steps: &[Step], indirect: bool) {
    let (mut queue, mut device, cells) = bench(8, true, indirect);
    // Chains in flight by token: descriptors and room.
    let mut flying = BTreeMap::<u32, (usize, u32)>::new();
    let (mut tokens, mut claimed) = (0, 0);
    for &step in steps {
        match step {
            Step::Add(n) => {
                let parts = pieces(n);
                let needs = queue.descriptors_for(parts.len());
                let room = HEADER + parts.iter().map(|p| p.len).sum::<u32>();
                if queue.add_to_write(parts.into_iter(), tokens).is_ok() {
                    flying.insert(tokens, (needs, room));
                    tokens += 1;
                    claimed += 1;
                }
                let _ = queue.publish();
            }
            // One completion for each chain, or the index would jump.
            Step::Complete(id, len) if claimed != 0 => {
                claimed -= 1;
                device.complete(id, len);
            }
            Step::Complete(..) => {}
            Step::Scribble(at, word) => {
                let words = cells.memory.len() as u32 / 4;
                cells
                    .memory
                    .store32(4 * (at % words) as usize, word)
                    .unwrap();
            }
            Step::Pop(again) => {
                if pop(&mut queue, &mut flying, again) {
                    claimed += 1;
                }
            }
        }
        let used: usize = flying.values().map(|f| f.0).sum();
        assert_eq!(usize::from(queue.free()), 8 - used);
    }
}

/// Takes a chain back and perhaps adds it again; whether it did.
fn pop(
    queue: &mut VirtQueue<16, CELL>,
    flying: &mut BTreeMap<u32, (usize, u32)>,
    again: bool,
) -> bool {
    let (token, len, fits) = match queue.pop() {
        Ok(None) => return false,
        Ok(Some(used)) => (used.token, used.len, true),
        Err(DeviceError::TooLong { token, len, .. }) => (token, len, false),
        Err(DeviceError::IndexJump { .. }) => panic!("no jump"),
        Err(_) => {
            assert_eq!(queue.add_again(), Err(AddError::Empty));
            return false;
        }
    };
    let was = flying.remove(&token).expect("a chain in flight");
    assert_eq!(len <= was.1, fits);
    if again {
        queue.add_again().unwrap();
        flying.insert(token, was);
        let _ = queue.publish();
    }
    again
}

proptest! {
    #[test]
    fn whatever_the_device_says_headed_chains_balance(
        steps in prop::collection::vec(step(), 1..200),
        indirect: bool,
    ) {
        run(&steps, indirect);
    }
}
