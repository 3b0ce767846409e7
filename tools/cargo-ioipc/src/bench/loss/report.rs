//! The figures of `bench loss`, and what is demanded of them.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::endpoint::Received;
use super::{DELAY, Way};
use crate::Error;
use crate::launch::write_atomically;

/// The longest silence that is allowed.
pub const MOST_SILENCE: Duration = Duration::from_secs(3);

/// The share of Linux's throughput that is demanded at a loss in thousandths.
#[must_use]
pub fn demanded(loss: u16) -> Option<f64> {
    match loss {
        10 => Some(1.0 / 2.0),
        50 => Some(1.0 / 3.0),
        _ => None,
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Seed of the wire.
    pub seed: u64,
    /// Bytes a second.
    pub rate: f64,
    /// The first byte that was wrong.
    pub wrong: Option<u64>,
    /// The longest time without new bytes at the receiver.
    pub silence: Duration,
}

impl Run {
    pub(super) fn new(seed: u64, received: Received, time: Duration) -> Self {
        Self {
            seed,
            rate: received.bytes as f64 / time.as_secs_f64(),
            wrong: received.wrong,
            silence: received.silence,
        }
    }

    fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "bytes_per_second": self.rate,
            "first_wrong_byte": self.wrong,
            "silence_ms": self.silence.as_secs_f64() * 1e3,
        })
    }
}

/// One loss and way, ours and Linux.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Loss each way, in thousandths.
    pub loss: u16,
    /// Who sends.
    pub way: Way,
    /// Our system and Linux, by seed.
    pub ours: Vec<Run>,
    /// Linux and Linux, by seed.
    pub linux: Vec<Run>,
    /// The same with windows of 64 KiB at most; told, not demanded.
    pub narrow: Option<Run>,
    /// Linux with the congestion control that this host is set to, if that is
    /// another; told, not demanded.
    pub own: Option<Run>,
}

/// The run in the middle by `key`.
fn median(runs: &[Run], key: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(key).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The longest silence of all runs.
fn silence(runs: &[Run]) -> Duration {
    runs.iter().map(|run| run.silence).max().unwrap_or_default()
}

impl Case {
    pub(super) fn new(loss: u16, way: Way) -> Self {
        Self {
            loss,
            way,
            ours: Vec::new(),
            linux: Vec::new(),
            narrow: None,
            own: None,
        }
    }

    /// Loss and way in words.
    #[must_use]
    pub fn name(&self) -> String {
        let way = match self.way {
            Way::In => "in",
            Way::Out => "out",
        };
        format!("loss {}.{} %, {way}", self.loss / 10, self.loss % 10)
    }

    /// Our share of what Linux reaches: the medians of the seeds.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(&self.ours, |run| run.rate) / median(&self.linux, |run| run.rate)
    }

    /// What is demanded and not so, in words.
    fn missed(&self) -> Vec<String> {
        let name = self.name();
        let mut missed = Vec::new();
        let ratio = self.ratio();
        // Where nothing was measured, the ratio is no number and not enough.
        let is_enough = |least: &f64| ratio >= *least;
        if let Some(least) = demanded(self.loss).filter(|least| !is_enough(least)) {
            missed.push(format!("{name}: {ratio:.2} of Linux instead of {least:.2}"));
        }
        for run in &self.ours {
            let seed = run.seed;
            if let Some(at) = run.wrong {
                missed.push(format!("{name}, seed {seed}: byte {at} is wrong"));
            }
            if run.silence > MOST_SILENCE {
                let silence = run.silence.as_secs_f64();
                missed.push(format!("{name}, seed {seed}: {silence:.1} s of silence"));
            }
        }
        missed
    }

    fn json(&self) -> Value {
        let runs = |runs: &[Run]| runs.iter().map(Run::json).collect::<Vec<_>>();
        json!({
            "loss": f64::from(self.loss) / 1000.0,
            "way": match self.way { Way::In => "in", Way::Out => "out" },
            "ratio": self.ratio(),
            "demanded": demanded(self.loss),
            "ours": runs(&self.ours),
            "linux": runs(&self.linux),
            "linux_64_kib": self.narrow.as_ref().map(Run::json),
            "linux_own": self.own.as_ref().map(Run::json),
        })
    }
}

/// All figures.
#[derive(Clone, Debug, PartialEq)]
pub struct LossReport {
    /// Each loss and way.
    pub cases: Vec<Case>,
    /// Congestion control of Linux.
    pub congestion: String,
    /// The one that this host is set to, if that is another.
    pub own: Option<String>,
    /// How long each run lasted.
    pub time: Duration,
    /// Whether there was one seed only.
    pub quick: bool,
}

