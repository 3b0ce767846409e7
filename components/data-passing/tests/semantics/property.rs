//! The property test: random programs, byte for byte equal to the model.
//!
//! `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose other programs and more of
//! them; `--nocapture` shows the coverage.

use std::cell::RefCell;
use std::time::Instant;

use data_passing::Mutations;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::coverage::Coverage;
use crate::program::program;
use crate::world::run;

/// The seed unless another is asked for.
const SEED: u64 = 0x1996_0501;
/// Programs of [`OPERATIONS`] at most.
const PROGRAMS: u32 = 1000;
/// See [`PROGRAMS`].
const OPERATIONS: usize = 800;

#[test]
fn programs_behave_as_if_everything_was_copied() {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = PROGRAMS;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    let (seed, cases, start) = (config.rng_seed, config.cases, Instant::now());
    println!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
    let coverage = RefCell::new(Coverage::new());
    let outcome = TestRunner::new(config).run(&program(OPERATIONS), |program| {
        let ran = run(&program, Mutations::default()).map_err(TestCaseError::fail)?;
        coverage.borrow_mut().add(&ran);
        Ok(())
    });
    if let Err(TestError::Fail(reason, program)) = outcome {
        panic!("{reason}\nwith PROPTEST_RNG_SEED={seed}, shrunk to:\n{program:?}");
    }
    outcome.expect("enough programs");
    report(&coverage.into_inner(), cases, start);
}

fn report(coverage: &Coverage, cases: u32, start: Instant) {
    println!("{}", coverage.table());
    println!(
        "every cell {} times or more; {} operations, {} refused; \
         faults {:?} (copied, restored, put off); {:?}",
        coverage.least(),
        coverage.operations,
        coverage.refused,
        coverage.faults,
        start.elapsed()
    );
    if cases >= PROGRAMS {
        assert!(coverage.operations >= 100_000, "{}", coverage.operations);
        let missed = coverage.missed(100);
        assert!(missed.is_empty(), "{missed:#?}");
    }
}
