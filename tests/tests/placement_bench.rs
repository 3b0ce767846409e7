//! A few cases of `cargo ioipc bench placement` from end to end: the figures are
//! of the bytes that were really on the wire, and of the system that was asked
//! for.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::path::Path;

use cargo_ioipc::bench::MIN_RUNS;
use cargo_ioipc::bench::placement::record::{
    Case, Passing, Pattern, Placement, Protocol, Record, Row,
};
use cargo_ioipc::bench::placement::{Measured, PlacementBench, placement_of, ratios};
use emulator_tests::capture::payload;
use emulator_tests::wire::GUEST;

/// Port of the loads in the system.
const LOADS: u16 = 21;
/// Bursts of a case before its runs.
const FIRST: u64 = 3;
const LARGE: u32 = 60 << 10;

/// What is measured of each placement: datagrams there and back and one way, and
/// a stream.
const LOAD: [(Protocol, Pattern, u32, u32); 3] = [
    (Protocol::Udp, Pattern::Echo, 1400, 64),
    (Protocol::Udp, Pattern::Out, LARGE, 1),
    (Protocol::Tcp, Pattern::In, LARGE, 1),
];

fn is_wanted(case: &Case) -> bool {
    LOAD.contains(&(case.protocol, case.pattern, case.bytes, case.outstanding))
}

fn measure(passing: Passing, captures: &Path) -> Measured {
    let bench = PlacementBench {
        quick: true,
        passings: vec![passing],
        captures: Some(captures.to_path_buf()),
        ..PlacementBench::default()
    };
    placement_of(&bench, is_wanted).unwrap_or_else(|e| panic!("{e}"))
}

fn row(record: &Record, placement: Placement, pattern: Pattern) -> &Row {
    let rows = &mut record.rows.iter();
    let fits = |row: &&Row| (row.case.placement, row.case.pattern) == (placement, pattern);
    rows.find(fits)
        .unwrap_or_else(|| panic!("no row of {pattern:?}"))
}

/// Payload bytes of all of a case's bursts, one way.
fn moved(row: &Row) -> u64 {
    let bursts = FIRST + bursts(row);
    bursts * u64::from(row.case.outstanding * row.case.bytes)
}

fn bursts(row: &Row) -> u64 {
    MIN_RUNS as u64 * row.operations / u64::from(row.case.outstanding)
}

/// Holds the bytes that the record speaks of against the emulator's capture.
fn assert_on_wire(record: &Record, placement: Placement, capture: &Path) {
    let [echo, out, into] =
        [Pattern::Echo, Pattern::Out, Pattern::In].map(|way| row(record, placement, way));
    let from = payload(capture, GUEST);
    let confirmed = 8 * (FIRST + bursts(into));
    assert_eq!(from.streams[&LOADS], confirmed);
    let answers = |row: &&Row| ("ready".len() + format!("done {}", moved(row)).len()) as u64;
    let talk: u64 = [echo, out, into].iter().map(answers).sum();
    // On a slow host some bytes may be sent again before they are acknowledged.
    let once = from.bytes - from.again;
    assert_eq!(once, moved(echo) + moved(out) + confirmed + talk);
    let to = payload(capture, "10.0.2.2".parse().unwrap());
    assert_eq!(to.streams.values().sum::<u64>(), moved(into));
    // Words that ask for bursts, the two that end flows, three orders.
    let asked = 8 * (FIRST + bursts(out)) + 2 * 8;
    let orders = to.bytes - moved(echo) - moved(into) - asked;
    assert!((45..=90).contains(&orders), "{orders} bytes of orders");
}

#[test]
fn figures_are_of_the_bytes_on_the_wire() {
    let captures = tempfile::tempdir().unwrap();
    let measured = measure(Passing::EmulatedCopy, captures.path());
    println!("{measured}");
    let record = &measured.record;
    assert_eq!(record.rows.len(), 2 * LOAD.len());
    for (placement, name) in [(Placement::Kernel, "kernel"), (Placement::User, "user")] {
        let capture = captures.path().join(format!("{name}-io.pcap"));
        assert_on_wire(record, placement, &capture);
        // In to a slot, out of it, in to another; or by reference; or once.
        let copied = |way| row(record, placement, way).copied;
        assert_eq!(copied(Pattern::Echo), 3.0 * 1400.0);
        assert_eq!(copied(Pattern::Out), 8.0);
        assert_eq!(copied(Pattern::In), f64::from(LARGE) + 8.0);
        assert!(record.idle.contains_key(&format!("{name}/io")));
    }
    for row in &record.rows {
        assert_eq!(row.page_operations, 0.0, "{row:?}");
        // Nobody is woken but by a system call, as the emulator counts them.
        assert!(row.crossings <= row.system_calls, "{row:?}");
        assert!(row.kernel.median < row.instructions.median, "{row:?}");
    }
    let crossings = |placement| row(record, placement, Pattern::Out).crossings;
    assert!(crossings(Placement::Kernel) < crossings(Placement::User));
    assert_eq!(ratios::checks(record).len(), 3);
    assert!(measured.peer_share < 0.9, "the peer is the bottleneck");
}

#[test]
fn conventional_messages_copy_twice_each_way() {
    let captures = tempfile::tempdir().unwrap();
    let measured = measure(Passing::Conventional, captures.path());
    for placement in [Placement::Kernel, Placement::User] {
        let copied = |way| row(&measured.record, placement, way).copied;
        assert!(copied(Pattern::Out) >= f64::from(LARGE));
        assert!(copied(Pattern::In) >= f64::from(LARGE));
    }
}
