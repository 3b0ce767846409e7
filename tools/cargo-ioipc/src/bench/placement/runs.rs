//! The runs of one case.
//!
//! Invariant: nothing of one burst is left to do when the next begins, and
//! nothing but bursts happens between the two readings of a run.

use std::time::{Duration, Instant};

use insn_count::{Counter, Counts};

use super::PlacementBench;
use super::cases::bursts;
use super::link::Link;
use super::record::{Case, Figure, Pattern, Row};
use super::tally::Tally;
use crate::Error;
use crate::bench::BenchError;

/// Bursts before the first run: caches of the system's own fill, hosts become
/// known, windows open.
const FIRST: u64 = 3;
/// How long no instruction may be executed before the next burst, and before a
/// run begins or has ended.
const CALM: Duration = Duration::from_micros(100);
const STILL: Duration = Duration::from_millis(3);
/// How long to wait for that, at most: something else may be going on.
const MOST: Duration = Duration::from_secs(1);
/// How often to look.
const LOOK: Duration = Duration::from_micros(20);

/// Measures the instructions of a case; also the peer's share of the time.
pub(super) fn instructions(
    link: &mut Link,
    counter: &mut Counter,
    case: &Case,
    bench: &PlacementBench,
) -> Result<(Row, f64), Error> {
    let count = bursts(case, bench.quick);
    let mut flow = link.open(case)?;
    for _ in 0..FIRST {
        link.burst(case, &mut flow)?;
        wait_for(counter, STILL)?;
    }
    let before = link.numbers()?;
    link.peer.take_times();
    let mut runs = Vec::new();
    for _ in 0..bench.runs {
        let start = wait_for(counter, STILL)?;
        for _ in 0..count {
            link.burst(case, &mut flow)?;
            let since = Instant::now();
            wait_for(counter, CALM)?;
            link.peer.skip_time(since.elapsed());
        }
        link.flush(case)?;
        let since = Instant::now();
        runs.push(wait_for(counter, STILL)? - start);
        link.peer.skip_time(since.elapsed());
    }
    let (computed, waited) = link.peer.take_times();
    let tally = (&link.numbers()? - &before).tally();
    link.close(case, flow)?;
    let share = computed.as_secs_f64() / (computed + waited).as_secs_f64();
    Ok((row(case, count, runs, tally), share))
}

/// Takes the time of a case, in nanoseconds of an operation.
pub(super) fn time(
    link: &mut Link,
    case: &Case,
    bench: &PlacementBench,
) -> Result<Figure, BenchError> {
    let count = bursts(case, bench.quick);
    let mut flow = link.open(case)?;
    for _ in 0..FIRST {
        link.burst(case, &mut flow)?;
    }
    let mut times = Vec::new();
    for _ in 0..bench.runs {
        let start = Instant::now();
        for _ in 0..count {
            link.burst(case, &mut flow)?;
        }
        let operations = count * u64::from(case.outstanding);
        times.push(start.elapsed().as_nanos() as f64 / operations as f64);
    }
    link.close(case, flow)?;
    Ok(figure(&mut times))
}

/// Waits until no instruction has been executed for `calm`: the counts then.
fn wait_for(counter: &mut Counter, calm: Duration) -> Result<Counts, BenchError> {
    let start = Instant::now();
    let (mut counts, mut since) = (counter.read().map_err(BenchError::Counter)?, start);
    while since.elapsed() < calm && start.elapsed() < MOST {
        std::thread::sleep(LOOK);
        let now = counter.read().map_err(BenchError::Counter)?;
        if now != counts {
            (counts, since) = (now, Instant::now());
        }
    }
    Ok(counts)
}

fn row(case: &Case, bursts: u64, runs: Vec<Counts>, tally: Tally) -> Row {
    let operations = bursts * u64::from(case.outstanding);
    let ways = if case.pattern == Pattern::Echo { 2 } else { 1 };
    let all = (operations * runs.len() as u64) as f64;
    let of = |count: fn(&Counts) -> u64| {
        let per = |run| count(run) as f64 / operations as f64;
        figure(&mut runs.iter().map(per).collect::<Vec<_>>())
    };
    Row {
        case: case.clone(),
        operations,
        payload: operations * u64::from(case.bytes) * ways,
        instructions: of(Counts::total),
        kernel: of(|run| run.kernel),
        nanoseconds: None,
        crossings: tally.crossings as f64 / all,
        system_calls: of(|run| run.syscalls.unwrap_or(0)).median,
        copied: tally.copied as f64 / all,
        page_operations: tally.pages as f64 / all,
        components: Default::default(),
    }
}

/// Median and ends of some runs.
fn figure(runs: &mut [f64]) -> Figure {
    runs.sort_by(f64::total_cmp);
    let at = |n: usize| runs.get(n).copied().unwrap_or(f64::NAN);
    Figure {
        median: at(runs.len() / 2),
        min: at(0),
        max: at(runs.len().saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Passing, Placement, Protocol};
    use super::*;

    #[test]
    fn a_row_is_of_one_operation() {
        let case = Case {
            placement: Placement::User,
            passing: Passing::Copy,
            protocol: Protocol::Udp,
            pattern: Pattern::Echo,
            bytes: 100,
            outstanding: 4,
            mtu: 1500,
        };
        let run = |user| Counts {
            user,
            kernel: 40,
            syscalls: Some(60),
            halts: None,
        };
        let runs = [160, 80, 120, 400, 100].map(run).to_vec();
        let tally = Tally {
            crossings: 400,
            copied: 20_000,
            pages: 10,
        };
        let row = row(&case, 5, runs, tally);
        assert_eq!((row.operations, row.payload), (20, 4000));
        let instructions = Figure {
            median: 8.0,
            min: 6.0,
            max: 22.0,
        };
        assert_eq!((row.instructions, row.kernel.median), (instructions, 2.0));
        // Of all runs.
        assert_eq!((row.crossings, row.system_calls), (4.0, 3.0));
        assert_eq!((row.copied, row.page_operations), (200.0, 0.1));
        assert_eq!(row.per_byte(), 8.0 / 200.0);
    }
}
