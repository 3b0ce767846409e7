//! `cargo ioipc compare`: what became better and what worse between two runs
//! of a benchmark.
//!
//! Problem: two medians always differ. Invariant: a row is called better or
//! worse only if the spreads of the two runs, from the least to the greatest,
//! do not meet; a row that only one of the files has is named, not passed over.

mod read;
mod render;

use std::fmt;
use std::path::{Path, PathBuf};

pub use read::Measured;

use crate::bench::placement::record::Figure;

/// What is called a change of a count that has no spread.
const COUNT_CHANGE: f64 = 0.01;

/// Why two files cannot be compared.
#[derive(Debug)]
pub enum CompareError {
    /// A file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It is not JSON, or a value is missing or of the wrong kind.
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line and column, from 1.
        position: (usize, usize),
        /// The value, as `rows[3].instructions`.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is JSON of something else.
    Foreign(PathBuf, String),
    /// A row has figures that cannot be; the file, the row, and why.
    Row(PathBuf, usize, String),
    /// One file is of one benchmark, the other of another.
    Kinds([PathBuf; 2], [&'static str; 2]),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error) => write!(f, "cannot read {}: {error}", file.display()),
            Self::Malformed {
                file,
                position: (line, column),
                place,
                why,
            } => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
                match place.as_str() {
                    "" | "." => f.write_str(why),
                    place => write!(f, "{place}: {why}"),
                }
            }
            Self::Foreign(file, why) => write!(f, "{}: {why}", file.display()),
            Self::Row(file, row, why) => write!(f, "{}: rows[{row}]: {why}", file.display()),
            Self::Kinds([a, b], [kind_a, kind_b]) => write!(
                f,
                "{} is of {kind_a} and {} of {kind_b}; only runs of one benchmark can be compared",
                a.display(),
                b.display()
            ),
        }
    }
}

impl core::error::Error for CompareError {}

/// How a figure changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It grew, and the spreads do not meet.
    Worse,
    /// It shrank, and the spreads do not meet.
    Better,
    /// The spreads meet.
    Within,
}

impl Verdict {
    /// Of a figure of which less is better.
    fn of(before: &Figure, after: &Figure) -> Self {
        if after.min > before.max {
            Self::Worse
        } else if after.max < before.min {
            Self::Better
        } else {
            Self::Within
        }
    }
}

/// A figure that both runs have.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row.
    pub name: String,
    /// What was measured: `instructions a packet`.
    pub unit: String,
    /// In the first run.
    pub before: Figure,
    /// In the second.
    pub after: Figure,
    /// How it changed.
    pub verdict: Verdict,
    /// Counts that changed, with their values before and after; they have no
    /// spread, and do not make a row better or worse.
    pub counts: Vec<(&'static str, f64, f64)>,
}

impl Change {
    /// By how much the median grew, as a part of what it was.
    #[must_use]
    pub fn growth(&self) -> f64 {
        match self.before.median > 0.0 {
            true => self.after.median / self.before.median - 1.0,
            false => 0.0,
        }
    }
}

/// Two runs of one benchmark, side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The two files, and what they say of themselves.
    pub about: [(PathBuf, String); 2],
    /// Circumstances that are not the same, in words.
    pub differences: Vec<String>,
    /// Worse ones first, by how much; then better ones; then those within the
    /// spread.
    pub changes: Vec<Change>,
    /// Rows of the first file only.
    pub only_before: Vec<String>,
    /// Rows of the second file only.
    pub only_after: Vec<String>,
}

/// Compares the runs in two files that `bench placement` or `bench echo`
/// wrote with `--json`.
///
/// # Errors
/// [`CompareError`], naming the file and the place in it.
pub fn compare(before: &Path, after: &Path) -> Result<Comparison, CompareError> {
    let (a, b) = (Measured::read(before)?, Measured::read(after)?);
    if a.kind != b.kind {
        let files = [before.to_path_buf(), after.to_path_buf()];
        return Err(CompareError::Kinds(files, [a.kind, b.kind]));
    }
    Ok(Comparison::of(before, &a, after, &b))
}

impl Comparison {
    fn of(before: &Path, a: &Measured, after: &Path, b: &Measured) -> Self {
        let mut changes: Vec<Change> = a
            .rows
            .iter()
            .filter_map(|row| Some(change(row, b.find(&row.name, &row.unit)?)))
            .collect();
        changes.sort_by(|x, y| {
            let by_growth = y.growth().abs().total_cmp(&x.growth().abs());
            x.verdict.cmp(&y.verdict).then(by_growth)
        });
        let only = |own: &Measured, other: &Measured| {
            let missing = own
                .rows
                .iter()
                .filter(|row| other.find(&row.name, &row.unit).is_none());
            missing.map(|row| row.name.clone()).collect()
        };
        let differences = a.about.iter().zip(&b.about).filter(|(x, y)| x != y);
        let differ = |((name, x), (_, y)): (&(_, _), &(_, _))| format!("{name}: {x}, then {y}");
        Self {
            differences: differences.map(differ).collect(),
            about: [(before.into(), a.says()), (after.into(), b.says())],
            only_before: only(a, b),
            only_after: only(b, a),
            changes,
        }
    }

    /// How many figures have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let own = self.changes.iter().filter(|c| c.verdict == verdict);
        own.count()
    }

    /// Whether this is no success for who wants none to be worse: a figure is,
    /// or there is none to compare.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.count(Verdict::Worse) > 0 || self.changes.is_empty()
    }
}

fn change(before: &read::Row, after: &read::Row) -> Change {
    let counts = before.counts.iter().filter_map(|(name, x)| {
        let (_, y) = after.counts.iter().find(|(other, _)| other == name)?;
        let changed = (x - y).abs() > COUNT_CHANGE * x.abs().max(y.abs());
        changed.then_some((*name, *x, *y))
    });
    Change {
        name: before.name.clone(),
        unit: before.unit.clone(),
        before: before.figure,
        after: after.figure,
        verdict: Verdict::of(&before.figure, &after.figure),
        counts: counts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(min: f64, median: f64, max: f64) -> Figure {
        Figure { median, min, max }
    }

    #[test]
    fn only_spreads_that_do_not_meet_are_a_change() {
        let before = figure(95.0, 100.0, 105.0);
        for (after, verdict) in [
            (figure(105.1, 110.0, 120.0), Verdict::Worse),
            (figure(105.0, 110.0, 120.0), Verdict::Within),
            (figure(80.0, 85.0, 94.9), Verdict::Better),
            (figure(80.0, 85.0, 95.0), Verdict::Within),
            (before, Verdict::Within),
        ] {
            assert_eq!(Verdict::of(&before, &after), verdict, "{after:?}");
        }
    }
}