impl LossReport {
    /// What is demanded and not so, in words; empty if all is well.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        self.cases.iter().flat_map(Case::missed).collect()
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "delay_ms": DELAY.as_secs_f64() * 1e3,
            "seconds": self.time.as_secs_f64(),
            "quick": self.quick,
            "congestion": self.congestion,
            "own_congestion": self.own,
            "cases": self.cases.iter().map(Case::json).collect::<Vec<_>>(),
            "missed": self.missed(),
        })
    }

    /// Writes [`LossReport::json`] to a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_json(&self, file: &Path) -> Result<(), Error> {
        write_atomically(file, format!("{:#}\n", self.json()).as_bytes())
    }
}

fn mega(rate: f64) -> String {
    format!("{:.3}", rate / 1e6)
}

fn told(run: Option<&Run>) -> String {
    run.map_or("-".to_owned(), |run| mega(run.rate))
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.as_deref().unwrap_or("-");
        let seconds = self.time.as_secs_f64();
        writeln!(
            f,
            "TCP, {DELAY:?} there and back, loss each way; MB/s over {seconds} s, medians of the seeds; \
             Linux uses {}\n",
            self.congestion
        )?;
        write!(f, "{:18} {:>9} {:>9} {:>6}", "", "ours", "Linux", "ratio")?;
        write!(f, " {:>8} {:>11} {:>9}", "demanded", "ours silent", "Linux")?;
        writeln!(f, " {:>7} {:>12} {own:>7}", "bytes", "Linux 64 KiB")?;
        for case in &self.cases {
            let rate = |runs: &[Run]| mega(median(runs, |run| run.rate));
            let demand = demanded(case.loss).map_or("-".to_owned(), |least| format!("{least:.2}"));
            let is_right = case.ours.iter().all(|run| run.wrong.is_none());
            let [ours, linux] = [&case.ours, &case.linux];
            write!(f, "{:18} {:>9} {:>9}", case.name(), rate(ours), rate(linux))?;
            write!(f, " {:>6.2} {demand:>8}", case.ratio())?;
            let silent = [ours, linux].map(|runs| silence(runs).as_secs_f64());
            write!(f, " {:>9.2} s {:>7.2} s", silent[0], silent[1])?;
            write!(f, " {:>7}", if is_right { "right" } else { "WRONG" })?;
            let [narrow, own] = [&case.narrow, &case.own].map(|run| told(run.as_ref()));
            writeln!(f, " {narrow:>12} {own:>7}")?;
        }
        let missed = self.missed();
        missed
            .iter()
            .try_for_each(|what| writeln!(f, "MISSED {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64, silence: u64, wrong: Option<u64>) -> Run {
        Run {
            seed: 1,
            rate,
            wrong,
            silence: Duration::from_millis(silence),
        }
    }

    fn report(loss: u16, ours: [Run; 3]) -> LossReport {
        let case = Case {
            ours: ours.to_vec(),
            linux: vec![
                run(100e3, 900, None),
                run(200e3, 9000, None),
                run(1e6, 5, None),
            ],
            ..Case::new(loss, Way::Out)
        };
        LossReport {
            cases: vec![case],
            congestion: "cubic".to_owned(),
            own: None,
            time: Duration::from_secs(1),
            quick: false,
        }
    }

    #[test]
    fn the_median_is_held_against_the_demand() {
        let good = [run(1.0, 5, None), run(100e3, 5, None), run(9e9, 5, None)];
        assert_eq!(report(10, good).missed(), Vec::<String>::new());
        let slow = [run(1.0, 5, None), run(99e3, 5, None), run(9e9, 5, None)];
        let missed = report(10, slow).missed();
        assert_eq!(missed, ["loss 1.0 %, out: 0.49 of Linux instead of 0.50"]);
        assert!(report(50, slow).missed().is_empty());
        assert!(report(0, slow).missed().is_empty(), "told, not demanded");
    }

    #[test]
    fn every_run_has_to_be_right_and_may_not_be_silent() {
        let runs = [
            run(1e9, 3000, None),
            run(1e9, 3001, None),
            run(1e9, 1, Some(7)),
        ];
        let report = report(0, runs);
        let missed = report.missed();
        assert_eq!(
            missed,
            [
                "loss 0.0 %, out, seed 1: 3.0 s of silence",
                "loss 0.0 %, out, seed 1: byte 7 is wrong",
            ]
        );
        let text = report.to_string();
        assert!(text.contains("WRONG") && text.contains("MISSED"), "{text}");
        assert_eq!(report.json()["missed"], json!(missed));
    }

    #[test]
    fn nothing_measured_meets_nothing() {
        let mut report = report(10, [run(1.0, 5, None); 3]);
        report.cases[0].ours.clear();
        assert_eq!(report.missed().len(), 1);
    }
}
