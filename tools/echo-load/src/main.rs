//! Loads a UDP and a TCP echo service on loopback and prints a line per load.
//!
//! Same loads and units as the figures in the project's documentation. Given
//! the file of the instruction counter, prints guest instructions per unit.
//! Exit status 1 if a reply was lost or wrong.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use echo_load::{Closer, LoadError, Outcome};
use insn_count::Counter;

/// Loads echo services on 127.0.0.1 and checks every byte.
#[derive(Parser)]
#[command(name = "echo-load", version)]
struct Options {
    /// Port of the UDP echo service.
    #[arg(long)]
    udp: Option<u16>,
    /// Port of the TCP echo service.
    #[arg(long)]
    tcp: Option<u16>,
    /// Counter file of the insn-count plugin.
    #[arg(long, value_name = "FILE")]
    insns: Option<PathBuf>,
    /// A tenth of the load.
    #[arg(long)]
    quick: bool,
    /// Keep UDP windows full instead of sending bursts.
    #[arg(long)]
    sliding: bool,
    /// Keep this many idle TCP connections open meanwhile.
    #[arg(long, default_value_t = 0, value_name = "N")]
    idle: usize,
    /// Only open and close this many TCP connections.
    #[arg(long, value_name = "N")]
    storm: Option<u32>,
}

struct Reporter {
    counter: Option<Counter>,
    perfect: bool,
}

impl Reporter {
    fn run(
        &mut self,
        name: &str,
        unit: &str,
        load: impl FnOnce() -> Result<Outcome, LoadError>,
    ) -> Result<(), Box<dyn Error>> {
        std::thread::sleep(Duration::from_millis(300));
        let before = self.counter.as_mut().map(Counter::read).transpose()?;
        let outcome = load()?;
        std::thread::sleep(Duration::from_millis(300));
        let after = self.counter.as_mut().map(Counter::read).transpose()?;
        print!("{name:32}");
        if let (Some(before), Some(after)) = (before, after) {
            let (spent, n) = (after - before, outcome.done.max(1) as f64);
            let (user, kernel) = (spent.user as f64 / n, spent.kernel as f64 / n);
            print!(
                " {:10.2} insns/{unit} (user {user:.2} kernel {kernel:.2})",
                user + kernel
            );
        }
        println!(" {outcome}");
        self.perfect &= outcome.is_perfect();
        Ok(())
    }
}

fn udp_loads(to: SocketAddr, options: &Options, out: &mut Reporter) -> Result<(), Box<dyn Error>> {
    let scale = if options.quick { 10 } else { 1 };
    let load = if options.sliding {
        echo_load::udp_sliding
    } else {
        echo_load::udp
    };
    for size in [64, 512, 1400] {
        for (outstanding, count) in [(1, 2000), (8, 10_000), (64, 10_000)] {
            let name = format!("udp {size} B, {outstanding} outstanding");
            out.run(&name, "packet", || {
                load(to, size, outstanding, count / scale)
            })?;
        }
    }
    Ok(())
}

fn tcp_loads(to: SocketAddr, options: &Options, out: &mut Reporter) -> Result<(), Box<dyn Error>> {
    let scale = if options.quick { 10 } else { 1 };
    for size in [64, 1400] {
        let name = format!("tcp {size} B, 1 outstanding");
        out.run(&name, "message", || {
            echo_load::tcp_lockstep(to, size, 1000 / scale)
        })?;
    }
    for kib in [16u64, 60] {
        let name = format!("tcp bulk, {kib} KiB in flight");
        let total = (32 << 20) / u64::from(scale);
        out.run(&name, "byte", || echo_load::tcp_bulk(to, kib << 10, total))?;
    }
    Ok(())
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let counter = options.insns.as_deref().map(Counter::open).transpose()?;
    let mut out = Reporter {
        counter,
        perfect: true,
    };
    let mut idle = match (options.tcp, options.idle) {
        (Some(port), n) if n > 0 => Some(echo_load::Held::open(local(port), n)?),
        _ => None,
    };
    if let (Some(count), Some(port)) = (options.storm, options.tcp) {
        let us = || echo_load::storm(local(port), count, 4, &Closer::Us);
        out.run("tcp connect and close", "connection", us)?;
        return Ok(out.perfect);
    }
    if let Some(port) = options.udp {
        udp_loads(local(port), options, &mut out)?;
    }
    if let Some(port) = options.tcp {
        tcp_loads(local(port), options, &mut out)?;
    }
    if let Some(held) = &mut idle {
        out.run("idle connections afterwards", "message", || held.check(64))?;
    }
    Ok(out.perfect)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("echo-load: {error}");
            ExitCode::FAILURE
        }
    }
}
