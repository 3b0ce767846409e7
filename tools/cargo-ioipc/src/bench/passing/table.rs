//! The figures as tables, as JSON, and the model's choice held against them.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::series::Point;
use super::{GRAINS, MOST_EXCESS, Measured, SIZES, Series, Way};
use crate::Error;
use crate::launch::write_atomically;

/// What stands beside the figures.
const NOTE: &str = "The client writes each byte, the I/O manager passes and reads it; or the \
other way round. The median of 5 rounds and more, faults on the way included. Instructions: \
user and kernel, release image, one CPU under emulation; caches, TLB and DMA are not in them. \
* the model's choice, where there is one.";

/// All figures.
#[derive(Clone, Debug)]
pub struct PassingReport {
    /// Instructions, with page operations as they are and dearer.
    pub instructions: Vec<Measured>,
    /// The same in time, or why not.
    pub time: Result<Vec<Measured>, String>,
    /// Whether sizes were left out.
    pub quick: bool,
}

/// How far a choice of the model is from the best.
#[derive(Clone, Debug)]
pub struct Excess {
    /// Of what, in words.
    pub at: String,
    /// What the choice took beyond the best technique, as a part of that.
    pub part: f64,
}

impl Measured {
    /// The series of a caller in which a technique was forced.
    fn forced<'a>(&'a self, of: &'a Series) -> impl Iterator<Item = &'a Series> {
        let beside = self.series.iter().filter(|s| s.is_beside(of));
        beside.filter(|s| s.forced.is_some())
    }

    /// The series in which the model chose.
    fn chosen(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|s| s.forced.is_none())
    }

    /// How far each choice is from the best.
    pub fn excesses(&self) -> Vec<Excess> {
        let mut all = Vec::new();
        for series in self.chosen() {
            for (n, point) in series.points.iter().enumerate() {
                let at = |s: &Series| s.points.get(n).copied().flatten();
                let forced: Vec<Point> = self.forced(series).filter_map(at).collect();
                let best = forced.iter().map(|p| p.median).min_by(f64::total_cmp);
                let (Some(point), Some(best)) = (point, best) else {
                    continue;
                };
                all.push(Excess {
                    at: format!(
                        "{}, {} pages, {}, {}: {}",
                        series.way,
                        GRAINS[series.grain].1,
                        series.caller(),
                        bytes(SIZES[n]),
                        point.technique
                    ),
                    part: point.median / best - 1.0,
                });
            }
        }
        all
    }

    /// The choices that are too far from the best.
    pub fn wrong(&self) -> Vec<Excess> {
        let mut all = self.excesses();
        all.retain(|excess| excess.part > MOST_EXCESS);
        all
    }

    fn json(&self) -> Value {
        let worst = self
            .worst()
            .map(|e| json!({ "at": e.at, "excess": e.part }));
        json!({
            "page_operations": format!("x{}", self.burden),
            "ns_per_count": self.ns,
            "worst_choice": worst,
            "series": self.series.iter().map(Series::json).collect::<Vec<_>>(),
        })
    }

    fn worst(&self) -> Option<Excess> {
        let by_part = |a: &Excess, b: &Excess| a.part.total_cmp(&b.part);
        self.excesses().into_iter().max_by(by_part)
    }

    fn unit(&self) -> &'static str {
        match self.ns {
            Some(_) => "nanoseconds",
            None => "instructions",
        }
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, way: Way, grain: usize) -> fmt::Result {
        let ours = |s: &&Series| s.way == way && s.grain == grain && s.forced.is_some();
        let columns: Vec<&Series> = self.series.iter().filter(ours).collect();
        let unit = self.unit();
        write!(f, "\n{way}, pages of {}, {unit}", GRAINS[grain].1)?;
        match self.burden {
            1 => writeln!(f, ":\n")?,
            burden => writeln!(f, ", page operations {burden} times as long:\n")?,
        }
        f.write_str("| bytes |")?;
        for series in &columns {
            let technique = series.forced.map(|t| t.to_string()).unwrap_or_default();
            write!(f, " {}: {technique} |", series.caller())?;
        }
        writeln!(f, "\n|{}", " --- |".repeat(columns.len() + 1))?;
        for (n, size) in SIZES.into_iter().enumerate() {
            if columns
                .iter()
                .all(|s| s.points.get(n).is_none_or(Option::is_none))
            {
                continue;
            }
            write!(f, "| {} |", bytes(size))?;
            for series in &columns {
                self.cell(f, series, n)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn cell(&self, f: &mut fmt::Formatter<'_>, series: &Series, n: usize) -> fmt::Result {
        let Some(point) = series.points.get(n).copied().flatten() else {
            return f.write_str(" – |");
        };
        let is_choice = |s: &&Series| {
            let chosen = s.points.get(n).copied().flatten();
            s.is_beside(series) && chosen.is_some_and(|p| Some(p.technique) == series.forced)
        };
        let several = self.forced(series).count() > 1;
        let mark = match several && self.chosen().any(|s| is_choice(&s)) {
            true => "*",
            false => "",
        };
        write!(f, " {:.0}{mark} |", point.median * self.ns.unwrap_or(1.0))
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, wrong) = (self.unit(), self.wrong());
        let what = match self.burden {
            1 => String::new(),
            burden => format!(", page operations {burden} times as long"),
        };
        match (self.worst(), wrong.is_empty()) {
            (Some(worst), true) => writeln!(
                f,
                "Choice{what}, {unit}: within {:.1} % of the best technique at every point ({}).",
                worst.part * 100.0,
                worst.at
            ),
            _ => wrong.iter().try_for_each(|e| {
                let part = e.part * 100.0;
                writeln!(
                    f,
                    "Choice{what}, {unit}: {part:.1} % over the best: {}",
                    e.at
                )
            }),
        }
    }
}

impl PassingReport {
    fn boots(&self) -> impl Iterator<Item = &Measured> {
        let time = self.time.iter().flatten();
        self.instructions.iter().chain(time)
    }

    /// Whether some choice is too far from the best.
    pub fn is_wrong(&self) -> bool {
        self.boots().any(|boot| !boot.wrong().is_empty())
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let all = |boots: &[Measured]| boots.iter().map(Measured::json).collect::<Vec<_>>();
        json!({
            "note": NOTE,
            "quick": self.quick,
            "instructions": all(&self.instructions),
            "time": match &self.time {
                Ok(boots) => json!(all(boots)),
                Err(why) => json!({ "not_measured": why }),
            },
        })
    }

    /// Writes [`PassingReport::json`] to a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_json(&self, file: &Path) -> Result<(), Error> {
        write_atomically(file, format!("{:#}\n", self.json()).as_bytes())
    }
}

