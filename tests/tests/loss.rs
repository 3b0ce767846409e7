//! On a wire that loses frames, every byte arrives all the same.
//!
//! The relay cuts the emulator's own network open, so this needs no permission
//! of anybody; how fast it is `cargo ioipc bench loss` measures.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use cargo_ioipc::Options;
use echo_load::tcp_bulk;
use emulator_tests::{Booted, in_both_placements, options, system};

/// Bytes each way.
const BYTES: u64 = 300_000;

fn a_stream_loses_nothing_where_frames_are_lost() {
    let options = Options {
        wire: Some("loss=3%,delay=10ms,seed=1".parse().unwrap()),
        ..options(system("echo"))
    };
    let mut system = Booted::new(&options);
    let outcome = tcp_bulk(system.tcp(7), 60 << 10, BYTES).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
    let tally = system.running.tally().unwrap();
    for counts in [tally.there, tally.back] {
        assert!(counts.lost > 0 && counts.passed > BYTES / 1500, "{tally:?}");
        assert_eq!(counts.no_room, 0, "{tally:?}");
    }
    let counters = system.numbers("counters");
    assert_eq!(counters["net.drop_bad_checksum"], 0, "{counters:#?}");
}

in_both_placements! {
    a_stream_loses_nothing_where_frames_are_lost,
}
