//! The semantics of the whole stack, held against a system that copies.
//!
//! Random programs run on two simulated hosts, each with a client of one thread
//! and one of several: blocking and asynchronous sends and receives with all
//! semantics and techniques, of every size and alignment that matters, into and
//! out of each other's pages, while other threads overwrite what is being sent,
//! frames are lost and overtake each other, and clients die. Every byte that
//! arrives, and all memory at the end, must be what copying would have made of
//! it. `IOIPC_SEED` repeats a run, `IOIPC_CASES` says how many programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod client;
mod program;
mod run;
mod setup;
mod state;

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use model_tests::Noise;
use state::Tally;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn runner(cases: u32) -> TestRunner {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let seed = setting("IOIPC_SEED").unwrap_or(now);
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

fn hold(stream: bool, cases: u32, least: u64) {
    let sum = Cell::new(Tally::default());
    let held = runner(cases).run(&program::program(stream), |program| {
        sum.set(sum.get() + run::run(&program));
        Ok(())
    });
    println!("{:?}", sum.get());
    if let Err(error) = held {
        panic!("{error}");
    }
    let Tally {
        sends,
        receives,
        stores,
        ..
    } = sum.get();
    assert!(sends + receives + stores >= least, "{:?}", sum.get());
}

#[test]
fn datagrams_are_as_if_copied() {
    hold(false, 60, 2000);
}

#[test]
fn streams_are_as_if_copied() {
    hold(true, 60, 1500);
}
