//! `cargo ioipc bench loss`: TCP on a wire that loses frames, beside Linux.
//!
//! Problem: what a TCP reaches under loss says something only beside what
//! another reaches on the same wire, and only if the bytes were right.
//! Invariants: both are measured in the same run, over a relay of the same code
//! ([`frame_peer::relay`]) with the same seeds; frames on it are of the size of
//! a packet, since neither host may leave anything to its device; a run lasts a
//! fixed time, every byte received in it is compared, and the longest silence
//! is that of the receiver.

mod endpoint;
mod network;
mod reference;
mod report;
mod system;

use std::time::Duration;

use frame_peer::FaultRates;
use frame_peer::relay::Conditions;
use sel4_kernel::{Progress, host_packages};

use self::endpoint::Received;
use self::reference::Reference;
pub use self::report::{Case, LossReport, Run};
use self::system::System;
use crate::{Error, Home, Options, tap};

/// Losses each way that are measured, in thousandths.
pub const LOSSES: [u16; 3] = [0, 10, 50];
/// Delay there and back.
pub const DELAY: Duration = Duration::from_millis(10);
/// The seeds; of each other setting the median is shown.
pub const SEEDS: [u64; 3] = [1, 2, 3];
/// What Linux uses unless somebody has set it up otherwise.
pub const CONGESTION: &str = "cubic";
/// How long a run lasts; a quick one.
pub const TIME: Duration = Duration::from_secs(8);
/// The same with `--quick`.
pub const QUICK: Duration = Duration::from_secs(4);
/// Port of the component `stream-load`.
const PORT: u16 = 40;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The host to the system.
    In,
    /// The system to the host.
    Out,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct LossBench {
    /// How to build and boot; system, variant and wire are ours.
    pub options: Options,
    /// Losses each way, in thousandths; [`LOSSES`] if there are none.
    pub losses: Vec<u16>,
    /// How long each run lasts.
    pub time: Duration,
    /// One seed only: for a look, not for the record.
    pub quick: bool,
    /// Congestion control of Linux, on both sides of the comparison.
    pub congestion: String,
}

impl Default for LossBench {
    fn default() -> Self {
        Self {
            options: Options::default(),
            losses: Vec::new(),
            time: TIME,
            quick: false,
            congestion: CONGESTION.to_owned(),
        }
    }
}

impl LossBench {
    fn losses(&self) -> Vec<u16> {
        match self.losses.is_empty() {
            true => LOSSES.to_vec(),
            false => self.losses.clone(),
        }
    }

    fn seeds(&self, loss: u16) -> &'static [u64] {
        // Where nothing is lost, nothing depends on the seed.
        match self.quick || loss == 0 {
            true => &SEEDS[..1],
            false => &SEEDS,
        }
    }
}

/// A share of the frames, `1%` or `0.5%` (the sign may be left out), in
/// thousandths.
///
/// # Errors
/// What is wrong with it, in words.
pub fn thousandths(text: &str) -> Result<u16, String> {
    let spec = format!("loss={}%", text.strip_suffix('%').unwrap_or(text));
    let conditions: Result<Conditions, _> = spec.parse();
    conditions
        .map(|conditions| conditions.faults.loss)
        .map_err(|error| error.to_string())
}

/// A wire of this loss.
fn wire(loss: u16, seed: u64) -> Conditions {
    Conditions {
        faults: FaultRates {
            loss,
            ..FaultRates::default()
        },
        delay: DELAY,
        seed,
        ..Conditions::default()
    }
}

/// Boots the system, makes the Linux hosts, and measures both.
///
/// # Errors
/// [`Error::Tap`] and [`Error::Host`] if this machine has no network
/// namespaces or TAP devices; those of [`crate::prepare`] and of booting;
/// [`Error::Bench`] if the system does not say what came.
pub fn loss(bench: &LossBench) -> Result<LossReport, Error> {
    tap::available()?;
    network::check_congestion(&bench.congestion)?;
    let logs = Home::find()?.workspace.products().join("logs");
    host_packages::ensure(host_packages::NAMESPACE, &logs, &Progress::hidden())?;
    let quiet = wire(0, 1);
    let mut system = System::boot(bench, &quiet)?;
    let linux = Reference::new(&quiet)?;
    let losses = bench.losses();
    let cases: usize = losses.iter().map(|loss| 2 * bench.seeds(*loss).len()).sum();
    let bar = match bench.options.progress {
        true => Progress::timed(cases as u64),
        false => Progress::hidden(),
    };
    let own = network::setting("tcp_congestion_control");
    let own = (own != bench.congestion).then_some(own);
    let mut measured = Vec::new();
    for loss in losses {
        for way in [Way::Out, Way::In] {
            let mut case = Case::new(loss, way);
            for seed in bench.seeds(loss) {
                bar.step(&format!("{}, seed {seed}", case.name()));
                let pair = (&mut system, &linux);
                measure(bench, pair, own.as_deref(), *seed, &mut case)?;
                bar.advance();
            }
            measured.push(case);
        }
    }
    system.stop();
    Ok(LossReport {
        cases: measured,
        congestion: bench.congestion.clone(),
        own,
        time: bench.time,
        quick: bench.quick,
    })
}

/// Measures one case with one seed; what is only told, with the first alone.
fn measure(
    bench: &LossBench,
    (system, linux): (&mut System, &Reference),
    own: Option<&str>,
    seed: u64,
    case: &mut Case,
) -> Result<(), Error> {
    let (quiet, wire) = (wire(0, seed), wire(case.loss, seed));
    let (wires, order) = ((&quiet, &wire), (case.way, bench.time));
    let run = |received: Received| Run::new(seed, received, bench.time);
    let ours = system.run(wires, order, &bench.congestion)?;
    case.ours.push(run(ours));
    let reference = |congestion: &str, wide| {
        let received = linux.run(wires, order, (congestion, wide));
        received.map(run).map_err(Error::io("measure", "Linux"))
    };
    case.linux.push(reference(&bench.congestion, true)?);
    if case.linux.len() == 1 {
        case.narrow = Some(reference(&bench.congestion, false)?);
        case.own = own.map(|name| reference(name, true)).transpose()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_on_the_wire() {
        assert_eq!(thousandths("1"), Ok(10));
        assert_eq!(thousandths("0.5%"), Ok(5));
        let refused = thousandths("101%").unwrap_err();
        assert_eq!(refused, "loss: 101% is more than 100%");
    }

    #[test]
    fn what_this_kernel_does_not_have_is_refused_with_what_it_has() {
        let error = network::check_congestion("no-such")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("there is no congestion control no-such here"));
        assert_eq!(
            network::check_congestion("reno").map_err(|e| e.to_string()),
            Ok(())
        );
    }

    #[test]
    fn where_nothing_is_lost_one_seed_is_enough() {
        let mut bench = LossBench::default();
        assert_eq!((bench.seeds(0).len(), bench.seeds(10).len()), (1, 3));
        assert_eq!(bench.losses(), LOSSES);
        bench.quick = true;
        assert_eq!(bench.seeds(50).len(), 1);
    }
}
