//! `cargo ioipc`: the command line.

#![forbid(unsafe_code)]

mod check_command;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cargo_ioipc::bench::placement::{self, record};
use cargo_ioipc::run::{Session, run};
use cargo_ioipc::{
    Accel, Address, Error, Home, Net, Options, Placement, bench, compare, control, inspect, plan,
    prepare,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use frame_peer::relay::Conditions;

/// Build, run, check and inspect systems of isolated components on seL4.
#[derive(Debug, Parser)]
#[command(name = "cargo ioipc", bin_name = "cargo ioipc", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build kernel, components and image.
    Build(Build),
    /// Build, and boot in QEMU.
    Run(Box<Run>),
    /// Report every mistake in a system description.
    Check(check_command::Check),
    /// Show components, capabilities, memory and trust.
    Inspect(Inspect),
    /// Measure guest instructions per packet and per byte.
    #[command(subcommand)]
    Bench(Measure),
    /// Show what became better and worse between two runs of a benchmark.
    Compare(Compare),
}

#[derive(Args, Debug)]
struct Compare {
    /// What `bench placement` or `bench echo` wrote with --json.
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The same of another run.
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Exit with status 1 if a figure is worse by more than the spread of the
    /// runs, or if there is none to compare.
    #[arg(long)]
    strict: bool,
}

impl Compare {
    /// Compares and prints; the exit status.
    fn execute(&self) -> Result<u8, Error> {
        let comparison = compare::compare(&self.before, &self.after)?;
        print!("{}", comparison.render(std::io::stdout().is_terminal()));
        Ok(u8::from(self.strict && comparison.fails()))
    }
}

/// Which system.
#[derive(Args, Debug)]
struct System {
    /// The system description.
    #[arg(long, value_name = "FILE", default_value = "system.toml")]
    system: PathBuf,
}

#[derive(Args, Debug)]
struct Build {
    #[command(flatten)]
    system: System,
    /// Use the release kernel: no debug output, no assertions.
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    placed: Placed,
}

/// Where servers and drivers run.
#[derive(Args, Debug)]
struct Placed {
    /// Where protocol servers and NIC drivers run, in place of what the
    /// description says: user, kernel, kernel-server or kernel-driver.
    #[arg(long, value_name = "PLACE")]
    placement: Option<Placement>,
}

#[derive(Args, Debug)]
struct Run {
    #[command(flatten)]
    build: Build,
    /// Do not read standard input; the serial port still goes to standard output.
    #[arg(long)]
    headless: bool,
    /// Write {"udp": PORT, "tcp": PORT, "pid": PID} here once echo replies came
    /// back right over both.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Give up, with exit status 124, if the system is not ready after this long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// How instructions are executed.
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Acceleration,
    /// Record every frame in this file.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// The other end of the wire: user, passt, none, socket:HOST:PORT, unix:PATH,
    /// or tap:NAME, a TAP device of the host with its offloads.
    #[arg(long, value_name = "WIRE", default_value = "user")]
    net: Net,
    /// Make the wire a bad one: KEY=VALUE between commas. loss, duplicate,
    /// reorder, corrupt: a share of the frames such as 1% or 0.5%, each way on
    /// its own; delay: 10ms or 500us, there and back, half of it each way; rate:
    /// 100mbit, each way; room: 64KiB on their way at most, each way; seed: a
    /// number. What became of the frames is said at the end.
    #[arg(long, value_name = "CONDITIONS")]
    wire: Option<Conditions>,
    /// A static address for the system in place of what its description says;
    /// on a TAP device, where the host reaches it.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: Option<Address>,
    /// Likewise the gateway of a static address.
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Likewise its name servers; repeatable.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<Ipv4Addr>,
    /// A further argument for QEMU; repeatable.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<OsString>,
}

