//! UDP and TCP echo under load, with every byte checked.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cargo_ioipc::Options;
use echo_load::{Closer, Held, storm, tcp_bulk, tcp_lockstep, tcp_parallel, udp};
use emulator_tests::wire::slack;
use emulator_tests::{Booted, in_both_placements, options, system};

/// Connections opened at once: some are served at once, the others wait in the
/// service's backlog.
const CROWD: u32 = 200;

/// Gauges that are not back where they were. What is legitimately in motion is
/// left out.
fn moved(before: &Numbers, now: &Numbers) -> Vec<(String, u64, u64)> {
    let moving = ["time_wait", "rx.posted", "tx.in-flight"];
    let gauges = before
        .iter()
        .filter(|(name, _)| !moving.iter().any(|part| name.contains(part)));
    let both = gauges.map(|(name, was)| (name.clone(), *was, now.get(name).copied().unwrap_or(0)));
    both.filter(|(name, was, is)| was.abs_diff(*is) > slack(name))
        .collect()
}

/// All that a service says before it closes.
fn greeting(service: std::net::SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(service).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    said
}

/// Named numbers of the monitor.
type Numbers = std::collections::BTreeMap<String, u64>;

fn datagrams_of_all_sizes_come_back() {
    let system = Booted::system("echo");
    for size in [4, 5, 63, 64, 512, 1400, 1472] {
        for outstanding in [1, 8, 64] {
            let outcome = udp(system.udp(7), size, outstanding, 128).unwrap();
            assert!(
                outcome.is_perfect(),
                "{size} B × {outstanding}: {outcome:?}"
            );
        }
    }
    // In fragments; QEMU's user network holds few of them at once.
    for size in [1473, 8 << 10, 16 << 10] {
        let outcome = udp(system.udp(7), size, 4, 64).unwrap();
        assert!(outcome.is_perfect(), "{size} B: {outcome:?}");
    }
}

/// On devices that insist on the platform's rules for memory, and have a page for
/// each queue's doorbell.
fn streams_come_back_whole() {
    let odd = ["net", "rng"].map(|d| [("page-per-vq", d), ("iommu_platform", d)]);
    let odd = odd.as_flattened().iter();
    let odd = odd.map(|(property, d)| format!("virtio-{d}-pci.{property}=on").into());
    let system = Booted::new(&Options {
        qemu_args: odd
            .flat_map(|property| ["-global".into(), property])
            .collect(),
        ..options(system("echo"))
    });
    assert!(!system.line("INFO  entropy]").contains(" 0 bytes"));
    for size in [1, 64, 1400, 5000] {
        let outcome = tcp_lockstep(system.tcp(7), size, 50).unwrap();
        assert!(outcome.is_perfect(), "{size} B: {outcome:?}");
    }
    let outcome = tcp_bulk(system.tcp(7), 60 << 10, 64 << 20).unwrap();
    assert!(outcome.is_perfect(), "64 MiB: {outcome:?}");
}

/// The resources once they stay the same: what asked whether the system is ready
/// may still be closing.
fn settled(system: &mut Booted) -> Numbers {
    let mut last = system.numbers("resources");
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = system.numbers("resources");
        if moved(&last, &now).is_empty() {
            return now;
        }
        last = now;
    }
}

fn connections_by_the_thousand_leave_nothing_behind() {
    let mut system = Booted::system("echo");
    let before = settled(&mut system);
    let together = tcp_parallel(system.tcp(7), 64, 1000, 10).unwrap();
    assert!(together.is_perfect(), "64 at once: {together:?}");
    // Resets one after the other: one that gets lost is not sent again, and its
    // connection stays.
    for (closer, parallel) in [(Closer::Us, 4), (Closer::Reset, 1)] {
        let outcome = storm(system.tcp(7), 4000, parallel, &closer).unwrap();
        assert!(outcome.is_perfect(), "{closer:?}: {outcome:?}");
    }
    let hello = system.tcp(17);
    for _ in 0..2000 {
        assert_eq!(greeting(hello), b"hello from seL4\n");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let differs = moved(&before, &system.numbers("resources"));
        if differs.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "not as before: {differs:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// At an address that QEMU's user network does not give: it is made to fit, and
/// the ports lead there.
fn idle_connections_do_not_disturb() {
    let mut system = Booted::new(&Options {
        address: Some("192.168.7.20/24".parse().unwrap()),
        ..options(system("echo"))
    });
    // A crowd at once: of the emulator's own room for one connection that waits,
    // not all of them would get over the overflow.
    let crowd = storm(system.tcp(7), CROWD, CROWD, &Closer::Us).unwrap();
    assert!(crowd.is_perfect(), "{CROWD} at once: {crowd:?}");
    settled(&mut system);
    let mut held = Held::open(system.tcp(7), 64).unwrap();
    let outcome = udp(system.udp(7), 64, 64, 1000).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
    let outcome = held.check(100).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
}

in_both_placements! {
    datagrams_of_all_sizes_come_back,
    streams_come_back_whole,
    connections_by_the_thousand_leave_nothing_behind,
    idle_connections_do_not_disturb,
}
