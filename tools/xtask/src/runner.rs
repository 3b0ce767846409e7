//! Runs suites one after the other and prints the table at the end.
//!
//! Invariant: a suite that runs over its budget is ended together with
//! everything that it started, and counts as failed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::suites::{Suite, Work};
use crate::{Surroundings, rules, suites};

/// Tests passed and failed, and the verdict in words.
type Counts = (usize, usize, &'static str);

/// How a suite ended.
struct Outcome {
    suite: Suite,
    took: Duration,
    passed: usize,
    failed: usize,
    verdict: &'static str,
}

/// Runs the suites; whether all passed.
pub fn run(suites: &[Suite], surroundings: &Surroundings) -> Result<bool> {
    let mut outcomes = Vec::new();
    for suite in suites {
        println!("=== {}: {}", suite.name, suite.about);
        let outcome = run_one(suite, surroundings)?;
        println!(
            "=== {}: {} after {:.0?}\n",
            suite.name, outcome.verdict, outcome.took
        );
        outcomes.push(outcome);
    }
    print_table(&outcomes);
    Ok(outcomes.iter().all(|o| o.failed == 0))
}

fn run_one(suite: &Suite, surroundings: &Surroundings) -> Result<Outcome> {
    let start = Instant::now();
    let (mut passed, mut failed, mut verdict) = match suite.work {
        Work::Rules => rules::check(&surroundings.root)?,
        Work::Cargo(arguments) | Work::Bound(arguments) | Work::Fuzz(arguments) => {
            run_cargo(suite, &suites::expand(arguments), surroundings, "")?
        }
        Work::Emulator(files, at_once) => {
            run_cargo(suite, &suites::emulator(files, at_once), surroundings, "")?
        }
        Work::MustFail(arguments) => {
            let arguments = suites::expand(arguments);
            must_fail(run_cargo(suite, &arguments, surroundings, "mutated: ")?)
        }
    };
    let took = start.elapsed();
    if failed == 0 && took > suite.budget {
        (failed, verdict) = (1, "over its time budget");
    }
    if failed == 0 && passed == 0 {
        passed = 1;
    }
    Ok(Outcome {
        suite: *suite,
        took,
        passed,
        failed,
        verdict,
    })
}

/// Runs cargo; its output is passed through behind `prefix`.
fn run_cargo(
    suite: &Suite,
    arguments: &[&str],
    surroundings: &Surroundings,
    prefix: &'static str,
) -> Result<Counts> {
    let mut command = Command::new(env!("CARGO"));
    if matches!(suite.work, Work::Bound(_)) {
        command.env(sel4_kernel::PREFIX_VARIABLE, &surroundings.kernel);
    }
    if matches!(suite.work, Work::Fuzz(_)) {
        command.env("IOIPC_FUZZ_SECONDS", "60");
    }
    let mut child = command
        .args(arguments)
        .current_dir(&surroundings.root)
        // A test that has to fail must leave nothing behind.
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        .env("CARGO_TARGET_DIR", &surroundings.workspace.target)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let counted = count_in_background(output, prefix);
    match counted.recv_timeout(suite.budget) {
        Ok((passed, failed)) => {
            let ok = child.wait()?.success();
            let failed = if ok { failed } else { failed.max(1) };
            Ok((passed, failed, if failed == 0 { "ok" } else { "FAILED" }))
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end_group(&mut child)?;
            Ok((0, 1, "ended: over its time budget"))
        }
    }
}

/// The verdict on tests of which one had to fail; that none ran, or that they
/// did not build, is no failure of a test.
fn must_fail((passed, failed, verdict): Counts) -> Counts {
    match (failed, verdict) {
        (1.., "FAILED") if passed + failed > 1 => (1, 0, "ok: a test failed, as it must"),
        _ => (0, 1, "FAILED: the mutation went unnoticed"),
    }
}

/// Passes the output through and counts the results of `cargo test` in it.
fn count_in_background(
    output: impl Read + Send + 'static,
    prefix: &'static str,
) -> mpsc::Receiver<(usize, usize)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut passed, mut failed) = (0, 0);
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{prefix}{line}");
            if let Some((p, f)) = test_result(&line) {
                passed += p;
                failed += f;
            }
        }
        // The receiver is gone only after the budget ran out.
        let _gone = sender.send((passed, failed));
    });
    receiver
}

/// The counts in a line `test result: ok. 3 passed; 0 failed; …`.
fn test_result(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |label: &str| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(label)?.trim().parse().ok())
    };
    Some((number(" passed")?, number(" failed")?))
}

/// Ends the suite's process group: cargo, the tests, and their emulators.
fn end_group(child: &mut Child) -> Result<()> {
    let group = Pid::from_child(child);
    for signal in [Signal::TERM, Signal::KILL] {
        // An error means that nobody is left.
        let _gone = kill_process_group(group, signal);
        std::thread::sleep(Duration::from_secs(2));
    }
    child.wait()?;
    Ok(())
}

fn print_table(outcomes: &[Outcome]) {
    println!(
        "{:<18} {:>8} {:>8} {:>7} {:>7}  result",
        "suite", "time", "budget", "passed", "failed"
    );
    for o in outcomes {
        println!(
            "{:<18} {:>6} s {:>6} s {:>7} {:>7}  {}",
            o.suite.name,
            o.took.as_secs(),
            o.suite.budget.as_secs(),
            o.passed,
            o.failed,
            o.verdict
        );
    }
    let sum = |f: fn(&Outcome) -> usize| outcomes.iter().map(f).sum::<usize>();
    println!("{} passed, {} failed", sum(|o| o.passed), sum(|o| o.failed));
}

#[cfg(test)]
mod tests {
    use super::test_result;

    #[test]
    fn counts_are_read_from_the_closing_line() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(test_result(line), Some((12, 3)));
        assert_eq!(test_result("running 3 tests"), None);
    }
}
