//! Clients that send nonsense are refused or cut off, and nobody else notices.

use std::time::Duration;

use echo_load::udp;
use emulator_tests::Booted;

#[test]
fn nonsense_is_refused_and_the_sender_cut_off() {
    let mut system = Booted::system("hostile");
    let report = system.line("refused, ");
    assert!(report.contains(" 0 accepted"), "{report}");
    let numbers = system.wait_numbers("counters", Duration::from_secs(30), |numbers| {
        numbers.get("io.clients.cut-off") == Some(&2)
    });
    let refused: u64 = numbers
        .iter()
        .filter(|(name, _)| name.starts_with("io.refused."))
        .map(|(_, value)| value)
        .sum();
    assert!(refused >= 15, "{numbers:#?}");
    let outcome = udp(system.udp(7), 64, 64, 2000).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
}
