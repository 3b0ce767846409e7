//! Input techniques, one by one.

use data_passing::{Fault, PassingError};
use socket_api::{Semantics, Technique};

use crate::bench::{Bench, Spent, pages};
use crate::platform::{LARGE, PAGE, SMALL};
use crate::program::mapping;

const STOCK: (bool, bool) = (false, false);
const EARLY: (bool, bool) = (false, true);

/// Receives `len` bytes by page swap, at an offset; what it cost.
fn swap(offset: u32, len: u32) -> (Spent, u64) {
    let mut bench = Bench::new(1, SMALL);
    let whole = bench.extent(0, pages(4));
    let mut expected = bench.load(whole);
    let extent = bench.extent(offset, pages(3));
    let input = bench.input(extent, Semantics::EmulatedCopy, Technique::Swap, EARLY);
    let mut input = input.expect("legal");
    let bytes = bench.arriving(len);
    assert_eq!(bench.deliver_posted(&mut input, &bytes), Ok(()));
    bench.memory().end_input(input);
    expected[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    assert_eq!(bench.load(whole), expected);
    assert_eq!(bench.memory().reserve(), 32);
    (bench.spent(), bench.account().copied_reverse)
}

fn swapped(count: u64, copied: u32) -> Spent {
    Spent {
        mapped: count,
        unmapped: count,
        copied: copied.into(),
        ..Spent::default()
    }
}

#[test]
fn whole_pages_change_places() {
    assert_eq!(swap(0, pages(3)), (swapped(3, 0), 0));
}

#[test]
fn a_last_page_filled_by_half_is_copied() {
    assert_eq!(swap(0, PAGE + 2048), (swapped(1, 2048), 0));
}

#[test]
fn a_last_page_filled_by_more_is_completed_and_swapped() {
    assert_eq!(swap(0, PAGE + 2049), (swapped(2, 2047), 2047));
}

#[test]
fn frames_are_aligned_as_the_room_is() {
    // 2996 bytes of the first page are completed, 1000 of the last copied.
    let (first, last) = (PAGE - 1100, 1000);
    let spent = swap(1100, first + PAGE + last);
    assert_eq!(spent, (swapped(2, 1100 + last), 1100));
}

#[test]
fn in_place_costs_nothing_once_warm() {
    for (semantics, region, blocked) in [
        (Semantics::EmulatedShare, SMALL, false),
        (Semantics::Share, LARGE, false),
        (Semantics::EmulatedWeakMove, SMALL, false),
        (Semantics::EmulatedCopy, SMALL, true),
        (Semantics::EmulatedCopy, LARGE, true),
    ] {
        let mut bench = Bench::new(0, region);
        let extent = bench.extent(0, pages(2));
        for _ in 0..2 {
            let mut input = bench
                .input(extent, semantics, None, (blocked, true))
                .expect("legal");
            assert_eq!(input.technique(), Technique::InPlace);
            let bytes = bench.arriving(PAGE + 9);
            assert_eq!(bench.deliver_posted(&mut input, &bytes), Ok(()));
            bench.memory().end_input(input);
            assert!(bench.load(extent).starts_with(&bytes));
        }
        assert_eq!(bench.spent(), Spent::default());
    }
}

#[test]
fn a_region_comes_back_filled() {
    for (region, count) in [(SMALL, 3), (LARGE, 1)] {
        for early in [false, true] {
            let mut bench = Bench::new(1, region);
            let extent = bench.extent(0, pages(2) + 7);
            let mut expected = bench.load(extent);
            let output = bench.output(extent, Semantics::EmulatedMove, None, false);
            bench.platform.memory.end_output(output.expect("legal"));
            assert_eq!(bench.spent().unmapped, count);
            let input = bench.input(extent, Semantics::EmulatedMove, None, (false, early));
            let mut input = input.expect("legal");
            let bytes = bench.arriving(PAGE + 1);
            let (delivered, copied) = match early {
                true => (bench.deliver_posted(&mut input, &bytes), 0),
                false => (bench.deliver(&mut input, &bytes), PAGE + 1),
            };
            assert_eq!(delivered, Ok(()));
            assert!(!bench.can_load(extent), "not before it ends");
            bench.memory().end_input(input);
            expected[..bytes.len()].copy_from_slice(&bytes);
            assert_eq!(bench.load(extent), expected);
            let spent = Spent {
                mapped: count,
                copied: copied.into(),
                ..Spent::default()
            };
            assert_eq!(bench.spent(), spent);
        }
    }
}

#[test]
fn a_new_region_is_zero_behind_what_was_received() {
    for early in [false, true] {
        for gone in [false, true] {
            let mut bench = Bench::new(1, SMALL);
            let extent = bench.extent(0, pages(3));
            if gone {
                let output = bench.output(extent, Semantics::Move, None, false);
                bench.platform.memory.end_output(output.expect("legal"));
            }
            let input = bench.input(extent, Semantics::Move, None, (false, early));
            let mut input = input.expect("legal");
            let mut bytes = bench.arriving(PAGE + 1);
            let delivered = match early {
                true => bench.deliver_posted(&mut input, &bytes),
                false => bench.deliver(&mut input, &bytes),
            };
            assert_eq!(delivered, Ok(()));
            bench.memory().end_input(input);
            bytes.resize(pages(2) as usize, 0);
            let filled = bench.extent(0, pages(2));
            assert_eq!(bench.load(filled), bytes);
            let third = bench.extent(pages(2), 1);
            assert_eq!(bench.can_load(third), !gone, "it was not reached");
            let reserve = bench.memory().reserve();
            assert_eq!(reserve, 32 + u32::from(gone));
        }
    }
}

#[test]
fn what_is_being_sent_gets_out_of_the_way() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(2));
    let before = bench.load(extent);
    let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    let output = output.expect("legal");
    let mut input = bench
        .input(extent, Semantics::Copy, None, STOCK)
        .expect("legal");
    let bytes = bench.arriving(PAGE + 1);
    bench.spent();
    assert_eq!(bench.deliver(&mut input, &bytes), Ok(()));
    // The first page is written as a whole, the second is completed.
    assert_eq!(bench.spent(), swapped(2, 2 * PAGE));
    assert_eq!(bench.sent(&output), before);
    assert!(bench.load(extent).starts_with(&bytes));
    bench.memory().end_input(input);
    bench.memory().end_output(output);
    assert_eq!(bench.memory().reserve(), 32);
}

