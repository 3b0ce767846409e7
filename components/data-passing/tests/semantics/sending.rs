//! Output techniques, one by one.

use data_passing::{Costs, Fault, PassingError};
use socket_api::{Semantics, Technique};

use crate::bench::{Bench, Spent, pages};
use crate::platform::{LARGE, LARGE_PAGE, PAGE, READ_ONLY, SMALL};
use crate::program::mapping;

const NOTHING: Spent = Spent {
    mapped: 0,
    unmapped: 0,
    protected: 0,
    copied: 0,
    cleared: 0,
};

#[test]
fn a_write_to_a_page_being_sent_copies_it_once() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(2));
    let before = bench.load(extent);
    let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    let output = output.expect("legal");
    assert_eq!(
        bench.spent(),
        Spent {
            protected: 2,
            ..NOTHING
        }
    );
    assert_eq!(bench.store(extent, b"new"), [Fault::Resolved]);
    assert_eq!(bench.store(extent, b"newer"), [], "it has its own page now");
    let copied = Spent {
        mapped: 1,
        unmapped: 1,
        copied: PAGE.into(),
        ..NOTHING
    };
    assert_eq!(bench.spent(), copied);
    assert_eq!(bench.sent(&output), before);
    assert!(bench.load(extent).starts_with(b"newer"));
    let reserve = bench.memory().reserve();
    bench.memory().end_output(output);
    assert_eq!(bench.memory().reserve(), reserve + 1, "the old frame");
    let account = bench.account();
    assert_eq!((account.faults_copied, account.faults_restored), (1, 0));
}

#[test]
fn what_is_booked_on_an_account_is_news_once() {
    let client = 1;
    let mut bench = Bench::new(client, SMALL);
    assert_eq!(bench.memory().account_with_news(client), None);
    let extent = bench.extent(0, pages(2));
    let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    let news = bench.memory().account_with_news(client).copied();
    assert_eq!(news, Some(bench.account()), "two pages are protected");
    assert_eq!(bench.memory().account_with_news(client), None);
    assert_eq!(bench.store(extent, b"new"), [Fault::Resolved]);
    let news = bench.memory().account_with_news(client);
    assert_eq!(news.map(|account| account.faults_copied), Some(1));
    bench.memory().end_output(output.expect("legal"));
}

#[test]
fn a_write_after_the_end_restores_access() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(2));
    let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    bench.platform.memory.end_output(output.expect("legal"));
    assert_eq!(
        bench.spent(),
        Spent {
            protected: 2,
            ..NOTHING
        }
    );
    // Sent again, unchanged: nothing to do.
    let again = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    bench.platform.memory.end_output(again.expect("legal"));
    assert_eq!(bench.spent(), NOTHING);
    let whole = vec![1; pages(2) as usize];
    assert_eq!(bench.store(extent, &whole), [Fault::Resolved; 2]);
    assert_eq!(
        bench.spent(),
        Spent {
            protected: 2,
            ..NOTHING
        }
    );
    assert_eq!(bench.account().faults_restored, 2);
}

#[test]
fn a_fault_waits_for_a_frame() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, PAGE);
    let output = bench.output(extent, Semantics::EmulatedCopy, Technique::Tcow, false);
    let all = bench.extent(pages(0), pages(32));
    let fill = bench
        .output(all, Semantics::Copy, None, false)
        .expect("32 frames");
    assert_eq!(bench.store(extent, b"x"), [Fault::Busy]);
    assert_eq!(bench.account().faults_copied, 0);
    bench.memory().end_output(fill);
    assert_eq!(bench.store(extent, b"x"), [Fault::Resolved]);
    bench.memory().end_output(output.expect("legal"));
}

#[test]
fn a_blocked_caller_costs_nothing_at_all() {
    for region in [SMALL, LARGE, READ_ONLY] {
        let mut bench = Bench::new(0, region);
        let extent = bench.extent(77, pages(2));
        let before = bench.load(extent);
        let output = bench.output(extent, Semantics::EmulatedCopy, None, true);
        let mut output = output.expect("legal");
        assert_eq!(output.technique(), Technique::Reference);
        assert_eq!(output.is_exposed(), region != READ_ONLY);
        assert_eq!(bench.sent(&output), before);
        assert_eq!(bench.spent(), NOTHING);
        bench
            .memory()
            .hold_back(&mut output, pages(1))
            .expect("frames");
        assert!(!output.is_exposed());
        assert!(!output.pieces(pages(1) - 1, 1, |_, _| ()), "it is gone");
        assert_eq!(bench.spent().copied, PAGE.into());
        bench.memory().end_output(output);
    }
}

