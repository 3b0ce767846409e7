//! Blocks neither overlap nor get lost.

use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;
use zerocopy::FromZeros;

struct Memory(usize);

impl Platform for Memory {
    fn control(&self) -> shared_ring::SharedMemory {
        shared_ring::SharedMemory::from_static(&mut [])
    }
    fn data(&self) -> Extent {
        Extent {
            address: 0x4000_0000,
            len: self.0 as u32,
        }
    }
    fn region(&self) -> Option<Region> {
        let memory = vec![0u64; self.0 / 8].into_boxed_slice();
        Some(Region::from_static(Box::leak(memory)))
    }
    fn quota(&self) -> crate::Quota {
        crate::Quota {
            sockets: 0,
            requests: 0,
            queued_bytes: 0,
        }
    }
    fn signal_manager(&self) {}
    fn now_ns(&self) -> u64 {
        0
    }
    fn resolution_ns(&self) -> u64 {
        1
    }
    fn wait(&self, _: usize, _: bool, _: Option<u64>) {}
    fn wake(&self, _: usize) {}
    fn yield_now(&self) {}
}

fn buffers(bytes: usize, units: usize) -> Buffers {
    let marks = Box::leak(vec![0u64; units.div_ceil(64)].into_boxed_slice());
    let units = Box::leak(vec![UnitRecord::new_zeroed(); units].into_boxed_slice());
    let memory: &'static Memory = Box::leak(Box::new(Memory(bytes)));
    Buffers::new(memory, memory.region(), units, marks)
}

#[test]
fn sizes_fall_into_classes() {
    let b = buffers(1 << 20, 512);
    let sizes = [0, 1, 2048, 2049, 4096, 65536, 65537, 4 << 20, (4 << 20) + 1];
    let right = [0, 0, 0, 1, 1, 5, 6, 11].map(Some);
    let classes = sizes.map(|len| b.order_for(len));
    assert_eq!((&classes[..8], classes[8]), (&right[..], None));
}

#[test]
fn few_records_make_larger_units() {
    let b = buffers(1 << 20, 100);
    assert_eq!((b.bytes(0), b.total_units()), (16384, 64));
}

#[test]
fn blocks_without_pages_stand_aside() {
    let mut b = buffers(1 << 20, 512);
    let unit = b.alloc(1).unwrap();
    b.settle(unit, 1, Standing::Absent);
    assert_eq!(b.free_units(), 510);
    assert_eq!(b.take_aside(1, Standing::Hidden), None);
    assert_eq!(b.take_aside(2, Standing::Absent), None);
    assert_eq!(b.take_aside(1, Standing::Absent), Some(unit));
    assert_eq!(b.take_aside(1, Standing::Absent), None);
    // Neither does one of which only the beginning is there come back.
    b.settle(unit, 1, Standing::Partial);
    assert_eq!(b.free_units(), 510);
    assert_eq!(b.take_aside(1, Standing::Absent), Some(unit));
    b.settle(unit, 1, Standing::Mapped);
    assert_eq!(b.free_units(), 512);
}

#[test]
fn a_block_that_is_lent_is_not_copied_to() {
    let mut b = buffers(1 << 20, 512);
    let (one, two) = (b.alloc(1).unwrap(), b.alloc(0).unwrap());
    let mut lease = b.lend(one, 1).unwrap();
    lease.bytes_mut()[4095] = 5;
    assert!(!b.fill(one, 4095, &[1]) && b.fill(two, 2047, &[1]));
    assert!(b.lend(one, 0).is_none());
    b.take_back(lease);
    let mut byte = [0];
    assert!(b.take(one, 4095, &mut byte) && byte == [5]);
    assert_eq!(b.extent(one, 8, 9).address, 0x4000_0000 + 2048 * one + 8);
}

proptest! {
    #[test]
    fn buffers_never_overlap_and_all_come_back(
        steps in proptest::collection::vec((0u16..6, any::<u16>(), any::<bool>()), 1..400),
        units in 40usize..100,
    ) {
        let mut b = buffers(units * 2048, units);
        let mut held: Vec<(u32, u16)> = Vec::new();
        for (order, which, release) in steps {
            if release && !held.is_empty() {
                let (unit, order) = held.swap_remove(which as usize % held.len());
                b.free(unit, order);
            } else if let Some(unit) = b.alloc(order) {
                let span = |u: u32, o: u16| u..u + (1 << o);
                let new = span(unit, order);
                prop_assert!(new.end as usize <= units);
                for (u, o) in &held {
                    let old = span(*u, *o);
                    prop_assert!(new.end <= old.start || old.end <= new.start);
                }
                held.push((unit, order));
            }
            let used: u32 = held.iter().map(|(_, o)| 1 << o).sum();
            prop_assert_eq!(b.free_units() + used, units as u32);
        }
        for (unit, order) in held {
            b.free(unit, order);
        }
        // Everything merges again: as many large blocks as at first.
        b.merge_kept();
        let large = core::iter::from_fn(|| b.alloc(5)).count();
        prop_assert_eq!(large, units / 32);
    }
}
