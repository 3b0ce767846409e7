//! A root task that gives up says why and ends the emulator at once.

use std::time::Duration;

use emulator_tests::{BOOT, options, system};

#[test]
fn a_system_that_cannot_be_built_ends_with_a_reason() {
    let options = options(system("impossible"));
    let mut running = cargo_ioipc::launch(&options).unwrap_or_else(|e| panic!("{e}"));
    let error = running.wait_ready(BOOT).expect_err("it has no unicorn");
    let message = error.to_string();
    let (first, rest) = message
        .split_once('\n')
        .unwrap_or_else(|| panic!("no lines: {message}"));
    assert!(first.contains("(the root task gave up)"), "{message}");
    assert!(
        rest.contains("ROOT PANIC: component console: "),
        "{message}"
    );
    let took = running.started().elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}
