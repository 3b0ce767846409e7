//! The figures as a table, as JSON, and held against the project's limits.

use std::fmt;

use serde_json::{Value, json};

use super::profile::LoadProfile;
use super::{Figure, Idle, Load, Series};

/// How much idle connections may change the figure of a load.
const IDLE_CONNECTIONS_EFFECT: f64 = 0.10;

/// What stands beside every figure.
pub(super) const NOTE: &str = "Guest instructions, user and kernel, release image, one CPU under \
emulation; caches, TLB and DMA are not in it.";

/// One load and its figure.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Under which circumstances.
    pub series: Series,
    /// The load.
    pub load: Load,
    /// Its figure.
    pub figure: Figure,
}

/// All figures of a system.
#[derive(Clone, Debug)]
pub struct Report {
    /// The idle system.
    pub idle: Idle,
    /// The loads, in order.
    pub rows: Vec<Row>,
    /// Where the instructions of each load go, if that was asked for.
    pub profiles: Vec<LoadProfile>,
    /// Runs of each.
    pub runs: usize,
    /// Whether the loads were a tenth of the usual.
    pub quick: bool,
}

impl Row {
    fn name(&self) -> String {
        format!("{}{}", self.load, self.series.suffix())
    }

    fn json(&self, idle: &Idle) -> Value {
        let mut value = self.figure.json(idle);
        value["load"] = json!(self.load.to_string());
        value["idle_connections"] = json!(self.series == Series::BesideIdle);
        value["unit"] = json!(self.load.unit());
        value["limit"] = json!(self.load.limit());
        value["peer"] = json!(self.load.peer().map(|peer| json!({
            "name": peer.name,
            "instructions": peer.figure,
            "ratio": self.figure.median / peer.figure,
        })));
        value
    }
}

impl Report {
    /// The figure of a load in a series.
    fn find(&self, series: Series, load: &Load) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.series == series && row.load == *load)
    }

    /// What exceeds the project's limits, in words; empty if all is well.
    pub fn excesses(&self) -> Vec<String> {
        let mut excesses = Vec::new();
        for row in &self.rows {
            let (name, median) = (row.name(), row.figure.median);
            if let Some(limit) = row.load.limit().filter(|limit| median > *limit) {
                excesses.push(format!(
                    "{name}: {} instead of {} at most",
                    amount(median),
                    amount(limit)
                ));
            }
            if row.series == Series::BesideIdle
                && let Some(plain) = self.find(Series::Plain, &row.load)
                && (median / plain.figure.median - 1.0).abs() > IDLE_CONNECTIONS_EFFECT
            {
                let change = (median / plain.figure.median - 1.0) * 100.0;
                excesses.push(format!("{name}: {change:+.1} % instead of 10 % at most"));
            }
        }
        excesses
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({
            "note": NOTE,
            "runs": self.runs,
            "quick": self.quick,
            "idle_instructions_per_second": self.idle.json(),
            "rows": self.rows.iter().map(|row| row.json(&self.idle)).collect::<Vec<_>>(),
            "profiles": self.profiles.iter().map(LoadProfile::json).collect::<Vec<_>>(),
            "excesses": self.excesses(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:46} {:>9} {:>19} {:>9} {:>8} {:>8} {:>6} {:>9} {:>6}",
            "instructions per packet, message or byte",
            "median",
            "min - max",
            "user",
            "kernel",
            "syscalls",
            "idle",
            "sDDF",
            "ratio"
        )?;
        for row in &self.rows {
            let figure = &row.figure;
            let columns = figure.columns(&self.idle);
            let peer = row.load.peer();
            writeln!(
                f,
                "{:46} {columns} {:>9} {:>6}",
                row.name(),
                peer.map_or("-".to_owned(), |peer| amount(peer.figure)),
                peer.map_or("-".to_owned(), |peer| format!(
                    "{:.2}",
                    figure.median / peer.figure
                )),
            )?;
        }
        writeln!(
            f,
            "{} Medians of {} runs, every reply checked, none lost.",
            self.idle, self.runs
        )?;
        if self.quick {
            writeln!(f, "Quick loads: for a look, not for the record.")?;
        }
        writeln!(f, "{NOTE}")?;
        writeln!(
            f,
            "sDDF: release 0.7 on seL4 16 MCS, the same emulator and loads; ratio = ours / theirs."
        )?;
        self.excesses()
            .iter()
            .try_for_each(|excess| writeln!(f, "over the limit: {excess}"))?;
        let mut profiles = self.profiles.iter();
        profiles.try_for_each(|profile| write!(f, "\n{profile}"))
    }
}

/// A number with as many digits as it is worth.
pub(super) fn amount(value: f64) -> String {
    match value {
        0.0..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(plain: f64, beside: f64) -> Report {
        let figure = |median| Figure {
            median,
            range: (median, median),
            user: median,
            kernel: 0.0,
            syscalls: Some(3.0),
            units: 2000,
            seconds: 0.5,
        };
        let load = Load::Udp {
            size: 64,
            outstanding: 1,
            count: 2000,
        };
        let row = |series, median| Row {
            series,
            load,
            figure: figure(median),
        };
        let rows = vec![row(Series::Plain, plain), row(Series::BesideIdle, beside)];
        let idle = Idle {
            per_second: 40_000.0,
            range: (39_000.0, 41_000.0),
        };
        Report {
            idle,
            rows,
            profiles: Vec::new(),
            runs: 5,
            quick: false,
        }
    }

    #[test]
    fn limits_are_noticed() {
        assert!(report(11_000.0, 12_000.0).excesses().is_empty());
        assert_eq!(report(12_001.0, 11_000.0).excesses().len(), 1);
        let slower = report(10_000.0, 11_100.0).excesses();
        assert_eq!(
            slower,
            ["UDP 64 B, 1 outstanding, 64 idle connections: +11.0 % instead of 10 % at most"]
        );
    }

    #[test]
    fn table_and_json_say_the_same() {
        let report = report(8_500.0, 8_600.0);
        let (text, json) = (report.to_string(), report.json());
        assert!(
            text.contains("8500") && text.contains("0.50") && text.contains(NOTE),
            "{text}"
        );
        assert_eq!(json["rows"][0]["peer"]["ratio"], 0.5);
        assert_eq!(json["rows"][1]["idle_connections"], true);
        // 20 000 idle instructions in 17 million.
        let share = json["rows"][0]["idle_share"].as_f64();
        assert!(
            share.is_some_and(|share| (share - 0.001_176).abs() < 1e-5),
            "{share:?}"
        );
    }
}