#[derive(Args, Debug)]
struct Inspect {
    #[command(flatten)]
    build: Build,
    /// Ask the running system instead: `resources`, or another question to its
    /// serial monitor.
    #[arg(long, value_name = "QUESTION", num_args = 0..=1, default_missing_value = "resources")]
    live: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Measure {
    /// The echo service over UDP and TCP, with the figures of other systems.
    Echo(MeasureEcho),
    /// Each way of passing data at all sizes, with the cost model's choice
    /// marked; once with page operations as they are, once made ten times as
    /// long.
    DataPassing(MeasurePassing),
    /// Server and driver inside the I/O manager against components of their own,
    /// with I/O-oriented IPC and with messages that are copied.
    Placement(MeasurePlacement),
    /// TCP over a wire that loses frames, beside Linux over the same wire.
    Loss(MeasureLoss),
}

/// Measures how many bytes arrive in a fixed time, both ways, at losses of 0, 1
/// and 5 % each way and 10 ms there and back, with three seeds; beside it, in the
/// same run and over the same relay, Linux against Linux. Needs root.
#[derive(Args, Debug)]
struct MeasureLoss {
    #[command(flatten)]
    placed: Placed,
    /// One seed and shorter runs: for a look, not for the record.
    #[arg(long)]
    quick: bool,
    /// Only at this loss each way, such as 1% or 0.5%; repeatable.
    #[arg(long, value_name = "PERCENT", value_parser = bench::loss::thousandths)]
    loss: Vec<u16>,
    /// How long each run lasts.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Congestion control of Linux.
    #[arg(long, value_name = "NAME", default_value = bench::loss::CONGESTION)]
    congestion: String,
    /// Record every frame at the system's device in this file.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with status 1 if less than what the project demands was reached, or
    /// if nothing could be measured.
    #[arg(long)]
    strict: bool,
}

impl MeasureLoss {
    /// Measures and prints; the exit status.
    fn execute(&self) -> Result<u8, Error> {
        let usual = match self.quick {
            true => bench::loss::QUICK,
            false => bench::loss::TIME,
        };
        let measured = bench::loss::loss(&bench::loss::LossBench {
            options: Options {
                placement: self.placed.placement,
                pcap: self.pcap.clone(),
                progress: true,
                ..Options::default()
            },
            losses: self.loss.clone(),
            time: self.seconds.unwrap_or(usual),
            quick: self.quick,
            congestion: self.congestion.clone(),
        });
        let report = match measured {
            Err(error @ (Error::Tap(_) | Error::Host(_))) => {
                println!("TCP under loss: not measured: {error}");
                return Ok(u8::from(self.strict));
            }
            measured => measured?,
        };
        print!("{report}");
        if let Some(file) = &self.json {
            report.write_json(file)?;
        }
        Ok(u8::from(self.strict && !report.missed().is_empty()))
    }
}

/// Measures UDP and TCP one way and there and back, 64 B to 60 KiB, in bursts
/// that begin when the system has nothing left to do, against a peer on the host
/// that compares every byte.
#[derive(Args, Debug)]
struct MeasurePlacement {
    /// The quick subset: 64 B, 1400 B and 60 KiB over UDP, 60 KiB over TCP, no
    /// jumbo frames, shorter runs.
    #[arg(long)]
    quick: bool,
    /// Runs of each case; the median and the range are recorded.
    #[arg(long, default_value_t = bench::MIN_RUNS)]
    runs: usize,
    /// Also write the record here, for programs and `cargo ioipc compare`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a page that shows it here, to be opened with a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also find out which components the instructions are of.
    #[arg(long)]
    profile: bool,
    /// With kvm, time is measured too, on hardware.
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Acceleration,
    /// Only with server and driver here; repeatable.
    #[arg(long, value_enum, value_name = "WHERE")]
    placement: Vec<Where>,
    /// Only with data passed like this; repeatable.
    #[arg(long, value_enum, value_name = "HOW")]
    passing: Vec<How>,
    /// Exit with status 1 if a ratio that the project demands is missed.
    #[arg(long)]
    strict: bool,
}

/// Where server and driver run.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Where {
    /// Inside the I/O manager.
    Kernel,
    /// Components of their own.
    User,
}

