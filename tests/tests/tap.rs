//! On a TAP device, with what the emulator's user network does not offer:
//! checksums that either end leaves to the other.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::net::UdpSocket;
use std::time::Duration;

use cargo_ioipc::tap;
use echo_load::{Pattern, tcp_bulk, tcp_lockstep, udp};
use emulator_tests::in_both_placements;
use emulator_tests::names::NameServer;
use emulator_tests::tap::{Seen, Tapped, Watch, host_checksum_errors, on_tap};

/// How long the longest datagram may take there and back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Takes the device's checksum offloads away, both ways.
const WITHOUT: &[&str] = &[
    "-global",
    "virtio-net-pci.csum=off",
    "-global",
    "virtio-net-pci.guest_csum=off",
];

/// Everything that does not depend on who computes checksums.
fn exercise(tapped: &mut Tapped) {
    let system = &tapped.system;
    for size in [4, 5, 63, 64, 512, 1400, 1471, 1472] {
        for outstanding in [1, 8, 64] {
            let outcome = udp(system.udp(7), size, outstanding, 128).unwrap();
            assert!(
                outcome.is_perfect(),
                "{size} B × {outstanding}: {outcome:?}"
            );
        }
    }
    // In fragments.
    for size in [1473, 8 << 10, 16 << 10] {
        let outcome = udp(system.udp(7), size, 1, 16).unwrap();
        assert!(outcome.is_perfect(), "{size} B: {outcome:?}");
    }
    for len in [16_385, 32 << 10, 65_507] {
        assert_long(tapped, len);
    }
    assert_names(tapped);
    for size in [1, 64, 1400, 5000] {
        let outcome = tcp_lockstep(tapped.system.tcp(7), size, 50).unwrap();
        assert!(outcome.is_perfect(), "{size} B: {outcome:?}");
    }
    for in_flight in [16 << 10, 60 << 10, 256 << 10] {
        let outcome = tcp_bulk(tapped.system.tcp(7), in_flight, 8 << 20).unwrap();
        assert!(outcome.is_perfect(), "{in_flight} in flight: {outcome:?}");
    }
    let counters = tapped.system.numbers("counters");
    assert_eq!(counters["net.drop_bad_checksum"], 0, "{counters:#?}");
    assert_eq!(host_checksum_errors(), 0);
}

/// Wants names looked up at the host's kernel: its answers, in a datagram and
/// over TCP, have checksums like all that it sends.
fn assert_names(tapped: &Tapped) {
    let _server = NameServer::start(tap::HOST.own).unwrap();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for (command, wanted) in [
        ("lookup short.test", "found 198.18.0.0"),
        (
            "lookup long.test",
            "found 198.18.0.0 198.18.0.1 198.18.0.2 198.18.0.3",
        ),
        ("lookup none.test", "NotFound"),
    ] {
        let to = tapped.system.udp(10);
        socket.send_to(command.as_bytes(), to).unwrap();
        let mut answer = [0; 256];
        let count = socket.recv(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[..count]), wanted);
    }
}

/// Wants a datagram of `len` bytes back from `caller`.
fn assert_long(tapped: &Tapped, len: usize) {
    let mut payload = b"echo".to_vec();
    payload.resize(len, 0);
    Pattern::new(len as u64).fill(0, &mut payload[4..]);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&payload, tapped.system.udp(10)).unwrap();
    let mut back = vec![0; 64 << 10];
    let count = socket.recv(&mut back).unwrap();
    assert!(back[..count] == payload, "{len} bytes came back as {count}");
}

/// A few packets each way, no more than the host keeps, and what was seen of
/// them.
fn look(tapped: &Tapped) -> Seen {
    let watch = Watch::start();
    assert!(udp(tapped.system.udp(7), 500, 1, 20).unwrap().is_perfect());
    // What earlier connections still had to say is in this one.
    let datagrams = watch.seen();
    let stream = tcp_lockstep(tapped.system.tcp(7), 500, 32).unwrap();
    assert!(stream.is_perfect());
    let segments = watch.seen();
    Seen {
        udp_in: datagrams.udp_in,
        udp_out: datagrams.udp_out,
        ..segments
    }
}

fn with_offloads_checksums_are_left_to_the_device_and_every_byte_comes_back() {
    on_tap(|| {
        let mut tapped = Tapped::start("tap", &[]);
        let offloads = tapped.offloads();
        assert!(offloads.has("CSUM"), "{offloads}");
        assert!(offloads.has("GUEST_CSUM"), "{offloads}");
        assert!(offloads.has("GUEST_TSO4"), "{offloads}");
        assert!(offloads.has("MRG_RXBUF"), "{offloads}");
        exercise(&mut tapped);
        let seen = look(&tapped);
        for tally in [seen.udp_in, seen.udp_out, seen.tcp_in, seen.tcp_out] {
            assert!(tally.left_to_complete(), "{seen:#?}");
        }
    });
}

fn without_offloads_everybody_computes_their_own() {
    on_tap(|| {
        let mut tapped = Tapped::start("tap", WITHOUT);
        let offloads = tapped.offloads();
        assert!(!offloads.has("CSUM"), "{offloads}");
        assert!(!offloads.has("GUEST_CSUM"), "{offloads}");
        exercise(&mut tapped);
        let seen = look(&tapped);
        for tally in [seen.udp_in, seen.udp_out, seen.tcp_in, seen.tcp_out] {
            assert!(tally.all_complete(), "{seen:#?}");
        }
    });
}

in_both_placements! {
    with_offloads_checksums_are_left_to_the_device_and_every_byte_comes_back,
    without_offloads_everybody_computes_their_own,
}
