//! Runs one program of the build, with its output in a log file.
//!
//! Invariant: a failed step is reported with the end of its output and the
//! path of all of it.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// Runs `command` without input; its output and errors go to `log`.
pub(crate) fn run(what: &str, command: &mut Command, log: &Path) -> Result<(), Error> {
    let file = File::create(log).map_err(Error::io("write", log))?;
    let errors = file.try_clone().map_err(Error::io("write", log))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status();
    let outcome = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => format!("{}: {error}", command.get_program().display()),
    };
    Err(Error::Step {
        what: what.to_owned(),
        outcome,
        tail: tail(log),
        log: log.to_path_buf(),
    })
}

/// The last lines of a log, which may hold bytes that are not text.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