/// How data passes between application and server.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// I/O-oriented, copied in and out.
    Copy,
    /// I/O-oriented, plain socket calls: the default.
    EmulatedCopy,
    /// I/O-oriented, in place.
    Share,
    /// I/O-oriented, in buffers that change hands.
    EmulatedMove,
    /// Messages that are copied.
    Conventional,
}

impl MeasurePlacement {
    /// Measures and prints; the exit status.
    fn execute(&self) -> Result<u8, Error> {
        let placement = |place: &Where| match place {
            Where::Kernel => record::Placement::Kernel,
            Where::User => record::Placement::User,
        };
        let passing = |how: &How| match how {
            How::Copy => record::Passing::Copy,
            How::EmulatedCopy => record::Passing::EmulatedCopy,
            How::Share => record::Passing::Share,
            How::EmulatedMove => record::Passing::EmulatedMove,
            How::Conventional => record::Passing::Conventional,
        };
        let measured = placement::placement(&placement::PlacementBench {
            runs: self.runs,
            quick: self.quick,
            profile: self.profile,
            kvm: matches!(self.accel, Acceleration::Kvm),
            placements: self.placement.iter().map(placement).collect(),
            passings: self.passing.iter().map(passing).collect(),
            progress: true,
            ..Default::default()
        })?;
        let record = &measured.record;
        print!("{measured}");
        if let Some(file) = &self.json {
            placement::write_json(record, file)?;
        }
        if let Some(file) = &self.html {
            placement::write_html(record, file)?;
        }
        let checks = placement::ratios::checks(record);
        checks.iter().for_each(|check| println!("{check}"));
        let told = placement::ratios::Limit::Told;
        let missed = checks.iter().all(|check| check.limit == told)
            || checks.iter().any(|check| !check.is_met());
        Ok(u8::from(self.strict && missed))
    }
}

#[derive(Args, Debug)]
struct MeasurePassing {
    /// Every third size: for a look, not for the record.
    #[arg(long)]
    quick: bool,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Have the cost model's numbers measured when the system starts, instead of
    /// those that are pinned.
    #[arg(long)]
    calibrated: bool,
    /// With kvm, time is measured too, on hardware.
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Acceleration,
    /// Exit with status 1 if a choice is more than 10 % over the best
    /// technique, or if time was to be measured and could not be.
    #[arg(long)]
    strict: bool,
}

impl MeasurePassing {
    /// Measures and prints; the exit status.
    fn execute(&self) -> Result<u8, Error> {
        let kvm = matches!(self.accel, Acceleration::Kvm);
        let report = bench::data_passing(&bench::DataPassing {
            quick: self.quick,
            calibrated: self.calibrated,
            kvm,
            options: Options {
                progress: true,
                ..Options::default()
            },
        })?;
        print!("{report}");
        if let Some(file) = &self.json {
            report.write_json(file)?;
        }
        let missing = kvm && report.time.is_err();
        Ok(u8::from(self.strict && (missing || report.is_wrong())))
    }
}

#[derive(Args, Debug)]
struct MeasureEcho {
    #[command(flatten)]
    system: System,
    #[command(flatten)]
    placed: Placed,
    /// Runs of each load; the median and the range are shown.
    #[arg(long, default_value_t = bench::MIN_RUNS)]
    runs: usize,
    /// A tenth of each load: for a look, not for the record.
    #[arg(long)]
    quick: bool,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also print where the instructions of each load go, by component and
    /// function.
    #[arg(long)]
    profile: bool,
    /// Only on a TAP device with offloads, and an error if that cannot be: it
    /// needs root. Otherwise that comes after the loads on the user network.
    #[arg(long)]
    tap: bool,
    /// Exit with status 1 if a figure is over the project's limit.
    #[arg(long)]
    strict: bool,
    /// A further argument for QEMU; repeatable.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<OsString>,
}

fn say(what: &str) {
    eprintln!("measuring: {what}");
}

