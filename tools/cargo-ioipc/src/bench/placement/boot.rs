//! One variant of the system, built, booted, and asked for all its cases.

use std::path::Path;
use std::time::Duration;

use frame_peer::Options as PeerOptions;
use frame_peer::lockstep::Expected;
use insn_count::Counter;
use sel4_kernel::Progress;
use tempfile::TempDir;

use super::cases::Variant;
use super::link::Link;
use super::record::{Figure, Row};
use super::runs::{self, Meter};
use super::{PlacementBench, case_name, pin, variant};
use crate::bench::boot::Counted;
use crate::bench::{Bench, BenchError, measure};
use crate::machine::{Accel, Net};
use crate::{Error, Options, Prepared, Running, prepare};

/// What hardware virtualisation is reached through.
const KVM: &str = "/dev/kvm";
/// How long a system may take to start.
const START: Duration = Duration::from_secs(120);

/// A variant that can be booted.
pub(super) struct Boot {
    system: System,
    expected: Expected,
    peer: PeerOptions,
    scratch: TempDir,
}

enum System {
    /// Under the instruction counter.
    Counted(Box<Counted>),
    /// On hardware.
    Plain(Box<Prepared>),
}

/// Looks whether the host can run systems on hardware.
///
/// # Errors
/// If it cannot, and why.
pub(super) fn check_kvm() -> Result<(), Error> {
    let open = std::fs::OpenOptions::new().read(true).write(true).open(KVM);
    open.map(drop).map_err(Error::io("use", KVM))
}

impl Boot {
    /// Builds the variant.
    pub fn new(
        bench: &PlacementBench,
        variant: &Variant,
        accel: Accel,
        bar: &Progress,
    ) -> Result<Self, Error> {
        bar.step(&format!("{}: building", variant.name()));
        let scratch = tempfile::tempdir().map_err(Error::io("make", "a scratch directory"))?;
        let (wire, file) = (
            scratch.path().join("wire"),
            scratch.path().join("system.toml"),
        );
        variant::describe(&file, variant)?;
        let capture = |to: &Path| to.join(format!("{}.pcap", variant.name().replace('/', "-")));
        let options = Options {
            system: file,
            release: true,
            accel,
            net: Net::Unix(wire.clone()),
            pcap: bench.captures.as_deref().map(capture),
            ..Options::default()
        };
        let counting = Bench {
            plugin: bench.plugin.clone(),
            profile: bench.profile,
            ..Bench::default()
        };
        Ok(Self {
            system: match accel {
                Accel::Tcg => System::Counted(Box::new(Counted::prepare(&counting, options)?)),
                Accel::Kvm => System::Plain(Box::new(prepare(&options)?)),
            },
            expected: Expected::at(&wire).map_err(Error::io("listen on", &wire))?,
            peer: PeerOptions {
                mtu: variant.mtu as usize,
                ..PeerOptions::default()
            },
            scratch,
        })
    }

    /// The kernel, by name and version.
    pub fn kernel(&self) -> String {
        let prepared = match &self.system {
            System::Counted(counted) => &counted.prepared,
            System::Plain(prepared) => prepared,
        };
        format!("seL4 {}", prepared.kernel.version())
    }

    fn boot(&self) -> Result<(Running, Option<Counter>), Error> {
        match &self.system {
            System::Counted(counted) => {
                let (running, counter) = counted.boot()?;
                Ok((running, Some(counter)))
            }
            System::Plain(prepared) => Ok((prepared.boot()?, None)),
        }
    }

    /// The booted system, taking orders.
    fn link(&self) -> Result<(Link, Option<Counter>), Error> {
        let (mut running, counter) = self.boot()?;
        running.wait_line("readiness of the application", START, |line| {
            line.contains("takes orders")
        })?;
        if counter.is_some() {
            pin::to_one_processor(running.pid());
        }
        let peer = self.expected.accept(&self.peer, START);
        let peer = peer.map_err(Error::io("be the peer at", self.scratch.path()))?;
        Ok((Link::new(running, peer)?, counter))
    }

    /// Boots it and measures its cases: the idle rate, a row for each, and the
    /// greatest share that the peer had of the time.
    pub fn measure(
        &self,
        bench: &PlacementBench,
        variant: &Variant,
        bar: &Progress,
    ) -> Result<(f64, Vec<Row>, f64), Error> {
        bar.step(&format!("{}: idle", variant.name()));
        let (mut link, counter) = self.link()?;
        let (Some(counter), System::Counted(counted)) = (counter, &self.system) else {
            let why = "this system was built for hardware".to_owned();
            return Err(BenchError::Plugin(why).into());
        };
        let mut meter = Meter {
            counter,
            profiling: counted.profiling()?,
        };
        let idle = measure::idle(&mut meter.counter)?.per_second;
        let (mut rows, mut share) = (Vec::new(), 0.0f64);
        for case in &variant.cases {
            bar.step(&case_name(case));
            let (row, peer) = meter.instructions(&mut link, case, bench)?;
            rows.push(row);
            share = share.max(peer);
            bar.advance();
        }
        link.stop();
        Ok((idle, rows, share))
    }

    /// Boots it and takes the time of its cases.
    pub fn time(
        &self,
        bench: &PlacementBench,
        variant: &Variant,
        bar: &Progress,
    ) -> Result<Vec<Figure>, Error> {
        let (mut link, _) = self.link()?;
        let mut figures = Vec::new();
        for case in &variant.cases {
            bar.step(&format!("{}, on hardware", case_name(case)));
            figures.push(runs::time(&mut link, case, bench)?);
            bar.advance();
        }
        link.stop();
        Ok(figures)
    }
}
