//! A component that panics or faults is reported, its resources come back,
//! and the others go on.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use echo_load::udp;
use emulator_tests::Booted;

/// The request, the fault kind that the report names, and what must stand in
/// the report beside the component and thread.
const FAULTS: &[(&str, &str)] = &[
    ("panic", "panic at"),
    ("null", "address=0x0"),
    ("text", "component=faulty"),
    ("illegal", "component=faulty"),
    ("stack", "component=faulty"),
];

#[test]
fn a_fault_is_reported_and_reclaimed_while_others_go_on() {
    for (request, expected) in FAULTS {
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
            "thread=",
            "kind=",
            "address=0x",
            "ip=0x",
        ] {
            assert!(report.contains(part), "{request}: {report}");
        }
        let _said = system.line(expected);
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
