//! A component that panics or faults is reported, its resources come back,
//! and the others go on.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use cargo_ioipc::{Net, Options};
use echo_load::udp;
use emulator_tests::{Booted, in_both_placements, options};

/// The request, and what the report must say beside component and thread: a
/// kind, and where.
const FAULTS: &[(&str, &str, &str)] = &[
    ("panic", "kind=invalid-instruction", "ip=0x"),
    ("illegal", "kind=invalid-instruction", "ip=0x"),
    ("null", "kind=write", "address=0x0 "),
    // Programs lie from 2 MiB on, text before data.
    ("text", "kind=write", "address=0x20"),
    // The page below the first thread's stack.
    ("stack", "kind=write", "address=0x20002"),
    // The kernel tells no fetch from a read, and 32 bits of the address.
    ("jump", "kind=read", "ip=0x300000000000"),
];

fn a_fault_is_reported_and_reclaimed_while_others_go_on() {
    for (request, kind, place) in FAULTS {
        let mut system = Booted::system("faulty");
        let before = system.numbers("resources");
        // Load on the victim's neighbour during the fault.
        let neighbour = system.udp(7);
        let load = std::thread::spawn(move || udp(neighbour, 64, 16, 2000).unwrap());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(request.as_bytes(), system.udp(9)).unwrap();
        let report = system.line("FAULT");
        for part in [
            "component=faulty",
            "thread=main",
            kind,
            place,
            "address=0x",
            "ip=0x",
        ] {
            assert!(report.contains(part), "{request}: {report}");
        }
        if *request == "panic" {
            let said = system.line("panic at");
            assert!(said.contains("asked to panic"), "{said}");
        }
        let outcome = load.join().unwrap();
        assert!(outcome.is_perfect(), "{request}: {outcome:?}");
        // Its sockets are closed and its memory is free again.
        let free = |numbers: &std::collections::BTreeMap<String, u64>| {
            numbers
                .iter()
                .find(|(name, _)| name.ends_with("untyped_free_bytes"))
                .map(|(_, v)| *v)
        };
        let sockets = |numbers: &std::collections::BTreeMap<String, u64>| {
            numbers
                .iter()
                .find(|(name, _)| name.ends_with("io.sockets.faulty"))
                .map(|(_, v)| *v)
        };
        system.wait_numbers("resources", Duration::from_secs(30), |now| {
            free(now) > free(&before) && sockets(&before) > Some(0) && sockets(now) == Some(0)
        });
        let outcome = udp(neighbour, 64, 16, 200).unwrap();
        assert!(outcome.is_perfect(), "{request}, after: {outcome:?}");
    }
}

/// The driver says what is missing and ends; whoever wants the network hears that
/// it is down; all others go on.
fn a_device_that_cannot_be_driven_ends_its_driver_alone() {
    let mut system = Booted::new(&Options {
        net: Net::None,
        ..options(emulator_tests::system("echo"))
    });
    let _given = system.line("component nic goes without device virtio-net: ");
    let said = system.line("the driver was given no device");
    assert!(said.contains("ERROR nic]"), "{said}");
    let _told = system.line("the network of server 0 is down for good");
    let _echo = system.line("echo ended: network down");
    let _hello = system.line("no answers on port 17: network down");
    assert_eq!(system.numbers("counters")["root.faults"], 0);
    let running = system.numbers("resources")["root.components_running"];
    // Its component has ended, unless it was a guest of one that goes on.
    assert!((7..=8).contains(&running), "{running} components run");
}

in_both_placements! {
    a_device_that_cannot_be_driven_ends_its_driver_alone,
    a_fault_is_reported_and_reclaimed_while_others_go_on,
}
