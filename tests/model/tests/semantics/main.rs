//! The semantics of the whole stack, held against a system that copies.
//!
//! Random programs run on two simulated hosts, each with a client of one thread
//! and one of several: blocking and asynchronous sends and receives with all
//! semantics and techniques, of every size and alignment that matters, into and
//! out of each other's pages, while other threads overwrite what is being sent,
//! frames are lost and overtake each other, and clients die. Every byte that
//! arrives, and all memory at the end, must be what copying would have made of
//! it. `IOIPC_SEED` makes another run, `IOIPC_CASES` says of how many programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod client;
mod program;
mod run;
mod setup;
mod state;

use std::cell::Cell;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use model_tests::Noise;
use program::Program;
use state::{TECHNIQUES, Tally};

/// The suite runs the same programs every time; other seeds are for searching.
const SEED: u64 = 0x1996_0501;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn runner(cases: u32) -> TestRunner {
    let seed = setting("IOIPC_SEED").unwrap_or(SEED);
    println!("IOIPC_SEED={seed}");
    let mut noise = Noise::new(seed);
    let bytes: Vec<u8> = (0..4).flat_map(|_| noise.number().to_le_bytes()).collect();
    let config = Config {
        cases: setting("IOIPC_CASES").map_or(cases, |n| n as u32),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// How many operations programs make at least, and how many with each
/// technique.
struct Least {
    operations: u64,
    techniques: [u64; TECHNIQUES.len()],
}

fn hold(programs: impl Strategy<Value = Program>, cases: u32, least: &Least) -> Tally {
    let sum = Cell::new(Tally::default());
    let held = runner(cases).run(&programs, |program| {
        sum.set(sum.get() + run::run(&program));
        Ok(())
    });
    println!("{:?}", sum.get());
    if let Err(error) = held {
        panic!("{error}");
    }
    let tally = sum.get();
    if setting("IOIPC_CASES").is_none() {
        let operations = tally.sends + tally.receives + tally.stores;
        assert!(operations >= least.operations, "{tally:?}");
        for (n, name) in TECHNIQUES.iter().enumerate() {
            let (done, least) = (tally.techniques[n], least.techniques[n]);
            assert!(done >= least, "{name}: {done}");
        }
    }
    tally
}

/// The techniques that are left where payload is passed by value, and how often
/// each is used at least.
const BY_VALUE: [u64; TECHNIQUES.len()] = [0, 0, 200, 0, 0, 0, 0, 100, 2, 2];

/// As `hold`, with payload passed by value: no other technique is used.
fn hold_by_value(stream: bool, cases: u32) {
    let least = Least {
        operations: 1200,
        techniques: BY_VALUE,
    };
    let tally = hold(program::conventional(stream), cases, &least);
    for (name, (done, least)) in TECHNIQUES.iter().zip(tally.techniques.iter().zip(BY_VALUE)) {
        assert!(least != 0 || *done == 0, "{name}: {done}");
    }
}

#[test]
fn datagrams_by_value_are_as_if_copied() {
    hold_by_value(false, 60);
}

#[test]
fn streams_by_value_are_as_if_copied() {
    hold_by_value(true, 60);
}

#[test]
fn datagrams_are_as_if_copied() {
    let least = Least {
        operations: 2500,
        techniques: [100, 20, 100, 10, 10, 10, 10, 100, 2, 2],
    };
    hold(program::program(false), 120, &least);
}

#[test]
fn streams_are_as_if_copied() {
    let least = Least {
        operations: 2500,
        // No NIC demultiplexes streams.
        techniques: [100, 20, 100, 10, 10, 0, 0, 100, 2, 2],
    };
    hold(program::program(true), 120, &least);
}
