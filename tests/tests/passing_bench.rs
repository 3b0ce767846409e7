//! Null sockets pass the right bytes in all ways, and the cost model knows which
//! way is best, also where page operations are dearer.

use cargo_ioipc::bench::{DataPassing, data_passing};
use emulator_tests::{Booted, options, system};

/// The system that measures, told to look at the bytes instead.
fn verifying() -> String {
    let text = std::fs::read_to_string(system("passing-bench"));
    let text = text.unwrap_or_else(|e| panic!("{e}"));
    let text = text.replace("start = true", "start = true\nverify = true");
    text + "\n[component.large.config]\nverify = true\n"
}

#[test]
fn all_ways_pass_the_right_bytes() {
    let scratch = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let file = scratch.path().join("passing-verify.toml");
    std::fs::write(&file, verifying()).unwrap_or_else(|e| panic!("{e}"));
    let running = cargo_ioipc::launch(&options(file)).unwrap_or_else(|e| panic!("{e}"));
    let system = Booted { running };
    // Legal combinations of semantics, technique, direction and NIC, and those
    // that the manager chooses: fewer with large pages.
    for (client, series) in [("small", 64), ("large", 54)] {
        let line = system.line(&format!("passing-bench {client} "));
        assert!(
            line.contains(&format!("is done: {series} series")),
            "{line}"
        );
    }
}

#[test]
fn the_choice_is_near_the_best() {
    let bench = DataPassing {
        quick: true,
        ..DataPassing::default()
    };
    let report = data_passing(&bench).unwrap_or_else(|e| panic!("{e}"));
    println!("{report}");
    assert!(!report.is_wrong(), "a choice is too far from the best");
    let forced = |boot: &cargo_ioipc::bench::Measured| {
        let all = boot.series.iter().filter(|series| series.forced.is_some());
        all.count()
    };
    assert!(report.instructions.iter().all(|boot| forced(boot) >= 60));
}
