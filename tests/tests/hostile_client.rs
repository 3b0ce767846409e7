//! Clients that send nonsense are refused or cut off, and nobody else notices.

use std::time::Duration;

use echo_load::udp;
use emulator_tests::{Booted, options, system};

/// Refusals that the nonsense must meet at the I/O manager.
const REFUSALS: u64 = 15;

/// What the attacker reports, and how many requests the manager has refused
/// once the attack is over.
fn attack(booted: &mut Booted) -> (String, u64) {
    let report = booted.line("refused, ");
    let _over = booted.line("index moved");
    let numbers = booted.numbers("counters");
    let refusals = numbers
        .iter()
        .filter(|(name, _)| name.starts_with("io.refused."));
    (report, refusals.map(|(_, count)| count).sum())
}

#[test]
fn nonsense_is_refused_and_the_sender_cut_off() {
    let mut booted = Booted::system("hostile");
    let (report, refused) = attack(&mut booted);
    assert!(report.contains(" 0 accepted"), "{report}");
    assert!(refused >= REFUSALS, "{refused}");
    booted.wait_numbers("counters", Duration::from_secs(30), |numbers| {
        numbers.get("io.clients.cut-off") == Some(&2)
    });
    let outcome = udp(booted.udp(7), 64, 64, 2000).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
}

/// The mutation: without validation the nonsense gets past the manager, and the
/// test above would fail. The server checks too, so how much of it is carried
/// out is another matter.
#[test]
fn without_validation_nonsense_gets_past_the_manager() {
    let mut options = options(system("hostile"));
    options.features = vec!["io-manager/mutation-no-validation".to_owned()];
    let (_, refused) = attack(&mut Booted::new(&options));
    assert!(refused < REFUSALS, "{refused}");
}
