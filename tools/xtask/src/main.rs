//! `cargo xtask test`: every test and check of the project, locally what CI
//! runs.
//!
//! Problem: the suites need a kernel, Debian packages and different flags.
//! Invariant: this command sets all of that up itself, runs every suite even
//! after one has failed, holds each to its time budget, and exits non-zero
//! unless every suite passed.
#![forbid(unsafe_code)]

mod rules;
mod runner;
mod suites;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sel4_kernel::{Progress, Variant, Workspace, host_packages};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Runs every test and check of the project"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the suites; without names, all of them.
    Test {
        /// Suites to run; see `cargo xtask list`.
        suites: Vec<String>,
    },
    /// List the suites with their time budgets.
    List,
}

/// The workspace's root and where the suites find their kernels.
pub struct Surroundings {
    root: PathBuf,
    workspace: Workspace,
    kernel: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    match Arguments::parse().command {
        Command::List => {
            for suite in suites::ALL {
                println!(
                    "{:<18} {:>4} s  {}",
                    suite.name,
                    suite.budget.as_secs(),
                    suite.about
                );
            }
            Ok(true)
        }
        Command::Test { suites } => {
            let chosen = suites::choose(&suites)?;
            runner::run(&chosen, &set_up()?)
        }
    }
}

/// Installs what is missing and builds the kernel that the bindings are
/// generated from.
fn set_up() -> Result<Surroundings> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the xtask crate lies two levels below the workspace")?
        .to_path_buf();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let workspace = Workspace {
        root: root.clone(),
        target,
    };
    let progress = Progress::spinner();
    let logs = workspace.products().join("logs");
    let needs = [
        host_packages::KERNEL_BUILD,
        host_packages::EMULATOR,
        host_packages::NAMESPACE,
        host_packages::BROWSER,
    ]
    .concat();
    host_packages::ensure(&needs, &logs, &progress)?;
    let kernel = sel4_kernel::ensure(Variant::Debug, &workspace, &progress)?;
    Ok(Surroundings {
        root,
        kernel: kernel.prefix().to_path_buf(),
        workspace,
    })
}
