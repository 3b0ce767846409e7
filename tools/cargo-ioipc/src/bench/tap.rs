//! The loads on a TAP device, where the guest may use the device's offloads.
//!
//! Problem: with offloads, the host computes checksums and cuts segments, and
//! no instruction of it is counted; a figure means something only beside what
//! was negotiated. Invariant: that is asked of the emulator, for the very
//! system that is measured, and stands at the head of the table; how large
//! frames were on the wire is counted by the host's kernel.

use std::fmt;

use insn_count::Counter;
use sel4_kernel::{Progress, host_packages};
use serde_json::{Value, json};

use super::boot::Counted;
use super::profile::{LoadProfile, Profiling};
use super::report::{NOTE, amount};
use super::{Bench, BenchError, Figure, Idle, Load, figures, measure};
use crate::machine::Transport;
use crate::offloads::{self, Offloads};
use crate::ready::ECHO_PORT;
use crate::tap::{self, Traffic};
use crate::{Error, Home, Net, Options, Running};

/// One load and its figure.
#[derive(Clone, Copy, Debug)]
pub struct TapRow {
    /// The load.
    pub load: Load,
    /// Its figure.
    pub figure: Figure,
    /// What went over the wire in all runs together.
    pub traffic: Traffic,
}

/// All figures of a system on a TAP device.
#[derive(Clone, Debug)]
pub struct TapReport {
    /// Who computes checksums and cuts segments.
    pub offloads: Offloads,
    /// The idle system.
    pub idle: Idle,
    /// The loads, in order.
    pub rows: Vec<TapRow>,
    /// Where the instructions of each load go, if that was asked for.
    pub profiles: Vec<LoadProfile>,
    /// Runs of each.
    pub runs: usize,
    /// Whether the loads were a tenth of the usual.
    pub quick: bool,
}

/// Boots the system under the instruction counter, on a TAP device in a
/// network namespace of its own, and measures all loads there; `say` is told
/// what is being measured.
///
/// # Errors
/// [`Error::Tap`] and [`Error::Host`] if this machine has no such thing; else
/// as [`super::echo`].
pub fn echo_on_tap(bench: &Bench, mut say: impl FnMut(&str) + Send) -> Result<TapReport, Error> {
    bench.check()?;
    tap::available()?;
    let logs = Home::find()?.workspace.products().join("logs");
    host_packages::ensure(host_packages::NAMESPACE, &logs, &Progress::hidden())?;
    say("building");
    let options = Options {
        net: Net::Tap(tap::DEVICE.to_owned()),
        address: Some(bench.options.address.unwrap_or(tap::GUEST)),
        ..bench.options.clone()
    };
    // Everything is built out here, where cargo may need the host's network.
    let mut counted = Counted::prepare(bench, options)?;
    let door = counted.scratch().join("qmp");
    let machine = counted.prepared.machine_mut();
    machine.extra.extend(offloads::arguments(&door));
    tap::in_own_network(|| {
        let (running, mut counter) = counted.boot()?;
        let offloads = Offloads::ask(&door)?;
        let mut profiling = counted.profiling()?;
        let meters = (&mut counter, profiling.as_mut());
        let report = measure_all(bench, &running, meters, offloads, &mut say);
        running.stop();
        report
    })?
}

fn measure_all(
    bench: &Bench,
    running: &Running,
    (counter, mut profiling): (&mut Counter, Option<&mut Profiling>),
    offloads: Offloads,
    say: &mut impl FnMut(&str),
) -> Result<TapReport, Error> {
    let address = |transport| {
        let address = running.address(transport, ECHO_PORT);
        address.ok_or(BenchError::NoEcho)
    };
    let (udp, tcp) = (address(Transport::Udp)?, address(Transport::Tcp)?);
    say("TAP, idle");
    let idle = measure::idle(counter)?;
    let (mut rows, mut profiles) = (Vec::new(), Vec::new());
    for load in figures::tap_loads(bench.quick) {
        say(&format!("TAP, {load}"));
        let to = if load.is_udp() { udp } else { tcp };
        let before = traffic()?;
        let (figure, profile) = Profiling::around(profiling.as_deref_mut(), || {
            measure::figure(&load, to, bench.runs, counter)
        })?;
        profiles.extend(profile.map(|attribution| LoadProfile {
            name: format!("TAP, {load}"),
            unit: load.unit(),
            units: figure.units * bench.runs as u64,
            attribution,
        }));
        rows.push(TapRow {
            load,
            figure,
            traffic: traffic()?.since(before),
        });
    }
    Ok(TapReport {
        offloads,
        idle,
        rows,
        profiles,
        runs: bench.runs,
        quick: bench.quick,
    })
}

fn traffic() -> Result<Traffic, Error> {
    let traffic = Traffic::of(tap::DEVICE).map_err(Error::io("count on", tap::DEVICE))?;
    Ok(traffic.unwrap_or_default())
}

/// Bytes of a frame on average.
fn frame_bytes(bytes: u64, frames: u64) -> f64 {
    bytes as f64 / frames.max(1) as f64
}

impl TapRow {
    /// Bytes of a frame to the system and from it, on average.
    fn frame_bytes(&self) -> (f64, f64) {
        let traffic = &self.traffic;
        (
            frame_bytes(traffic.bytes_in, traffic.frames_in),
            frame_bytes(traffic.bytes_out, traffic.frames_out),
        )
    }

