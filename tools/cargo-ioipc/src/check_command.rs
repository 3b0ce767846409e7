//! `cargo ioipc check`: every mistake in a description, and whether the wire
//! that it is meant for can carry its network.

use std::io::IsTerminal;

use cargo_ioipc::{Error, Net, plan};
use clap::Args;

use crate::System;

/// Which description, for which wire.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    system: System,
    /// The wire that the system is to run on, as for `run`.
    #[arg(long, value_name = "WIRE", default_value = "user")]
    net: Net,
}

impl Check {
    /// Checks and reports.
    pub(crate) fn execute(&self) -> Result<(), Error> {
        let file = &self.system.system;
        let plan = plan::load(file, None)?;
        let warnings = &plan.system.warnings;
        eprint!("{}", warnings.render(std::io::stderr().is_terminal()));
        plan.check_wire(file, &self.net)?;
        println!("{}: {} is sound", file.display(), plan.name);
        Ok(())
    }
}
