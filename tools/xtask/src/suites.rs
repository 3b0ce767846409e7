//! The table of suites and their time budgets.
//!
//! Budgets are for two cores without KVM, from a clean checkout; a suite that
//! takes longer fails, so that the whole stays under its limit.

use std::time::Duration;

use anyhow::{Result, bail};

/// What a suite runs.
#[derive(Clone, Copy)]
pub enum Work {
    /// `cargo` with these arguments.
    Cargo(&'static [&'static str]),
    /// The same, with what needs the bindings: `SEL4_PREFIX` names a kernel.
    Bound(&'static [&'static str]),
    /// The same, with a minute for each fuzzer.
    Fuzz(&'static [&'static str]),
    /// These files of `tests/tests`, with so many emulators at once.
    Emulator(&'static [&'static str], &'static str),
    /// Tests that build, run, and of which at least one must fail.
    MustFail(&'static [&'static str]),
    /// Checks in [`crate::rules`].
    Rules,
}

/// One suite.
#[derive(Clone, Copy)]
pub struct Suite {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line on what it proves.
    pub about: &'static str,
    /// How long it may take.
    pub budget: Duration,
    /// What it runs.
    pub work: Work,
}

const fn suite(name: &'static str, seconds: u64, about: &'static str, work: Work) -> Suite {
    Suite {
        name,
        about,
        budget: Duration::from_secs(seconds),
        work,
    }
}

/// Programs without a library. They are kept apart from what runs on the host:
/// built together, they would switch on features of shared libraries that link
/// the runtime, whose panic handler the standard library has too.
const PROGRAMS: &[&str] = &[
    "caller",
    "echo",
    "faulty",
    "hello",
    "hostile-client",
    "keeper",
    "kept",
    "pair",
    "passer",
    "passing-bench",
    "placement-bench",
    "stream-load",
];
/// Programs behind the feature `program` of a package with a library.
const PROGRAMS_WITH_LIBRARY: &[&str] = &[
    "console",
    "hpet-driver",
    "io-manager",
    "net-server",
    "root-task",
    "virtio-net-driver",
    "virtio-rng-driver",
];
/// Stands for `--workspace` without [`PROGRAMS`].
const HOSTED: &str = "@hosted";
/// Stands for all programs.
const ALL_PROGRAMS: &str = "@programs";

/// Stands for the unit tests of what emulator tests share.
const LIBRARY: &str = "@library";

/// Files of `tests/tests` that hold whatever else the host does.
pub const EMULATED: &[&str] = &[
    LIBRARY,
    "echo",
    "faults",
    "holding",
    "hostile_client",
    "hostile_frames",
    "integrity",
    "loss",
    "monitor_cli",
    "passt",
    "report_page",
    "root_panic",
    "tap",
    "threads",
    "wire",
];
/// Those that compare counts of instructions, copies or crossings: another
/// emulator beside theirs would move when interrupts come, and with that what is
/// counted.
pub const COUNTED: &[&str] = &[
    "conventional",
    "passing",
    "passing_bench",
    "placement",
    "placement_bench",
    "profile",
];

/// Clippy, without unwinding, as programs are built. Tests may `unwrap`,
/// nothing else may.
const LINT: &[&str] = &[
    "clippy",
    "--quiet",
    "--profile",
    "lint",
    HOSTED,
    "--lib",
    "--bins",
    "--tests",
    "--examples",
    "--",
    "-D",
    "warnings",
];
const LINT_PROGRAMS: &[&str] = &[
    "clippy",
    "--quiet",
    "--profile",
    "lint",
    "--bins",
    "--features",
    "program",
    ALL_PROGRAMS,
    "--",
    "-D",
    "warnings",
];

/// Cargo's arguments for these files of `tests/tests`, so many tests at once.
pub fn emulator(files: &'static [&'static str], at_once: &'static str) -> Vec<&'static str> {
    let mut arguments = vec!["test", "--no-fail-fast", "-p", "emulator-tests"];
    for file in files {
        match *file {
            LIBRARY => arguments.push("--lib"),
            file => arguments.extend(["--test", file]),
        }
    }
    arguments.extend(["--", "--nocapture", "--test-threads", at_once]);
    arguments
}

/// The arguments with what stands for packages written out.
pub fn expand(arguments: &[&'static str]) -> Vec<&'static str> {
    let mut expanded = Vec::new();
    for argument in arguments {
        match *argument {
            HOSTED => {
                expanded.push("--workspace");
                expanded.extend(PROGRAMS.iter().flat_map(|p| ["--exclude", *p]));
            }
            ALL_PROGRAMS => {
                let all = PROGRAMS.iter().chain(PROGRAMS_WITH_LIBRARY);
                expanded.extend(all.flat_map(|p| ["-p", *p]));
            }
            other => expanded.push(other),
        }
    }
    expanded
}

/// Every suite, in the order in which they run.
pub const ALL: &[Suite] = &[
    suite(
        "format",
        60,
        "cargo fmt --check",
        Work::Cargo(&["fmt", "--all", "--check"]),
    ),
    suite(
        "rules",
        60,
        "layout of the repository, and what may depend on what",
        Work::Rules,
    ),
    suite(
        "lint",
        300,
        "clippy with the workspace's lints: libraries, tools, tests and examples",
        Work::Bound(LINT),
    ),
    suite(
        "lint-programs",
        120,
        "clippy on the component programs",
        Work::Bound(LINT_PROGRAMS),
    ),
    suite(
        "unit",
        600,
        "unit, property and fixture tests on the host; bindings against the kernel's generators",
        Work::Bound(&[
            "test",
            "--quiet",
            "--no-fail-fast",
            HOSTED,
            "--exclude",
            "emulator-tests",
            "--exclude",
            "sel4-kernel",
        ]),
    ),
    suite(
        "kernel",
        120,
        "the kernel's build: both variants, the same bytes every time",
        Work::Cargo(&["test", "--quiet", "-p", "sel4-kernel"]),
    ),
    suite(
        "fuzz",
        180,
        "a minute of nonsense for each interface of the I/O manager",
        Work::Fuzz(&[
            "test",
            "--quiet",
            "-p",
            "model-tests",
            "--test",
            "isolation",
            "harms_anybody",
        ]),
    ),
    suite(
        "mutations",
        120,
        "tests of safety fail once the mechanism is switched off",
        Work::MustFail(&[
            "test",
            "--quiet",
            "-p",
            "io-manager",
            "--features",
            "mutation-no-validation",
            "--test",
            "hostile_client",
        ]),
    ),
    suite(
        "emulator",
        900,
        "images booted in the emulator, with traffic from the host; two at a time",
        Work::Emulator(EMULATED, "2"),
    ),
    suite(
        "counts",
        600,
        "images whose instructions, copies and crossings are counted; one at a time",
        Work::Emulator(COUNTED, "1"),
    ),
];

/// The suites with these names, or all.
pub fn choose(names: &[String]) -> Result<Vec<Suite>> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| match ALL.iter().find(|s| s.name == name) {
        Some(suite) => Ok(*suite),
        None => bail!("there is no suite '{name}'; `cargo xtask list` names them"),
    };
    names.iter().map(find).collect()
}