impl MeasureEcho {
    /// Measures and prints; the exit status.
    fn execute(&self) -> Result<u8, Error> {
        let options = Options {
            system: self.system.system.clone(),
            placement: self.placed.placement,
            qemu_args: self.qemu_arg.clone(),
            progress: true,
            ..Options::default()
        };
        let (runs, quick) = (self.runs, self.quick);
        let bench = bench::Bench {
            options,
            runs,
            quick,
            profile: self.profile,
            plugin: None,
        };
        let mut user = None;
        if !self.tap {
            let report = bench::echo(&bench, say)?;
            println!("{report}");
            user = Some(report);
        }
        let tap = self.on_tap(&bench)?;
        let results = bench::Results { user, tap };
        if let Some(file) = &self.json {
            results.write_json(file)?;
        }
        Ok(u8::from(self.strict && !results.excesses().is_empty()))
    }

    /// Measures and prints; or says why it cannot be, unless just that was
    /// asked for.
    fn on_tap(&self, bench: &bench::Bench) -> Result<Result<bench::TapReport, String>, Error> {
        match bench::echo_on_tap(bench, say) {
            Ok(report) => {
                print!("{report}");
                Ok(Ok(report))
            }
            Err(error @ (Error::Tap(_) | Error::Host(_))) if !self.tap => {
                println!("TAP, offloads: not measured: {error}");
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Acceleration {
    /// Translation; works everywhere.
    Tcg,
    /// Hardware virtualisation; needs /dev/kvm.
    Kvm,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Build {
    fn options(&self) -> Options {
        Options {
            system: self.system.system.clone(),
            release: self.release,
            placement: self.placed.placement,
            progress: true,
            ..Options::default()
        }
    }
}

impl Run {
    fn options(&self) -> Options {
        Options {
            accel: match self.accel {
                Acceleration::Tcg => Accel::Tcg,
                Acceleration::Kvm => Accel::Kvm,
            },
            net: self.net.clone(),
            address: self.address,
            gateway: self.gateway,
            dns: self.dns.clone(),
            pcap: self.pcap.clone(),
            wire: self.wire,
            qemu_args: self.qemu_arg.clone(),
            echo_serial: true,
            ..self.build.options()
        }
    }

    fn session(&self) -> Session {
        Session {
            headless: self.headless,
            ready_file: self.ready_file.clone(),
            timeout: self.timeout,
        }
    }
}

fn main() -> ExitCode {
    // Cargo runs `cargo-ioipc ioipc ...`; the alias in the workspace does not
    // repeat the word.
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "ioipc") {
        words.remove(1);
    }
    match execute(Cli::parse_from(words).command) {
        Ok(status) => ExitCode::from(status),
        // A report on a description shows what is an error by itself.
        Err(Error::System(report)) => {
            eprint!("{report}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<u8, Error> {
    match command {
        Command::Build(build) => {
            let prepared = prepare(&build.options())?;
            println!("kernel {}", prepared.kernel.boot_elf().display());
            println!("image  {}", prepared.file.display());
        }
        Command::Run(arguments) => return run(&arguments.options(), &arguments.session()),
        Command::Check(arguments) => arguments.execute()?,
        Command::Compare(arguments) => return arguments.execute(),
        Command::Bench(Measure::Echo(arguments)) => return arguments.execute(),
        Command::Bench(Measure::DataPassing(arguments)) => return arguments.execute(),
        Command::Bench(Measure::Placement(arguments)) => return arguments.execute(),
        Command::Bench(Measure::Loss(arguments)) => return arguments.execute(),
        Command::Inspect(arguments) => match &arguments.live {
            Some(question) => live(&arguments, question)?,
            None => print!(
                "{}",
                inspect::Report::new(&prepare(&arguments.build.options())?)
            ),
        },
    }
    Ok(0)
}

/// Prints what the running system of that description answers.
fn live(arguments: &Inspect, question: &str) -> Result<(), Error> {
    let file = &arguments.build.system.system;
    // Any running system will do where there is no description.
    let name = match file.exists() {
        true => Some(plan::load(file, None)?.name),
        false => None,
    };
    let answer = control::ask(name.as_deref(), question, &Home::find()?)?;
    println!("{answer:#}");
    Ok(())
}
