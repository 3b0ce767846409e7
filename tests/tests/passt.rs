//! passt as the other end of the wire, in a network of the test's own, which has
//! a way out that leads nowhere.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::process::Command;

use cargo_ioipc::tap::{DEVICE, TapError, in_own_network};
use cargo_ioipc::{Error, Net, Options, Prepared, Transport, prepare};
use echo_load::{Closer, storm, tcp_bulk, udp};
use emulator_tests::{BOOT, options, system};

/// Connections opened at once.
const CROWD: u32 = 200;

#[test]
fn passt_carries_a_crowd_and_says_what_it_needs() {
    let options = Options {
        net: Net::Passt,
        ..options(system("echo"))
    };
    // Before the network is one that packages cannot be fetched from.
    let prepared = match prepare(&options) {
        Ok(prepared) => prepared,
        Err(Error::Host(missing)) => return eprintln!("not run: {missing}"),
        Err(error) => panic!("{error}"),
    };
    match in_own_network(|| without_and_with_a_way_out(&prepared)) {
        Ok(()) => {}
        Err(TapError::Unavailable(why)) => eprintln!("not run: {why}"),
        Err(TapError::Failed(why)) => panic!("{why}"),
    }
}

fn without_and_with_a_way_out(prepared: &Prepared) {
    let refused = prepared.boot().unwrap_err().to_string();
    assert!(refused.contains("it needs a default route"), "{refused}");
    let route = ["route", "add", "default", "via", "10.0.9.2", "dev", DEVICE];
    assert!(Command::new("ip").args(route).status().unwrap().success());
    let mut running = prepared.boot().unwrap_or_else(|e| panic!("{e}"));
    running.wait_ready(BOOT).unwrap_or_else(|e| panic!("{e}"));
    let at = |transport| running.address(transport, 7).unwrap();
    let (stream, datagram) = (at(Transport::Tcp), at(Transport::Udp));
    for (count, at_once) in [(100, 1), (CROWD, CROWD)] {
        let outcome = storm(stream, count, at_once, &Closer::Us).unwrap();
        assert!(outcome.is_perfect(), "{at_once} at once: {outcome:?}");
    }
    let outcome = tcp_bulk(stream, 60 << 10, 4 << 20).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
    let outcome = udp(datagram, 1400, 8, 128).unwrap();
    assert!(outcome.is_perfect(), "{outcome:?}");
}
