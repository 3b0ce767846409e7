//! Where servers and drivers run: each combination, what it costs in crossings,
//! and how far a guest's end reaches.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use cargo_ioipc::Options;
use echo_load::{tcp_lockstep, udp};
use emulator_tests::{Booted, Placement, options, system};

/// Echoes for a figure.
const ECHOES: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(30);

fn inside(name: &str, placement: Placement) -> Options {
    Options {
        placement: Some(placement),
        ..options(system(name))
    }
}

/// Crossings into the application and into all that serves it, so far.
///
/// The manager counts how often it slept; a guest of it sleeps when it does. It
/// counts how often it woke a server or driver elsewhere, and such a driver how
/// often its device did.
fn crossings(numbers: &BTreeMap<String, u64>, placement: Placement) -> u64 {
    let within = ["io.wakeups", "echo.ioipc.waits"];
    let server = ["io.signals.server"];
    let driver = ["io.signals.driver", "nic.irqs"];
    let names = match placement {
        Placement::User => [&within[..], &server, &driver].concat(),
        Placement::Kernel => within.to_vec(),
        Placement::KernelServer => [&within[..], &driver].concat(),
        Placement::KernelDriver => [&within[..], &server].concat(),
    };
    names.iter().map(|name| numbers[*name]).sum()
}

/// Hundredths of a crossing that an echo takes, one at a time.
fn measure(placement: Placement) -> u64 {
    let mut booted = Booted::new(&inside("echo", placement));
    let outcome = tcp_lockstep(booted.tcp(7), 5000, 20).unwrap();
    assert!(outcome.is_perfect(), "{placement}: {outcome:?}");
    let before = booted.numbers("counters");
    let outcome = udp(booted.udp(7), 64, 1, ECHOES).unwrap();
    assert!(outcome.is_perfect(), "{placement}: {outcome:?}");
    let after = booted.numbers("counters");
    let count = crossings(&after, placement) - crossings(&before, placement);
    count * 100 / u64::from(ECHOES)
}

/// An echo is two operations, a receive and a send. Inside the manager they take
/// at most two crossings each, apart at most four more each; and what moves
/// inside saves some.
#[test]
fn each_placement_takes_the_crossings_that_it_should() {
    let taken = Placement::ALL.map(|placement| (placement, measure(placement)));
    println!("crossings of an echo, in hundredths: {taken:?}");
    let of = |wanted| taken.iter().find(|(p, _)| *p == wanted).unwrap().1;
    assert!(of(Placement::Kernel) <= 400);
    assert!(of(Placement::User) <= 1200);
    for mixed in [Placement::KernelServer, Placement::KernelDriver] {
        assert!(of(Placement::Kernel) < of(mixed) && of(mixed) < of(Placement::User));
    }
}

/// Boots the stand-in, told to end like that.
fn stand_in(end: &str, placement: Placement) -> Booted {
    let description = fs::read_to_string(system("stand-in")).unwrap();
    let path = system("../outside/stand-in").with_extension("");
    let path = format!("\"{}\"", path.display());
    let description = description.replace("\"../outside/stand-in\"", &path);
    let description = description.replace("\"never\"", &format!("\"{end}\""));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("system.toml");
    fs::write(&file, description).unwrap();
    let options = Options {
        placement: Some(placement),
        ..options(file)
    };
    let running = cargo_ioipc::launch(&options).unwrap_or_else(|e| panic!("{e}"));
    Booted { running }
}

/// A library from outside the repository, without a program of its own, is a
/// server in either placement; log and counters are under its own name.
#[test]
fn a_server_from_outside_runs_in_either_placement() {
    for (placement, near) in [(Placement::User, false), (Placement::Kernel, true)] {
        let mut booted = stand_in("never", placement);
        let said = booted.line("stands in");
        assert!(said.contains("net] net stands in"), "{placement}: {said}");
        assert!(
            said.contains(&format!("near: {near}")),
            "{placement}: {said}"
        );
        booted.wait_numbers("counters", PATIENCE, |now| {
            now.get("net.turns").is_some_and(|turns| *turns >= 10)
        });
    }
}

/// A server that gives up says so under its own name, and the manager answers for
/// it from then on.
#[test]
fn a_server_that_gives_up_is_dead() {
    let booted = stand_in("failure", Placement::User);
    let said = booted.line("gives up as it was told to");
    assert!(said.contains("ERROR net]"), "{said}");
    let _end = booted.line("ENDED component=net thread=main by=itself");
    let _told = booted.line("io] server 0 died");
}

/// A guest that gives up says so under its own name, and is given no more turns;
/// its host answers for it from then on, and goes on with the other guest.
#[test]
fn a_guest_that_gives_up_takes_nobody_with_it() {
    let mut booted = stand_in("failure", Placement::Kernel);
    let said = booted.line("gives up as it was told to");
    assert!(said.contains("ERROR net]"), "{said}");
    let _told = booted.line("io] server 0 died");
    let numbers = booted.numbers("resources");
    assert_eq!(numbers["root.components_running"], 6);
    assert_eq!(booted.numbers("counters")["net.turns"], 10);
}

/// A guest that faults takes its host, the other guests and the host's clients
/// with it, and each of them is named.
#[test]
fn a_guest_that_faults_ends_its_host() {
    let mut booted = stand_in("panic", Placement::Kernel);
    let said = booted.line("panic at");
    assert!(said.contains("ERROR net]"), "{said}");
    assert!(said.contains("as it was told to"), "{said}");
    let _host = booted.line("FAULT component=io thread=main kind=invalid-instruction");
    for name in ["net", "nic", "hello"] {
        let _ended = booted.line(&format!("ENDED component={name} with=io"));
    }
    booted.wait_numbers("resources", PATIENCE, |now| {
        now["root.components_running"] == 2
    });
}

/// A program that is no server cannot be placed inside another, and the error
/// says what it lacks.
#[test]
fn what_is_no_server_is_refused() {
    let description = fs::read_to_string(system("stand-in")).unwrap();
    let description = description.replace("{ path = \"../outside/stand-in\" }", "\"hello\"");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("system.toml");
    fs::write(&file, description).unwrap();
    let options = Options {
        placement: Some(Placement::Kernel),
        ..options(file)
    };
    let error = cargo_ioipc::prepare(&options).unwrap_err().to_string();
    assert!(error.contains("package hello says no `server`"), "{error}");
}
