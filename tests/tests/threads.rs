//! Threads of one component: registers kept apart, sockets used by both.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use echo_load::udp;
use emulator_tests::Booted;
use emulator_tests::in_both_placements;

fn two_threads_share_sockets_and_keep_their_registers() {
    let system = Booted::system("threads");
    let report = system.line("patterns intact");
    assert!(report.contains("2 of 2 patterns intact"), "{report}");
    for port in [10, 11] {
        let _bound = system.line(&format!("port {port} echoes"));
    }
    let ports = [system.udp(10), system.udp(11)];
    std::thread::scope(|scope| {
        for port in ports {
            scope.spawn(move || {
                let outcome = udp(port, 256, 8, 2000).unwrap();
                assert!(outcome.is_perfect(), "{port}: {outcome:?}");
            });
        }
    });
}

in_both_placements! {
    two_threads_share_sockets_and_keep_their_registers,
}
