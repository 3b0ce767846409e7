//! The runs of one case.
//!
//! Invariant: nothing of one burst is left to do when the next begins, and
//! nothing but bursts happens between the two readings of a run.

use std::time::{Duration, Instant};

use frame_peer::lockstep::Flow;
use insn_count::{Counter, Counts};
use rustix::time::{ClockId, clock_gettime};

use super::PlacementBench;
use super::cases::bursts;
use super::link::Link;
use super::record::{Case, Figure, Pattern, Row};
use super::tally::Tally;
use crate::Error;
use crate::bench::BenchError;
use crate::bench::profile::Profiling;

/// Bursts before the first run: caches of the system's own fill, hosts become
/// known, windows open.
const FIRST: u64 = 3;
/// How long no instruction may be executed before the next burst, and before a
/// run begins or has ended: shorter than the kernel's timer tick of 2 ms.
const CALM: Duration = Duration::from_micros(100);
const STILL: Duration = Duration::from_millis(1);
/// How long to wait for that, at most: something else may be going on.
const MOST: Duration = Duration::from_secs(1);

/// What instructions are counted with.
pub(super) struct Meter {
    pub counter: Counter,
    /// Also whose they are.
    pub profiling: Option<Profiling>,
}

/// What a burst took in one run: the mean of the middle half of its bursts, by
/// instructions. A host that has other things to do interrupts the emulator in
/// the midst of some bursts, which are then delivered in pieces.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    instructions: f64,
    kernel: f64,
    system_calls: f64,
}

impl Run {
    fn of(mut bursts: Vec<Counts>) -> Self {
        bursts.sort_by_key(Counts::total);
        let aside = bursts.len() / 4;
        let middle = bursts.get(aside..bursts.len() - aside).unwrap_or(&[]);
        let mean = |count: fn(&Counts) -> u64| {
            let sum: u64 = middle.iter().map(count).sum();
            sum as f64 / middle.len() as f64
        };
        Self {
            instructions: mean(Counts::total),
            kernel: mean(|burst| burst.kernel),
            system_calls: mean(|burst| burst.syscalls.unwrap_or(0)),
        }
    }
}

/// What some runs have cost.
struct Cost {
    runs: Vec<Run>,
    bursts: u64,
    time: Spent,
}

impl Meter {
    /// Measures the instructions of a case; also the peer's share of the time.
    pub fn instructions(
        &mut self,
        link: &mut Link,
        case: &Case,
        bench: &PlacementBench,
    ) -> Result<(Row, f64), Error> {
        let mut flow = link.open(case)?;
        for _ in 0..FIRST {
            link.burst(case, &mut flow)?;
            wait_for(&mut self.counter, STILL)?;
        }
        link.flush(case)?;
        let before = link.numbers(case)?;
        wait_for(&mut self.counter, STILL)?;
        let Self { counter, profiling } = self;
        let (cost, attribution) = Profiling::around(profiling.as_mut(), || {
            runs(link, counter, &mut flow, case, bench)
        })?;
        let tally = (&link.numbers(case)? - &before).tally(case.placement);
        link.close(case, flow)?;
        let share = cost.time.share();
        let mut row = row(case, &cost, &tally);
        if let Some(attribution) = attribution {
            let operations = row.operations * cost.runs.len() as u64;
            row.components = attribution.per_component(operations);
        }
        Ok((row, share))
    }
}

fn runs(
    link: &mut Link,
    counter: &mut Counter,
    flow: &mut Flow,
    case: &Case,
    bench: &PlacementBench,
) -> Result<Cost, BenchError> {
    let bursts = bursts(case, bench.quick);
    let (mut runs, mut time) = (Vec::new(), Spent::default());
    for _ in 0..bench.runs {
        let mut before = wait_for(counter, STILL)?;
        let mut run = Vec::new();
        for _ in 0..bursts {
            time.during(|| link.burst(case, flow))?;
            let after = wait_for(counter, CALM)?;
            run.push(after - before);
            before = after;
        }
        link.flush(case)?;
        runs.push(Run::of(run));
    }
    Ok(Cost { runs, bursts, time })
}

/// What bursts took: time, and processor time of the thread that is the peer.
#[derive(Default)]
struct Spent {
    all: Duration,
    own: Duration,
}

impl Spent {
    fn during<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (start, before) = (Instant::now(), own_time());
        let result = work();
        self.all += start.elapsed();
        self.own += own_time().saturating_sub(before);
        result
    }

    fn share(&self) -> f64 {
        self.own.as_secs_f64() / self.all.as_secs_f64()
    }
}

/// Processor time of this thread.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
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
        // Not asleep: on a host with nothing else to do that may take longer than
        // the guest's timer tick, of which each look would then see one.
        std::thread::yield_now();
        let now = counter.read().map_err(BenchError::Counter)?;
        if now != counts {
            (counts, since) = (now, Instant::now());
        }
    }
    Ok(counts)
}

fn row(case: &Case, cost: &Cost, tally: &Tally) -> Row {
    let runs = &cost.runs;
    let operations = cost.bursts * u64::from(case.outstanding);
    let ways = if case.pattern == Pattern::Echo { 2 } else { 1 };
    let all = (operations * runs.len() as u64) as f64;
    let of = |what: fn(&Run) -> f64| {
        let per = |run| what(run) / f64::from(case.outstanding);
        figure(&mut runs.iter().map(per).collect::<Vec<_>>())
    };
    Row {
        case: case.clone(),
        operations,
        payload: operations * u64::from(case.bytes) * ways,
        instructions: of(|run| run.instructions),
        kernel: of(|run| run.kernel),
        nanoseconds: None,
        crossings: tally.crossings as f64 / all,
        system_calls: of(|run| run.system_calls).median,
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
    fn bursts_that_the_host_disturbed_are_left_aside() {
        let burst = |user| Counts {
            user,
            kernel: 10,
            syscalls: Some(2),
            halts: None,
        };
        let run = Run::of([100, 900, 90, 110, 104, 40, 106, 100].map(burst).to_vec());
        assert_eq!(
            run.instructions,
            (100 + 100 + 104 + 106) as f64 / 4.0 + 10.0
        );
        assert_eq!((run.kernel, run.system_calls), (10.0, 2.0));
        assert_eq!(Run::of(vec![burst(5)]).instructions, 15.0);
    }

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
        let run = |instructions| Run {
            instructions,
            kernel: 8.0,
            system_calls: 12.0,
        };
        let runs = [40.0, 24.0, 32.0, 88.0, 28.0].map(run).to_vec();
        let tally = Tally {
            crossings: 400,
            copied: 20_000,
            pages: 10,
        };
        let cost = Cost {
            runs,
            bursts: 5,
            time: Spent::default(),
        };
        let row = row(&case, &cost, &tally);
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
