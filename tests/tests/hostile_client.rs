//! Clients that send nonsense are refused or cut off, and nobody else notices.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::time::Duration;

use echo_load::{tcp_lockstep, udp};
use emulator_tests::in_both_placements;
use emulator_tests::{Booted, options, system};

/// Cases of the component with one thread; the one with two has one more.
const CASES: u64 = 63;
/// Those of both that only the protocol server can refuse.
const SERVERS: u64 = 4;

/// What the attackers report, and how many requests the manager has refused
/// once the attack is over.
fn attack(booted: &mut Booted) -> ([String; 2], u64) {
    let lines = |what: &str| {
        let line = |name: &str| booted.line(&format!("{name}] hostile client: {what}"));
        ["liar", "pretender"].map(line)
    };
    let _over = lines("index moved");
    let reports = lines("");
    let numbers = booted.numbers("counters");
    let refusals = numbers
        .iter()
        .filter(|(name, _)| name.starts_with("io.refused."));
    (reports, refusals.map(|(_, count)| count).sum())
}

fn nonsense_is_refused_and_the_sender_cut_off() {
    let mut booted = Booted::system("hostile");
    let (reports, refused) = attack(&mut booted);
    println!("{reports:?}, {refused} by the manager");
    for (report, cases) in reports.iter().zip([CASES, CASES + 1]) {
        let wanted = format!("{cases} refused, 0 accepted");
        assert!(report.contains(&wanted), "{report}, not {wanted}");
    }
    assert_eq!(refused, 2 * CASES + 1 - SERVERS);
    for name in ["liar", "pretender"] {
        let _served = booted.line(&format!(
            "{name}] hostile client: what is right gets Some(Ok)"
        ));
    }
    booted.wait_numbers("counters", Duration::from_secs(30), |numbers| {
        numbers.get("io.clients.cut-off") == Some(&3)
    });
    for load in [64, 1400] {
        let outcome = udp(booted.udp(7), load, 64, 2000).unwrap();
        assert!(outcome.is_perfect(), "{outcome:?}");
    }
    let outcome = tcp_lockstep(booted.tcp(7), 5000, 50).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
    let counters = booted.numbers("counters");
    for counter in [
        "io.server.faults",
        "io.servers.gone",
        "io.driver.faults",
        "root.faults",
    ] {
        assert_eq!(counters[counter], 0, "{counter}");
    }
}

/// The mutation: without validation the nonsense gets past the manager, and the
/// test above would fail. The server checks too, and bytes that are not the
/// client's cannot be passed whoever asks, so how much of it is carried out is
/// another matter.
#[test]
fn without_validation_nonsense_gets_past_the_manager() {
    let mut options = options(system("hostile"));
    options.features = vec!["io-manager/mutation-no-validation".to_owned()];
    let (reports, refused) = attack(&mut Booted::new(&options));
    println!("{reports:?}, {refused} by the manager");
    assert!(refused < 2 * CASES + 1 - SERVERS, "{refused}");
    let accepted = reports
        .iter()
        .all(|report| !report.contains(", 0 accepted"));
    assert!(accepted, "{reports:?}");
}

in_both_placements! {
    nonsense_is_refused_and_the_sender_cut_off,
}