#[test]
fn cancelling_leaves_the_clients_bytes() {
    for (semantics, technique) in [
        (Semantics::Share, Technique::InPlace),
        (Semantics::EmulatedCopy, Technique::Swap),
        (Semantics::EmulatedMove, Technique::Reinstate),
    ] {
        let mut bench = Bench::new(1, SMALL);
        let extent = bench.extent(0, pages(2));
        let before = bench.load(extent);
        let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
        let input = bench
            .input(extent, semantics, technique, EARLY)
            .expect("legal");
        bench.memory().end_input(input);
        assert_eq!(bench.load(extent), before, "{technique}");
        bench.memory().end_output(output.expect("legal"));
    }
}

#[test]
fn large_pages_are_kept_apart_by_byte() {
    let mut bench = Bench::new(0, LARGE);
    let sent = bench.extent(100, pages(2));
    let output = bench.output(sent, Semantics::EmulatedCopy, Technique::Reference, true);
    let output = output.expect("blocked");
    let before = bench.sent(&output);
    let beside = bench.extent(100 + pages(2), PAGE);
    let mut input = bench
        .input(beside, Semantics::Copy, None, STOCK)
        .expect("other bytes");
    let bytes = bench.arriving(PAGE);
    assert_eq!(bench.deliver(&mut input, &bytes), Ok(()));
    bench.memory().end_input(input);
    let over = bench.extent(pages(2) + 99, PAGE);
    for semantics in [Semantics::Copy, Semantics::Share] {
        let refused = bench.input(over, semantics, None, EARLY);
        assert_eq!(refused.err(), Some(PassingError::Extent));
    }
    assert_eq!(bench.sent(&output), before);
    bench.memory().end_output(output);
    // The other way round, what is sent is copied.
    let input = bench
        .input(over, Semantics::Copy, None, STOCK)
        .expect("nothing is sent");
    let output = bench
        .output(sent, Semantics::EmulatedCopy, None, true)
        .expect("legal");
    assert_eq!(output.technique(), Technique::CopyOut);
    bench.memory().end_output(output);
    bench.memory().end_input(input);
}

#[test]
fn a_large_region_on_its_way_out_cannot_be_filled() {
    let mut bench = Bench::new(1, LARGE);
    let sent = bench.extent(0, PAGE);
    let output = bench
        .output(sent, Semantics::EmulatedMove, None, false)
        .expect("legal");
    let refused = bench.input(sent, Semantics::EmulatedMove, None, STOCK);
    assert_eq!(refused.err(), Some(PassingError::Extent));
    assert_eq!(bench.memory().fault(1, sent.address, true), Fault::NotOurs);
    bench.memory().end_output(output);
    let input = bench
        .input(sent, Semantics::EmulatedMove, None, STOCK)
        .expect("legal");
    bench.memory().end_input(input);
    assert!(bench.can_load(sent));
}

#[test]
fn a_swap_leaves_pages_that_a_device_writes_to() {
    let mut bench = Bench::new(1, SMALL);
    let (low, high) = (bench.extent(0, 1000), bench.extent(1000, 3096));
    let mut in_place = bench
        .input(low, Semantics::Share, None, EARLY)
        .expect("legal");
    let input = bench.input(high, Semantics::EmulatedCopy, Technique::Swap, EARLY);
    let mut input = input.expect("legal");
    let bytes = bench.arriving(3096);
    assert_eq!(bench.deliver_posted(&mut input, &bytes), Ok(()));
    assert_eq!(bench.deliver_posted(&mut in_place, &bytes[..1000]), Ok(()));
    assert_eq!(bench.load(low), bytes[..1000]);
    assert_eq!(bench.load(high), bytes);
    bench.memory().end_input(input);
    bench.memory().end_input(in_place);
}

#[test]
fn a_region_is_filled_by_one_input_at_a_time() {
    let mut bench = Bench::new(1, SMALL);
    let (first, second) = (bench.extent(0, PAGE + 1), bench.extent(PAGE, PAGE));
    let input = bench
        .input(first, Semantics::EmulatedMove, None, STOCK)
        .expect("legal");
    let refused = bench.input(second, Semantics::Move, None, EARLY);
    assert_eq!(refused.err(), Some(PassingError::NotMapped));
    bench.memory().end_input(input);
    assert_eq!(bench.spent(), swapped(2, 0));
}

#[test]
fn what_page_operations_cost_decides() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(4));
    for (costs, expected) in [
        (mapping(1, 1), Technique::CopyIn),
        (mapping(1, 10), Technique::Swap),
        (mapping(10, 1), Technique::CopyIn),
    ] {
        bench.memory().set_costs(costs);
        let input = bench
            .input(extent, Semantics::EmulatedCopy, None, EARLY)
            .expect("legal");
        assert_eq!(input.technique(), expected);
        bench.memory().end_input(input);
    }
}