    fn json(&self, idle: &Idle) -> Value {
        let (frame_in, frame_out) = self.frame_bytes();
        let mut value = self.figure.json(idle);
        value["load"] = json!(self.load.to_string());
        value["unit"] = json!(self.load.unit());
        value["limit"] = json!(self.load.tap_limit());
        value["bytes_per_frame_in"] = json!(frame_in);
        value["bytes_per_frame_out"] = json!(frame_out);
        value
    }
}

impl TapReport {
    /// What exceeds the project's limits, in words; empty if all is well.
    pub fn excesses(&self) -> Vec<String> {
        let over = |row: &TapRow| {
            let (median, limit) = (row.figure.median, row.load.tap_limit()?);
            let (is, most) = (amount(median), amount(limit));
            let text = || format!("TAP, {}: {is} instead of {most} at most", row.load);
            (median > limit).then(text)
        };
        self.rows.iter().filter_map(over).collect()
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({
            "note": NOTE,
            "runs": self.runs,
            "quick": self.quick,
            "offloads": {
                "negotiated": self.offloads.negotiated,
                "not_used": self.offloads.unused(),
            },
            "idle_instructions_per_second": self.idle.json(),
            "rows": self.rows.iter().map(|row| row.json(&self.idle)).collect::<Vec<_>>(),
            "profiles": self.profiles.iter().map(LoadProfile::json).collect::<Vec<_>>(),
            "excesses": self.excesses(),
        })
    }
}

/// The head of the table.
const COLUMNS: [&str; 10] = [
    "instructions per packet, message or byte",
    "median",
    "min - max",
    "user",
    "kernel",
    "syscalls",
    "idle",
    "limit",
    "frame in",
    "out",
];

impl fmt::Display for TapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TAP, offloads: {}", self.offloads)?;
        let [
            load,
            median,
            range,
            user,
            kernel,
            calls,
            idle,
            limit,
            frame_in,
            out,
        ] = COLUMNS;
        write!(f, "{load:46} {median:>9} {range:>19} {user:>9} {kernel:>8}")?;
        writeln!(f, " {calls:>8} {idle:>6} {limit:>6} {frame_in:>8} {out:>8}")?;
        self.rows.iter().try_for_each(|row| {
            let (frame_in, frame_out) = row.frame_bytes();
            let limit = row.load.tap_limit().map_or("-".to_owned(), amount);
            let columns = row.figure.columns(&self.idle);
            write!(f, "{:46} {columns}", row.load.to_string())?;
            writeln!(f, " {limit:>6} {frame_in:>8.0} {frame_out:>8.0}")
        })?;
        let runs = self.runs;
        writeln!(
            f,
            "{} Medians of {runs} runs, every reply checked,",
            self.idle
        )?;
        writeln!(
            f,
            "none lost. `frame in` and `out`: bytes of a frame on average, by the host's count."
        )?;
        if self.quick {
            writeln!(f, "Quick loads: for a look, not for the record.")?;
        }
        writeln!(f, "{NOTE}")?;
        self.excesses()
            .iter()
            .try_for_each(|excess| writeln!(f, "over the limit: {excess}"))?;
        let mut profiles = self.profiles.iter();
        profiles.try_for_each(|profile| write!(f, "\n{profile}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(per_byte: f64) -> TapReport {
        let load = Load::TcpBulk {
            in_flight_kib: 60,
            total: 1 << 20,
        };
        let figure = Figure {
            median: per_byte,
            range: (per_byte, per_byte),
            user: per_byte,
            kernel: 0.0,
            syscalls: None,
            units: 1 << 20,
            seconds: 0.1,
        };
        let traffic = Traffic {
            frames_in: 10,
            bytes_in: 300_000,
            frames_out: 0,
            bytes_out: 0,
        };
        let row = TapRow {
            load,
            figure,
            traffic,
        };
        TapReport {
            offloads: Offloads {
                offered: vec!["CSUM", "HOST_TSO4"],
                negotiated: vec!["CSUM"],
            },
            idle: Idle {
                per_second: 40_000.0,
                range: (39_000.0, 41_000.0),
            },
            rows: vec![row],
            profiles: Vec::new(),
            runs: 5,
            quick: false,
        }
    }

    #[test]
    fn a_figure_stands_below_what_was_negotiated() {
        let report = report(1.4);
        let (text, json) = (report.to_string(), report.json());
        let head = "TAP, offloads: negotiated CSUM; offered, not used: HOST_TSO4\n";
        assert!(text.starts_with(head) && text.contains(NOTE), "{text}");
        assert_eq!(json["offloads"]["negotiated"], json!(["CSUM"]));
        assert_eq!(json["rows"][0]["bytes_per_frame_in"], 30_000.0);
        assert_eq!(json["rows"][0]["bytes_per_frame_out"], 0.0);
        assert_eq!(json["rows"][0]["instructions"], 1.4);
    }

    #[test]
    fn the_limit_is_noticed() {
        assert!(report(1.5).excesses().is_empty());
        let excess = "TAP, TCP bulk, 60 KiB in flight: 2.00 instead of 1.50 at most";
        assert_eq!(report(2.0).excesses(), [excess]);
        assert_eq!(report(2.0).json()["excesses"], json!([excess]));
    }
}
