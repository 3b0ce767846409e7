//! A system built to be booted under the instruction counter.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insn_count::{Counter, Profiler};
use tempfile::TempDir;

use super::profile::{Profiling, Programs};
use super::{Bench, BenchError, plugin};
use crate::{Error, Home, Options, Prepared, Running, prepare};

/// How long the system may take to boot under the counter.
const BOOT: Duration = Duration::from_secs(120);
/// The counter's file among the scratch files.
const COUNTS: &str = "insn.bin";
/// The profile's.
const PROFILE: &str = "blocks.txt";

/// A system that is built, and where its counter will count.
#[derive(Debug)]
pub struct Counted {
    /// The release image.
    pub prepared: Prepared,
    scratch: TempDir,
    /// The programs, if profiles were asked for.
    programs: Option<Arc<Programs>>,
}

impl Counted {
    /// Builds counter and system: the release image, whatever `options` say.
    ///
    /// # Errors
    /// Those of [`crate::prepare`], and [`Error::Bench`] without a plugin.
    pub fn prepare(bench: &Bench, mut options: Options) -> Result<Self, Error> {
        let plugin = match &bench.plugin {
            Some(path) => path.clone(),
            None => plugin::build(&Home::find()?)?,
        };
        let scratch = tempfile::tempdir().map_err(Error::io("make", "a scratch directory"))?;
        let mut argument = OsString::from(plugin);
        argument.push(",counts=");
        argument.push(scratch.path().join(COUNTS));
        if bench.profile {
            argument.push(",profile=");
            argument.push(scratch.path().join(PROFILE));
        }
        options.release = true;
        options.qemu_args.extend(["-plugin".into(), argument]);
        let prepared = prepare(&options)?;
        let programs = match bench.profile {
            true => Some(Arc::new(Programs::of(&prepared)?)),
            false => None,
        };
        Ok(Self {
            prepared,
            scratch,
            programs,
        })
    }

    /// Where files may be put that are gone afterwards.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Boots it and waits until it echoes.
    ///
    /// # Errors
    /// Those of booting, and [`Error::Bench`] if nothing is counted.
    pub fn boot(&self) -> Result<(Running, Counter), Error> {
        let mut running = self.prepared.boot()?;
        running.wait_ready(BOOT)?;
        let counts = self.scratch().join(COUNTS);
        let counter = Counter::open(&counts).map_err(BenchError::Counter)?;
        Ok((running, counter))
    }

    /// What takes profiles of the booted system, if they were asked for.
    ///
    /// # Errors
    /// [`Error::Bench`] if the system was not booted.
    pub fn profiling(&self) -> Result<Option<Profiling>, Error> {
        let Some(programs) = &self.programs else {
            return Ok(None);
        };
        let at = |name| self.scratch().join(name);
        let profiler = Profiler::open(at(COUNTS), at(PROFILE))
            .map_err(|error| BenchError::Profile(error.to_string()))?;
        Ok(Some(Profiling::new(Arc::clone(programs), profiler)))
    }
}
