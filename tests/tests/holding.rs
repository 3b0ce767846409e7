//! An I/O manager holds its clients' memory, resolves their faults, and takes
//! them with it.

use std::collections::BTreeMap;
use std::time::Duration;

use emulator_tests::{Booted, options, system};

#[test]
fn a_manager_holds_memory_resolves_faults_and_outlives_its_client() {
    let options = options(system("holding"));
    let running = cargo_ioipc::launch(&options).unwrap_or_else(|e| panic!("{e}"));
    let mut system = Booted { running };
    for (n, what) in [
        "writable true, pages of 4096",
        "writable false, pages of 4096",
        "writable true, pages of 4096",
        "writable true, pages of 2097152",
        "writable true, pages of 4096",
    ]
    .into_iter()
    .enumerate()
    {
        let said = system.line(&format!("word {n}: 0x6b6570740000000{n}"));
        assert!(said.contains(what), "{said}");
    }
    let _right = system.line("all words right");
    // What the client finds: changed through the window; written although it
    // was protected; another frame; the large page that it had.
    let _changed = system.line("data 0x6b65707400000009");
    let _written = system.line("written 0x6b6570740000000a");
    let _replaced = system.line("replaced 0x6b6570740000000b");
    let _restored = system.line("restored 0x6b65707400000003");
    // What the manager cannot resolve is reported as ever.
    let _passed_on = system.line("passes on a fault of client 0: not held");
    let report = system.line("FAULT component=kept");
    for part in ["thread=main", "kind=write", "address=0x8 ", "ip=0x"] {
        assert!(report.contains(part), "{report}");
    }
    let outlived = system.line("outlived: ");
    assert!(!outlived.contains(" 0 words"), "{outlived}");
    // The others end with the manager. Their memory is a device's as well, until
    // the driver is dead too; then all of it is free again.
    let _manager = system.line("FAULT component=io");
    let _other = system.line("ENDED component=bystander with=io");
    let running = |system: &mut Booted, count| {
        let numbers = system.wait_numbers("resources", Duration::from_secs(30), |now| {
            number(now, "components_running") == count
        });
        number(&numbers, "untyped_free_bytes")
    };
    let held = running(&mut system, 4);
    let _driver = system.line("FAULT component=nic");
    let free = running(&mut system, 3);
    // Heap and data region of one, data region of the other, the reserve.
    assert!(free - held >= 8 << 20, "{held} and then {free} bytes free");
}

fn number(numbers: &BTreeMap<String, u64>, name: &str) -> u64 {
    let mut found = numbers.iter().filter(|(n, _)| n.ends_with(name));
    *found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {numbers:#?}"))
        .1
}
