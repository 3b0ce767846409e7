//! `cargo ioipc bench data-passing`: what each way of passing bytes costs, and
//! whether the cost model knows.
//!
//! Problem: the model chooses by numbers that were measured once; a technique
//! that it underrates is never seen again. So each legal technique is forced in
//! turn, then the choice is left to the model, and what it took is held against
//! the best; once with page operations as they are, once with page operations
//! made ten times as long.
//!
//! Invariants: every byte is written by one side and read by the other within
//! the figure; what a figure is compared with was measured in the same boot;
//! instructions are those of an emulator that counts them, time is a
//! processor's or none.

mod series;
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use sel4_kernel::Progress;
use toml::{Table, Value};

pub use series::{GRAINS, SIZES, Series, Way};
pub use table::PassingReport;

use super::BenchError;
use crate::launch::write_atomically;
use crate::machine::Accel;
use crate::running::Running;
use crate::{Error, Home, Options, prepare};

/// The system that measures, among the sources.
const SYSTEM: &str = "tests/systems/passing-bench.toml";
/// By how much page operations are made dearer.
pub const DEARER: u32 = 10;
/// How far the choice may be from the best technique.
pub const MOST_EXCESS: f64 = 0.10;
/// Series of one boot, for the bar.
const EXPECTED: u64 = 118;
/// How long the next series may take: emulated beside other work, and on
/// hardware.
const NEXT: Duration = Duration::from_secs(240);
const NEXT_KVM: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct DataPassing {
    /// Every third size only: for a look, not for the record.
    pub quick: bool,
    /// The model's numbers are measured when the system starts, not pinned.
    pub calibrated: bool,
    /// Also on hardware, for real time.
    pub kvm: bool,
    /// How to build and boot; the system, variant and accelerator are ours.
    pub options: Options,
}

/// The figures of one boot.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How many times as long page operations were made to take.
    pub burden: u32,
    /// What was said of each series.
    pub series: Vec<Series>,
    /// Nanoseconds of a count, if counts are those of a clock.
    pub ns: Option<f64>,
}

/// Boots the measuring system, with page operations as they are and dearer.
///
/// # Errors
/// Those of [`crate::prepare`] and of booting; [`Error::Bench`] if the system
/// says that something is wrong, or nothing.
pub fn data_passing(bench: &DataPassing) -> Result<PassingReport, Error> {
    let both = |accel| -> Result<Vec<Measured>, Error> {
        [1, DEARER]
            .map(|burden| measure(bench, accel, burden))
            .into_iter()
            .collect()
    };
    let instructions = both(Accel::Tcg)?;
    let time = match bench.kvm {
        true => both(Accel::Kvm).map_err(|error| first_line(&error)),
        false => Err("emulated; --accel kvm measures it on hardware".to_owned()),
    };
    Ok(PassingReport {
        instructions,
        time,
        quick: bench.quick,
    })
}

fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches("; the last it said:").to_owned()
}

fn measure(bench: &DataPassing, accel: Accel, burden: u32) -> Result<Measured, Error> {
    let scratch = tempfile::tempdir().map_err(Error::io("make", "a scratch directory"))?;
    let file = scratch.path().join("passing-bench.toml");
    describe(&file, bench, burden)?;
    let mut options = Options {
        system: file,
        release: true,
        accel,
        ..bench.options.clone()
    };
    if accel == Accel::Tcg {
        // The time-stamp counter counts instructions then.
        let counting = ["-icount", "shift=0,sleep=off"];
        options.qemu_args.extend(counting.map(Into::into));
    }
    let running = prepare(&options)?.boot()?;
    let next = match accel {
        Accel::Tcg => NEXT,
        Accel::Kvm => NEXT_KVM,
    };
    let (series, rate) = collect(&running, burden, next)?;
    running.stop();
    Ok(Measured {
        burden,
        series,
        ns: (accel == Accel::Kvm).then_some(rate),
    })
}

/// Writes the description of the system with the settings wanted.
fn describe(file: &Path, bench: &DataPassing, burden: u32) -> Result<(), Error> {
    let (quick, model) = match bench.calibrated {
        true => (bench.quick, "calibrated"),
        false => (bench.quick, "pinned"),
    };
    let from = Home::find()?.workspace.root.join(SYSTEM);
    let text = std::fs::read_to_string(&from).map_err(Error::io("read", &from))?;
    let broken = |why: String| Error::System(format!("error: {}: {why}\n", from.display()));
    let mut system: Table = text
        .parse()
        .map_err(|e: toml::de::Error| broken(e.to_string()))?;
    let mut set = |component: &str, key: &str, value: Value| -> Option<()> {
        let component = system.get_mut("component")?.get_mut(component)?;
        let config = component.as_table_mut()?.entry("config");
        let config = config.or_insert_with(|| Table::new().into());
        config.as_table_mut()?.insert(key.to_owned(), value);
        Some(())
    };
    set("io", "burden", i64::from(burden).into())
        .and_then(|()| set("io", "cost-model", model.into()))
        .and_then(|()| set("small", "quick", quick.into()))
        .and_then(|()| set("large", "quick", quick.into()))
        .ok_or_else(|| broken("not the components that are measured".to_owned()))?;
    write_atomically(file, system.to_string().as_bytes())
}

/// Takes what the clients say until both are done; also nanoseconds a count.
fn collect(running: &Running, burden: u32, next: Duration) -> Result<(Vec<Series>, f64), Error> {
    let bar = Progress::timed(EXPECTED);
    bar.step(match burden {
        1 => "data passing",
        _ => "data passing, page operations dearer",
    });
    let (mut all, mut rates) = (Vec::new(), Vec::new());
    let mut lines = running.serial().from_start();
    while rates.len() < GRAINS.len() {
        let wanted = |line: &str| line.contains("{\"way\"") || line.contains("passing-bench ");
        let line = match lines.find(Instant::now() + next, wanted) {
            crate::Event::Line(line) => line,
            _ => return Err(running.timed_out("figure of the next series", next)),
        };
        if let Some(series) = Series::parse(&line) {
            all.push(series);
            bar.advance();
        } else if let Some(rate) = series::rate(&line) {
            rates.push(rate);
        } else if line.contains(" failed: ") {
            return Err(BenchError::Passing(line).into());
        }
    }
    Ok((all, rates.iter().sum::<f64>() / rates.len() as f64))
}
