//! `cargo ioipc bench placement`: what it costs to take the protocol server
//! and the driver out of the privileged domain, with I/O-oriented IPC and
//! with messages that are copied.
//!
//! Problem: the cost of a crossing is a few hundred instructions, so it shows
//! only if everything else is the same from run to run: how frames arrive, what
//! the peer acknowledges when, what is still going on from the burst before.
//! Invariants: the load comes in bursts, each written to the wire at once by a
//! peer on the host, whose instructions are not counted, and each begins when
//! the guest has nothing left to do; every byte is compared on both sides, and a
//! run in which one was lost or wrong is an error, not a figure; what a row
//! compares with another was measured with the same application.

mod boot;
mod cases;
mod html;
mod link;
mod pairs;
mod panel;
mod pin;
mod plot;
pub mod ratios;
pub mod record;
mod runs;
mod table;
mod tally;
mod variant;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sel4_kernel::Progress;

use self::boot::Boot;
use self::cases::Plan;
use self::record::{FORMAT, Passing, Placement, Record, Row};
use super::{BenchError, MIN_RUNS};
use crate::Error;
use crate::launch::write_atomically;
use crate::machine::Accel;

pub use html::html;
pub(crate) use panel::{CAVEAT, case_name, number};
pub use table::table;

/// What to measure.
#[derive(Clone, Debug)]
pub struct PlacementBench {
    /// Runs of each case; [`MIN_RUNS`] or more.
    pub runs: usize,
    /// The named subset only: for a look, not for the record.
    pub quick: bool,
    /// Also on hardware, for real time.
    pub kvm: bool,
    /// Where server and driver run; both if empty.
    pub placements: Vec<Placement>,
    /// How data passes; all ways if empty.
    pub passings: Vec<Passing>,
    /// Show progress on standard error.
    pub progress: bool,
    /// Also find out which components the instructions are of.
    pub profile: bool,
    /// The emulator's capture of each boot's wire goes to this directory, under
    /// the variant's name with `-` for `/`.
    pub captures: Option<PathBuf>,
    /// The counter plugin; built from the project's sources if none is given.
    pub plugin: Option<PathBuf>,
}

impl Default for PlacementBench {
    fn default() -> Self {
        Self {
            runs: MIN_RUNS,
            quick: false,
            kvm: false,
            placements: Vec::new(),
            passings: Vec::new(),
            progress: false,
            profile: false,
            captures: None,
            plugin: None,
        }
    }
}

/// What was measured, and what is no part of the record.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The figures.
    pub record: Record,
    /// The peer's processor time as a share of the time that bursts took, in the
    /// case where it was greatest: far from 1, it is not what is waited for.
    pub peer_share: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table(&self.record))?;
        let share = self.peer_share * 100.0;
        writeln!(
            f,
            "The peer computed for {share:.0} % of the time, where it did most."
        )
    }
}

/// Writes a record for programs.
///
/// # Errors
/// [`Error::Io`].
pub fn write_json(record: &Record, file: &Path) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(record)
        .map_err(|error| Error::io("write", file)(std::io::Error::other(error)))?;
    write_atomically(file, (text + "\n").as_bytes())
}

/// Writes the page of a record.
///
/// # Errors
/// [`Error::Io`].
pub fn write_html(record: &Record, file: &Path) -> Result<(), Error> {
    write_atomically(file, html(record).as_bytes())
}

/// Boots the measuring system in each variant and measures all cases.
///
/// # Errors
/// Those of [`crate::prepare`] and of booting; [`Error::Bench`] if a byte was
/// lost or wrong, if there are too few runs, or no hardware virtualisation
/// though it was asked for.
pub fn placement(bench: &PlacementBench) -> Result<Measured, Error> {
    let plan = Plan::new(bench.quick, &bench.placements, &bench.passings);
    measure(bench, &plan)
}

/// As [`placement`], of the cases `wanted` only.
///
/// # Errors
/// As [`placement`].
pub fn placement_of(
    bench: &PlacementBench,
    wanted: impl Fn(&record::Case) -> bool,
) -> Result<Measured, Error> {
    let mut plan = Plan::new(bench.quick, &bench.placements, &bench.passings);
    plan.retain(wanted);
    measure(bench, &plan)
}

fn measure(bench: &PlacementBench, plan: &Plan) -> Result<Measured, Error> {
    if bench.runs < MIN_RUNS {
        return Err(BenchError::TooFewRuns(bench.runs).into());
    }
    if bench.kvm {
        boot::check_kvm()?;
    }
    let bar = match bench.progress {
        true => Progress::timed(plan.steps(bench.kvm)),
        false => Progress::hidden(),
    };
    let mut measured = Measured {
        record: empty(bench),
        peer_share: 0.0,
    };
    for variant in &plan.variants {
        let boot = Boot::new(bench, variant, Accel::Tcg, &bar)?;
        measured.record.kernel = boot.kernel();
        let (idle, rows, share) = boot.measure(bench, variant, &bar)?;
        measured.record.idle.insert(variant.name(), idle);
        let rows = match bench.kvm {
            false => rows,
            true => timed(bench, variant, rows, &bar)?,
        };
        measured.record.rows.extend(rows);
        measured.peer_share = measured.peer_share.max(share);
    }
    Ok(measured)
}

/// The rows with the times of the same cases on hardware.
fn timed(
    bench: &PlacementBench,
    variant: &cases::Variant,
    rows: Vec<Row>,
    bar: &Progress,
) -> Result<Vec<Row>, Error> {
    let times = Boot::new(bench, variant, Accel::Kvm, bar)?.time(bench, variant, bar)?;
    let both = rows.into_iter().zip(times);
    Ok(both
        .map(|(row, time)| Row {
            nanoseconds: Some(time),
            ..row
        })
        .collect())
}

fn empty(bench: &PlacementBench) -> Record {
    Record {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: String::new(),
        accel: if bench.kvm { "kvm" } else { "tcg" }.to_owned(),
        quick: bench.quick,
        runs: bench.runs as u32,
        idle: BTreeMap::new(),
        rows: Vec::new(),
    }
}
