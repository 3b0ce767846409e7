//! Runs, medians and spreads.

use std::fmt;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use echo_load::Outcome;
use insn_count::{Counter, Counts};
use serde_json::{Value, json};

use super::report::amount;
use super::{BenchError, Load, MIN_RUNS, named};

/// How long the system is left alone before and after each run, so that what
/// one run leaves behind is not counted for the next. Counted with the run.
const SETTLE: Duration = Duration::from_millis(50);

/// What the system executes when nothing happens, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle {
    /// Instructions per second, the median.
    pub per_second: f64,
    /// The fewest and the most.
    pub range: (f64, f64),
}

/// The figure of one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Instructions per unit, the median of the runs.
    pub median: f64,
    /// The fewest and the most.
    pub range: (f64, f64),
    /// User instructions per unit in the median run.
    pub user: f64,
    /// Kernel instructions per unit in the median run.
    pub kernel: f64,
    /// System calls per unit in the median run, seen from outside.
    pub syscalls: Option<f64>,
    /// Units in a run.
    pub units: u64,
    /// Seconds that the median run took, [`SETTLE`] included; with the idle
    /// rate, how much of it may be idle.
    pub seconds: f64,
}

/// Measures the idle system.
pub(super) fn idle(counter: &mut Counter) -> Result<Idle, BenchError> {
    let mut rates = Vec::new();
    for _ in 0..MIN_RUNS {
        let (spent, seconds) = during(counter, || sleep(Duration::from_millis(500)))?.1;
        rates.push(spent.total() as f64 / seconds);
    }
    rates.sort_by(f64::total_cmp);
    Ok(Idle {
        per_second: rates[rates.len() / 2],
        range: ends(&rates),
    })
}

/// Measures a load `runs` times.
pub(super) fn figure(
    load: &Load,
    to: SocketAddr,
    runs: usize,
    counter: &mut Counter,
) -> Result<Figure, BenchError> {
    let name = load.to_string();
    let mut figures = Vec::new();
    for _ in 0..runs {
        let (outcome, (spent, seconds)) = during(counter, || {
            let outcome = load.run(to);
            sleep(SETTLE);
            outcome
        })?;
        let outcome = outcome.map_err(named(&name))?;
        perfect(&name, outcome)?;
        figures.push(Figure::of_run(&spent, outcome.done, seconds));
        sleep(SETTLE);
    }
    Ok(median(figures))
}

/// An outcome in which something is missing is no basis for a figure.
pub(super) fn perfect(name: &str, outcome: Outcome) -> Result<(), BenchError> {
    match outcome.is_perfect() {
        true => Ok(()),
        false => Err(BenchError::Imperfect {
            name: name.to_owned(),
            outcome,
        }),
    }
}

impl Idle {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "median": self.per_second,
            "min": self.range.0,
            "max": self.range.1,
        })
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.range;
        write!(
            f,
            "Idle: {} instructions a second ({} - {}); they are included above,\n\
             `idle` being their share.",
            amount(self.per_second),
            amount(low),
            amount(high)
        )
    }
}

impl Figure {
    /// The share of the figure that the system would also have executed idle.
    fn idle_share(&self, idle: &Idle) -> f64 {
        let counted = self.median * self.units as f64;
        if counted > 0.0 {
            idle.per_second * self.seconds / counted
        } else {
            0.0
        }
    }

    /// Median, range, user, kernel, system calls and idle share, for a table.
    pub(super) fn columns(&self, idle: &Idle) -> String {
        let range = format!("{} - {}", amount(self.range.0), amount(self.range.1));
        let syscalls = self.syscalls;
        format!(
            "{:>9} {range:>19} {:>9} {:>8} {:>8} {:>5.1}%",
            amount(self.median),
            amount(self.user),
            amount(self.kernel),
            syscalls.map_or("-".to_owned(), |calls| format!("{calls:.3}")),
            self.idle_share(idle) * 100.0,
        )
    }

    /// For programs.
    pub(super) fn json(&self, idle: &Idle) -> Value {
        json!({
            "instructions": self.median,
            "min": self.range.0,
            "max": self.range.1,
            "user": self.user,
            "kernel": self.kernel,
            "syscalls": self.syscalls,
            "units_per_run": self.units,
            "seconds": self.seconds,
            "idle_share": self.idle_share(idle),
        })
    }

    fn of_run(spent: &Counts, units: u64, seconds: f64) -> Self {
        let per = |count: u64| count as f64 / units.max(1) as f64;
        let total = per(spent.total());
        Self {
            median: total,
            range: (total, total),
            user: per(spent.user),
            kernel: per(spent.kernel),
            syscalls: spent.syscalls.map(per),
            units,
            seconds,
        }
    }
}

/// The run in the middle, with the range of all.
fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.median.total_cmp(&b.median));
    let medians: Vec<f64> = figures.iter().map(|figure| figure.median).collect();
    Figure {
        range: ends(&medians),
        ..figures[figures.len() / 2]
    }
}

/// First and last of what is sorted and not empty.
fn ends(sorted: &[f64]) -> (f64, f64) {
    (sorted[0], sorted[sorted.len() - 1])
}

/// What was executed during `work`, and its seconds.
fn during<R>(
    counter: &mut Counter,
    work: impl FnOnce() -> R,
) -> Result<(R, (Counts, f64)), BenchError> {
    let before = counter.read().map_err(BenchError::Counter)?;
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let after = counter.read().map_err(BenchError::Counter)?;
    Ok((result, (after - before, seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_run_and_the_range_of_all() {
        let run = |user, kernel| {
            let counts = Counts {
                user,
                kernel,
                syscalls: Some(4),
                halts: None,
            };
            Figure::of_run(&counts, 2, 1.0)
        };
        let figure = median(vec![
            run(10, 2),
            run(100, 2),
            run(20, 6),
            run(4, 0),
            run(30, 0),
        ]);
        assert_eq!((figure.median, figure.range), (13.0, (2.0, 51.0)));
        assert_eq!(
            (figure.user, figure.kernel, figure.syscalls),
            (10.0, 3.0, Some(2.0))
        );
    }

    #[test]
    fn a_loss_is_no_figure() {
        let lost = Outcome {
            done: 9,
            lost: 1,
            ..Outcome::default()
        };
        assert!(matches!(
            perfect("x", lost),
            Err(BenchError::Imperfect { .. })
        ));
        assert!(perfect("x", Outcome { lost: 0, ..lost }).is_ok());
    }
}
