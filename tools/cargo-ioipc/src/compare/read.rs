//! Reads what a benchmark wrote.
//!
//! Invariant: the rows of a [`Measured`] have different names, and each figure
//! lies between its least and its greatest, none of them negative or endless.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CompareError;
use crate::bench::placement::record::{FORMAT, Figure, Record};
use crate::bench::placement::{case_name, record};

/// A run of a benchmark.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The command that wrote it.
    pub kind: &'static str,
    /// The circumstances, by name; the same names for the same kind.
    pub about: Vec<(&'static str, String)>,
    /// The rows, in their order.
    pub rows: Vec<Row>,
}

/// A figure and what was counted with it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// In which unit.
    pub unit: String,
    /// The figure; less is better.
    pub figure: Figure,
    /// Counts without a spread.
    pub counts: Vec<(&'static str, f64)>,
}

/// What `bench echo` writes, as far as it is compared.
#[derive(Deserialize)]
struct Echo {
    runs: Option<u32>,
    #[serde(default)]
    quick: bool,
    #[serde(default)]
    rows: Vec<EchoRow>,
    #[serde(default)]
    tap: Tap,
}

#[derive(Default, Deserialize)]
struct Tap {
    runs: Option<u32>,
    #[serde(default)]
    quick: bool,
    #[serde(default)]
    rows: Vec<EchoRow>,
}

#[derive(Deserialize)]
struct EchoRow {
    load: String,
    unit: String,
    #[serde(default)]
    idle_connections: bool,
    instructions: f64,
    min: f64,
    max: f64,
    syscalls: Option<f64>,
}

impl Measured {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CompareError`], naming the file and the place in it.
    pub fn read(file: &Path) -> Result<Self, CompareError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CompareError::Unreadable(file.to_path_buf(), error))?;
        let value: Value = parse(file, &text)?;
        let foreign = |why: String| Err(CompareError::Foreign(file.to_path_buf(), why));
        let measured = match (value.get("format"), value.get("tap")) {
            (Some(Value::String(format)), _) if format == FORMAT => {
                Self::of_placement(&parse(file, &text)?)
            }
            (Some(format), _) => {
                return foreign(format!("format {format} instead of \"{FORMAT}\""));
            }
            (None, Some(_)) => Self::of_echo(parse(file, &text)?),
            (None, None) => {
                return foreign("neither `bench placement` nor `bench echo` wrote this".to_owned());
            }
        };
        measured.check(file)?;
        Ok(measured)
    }

    fn of_placement(record: &Record) -> Self {
        let about = vec![
            ("ioipc", record.version.clone()),
            ("kernel", record.kernel.clone()),
            ("accelerator", record.accel.clone()),
            ("runs", record.runs.to_string()),
            ("quick", record.quick.to_string()),
        ];
        Self {
            kind: "`bench placement`",
            about,
            rows: record.rows.iter().flat_map(placement_rows).collect(),
        }
    }

    fn of_echo(echo: Echo) -> Self {
        let runs = echo
            .runs
            .or(echo.tap.runs)
            .map_or_else(String::new, |runs| runs.to_string());
        let quick = echo.quick || echo.tap.quick;
        let user = echo.rows.into_iter().map(|row| echo_row(row, ""));
        let tap = echo.tap.rows.into_iter().map(|row| echo_row(row, "TAP, "));
        Self {
            kind: "`bench echo`",
            about: vec![("runs", runs), ("quick", quick.to_string())],
            rows: user.chain(tap).collect(),
        }
    }

    /// The row of this name and unit.
    #[must_use]
    pub fn find(&self, name: &str, unit: &str) -> Option<&Row> {
        let own = |row: &&Row| row.name == name && row.unit == unit;
        self.rows.iter().find(own)
    }

    /// The circumstances in a line.
    #[must_use]
    pub fn says(&self) -> String {
        let about = self
            .about
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        format!("{}, {}", self.kind, about.collect::<Vec<_>>().join(", "))
    }

    fn check(&self, file: &Path) -> Result<(), CompareError> {
        let mut names = BTreeSet::new();
        for (at, row) in self.rows.iter().enumerate() {
            let refuse = |why: String| CompareError::Row(file.to_path_buf(), at, why);
            let Figure { median, min, max } = row.figure;
            if !(0.0 <= min && min <= median && median <= max && max.is_finite()) {
                return Err(refuse(format!(
                    "{}: median {median} is not between {min} and {max}",
                    row.unit
                )));
            }
            if !names.insert((&row.name, &row.unit)) {
                return Err(refuse(format!("\"{}\" for the second time", row.name)));
            }
        }
        Ok(())
    }
}

fn placement_rows(row: &record::Row) -> impl Iterator<Item = Row> {
    let name = case_name(&row.case);
    let counts = vec![
        ("crossings", row.crossings),
        ("system calls", row.system_calls),
        ("bytes copied", row.copied),
        ("page operations", row.page_operations),
    ];
    let time = row.nanoseconds.map(|figure| Row {
        name: name.clone(),
        unit: "ns an operation".to_owned(),
        figure,
        counts: Vec::new(),
    });
    let instructions = Row {
        name,
        unit: "instructions an operation".to_owned(),
        figure: row.instructions,
        counts,
    };
    [instructions].into_iter().chain(time)
}

fn echo_row(row: EchoRow, wire: &str) -> Row {
    let beside = match row.idle_connections {
        true => ", beside idle connections",
        false => "",
    };
    Row {
        name: format!("{wire}{}{beside}", row.load),
        unit: format!("instructions a {}", row.unit),
        figure: Figure {
            median: row.instructions,
            min: row.min,
            max: row.max,
        },
        counts: row
            .syscalls
            .map(|calls| ("system calls", calls))
            .into_iter()
            .collect(),
    }
}

/// Parses JSON and says where it is wrong.
fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, CompareError> {
    let malformed = |place: String, error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let position = format!(" at line {line} column {column}");
        CompareError::Malformed {
            file: file.to_path_buf(),
            position: (line, column),
            place,
            why: said.strip_suffix(&position).unwrap_or(&said).to_owned(),
        }
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| malformed(error.path().to_string(), error.inner()))?;
    json.end()
        .map_err(|error| malformed(String::new(), &error))?;
    Ok(value)
}
