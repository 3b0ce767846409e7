//! `cargo ioipc bench`; here `echo`: guest instructions per packet and per byte.
//!
//! Problem: without hardware virtualisation, times say little about a system;
//! the instructions that it executes say much, and repeat. A figure is only
//! worth printing if the work was done and nothing else was counted.
//!
//! Invariants: release image, one processor, user and kernel together; every
//! reply is checked, and a run that lost or changed one is an error, not a
//! figure; bursts have exactly the stated size; what the system executes when
//! nothing happens is measured and shown. Caches, TLB and DMA are not in it.

mod boot;
mod figures;
pub mod loss;
mod measure;
mod passing;
pub mod placement;
mod plugin;
pub mod profile;
mod report;
mod results;
mod tap;

use std::fmt;
use std::path::PathBuf;

use echo_load::{Held, LoadError};
use insn_count::{Counter, FileError};

use crate::machine::Transport;
use crate::ready::ECHO_PORT;
use crate::{Error, Options, Running};

use profile::{LoadProfile, Profiling};

pub use boot::Counted;
pub use figures::{Load, Peer, Series, loads};
pub use measure::{Figure, Idle};
pub use passing::{DataPassing, Measured, PassingReport, data_passing};
pub use report::{Report, Row};
pub use results::Results;
pub use tap::{TapReport, TapRow, echo_on_tap};

/// Runs of a load, at least.
pub const MIN_RUNS: usize = 5;
/// Idle TCP connections of the second half.
pub const IDLE_CONNECTIONS: usize = 64;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Bench {
    /// What to boot; `release` is set, and the counter added.
    pub options: Options,
    /// Runs of each load; [`MIN_RUNS`] or more.
    pub runs: usize,
    /// A tenth of each load: for a look, not for the record.
    pub quick: bool,
    /// Also find out where the instructions of each load go.
    pub profile: bool,
    /// The counter plugin; built from the project's sources if none is given.
    pub plugin: Option<PathBuf>,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            options: Options::default(),
            runs: MIN_RUNS,
            quick: false,
            profile: false,
            plugin: None,
        }
    }
}

/// Why there are no figures.
#[derive(Debug)]
pub enum BenchError {
    /// The counter plugin could not be built or found.
    Plugin(String),
    /// The counter file could not be read: QEMU did not load the plugin.
    Counter(FileError),
    /// The load generator failed.
    Load {
        /// Which load.
        name: String,
        /// Why.
        error: LoadError,
    },
    /// Replies were lost or wrong: the system's fault.
    Imperfect {
        /// Which load.
        name: String,
        /// What came back.
        outcome: echo_load::Outcome,
    },
    /// The system does not forward its echo ports.
    NoEcho,
    /// The counter plugin gave no profile, or one that cannot be read.
    Profile(String),
    /// Fewer runs than a median needs.
    TooFewRuns(usize),
    /// Bytes of a load were lost or wrong, or the system did not take it.
    Placement {
        /// Which case.
        case: String,
        /// What went wrong.
        why: String,
    },
    /// A client could not measure data passing; its line says why.
    Passing(String),
    /// A stream over a bad wire could not be measured, in words.
    Loss(String),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(why) => write!(f, "no instruction counter: {why}"),
            Self::Counter(error) => write!(f, "instruction counter: {error}"),
            Self::Load { name, error } => write!(f, "{name}: {error}"),
            Self::Imperfect { name, outcome } => {
                write!(f, "{name}: the system did not echo everything: {outcome}")
            }
            Self::NoEcho => {
                write!(
                    f,
                    "the system forwards no UDP and TCP port {ECHO_PORT} (echo)"
                )
            }
            Self::Passing(why) | Self::Loss(why) => f.write_str(why),
            Self::Placement { case, why } => write!(f, "{case}: {why}"),
            Self::Profile(why) => write!(f, "profile: {why}"),
            Self::TooFewRuns(runs) => write!(f, "{runs} runs give no median; {MIN_RUNS} at least"),
        }
    }
}

impl core::error::Error for BenchError {}

impl From<BenchError> for Error {
    fn from(error: BenchError) -> Self {
        Self::Bench(Box::new(error))
    }
}

impl Bench {
    /// Refuses what would give no figures before anything is built.
    fn check(&self) -> Result<(), BenchError> {
        match self.runs < MIN_RUNS {
            true => Err(BenchError::TooFewRuns(self.runs)),
            false => Ok(()),
        }
    }
}

/// Boots the system under the instruction counter and measures all loads;
/// `say` is told what is being measured.
///
/// # Errors
/// Those of [`crate::prepare`] and of booting, and [`Error::Bench`].
pub fn echo(bench: &Bench, mut say: impl FnMut(&str)) -> Result<Report, Error> {
    bench.check()?;
    say("building");
    let counted = Counted::prepare(bench, bench.options.clone())?;
    let (running, counter) = counted.boot()?;
    let profiling = counted.profiling()?;
    let report = measure_all(bench, &running, counter, profiling, &mut say)?;
    running.stop();
    Ok(report)
}

fn measure_all(
    bench: &Bench,
    running: &Running,
    mut counter: Counter,
    mut profiling: Option<Profiling>,
    say: &mut impl FnMut(&str),
) -> Result<Report, BenchError> {
    let address = |transport| {
        running
            .address(transport, ECHO_PORT)
            .ok_or(BenchError::NoEcho)
    };
    let (udp, tcp) = (address(Transport::Udp)?, address(Transport::Tcp)?);
    say("idle");
    let idle = measure::idle(&mut counter)?;
    let (mut rows, mut profiles) = (Vec::new(), Vec::new());
    let mut held = None;
    for series in [Series::Plain, Series::BesideIdle] {
        if series == Series::BesideIdle {
            let opened = Held::open(tcp, IDLE_CONNECTIONS);
            held = Some(opened.map_err(named("idle connections"))?);
        }
        for load in loads(series, bench.quick) {
            let name = format!("{load}{}", series.suffix());
            say(&name);
            let to = if load.is_udp() { udp } else { tcp };
            let (figure, profile) = Profiling::around(profiling.as_mut(), || {
                measure::figure(&load, to, bench.runs, &mut counter)
            })?;
            profiles.extend(profile.map(|attribution| LoadProfile {
                name,
                unit: load.unit(),
                units: figure.units * bench.runs as u64,
                attribution,
            }));
            rows.push(Row {
                series,
                load,
                figure,
            });
        }
    }
    if let Some(mut held) = held {
        // They were open to the end, or the second half means nothing.
        let outcome = held.check(64).map_err(named("idle connections"))?;
        measure::perfect("idle connections", outcome)?;
    }
    Ok(Report {
        idle,
        rows,
        profiles,
        runs: bench.runs,
        quick: bench.quick,
    })
}

/// Names the load in an error of the generator.
fn named(name: &str) -> impl FnOnce(LoadError) -> BenchError {
    let name = name.to_owned();
    move |error| BenchError::Load { name, error }
}