impl fmt::Display for PassingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for boot in self.boots() {
            for way in Way::ALL {
                for grain in 0..GRAINS.len() {
                    boot.table(f, way, grain)?;
                }
            }
        }
        writeln!(f, "\n{NOTE}")?;
        if self.quick {
            writeln!(f, "Some sizes only: for a look, not for the record.")?;
        }
        self.boots().try_for_each(|boot| boot.summary(f))?;
        match &self.time {
            Ok(_) => Ok(()),
            Err(why) => writeln!(f, "Real time: not measured ({why})."),
        }
    }
}

/// A size as people write it.
fn bytes(size: u32) -> String {
    match size {
        1048576.. => format!("{} MiB", size >> 20),
        1024.. => format!("{} KiB", size >> 10),
        _ => format!("{size} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three series of one caller, of one size.
    fn measured(reference: u32, copy: u32, chosen: u32, technique: u32) -> Measured {
        let line = |forced, median, technique| {
            format!(
                "INFO  large] {{\"way\":\"out\",\"semantics\":2,\"blocked\":true,\"forced\":{forced},\
                 \"points\":[[{median},{median},{median},{technique}]]}}"
            )
        };
        let lines = [
            line(1, reference, 1),
            line(3, copy, 3),
            line(0, chosen, technique),
        ];
        Measured {
            burden: 1,
            series: lines.iter().filter_map(|l| Series::parse(l)).collect(),
            ns: None,
        }
    }

    fn report(boot: Measured) -> PassingReport {
        PassingReport {
            instructions: vec![boot],
            time: Err("emulated".to_owned()),
            quick: false,
        }
    }

    #[test]
    fn the_choice_is_marked_and_held_against_the_best() {
        let right = report(measured(1000, 2000, 1050, 1));
        assert!(!right.is_wrong());
        let text = right.to_string();
        assert!(text.contains("| 64 B | 1000* | 2000 |"), "{text}");
        assert!(text.contains("within 5.0 % of the best"), "{text}");
        assert!(text.contains("not measured (emulated)"), "{text}");
        let wrong = report(measured(1000, 1101, 1101, 3));
        assert!(wrong.is_wrong());
        let text = wrong.to_string();
        assert!(text.contains("| 64 B | 1000 | 1101* |"), "{text}");
        assert!(
            text.contains("10.1 % over the best: out, 2 MiB pages"),
            "{text}"
        );
        assert_eq!(wrong.json()["time"]["not_measured"], "emulated");
    }
}