#[test]
fn weak_outputs_see_changes_and_cost_nothing() {
    for (semantics, region) in [
        (Semantics::Share, SMALL),
        (Semantics::EmulatedShare, LARGE),
        (Semantics::WeakMove, SMALL),
        (Semantics::EmulatedWeakMove, LARGE),
    ] {
        let mut bench = Bench::new(1, region);
        let extent = bench.extent(0, pages(3));
        for _ in 0..2 {
            let output = bench.output(extent, semantics, None, false).expect("legal");
            assert_eq!(bench.store(extent, b"seen"), []);
            assert!(bench.sent(&output).starts_with(b"seen"));
            bench.memory().end_output(output);
        }
        assert_eq!(bench.spent(), NOTHING);
    }
}

#[test]
fn moved_pages_are_gone_at_once() {
    for (semantics, region, pages_each) in [
        (Semantics::Move, SMALL, 3),
        (Semantics::EmulatedMove, SMALL, 3),
        (Semantics::EmulatedMove, LARGE, 1),
    ] {
        let mut bench = Bench::new(1, region);
        let extent = bench.extent(0, pages(2) + 1);
        let before = bench.load(extent);
        let output = bench.output(extent, semantics, None, false).expect("legal");
        let spent = Spent {
            unmapped: pages_each,
            ..NOTHING
        };
        assert_eq!(bench.spent(), spent);
        assert!(!bench.can_load(extent));
        assert_eq!(
            bench.memory().fault(1, extent.address, false),
            Fault::NotOurs
        );
        assert_eq!(bench.sent(&output), before);
        let again = bench.output(extent, Semantics::Copy, None, false);
        assert_eq!(again.err(), Some(PassingError::NotMapped));
        let reserve = bench.memory().reserve();
        bench.memory().end_output(output);
        let freed = if semantics == Semantics::Move { 3 } else { 0 };
        assert_eq!(bench.memory().reserve(), reserve + freed);
    }
}

#[test]
fn unaligned_regions_and_large_removals_are_refused() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(8, PAGE);
    let refused = bench.output(extent, Semantics::Move, None, false);
    assert_eq!(refused.err(), Some(PassingError::Technique));
    let mut bench = Bench::new(1, LARGE);
    let extent = bench.extent(0, LARGE_PAGE);
    let refused = bench.output(extent, Semantics::Move, None, false);
    assert_eq!(refused.err(), Some(PassingError::Technique));
    assert_eq!(bench.spent(), NOTHING);
}

#[test]
fn what_page_operations_cost_decides() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(4));
    let mut technique = |costs: Costs| {
        bench.memory().set_costs(costs);
        let output = bench.output(extent, Semantics::EmulatedCopy, None, false);
        let output = output.expect("legal");
        let technique = output.technique();
        bench.memory().end_output(output);
        technique
    };
    assert_eq!(technique(mapping(1, 1)), Technique::CopyOut);
    assert_eq!(technique(mapping(1, 10)), Technique::Tcow);
    // Known to be left alone, and protected still.
    assert_eq!(technique(mapping(1, 1)), Technique::Tcow);
    assert_eq!(technique(mapping(10, 1)), Technique::Tcow);
}

#[test]
fn pages_that_are_written_to_are_copied_again() {
    let mut bench = Bench::new(1, SMALL);
    let extent = bench.extent(0, pages(4));
    bench.memory().set_costs(mapping(1, 2));
    let mut chosen = Vec::new();
    for _ in 0..3 {
        let output = bench.output(extent, Semantics::EmulatedCopy, None, false);
        let output = output.expect("legal");
        chosen.push(output.technique());
        bench.memory().end_output(output);
        bench.store(extent, &vec![7; extent.len as usize]);
    }
    let copied = bench.output(extent, Semantics::EmulatedCopy, Technique::CopyOut, false);
    assert_eq!(chosen[0], Technique::CopyOut, "{chosen:?}");
    bench.memory().end_output(copied.expect("legal"));
}

#[test]
fn without_a_reserve_pages_are_protected() {
    let mut bench = Bench::new(1, SMALL);
    let all = bench.extent(0, pages(32));
    let fill = bench
        .output(all, Semantics::Copy, None, false)
        .expect("32 frames");
    let extent = bench.extent(0, PAGE);
    let output = bench.output(extent, Semantics::EmulatedCopy, None, false);
    let output = output.expect("legal without a frame");
    assert_eq!(output.technique(), Technique::Tcow);
    let refused = bench.output(extent, Semantics::Copy, None, false);
    assert_eq!(refused.err(), Some(PassingError::NoFrames));
    bench.memory().end_output(output);
    bench.memory().end_output(fill);
}
